//! The host example under valgrind: no invalid access, and nothing definitely lost.
//!
//! This program is also the host: valgrind runs it once more with the arguments of examples/host.rs, which is compiled
//! in. So it is never an older build of the example that is looked at.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "is a program as well")]

#[path = "../examples/host.rs"]
#[allow(dead_code, reason = "its main is not this program's")]
mod example;

use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

const AS_HOST: &str = "KINESIS_TEST_AS_HOST";

fn main() -> ExitCode {
    if env::var_os(AS_HOST).is_some() {
        return example::drive(env::args().skip(1));
    }
    let arguments = Arguments::from_args();
    let trial = Trial::test("valgrind_finds_no_error_and_no_leak", no_error_and_no_leak);
    let trial = match Command::new("valgrind").arg("--version").output() {
        Ok(_) => trial,
        Err(error) => trial.with_kind(format!("valgrind: {error}")).with_ignored_flag(true),
    };
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn no_error_and_no_leak() -> Result<(), Failed> {
    const FOUND_SOMETHING: i32 = 9;
    let host = Command::new("valgrind")
        .args([
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            "--error-exitcode=9",
            "--child-silent-after-fork=yes",
        ])
        .arg(env::current_exe()?)
        .args(["-p", "stream=logs", "-p", "region=eu-west-1", "-p", "endpoint=http://127.0.0.1:9"])
        .args(["--lines", "1000", "--chunk-bytes", "50000", "--workers", "2", "--retries", "0"])
        .env(AS_HOST, "1")
        .output()?;
    let log = String::from_utf8_lossy(&host.stderr);
    let told = String::from_utf8_lossy(&host.stdout);
    if host.status.code() == Some(FOUND_SOMETHING) {
        return Err(format!("valgrind found errors:\n{log}").into());
    }
    if !log.contains("ERROR SUMMARY: 0 errors") {
        return Err(format!("valgrind did not finish ({}):\n{log}", host.status).into());
    }
    let flushed = number(&told, "records")?;
    if flushed != 1000 { Err(format!("{flushed} of 1000 records were flushed:\n{told}\n{log}").into()) } else { Ok(()) }
}

/// The number after a word in what the host printed.
fn number(told: &str, word: &str) -> Result<usize, Box<dyn Error>> {
    let value = told.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    value.ok_or_else(|| format!("no {word} in {told}").into())
}
