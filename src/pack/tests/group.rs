use std::collections::HashMap;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::compress::Kind;
use crate::kinesis::kpl::tests::user_records;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::size::Oversize;
use crate::record::{Alterations, Compression};

/// An event `{"k":key,"v":value}`, or `{"v":value}` without a key.
pub(super) fn event(key: &str, value: &str) -> Vec<u8> {
    let key = (!key.is_empty()).then(|| ("k".into(), key.into()));
    let body = rmpv::Value::Map(key.into_iter().chain([("v".into(), value.into())]).collect());
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
    out
}

pub(super) fn json(key: &str, value: &str) -> String {
    if key.is_empty() { format!(r#"{{"v":"{value}"}}"#) } else { format!(r#"{{"k":"{key}","v":"{value}"}}"#) }
}

/// A Kinesis record: the chunk's records in it, its data and its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) records: Vec<u32>,
    pub(super) data: Vec<u8>,
    pub(super) key: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    records: Vec<RequestRecord>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestRecord {
    data: String,
    partition_key: String,
}

pub(super) fn sent(batch: &Batch) -> Vec<Sent> {
    let request: Request = serde_json::from_slice(&batch.body()).unwrap();
    assert_eq!(request.records.len(), batch.entries().len());
    let decode = |text: &str| base64_simd::STANDARD.decode_to_vec(text).unwrap();
    let pairs = request.records.into_iter().zip(batch.entries());
    pairs
        .map(|(record, entry)| {
            let records = batch.records(entry).to_vec();
            let data = decode(&record.data);
            assert_eq!(entry.bytes(), data.len() + record.partition_key.len());
            Sent { records, data, key: record.partition_key }
        })
        .collect()
}

/// The batches of a chunk, the reported issues, and the packer at the end.
pub(super) fn pack(chunk: &[u8], settings: &RequestSettings) -> (Vec<Batch>, Vec<(u32, RecordIssue)>) {
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, settings, RecordSet::default());
    let (mut random, mut issues, mut batches) = (SmallRng::seed_from_u64(1), Vec::new(), Vec::new());
    while let Some(batch) = packer.next_batch(&mut random, &mut |index, issue| issues.push((index, issue))) {
        batches.push(batch);
    }
    (batches, issues)
}

pub(super) fn all_sent(chunk: &[u8], settings: &RequestSettings) -> Vec<Sent> {
    let (batches, issues) = pack(chunk, settings);
    assert_eq!(issues, []);
    batches.iter().flat_map(sent).collect()
}

pub(super) fn kpl(max_bytes: usize) -> RequestSettings {
    let aggregation = Some(Aggregation::Kpl { max_bytes, max_records: usize::MAX, by_shard: false });
    RequestSettings { aggregation, ..RequestSettings::default() }
}

pub(super) fn lines(max_bytes: usize) -> RequestSettings {
    let record = RecordSettings { newline: true, max_bytes, ..RecordSettings::default() };
    RequestSettings { aggregation: Some(Aggregation::Lines), record, ..RequestSettings::default() }
}

pub(super) fn compressed(mut settings: RequestSettings, kind: Kind) -> RequestSettings {
    settings.record.compression = Some(Compression { kind, level: None });
    settings
}

pub(super) fn keyed(mut settings: RequestSettings) -> RequestSettings {
    settings.record.partition_key = PartitionKey::Value(KeyPath::parse("k").unwrap());
    settings
}

fn inflated(data: &[u8]) -> String {
    String::from_utf8(zstd::decode_all(data).unwrap()).unwrap()
}

/// Incompressible texts.
pub(super) fn noise(length: usize, seed: u64) -> String {
    let mut random = SmallRng::seed_from_u64(seed);
    let text: String =
        (0..length.div_ceil(RANDOM_KEY_LENGTH)).map(|_| RandomKey::draw(&mut random).as_str().to_owned()).collect();
    text[..length].to_owned()
}

#[test]
fn records_without_a_key_share_an_aggregate_under_one_random_key() {
    let chunk = [event("", "a"), event("", "b"), event("", "c")].concat();
    let sent = all_sent(&chunk, &kpl(1000));
    let [only] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((only.records.as_slice(), only.key.len()), (&[0, 1, 2][..], RANDOM_KEY_LENGTH));
    let expected = ["a", "b", "c"].map(|value| (only.key.clone(), None, json("", value).into_bytes()));
    assert_eq!(user_records(&only.data), expected);
}

#[test]
fn each_aggregate_has_a_random_key_of_its_own() {
    let chunk: Vec<u8> = (0..100).flat_map(|number| event("", &number.to_string())).collect();
    let sent = all_sent(&chunk, &kpl(200));
    let keys: std::collections::HashSet<&str> = sent.iter().map(|sent| sent.key.as_str()).collect();
    assert!(sent.len() > 5 && keys.len() == sent.len(), "{} keys of {}", keys.len(), sent.len());
}

#[test]
fn different_keys_never_share_an_aggregate_and_each_keeps_its_order() {
    let keys = ["x", "y", "x", "", "y", "x", ""];
    let chunk: Vec<u8> = keys.iter().flat_map(|key| event(key, "1")).collect();
    for settings in [keyed(kpl(1000)), keyed(lines(1000))] {
        let mut sent = all_sent_but_keyless(&chunk, &settings);
        sent.sort_by_key(|sent| sent.records.clone());
        assert_eq!(
            sent.iter().map(|sent| sent.records.clone()).collect::<Vec<_>>(),
            [vec![0, 2, 5], vec![1, 4], vec![3, 6]]
        );
        assert_eq!([sent[0].key.as_str(), sent[1].key.as_str()], ["x", "y"]);
        assert_eq!(sent[2].key.len(), RANDOM_KEY_LENGTH);
    }
}

/// Records without a key are reported and sent.
pub(super) fn all_sent_but_keyless(chunk: &[u8], settings: &RequestSettings) -> Vec<Sent> {
    let (batches, issues) = pack(chunk, settings);
    let keyless =
        RecordIssue::Altered(Alterations { cut_from: None, no_partition_key: true, ..Alterations::default() });
    assert!(issues.iter().all(|(_, issue)| *issue == keyless), "{issues:?}");
    batches.iter().flat_map(sent).collect()
}

#[test]
fn a_record_alone_is_sent_as_it_is() {
    for settings in [keyed(kpl(1000)), kpl(1000)] {
        let sent = all_sent(&event("x", "1"), &settings);
        assert_eq!(sent[0].data, json("x", "1").into_bytes());
    }
}

#[test]
fn an_aggregate_is_filled_to_the_last_byte_and_not_beyond() {
    let chunk = [event("x", "1"), event("x", "2"), event("x", "3")].concat();
    let whole = all_sent(&chunk, &keyed(kpl(1000)))[0].data.len();
    let counts = |max_bytes| {
        let sent = all_sent(&chunk, &keyed(kpl(max_bytes)));
        sent.iter().map(|sent| sent.records.len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(whole), [3]);
    assert_eq!(counts(whole - 1), [2, 1]);
    let mut settings = keyed(kpl(1000));
    settings.record.max_bytes = whole + "x".len();
    assert_eq!(all_sent(&chunk, &settings).len(), 1, "the key counts for max_record_size");
    settings.record.max_bytes -= 1;
    assert_eq!(all_sent(&chunk, &settings).len(), 2);
}

#[test]
fn an_aggregate_has_at_most_so_many_records_as_are_allowed() {
    let chunk: Vec<u8> = (0..7).flat_map(|_| event("x", "1")).collect();
    let aggregation = Some(Aggregation::Kpl { max_bytes: 100_000, max_records: 3, by_shard: false });
    let settings = keyed(RequestSettings { aggregation, ..RequestSettings::default() });
    let counts: Vec<usize> = all_sent(&chunk, &settings).iter().map(|sent| sent.records.len()).collect();
    assert_eq!(counts, [3, 3, 1]);
}

/// AWS's Go plugin sends it immediately, before earlier records.
#[test]
fn a_record_too_large_for_an_aggregate_goes_alone_and_overtakes_nothing() {
    let large = "x".repeat(300);
    let chunk = [event("x", "1"), event("x", "2"), event("x", &large), event("x", "3"), event("x", "4")].concat();
    let sent = all_sent(&chunk, &keyed(kpl(200)));
    assert_eq!(sent.iter().map(|sent| sent.records.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2], vec![3, 4]]);
    assert_eq!(sent[1].data, json("x", &large).into_bytes());
}

#[test]
fn aggregates_are_full_when_input_is_plenty() {
    let max_bytes = 256 << 10;
    let chunk: Vec<u8> = (0..10_000).flat_map(|number| event("", &noise(100 + number % 300, 1))).collect();
    let sent = all_sent(&chunk, &kpl(max_bytes));
    let (_last, full) = sent.split_last().unwrap();
    assert!(full.len() >= 5);
    for sent in full {
        assert!(sent.data.len() <= max_bytes && sent.data.len() * 1000 >= max_bytes * 997, "{}", sent.data.len());
    }
}

#[test]
fn aggregates_and_blocks_fill_requests() {
    let chunk: Vec<u8> = (0..3000).flat_map(|_| event("", &"x".repeat(1000))).collect();
    for settings in [kpl(100_000), lines(100_000)] {
        let (batches, _) = pack(&chunk, &RequestSettings { max_bytes: 1 << 20, ..settings });
        let (_last, full) = batches.split_last().unwrap();
        assert!(full.len() >= 2, "three megabytes in requests of one");
        for batch in full {
            assert!(batch.entries().len() == 10 && batch.bytes() > 980_000, "{}", batch.bytes());
        }
    }
}

#[test]
fn an_aggregate_that_was_throttled_has_its_new_key_inside_too() {
    let chunk: Vec<u8> = (0..5).flat_map(|number| event("", &number.to_string())).collect();
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let (batches, _) = pack(&chunk, &RequestSettings { protocol, ..kpl(100) });
        let key = RandomKey::draw(&mut SmallRng::seed_from_u64(7));
        for batch in batches {
            let again = batch.only(|_| true, |_| Some(key));
            // Cutting again what was cut before changes nothing.
            let again = again.only(|_| true, |_| None);
            assert_eq!(again.bytes(), batch.bytes());
            let body = again.body();
            let data: Vec<(Vec<u8>, String)> = if protocol == Protocol::Json {
                sent(&again).into_iter().map(|sent| (sent.data, sent.key)).collect()
            } else {
                cbor(&body)
            };
            for ((data, outer), entry) in data.into_iter().zip(again.entries()) {
                assert_eq!(outer, key.as_str());
                if again.records(entry).len() == 1 {
                    continue;
                }
                let inside = user_records(&data);
                assert!(inside.iter().all(|(inner, _, _)| *inner == outer), "{inside:?}");
                let values: Vec<Vec<u8>> =
                    again.records(entry).iter().map(|index| json("", &index.to_string()).into_bytes()).collect();
                assert_eq!(inside.into_iter().map(|(_, _, data)| data).collect::<Vec<_>>(), values);
            }
        }
    }
}

fn cbor(body: &[u8]) -> Vec<(Vec<u8>, String)> {
    let request: ciborium::Value = ciborium::from_reader(body).unwrap();
    let member = |map: &ciborium::Value, name: &str| {
        let found = map.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name));
        found.unwrap().1.clone()
    };
    let records = member(&request, "Records");
    let records = records.as_array().unwrap().iter();
    records
        .map(|record| {
            let key = member(record, "PartitionKey").into_text().unwrap();
            (member(record, "Data").into_bytes().unwrap(), key)
        })
        .collect()
}

/// The C plugin's own vectors (tests/internal/aws_aggregation.c): ten records of ten bytes fit in 100 bytes, the next
/// does not.
#[test]
fn a_block_is_filled_to_the_last_byte_as_the_c_plugins() {
    let chunk: Vec<u8> = (0..11).flat_map(|_| event("", "x")).collect();
    let line = json("", "x").len() + 1;
    let counts = |max_bytes| {
        let sent = all_sent(&chunk, &lines(max_bytes + RANDOM_KEY_LENGTH));
        sent.iter().map(|sent| sent.records.len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(10 * line), [10, 1]);
    assert_eq!(counts(10 * line - 1), [9, 2]);
    assert_eq!(counts(11 * line), [11]);
}

#[test]
fn a_block_is_its_lines_each_ended_by_a_newline() {
    let chunk = [event("", "a"), event("", "b"), event("", "c")].concat();
    let text = format!("{}\n{}\n{}\n", json("", "a"), json("", "b"), json("", "c"));
    assert_eq!(all_sent(&chunk, &lines(1000))[0].data, text.as_bytes());
    let sent = all_sent(&chunk, &compressed(lines(1000), Kind::Zstd));
    assert_eq!((sent.len(), sent[0].records.as_slice()), (1, &[0, 1, 2][..]));
    assert_eq!(inflated(&sent[0].data), text);
}

#[test]
fn the_limit_of_a_block_holds_after_compression() {
    // 200 kB of text compress to about 2 kB.
    let chunk: Vec<u8> = (0..2000).flat_map(|number| event("", &format!("{}{}", "x".repeat(80), number % 7))).collect();
    let sent = all_sent(&chunk, &compressed(lines(20_000), Kind::Zstd));
    assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>());
    let chunk: Vec<u8> = (0..2000).flat_map(|number| event("", &noise(100, number))).collect();
    let sent = all_sent(&chunk, &compressed(lines(20_000), Kind::Zstd));
    let (_last, full) = sent.split_last().unwrap();
    assert!(full.len() > 5);
    for sent in full {
        let size = sent.data.len() + sent.key.len();
        assert!((17_000..=20_000).contains(&size), "{size}");
    }
    let text: String = sent.iter().map(|sent| inflated(&sent.data)).collect();
    assert_eq!(text, (0..2000).map(|number| json("", &noise(100, number)) + "\n").collect::<String>());
}

#[test]
fn a_line_too_large_for_a_block_is_cut_or_refused_alone_and_overtakes_nothing() {
    let large = noise(3000, 1);
    let chunk = [event("key", "1"), event("key", &large), event("key", "2")].concat();
    for kind in [None, Some(Kind::Zstd)] {
        let settings = keyed(lines(1000));
        let mut settings = kind.map_or(settings.clone(), |kind| compressed(settings, kind));
        let (batches, issues) = pack(&chunk, &settings);
        let cut_from = Some(json("key", &large).len() + "\nkey".len());
        let cut = RecordIssue::Altered(Alterations { cut_from, ..Alterations::default() });
        assert_eq!(issues, [(1, cut)]);
        let sent: Vec<Sent> = batches.iter().flat_map(sent).collect();
        assert_eq!(sent.iter().flat_map(|sent| sent.records.clone()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(sent.iter().all(|sent| sent.data.len() < 1000));
        let text = |sent: &Sent| match kind {
            Some(_) => inflated(&sent.data),
            None => String::from_utf8(sent.data.clone()).unwrap(),
        };
        let all: String = sent.iter().map(text).collect();
        let lines: Vec<&str> = all.lines().collect();
        assert!(lines.len() == 3 && lines[1].ends_with("[Truncated...]"), "{lines:?}");

        settings.record.oversize = Oversize::Discard;
        let (batches, issues) = pack(&chunk, &settings);
        assert_eq!(issues, [(1, RecordIssue::Refused(Refusal::TooLarge))]);
        assert_eq!(records(&batches), [0, 2]);
    }
}

fn records(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|batch| batch.entries().iter().flat_map(|entry| batch.records(entry).to_vec())).collect()
}

#[test]
fn the_events_of_a_chunk_are_as_many_whatever_is_packed() {
    let chunk: Vec<u8> = (0..10).flat_map(|_| event("", &"x".repeat(50))).collect();
    let stream = Stream::parse("logs").unwrap();
    for settings in [kpl(200), lines(200), compressed(lines(200), Kind::Zstd)] {
        let settings = RequestSettings { max_records: 1, ..settings };
        let done = RecordSet::from_iter([0, 4]);
        let mut packer = Packer::new(&chunk, b"app", &stream, &settings, done);
        let mut left = 8;
        loop {
            assert_eq!(packer.events(), 10);
            let Some(batch) = packer.next_batch(&mut SmallRng::seed_from_u64(1), &mut |_, _| {}) else { break };
            left -= batch.record_count();
        }
        assert_eq!(left, 0);
    }
}

fn batches(mut packer: Packer<'_>) -> Vec<Batch> {
    std::iter::from_fn(|| packer.next_batch(&mut SmallRng::seed_from_u64(1), &mut |_, _| {})).collect()
}

#[test]
fn only_the_records_that_are_chosen_are_packed() {
    let chunk: Vec<u8> = (0..10).flat_map(|_| event("", &"x".repeat(50))).collect();
    let stream = Stream::parse("logs").unwrap();
    for settings in [RequestSettings::default(), kpl(200), lines(200), compressed(lines(200), Kind::Zstd)] {
        let packer = Packer::new(&chunk, b"app", &stream, &settings, RecordSet::from_iter([3, 4]));
        let chosen = batches(packer.only(RecordSet::from_iter([2, 3, 9])));
        assert_eq!(records(&chosen), [2, 3, 9]);
    }
}

#[test]
fn smaller_limits_make_smaller_groups_and_requests_and_cut_no_record() {
    let long = noise(300, 1);
    let chunk: Vec<u8> = (0..10).flat_map(|_| event("", &long)).collect();
    let stream = Stream::parse("logs").unwrap();
    for settings in [kpl(10_000), lines(10_000), compressed(lines(10_000), Kind::Zstd)] {
        let pack = |limits: Limits| {
            let mut packer = Packer::new(&chunk, b"app", &stream, &settings, RecordSet::default());
            packer.set_limits(limits);
            let packed = batches(packer);
            assert_eq!(records(&packed), (0..10).collect::<Vec<_>>());
            packed
        };
        let most = Limits::of(&settings);
        let groups = |batches: &[Batch]| -> Vec<Vec<usize>> {
            let of = |batch: &Batch| batch.entries().iter().map(|entry| batch.records(entry).len()).collect();
            batches.iter().map(of).collect()
        };
        assert_eq!(groups(&pack(most)), [[10]], "{:?}", settings.aggregation);
        assert_eq!(groups(&pack(Limits { group_records: 4, ..most })), [[4, 4, 2]], "{:?}", settings.aggregation);
        assert_eq!(groups(&pack(most.alone())), vec![vec![1]; 10], "{:?}", settings.aggregation);
        let tiny = pack(Limits { group_bytes: 50, ..most });
        assert_eq!(groups(&tiny), [[1; 10]], "{:?}", settings.aggregation);
        let pairs = pack(Limits { group_records: 1, request_bytes: 2 * tiny[0].entries()[0].bytes() + 50, ..most });
        assert_eq!(groups(&pairs), [[1, 1]; 5], "{:?}", settings.aggregation);
    }
}

#[test]
fn what_is_open_at_the_end_is_completed_in_the_order_of_its_last_record() {
    let chunk: Vec<u8> = (0..60).flat_map(|number| event(&format!("key-{}", number % 30), "1")).collect();
    for settings in [keyed(kpl(10_000)), keyed(lines(10_000))] {
        let last: Vec<u32> = all_sent(&chunk, &settings).iter().map(|sent| sent.records[1]).collect();
        assert_eq!(last, (30..60).collect::<Vec<_>>());
    }
}

#[test]
fn with_more_keys_than_can_be_open_the_oldest_is_completed() {
    let key = |number: usize| format!("key-{}", number % (2 * keyed_lru::MAX_OPEN));
    let chunk: Vec<u8> = (0..4 * keyed_lru::MAX_OPEN).flat_map(|number| event(&key(number), "1")).collect();
    for settings in [keyed(kpl(10_000)), keyed(lines(10_000))] {
        let sent = all_sent(&chunk, &settings);
        assert_eq!(sent.len(), 4 * keyed_lru::MAX_OPEN, "no key comes again before it is the oldest");
        assert!(sent.iter().all(|sent| sent.key == key(sent.records[0] as usize)));
    }
}

#[test]
fn as_many_keys_are_open_as_can_be_and_not_one_more() {
    for (keys, groups) in
        [(keyed_lru::MAX_OPEN, keyed_lru::MAX_OPEN), (keyed_lru::MAX_OPEN + 1, 2 * keyed_lru::MAX_OPEN + 2)]
    {
        let chunk: Vec<u8> = (0..2 * keys).flat_map(|number| event(&format!("key-{}", number % keys), "1")).collect();
        for settings in [keyed(kpl(10_000)), keyed(lines(10_000))] {
            assert_eq!(all_sent(&chunk, &settings).len(), groups, "{keys}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_record_is_in_exactly_one_group_of_its_key_in_order_within_every_limit(
        events in proptest::collection::vec((0usize..5, 0usize..300), 0..200),
        max_bytes in 64usize..2000,
        request_records in 1usize..20,
        request_bytes in 1usize..5000,
        as_lines: bool,
        compresses: bool,
        skipped in proptest::collection::hash_set(0u32..200, 0..20),
    ) {
        let keys = ["", "a", "b", "key-c", "d"];
        let value = |index: usize, length: usize| noise(length, index as u64);
        let chunk: Vec<u8> =
            (0..).zip(&events).flat_map(|(index, &(key, length))| event(keys[key], &value(index, length))).collect();
        let settings = if as_lines { lines(max_bytes + 10) } else { kpl(max_bytes) };
        let settings = if compresses { compressed(settings, Kind::Zstd) } else { settings };
        let settings =
            keyed(RequestSettings { max_records: request_records, max_bytes: request_bytes, ..settings });
        let stream = Stream::parse("logs").unwrap();
        let done = RecordSet::from_iter(skipped.iter().copied());
        let mut packer = Packer::new(&chunk, b"app", &stream, &settings, done);
        let (mut random, mut refused, mut cut) = (SmallRng::seed_from_u64(1), Vec::new(), Vec::new());
        let mut of_key: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut report = |index, issue| match issue {
            RecordIssue::Altered(Alterations { cut_from: Some(_), .. }) => cut.push(index),
            RecordIssue::Altered(_) => {}
            _ => refused.push(index),
        };
        let mut contents: HashMap<u32, Vec<u8>> = HashMap::new();
        while let Some(batch) = packer.next_batch(&mut random, &mut report) {
            prop_assert!(batch.entries().len() <= request_records);
            prop_assert!(batch.bytes() <= request_bytes || batch.entries().len() == 1);
            for sent in sent(&batch) {
                prop_assert!(sent.data.len() + sent.key.len() <= settings.record.max_bytes);
                let parts: Vec<Vec<u8>> = if as_lines {
                    let text = if compresses { inflated(&sent.data).into_bytes() } else { sent.data.clone() };
                    text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
                } else if sent.records.len() > 1 {
                    prop_assert!(sent.data.len() <= max_bytes);
                    let inside = user_records(&sent.data);
                    prop_assert!(inside.iter().all(|(key, hash_key, _)| *key == sent.key && hash_key.is_none()));
                    inside.into_iter().map(|(_, _, data)| data).collect()
                } else {
                    vec![sent.data.clone()]
                };
                prop_assert_eq!(parts.len(), sent.records.len());
                for (&record, part) in sent.records.iter().zip(parts) {
                    let key = keys[events[record as usize].0];
                    prop_assert!(key.is_empty() || key == sent.key);
                    of_key.entry(key).or_default().push(record);
                    let part = if compresses && !as_lines { inflated(&part).into_bytes() } else { part };
                    contents.insert(record, part);
                }
            }
        }
        for records in of_key.values() {
            prop_assert!(records.is_sorted(), "{:?}", records);
        }
        for (index, &(key, length)) in (0..).zip(&events) {
            let is_sent = contents.contains_key(&index);
            prop_assert_eq!(is_sent, !skipped.contains(&index) && !refused.contains(&index), "{}", index);
            if is_sent && !cut.contains(&index) {
                let newline = if as_lines { "\n" } else { "" };
                let expected = json(keys[key], &value(index as usize, length)) + newline;
                prop_assert_eq!(contents[&index].as_slice(), expected.as_bytes());
            }
        }
        let count = of_key.values().map(Vec::len).sum::<usize>();
        prop_assert_eq!(count, contents.len(), "no record is in two groups");
    }
}
