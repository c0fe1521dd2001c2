//! Aggregates that the plugin put into a stream, read back and unpacked by Amazon's modules.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rmpv::Value;

use super::consumers::{UserRecord, no_node, no_python, run};
use super::read_back::{Boto3, Record};
use super::servers::{KinesisLocal, OpenMinistack, Peer, python};
use super::trial_unless;
use crate::flush::Instance;
use testing::chunks::{chunk, map};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(every_record_is_in_some_aggregate_under_its_own_key),
        trial(kinesis_local_lists_shards_whose_keys_share_aggregates),
        trial(ministack_lists_shards_whose_keys_share_aggregates),
    ]
}

fn trial<P: Peer, T: Fn(&P) -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    let missing = || P::missing().or_else(no_python).or_else(no_node);
    trial_unless::<T>(missing, move || {
        let server = P::start()?;
        test(&server).map_err(|failed| server.server().explain(&failed))
    })
}

/// A record of the log: its key (empty for none) and its JSON.
struct Sent {
    key: String,
    json: String,
}

fn every_record_is_in_some_aggregate_under_its_own_key(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    for protocol in ["json", "cbor"] {
        boto3.create_stream(protocol, 4)?;
        let (sent, chunks) = log(&mut SmallRng::seed_from_u64(1));
        let report = Instance::new(server.plain_endpoint(), protocol)
            .keys("AKIAIOSFODNN7EXAMPLE", "a secret that nobody checks")
            .option("protocol", protocol)
            .option("aggregation", "kpl")
            // Else records go one by one until the shards are known.
            .option("record_distribution", "user")
            .option("aggregation_max_size", "50k")
            .option("partition_key", "key")
            .flush(&chunks)?;
        report.expect("Delivered")?;
        let records = boto3.read(protocol)?;
        assert!(records.len() * 20 < sent.len(), "{} records for {}", records.len(), sent.len());
        for (program, script) in [(python().as_path(), "consumer.py"), (Path::new("node"), "consumer.js")] {
            everything_is_there(&sent, &records, program, script)?;
        }
    }
    Ok(())
}

/// Chunks of one to 10,000 records with none to 50 keys, of random sizes.
fn log(random: &mut SmallRng) -> (Vec<Sent>, Vec<Vec<u8>>) {
    let (mut sent, mut chunks) = (Vec::new(), Vec::new());
    for (count, keys) in [(1, 1), (2, 1), (3, 3), (129, 2), (1000, 0), (1000, 50), (10_000, 1), (10_000, 50)] {
        let mut events: Vec<Value> = Vec::new();
        for number in 0..count {
            let key = if keys == 0 { String::new() } else { format!("key-{}-é😀", number * 7 % keys) };
            let length = match random.random_range(0..1000) {
                // Too large for an aggregate.
                0 => 60_000,
                _ => random.random_range(0..200),
            };
            let (id, text) = (sent.len(), "x".repeat(length));
            let json = match key.as_str() {
                "" => format!(r#"{{"id":{id},"text":"{text}"}}"#),
                key => format!(r#"{{"id":{id},"text":"{text}","key":"{key}"}}"#),
            };
            let body = map([("id", id.into()), ("text", text.into()), ("key", key.as_str().into())]);
            let Value::Map(mut entries) = body else { continue };
            entries.truncate(if key.is_empty() { 2 } else { 3 });
            events.push(Value::Map(entries));
            sent.push(Sent { key, json });
        }
        chunks.push(chunk(&events));
    }
    (sent, chunks)
}

fn everything_is_there(sent: &[Sent], records: &[Record], program: &Path, script: &str) -> Result<(), Failed> {
    let data: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
    let opened: Vec<Vec<UserRecord>> = run(program, script, "deaggregate", &data)?;
    let mut times: BTreeMap<usize, u32> = BTreeMap::new();
    let mut alone = 0;
    for (record, inside) in records.iter().zip(opened) {
        let user_records: Vec<(String, Vec<u8>)> = if record.data.starts_with(&kinesis::kinesis::kpl::MAGIC) {
            let user_records = inside.into_iter().map(|user| {
                assert_eq!(user.explicit_hash_key, None);
                Ok((user.partition_key, base64_simd::STANDARD.decode_to_vec(user.data)?))
            });
            user_records.collect::<Result<_, Failed>>()?
        } else {
            alone += 1;
            vec![(record.partition_key.clone(), record.data.clone())]
        };
        let mut last = None;
        for (key, data) in user_records {
            assert_eq!(key, record.partition_key, "a consumer drops what is of another shard");
            let json: serde_json::Value = serde_json::from_slice(&data)?;
            let id = json["id"].as_u64().and_then(|id| usize::try_from(id).ok()).ok_or("a record without an id")?;
            let expected = &sent[id];
            assert_eq!(String::from_utf8(data)?, expected.json);
            assert!(expected.key.is_empty() || expected.key == key, "{key}");
            assert!(last < Some(id), "record {id} stands behind {last:?}");
            last = Some(id);
            *times.entry(id).or_default() += 1;
        }
    }
    assert_eq!(times.len(), sent.len());
    assert!(times.values().all(|&times| times == 1), "a record is there twice");
    assert!(alone > 0, "the large ones are alone");
    Ok(())
}

fn kinesis_local_lists_shards_whose_keys_share_aggregates(server: &KinesisLocal) -> Result<(), Failed> {
    keys_of_a_shard_share_aggregates(server.plain_endpoint())
}

fn ministack_lists_shards_whose_keys_share_aggregates(server: &OpenMinistack) -> Result<(), Failed> {
    keys_of_a_shard_share_aggregates(server.endpoint())
}

/// The first chunk comes before the shards are known, the second after.
fn keys_of_a_shard_share_aggregates(endpoint: String) -> Result<(), Failed> {
    const SHARDS: u32 = 5;
    let boto3 = Boto3::new(endpoint.clone());
    boto3.create_stream("logs", SHARDS)?;
    let event = |id: usize| map([("id", id.into()), ("key", format!("key-{}-é", id % 200).into())]);
    let chunks = [0..10, 10..2010].map(|ids| chunk(&ids.map(event).collect::<Vec<_>>()));
    let instance = Instance::new(endpoint, "logs").keys("test", "test").pause(Duration::from_secs(32));
    let instance = instance.option("aggregation", "kpl").option("partition_key", "key").option("shard_map", "on");
    let report = instance.flush(&chunks)?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    let ranges: BTreeMap<String, std::ops::RangeInclusive<u128>> = boto3
        .shards("logs")?
        .into_iter()
        .map(|shard| Ok((shard.id, shard.start.parse()?..=shard.end.parse()?)))
        .collect::<Result<_, Failed>>()?;
    let records = boto3.read("logs")?;
    assert_eq!(records.len(), 10 + ranges.len(), "the first ten alone, and an aggregate for each shard");
    for (program, script) in [(python().as_path(), "consumer.py"), (Path::new("node"), "consumer.js")] {
        let data: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
        let opened: Vec<Vec<UserRecord>> = run(program, script, "deaggregate", &data)?;
        let mut found = Vec::new();
        for (record, inside) in records.iter().zip(opened) {
            if !record.data.starts_with(&kinesis::kinesis::kpl::MAGIC) {
                found.push((String::from_utf8(record.data.clone())?, record.partition_key.clone()));
                continue;
            }
            // What the Kinesis Client Library requires of each before passing it on.
            let range = ranges.get(&record.shard).ok_or("a shard that is not listed")?;
            for user in inside {
                let hash_key = user.explicit_hash_key.ok_or("a record without an explicit hash key")?;
                assert!(range.contains(&hash_key.parse()?), "{hash_key} is not of {}", record.shard);
                found.push((String::from_utf8(base64_simd::STANDARD.decode_to_vec(user.data)?)?, user.partition_key));
            }
        }
        found.sort();
        let key = |id: usize| format!("key-{}-é", id % 200);
        let mut expected: Vec<_> =
            (0..2010).map(|id| (format!(r#"{{"id":{id},"key":"{}"}}"#, key(id)), key(id))).collect();
        expected.sort();
        assert!(found == expected, "{} of {}", found.len(), expected.len());
    }
    Ok(())
}
