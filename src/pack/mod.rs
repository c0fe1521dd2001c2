//! Records into requests, under every limit of Kinesis.
//!
//! Pure: bytes in, batches out. The next batch is written while others are on their way, so a [`Packer`] makes one batch
//! at a time.

mod group;
mod kpl;
mod lines;
mod open;
mod spare;

use std::rc::Rc;

use rand::rngs::SmallRng;

use crate::aggregate::ShardMap;
use crate::chunk::{Event, Events, NotAnEvent};
use crate::compress::SharedCompressor;
use crate::config::Stream;
use crate::kinesis::limits;
use crate::kinesis::request::{Batch, BatchBuilder, Protocol};
use crate::msgpack::Reader;
use crate::record::{Alterations, Encoder, RecordSettings, Refusal};
use crate::record_set::RecordSet;
use group::Groups;

pub use group::Aggregation;
pub use spare::SpareBodies;

/// What requests look like.
#[derive(Clone, Debug)]
pub struct RequestSettings {
    /// How they are written.
    pub protocol: Protocol,
    /// Most records of a request.
    pub max_records: usize,
    /// Most bytes of a request, data and partition keys. A single record above it goes alone.
    pub max_bytes: usize,
    /// How several records share one of the request's, if they do.
    pub aggregation: Option<Aggregation>,
    /// The records in it.
    pub record: RecordSettings,
}

impl Default for RequestSettings {
    fn default() -> Self {
        RequestSettings {
            protocol: Protocol::default(),
            max_records: limits::MAX_REQUEST_RECORDS,
            max_bytes: limits::DEFAULT_REQUEST_BYTES,
            aggregation: None,
            record: RecordSettings::default(),
        }
    }
}

impl RequestSettings {
    /// Bytes that the first body of a chunk may need, when all of the chunk may be in it: memory that is not written to
    /// costs nothing, and a body that outgrows its memory is copied.
    fn body_bytes(&self, chunk: &[u8]) -> usize {
        if self.record.compression.is_some() {
            return 0;
        }
        let data = chunk.len().saturating_mul(3) / 2;
        let data = data.min(self.max_bytes);
        match self.protocol {
            Protocol::Json => data / 3 * 4,
            Protocol::Cbor => data,
        }
    }
}

/// Something about an event that its owner may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// An event that cannot become a record, and is never sent.
    Refused(Refusal),
    /// Bytes that are no event, and are never sent.
    NotAnEvent(NotAnEvent),
    /// A record that is sent, but not as the event was.
    Altered(Alterations),
}

/// How large requests and groups may become, if less than the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records of a request.
    pub request_records: usize,
    /// Most bytes of a request, data and partition keys. A single record above it goes alone.
    pub request_bytes: usize,
    /// Most records of the chunk that share one of the request.
    pub group_records: usize,
    /// Most bytes that several of them take together. A single one above it goes alone.
    pub group_bytes: usize,
}

impl Limits {
    /// Those of the settings.
    pub fn of(settings: &RequestSettings) -> Limits {
        Limits {
            request_records: settings.max_records,
            request_bytes: settings.max_bytes,
            group_records: usize::MAX,
            group_bytes: settings.record.max_bytes,
        }
    }

    /// Each record of the chunk in a request of its own.
    pub fn alone(self) -> Limits {
        Limits { request_records: 1, group_records: 1, ..self }
    }
}

/// Makes batches of a chunk's events.
pub struct Packer<'a> {
    events: Selected<'a>,
    stream: &'a Stream,
    settings: &'a RequestSettings,
    limits: Limits,
    encoder: Encoder<'a>,
    /// The record that found the last batch full.
    carried: Option<Record>,
    /// The groups of records that are not yet in a batch, when records are aggregated.
    groups: Option<Groups>,
    /// Bytes of the largest body so far: the next one will need about as many.
    body_bytes: usize,
    /// Records of the last batch.
    records: usize,
    /// Where bodies come from.
    spare: Option<&'a SpareBodies>,
}

/// The events of a chunk that are packed, with their indexes.
#[derive(Clone)]
struct Selected<'a> {
    events: Events<'a>,
    /// Records that need no sending any more.
    settled: RecordSet,
    /// The only ones to pack, if not all others.
    only: Option<RecordSet>,
    next: u32,
}

impl<'a> Selected<'a> {
    #[inline]
    fn is_selected(&self, record: u32) -> bool {
        !self.settled.contains(record) && self.only.as_ref().is_none_or(|only| only.contains(record))
    }

    /// [`Events::pass`] over an event that is packed, with its index.
    #[inline]
    fn pass(&mut self, read: impl FnOnce(&mut Reader<'a>) -> Option<()>) -> Option<u32> {
        let record = self.next;
        if !self.is_selected(record) {
            return None;
        }
        self.events.pass(read)?;
        self.next += 1;
        Some(record)
    }
}

impl<'a> Iterator for Selected<'a> {
    type Item = (u32, Result<Event<'a>, NotAnEvent>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let event = self.events.next()?;
            let record = self.next;
            self.next += 1;
            if self.is_selected(record) {
                return Some((record, event));
            }
        }
    }
}

/// A record that waits for the next batch.
struct Record {
    index: u32,
    data: Vec<u8>,
    key: String,
    random_key: bool,
}

impl<'a> Packer<'a> {
    /// A packer for the events of `chunk`, but those that are `settled`.
    pub fn new(
        chunk: &'a [u8],
        tag: &'a [u8],
        stream: &'a Stream,
        settings: &'a RequestSettings,
        settled: RecordSet,
    ) -> Self {
        let events = Selected { events: Events::new(chunk), settled, only: None, next: 0 };
        let encoder = Encoder::new(&settings.record, tag);
        let limits = Limits::of(settings);
        let groups = settings.aggregation.map(|aggregation| Groups::new(aggregation, limits));
        let body_bytes = if groups.is_some() { settings.body_bytes(chunk) } else { 0 };
        Packer { events, stream, settings, limits, encoder, carried: None, groups, body_bytes, records: 0, spare: None }
    }

    /// The same for only these records of the chunk.
    pub fn only(mut self, records: RecordSet) -> Self {
        self.events.settled = RecordSet::default();
        self.events.only = Some(records);
        self
    }

    /// Keeps to other limits from here on. Groups that are complete stay as they are.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Some(groups) = &mut self.groups {
            groups.set_limits(limits);
        }
    }

    /// The same, by the shards that the stream has, as far as they are known.
    pub fn with_shards(mut self, shards: Option<Rc<ShardMap>>) -> Self {
        if let (Some(groups), Some(shards)) = (&mut self.groups, shards) {
            groups.set_shards(shards);
        }
        self
    }

    /// The same, with bodies written over those that are not needed any more.
    pub fn with_spare_bodies(mut self, spare: &'a SpareBodies) -> Self {
        self.spare = Some(spare);
        self
    }

    /// The same, with a compressor that packers use in turns: one has it only while it makes a batch.
    pub fn with_compressor(mut self, shared: &'a SharedCompressor) -> Self {
        self.encoder = self.encoder.with_compressor(shared);
        self
    }

    /// The next batch, as full as the limits allow; `None` when the chunk is done. What is not sent, or not as it came, is
    /// told to `remark`, with its index.
    pub fn next_batch(&mut self, random: &mut SmallRng, remark: &mut dyn FnMut(u32, Remark)) -> Option<Batch> {
        if self.groups.is_some() {
            return self.next_batch_of_groups(random, remark);
        }
        let mut batch = self.begin();
        if let Some(carried) = self.carried.take() {
            batch.push(carried.index, &carried.data, &carried.key, carried.random_key);
        }
        while let Some(index) = self.next_record(&mut batch, random, remark) {
            let random_key = self.encoder.random_key();
            let bytes = batch.bytes() + batch.data().len() + self.encoder.key_length();
            if self.is_full(&batch, bytes) {
                let (data, key) = (batch.data().to_vec(), self.encoder.key().to_owned());
                self.carried = Some(Record { index, data, key, random_key: random_key.is_some() });
                break;
            }
            match random_key {
                Some(key) => batch.close_with_random_key(index, key),
                None => batch.close(index, self.encoder.key(), false),
            }
        }
        self.finish(batch)
    }

    /// Whether a batch is too full for a record that would bring it to this many bytes. An empty one takes any.
    #[inline]
    fn is_full(&self, batch: &BatchBuilder, bytes: usize) -> bool {
        let Limits { request_records, request_bytes, .. } = self.limits;
        !batch.is_empty() && (batch.len() >= request_records || bytes > request_bytes)
    }

    fn begin(&self) -> BatchBuilder {
        let body = self.spare.map(SpareBodies::take).unwrap_or_default();
        let mut batch = BatchBuilder::new(self.stream, self.settings.protocol, body);
        batch.reserve(self.records, self.body_bytes);
        batch
    }

    fn finish(&mut self, batch: BatchBuilder) -> Option<Batch> {
        self.encoder.pause();
        if batch.is_empty() {
            if let Some(spare) = self.spare {
                spare.give_back(batch.into_body());
            }
            return None;
        }
        let batch = batch.finish();
        self.body_bytes = self.body_bytes.max(batch.body().len());
        self.records = batch.entries().len();
        Some(batch)
    }

    /// How many events the chunk has, whether they are packed or not.
    pub fn events(&self) -> usize {
        self.events.next as usize + self.events.events.clone().count()
    }

    /// Writes the next event that can be sent into an entry of `batch`, which stays open, and returns its index.
    #[inline]
    fn next_record(
        &mut self,
        batch: &mut BatchBuilder,
        random: &mut SmallRng,
        remark: &mut dyn FnMut(u32, Remark),
    ) -> Option<u32> {
        loop {
            if self.encoder.can_in_one_pass()
                && let Some(record) =
                    self.events.pass(|body| self.encoder.encode_in_one_pass(body, random, batch.open()))
            {
                return Some(record);
            }
            let (record, event) = self.events.next()?;
            let loss = match &event {
                Ok(event) => match self.encoder.encode(event, random, batch.open()) {
                    Ok(alterations) => {
                        if alterations != Alterations::default() {
                            remark(record, Remark::Altered(alterations));
                        }
                        return Some(record);
                    }
                    Err(refusal) => Remark::Refused(refusal),
                },
                Err(no_event) => Remark::NotAnEvent(*no_event),
            };
            remark(record, loss);
        }
    }
}

#[cfg(test)]
mod compressor_tests;

#[cfg(test)]
mod group_tests;

#[cfg(test)]
mod kpl_tests;

#[cfg(test)]
mod one_pass_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::RANDOM_KEY_LENGTH;
    use crate::record::size::Oversize;
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

    fn pack(chunk: &[u8], settings: &RequestSettings) -> (Vec<Batch>, Vec<Remark>) {
        let stream = Stream::parse("logs").unwrap();
        let mut packer = Packer::new(chunk, b"app", &stream, settings, RecordSet::default());
        let (mut random, mut remarks) = (SmallRng::seed_from_u64(1), Vec::new());
        let mut batches = Vec::new();
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, remark| remarks.push(remark)) {
            batches.push(batch);
        }
        (batches, remarks)
    }

    /// Requests of so many records and bytes, records of so many bytes.
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
        let (batches, remarks) = pack(&chunk_of(&[100, 101, 99]), &limits(500, 5 << 20, 100 + RANDOM_KEY_LENGTH));
        assert_eq!(records(&batches), [vec![0, 2]]);
        assert_eq!(remarks, [Remark::Refused(Refusal::TooLarge)]);
    }

    #[test]
    fn a_record_that_found_a_request_full_has_its_own_kind_of_key_in_the_next() {
        use crate::partition::PartitionKey;
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
        let (batches, remarks) = pack(&chunk, &RequestSettings::default());
        assert_eq!(records(&batches), [vec![0, 2]]);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
    }

    #[test]
    fn settled_records_are_left_out_and_keep_their_index() {
        let stream = Stream::parse("logs").unwrap();
        let settled = RecordSet::from_iter([0, 2, 3]);
        let chunk = chunk_of(&[20, 20, 20, 2_000_000, 20]);
        let settings = limits(500, 5 << 20, 1000);
        let mut packer = Packer::new(&chunk, b"app", &stream, &settings, settled);
        let batch = packer.next_batch(&mut SmallRng::seed_from_u64(1), &mut |_, remark| panic!("{remark:?}"));
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
            let (batches, remarks) = pack(&chunk_of(&sizes), &limits(request_records, request_bytes, 300));
            let fits = |size: &usize| size + RANDOM_KEY_LENGTH <= 300;
            let expected: Vec<u32> = (0..).zip(&sizes).filter(|(_, size)| fits(size)).map(|(i, _)| i).collect();
            prop_assert_eq!(records(&batches).concat(), expected);
            prop_assert_eq!(remarks.len(), sizes.iter().filter(|size| !fits(size)).count());
            for batch in &batches {
                prop_assert!(batch.entries().len() <= request_records);
                prop_assert!(batch.bytes() <= request_bytes || batch.entries().len() == 1);
                prop_assert_eq!(batch.bytes(), batch.entries().iter().map(|e| e.bytes).sum::<usize>());
            }
            for pair in batches.windows(2) {
                let first_of_next = pair[1].entries()[0].bytes;
                let full = pair[0].entries().len() == request_records || pair[0].bytes() + first_of_next > request_bytes;
                prop_assert!(full, "a request was sent before it was full");
            }
        }
    }
}
