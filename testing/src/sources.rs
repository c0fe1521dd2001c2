//! The project's own files, for the tests that read them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// What building and installing leaves in the project's folder.
const NOT_OURS: [&str; 6] = ["target", "dist", "node_modules", ".venv", ".cargo-tools", ".git"];

/// A file of the project.
pub struct File {
    /// Its path from the project's root, such as `src/lib.rs`.
    pub path: String,
    pub text: String,
}

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The text of one file.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is before, between and after the two marks called `name` in a document, if it has them.
pub fn marked<'a>(document: &'a str, name: &str) -> Option<[&'a str; 3]> {
    let (before, rest) = document.split_once(&format!("<!-- {name} -->\n"))?;
    let (between, after) = rest.split_once(&format!("<!-- /{name} -->\n"))?;
    Some([before, between, after])
}

/// The document with this content between its marks called `name`, if it has them.
pub fn with_marked(document: &str, name: &str, content: &str) -> Option<String> {
    let [before, _, after] = marked(document, name)?;
    Some(format!("{before}<!-- {name} -->\n\n{content}\n<!-- /{name} -->\n{after}"))
}

/// Whether a folder says of itself that it is a cache, as a cargo home in this folder does
/// (<https://bford.info/cachedir/>).
fn is_cache(folder: &Path) -> bool {
    folder.join("CACHEDIR.TAG").exists()
}

/// All files under `folder` (all of the project's for an empty one) whose names end with `suffix`, by path.
pub fn files(folder: &str, suffix: &str) -> Vec<File> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let path = entry.path();
            if !entry.file_type().unwrap().is_dir() {
                files.extend(Some(path).filter(|path| path.to_string_lossy().ends_with(suffix)));
            } else if !NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref()) && !is_cache(&path) {
                folders.push(path);
            }
        }
    }
    files.sort();
    let file = |path: PathBuf| {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        File { text: read(&path), path }
    };
    files.into_iter().map(file).collect()
}

/// The unmodified files under src/ that contribute to the library. A file's tests follow `#[cfg(test)]`.
pub fn shipped() -> Vec<File> {
    let mut shipped = files("src", ".rs");
    // Long tests are in `tests.rs` or `tests/` beside the file.
    shipped.retain(|file| !file.path.ends_with("/tests.rs") && !file.path.contains("/tests/"));
    shipped
}

/// The code under src/ that contributes to the library: without tests and comments.
pub fn code() -> Vec<File> {
    let mut code = shipped();
    for file in &mut code {
        let shipped = file.text.split("\n#[cfg(test)]\n").next().unwrap();
        let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        file.text = lines.map(|line| format!("{line}\n")).collect();
    }
    code
}
