//! The host example under valgrind: no invalid access, and nothing definitely lost.
//!
//! It examines the library that cargo built along with this test, which the example loads.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use testing::fake_kinesis::{FakeKinesis, Faults, Settings};
use testing::host::output::ENVIRONMENT;
use testing::programs::example;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("no_error_and_no_leak_while_delivering_over_tls", delivering),
        Trial::test("no_error_and_no_leak_while_nothing_can_be_delivered", unreachable),
        Trial::test("no_error_and_no_leak_when_the_configuration_is_refused", refused),
    ];
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        let ignored = |trial: Trial| trial.with_kind(format!("valgrind: {error}")).with_ignored_flag(true);
        trials = trials.into_iter().map(ignored).collect();
    }
    trials
}

fn delivering() -> Result<(), Failed> {
    let faults = Faults { throttle_records: 0.1, ..Faults::default() };
    let kinesis = FakeKinesis::start(Settings { tls: true, faults, ..Settings::default() });
    let authority = kinesis.ca_file().to_string_lossy();
    let told = host_under_valgrind(&kinesis.endpoint(), &["--workers", "2"], &[("SSL_CERT_FILE", &authority)])?;
    let stored = kinesis.records().len();
    if stored != RECORDS || number(&told, "answered error") != Some(0) {
        return Err(format!("{stored} of {RECORDS} records were stored:\n{told}").into());
    }
    Ok(())
}

fn unreachable() -> Result<(), Failed> {
    let told = host_under_valgrind("http://127.0.0.1:9", &["--retries", "0"], &[])?;
    if number(&told, "answered retry") != number(&told, "chunks") || number(&told, "records") != Some(RECORDS) {
        return Err(format!("not every chunk was answered retry:\n{told}").into());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let told = host_under_valgrind("ftp://127.0.0.1", &[], &[])?;
    if told.is_empty() { Ok(()) } else { Err(format!("the host went on:\n{told}").into()) }
}

const RECORDS: usize = 200;

/// Runs the host. Returns what it printed on stdout, or what valgrind found.
fn host_under_valgrind(endpoint: &str, options: &[&str], environment: &[(&str, &str)]) -> Result<String, Failed> {
    let host = Command::new("valgrind")
        .args(["--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9"])
        .arg(example("host"))
        .args(["-p", "stream=logs", "-p", "region=us-east-1", "-p", &format!("endpoint={endpoint}")])
        .args(["--lines", &RECORDS.to_string(), "--chunk-bytes", "10000"])
        .args(options)
        .envs(ENVIRONMENT)
        .envs(environment.iter().copied())
        .output()?;
    let log = String::from_utf8_lossy(&host.stderr);
    if host.status.code() == Some(9) || !log.contains("ERROR SUMMARY: 0 errors") {
        return Err(format!("valgrind ended with {}:\n{log}", host.status).into());
    }
    Ok(String::from_utf8_lossy(&host.stdout).into_owned())
}

/// The number after a word in what the host printed.
fn number(told: &str, word: &str) -> Option<usize> {
    told.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok())
}
