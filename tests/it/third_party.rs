//! THIRD-PARTY names every crate whose code is in the library, with its licence. `UPDATE=1 cargo test --test it
//! third_party::` writes it from the sources that cargo keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const HEAD: &str = "\
The library kinesis.so is licensed under the Apache License, Version 2.0: see LICENSE. It contains code of others, listed
here with their licences. Of the licences that are given as alternatives, Apache-2.0 or MIT is chosen where it is one of
them, and BSD for the compression library zstd.

It also contains Rust's standard library, copyright The Rust Project contributors, under Apache-2.0 or MIT, and, in the
released files, libunwind of the LLVM project, under Apache-2.0 with the LLVM exception.
";

const RULE: &str = "--------------------------------------------------------------------------------";

#[test]
fn the_notice_names_every_crate_in_the_library() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("THIRD-PARTY");
    let wanted = notice();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "THIRD-PARTY is not current, from line {:?} on: UPDATE=1 cargo test --test it third_party::",
        line.map(|line| line + 1)
    );
}

fn notice() -> String {
    let mut crates: BTreeMap<String, Value> = BTreeMap::new();
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let metadata = metadata(target);
        let linked = linked(&metadata);
        for package in metadata["packages"].as_array().unwrap() {
            let id = package["id"].as_str().unwrap();
            if linked.contains(id) && !package["source"].is_null() {
                crates.insert(format!("{} {}", text(package, "name"), text(package, "version")), package.clone());
            }
        }
    }
    // Most have the same text, so it is written once, after the crates that use it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for (name, package) in &crates {
        list += &format!("{name}: {}\n", text(package, "license"));
        let texts_of = licences(Path::new(text(package, "manifest_path")).parent().unwrap());
        let none =
            || vec![format!("No text comes with it: {}, by {}.\n", text(package, "repository"), authors(package))];
        for text in if texts_of.is_empty() { none() } else { texts_of } {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut bodies: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, crates)| (crates, text)).collect();
    bodies.sort();
    let bodies = bodies.iter().map(|(crates, text)| format!("{RULE}\n{}\n{RULE}\n\n{text}\n", crates.join(", ")));
    format!("{HEAD}\n{RULE}\n\n{list}\n{}", bodies.collect::<String>())
}

fn text<'a>(package: &'a Value, name: &str) -> &'a str {
    package[name].as_str().unwrap_or("")
}

fn authors(package: &Value) -> String {
    let authors: Vec<&str> = package["authors"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    if authors.is_empty() { format!("the authors of {}", text(package, "name")) } else { authors.join(", ") }
}

fn metadata(target: &str) -> Value {
    let command = ["metadata", "--format-version=1", "--locked", "--filter-platform", target];
    let ran = Command::new(env!("CARGO")).args(command).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// The packages whose code is in the library: dependencies, recursively, except those only for tests and build
/// scripts, and crates that run in the compiler.
fn linked(metadata: &Value) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let runs_in_the_compiler = |id: &str| {
        let package = packages.iter().find(|package| package["id"] == id).unwrap();
        package["targets"].as_array().unwrap().iter().any(|target| target["kind"][0] == "proc-macro")
    };
    let root = metadata["resolve"]["root"].as_str().unwrap().to_owned();
    let (mut found, mut left) = (BTreeSet::from([root.clone()]), vec![root]);
    while let Some(id) = left.pop() {
        let node = nodes.iter().find(|node| node["id"] == id.as_str()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let package = dependency["pkg"].as_str().unwrap();
            let is_linked = kinds.iter().any(|kind| kind["kind"].is_null()) && !runs_in_the_compiler(package);
            if is_linked && found.insert(package.to_owned()) {
                left.push(package.to_owned());
            }
        }
    }
    found
}

/// The texts of the licences and notices in a crate's folder, and in those of the C libraries that it brings.
fn licences(folder: &Path) -> Vec<String> {
    let mut folders = vec![folder.to_owned()];
    folders.extend(entries(folder).into_iter().filter(|path| path.is_dir()));
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().to_uppercase();
        let begins =
            ["LICENSE", "LICENCE", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|word| name.starts_with(word));
        begins && path.is_file() && !name.ends_with(".RS")
    };
    let files = folders.iter().flat_map(|folder| entries(folder)).filter(is_licence);
    let mut texts: Vec<String> = files.map(|file| tidy(&fs::read_to_string(file).unwrap())).collect();
    texts.dedup();
    texts
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The same text as the same bytes, whatever its line endings.
fn tidy(text: &str) -> String {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    let text = lines.collect::<Vec<_>>().join("\n");
    format!("{}\n", text.trim_matches('\n'))
}
