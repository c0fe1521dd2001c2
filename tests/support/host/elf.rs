//! The little of the ELF format that tells what a library exports (elf(5), 64-bit little-endian).

#![allow(clippy::indexing_slicing, reason = "reads the file that this build made")]

use std::error::Error;
use std::path::Path;

/// The names of the functions and variables that the library exports.
pub fn exported_symbols(library: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let file = std::fs::read(library)?;
    let number = |at: usize, width: usize| -> usize {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&file[at..at + width]);
        u64::from_le_bytes(bytes) as usize
    };
    assert_eq!(&file[..5], b"\x7fELF\x02", "not a 64-bit ELF file");
    let (sections, section_size, section_count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let section = |index: usize| sections + index * section_size;
    const DYNSYM: usize = 11;
    let symbols = (0..section_count).map(section).find(|at| number(at + 4, 4) == DYNSYM).ok_or("no dynamic symbols")?;
    let strings = number(section(number(symbols + 0x28, 4)) + 0x18, 8);

    let mut names = Vec::new();
    let (begin, size) = (number(symbols + 0x18, 8), number(symbols + 0x20, 8));
    for at in (begin..begin + size).step_by(24) {
        let (name, defined) = (strings + number(at, 4), number(at + 6, 2) != 0);
        if defined {
            let text = file[name..].split(|byte| *byte == 0).next().unwrap_or_default();
            names.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    Ok(names)
}
