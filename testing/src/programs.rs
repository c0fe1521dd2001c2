//! Runs the programs of `examples/`, and tests in a process of their own.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::any::type_name_of_val;
use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

/// A program that cargo built along with the tests. Cargo does so only when it builds all of them; the error says how
/// otherwise.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile = folder.file_name().unwrap().to_string_lossy().replace("debug", "dev");
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "no {}: `cargo build --profile {profile} --example {name}` builds it", program.display());
    program
}

/// Runs a program with its options, or shows `help` if there are none. The exit code is 1 if `run` returns `false`, and 2
/// for an error, which is printed after the program's name.
pub fn run<O>(
    name: &str,
    help: &str,
    options: Result<Option<O>, Box<dyn Error>>,
    run: impl FnOnce(&O) -> Result<bool, Box<dyn Error>>,
) -> ExitCode {
    let ended = options.and_then(|options| match options {
        Some(options) => run(&options),
        None => {
            print!("{help}");
            Ok(true)
        }
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// What a program printed, its errors last.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

/// Returns whether this process runs only `test`, a test of the standard harness. If not, runs it in a child that
/// does, with more `environment`, and panics with the child's output if it fails.
pub fn alone<T: Fn()>(test: T, environment: &[(&str, &str)]) -> bool {
    const ALONE: &str = "KINESIS_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    // The harness knows it by its path without the crate.
    let (_, name) = type_name_of_val(&test).split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(ALONE, "1").envs(environment.iter().copied());
    let ended = child.output().unwrap();
    let said = said(&ended);
    println!("{said}");
    assert!(ended.status.success() && said.contains("1 passed"), "{name} fails in a process of its own");
    false
}
