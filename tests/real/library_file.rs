//! What the dynamic linker finds in the library: whether it loads everywhere, and what it exposes.
//!
//! For the library that cargo built along with this test, whatever does not depend on linker or machine; for the
//! released one, everything. That is `dist/kinesis.so` and `dist/arm64/kinesis.so`, or the file named by
//! `KINESIS_SO`. Without them, its tests are reported as ignored: `make dist` builds it and runs them.

#[allow(unreachable_pub, reason = "other programs include it too")]
use std::path::{Path, PathBuf};
use std::{env, fs};

use goblin::elf::dynamic::{DF_1_NODELETE, DF_1_NOW, DF_BIND_NOW, DF_STATIC_TLS, DF_TEXTREL, DT_TEXTREL};
use goblin::elf::header::EM_AARCH64;
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::program_header::{PF_W, PF_X, PT_GNU_RELRO, PT_GNU_STACK, PT_LOAD};
use goblin::elf::{Elf, Sym};
use libtest_mimic::{Failed, Trial};
use testing::host::elf::{EXPORTS, dynamic_flags_1, exported_symbols};

/// The C library's own files; the last two are its dynamic linkers. Not libgcc_s: minimal images lack it.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// Amazon Linux 2 has 2.26, RHEL 7 this.
const OLDEST_GLIBC: (u32, u32) = (2, 17);

const LARGEST: usize = 9 << 20;

type Check = fn(&Path, &[u8], &Elf) -> Result<(), String>;

/// What holds for every library.
const ALWAYS: [(&str, Check); 7] = [
    ("exports_the_hosts_interface_and_nothing_else", exports_the_interface),
    ("has_no_executable_stack", has_no_executable_stack),
    ("lets_nobody_write_to_what_was_relocated", has_full_relro),
    ("is_neither_patched_at_load_nor_bound_to_static_tls", loads_at_any_time),
    ("stays_mapped_under_its_own_name", stays_mapped),
    ("looks_for_libraries_only_where_the_system_does", has_no_search_path),
    ("is_mapped_by_every_kernel_whatever_its_pages", fits_large_pages),
];

/// What holds for the released one.
const RELEASED: [(&str, Check); 6] = [
    ("needs_no_library_but_the_c_librarys", needs_the_c_library),
    ("needs_no_newer_glibc_than_2_17", needs_an_old_glibc),
    ("is_at_most_9_mib", is_small),
    ("is_stripped_and_names_its_debug_file", has_a_debug_file),
    ("has_a_checksum_beside_it", has_a_checksum),
    ("holds_no_path_of_the_machine_that_built_it", holds_no_path),
];

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = ALWAYS.map(|(name, check)| trial(&format!("built::{name}"), built(), check)).into();
    let released: Vec<(&str, PathBuf)> = match env::var_os("KINESIS_SO") {
        Some(named) => vec![("named", named.into())],
        None => [("dist", "dist/kinesis.so"), ("dist_arm64", "dist/arm64/kinesis.so")]
            .map(|(name, path)| (name, root().join(path)))
            .into(),
    };
    for (whose, path) in released {
        if whose != "named" && !path.exists() {
            trials.push(ignored(&format!("{whose}::loads_everywhere"), &path));
            continue;
        }
        let checks = ALWAYS.iter().chain(&RELEASED);
        trials.extend(checks.map(|(name, check)| trial(&format!("{whose}::{name}"), path.clone(), *check)));
    }
    trials
}

/// Stands for all tests of a library that was not built; fails if it is run nevertheless.
fn ignored(name: &str, path: &Path) -> Trial {
    let reason = format!("no {}, which `make dist` builds", path.strip_prefix(root()).unwrap_or(path).display());
    let failure = reason.clone();
    Trial::test(name, move || Err(failure.into())).with_kind(reason).with_ignored_flag(true)
}

fn trial(name: &str, path: PathBuf, check: Check) -> Trial {
    Trial::test(name, move || {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let elf = Elf::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        check(&path, &bytes, &elf).map_err(Failed::from)
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The library that cargo built together with this test.
fn built() -> PathBuf {
    env::current_exe().unwrap().with_file_name("libkinesis.so")
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn exports_the_interface(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let names = exported_symbols(elf);
    must(names == EXPORTS, || format!("it exports {names:?}"))
}

fn has_no_executable_stack(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let stack = elf.program_headers.iter().find(|header| header.p_type == PT_GNU_STACK);
    let stack = stack.ok_or("without PT_GNU_STACK the stack becomes executable")?;
    must(stack.p_flags & PF_X == 0, || "PT_GNU_STACK asks for an executable stack".to_owned())?;
    let both = elf
        .program_headers
        .iter()
        .find(|header| header.p_type == PT_LOAD && header.p_flags & PF_W != 0 && header.p_flags & PF_X != 0);
    must(both.is_none(), || format!("a segment is writable and executable: {both:?}"))
}

fn has_full_relro(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let relro = elf.program_headers.iter().any(|header| header.p_type == PT_GNU_RELRO);
    must(relro, || "no PT_GNU_RELRO".to_owned())?;
    let info = &elf.dynamic.as_ref().ok_or("no dynamic section")?.info;
    let now = info.flags & DF_BIND_NOW != 0 || info.flags_1 & DF_1_NOW != 0;
    must(now, || "symbols are bound lazily, so their table stays writable".to_owned())
}

/// A library with static TLS loads only if the host has room left for it.
fn loads_at_any_time(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let dynamic = elf.dynamic.as_ref().ok_or("no dynamic section")?;
    let patched = dynamic.info.flags & DF_TEXTREL != 0 || dynamic.dyns.iter().any(|entry| entry.d_tag == DT_TEXTREL);
    must(!patched, || "its code is relocated (DT_TEXTREL)".to_owned())?;
    must(dynamic.info.flags & DF_STATIC_TLS == 0, || "it has static TLS (DF_STATIC_TLS)".to_owned())
}

fn stays_mapped(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    must(elf.soname == Some("kinesis.so"), || format!("its name is {:?}", elf.soname))?;
    must(dynamic_flags_1(elf) & DF_1_NODELETE != 0, || "dlclose unmaps it".to_owned())
}

fn has_no_search_path(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    must(elf.rpaths.is_empty() && elf.runpaths.is_empty(), || format!("{:?} {:?}", elf.rpaths, elf.runpaths))
}

/// Kernels for arm64 have pages of 4, 16 or 64 KiB. What is mapped differently must not share one.
fn fits_large_pages(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let page = if elf.header.e_machine == EM_AARCH64 { 64 << 10 } else { 4 << 10 };
    let mut next_free = 0;
    for segment in elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD) {
        let is_aligned = segment.p_align >= page && segment.p_vaddr % page == segment.p_offset % page;
        must(is_aligned && segment.p_vaddr / page >= next_free, || format!("not for pages of {page}: {segment:?}"))?;
        next_free = (segment.p_vaddr + segment.p_memsz).div_ceil(page);
    }
    must(next_free > 0, || "nothing is mapped".to_owned())
}

fn needs_the_c_library(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let others: Vec<_> = elf.libraries.iter().filter(|needed| !LIBRARIES.contains(needed)).collect();
    must(elf.libraries.contains(&"libc.so.6"), || format!("it needs {:?}", elf.libraries))?;
    must(others.is_empty(), || format!("it needs {others:?}"))
}

fn needs_an_old_glibc(_: &Path, _: &[u8], elf: &Elf) -> Result<(), String> {
    let needed = elf.verneed.as_ref().ok_or("no versions of symbols")?;
    let (mut versions, mut newer) = (0, Vec::new());
    for version in needed.iter().flat_map(|library| library.iter().collect::<Vec<_>>()) {
        let name = elf.dynstrtab.get_at(version.vna_name).unwrap_or("?");
        versions += 1;
        let numbers = name.strip_prefix("GLIBC_").and_then(|text| {
            let mut numbers = text.split('.').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        });
        if numbers.is_none_or(|numbers: (u32, u32)| numbers > OLDEST_GLIBC) {
            newer.push(format!("{name} for {:?}", symbols_of_version(elf, version.vna_other)));
        }
    }
    must(versions > 0, || "it needs no version of anything".to_owned())?;
    must(newer.is_empty(), || newer.join(", "))
}

/// The names of the symbols needed in the version with this index.
fn symbols_of_version<'a>(elf: &'a Elf, index: u16) -> Vec<&'a str> {
    let name = |symbol: Sym| elf.dynstrtab.get_at(symbol.st_name);
    let versions = elf.versym.iter().flat_map(|versions| versions.iter());
    versions
        .zip(elf.dynsyms.iter())
        .filter(|(version, _)| version.version() == index)
        .filter_map(|(_, s)| name(s))
        .collect()
}

fn is_small(_: &Path, bytes: &[u8], _: &Elf) -> Result<(), String> {
    must(bytes.len() <= LARGEST, || format!("{} bytes", bytes.len()))
}

fn has_a_debug_file(path: &Path, bytes: &[u8], elf: &Elf) -> Result<(), String> {
    let section = |elf: &Elf, name: &str| {
        elf.section_headers.iter().find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(name)).cloned()
    };
    for name in [".symtab", ".debug_info", ".debug_line"] {
        must(section(elf, name).is_none(), || format!("it is not stripped: {name}"))?;
    }
    let link = section(elf, ".gnu_debuglink").ok_or("no .gnu_debuglink")?;
    let link = &bytes[link.file_range().ok_or("an empty .gnu_debuglink")?];
    let name: Vec<u8> = link.iter().copied().take_while(|byte| *byte != 0).collect();
    must(name == b"kinesis.so.debug", || format!("it names {}", String::from_utf8_lossy(&name)))?;

    let debug = path.with_file_name("kinesis.so.debug");
    let debug_bytes = fs::read(&debug).map_err(|error| format!("{}: {error}", debug.display()))?;
    let debug_elf = Elf::parse(&debug_bytes).map_err(|error| error.to_string())?;
    must(section(&debug_elf, ".debug_line").is_some(), || "the debug file has no lines".to_owned())?;
    let (id, debug_id) = (build_id(bytes, elf)?, build_id(&debug_bytes, &debug_elf)?);
    must(id.len() >= 8 && id == debug_id, || format!("build id {id:x?}, that of the debug file {debug_id:x?}"))
}

fn build_id(bytes: &[u8], elf: &Elf) -> Result<Vec<u8>, String> {
    let headers = elf.iter_note_headers(bytes).into_iter().flatten().flatten();
    let sections = elf.iter_note_sections(bytes, Some(".note.gnu.build-id")).into_iter().flatten().flatten();
    let mut ids = sections.chain(headers).filter(|note| note.n_type == NT_GNU_BUILD_ID && note.name == "GNU");
    ids.next().map(|note| note.desc.to_vec()).ok_or_else(|| "no build id".to_owned())
}

fn has_a_checksum(path: &Path, bytes: &[u8], _: &Elf) -> Result<(), String> {
    let file = path.with_file_name("kinesis.so.sha256");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hexadecimal: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    must(text == format!("{hexadecimal}  kinesis.so\n"), || format!("{text}, and it is {hexadecimal}"))
}

fn holds_no_path(_: &Path, bytes: &[u8], _: &Elf) -> Result<(), String> {
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")));
    for path in [Some(root().display().to_string()), home.ok(), Some("/registry/src/".to_owned())].into_iter().flatten()
    {
        let found = memchr::memmem::find(bytes, path.as_bytes());
        must(found.is_none(), || format!("it holds {path}"))?;
    }
    Ok(())
}
