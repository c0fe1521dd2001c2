//! The plugin's lines are in the host's log, in the host's style, and nowhere else.

use libtest_mimic::Failed;

use super::host::{Binary, Home};
use super::known_faults::{Fault as Known, has, tolerated};
use super::stand_in::{checked, home_beside, tail_to};
use super::stopping::starts;
use super::{Claim, features};
use testing::fake_kinesis::Fault;

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("lines_are_in_the_log_file_and_nowhere_else", |binary| {
            lines_are_in_the_log_file(binary, &["Workers 2"])
        }),
        Claim::new("lines_are_in_the_log_file_without_workers_too", |binary| lines_are_in_the_log_file(binary, &[])),
        Claim::new("an_alias_is_the_name_in_the_log", an_alias_is_the_name),
        Claim::new("the_level_of_the_service_is_honoured", |binary| {
            level_is_honoured(binary, &["Log_Level error"], &[])
        }),
        Claim::new("the_level_of_the_output_is_honoured", |binary| {
            level_is_honoured(binary, &[], &["Log_Level error"])
        })
        .needs(&features::LOG_LEVEL),
        Claim::new("a_level_in_the_environment_stops_no_start", level_in_the_environment),
    ]
}

/// A line from startup, written by the engine's thread, and one from a flush.
fn lines_are_in_the_log_file(binary: &Binary, output: &[&str]) -> Result<(), Failed> {
    let home = after_a_throttled_flush(binary, &[], &[&["stream logs"], output].concat())?;
    let log = home.log();
    for (level, text) in [
        (" info", "[output:kinesis:kinesis.0] version "),
        (" warn", "[output:kinesis:kinesis.0] 1 of 10 records not accepted (ProvisionedThroughputExceededException)"),
    ] {
        let Some(line) = log.lines().find(|line| line.contains(text)) else {
            return Err(format!("not in the log: {text}\n{log}\nstdout and stderr:\n{}", home.output()).into());
        };
        // Like the host's own lines: [2026/11/22 06:12:25] [ info] [output:…] text
        let (time, rest) = line.split_once("] ").ok_or("a line without a time")?;
        if !time.starts_with("[20") || !rest.starts_with(&format!("[{level}] {text}")) {
            return Err(format!("not in the host's style: {line}").into());
        }
    }
    match home.output().contains("kinesis") {
        true => Err(format!("on stdout or stderr:\n{}", home.output()).into()),
        false => Ok(()),
    }
}

fn an_alias_is_the_name(binary: &Binary) -> Result<(), Failed> {
    let home = after_a_throttled_flush(binary, &[], &["stream logs", "Alias audit"])?;
    match home.log().contains("[output:kinesis:audit] version ") {
        true => Ok(()),
        false => Err(home.log().into()),
    }
}

/// At level "error", the line about a missing stream is written and those from startup are not.
fn level_is_honoured(binary: &Binary, service: &[&str], output: &[&str]) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..10)?;
    let service = [&["Grace 1"], service].concat();
    let output = [&["stream nowhere", "Workers 1"], output].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &[], &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let error = "[error] [output:kinesis:kinesis.0] cannot put records into stream nowhere";
    fluent_bit.wait_until("the error is in the log", || home.log().contains(error))?;
    fluent_bit.stop()?;
    let lower = |line: &&str| line.contains("[output:kinesis:kinesis.0]") && !line.contains("[error]");
    match home.log().lines().find(lower) {
        Some(line) => Err(format!("below the level: {line}").into()),
        None => Ok(()),
    }
}

fn level_in_the_environment(binary: &Binary) -> Result<(), Failed> {
    let (mut home, kinesis) = home_beside(binary, checked())?;
    home.set("FLB_LOG_LEVEL", "info");
    home.append_lines(0..10)?;
    home.write("main.conf", &tail_to(&kinesis, &["Log_Level info"], &[], &["stream logs"]))?;
    let mut fluent_bit = home.start("main.conf")?;
    let arrived = fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= 10);
    match arrived {
        Ok(()) => fluent_bit.stop().map(drop),
        Err(_) if starts(&home) == 0 && has(binary, Known::AbortsOnLogLevel) => {
            tolerated(binary, Known::AbortsOnLogLevel);
            Ok(())
        }
        Err(failed) => Err(failed),
    }
}

/// Ten lines, one of which is throttled at first.
fn after_a_throttled_flush(binary: &Binary, service: &[&str], output: &[&str]) -> Result<Home, Failed> {
    const LINES: usize = 10;
    let (home, kinesis) = home_beside(binary, checked())?;
    kinesis.script([Fault::ThrottleRecords(vec![3])]);
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, service, &[], output))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    drop(fluent_bit);
    Ok(home)
}
