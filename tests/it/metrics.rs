//! What the plugin shows its host matches what Kinesis saw: counted on both sides, with faults, over real sockets.
//!
//! The host is examples/host, which creates metrics like Fluent Bit's library and notes misuse.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use kinesis::metrics::{Kind, PREFIX, RequestOutcome, series};
use testing::fake_kinesis::{FakeKinesis, Faults, Keep, Settings, Stats};
use testing::programs::example;

/// Runs the host with these arguments until everything is delivered or its retries are used up.
fn host(kinesis: &FakeKinesis, arguments: &[&str]) -> Output {
    let mut command = Command::new(example("host"));
    command.args(["-p", "stream=logs", "-p", "region=eu-west-1", "-p", &format!("endpoint={}", kinesis.endpoint())]);
    command.args(["-p", "alias=audit", "--metrics"]).args(arguments);
    command.env_clear().env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap()
}

/// The final values: names without their prefix, with the label that is neither the output nor the stream.
fn shown(output: &Output) -> BTreeMap<String, f64> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("offence"), "{text}");
    let samples = text.lines().filter_map(|line| line.strip_prefix(PREFIX)?.rsplit_once(' '));
    samples
        .map(|(series, value)| {
            let (name, labels) = series.split_once('{').unwrap();
            let labels = labels.strip_prefix(r#"name="audit",stream="logs""#).unwrap();
            let own = labels.trim_start_matches(',').trim_end_matches('}');
            let own = own.split_once("=\"").map_or("", |(_, value)| value.trim_end_matches('"'));
            (if own.is_empty() { name.to_owned() } else { format!("{name}/{own}") }, value.parse().unwrap())
        })
        .collect()
}

const LINES: u64 = 50_000;

fn send(faults: Faults, arguments: &[&str]) -> (BTreeMap<String, f64>, Stats, Output) {
    let kinesis = FakeKinesis::start(Settings { faults, keep: Keep::Counts, ..Settings::default() });
    let lines = LINES.to_string();
    let arguments =
        [&["--lines", &lines, "--chunk-bytes", "500000", "--workers", "2", "--retries", "100"], arguments].concat();
    let output = host(&kinesis, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (shown(&output), kinesis.stats(), output)
}

/// Compares what is comparable if each request got a reply.
fn assert_counted_as_by_kinesis(shown: &BTreeMap<String, f64>, stats: &Stats) {
    let value = |name: &str| shown[name] as u64;
    assert_eq!(value("records_delivered_total"), stats.records);
    assert_eq!(value("records_throttled_total"), stats.throttled_records);
    assert_eq!(value("bytes_sent_total"), stats.body_bytes);
    for &outcome in RequestOutcome::NAMES {
        let seen = stats.outcomes.get(outcome).copied().unwrap_or(0);
        if !["no_reply", "other_5xx"].contains(&outcome) {
            assert_eq!(value(&format!("requests_total/{outcome}")), seen, "{outcome}: {stats:?}");
        }
    }
    let requests: u64 = RequestOutcome::NAMES.iter().map(|outcome| value(&format!("requests_total/{outcome}"))).sum();
    assert_eq!((requests, value("request_duration_seconds_count")), (stats.requests, stats.requests));
    assert_eq!(value("request_duration_seconds_bucket/+Inf"), stats.requests);
    assert_eq!(value("requests_in_flight"), 0);
    let received = value("records_received_total");
    let settled = ["records_delivered_total", "records_left_total", "records_deduplicated_total"].map(value);
    assert_eq!(received, settled.iter().sum::<u64>(), "none was refused");
}

#[test]
fn with_faults_on_each_metric_is_what_kinesis_counted() {
    let faults = Faults {
        seed: 5,
        throttle_records: 0.3,
        fail_records: 0.01,
        throttle_calls: 0.05,
        error_500: 0.05,
        error_503: 0.05,
        ..Faults::default()
    };
    let (shown, stats, _) = send(faults, &["-p", "retries_on_batch_request=3"]);
    assert_counted_as_by_kinesis(&shown, &stats);
    assert_eq!(shown["records_delivered_total"] as u64, LINES);
    assert!(shown["records_left_total"] > 0.0 && shown["records_deduplicated_total"] > 0.0, "{shown:?}");
    assert_eq!(shown["throttled_shards"] as u64, 4);
    assert!(shown["bytes_received_total"] > shown["records_received_total"] * 100.0);
    assert!(shown["credentials_fetched_timestamp_seconds"] > 1.7e9);
    // Each record was received until it was delivered, and sent again until then.
    let sent_again = stats.throttled_records + stats.failed_records;
    assert!(shown["records_retried_total"] as u64 + shown["records_left_total"] as u64 >= sent_again, "{shown:?}");
}

#[test]
fn records_of_lost_replies_are_the_ambiguous_ones() {
    let faults = Faults { seed: 6, reset_after: 0.05, reset_before: 0.05, truncate: 0.05, ..Faults::default() };
    let (shown, stats, _) = send(faults, &[]);
    let lost: u64 = ["reset_after", "reset_before", "truncate"].map(|fault| stats.outcomes[fault]).iter().sum();
    assert_eq!(shown["requests_total/no_reply"] as u64, lost);
    assert_eq!(shown["records_delivered_total"] as u64, LINES);
    assert!(stats.duplicates > 0 && shown["records_ambiguous_total"] as u64 >= stats.duplicates, "{shown:?}");
}

#[test]
fn by_the_exit_every_refused_record_is_kept_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("dead_letter_path={}", folder.path().display());
    let kinesis = FakeKinesis::start(Settings::default());
    let arguments = ["--lines", "20000", "--chunk-bytes", "500000", "-p", "log_key=nothing", "-p", &path];
    let output = host(&kinesis, &arguments);
    let (shown, log) = (shown(&output), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!((shown["records_refused_total/no_log_key"], shown["dead_letters_written_total"]), (20_000.0, 20_000.0));
    assert_eq!(shown["dead_letters_dropped_total"], 0.0);
    assert!(log.contains(" dead_letters_written 20000,"), "{log}");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()));
    let lines: usize = files.map(|text| text.unwrap().lines().count()).sum();
    assert_eq!(lines, 20_000);
}

#[test]
fn every_series_exists_from_the_start() {
    let kinesis = FakeKinesis::start(Settings::default());
    let shown = shown(&host(&kinesis, &["--lines", "0"]));
    for (family, label) in series() {
        let name = label.map_or(family.name.to_owned(), |label| format!("{}/{label}", family.name));
        let name = if family.kind == Kind::Histogram { format!("{name}_count") } else { name };
        let is_time = name == "credentials_fetched_timestamp_seconds";
        assert_eq!(shown.get(&name).copied().filter(|_| !is_time), (!is_time).then_some(0.0), "{name}");
    }
}

#[test]
fn the_same_numbers_are_in_the_line_at_the_end() {
    let (shown, _, output) = send(Faults { seed: 7, throttle_records: 0.05, ..Faults::default() }, &[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = log.lines().find(|line| line.contains("] counts: ")).unwrap();
    for name in ["records_received", "records_delivered", "records_throttled", "bytes_received", "bytes_sent"] {
        let value = shown[&format!("{name}_total")];
        assert!(line.contains(&format!(" {name} {value},")), "{name} {value}: {line}");
    }
    assert!(line.contains(", throttled by shardId-"), "{line}");
}

/// However often it occurs, each cause has one line in thirty seconds, and fewer if it lasts (src/log.rs).
#[test]
fn a_throttled_run_has_few_lines() {
    let (_, stats, output) = send(Faults { seed: 8, throttle_records: 0.05, ..Faults::default() }, &[]);
    assert!(stats.throttled_records > 2000, "{stats:?}");
    let lines = String::from_utf8_lossy(&output.stderr).lines().count();
    assert!(lines < 10, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn at_level_debug_each_request_is_explained_without_its_records() {
    let kinesis = FakeKinesis::start(Settings::default());
    let output = host(
        &kinesis,
        &["--lines", "700", "-p", "log_level=debug", "-p", "aws_key_id=AKIDEXAMPLE", "-p", "aws_sec_key=s3cret"],
    );
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    // They overlap.
    let mut sizes: Vec<usize> = kinesis.requests().iter().map(|request| request.body_size).collect();
    assert_eq!(sizes.len(), 2);
    sizes.sort_by_key(|size| std::cmp::Reverse(*size));
    for (records, bytes) in [500, 200].into_iter().zip(sizes) {
        let request = format!(": {records} records as {records} in {bytes} bytes, after 0 pauses: ok in ");
        let line = log.lines().find(|line| line.contains("flush 1, request ") && line.contains(&request));
        assert!(
            line.is_some_and(|line| line.contains(" s; HTTP 200, request id ") && !line.ends_with("none")),
            "{log}"
        );
    }
    assert!(!log.contains("HTTP/1.1") && !log.contains("s3cret"), "content or a secret: {log}");
    assert!(log.contains("aws_sec_key (not shown)"), "{log}");
}
