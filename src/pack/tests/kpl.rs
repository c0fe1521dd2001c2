//! Aggregates by shard, and records that go alone.

use rand::SeedableRng;

use super::group::{event, json, keyed, kpl, sent};
use super::*;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::shards::{Page, hash_key};
use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;

/// Two shards, each with one half of all hash keys.
fn shards() -> Rc<ShardMap> {
    let middle = u128::MAX / 2;
    let shard = |id: &str, start: u128, end: u128| {
        format!(r#"{{"ShardId":"{id}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}}}}"#)
    };
    let page = format!(r#"{{"Shards":[{},{}]}}"#, shard("low", 0, middle), shard("high", middle + 1, u128::MAX));
    Rc::new(ShardMap::new(Page::parse(page.as_bytes()).unwrap().shards).unwrap())
}

fn by_shard(max_bytes: usize) -> RequestSettings {
    let aggregation = Some(Aggregation::Kpl { max_bytes, max_records: usize::MAX, by_shard: true });
    keyed(RequestSettings { aggregation, ..kpl(max_bytes) })
}

/// The only batch of a chunk.
fn batch(chunk: &[u8], settings: &RequestSettings) -> Batch {
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, settings, RecordSet::default()).with_shards(Some(shards()));
    let mut random = SmallRng::seed_from_u64(1);
    let batch = packer.next_batch(&mut random, &mut |_, _| {}).unwrap();
    assert!(packer.next_batch(&mut random, &mut |_, _| {}).is_none());
    batch
}

/// For each Kinesis record, the chunk's records in it and its shard.
fn shards_of(batch: &Batch) -> Vec<(Vec<u32>, Option<&str>)> {
    let entries = batch.entries().iter();
    entries.map(|entry| (batch.records(entry).to_vec(), batch.shard(entry).map(|shard| shard.id.as_str()))).collect()
}

fn owner(key: &str) -> String {
    shards().owner(hash_key(key)).unwrap().id.clone()
}

/// They would otherwise be spread over the shards, one aggregate each, and stay on a throttled shard.
#[test]
fn records_without_a_key_share_one_aggregate_that_may_go_to_any_shard() {
    let chunk: Vec<u8> = (0..40).flat_map(|number| event("", &number.to_string())).collect();
    let batch = batch(&chunk, &by_shard(100_000));
    assert_eq!(shards_of(&batch), [((0..40).collect(), None)]);
    assert!(batch.entries()[0].random_key);
    assert!(!String::from_utf8(batch.body().to_vec()).unwrap().contains("ExplicitHashKey"));
}

#[test]
fn a_record_that_is_alone_goes_to_its_shard_as_aggregates_do() {
    let alone = batch(&event("x", "1"), &by_shard(1000));
    assert_eq!(sent(&alone)[0].data, json("x", "1").into_bytes());
    assert_eq!(shards_of(&alone), [(vec![0], Some(owner("x").as_str()))]);
    assert!(String::from_utf8(alone.body().to_vec()).unwrap().contains("ExplicitHashKey"));
    // Too large for any aggregate.
    let large = batch(&event("x", &"1".repeat(300)), &by_shard(200));
    assert_eq!(shards_of(&large), [(vec![0], Some(owner("x").as_str()))]);
    assert!(String::from_utf8(large.body().to_vec()).unwrap().contains("ExplicitHashKey"));
}

/// An aggregate made by someone else inside one of our events: its keys are the user's data.
#[test]
fn a_record_alone_keeps_its_bytes_when_it_gets_another_key_whatever_they_are() {
    let mut container = Vec::new();
    let mut theirs = crate::kinesis::kpl::Aggregate::default();
    theirs.push(&"k".repeat(RANDOM_KEY_LENGTH), None, b"one");
    theirs.push(&"k".repeat(RANDOM_KEY_LENGTH), None, b"two");
    theirs.finish(&mut container);
    crate::kinesis::kpl::write_digests([container.as_mut_slice()].into_iter());
    let body = rmpv::Value::Map(vec![("v".into(), rmpv::Value::Binary(container.clone()))]);
    let mut chunk = Vec::new();
    rmpv::encode::write_value(&mut chunk, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
    let mut settings = kpl(100_000);
    settings.record.format = Format::Value(KeyPath::parse("v").unwrap());
    settings.record.partition_key = PartitionKey::Random;
    let batch = batch(&chunk, &settings);
    assert_eq!(sent(&batch)[0].data, container);
    let key = RandomKey::draw(&mut SmallRng::seed_from_u64(7));
    let again = batch.only(|_| true, |_| Some(key));
    assert_eq!((sent(&again)[0].key.as_str(), &sent(&again)[0].data), (key.as_str(), &container));
}
