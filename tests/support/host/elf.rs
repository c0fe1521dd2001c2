//! The little of the ELF format that tells what a library exports (elf(5), 64-bit little-endian).

#![allow(clippy::indexing_slicing, reason = "reads the file that this build made")]

use std::error::Error;
use std::path::Path;

/// The flags that the library gives the dynamic linker (`DT_FLAGS_1`).
pub fn dynamic_flags_1(library: &Path) -> Result<u64, Box<dyn Error>> {
    const DYNAMIC: usize = 6;
    const DT_FLAGS_1: usize = 0x6fff_fffb;
    let file = File::read(library)?;
    let entries = file.section(DYNAMIC).ok_or("no dynamic section")?;
    let flags = file.entries(entries, 16).find(|at| file.number(*at, 8) == DT_FLAGS_1);
    Ok(flags.map_or(0, |at| file.number(at + 8, 8)) as u64)
}

/// The names of the functions and variables that the library exports.
pub fn exported_symbols(library: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    const DYNSYM: usize = 11;
    let file = File::read(library)?;
    let symbols = file.section(DYNSYM).ok_or("no dynamic symbols")?;
    let names = file.number(file.sections() + file.number(symbols + 0x28, 4) * file.section_size() + 0x18, 8);
    let defined = file.entries(symbols, 24).filter(|at| file.number(at + 6, 2) != 0);
    Ok(defined.map(|at| file.text(names + file.number(at, 4))).collect())
}

struct File(Vec<u8>);

impl File {
    fn read(path: &Path) -> Result<File, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        if bytes.starts_with(b"\x7fELF\x02\x01") { Ok(File(bytes)) } else { Err("not a 64-bit ELF file".into()) }
    }

    fn number(&self, at: usize, width: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.0[at..at + width]);
        u64::from_le_bytes(bytes) as usize
    }

    fn text(&self, at: usize) -> String {
        let bytes = self.0[at..].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn sections(&self) -> usize {
        self.number(0x28, 8)
    }

    fn section_size(&self) -> usize {
        self.number(0x3a, 2)
    }

    /// Where the header of the first section of this type is.
    fn section(&self, kind: usize) -> Option<usize> {
        let headers = (0..self.number(0x3c, 2)).map(|index| self.sections() + index * self.section_size());
        headers.into_iter().find(|at| self.number(at + 4, 4) == kind)
    }

    /// Where the entries of a section are, given its header.
    fn entries(&self, header: usize, size: usize) -> impl Iterator<Item = usize> + use<> {
        let (begin, length) = (self.number(header + 0x18, 8), self.number(header + 0x20, 8));
        (begin..begin + length).step_by(size)
    }
}
