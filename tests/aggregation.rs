//! Several records as one Kinesis record, through the built library, throttling and resharding; and what it saves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinesis::aggregate::{MAGIC, hash_key};
use kinesis::config::Config;
use kinesis::ledger::RecordSet;
use kinesis::pack::Packer;
use prost::Message;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use support::fake_kinesis::{Credential, FakeKinesis, Faults, Settings, StoredRecord, Stream};
use support::host::access_log::AccessLog;
use support::host::chunk::Chunks;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The container as its author declares it, but for tags.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
}

/// What a consumer makes of a record. Like the Kinesis Client Library (`AggregatorUtil.deaggregate`) it drops an
/// aggregate when the explicit hash key of one of its records, or else the MD5 of its partition key, is not in the range
/// of the shard that it was read from.
fn user_records(record: &StoredRecord, stream: &Stream) -> Vec<Vec<u8>> {
    if record.data.starts_with(b"\x28\xb5\x2f\xfd") {
        let text = zstd::decode_all(record.data.as_slice()).unwrap();
        return text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    }
    let Some(container) = record.data.strip_prefix(&MAGIC) else { return vec![record.data.clone()] };
    let message = AggregatedRecord::decode(&container[..container.len() - 16]).unwrap();
    let range = &stream.shards[record.shard as usize].range;
    let at = |table: &[String], index: u64| table[usize::try_from(index).unwrap()].clone();
    let of_this_shard = |user: &UserRecord| {
        range.contains(&match user.explicit_hash_key_index {
            Some(index) => at(&message.explicit_hash_key_table, index).parse().unwrap(),
            None => hash_key(&at(&message.partition_key_table, user.partition_key_index)),
        })
    };
    if !message.records.iter().all(of_this_shard) {
        return Vec::new();
    }
    message.records.into_iter().map(|user| user.data).collect()
}

/// The built library in a host of our own, fed line by line.
struct Host(Child);

impl Host {
    fn start(kinesis: &FakeKinesis, options: &[&str]) -> Host {
        let test = std::env::current_exe().unwrap();
        let mut command = Command::new(test.parent().unwrap().parent().unwrap().join("examples/host"));
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

/// Splits and merges go on while an eighth of the records are throttled, again and again. The last one has a key for each
/// line, and knows the shards as they were at its start: the next map comes a minute later.
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
        let mut host = Host::start(&kinesis, options);
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

/// What 10,000 lines of an access log a second are for Kinesis, in a second.
struct Load {
    records: f64,
    bytes: f64,
    /// PUT payload units: 25 KB of a record each.
    units: f64,
}

impl Load {
    /// 1 MiB or 1,000 records a second each.
    fn shards(&self) -> f64 {
        (self.bytes / 1_048_576.0).max(self.records / 1000.0)
    }
}

fn load(options: &[(&str, &str)]) -> Load {
    const LINES: usize = 30_000;
    let options = [options, &[("stream", "logs")]].concat();
    let value = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let config = Config::parse(&value).unwrap();
    let lines = AccessLog::new(1).take(LINES).map(|line| Ok(line.into_bytes()));
    let mut random = SmallRng::seed_from_u64(1);
    let mut load = Load { records: 0.0, bytes: 0.0, units: 0.0 };
    // As much as comes in a second: Fluent Bit flushes each second unless told otherwise.
    for chunk in (Chunks { lines, key: "log".to_owned(), bytes: 2_000_000 }) {
        let chunk = chunk.unwrap().bytes;
        let mut packer = Packer::new(&chunk, b"app", &config.stream, &config.requests, RecordSet::default());
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, remark| panic!("{remark:?}")) {
            load.records += batch.entries().len() as f64;
            load.bytes += batch.bytes() as f64;
            load.units += batch.entries().iter().map(|entry| entry.bytes.div_ceil(25_000) as f64).sum::<f64>();
        }
    }
    let seconds = LINES as f64 / 10_000.0;
    Load { records: load.records / seconds, bytes: load.bytes / seconds, units: load.units / seconds }
}

/// The rows of README.md's table: what is shown, the options.
const MODES: [(&str, &[(&str, &str)]); 6] = [
    ("nothing", &[]),
    ("`compression zstd`", &[("compression", "zstd")]),
    ("`aggregation kpl`", &[("aggregation", "kpl")]),
    ("`aggregation kpl`, `compression zstd`", &[("aggregation", "kpl"), ("compression", "zstd")]),
    ("`aggregation lines`", &[("aggregation", "lines")]),
    ("`aggregation lines`, `compression zstd`", &[("aggregation", "lines"), ("compression", "zstd")]),
];

#[test]
fn compressed_lines_need_an_eighth_of_the_shards_and_the_readme_says_what_the_others_need() {
    let loads = MODES.map(|(_, options)| load(options));
    let [plain, _, kpl, _, _, zstd] = &loads;
    assert!(zstd.shards() * 8.0 <= plain.shards(), "{} of {}", zstd.shards(), plain.shards());
    assert!(kpl.bytes < plain.bytes && kpl.records * 500.0 < plain.records);

    let mut table = "| with | records/s | MiB/s | PUT payload units/s | shards |\n|---|---|---|---|---|\n".to_owned();
    for ((name, _), load) in MODES.iter().zip(&loads) {
        let (megabytes, shards) = (load.bytes / 1_048_576.0, load.shards());
        table += &format!("| {name} | {:.0} | {megabytes:.2} | {:.0} | {shards:.1} |\n", load.records, load.units);
    }
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (before, rest) = text.split_once("<!-- saved -->\n\n").unwrap();
    let (_, after) = rest.split_once("\n<!-- /saved -->").unwrap();
    let current = format!("{before}<!-- saved -->\n\n{table}\n<!-- /saved -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(readme, &current).unwrap();
    } else {
        assert!(text == current, "README.md is not current: UPDATE=1 cargo test --test aggregation\n{table}");
    }
}
