//! What Fluent Bit shows about the plugin matches what the stand-in counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use libtest_mimic::Failed;

use super::host::{Binary, FluentBit};
use super::stand_in::{assert_each_once, checked, home_beside, section, tail_to};
use super::{Claim, features};
use testing::fake_kinesis::{Faults, Settings, Stats, Stream};

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("each_metric_is_what_kinesis_counted", each_metric).needs(&features::METRICS),
        Claim::new("two_outputs_have_their_own_metrics_also_after_a_reload", two_outputs_and_a_reload)
            .needs(&features::RELOAD),
        Claim::new("the_counts_are_in_the_log_at_the_end_and_in_between", counts_in_the_log),
    ]
}

const LINES: usize = 20_000;

fn faulty() -> Settings {
    let faults = Faults { seed: 3, throttle_records: 0.1, throttle_calls: 0.05, error_500: 0.05, ..Faults::default() };
    Settings { faults, streams: vec![Stream::new("logs", 4), Stream::new("other", 2)], ..checked() }
}

fn each_metric(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, faulty())?;
    home.append_lines(0..LINES)?;
    let port = free_port()?;
    let retries = ["stream logs", "Workers 2", "Retry_Limit no_limits", "retries_on_batch_request 2"];
    let http = http(port);
    let service = [&["scheduler.base 1", "scheduler.cap 2"], http.each_ref().map(String::as_str).as_slice()].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &[], &retries))?;
    let mut fluent_bit = home.start("main.conf")?;
    let shown = until_shown(&mut fluent_bit, port, "kinesis.0", LINES)?;
    compare(&shown, &kinesis.stats())?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

fn compare(shown: &BTreeMap<String, f64>, stats: &Stats) -> Result<(), Failed> {
    let outcome = |name: &str| stats.outcomes.get(name).copied().unwrap_or(0);
    for (name, expected) in [
        ("records_delivered_total", stats.records),
        ("records_throttled_total", stats.throttled_records),
        ("bytes_sent_total", stats.body_bytes),
        ("requests_total/ok", outcome("ok")),
        ("requests_total/partial", outcome("partial")),
        ("requests_total/ThrottlingException", outcome("ThrottlingException")),
        ("requests_total/InternalFailure", outcome("InternalFailure")),
        ("requests_total/no_reply", 0),
        ("request_duration_seconds_count", stats.requests),
        ("requests_in_flight", 0),
        ("throttled_shards", 4),
    ] {
        if shown.get(name).copied() != Some(expected as f64) {
            return Err(format!("{name} is not {expected}: {shown:?}\n{stats:?}").into());
        }
    }
    let settled = ["delivered", "left", "deduplicated"].map(|what| shown[&format!("records_{what}_total")]);
    match shown["records_received_total"] == settled.iter().sum::<f64>() && settled[1] > 0.0 {
        true => Ok(()),
        false => Err(format!("received is not the sum of what became of it: {shown:?}").into()),
    }
}

/// Without workers, because of `ReloadsWithWorkers`.
fn two_outputs_and_a_reload(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, faulty())?;
    home.append_lines(0..LINES)?;
    let port = free_port()?;
    let http = http(port);
    let service = [&["Hot_Reload On"], http.each_ref().map(String::as_str).as_slice()].concat();
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let second = ["Name kinesis", "Alias second", "Match app", "region eu-west-1", "stream other"];
    let text = tail_to(&kinesis, &service, &[], &["stream logs", "Retry_Limit no_limits"])
        + &section("OUTPUT", &[&second, &[&endpoint, "Retry_Limit no_limits"]]);
    home.write("main.conf", &text)?;
    let mut fluent_bit = home.start("main.conf")?;
    for output in ["kinesis.0", "second"] {
        until_shown(&mut fluent_bit, port, output, LINES)?;
    }
    fluent_bit.signal(libc::SIGHUP);
    fluent_bit.wait_until("the plugin started again", || home.log().matches("] version ").count() >= 4)?;
    home.append_lines(LINES..2 * LINES)?;
    for output in ["kinesis.0", "second"] {
        until_shown(&mut fluent_bit, port, output, LINES)?;
    }
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", 2 * LINES)?;
    assert_each_once(&kinesis, "other", 2 * LINES)
}

/// Scrapes until an output has delivered `records` records and has none in progress. Returns its values by name,
/// without the prefix, and with the value of a label of its own.
fn until_shown(
    fluent_bit: &mut FluentBit<'_>,
    port: u16,
    output: &str,
    records: usize,
) -> Result<BTreeMap<String, f64>, Failed> {
    let done = || {
        let shown = scrape(port, output);
        let settled =
            ["delivered", "left", "deduplicated"].iter().filter_map(|what| shown.get(&format!("records_{what}_total")));
        let is_quiet = shown.get("records_received_total") == Some(&settled.sum());
        shown.get("records_delivered_total") == Some(&(records as f64)) && is_quiet
    };
    fluent_bit.wait_until(&format!("{output} shows {records} records"), done)?;
    Ok(scrape(port, output))
}

pub fn scrape(port: u16, output: &str) -> BTreeMap<String, f64> {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return BTreeMap::new() };
    let mut text = Vec::new();
    let request = "GET /api/v2/metrics/prometheus HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    drop(connection.set_read_timeout(Some(Duration::from_secs(5))));
    drop(connection.write_all(request.as_bytes()));
    drop(connection.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let name = format!("name=\"{output}\"");
    let samples = text.lines().filter(|line| line.contains(&name));
    samples
        .filter_map(|line| {
            let (series, value) = line.strip_prefix("fluentbit_output_kinesis_")?.rsplit_once(' ')?;
            let (metric, labels) = series.split_once('{')?;
            let outcome = labels.split_once("outcome=\"").and_then(|(_, rest)| rest.split('"').next());
            let key = outcome.map_or(metric.to_owned(), |outcome| format!("{metric}/{outcome}"));
            Some((key, value.parse().ok()?))
        })
        .collect()
}

fn counts_in_the_log(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..100)?;
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &["stream logs", "Workers 1", "stats_interval 0.2"]))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("lines arrived", || kinesis.stats().distinct >= 100)?;
    // The line waits for a thread of Fluent Bit, which comes with the next flush.
    home.append_lines(100..200)?;
    fluent_bit.wait_until("more arrived", || kinesis.stats().distinct >= 200)?;
    fluent_bit.stop()?;
    let log = home.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("[output:kinesis:kinesis.0] counts:")).collect();
    let last = "counts: records_received 200, records_delivered 200, bytes_received ";
    match lines.len() >= 2 && lines.last().is_some_and(|line| line.contains(last)) {
        true => Ok(()),
        false => Err(log.into()),
    }
}

pub fn http(port: u16) -> [String; 3] {
    ["HTTP_Server On".to_owned(), "HTTP_Listen 127.0.0.1".to_owned(), format!("HTTP_Port {port}")]
}

/// A port that was free a moment ago; Fluent Bit does not report which one it took.
pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
