//! Compares the one-pass encoder with the two-pass one, which is forced by a partition key that no event has, or by a
//! chunk that is too short.

use proptest::prelude::*;
use rand::SeedableRng;
use rmpv::Value;

use super::*;
use crate::record::Alterations;
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::shape::{Selection, Shape};
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;

const TIME: u32 = 1_600_000_000;

fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

/// An event as Fluent Bit 5 writes it.
fn event(seconds: u32, body: &[u8]) -> Vec<u8> {
    [b"\x92\x92\xd7\0", &seconds.to_be_bytes()[..], &[0; 4], b"\x80", body].concat()
}

/// A map.
fn body() -> BoxedStrategy<Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::F64),
        "[ -~é\n]{0,60}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Binary),
    ];
    let value = leaf.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec(("[a-c]{1,2}".prop_map(Value::from), inner.clone()), 0..6).prop_map(Value::Map),
            proptest::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    });
    let key = prop_oneof!["[a-d.]", "[a-z]{1,40}"].prop_map(Value::from);
    let entries = proptest::collection::vec((key, value), 0..8);
    entries.prop_map(|entries| bytes(&Value::Map(entries))).boxed()
}

/// Anything that a chunk may contain, including what it should not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => body().prop_map(|body| event(TIME, &body)),
        1 => body().prop_map(|body| [&b"\x92\xd7\0\x5f\x5e\x10\0\0\0\0\0"[..], &body].concat()),
        1 => body().prop_map(|body| [&b"\x92\x05"[..], &body].concat()),
        // Group markers.
        1 => (prop_oneof![Just(u32::MAX), Just(u32::MAX - 1)], body())
            .prop_map(|(seconds, body)| event(seconds, &body)),
        1 => Just(event(TIME, b"\x93\x01\x02\x03")),
        // Deeper than records may be.
        1 => Just(event(TIME, &[&b"\x81\xa1d".repeat(1100)[..], b"\x01"].concat())),
        // Not UTF-8, as a value and as a key.
        1 => Just(event(TIME, b"\x82\xa1k\xa3a\xffb\xa2\xff\xfe\x01")),
        1 => (body(), any::<prop::sample::Index>())
            .prop_map(|(body, end)| { let event = event(TIME, &body); event[..end.index(event.len())].to_vec() }),
    ]
}

/// The records that are sent, their data, their keys unless they are random, and their hash keys; and what is reported.
type Packed = (Vec<(Vec<u32>, String, Option<String>, Option<String>)>, Vec<(u32, RecordIssue)>);

/// What is sent, with the records in it, and what is reported about them.
fn pack(chunk: &[u8], settings: &RequestSettings, done: &RecordSet) -> Packed {
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, settings, done.clone());
    let (mut random, mut records, mut issues) = (SmallRng::seed_from_u64(1), Vec::new(), Vec::new());
    while let Some(batch) = packer.next_batch(&mut random, &mut |record, issue| {
        let RecordIssue::Altered(alterations) = issue else { return issues.push((record, issue)) };
        let alterations = Alterations { no_partition_key: false, ..alterations };
        if alterations != Alterations::default() {
            issues.push((record, RecordIssue::Altered(alterations)));
        }
    }) {
        let body: serde_json::Value = serde_json::from_slice(&batch.body()).unwrap();
        let sent = body["Records"].as_array().unwrap();
        assert_eq!(sent.len(), batch.entries().len());
        records.extend(batch.entries().iter().zip(sent).map(|(entry, sent)| {
            let text = |name: &str| sent[name].as_str().unwrap().to_owned();
            let hash_key = sent["ExplicitHashKey"].as_str().map(str::to_owned);
            // Under a hash key, it may be random all the same.
            let key = (!entry.random_key && hash_key.is_none()).then(|| text("PartitionKey"));
            (batch.records(entry).to_vec(), text("Data"), key, hash_key)
        }));
    }
    (records, issues)
}

proptest! {
    #[test]
    fn one_pass_makes_the_records_and_the_issues_of_two(
        pieces in proptest::collection::vec(piece(), 0..20),
        newline in any::<bool>(),
        max_bytes in prop_oneof![Just(1 << 20), 40usize..400],
        oversize in prop_oneof![Just(Oversize::Truncate), Just(Oversize::Discard)],
        aggregation in prop_oneof![Just(None), Just(Some(Aggregation::Lines))],
        done in proptest::collection::vec(0u32..20, 0..5),
    ) {
        let chunk = pieces.concat();
        let done = RecordSet::from_iter(done);
        let record = RecordSettings { newline, max_bytes, oversize, ..RecordSettings::default() };
        let one_pass = RequestSettings { max_records: 7, aggregation, record, ..RequestSettings::default() };
        let mut two = one_pass.clone();
        two.record.partition_key = PartitionKey::parse("no such key").unwrap();
        prop_assert_eq!(pack(&chunk, &one_pass, &done), pack(&chunk, &two, &done));
    }

    /// A chunk of one record is too short for its keys to be known from another.
    #[test]
    fn records_whose_keys_repeat_are_packed_as_each_by_itself(
        bodies in proptest::collection::vec(body(), 1..4),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        newline in any::<bool>(),
        max_bytes in prop_oneof![Just(1 << 20), 40usize..400],
        oversize in prop_oneof![Just(Oversize::Truncate), Just(Oversize::Discard)],
        partition_key in prop_oneof![Just(None), "[a-d]".prop_map(Some), Just(Some("$TAG".to_owned())), Just(Some("time".to_owned()))]
            .prop_map(|path| path.map_or(PartitionKey::Random, |path| PartitionKey::parse(&path).unwrap())),
        time_key in prop_oneof![Just(None), Just(Some("time".to_owned())), Just(Some("a".to_owned()))],
        time_format in prop_oneof![Just("%s.%3N"), Just("epoch_ms"), Just("\"%Y")],
        exclude in prop_oneof![Just(None), "[a-d]".prop_map(Some)],
        replace_dots in prop_oneof![Just(None), Just(Some(".".to_owned()))],
        adds_tag in any::<bool>(),
        has_hash_key in any::<bool>(),
    ) {
        let exclude = exclude.map(|path| Selection::new(&[KeyPath::parse(&path).unwrap()]));
        let tag_key = adds_tag.then(|| "tag".to_owned());
        let explicit_hash_key = has_hash_key.then(|| KeyPath::parse("b").unwrap());
        let shape = Shape { exclude, time_key, replace_dots, tag_key, ..Shape::default() };
        let time_format = TimeFormat::parse(time_format).unwrap();
        let record = RecordSettings {
            shape, time_format, newline, max_bytes, oversize, partition_key, explicit_hash_key, ..RecordSettings::default()
        };
        let settings = RequestSettings { max_records: 7, record, ..RequestSettings::default() };
        let events: Vec<Vec<u8>> = order.iter().map(|index| event(TIME, index.get::<Vec<u8>>(&bodies))).collect();
        let mut expected = Packed::default();
        for (number, event) in (0..).zip(&events) {
            let (records, issues) = pack(event, &settings, &RecordSet::default());
            expected.0.extend(records.into_iter().map(|(_, data, key, hash_key)| (vec![number], data, key, hash_key)));
            expected.1.extend(issues.into_iter().map(|(_, issue)| (number, issue)));
        }
        prop_assert_eq!(pack(&events.concat(), &settings, &RecordSet::default()), expected);
    }
}
