//! What a library declares to the dynamic linker.

use goblin::elf::Elf;

/// The functions of the host's interface, the only ones that the plugin exports.
pub const EXPORTS: [&str; 10] = [
    "FLBPluginExit",
    "FLBPluginExitCtx",
    "FLBPluginFlush",
    "FLBPluginFlushCtx",
    "FLBPluginInit",
    "FLBPluginOutputPreExit",
    "FLBPluginOutputPreRun",
    "FLBPluginPreRegister",
    "FLBPluginRegister",
    "FLBPluginUnregister",
];

/// The names of the functions and variables that the library exports, sorted.
pub fn exported_symbols<'a>(elf: &Elf<'a>) -> Vec<&'a str> {
    let defined = elf.dynsyms.iter().filter(|symbol| !symbol.is_import() && symbol.st_shndx != 0);
    let mut names: Vec<&str> = defined.filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name)).collect();
    names.sort_unstable();
    names
}

/// The library's flags for the dynamic linker (`DT_FLAGS_1`).
pub fn dynamic_flags_1(elf: &Elf<'_>) -> u64 {
    elf.dynamic.as_ref().map_or(0, |dynamic| dynamic.info.flags_1)
}
