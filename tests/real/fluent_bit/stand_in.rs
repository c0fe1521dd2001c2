//! The stand-in, and what arrived there.

use std::collections::BTreeMap;

use libtest_mimic::Failed;

use super::host::{Binary, Home, KEY, SECRET, line};
use testing::fake_kinesis::{Credential, FakeKinesis, Settings, StoredRecord};

/// A stand-in with TLS that checks signatures and accepts only those of our key, for our region.
pub fn checked() -> Settings {
    let credentials = vec![Credential::new(KEY, SECRET)];
    Settings { tls: true, credentials, region: Some("eu-west-1".to_owned()), ..Settings::default() }
}

/// A Fluent Bit's files, with a stand-in whose certificate it trusts.
pub fn home_beside(binary: &Binary, settings: Settings) -> Result<(Home, FakeKinesis), Failed> {
    let kinesis = FakeKinesis::start(settings);
    let mut home = Home::new(binary)?;
    home.set("SSL_CERT_FILE", kinesis.ca_file());
    Ok((home, kinesis))
}

/// A configuration from `app.log` to the stream `logs` of the stand-in, with extra lines for its sections.
pub fn tail_to(kinesis: &FakeKinesis, service: &[&str], input: &[&str], output: &[&str]) -> String {
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let log = ["Flush 0.2", "Log_File fluent-bit.log"];
    let tail = ["Name tail", "Tag app", "Path app.log", "Read_from_Head on", "Refresh_Interval 1", "DB tail.db"];
    let kinesis = ["Name kinesis", "Match app", "region eu-west-1", &endpoint];
    section("SERVICE", &[&log, service]) + &section("INPUT", &[&tail, input]) + &section("OUTPUT", &[&kinesis, output])
}

/// One section of a classic configuration.
pub fn section(name: &str, lines: &[&[&str]]) -> String {
    let lines: String = lines.iter().copied().flatten().map(|line| format!("    {line}\n")).collect();
    format!("[{name}]\n{lines}")
}

/// How many times each line arrived in `stream`, by number. Fails if a record is not the JSON of its line.
pub fn times_arrived(kinesis: &FakeKinesis, stream: &str) -> Result<BTreeMap<usize, usize>, Failed> {
    times_in(kinesis.records().into_iter().filter(|record| *record.stream == *stream))
}

fn times_in(records: impl Iterator<Item = StoredRecord>) -> Result<BTreeMap<usize, usize>, Failed> {
    let mut times = BTreeMap::new();
    for record in records {
        let json: serde_json::Value = serde_json::from_slice(&record.data)?;
        let text = json["log"].as_str().ok_or("a record without its line")?;
        let number = text.strip_prefix("line ").and_then(|rest| rest.split(',').next()?.parse().ok());
        let number = number.ok_or_else(|| format!("not a line of ours: {text}"))?;
        // shaping.yaml adds the time.
        let is_ours = |fields: &serde_json::Map<_, _>| fields.keys().all(|key| ["log", "time"].contains(&key.as_str()));
        if text != line(number).trim_end() || !json.as_object().is_some_and(is_ours) {
            return Err(format!("not the line that was written: {json}").into());
        }
        *times.entry(number).or_default() += 1;
    }
    Ok(times)
}

/// The numbers of the lines from 0 to `count` that did not arrive whole, and how many lines arrived without their
/// beginning.
pub fn not_whole(kinesis: &FakeKinesis, count: usize) -> Result<(Vec<usize>, usize), Failed> {
    let is_end = |record: &StoredRecord| {
        let text = String::from_utf8_lossy(&record.data);
        text.contains("server's log") && !text.contains("\"line ")
    };
    let (ends, whole): (Vec<_>, Vec<_>) = kinesis.records().into_iter().partition(is_end);
    let times = times_in(whole.into_iter())?;
    Ok(((0..count).filter(|number| !times.contains_key(number)).collect(), ends.len()))
}

/// Fails unless the lines from 0 to `count` each arrived in `stream` exactly once.
pub fn assert_each_once(kinesis: &FakeKinesis, stream: &str, count: usize) -> Result<(), Failed> {
    match assert_all(kinesis, stream, count)? {
        0 => Ok(()),
        twice => Err(format!("{twice} of {count} lines arrived more than once").into()),
    }
}

/// Fails unless the lines from 0 to `count` arrived in `stream`. Returns how many arrived more than once.
pub fn assert_all(kinesis: &FakeKinesis, stream: &str, count: usize) -> Result<usize, Failed> {
    let times = times_arrived(kinesis, stream)?;
    let missing = (0..count).filter(|number| !times.contains_key(number)).count();
    if missing > 0 || times.len() != count {
        return Err(
            format!("{missing} of {count} lines are missing, {} others came", times.len() + missing - count).into()
        );
    }
    Ok(times.values().filter(|&&times| times > 1).count())
}
