//! Several records as one Kinesis record, through the built library, with throttling and resharding; and what that
//! saves.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinesis::config::Config;
use kinesis::kinesis::random_key::RANDOM_KEY_LENGTH;
use kinesis::pack::Packer;
use kinesis::record_set::RecordSet;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use testing::aggregates::MAGIC;
use testing::consumer;
use testing::corpora::Corpus;
use testing::fake_kinesis::wire::Wire;
use testing::fake_kinesis::{Credential, FakeKinesis, Faults, Settings, StoredRecord, Stream};
use testing::host::access_log::AccessLog;
use testing::programs::example;
use testing::sources::{read, root, with_marked};

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// What a consumer makes of a record.
fn user_records(record: &StoredRecord, stream: &Stream) -> Vec<Vec<u8>> {
    if record.data.starts_with(b"\x28\xb5\x2f\xfd") {
        let text = zstd::decode_all(record.data.as_slice()).unwrap();
        return text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    }
    consumer::user_records(record, stream)
}

/// The built library in our own host, fed line by line.
struct Host(Child);

impl Host {
    fn start(kinesis: &FakeKinesis, options: &[&str]) -> Host {
        let mut command = Command::new(example("host"));
        command.args(["-p", "region=eu-west-1", "-p", "stream=logs", "--chunk-bytes", "200000"]);
        command.args(["-p", &format!("endpoint={}", kinesis.endpoint())]);
        command.args(options.iter().flat_map(|option| ["-p", option])).arg("-");
        command.env_clear().env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Host(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn feed(&mut self, lines: &[String]) {
        self.0.stdin.as_mut().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Shards keep splitting and merging while an eighth of the records are throttled. The last run has a different key
/// per line and the initial map of shards: the next map comes a minute later.
#[test]
fn no_consumer_loses_a_record_while_shards_split_and_merge_and_are_throttled() {
    let lines: Vec<String> = AccessLog::new(1).take(20_000).collect();
    let mut expected: BTreeMap<&[u8], u32> = BTreeMap::new();
    lines.iter().for_each(|line| *expected.entry(line.as_bytes()).or_default() += 1);
    for options in [
        &["aggregation=kpl", "aggregation_max_size=3k"][..],
        &["aggregation=kpl", "aggregation_max_size=3k", "protocol=cbor", "partition_key=$TAG"],
        &["aggregation=lines", "max_record_size=3k", "compression=zstd"],
        &["aggregation=kpl", "aggregation_max_size=3k", "partition_key=log", "shard_map=on"],
        &["aggregation=kpl", "aggregation_max_size=3k", "partition_key=log", "shard_map=on", "protocol=cbor"],
    ] {
        let faults = Faults { throttle_records: 0.12, seed: 5, ..Faults::default() };
        let credentials = vec![Credential::new(KEY, SECRET)];
        let region = Some("eu-west-1".to_owned());
        let kinesis = FakeKinesis::start(Settings { faults, credentials, region, ..Settings::default() });
        // Else records go one by one until the shards are known.
        let expected_distribution = options.contains(&"aggregation=kpl").then_some("record_distribution=user");
        let mut host = Host::start(&kinesis, &[options, expected_distribution.as_slice()].concat());
        let has_map = options.contains(&"shard_map=on");
        while has_map && kinesis.stats().shard_lists == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        for (round, lines) in lines.chunks(500).enumerate() {
            host.feed(lines);
            kinesis.reshard("logs", |stream| {
                let open = stream.open_shards();
                let some = open[round * 7 % open.len()];
                if open.len() < 3 || round % 3 == 0 { stream.split(some) } else { stream.merge(some) }
            });
            std::thread::sleep(Duration::from_millis(10));
        }
        host.end();

        let (stream, stats) = (kinesis.stream("logs").unwrap(), kinesis.stats());
        let records = kinesis.records();
        let found: Vec<Vec<u8>> = records.iter().flat_map(|record| user_records(record, &stream)).collect();
        let mut times: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for record in found {
            let json: serde_json::Value = serde_json::from_slice(&record).unwrap();
            *times.entry(json["log"].as_str().unwrap().as_bytes().to_vec()).or_default() += 1;
        }
        let is_all = times.iter().map(|(line, times)| (line.as_slice(), *times)).eq(expected.clone());
        assert!(is_all, "{options:?}: {} lines of {}", times.len(), expected.len());
        assert!(stream.shards.len() > 30, "{} shards", stream.shards.len());
        assert!(stats.throttled_records > 20, "{stats:?}");
        assert!(stats.records < lines.len() as u64 / 5, "{stats:?}");
        assert_eq!(stats.shard_lists, u64::from(has_map), "what replies show is not asked for at once");
    }
}

/// Somebody else switches the stream's record distribution while an eighth of the records are throttled.
#[test]
fn no_consumer_loses_a_record_while_the_stream_is_switched_to_auto_and_back() {
    let switched = |options: &[&str]| {
        let faults = Faults { throttle_records: 0.12, seed: 7, ..Faults::default() };
        let kinesis = FakeKinesis::start(Settings { faults, denies_description: true, ..Settings::default() });
        let mut host = Host::start(&kinesis, options);
        let lines: Vec<String> = AccessLog::new(2).take(8_000).collect();
        let (before, after) = lines.split_at(2_000);
        host.feed(before);
        while kinesis.stats().shard_lists == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
        for (round, lines) in after.chunks(500).enumerate() {
            kinesis.set_auto("logs", (5..9).contains(&round));
            host.feed(lines);
            std::thread::sleep(Duration::from_millis(100));
        }
        host.end();

        let (stream, records) = (kinesis.stream("logs").unwrap(), kinesis.records());
        let found = records.iter().flat_map(|record| user_records(record, &stream));
        let mut found: Vec<String> = found
            .map(|record| {
                serde_json::from_slice::<serde_json::Value>(&record).unwrap()["log"].as_str().unwrap().to_owned()
            })
            .collect();
        let dropped = records.iter().filter(|record| user_records(record, &stream).is_empty()).count();
        assert!(dropped > 0, "{options:?}: no aggregate was in a wrong shard");
        let aggregates = records.iter().filter(|record| record.data.starts_with(&MAGIC)).count();
        assert!(aggregates > 2 * dropped, "{options:?}: {dropped} of {aggregates} aggregates were dropped");
        let mut expected = lines;
        expected.sort();
        found.sort();
        assert!(found == expected, "{options:?}: {} lines of {}", found.len(), expected.len());
    };
    let kpl = ["aggregation=kpl", "aggregation_max_size=3k"];
    std::thread::scope(|scope| {
        for more in [&["protocol=cbor"][..], &["partition_key=log", "shard_map=on"]] {
            let options = [&kpl, more].concat();
            scope.spawn(move || switched(&options));
        }
    });
}

/// What 10,000 records per second mean for Kinesis, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    records: f64,
    bytes: f64,
    /// PUT payload units of 25 KB per record.
    units: f64,
}

impl Load {
    /// Shards, at 1 MiB or 1,000 records per second each.
    fn shards(&self) -> f64 {
        (self.bytes / 1_048_576.0).max(self.records / 1000.0)
    }

    /// Adds a Kinesis record of this many bytes, out of those for [`SECONDS`].
    fn add(&mut self, bytes: usize) {
        self.records += 1.0 / SECONDS;
        self.bytes += bytes as f64 / SECONDS;
        self.units += bytes.div_ceil(25_000) as f64 / SECONDS;
    }
}

const SECONDS: f64 = 2.0;

/// The Kinesis records for a corpus, in chunks as Fluent Bit cuts them: data and key of each.
fn kinesis_records(corpus: Corpus, options: &[(&str, &str)]) -> Vec<(Vec<u8>, usize)> {
    let options = [options, &[("stream", "logs"), ("protocol", "cbor")]].concat();
    let value = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let config = Config::parse(&value).unwrap();
    let (mut random, mut records) = (SmallRng::seed_from_u64(1), Vec::new());
    let mut lines = corpus.lines().take((10_000.0 * SECONDS) as usize).peekable();
    while lines.peek().is_some() {
        let mut chunk = Vec::new();
        while chunk.len() < 2_000_000
            && let Some(line) = lines.next()
        {
            corpus.write_event(&line, &mut chunk).unwrap();
        }
        let mut packer =
            Packer::new(&chunk, b"app", config.target.single().unwrap(), &config.requests, RecordSet::default());
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, remark| panic!("{remark:?}")) {
            let request = Wire::Cbor.decode(&batch.body()).unwrap();
            let sent = request.records.unwrap().into_iter();
            records.extend(sent.map(|record| (record.data().to_vec(), record.partition_key().len())));
        }
    }
    records
}

fn load(corpus: Corpus, options: &[(&str, &str)]) -> Load {
    let mut load = Load::default();
    kinesis_records(corpus, options).iter().for_each(|(data, key)| load.add(data.len() + key));
    load
}

/// What another plugin makes of the same, computed from its known behaviour: `change` is how its data differ in size
/// from ours with `options`, and `key` the length of its random keys.
fn others(corpus: Corpus, options: &[(&str, &str)], key: usize, change: impl Fn(&[u8]) -> usize) -> Load {
    let mut load = Load::default();
    kinesis_records(corpus, options).iter().for_each(|(data, _)| load.add(change(data) + key));
    load
}

/// The Go plugin's random keys have 8 characters.
const GO_KEY: usize = 8;
/// The C plugin's have 12 to 18.
const C_KEY: usize = 15;

/// The rows of the table in docs/tuning.md: what is shown, and the results.
fn rows(corpus: Corpus) -> Vec<(&'static str, Load)> {
    let (kpl, lines, zstd) = (("aggregation", "kpl"), ("aggregation", "lines"), ("compression", "zstd"));
    let whole = |data: &[u8]| data.len();
    vec![
        ("nothing", load(corpus, &[])),
        ("`compression zstd`", load(corpus, &[zstd])),
        ("`aggregation kpl`", load(corpus, &[kpl])),
        ("`aggregation kpl`, `compression zstd`", load(corpus, &[kpl, zstd])),
        ("`aggregation lines`", load(corpus, &[lines])),
        ("`aggregation lines`, `compression zstd`", load(corpus, &[lines, zstd])),
        // The Go plugin's aggregates have up to 1 MiB.
        ("Go: nothing", others(corpus, &[], GO_KEY, whole)),
        ("Go: `aggregation true`", others(corpus, &[kpl, ("aggregation_max_size", "1M")], GO_KEY, whole)),
        // The C plugin ends each record with a newline, joins lines up to 1 MiB, and compresses the result with zstd
        // level 1.
        ("C: nothing", others(corpus, &[("append_newline", "on")], C_KEY, whole)),
        ("C: `simple_aggregation`", others(corpus, &[lines], C_KEY, whole)),
        (
            "C: `simple_aggregation`, `compression zstd`",
            others(corpus, &[lines], C_KEY, |data| zstd::encode_all(data, 1).unwrap().len()),
        ),
    ]
}

#[test]
fn compressed_lines_need_an_eighth_of_the_shards_and_tuning_says_what_the_others_need() {
    let [access, nested] = Corpus::ALL.map(rows);
    let [plain, kpl, zstd] = [0, 2, 5].map(|row| access[row].1);
    assert!(zstd.shards() * 8.0 <= plain.shards(), "{} of {}", zstd.shards(), plain.shards());
    assert!(kpl.records * 300.0 < plain.records, "{} of {}", kpl.records, plain.records);
    // An aggregate adds eight bytes per record below 16 KiB, where a single record has its key, and 36 to three hundred.
    let container = (kpl.bytes - plain.bytes) / plain.records + RANDOM_KEY_LENGTH as f64;
    assert!(container < 8.0 + 36.0 / 300.0, "{container}");

    let head = "records/s | MiB/s | units/s | shards |";
    let mut table = format!("| with | access: {head} nested: {head}\n|---|---|---|---|---|---|---|---|---|\n");
    for ((name, access), (_, nested)) in access.iter().zip(&nested) {
        let cells = [access, nested].map(|load| {
            let (megabytes, shards) = (load.bytes / 1_048_576.0, load.shards());
            format!(" {:.0} | {megabytes:.2} | {:.0} | {shards:.1} |", load.records, load.units)
        });
        table += &format!("| {name} |{}\n", cells.concat());
    }
    let text = read("docs/tuning.md");
    let current = with_marked(&text, "saved", &table).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join("docs/tuning.md"), &current).unwrap();
    } else {
        assert!(text == current, "docs/tuning.md is not current: UPDATE=1 cargo test --test it aggregation::\n{table}");
    }
}
