use proptest::prelude::*;
use prost::Message;
use testing::aggregates::{AggregatedRecord, Record};

use super::*;

/// The message between magic and MD5, both checked.
fn message(container: &[u8]) -> AggregatedRecord {
    let message = container.strip_prefix(&MAGIC).unwrap();
    let (message, md5) = message.split_at(message.len() - DIGEST_LENGTH);
    assert_eq!(Md5::digest(message).as_slice(), md5);
    AggregatedRecord::decode(message).unwrap()
}

/// The user records of a container: partition key, explicit hash key, data.
pub(crate) fn user_records(container: &[u8]) -> Vec<(String, Option<String>, Vec<u8>)> {
    let message = message(container);
    let of = |index: u64, table: &[String]| table[usize::try_from(index).unwrap()].clone();
    let user_record = |record: Record| {
        let hash_key = record.explicit_hash_key_index.map(|index| of(index, &message.explicit_hash_key_table));
        (of(record.partition_key_index, &message.partition_key_table), hash_key, record.data)
    };
    message.records.clone().into_iter().map(user_record).collect()
}

fn container(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut aggregate = Aggregate::default();
    for (key, data) in records {
        aggregate.push(key, None, data);
    }
    finished(&mut aggregate)
}

fn finished(aggregate: &mut Aggregate) -> Vec<u8> {
    let mut out = Vec::new();
    aggregate.finish(&mut out);
    write_digests([out.as_mut_slice()].into_iter());
    out
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What AWS's Go plugin makes of the records foo and bar under the key `key`.
#[test]
fn one_key_is_the_go_plugins_container_byte_for_byte() {
    let go = "f3899ac20a036b65791a0708001a03666f6f1a0708001a036261723f89fb80b1f89c6378a3e16eb0cbb2bb";
    assert_eq!(container(&[("key", b"foo"), ("key", b"bar")]), bytes(go));
}

/// Fluentd's plugin puts an unused key `a` first; without it, its container equals ours.
#[test]
fn fluentds_container_differs_by_its_unused_key_alone() {
    let ruby = bytes("f3899ac20a01610a036b65791a0708011a03666f6f1a0708011a0362617260d7044d96db922f4db12f940751dab5");
    let ours = container(&[("key", b"foo"), ("key", b"bar")]);
    assert_eq!(user_records(&ruby), user_records(&ours));
    assert_eq!(message(&ruby).partition_key_table, ["a", "key"]);
    assert_eq!(ruby.len() - ours.len(), bytes_size(PARTITION_KEYS, 1));
    let mut again = Aggregate::default();
    again.push("a", None, b"");
    again.records.clear();
    again.push("key", None, b"foo");
    again.push("key", None, b"bar");
    assert_eq!(finished(&mut again), ruby);
}

/// The sizes that Fluentd's plugin assumes, minus the three bytes of its unused key.
#[test]
fn the_container_costs_what_fluentds_plugin_counts() {
    let key = "key";
    for length in [1, 3, 100, 1000, 1 << 20] {
        let record = vec![b'r'; length];
        let [one, two] = [1, 2].map(|count| container(&vec![(key, record.as_slice()); count]).len());
        assert_eq!(2 * one - key.len() - two, 25 - 3);
        assert!(two - one <= length + 10);
    }
    assert_eq!(container(&[(key, &vec![b'r'; 1 << 20])]).len(), 1_048_614 - 3);
}

#[test]
fn keys_keep_their_order_and_records_refer_to_their_own() {
    let records: [(&str, &[u8]); 5] = [("b", b"1"), ("a", b"2"), ("b", b"3"), ("", b""), ("c\u{e9}", b"\x00\xff")];
    let container = container(&records);
    assert_eq!(message(&container).partition_key_table, ["b", "a", "", "c\u{e9}"]);
    let expected: Vec<_> = records.iter().map(|(key, data)| ((*key).to_owned(), None, data.to_vec())).collect();
    assert_eq!(user_records(&container), expected);
}

#[test]
fn explicit_hash_keys_have_a_table_of_their_own() {
    let mut aggregate = Aggregate::default();
    for (key, hash_key) in [("a", Some("123456789")), ("b", None), ("a", Some("0")), ("c", Some("123456789"))] {
        assert!(aggregate.size() < aggregate.size_with(key, hash_key, 1));
        aggregate.push(key, hash_key, b"x");
    }
    let out = finished(&mut aggregate);
    assert_eq!(message(&out).explicit_hash_key_table, ["123456789", "0"]);
    let hash_keys: Vec<_> = user_records(&out).into_iter().map(|(_, hash_key, _)| hash_key).collect();
    assert_eq!(
        hash_keys.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("123456789"), None, Some("0"), Some("123456789")]
    );
}

/// As in the producer library (kinesis_record_test.cc), a single user record is sent raw.
#[test]
fn the_only_record_can_be_had_as_it_is() {
    let mut aggregate = Aggregate::default();
    assert_eq!((aggregate.only_data(), aggregate.count), (None, 0));
    for hash_key in [None, Some("123")] {
        aggregate.push("key", hash_key, b"raw");
        assert_eq!((aggregate.only_data(), aggregate.count), (Some(b"raw".as_slice()), 1));
        aggregate.push("other", None, b"second");
        assert_eq!((aggregate.only_data(), aggregate.count), (None, 2));
        aggregate.clear();
        assert_eq!((aggregate.count, aggregate.size()), (0, 20));
    }
    aggregate.push("empty", None, b"");
    assert_eq!(aggregate.only_data(), Some(b"".as_slice()));
}

#[test]
fn an_aggregate_starts_over_in_the_memory_that_it_has() {
    let mut aggregate = Aggregate::default();
    let mut out = Vec::new();
    let mut capacities = Vec::new();
    for round in 0..5 {
        out.clear();
        for number in 0..10_000 {
            aggregate.push(["one", "two", "three"][number % 3], Some("1"), &number.to_le_bytes());
        }
        let size = aggregate.size();
        aggregate.finish(&mut out);
        write_digests([out.as_mut_slice()].into_iter());
        assert_eq!(size, out.len());
        assert_eq!(user_records(&out).len(), 10_000, "round {round}");
        capacities.push((out.capacity(), aggregate.records.capacity(), aggregate.partition_keys.encoded.capacity()));
    }
    assert!(capacities.iter().all(|capacity| *capacity == capacities[0]), "{capacities:?}");
}

#[test]
fn a_container_is_appended_to_existing_bytes() {
    let mut aggregate = Aggregate::default();
    let mut out = b"before".to_vec();
    aggregate.push("key", None, b"foo");
    aggregate.finish(&mut out);
    write_digests([&mut out["before".len()..]].into_iter());
    assert_eq!(out.strip_prefix(b"before").unwrap(), container(&[("key", b"foo")]));
}

#[derive(Clone, Debug)]
struct Input {
    key: String,
    hash_key: Option<u128>,
    data: Vec<u8>,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    // Indexes and lengths above 127, where varints grow.
    let key = prop_oneof![(0..200_u32).prop_map(|n| n.to_string()), "\\PC{0,256}"];
    let data = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..40_000_usize).prop_map(|length| vec![7; length])
    ];
    let hash_key = prop::option::of(prop_oneof![(0..200_u128), any::<u128>()]);
    let input = (key, hash_key, data).prop_map(|(key, hash_key, data)| Input { key, hash_key, data });
    prop::collection::vec(input, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_come_back_and_every_size_was_known(inputs in inputs()) {
        let mut aggregate = Aggregate::default();
        let mut expected = Vec::new();
        for input in &inputs {
            let hash_key = input.hash_key.map(|number| number.to_string());
            let size = aggregate.size_with(&input.key, hash_key.as_deref(), input.data.len());
            aggregate.push(&input.key, hash_key.as_deref(), &input.data);
            prop_assert_eq!(aggregate.size(), size);
            expected.push((input.key.clone(), hash_key, input.data.clone()));
        }
        let size = aggregate.size();
        let out = finished(&mut aggregate);
        prop_assert_eq!(out.len(), size);
        prop_assert_eq!(user_records(&out), expected);
        // Another encoder produces the same bytes.
        prop_assert_eq!(message(&out).encode_to_vec(), &out[4..out.len() - 16]);
    }
}
