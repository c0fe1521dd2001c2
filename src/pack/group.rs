//! Several records as one Kinesis record.
//!
//! A shard takes 1,000 records a second, however small: small records fill it long before its megabyte. Records of one
//! partition key share a [`Group`], and those without a key share one under a random key. Different keys do only when
//! they are known to belong to the same shard ([`ShardMap`]): a consumer drops what is not of its shard. Within a key
//! nothing overtakes, and no group outlives its chunk.

use std::collections::VecDeque;
use std::rc::Rc;

use rand::rngs::SmallRng;

use super::kpl::Kpl;
use super::lines::Lines;
use super::{Limits, Packer, Remark};
use crate::chunk::Event;
use crate::kinesis::request::{Batch, Group};
use crate::kinesis::shards::ShardMap;
use crate::msgpack::Reader;
use crate::record::{Alterations, Encoder, Refusal};

/// How several records become one Kinesis record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// In the container of Amazon's Kinesis Producer Library ([`crate::kinesis::kpl`]).
    Kpl {
        /// Most bytes of a container. It is never larger than a record may be, in any case.
        max_bytes: usize,
        /// Most records in one.
        max_records: usize,
        /// Whether records of different keys share one when they belong to the same shard.
        by_shard: bool,
    },
    /// One behind the other, each ended by a newline. Compression packs them together.
    Lines,
}

/// Groups that are complete.
#[derive(Default)]
pub(super) struct Ready {
    groups: VecDeque<Group>,
    spare: Vec<u8>,
}

impl Ready {
    pub(super) fn push(&mut self, group: Group) {
        self.groups.push_back(group);
    }

    /// An empty buffer for the data of a group, used before if possible: where a quarter of a megabyte is freed and
    /// allocated again and again, the system clears the same memory each time.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }
}

/// Collects records in groups.
pub(super) struct Groups {
    open: Open,
    limits: Limits,
    ready: Ready,
    /// The record that is being written.
    record: Vec<u8>,
}

/// Groups that may grow.
enum Open {
    Kpl(Kpl),
    Lines(Lines),
}

/// What making groups needs.
pub(super) struct Tools<'t, 'a> {
    pub(super) encoder: &'t mut Encoder<'a>,
    pub(super) random: &'t mut SmallRng,
    pub(super) remark: &'t mut dyn FnMut(u32, Remark),
    pub(super) limits: Limits,
    /// Where complete groups go.
    pub(super) ready: &'t mut Ready,
}

impl Groups {
    pub(super) fn new(aggregation: Aggregation, limits: Limits) -> Self {
        let open = match aggregation {
            Aggregation::Kpl { max_bytes, max_records, .. } => Open::Kpl(Kpl::new(max_bytes, max_records)),
            Aggregation::Lines => Open::Lines(Lines::default()),
        };
        Groups { open, limits, ready: Ready::default(), record: Vec::new() }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The shards, by which records of different keys may share an aggregate of [`Aggregation::Kpl`].
    pub(super) fn set_shards(&mut self, shards: Rc<ShardMap>) {
        if let Open::Kpl(kpl) = &mut self.open {
            kpl.set_shards(shards);
        }
    }

    /// Writes an event's record.
    fn write(
        &mut self,
        event: &Event<'_>,
        encoder: &mut Encoder<'_>,
        random: &mut SmallRng,
    ) -> Result<Alterations, Refusal> {
        self.record.clear();
        match &self.open {
            Open::Lines(_) if encoder.compresses() => encoder.encode_whole(event, random, &mut self.record),
            _ => encoder.encode(event, random, &mut self.record),
        }
    }

    /// The same by [`Encoder::encode_in_one_pass`].
    fn write_in_one_pass(
        &mut self,
        body: &mut Reader<'_>,
        encoder: &mut Encoder<'_>,
        random: &mut SmallRng,
    ) -> Option<()> {
        self.record.clear();
        encoder.encode_in_one_pass(body, random, &mut self.record)
    }

    /// Puts the record that was written into a group.
    fn add(
        &mut self,
        index: u32,
        encoder: &mut Encoder<'_>,
        random: &mut SmallRng,
        remark: &mut dyn FnMut(u32, Remark),
    ) {
        match &mut self.open {
            Open::Kpl(kpl) => kpl.add(index, &self.record, encoder, self.limits, &mut self.ready),
            Open::Lines(lines) => {
                let limits = self.limits;
                lines.add(index, &self.record, &mut Tools { encoder, random, remark, limits, ready: &mut self.ready });
            }
        }
    }

    /// Completes all groups.
    fn close(&mut self, encoder: &mut Encoder<'_>, random: &mut SmallRng, remark: &mut dyn FnMut(u32, Remark)) {
        match &mut self.open {
            Open::Kpl(kpl) => kpl.close(&mut self.ready),
            Open::Lines(lines) => {
                lines.close(&mut Tools { encoder, random, remark, limits: self.limits, ready: &mut self.ready });
            }
        }
    }
}

impl Packer<'_> {
    /// [`Packer::next_batch`] of groups.
    pub(super) fn next_batch_of_groups(
        &mut self,
        random: &mut SmallRng,
        remark: &mut dyn FnMut(u32, Remark),
    ) -> Option<Batch> {
        let mut batch = self.begin();
        while let Some(group) = self.next_group(random, remark) {
            let bytes = batch.bytes() + group.data.len() + group.key.len();
            if self.is_full(&batch, bytes) {
                if let Some(groups) = &mut self.groups {
                    groups.ready.groups.push_front(group);
                }
                break;
            }
            let spare = batch.push_group(group);
            if let Some(groups) = &mut self.groups {
                groups.ready.spare = spare;
            }
        }
        self.finish(batch)
    }

    fn next_group(&mut self, random: &mut SmallRng, remark: &mut dyn FnMut(u32, Remark)) -> Option<Group> {
        let groups = self.groups.as_mut()?;
        while groups.ready.groups.is_empty() {
            let encoder = &mut self.encoder;
            if encoder.can_in_one_pass()
                && let Some(index) = self.events.pass(|body| groups.write_in_one_pass(body, encoder, random))
            {
                groups.add(index, encoder, random, remark);
                continue;
            }
            let Some((index, event)) = self.events.next() else {
                groups.close(encoder, random, remark);
                break;
            };
            let event = event.map_err(Remark::NotAnEvent);
            match event.and_then(|event| groups.write(&event, encoder, random).map_err(Remark::Refused)) {
                Ok(alterations) => {
                    if alterations != Alterations::default() {
                        remark(index, Remark::Altered(alterations));
                    }
                    groups.add(index, encoder, random, remark);
                }
                Err(loss) => remark(index, loss),
            }
        }
        groups.ready.groups.pop_front()
    }
}
