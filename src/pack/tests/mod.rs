mod compressor;
mod group;
mod kpl;
mod one_pass;

use super::*;
use crate::kinesis::random_key::RANDOM_KEY_LENGTH;
use crate::record::size::Oversize;
use crate::record::{RecordSettings, Refusal};
use proptest::prelude::*;
use rand::SeedableRng;

/// An event whose JSON, `{"k":"xx…"}`, has `bytes` bytes.
fn event_of(bytes: usize) -> Vec<u8> {
    let body = rmpv::Value::Map(vec![("k".into(), "x".repeat(bytes - 8).into())]);
    let event = rmpv::Value::Array(vec![1_600_000_000.into(), body]);
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &event).unwrap();
    out
}

fn chunk_of(sizes: &[usize]) -> Vec<u8> {
    sizes.iter().flat_map(|&size| event_of(size)).collect()
}

fn pack(chunk: &[u8], settings: &RequestSettings) -> (Vec<Batch>, Vec<RecordIssue>) {
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, settings, RecordSet::default());
    let (mut random, mut issues) = (SmallRng::seed_from_u64(1), Vec::new());
    let mut batches = Vec::new();
    while let Some(batch) = packer.next_batch(&mut random, &mut |_, issue| issues.push(issue)) {
        batches.push(batch);
    }
    (batches, issues)
}

/// Settings with these limits: records and bytes per request, bytes per record.
fn limits(max_records: usize, max_bytes: usize, max_record_bytes: usize) -> RequestSettings {
    let record =
        RecordSettings { max_bytes: max_record_bytes, oversize: Oversize::Discard, ..RecordSettings::default() };
    RequestSettings { max_records, max_bytes, record, ..RequestSettings::default() }
}

fn records(batches: &[Batch]) -> Vec<Vec<u32>> {
    batches.iter().map(|b| b.entries().iter().map(|e| e.record).collect()).collect()
}

#[test]
fn twelve_hundred_and_one_records_are_requests_of_500_500_and_201() {
    let (batches, _) = pack(&chunk_of(&[20; 1201]), &RequestSettings::default());
    assert_eq!(batches.iter().map(|b| b.entries().len()).collect::<Vec<_>>(), [500, 500, 201]);
}

#[test]
fn a_request_is_filled_to_the_last_byte_and_not_beyond() {
    let bytes = 3 * (100 + RANDOM_KEY_LENGTH);
    assert_eq!(records(&pack(&chunk_of(&[100; 4]), &limits(500, bytes, 1000)).0), [vec![0, 1, 2], vec![3]]);
    assert_eq!(records(&pack(&chunk_of(&[100; 4]), &limits(500, bytes - 1, 1000)).0), [vec![0, 1], vec![2, 3]]);
}

#[test]
fn a_record_of_exactly_the_limit_is_sent_and_one_byte_more_is_refused() {
    let (batches, issues) = pack(&chunk_of(&[100, 101, 99]), &limits(500, 5 << 20, 100 + RANDOM_KEY_LENGTH));
    assert_eq!(records(&batches), [vec![0, 2]]);
    assert_eq!(issues, [RecordIssue::Refused(Refusal::TooLarge)]);
}

#[test]
fn a_record_that_found_a_request_full_has_its_own_kind_of_key_in_the_next() {
    use crate::record::partition_key::PartitionKey;
    let mut settings = limits(1, 5 << 20, 1000);
    for (key, is_random) in [("no such key", true), ("k", false)] {
        settings.record.partition_key = PartitionKey::parse(key).unwrap();
        let (batches, _) = pack(&chunk_of(&[20; 3]), &settings);
        assert_eq!(batches.iter().map(|b| b.entries()[0].random_key).collect::<Vec<_>>(), [is_random; 3], "{key}");
    }
}

#[test]
fn a_record_above_the_requests_limit_goes_alone() {
    assert_eq!(records(&pack(&chunk_of(&[20, 200, 20]), &limits(500, 50, 1000)).0), [vec![0], vec![1], vec![2]]);
}

#[test]
fn what_is_no_event_costs_nothing_else() {
    let chunk = [event_of(20), b"\xa3abc".to_vec(), event_of(20), b"\x92\x01".to_vec()].concat();
    let (batches, issues) = pack(&chunk, &RequestSettings::default());
    assert_eq!(records(&batches), [vec![0, 2]]);
    assert_eq!(issues.len(), 2, "{issues:?}");
}

#[test]
fn settled_records_are_left_out_and_keep_their_index() {
    let stream = Stream::parse("logs").unwrap();
    let done = RecordSet::from_iter([0, 2, 3]);
    let chunk = chunk_of(&[20, 20, 20, 2_000_000, 20]);
    let settings = limits(500, 5 << 20, 1000);
    let mut packer = Packer::new(&chunk, b"app", &stream, &settings, done);
    let batch = packer.next_batch(&mut SmallRng::seed_from_u64(1), &mut |_, issue| panic!("{issue:?}"));
    assert_eq!(records(&[batch.unwrap()]), [vec![1, 4]]);
    assert_eq!(packer.events(), 5);
}

#[test]
fn a_chunk_without_records_makes_no_request() {
    assert!(pack(&[], &RequestSettings::default()).0.is_empty());
    assert!(pack(b"\xc1", &RequestSettings::default()).0.is_empty());
}

proptest! {
    #[test]
    fn every_record_is_in_exactly_one_request_in_order_and_no_request_exceeds_a_limit(
        sizes in proptest::collection::vec(8usize..400, 0..200),
        request_records in 1usize..50,
        request_bytes in 1usize..3000,
    ) {
        let (batches, issues) = pack(&chunk_of(&sizes), &limits(request_records, request_bytes, 300));
        let fits = |size: &usize| size + RANDOM_KEY_LENGTH <= 300;
        let expected: Vec<u32> = (0..).zip(&sizes).filter(|(_, size)| fits(size)).map(|(i, _)| i).collect();
        prop_assert_eq!(records(&batches).concat(), expected);
        prop_assert_eq!(issues.len(), sizes.iter().filter(|size| !fits(size)).count());
        for batch in &batches {
            prop_assert!(batch.entries().len() <= request_records);
            prop_assert!(batch.bytes() <= request_bytes || batch.entries().len() == 1);
            prop_assert_eq!(batch.bytes(), batch.entries().iter().map(|e| e.bytes()).sum::<usize>());
        }
        for pair in batches.windows(2) {
            let first_of_next = pair[1].entries()[0].bytes();
            let full = pair[0].entries().len() == request_records || pair[0].bytes() + first_of_next > request_bytes;
            prop_assert!(full, "a request was sent before it was full");
        }
    }
}
