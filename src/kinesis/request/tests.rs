use super::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

const KEY: &str = "123456789";

fn batch(protocol: Protocol) -> Batch {
    match protocol {
        Protocol::Json => batch_in::<Json>(),
        Protocol::Cbor => batch_in::<Cbor>(),
    }
}

fn batch_in<W: Wire>() -> Batch {
    let mut builder = BatchBuilder::<W>::new(&Stream::parse("logs").unwrap(), Vec::new());
    builder.push(4, b"first", KEY, true);
    builder.open().extend_from_slice(b"forgotten");
    assert_eq!(builder.data(), b"forgotten");
    builder.push(7, b"", "k\"ey", false);
    builder.push(9, &[0xff, 0x00], "bbbbbbbbb", true);
    builder.open().extend_from_slice(b"forgotten");
    builder.finish()
}

fn json(batch: &Batch) -> String {
    String::from_utf8(batch.body().to_vec()).unwrap()
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    stream_name: String,
    records: Vec<Record>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    data: ciborium::Value,
    partition_key: String,
}

/// What another library reads from a CBOR body: data and keys.
fn cbor(batch: &Batch) -> Vec<(Vec<u8>, String)> {
    let request: Request = ciborium::from_reader(&batch.body()[..]).unwrap();
    assert_eq!(request.stream_name, "logs");
    request.records.into_iter().map(|record| (record.data.into_bytes().unwrap(), record.partition_key)).collect()
}

#[test]
fn the_body_is_what_the_api_reference_shows() {
    assert_eq!(
        json(&batch(Protocol::Json)),
        r#"{"StreamName":"logs","Records":[{"Data":"Zmlyc3Q=","PartitionKey":"123456789"},{"Data":"","PartitionKey":"k\"ey"},{"Data":"/wA=","PartitionKey":"bbbbbbbbb"}]}"#
    );
}

#[test]
fn a_body_in_cbor_has_the_members_of_json_and_records_as_they_are() {
    let key = |text: &str| text.to_owned();
    assert_eq!(
        cbor(&batch(Protocol::Cbor)),
        [(b"first".to_vec(), key(KEY)), (vec![], key("k\"ey")), (vec![0xff, 0], key("bbbbbbbbb"))]
    );
    let mut builder = BatchBuilder::<Cbor>::new(&Stream::parse("logs").unwrap(), Vec::new());
    for length in [1, 23, 24, 255, 256, 1024] {
        builder.push(0, &vec![7; 70_000], &"k".repeat(length), false);
    }
    let read = cbor(&builder.finish());
    assert_eq!(read.iter().map(|(_, key)| key.len()).collect::<Vec<_>>(), [1, 23, 24, 255, 256, 1024]);
    assert!(read.iter().all(|(data, _)| *data == [7; 70_000]));
}

#[test]
fn what_kinesis_counts_is_data_and_key_in_either_protocol() {
    for protocol in [Protocol::Json, Protocol::Cbor] {
        assert_eq!(batch(protocol).entries().iter().map(|e| e.bytes()).collect::<Vec<_>>(), [5 + 9, 4, 2 + 9]);
        assert_eq!(batch(protocol).bytes(), 14 + 4 + 11);
    }
}

#[test]
fn an_arn_is_sent_as_stream_arn() {
    let arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/logs";
    let stream = Stream::parse(arn).unwrap();
    let batch = BatchBuilder::<Json>::new(&stream, Vec::new()).finish();
    assert_eq!(json(&batch), format!(r#"{{"StreamARN":"{arn}","Records":[]}}"#));
    let batch = BatchBuilder::<Cbor>::new(&stream, Vec::new()).finish();
    assert_eq!(batch.body()[..], [b"\xbf\x69StreamARN\x78\x32", arn.as_bytes(), b"\x67Records\x9f\xff\xff"].concat());
}

#[test]
fn what_is_cut_out_keeps_its_bytes_and_its_record() {
    let rest = batch(Protocol::Json).only(|index| index != 1, |_| None);
    assert_eq!(
        json(&rest),
        r#"{"StreamName":"logs","Records":[{"Data":"Zmlyc3Q=","PartitionKey":"123456789"},{"Data":"/wA=","PartitionKey":"bbbbbbbbb"}]}"#
    );
    assert_eq!(rest.entries().iter().map(|e| e.record).collect::<Vec<_>>(), [4, 9]);
    assert_eq!(json(&rest.only(|_| true, |_| None)), json(&rest));
    assert_eq!(rest.bytes(), 14 + 11);
    let rest = batch(Protocol::Cbor).only(|index| index != 0, |_| None).only(|_| true, |_| None);
    assert_eq!(cbor(&rest), [(vec![], "k\"ey".to_owned()), (vec![0xff, 0], "bbbbbbbbb".to_owned())]);
}

#[test]
fn only_random_keys_are_drawn_again() {
    let mut random = SmallRng::seed_from_u64(1);
    let key = RandomKey::draw(&mut random);
    let new = |protocol| batch(protocol).only(|_| true, |_| Some(key));
    let key = key.as_str();
    assert_eq!(
        json(&new(Protocol::Json)),
        format!(
            r#"{{"StreamName":"logs","Records":[{{"Data":"Zmlyc3Q=","PartitionKey":"{key}"}},{{"Data":"","PartitionKey":"k\"ey"}},{{"Data":"/wA=","PartitionKey":"{key}"}}]}}"#
        )
    );
    let keys: Vec<String> = cbor(&new(Protocol::Cbor)).into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [key, "k\"ey", key]);
    for protocol in [Protocol::Json, Protocol::Cbor] {
        assert_eq!(new(protocol).entries().iter().map(|e| e.bytes()).collect::<Vec<_>>(), [5 + 9, 4, 2 + 9]);
        assert_eq!(new(protocol).bytes(), 14 + 4 + 11);
    }
}

fn batch_with_hash_key<W: Wire>() -> Batch {
    let mut builder = BatchBuilder::<W>::new(&Stream::parse("logs").unwrap(), Vec::new());
    builder.push(0, b"x", "a", true);
    builder.open().push(b'x');
    builder.close_with_hash_key(1, "b", "340282366920938463463374607431768211455");
    builder.finish()
}

#[test]
fn a_record_with_a_hash_key_keeps_it_and_its_random_key_when_it_is_sent_again() {
    let largest = "340282366920938463463374607431768211455";
    let key = RandomKey::draw(&mut SmallRng::seed_from_u64(1));
    let entry = format!(r#"{{"Data":"eA==","PartitionKey":"b","ExplicitHashKey":"{largest}"}}]}}"#);
    let batch = batch_with_hash_key::<Json>();
    assert!(json(&batch).ends_with(&entry), "{}", json(&batch));
    let again = batch.only(|index| index == 1, |_| Some(key));
    assert_eq!(json(&again), format!(r#"{{"StreamName":"logs","Records":[{entry}"#));
    assert_eq!((again.entries()[0].random_key, again.bytes()), (false, 2), "Kinesis does not count it");
    let again = batch_with_hash_key::<Cbor>().only(|index| index == 1, |_| Some(key));
    let head = b"\xbf\x6aStreamName\x64logs\x67Records\x9f\xa3\x64Data\x5a\0\0\0\x01x\x6cPartitionKey\x61b";
    let expected = [head, &b"\x6fExplicitHashKey\x78\x27"[..], largest.as_bytes(), b"\xff\xff"].concat();
    assert_eq!(again.body()[..], expected);
}

fn without_keys<W: Wire>() -> Batch {
    let mut builder = BatchBuilder::<W>::new(&Stream::parse("logs").unwrap(), Vec::new()).omit_random_keys(true);
    let key = RandomKey::draw(&mut SmallRng::seed_from_u64(2));
    builder.open().extend_from_slice(b"first");
    builder.close_with_random_key(4, key);
    builder.push_group(Group { random_key: true, ..group("random", false) });
    builder.push_group(Group { random_key: true, is_aggregate: true, ..group("random", false) });
    builder.finish()
}

#[test]
fn random_keys_are_left_out_for_a_stream_that_ignores_them_and_can_be_added_again() {
    let key = RandomKey::draw(&mut SmallRng::seed_from_u64(3));
    let [first, group] = [r#"{"Data":"Zmlyc3Q=""#, r#"{"Data":"eA==""#];
    let aggregate = r#"{"Data":"eA==","PartitionKey":"random"}"#;
    let head = r#"{"StreamName":"logs","Records":["#;
    let batch = without_keys::<Json>();
    assert_eq!(json(&batch), format!("{head}{first}}},{group}}},{aggregate}]}}"));
    assert!(batch.lacks_keys());
    let cut = batch.only(|index| index > 0, |_| Some(key));
    assert!(json(&cut).starts_with(&format!("{head}{group}}},{{")), "what has no key gets none: {}", json(&cut));
    let keyed = batch.with_keys(|| key);
    assert!(!keyed.lacks_keys());
    let member = format!(r#","PartitionKey":"{}"}}"#, key.as_str());
    assert_eq!(json(&keyed), format!("{head}{first}{member},{group}{member},{aggregate}]}}"));
    assert_eq!(keyed.bytes(), batch.bytes(), "keys were counted before");
    assert_eq!(keyed.hash_key(&keyed.entries()[0]), Some(hash_key(key.as_str())));
    assert_eq!(batch.hash_key(&batch.entries()[0]), None);

    let batch = without_keys::<Cbor>();
    let data = |data: &str| [b"\x64Data\x5a\0\0\0", [data.len() as u8].as_slice(), data.as_bytes()].concat();
    let entry = |map: u8, text: &str, key: &str| {
        let key = if key.is_empty() { Vec::new() } else { format!("\x6cPartitionKey\x66{key}").into_bytes() };
        [vec![map], data(text), key].concat()
    };
    let body = |first: &[u8], second: &[u8]| {
        let head = b"\xbf\x6aStreamName\x64logs\x67Records\x9f".as_slice();
        [head, first, second, &entry(0xa2, "x", "random"), b"\xff\xff"].concat()
    };
    assert_eq!(batch.body(), body(&entry(0xa1, "first", ""), &entry(0xa1, "x", "")));
    let keyed = batch.with_keys(|| key);
    let key = key.as_str();
    assert_eq!(keyed.body(), body(&entry(0xa2, "first", key), &entry(0xa2, "x", key)));
    assert_eq!(keyed.hash_key(&keyed.entries()[2]), Some(hash_key("random")));
}

#[test]
fn a_hash_key_is_that_of_the_shard_or_of_the_key_whatever_characters_it_has() {
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let keys = batch(protocol);
        let expected = [KEY, "k\"ey", "bbbbbbbbb"].map(|key| Some(hash_key(key)));
        assert_eq!(keys.entries().iter().map(|entry| keys.hash_key(entry)).collect::<Vec<_>>(), expected);
        let groups = match protocol {
            Protocol::Json => batch_of_groups::<Json>(),
            Protocol::Cbor => batch_of_groups::<Cbor>(),
        };
        let expected = [Some(49), Some(hash_key("b")), Some(49)];
        assert_eq!(groups.entries().iter().map(|entry| groups.hash_key(entry)).collect::<Vec<_>>(), expected);
    }
}

/// A group for the middle of the hash key range.
fn group(key: &str, shard: bool) -> Group {
    let page = br#"{"Shards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"99"}}]}"#;
    let shard = shard.then(|| Rc::new(crate::kinesis::shards::Page::parse(page).unwrap().shards.remove(0)));
    Group { records: vec![1, 2], data: b"x".to_vec(), key: key.to_owned(), shard, ..Group::default() }
}

fn batch_of_groups<W: Wire>() -> Batch {
    let mut builder = BatchBuilder::<W>::new(&Stream::parse("logs").unwrap(), Vec::new());
    for (key, shard) in [("a", true), ("b", false), ("c", true)] {
        builder.push_group(group(key, shard));
    }
    builder.finish()
}

#[test]
fn a_group_for_a_shard_has_an_explicit_hash_key_and_keeps_it_when_it_is_sent_again() {
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let batch = match protocol {
            Protocol::Json => batch_of_groups::<Json>(),
            Protocol::Cbor => batch_of_groups::<Cbor>(),
        };
        let again = batch.only(|index| index > 0, |_| None).only(|_| true, |_| None);
        assert_eq!(again.entries().iter().map(|entry| entry.bytes()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(again.entries().iter().map(|entry| again.shard(entry).is_some()).collect::<Vec<_>>(), [false, true]);
        match protocol {
            Protocol::Json => {
                let rest =
                    r#"{"Data":"eA==","PartitionKey":"b"},{"Data":"eA==","PartitionKey":"c","ExplicitHashKey":"49"}]}"#;
                let first = r#"{"Data":"eA==","PartitionKey":"a","ExplicitHashKey":"49"},"#;
                assert_eq!(json(&batch), format!(r#"{{"StreamName":"logs","Records":[{first}{rest}"#));
                assert_eq!(json(&again), format!(r#"{{"StreamName":"logs","Records":[{rest}"#));
            }
            Protocol::Cbor => {
                let head = b"\xbf\x6aStreamName\x64logs\x67Records\x9f".as_slice();
                let entry = |map: u8, key: &str, hash_key: &str| {
                    let data = b"\x64Data\x5a\0\0\0\x01x\x6cPartitionKey\x61".as_slice();
                    [&[map], data, key.as_bytes(), hash_key.as_bytes()].concat()
                };
                let hash_key = "\x6fExplicitHashKey\x6249";
                let rest = [entry(0xa2, "b", ""), entry(0xa3, "c", hash_key), b"\xff\xff".to_vec()].concat();
                let first = entry(0xa3, "a", hash_key);
                assert_eq!(batch.body(), [head, &first, &rest].concat());
                assert_eq!(again.body(), [head, &rest].concat());
            }
        }
    }
}
