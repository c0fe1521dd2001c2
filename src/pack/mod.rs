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

use crate::chunk::{Event, Events, NotAnEvent};
use crate::compress::SharedCompressor;
use crate::kinesis::limits;
use crate::kinesis::request::{Batch, BatchBuilder, Protocol};
use crate::kinesis::shards::ShardMap;
use crate::kinesis::stream::Stream;
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
mod tests;
