//! Packs records into requests, under every limit of Kinesis.
//!
//! Pure: bytes in, batches out. A [`Packer`] makes one batch at a time, so that the next is packed while others are
//! in flight.

mod body_pool;
mod context;
mod events;
mod group;
mod issue;
mod keyed_lru;
mod kpl;
mod lines;
mod ready;
mod route;
mod settings;
mod single;
mod source;

use std::rc::Rc;

use rand::rngs::SmallRng;

use crate::compress::SharedCompressor;
use crate::kinesis::request::{Batch, BatchBuilder, Cbor, Json, Protocol, Wire};
use crate::kinesis::shards::ShardMap;
use crate::kinesis::stream::Stream;
use crate::record::Encoder;
use crate::record_set::RecordSet;
use context::PackContext;
use events::SelectedEvents;
use group::Groups;
use single::Singles;
use source::Source;

pub use body_pool::BodyPool;
pub use issue::RecordIssue;
pub use lines::BlockJob;
pub use route::{Route, Routes, Run, route};
pub use settings::{Aggregation, Limits, RequestSettings};

/// Packs the events of a chunk into batches.
pub struct Packer<'a> {
    stream: &'a Stream,
    settings: &'a RequestSettings,
    limits: Limits,
    events: SelectedEvents<'a>,
    encoder: Encoder<'a>,
    entries: Entries,
    /// The size of the largest body so far, as an estimate for the next.
    body_bytes: usize,
    /// The number of records in the last batch.
    records: usize,
    /// Where bodies come from.
    pool: Option<&'a BodyPool>,
}

/// How the entries of batches are made.
enum Entries {
    Singles(Singles),
    Groups(Box<Groups>),
}

impl<'a> Packer<'a> {
    /// Creates a packer for the events of `chunk` except those that are `done`.
    pub fn new(
        chunk: &'a [u8],
        tag: &'a [u8],
        stream: &'a Stream,
        settings: &'a RequestSettings,
        done: RecordSet,
    ) -> Self {
        let encoder = Encoder::new(&settings.record, tag);
        let (entries, body_bytes) = match settings.aggregation {
            Some(aggregation) => {
                (Entries::Groups(Box::new(Groups::new(aggregation))), settings.body_bytes(chunk.len()))
            }
            None => (Entries::Singles(Singles::default()), 0),
        };
        Packer {
            stream,
            settings,
            limits: Limits::of(settings),
            events: SelectedEvents::all_but(done, chunk),
            encoder: if settings.aggregation == Some(Aggregation::Lines) { encoder.for_lines() } else { encoder },
            entries,
            body_bytes,
            records: 0,
            pool: None,
        }
    }

    /// Packs only these records of the chunk.
    pub fn only(mut self, records: RecordSet) -> Self {
        self.events.select(records);
        self
    }

    /// Packs only records of these runs of the chunk.
    pub fn within(mut self, runs: &'a [Run<'a>]) -> Self {
        self.events.within(runs);
        if self.body_bytes > 0 {
            self.body_bytes = self.settings.body_bytes(runs.iter().map(Run::bytes).sum());
        }
        self
    }

    /// Applies other limits from here on. Complete groups stay as they are.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Aggregates by the stream's shards, as far as they are known.
    pub fn with_shards(mut self, shards: Option<Rc<ShardMap>>) -> Self {
        if let (Entries::Groups(groups), Some(shards)) = (&mut self.entries, shards) {
            groups.set_shards(shards);
        }
        self
    }

    /// Reuses the bodies in `pool`.
    pub fn with_body_pool(mut self, pool: &'a BodyPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Shares a compressor with other packers; each uses it only while making a batch.
    pub fn with_compressor(mut self, shared: &'a SharedCompressor) -> Self {
        self.encoder = self.encoder.with_compressor(shared);
        self
    }

    /// What requests look like.
    pub(crate) fn settings(&self) -> &RequestSettings {
        self.settings
    }

    /// The number of events in the chunk, packed or not.
    pub fn events(&self) -> usize {
        self.events.count_all()
    }

    /// The next batch, as full as the limits allow; `None` at the end of the chunk. `report` is called with the index
    /// of each record that is changed or not sent.
    pub fn next_batch(&mut self, random: &mut SmallRng, report: &mut dyn FnMut(u32, RecordIssue)) -> Option<Batch> {
        match self.settings.protocol {
            Protocol::Json => self.next_batch_in::<Json>(random, report),
            Protocol::Cbor => self.next_batch_in::<Cbor>(random, report),
        }
    }

    /// The next block to compress that is worth another thread; `None` if there is none, or if the next batch can be
    /// filled without it. [`Packer::finish_job`] must get it back before anything else is packed. Batches are the same
    /// whether this is called or not: [`Packer::next_batch`] compresses what is left.
    pub fn next_job(&mut self, random: &mut SmallRng, report: &mut dyn FnMut(u32, RecordIssue)) -> Option<BlockJob> {
        let Packer { limits, events, encoder, entries: Entries::Groups(groups), .. } = self else { return None };
        let job = groups.next_job(&mut PackContext { events, encoder, random, report, limits: *limits });
        encoder.pause();
        job
    }

    /// Goes on with a block that was compressed elsewhere.
    pub fn finish_job(&mut self, job: BlockJob, random: &mut SmallRng, report: &mut dyn FnMut(u32, RecordIssue)) {
        let Packer { limits, events, encoder, entries: Entries::Groups(groups), .. } = self else { return };
        groups.finish_job(job, &mut PackContext { events, encoder, random, report, limits: *limits });
        encoder.pause();
    }

    fn next_batch_in<W: Wire>(
        &mut self,
        random: &mut SmallRng,
        report: &mut dyn FnMut(u32, RecordIssue),
    ) -> Option<Batch> {
        let mut batch = self.begin::<W>();
        let Packer { limits, events, encoder, entries, .. } = self;
        let mut context = PackContext { events, encoder, random, report, limits: *limits };
        match entries {
            Entries::Singles(source) => fill(&mut batch, source, &mut context),
            Entries::Groups(source) => fill(&mut batch, &mut **source, &mut context),
        }
        self.finish(batch)
    }

    fn begin<W: Wire>(&self) -> BatchBuilder<W> {
        let body = self.pool.map(BodyPool::take).unwrap_or_default();
        let mut batch = BatchBuilder::new(self.stream, body).omit_random_keys(self.settings.omits_random_keys);
        batch.reserve(self.records, self.body_bytes);
        batch
    }

    fn finish<W: Wire>(&mut self, batch: BatchBuilder<W>) -> Option<Batch> {
        self.encoder.pause();
        if batch.is_empty() {
            if let Some(pool) = self.pool {
                pool.give_back(batch.into_body());
            }
            return None;
        }
        let batch = batch.finish();
        self.body_bytes = self.body_bytes.max(batch.body().len());
        self.records = batch.entries().len();
        Some(batch)
    }
}

/// Adds entries until the batch is full or the chunk ends. An empty batch takes an entry of any size.
fn fill<W: Wire>(batch: &mut BatchBuilder<W>, source: &mut impl Source, context: &mut PackContext<'_, '_>) {
    let Limits { request_records, request_bytes, .. } = context.limits;
    while let Some(bytes) = source.next(batch, context) {
        let is_full = batch.len() >= request_records || batch.bytes() + bytes > request_bytes;
        if is_full && !batch.is_empty() {
            return source.keep(batch);
        }
        source.add(batch);
    }
}

#[cfg(test)]
mod tests;
