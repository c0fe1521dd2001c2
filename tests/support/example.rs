//! The programs of `examples/`, as the tests run them.

#![allow(dead_code, unreachable_pub, reason = "each program that includes this module uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;

/// A program that cargo built beside the tests. It does so when it builds all of them: for a test alone, this says how.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile = folder.file_name().unwrap().to_string_lossy().replace("debug", "dev");
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "no {}: `cargo build --profile {profile} --example {name}` builds it", program.display());
    program
}
