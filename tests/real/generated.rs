//! The generated files match their sources: src/host/bindings.rs and include/kinesis_plugin.h.
//!
//! `UPDATE=1 cargo test --test real generated` writes them instead. Generating the bindings needs libclang; building
//! the plugin does not.

use std::error::Error;
use std::{env, fs, panic};

use libtest_mimic::{Failed, Trial};
use testing::sources::root;

pub fn trials() -> Vec<Trial> {
    let bindings = Trial::test("bindings_are_those_of_the_header", || current("src/host/bindings.rs", bindings()?));
    let bindings = match load_libclang() {
        Ok(()) => bindings,
        Err(reason) => bindings.with_kind(reason).with_ignored_flag(true),
    };
    let header = Trial::test("the_header_is_that_of_the_exports", || current("include/kinesis_plugin.h", header()?));
    vec![bindings, header]
}

/// Compares a committed file with what it should be, or writes it when `UPDATE` is set.
fn current(file: &str, wanted: String) -> Result<(), Failed> {
    let path = root().join(file);
    if env::var_os("UPDATE").is_some() {
        return Ok(fs::write(path, wanted)?);
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    match found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted) {
        _ if found == wanted => Ok(()),
        Some(line) => Err(format!("{file} is not current from line {} on: {UPDATE}", line + 1).into()),
        None => Err(format!("{file} is not current, it ends too early or too late: {UPDATE}").into()),
    }
}

const UPDATE: &str = "make it anew by UPDATE=1 cargo test --test real generated";

fn bindings() -> Result<String, Box<dyn Error>> {
    let bindings = bindgen::Builder::default()
        .header(root().join("include/fluent_bit_proxy.h").to_string_lossy())
        .clang_arg("-DWITHOUT_SYSTEM_HEADERS")
        .allowlist_file(".*/fluent_bit_proxy\\.h")
        .blocklist_type("size_t|uintptr_t|uint64_t")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_debug(true)
        .rust_target(bindgen::RustTarget::stable(94, 0).map_err(|error| error.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::Rustfmt)
        .generate()?;
    Ok(bindings.to_string())
}

fn header() -> Result<String, Box<dyn Error>> {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml"))?;
    let source = root().join("src/abi/exports.rs");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source).generate()?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    Ok(String::from_utf8(header)?)
}

/// Finds libclang: `LIBCLANG_PATH`, PyPI's `libclang` in the project's .venv, or wherever clang-sys finds it.
fn load_libclang() -> Result<(), String> {
    if env::var_os("LIBCLANG_PATH").is_none() {
        let found = fs::read_dir(root().join(".venv/lib")).into_iter().flatten().flatten();
        let found = found.map(|python| python.path().join("site-packages/clang/native"));
        if let Some(folder) = found.into_iter().find(|folder| folder.join("libclang.so").exists()) {
            // SAFETY: no other thread is running yet.
            unsafe { env::set_var("LIBCLANG_PATH", folder) };
        }
    }
    // bindgen panics if there is none.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let loaded = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    loaded.map(|_| ()).map_err(|_| "libclang not found".to_owned())
}
