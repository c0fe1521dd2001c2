//! Records into requests, under every limit of Kinesis.
//!
//! Pure: bytes in, batches out. The next batch is written while others are on their way, so a [`Packer`] makes one batch
//! at a time.

use rand::rngs::SmallRng;

use crate::chunk::{Events, NotAnEvent};
use crate::config::Stream;
use crate::kinesis::request::{Batch, BatchBuilder};
use crate::ledger::RecordSet;
use crate::partition::RandomKey;
use crate::record::{Refusal, json};

/// What one request and one record may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most records of a request.
    pub request_records: usize,
    /// Most bytes of a request, data and partition keys. A single record above it goes alone.
    pub request_bytes: usize,
    /// Most bytes of a record, data and partition key.
    pub record_bytes: usize,
}

/// Something of the chunk that will never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// An event that cannot become a record.
    Refused(Refusal),
    /// Bytes that are no event.
    NotAnEvent(NotAnEvent),
}

/// Makes batches of a chunk's events.
pub struct Packer<'a> {
    events: Events<'a>,
    stream: &'a Stream,
    limits: Limits,
    /// Records that need no sending any more.
    settled: RecordSet,
    next_record: u32,
    data: Vec<u8>,
    /// The record in `data` that found the last batch full: its index and its key.
    carried: Option<(u32, RandomKey)>,
}

impl<'a> Packer<'a> {
    /// A packer for the events of `chunk`, but those that are `settled`.
    pub fn new(chunk: &'a [u8], stream: &'a Stream, limits: Limits, settled: RecordSet) -> Self {
        let events = Events::new(chunk);
        Packer { events, stream, limits, settled, next_record: 0, data: Vec::new(), carried: None }
    }

    /// The next batch, as full as the limits allow; `None` when the chunk is done. What cannot be sent is told to `lost`,
    /// with its index.
    pub fn next_batch(&mut self, random: &mut SmallRng, lost: &mut dyn FnMut(u32, Loss)) -> Option<Batch> {
        let mut batch = BatchBuilder::new(self.stream);
        while let Some((record, key)) = self.carried.take().or_else(|| self.next_record(random, lost)) {
            let bytes = self.data.len() + key.as_str().len();
            let is_full =
                batch.len() >= self.limits.request_records || batch.bytes() + bytes > self.limits.request_bytes;
            if is_full && !batch.is_empty() {
                self.carried = Some((record, key));
                break;
            }
            batch.push(record, &self.data, key.as_str(), true);
        }
        (!batch.is_empty()).then(|| batch.finish())
    }

    /// How many records are not yet in a batch, those that cannot be sent among them.
    pub fn remaining(&self) -> usize {
        let ahead = (self.next_record..).zip(self.events.clone());
        usize::from(self.carried.is_some()) + ahead.filter(|(record, _)| !self.settled.contains(*record)).count()
    }

    /// Writes the next event that can be sent into `data`.
    fn next_record(&mut self, random: &mut SmallRng, lost: &mut dyn FnMut(u32, Loss)) -> Option<(u32, RandomKey)> {
        loop {
            let event = self.events.next()?;
            let record = self.next_record;
            self.next_record += 1;
            if self.settled.contains(record) {
                continue;
            }
            match self.encode(event, random) {
                Ok(key) => return Some((record, key)),
                Err(loss) => lost(record, loss),
            }
        }
    }

    fn encode(
        &mut self,
        event: Result<crate::chunk::Event<'_>, NotAnEvent>,
        random: &mut SmallRng,
    ) -> Result<RandomKey, Loss> {
        let event = event.map_err(Loss::NotAnEvent)?;
        self.data.clear();
        json::write(event.body, &mut self.data).map_err(Loss::Refused)?;
        let key = RandomKey::draw(random);
        if self.data.len() + key.as_str().len() > self.limits.record_bytes {
            return Err(Loss::Refused(Refusal::TooLarge));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::RANDOM_KEY_LENGTH;
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

    fn pack(chunk: &[u8], limits: Limits) -> (Vec<Batch>, Vec<Loss>) {
        let stream = Stream::parse("logs").unwrap();
        let mut packer = Packer::new(chunk, &stream, limits, RecordSet::default());
        let (mut random, mut losses) = (SmallRng::seed_from_u64(1), Vec::new());
        let mut batches = Vec::new();
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, loss| losses.push(loss)) {
            batches.push(batch);
        }
        (batches, losses)
    }

    const LIMITS: Limits = Limits { request_records: 500, request_bytes: 5 << 20, record_bytes: 1 << 20 };

    fn records(batches: &[Batch]) -> Vec<Vec<u32>> {
        batches.iter().map(|b| b.entries().iter().map(|e| e.record).collect()).collect()
    }

    #[test]
    fn twelve_hundred_and_one_records_are_requests_of_500_500_and_201() {
        let (batches, _) = pack(&chunk_of(&[20; 1201]), LIMITS);
        assert_eq!(batches.iter().map(|b| b.entries().len()).collect::<Vec<_>>(), [500, 500, 201]);
    }

    #[test]
    fn a_request_is_filled_to_the_last_byte_and_not_beyond() {
        let limits = Limits { request_bytes: 3 * (100 + RANDOM_KEY_LENGTH), ..LIMITS };
        assert_eq!(records(&pack(&chunk_of(&[100; 4]), limits).0), [vec![0, 1, 2], vec![3]]);
        let limits = Limits { request_bytes: limits.request_bytes - 1, ..LIMITS };
        assert_eq!(records(&pack(&chunk_of(&[100; 4]), limits).0), [vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn a_record_of_exactly_the_limit_is_sent_and_one_byte_more_is_refused() {
        let limits = Limits { record_bytes: 100 + RANDOM_KEY_LENGTH, ..LIMITS };
        let (batches, losses) = pack(&chunk_of(&[100, 101, 99]), limits);
        assert_eq!(records(&batches), [vec![0, 2]]);
        assert_eq!(losses, [Loss::Refused(Refusal::TooLarge)]);
    }

    #[test]
    fn a_record_above_the_requests_limit_goes_alone() {
        let limits = Limits { request_bytes: 50, ..LIMITS };
        assert_eq!(records(&pack(&chunk_of(&[20, 200, 20]), limits).0), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn what_is_no_event_costs_nothing_else() {
        let chunk = [event_of(20), b"\xa3abc".to_vec(), event_of(20), b"\x92\x01".to_vec()].concat();
        let (batches, losses) = pack(&chunk, LIMITS);
        assert_eq!(records(&batches), [vec![0, 2]]);
        assert_eq!(losses.len(), 2, "{losses:?}");
    }

    #[test]
    fn settled_records_are_left_out_and_keep_their_index() {
        let stream = Stream::parse("logs").unwrap();
        let settled = RecordSet::from_iter([0, 2, 3]);
        let chunk = chunk_of(&[20, 20, 20, 2_000_000, 20]);
        let mut packer = Packer::new(&chunk, &stream, LIMITS, settled);
        assert_eq!(packer.remaining(), 2);
        let batch = packer.next_batch(&mut SmallRng::seed_from_u64(1), &mut |_, loss| panic!("{loss:?}"));
        assert_eq!(records(&[batch.unwrap()]), [vec![1, 4]]);
        assert_eq!(packer.remaining(), 0);
    }

    #[test]
    fn a_chunk_without_records_makes_no_request() {
        assert!(pack(&[], LIMITS).0.is_empty());
        assert!(pack(b"\xc1", LIMITS).0.is_empty());
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_request_in_order_and_no_request_exceeds_a_limit(
            sizes in proptest::collection::vec(8usize..400, 0..200),
            request_records in 1usize..50,
            request_bytes in 1usize..3000,
        ) {
            let limits = Limits { request_records, request_bytes, record_bytes: 300 };
            let (batches, losses) = pack(&chunk_of(&sizes), limits);
            let fits = |size: &usize| size + RANDOM_KEY_LENGTH <= 300;
            let expected: Vec<u32> = (0..).zip(&sizes).filter(|(_, size)| fits(size)).map(|(i, _)| i).collect();
            prop_assert_eq!(records(&batches).concat(), expected);
            prop_assert_eq!(losses.len(), sizes.iter().filter(|size| !fits(size)).count());
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
