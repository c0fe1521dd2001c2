//! Several records as one Kinesis record, through the built library, throttling and resharding; and what it saves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
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

/// The container as its author declares it, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
}

/// The numbers of shards that the stream has had.
const SHARDS: [u32; 4] = [1, 2, 3, 8];

/// What a consumer makes of a record. Like the Kinesis Client Library it drops an aggregate when a key in it is of another
/// shard than the one that it was read from, whatever the shards were at that time.
fn user_records(record: &StoredRecord) -> Vec<Vec<u8>> {
    if record.data.starts_with(b"\x28\xb5\x2f\xfd") {
        let text = zstd::decode_all(record.data.as_slice()).unwrap();
        return text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    }
    let Some(container) = record.data.strip_prefix(&MAGIC) else { return vec![record.data.clone()] };
    let message = AggregatedRecord::decode(&container[..container.len() - 16]).unwrap();
    let shard_of = |key: &str, shards: u32| Stream::new("", shards).shard_of(hash_key(key));
    let of_this_shard = |user: &UserRecord| {
        let key = &message.partition_key_table[usize::try_from(user.partition_key_index).unwrap()];
        SHARDS.iter().all(|&shards| shard_of(key, shards) == shard_of(&record.partition_key, shards))
    };
    if !message.records.iter().all(of_this_shard) {
        return Vec::new();
    }
    message.records.into_iter().map(|user| user.data).collect()
}

/// Splits and merges go on while an eighth of the records are throttled, again and again.
#[test]
fn no_consumer_loses_a_record_while_shards_split_and_merge_and_are_throttled() {
    const LINES: usize = 20_000;
    for options in [
        &["aggregation=kpl", "aggregation_max_size=3k"][..],
        &["aggregation=kpl", "aggregation_max_size=3k", "protocol=cbor", "partition_key=$TAG"],
        &["aggregation=lines", "max_record_size=3k", "compression=zstd"],
    ] {
        let faults = Faults { throttle_records: 0.12, seed: 5, ..Faults::default() };
        let credentials = vec![Credential::new(KEY, SECRET)];
        let region = Some("eu-west-1".to_owned());
        let kinesis = FakeKinesis::start(Settings { faults, credentials, region, ..Settings::default() });
        let test = std::env::current_exe().unwrap();
        let host = test.parent().unwrap().parent().unwrap().join("examples/host");
        let mut command = Command::new(host);
        command.args(["-p", "region=eu-west-1", "-p", "stream=logs", "--lines", &LINES.to_string()]);
        command.args(["--chunk-bytes", "200000", "-p", &format!("endpoint={}", kinesis.endpoint())]);
        command.args(options.iter().flat_map(|option| ["-p", option]));
        command.env_clear().env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let mut host = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        for shards in SHARDS.iter().cycle() {
            kinesis.add_stream(Stream::new("logs", *shards));
            std::thread::sleep(Duration::from_millis(20));
            if host.try_wait().unwrap().is_some() {
                break;
            }
        }
        assert!(host.wait().unwrap().success());

        let mut times: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for record in kinesis.records().iter().flat_map(user_records) {
            let json: serde_json::Value = serde_json::from_slice(&record).unwrap();
            *times.entry(json["log"].as_str().unwrap().as_bytes().to_vec()).or_default() += 1;
        }
        let mut expected: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for line in AccessLog::new(1).take(LINES) {
            *expected.entry(line.into_bytes()).or_default() += 1;
        }
        assert!(times == expected, "{options:?}: {} lines of {}", times.len(), expected.len());
        assert!(kinesis.stats().throttled_records > 20, "{:?}", kinesis.stats());
        assert!(kinesis.stats().records < LINES as u64 / 5, "{:?}", kinesis.stats());
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
