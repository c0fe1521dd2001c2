//! Every line that is written to a file is in the stream, once.

mod blocks;
pub mod dead_letters;
mod local;
mod quick_start;
mod scenarios;
mod typed;

use std::io::Read;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::json;

use crate::fluent_bit::Claim;
use crate::fluent_bit::host::{Binary, Home, line};
use crate::fluent_bit::known_faults::{Fault, has, tolerated};
use crate::fluent_bit::stand_in::{assert_all, assert_each_once, checked, home_beside, section, tail_to};
use testing::aggregates::MAGIC;
use testing::consumer::user_records;
use testing::fake_kinesis::{FakeKinesis, Faults, Settings, Stream};

pub fn claims() -> Vec<Claim> {
    let mut claims = vec![
        Claim::new("each_line_arrives_once_with_two_workers", |binary| each_line_once(binary, &["Workers 2"])),
        Claim::new("each_line_arrives_once_without_workers", |binary| each_line_once(binary, &[])),
        Claim::new("each_line_arrives_once_in_blocks_that_two_threads_compress", |binary| {
            blocks::each_line_once(binary, 2)
        }),
        Claim::new("each_line_arrives_once_in_blocks_that_no_other_thread_compresses", |binary| {
            blocks::each_line_once(binary, 0)
        }),
        Claim::new("records_are_shaped_as_a_go_plugins_configuration_says", shaped),
        Claim::new("two_outputs_deliver_to_their_own_streams", two_outputs),
        Claim::new("each_record_arrives_once_in_the_stream_that_it_names", streams_by_record),
        Claim::new("each_line_arrives_once_after_a_time_of_throttling", throttled_for_a_time),
        Claim::new("each_line_arrives_once_when_the_stream_is_created_late", stream_is_created_late),
        Claim::new("each_line_reaches_consumers_while_the_stream_is_switched_to_auto", switched_to_auto),
        Claim::new("records_are_without_keys_and_as_large_as_the_stream_allows", without_keys),
    ];
    claims.extend(dead_letters::claims());
    claims.extend(quick_start::claims());
    claims.extend(local::claims());
    claims.extend(scenarios::claims());
    claims
}

fn each_line_once(binary: &Binary, output: &[&str]) -> Result<(), Failed> {
    const LINES: usize = 20_000;
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &[&["stream logs"], output].concat()))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

/// The options of the Go plugin's example, on an event made by the host.
fn shaped(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    let event = r#"Dummy {"container_id":"c-1","app.kubernetes.io/name":"web","log":"a \"quoted\" line ☕"}"#;
    let input = ["Name dummy", "Tag app", "Start_time_sec 1600000000", "Start_time_nsec 123456789", event];
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let output = ["Name kinesis", "Match app", "region eu-west-1", "stream logs", "Workers 1", &endpoint];
    let shape = ["partition_key container_id", "append_newline true", "replace_dots _", "compression gzip"];
    let time = ["time_key time", "time_key_format %Y-%m-%dT%H:%MZ"];
    let text = section("SERVICE", &[&["Flush 0.2", "Log_File fluent-bit.log"]])
        + &section("INPUT", &[&input])
        + &section("OUTPUT", &[&output, &shape, &time]);
    home.write("main.conf", &text)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("an event arrived", || kinesis.stats().records >= 1)?;
    fluent_bit.stop()?;
    let records = kinesis.records();
    let record = records.first().ok_or("no record")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&record.data[..]).read_to_string(&mut text)?;
    let expected = "{\"container_id\":\"c-1\",\"app_kubernetes_io/name\":\"web\",\"log\":\"a \\\"quoted\\\" line ☕\",\"time\":\"2020-09-13T12:26Z\"}\n";
    match (&*record.partition_key, text.as_str()) {
        ("c-1", text) if text == expected => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn two_outputs(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let streams = vec![Stream::new("logs", 2), Stream::new("audit", 1)];
    let (home, kinesis) = home_beside(binary, Settings { streams, ..checked() })?;
    home.append_lines(0..LINES)?;
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let second = ["Name kinesis", "Match *", "region eu-west-1", "stream audit", "Workers 1", &endpoint];
    let text = tail_to(&kinesis, &[], &[], &["stream logs", "Workers 2"]) + &section("OUTPUT", &[&second]);
    home.write("main.conf", &text)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived twice", || kinesis.stats().records >= 2 * LINES as u64)?;
    fluent_bit.stop_or_abort()?;
    assert_each_once(&kinesis, "logs", LINES)?;
    assert_each_once(&kinesis, "audit", LINES)
}

/// Fast and unlimited retries.
const SHORT_RETRIES: [&str; 2] = ["scheduler.base 1", "scheduler.cap 2"];
const ENDLESS: [&str; 4] = ["stream logs", "Workers 2", "Retry_Limit no_limits", "retries_on_batch_request 1"];

/// One of the streams is created late; records without a stream go to the fallback.
fn streams_by_record(binary: &Binary) -> Result<(), Failed> {
    const RECORDS: usize = 3000;
    let streams = ["shop-logs", "rest"].map(|name| Stream::new(name, 2)).to_vec();
    let (home, kinesis) = home_beside(binary, Settings { streams, ..checked() })?;
    home.write("parsers.conf", &section("PARSER", &[&["Name json", "Format json"]]))?;
    let namespaces = ["shop", "web", "no stream"];
    let record = |id: usize| json!({ "i": id, "kubernetes": { "namespace_name": namespaces[id % 3] } });
    home.append(&(0..RECORDS).map(|id| format!("{}\n", record(id))).collect::<String>())?;
    let target = ["stream $kubernetes['namespace_name']-logs", "stream_fallback rest"];
    let service = [&SHORT_RETRIES[..], &["Parsers_File parsers.conf"]].concat();
    let output = [&ENDLESS[1..], &target].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &["Parser json"], &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let told = "cannot put records into stream web-logs";
    fluent_bit.wait_until("the missing stream is in the log", || home.log().contains(told))?;
    let others = || kinesis.stats().distinct >= (RECORDS - RECORDS / 3) as u64;
    fluent_bit.wait_until("the records of the other streams arrived", others)?;
    kinesis.add_stream(Stream::new("web-logs", 2));
    fluent_bit.wait_until("every record arrived", || kinesis.stats().distinct >= RECORDS as u64)?;
    fluent_bit.stop()?;
    let mut arrived: Vec<(usize, String)> = Vec::new();
    for stored in kinesis.records() {
        let json: serde_json::Value = serde_json::from_slice(&stored.data)?;
        arrived.push((json["i"].as_u64().ok_or("a record without its number")? as usize, stored.stream.to_string()));
    }
    arrived.sort();
    let stream = |id: usize| ["shop-logs", "web-logs", "rest"][id % 3].to_owned();
    let expected: Vec<_> = (0..RECORDS).map(|id| (id, stream(id))).collect();
    if arrived == expected {
        Ok(())
    } else {
        Err(format!("{} records, not each once in its stream", arrived.len()).into())
    }
}

/// All at first, then some: chunks come back whole, then in part.
fn throttled_for_a_time(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let faults = Faults { throttle_records: 1.0, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &SHORT_RETRIES, &[], &ENDLESS))?;
    let mut fluent_bit = home.start("main.conf")?;
    let handed_back = "Fluent Bit will retry the rest";
    fluent_bit.wait_until("a flush is left to the retry", || home.log().contains(handed_back))?;
    kinesis.set_faults(Faults { throttle_records: 0.3, seed: 7, ..Faults::default() });
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once_after_retries(binary, &home, &kinesis, LINES)
}

fn stream_is_created_late(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let (home, kinesis) = home_beside(binary, Settings { streams: vec![Stream::new("other", 1)], ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &SHORT_RETRIES, &[], &ENDLESS))?;
    let mut fluent_bit = home.start("main.conf")?;
    let told = "cannot put records into stream logs";
    fluent_bit.wait_until("the missing stream is in the log", || home.log().contains(told))?;
    kinesis.add_stream(Stream::new("logs", 2));
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once_after_retries(binary, &home, &kinesis, LINES)
}

/// Consumers drop aggregates whose keys do not belong to the shard that they read.
fn switched_to_auto(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 6000;
    let (home, kinesis) = home_beside(binary, checked())?;
    let kpl = ["stream logs", "Workers 1", "aggregation kpl", "aggregation_max_size 2k"];
    home.append_lines(0..2000)?;
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &kpl))?;
    let mut fluent_bit = home.start("main.conf")?;
    let stream = || kinesis.stream("logs").ok_or("no stream");
    let arrived =
        |stream: &Stream| kinesis.records().iter().map(|record| user_records(record, stream).len()).sum::<usize>();
    let mut wait_for = |count: usize| {
        let stream = stream()?;
        fluent_bit.wait_until(&format!("{count} lines arrived"), || arrived(&stream) >= count)
    };
    wait_for(2000)?;
    if kinesis.records().iter().any(|record| record.data.starts_with(&MAGIC)) && kinesis.stats().shard_lists == 0 {
        return Err("an aggregate before the shards were known".into());
    }
    while kinesis.stats().shard_lists == 0 || kinesis.stats().descriptions == 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    // Of one append, Fluent Bit 1.9 reads 64 KiB, and the rest at the next one.
    let append = |lines: std::ops::Range<usize>| {
        lines.step_by(200).try_for_each(|first| {
            std::thread::sleep(Duration::from_millis(20));
            home.append_lines(first..first + 200)
        })
    };
    append(2000..4000)?;
    wait_for(4000)?;
    kinesis.set_auto("logs", true);
    append(4000..LINES)?;
    wait_for(LINES)?;
    fluent_bit.stop()?;

    let (stream, records) = (stream()?, kinesis.records());
    let dropped = records.iter().filter(|record| user_records(record, &stream).is_empty()).count();
    let mut lines = Vec::new();
    for record in records.iter().flat_map(|record| user_records(record, &stream)) {
        let json: serde_json::Value = serde_json::from_slice(&record)?;
        lines.push(format!("{}\n", json["log"].as_str().unwrap_or_default()));
    }
    let mut expected: Vec<String> = (0..LINES).map(line).collect();
    lines.sort();
    expected.sort();
    let is_told = home.log().contains("to which their keys do not belong: sending their records again one by one");
    match lines == expected && dropped > 0 && is_told {
        true => Ok(()),
        false => Err(format!("{} lines, {dropped} aggregates dropped: {}", lines.len(), home.log()).into()),
    }
}

fn without_keys(binary: &Binary) -> Result<(), Failed> {
    const LARGE: usize = 2 << 20;
    let streams = vec![Stream::new("logs", 4).with_max_record_size(4 << 20).with_auto()];
    let (home, kinesis) = home_beside(binary, Settings { streams, ..checked() })?;
    home.append_lines(0..1)?;
    let options = ["stream logs", "Workers 1", "partition_key none", "max_record_size auto"];
    let input = ["Buffer_Chunk_Size 4M", "Buffer_Max_Size 8M"];
    home.write("main.conf", &tail_to(&kinesis, &[], &input, &options))?;
    let mut fluent_bit = home.start("main.conf")?;
    let is_known = || home.log().contains("distributes records itself (AUTO), as its configuration says");
    fluent_bit.wait_until("the stream is described", || kinesis.stats().descriptions > 0)?;
    let mut appended = 1;
    // The line in the log is written by the next flush.
    while !is_known() {
        home.append_lines(appended..appended + 1)?;
        appended += 1;
        fluent_bit.wait_until("a line arrived", || kinesis.stats().records >= appended as u64)?;
    }
    home.append(&format!("{}\n", "x".repeat(LARGE)))?;
    fluent_bit.wait_until("the large line arrived", || kinesis.stats().records > appended as u64)?;
    fluent_bit.stop()?;
    let records = kinesis.records();
    let (first, last) = (records.first().ok_or("none")?, records.last().ok_or("none")?);
    match last.data.len() > LARGE && last.partition_key.is_empty() && !first.partition_key.is_empty() {
        true => Ok(()),
        false => Err(format!("{} bytes under '{}': {}", last.data.len(), last.partition_key, home.log()).into()),
    }
}

/// A flush that the host began again at the stop comes after all was stored.
fn assert_each_once_after_retries(
    binary: &Binary,
    home: &Home,
    kinesis: &FakeKinesis,
    count: usize,
) -> Result<(), Failed> {
    let twice = assert_all(kinesis, "logs", count)?;
    if twice > 0 && has(binary, Fault::FlushesAgain) && home.log().contains("succeeded at retry") {
        tolerated(binary, Fault::FlushesAgain);
        return Ok(());
    }
    if twice == 0 { Ok(()) } else { Err(format!("{twice} of {count} lines arrived more than once").into()) }
}
