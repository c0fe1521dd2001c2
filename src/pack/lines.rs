//! Joins records into blocks of lines, one open per partition key.

use std::collections::VecDeque;

use super::context::PackContext;
use super::issue::RecordIssue;
use super::keyed_lru::KeyedLru;
use super::ready::Ready;
use crate::compress::Compressor;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::request::Group;
use crate::record::Alterations;
use crate::record::partition_key::Key;

/// Buffer up to 16 times the record limit before compressing; few logs compress better. What does not fit starts the
/// next block.
const TEXT_FOR_A_BLOCK: usize = 16;
/// Most bytes of text to buffer, if the record limit would allow more.
const MOST_TEXT: usize = 16 << 20;
/// Bytes of text from which on a block is worth another thread: to compress them takes snappy as long as the way there
/// and back, and the others many times as long.
const TEXT_FOR_A_JOB: usize = 64 << 10;

/// The blocks of a chunk.
#[derive(Default)]
pub(super) struct Lines {
    open: KeyedLru<Block>,
    /// Those to compress before any other record is read, in order.
    due: VecDeque<Due>,
}

/// A block to compress.
struct Due {
    block: Block,
    /// Whether all its lines are to be compressed. Otherwise what does not fit into one group stays open.
    is_closed: bool,
}

/// A block to compress, with all that this takes, so that any thread can do it. If it is not given back, its records
/// are not sent.
pub struct BlockJob {
    due: Due,
    limit: usize,
    /// The compression ratio of the last block.
    ratio: f64,
    data: Vec<u8>,
    /// How many lines fit into `data`.
    count: usize,
}

impl BlockJob {
    /// Compresses the block.
    pub fn run(&mut self, compressor: &mut Compressor) {
        compressor.set_ratio(self.ratio);
        let Block { text, ends, .. } = &self.due.block;
        self.count = compressor.compress_lines(text, ends, self.limit, &mut self.data).unwrap_or_default();
        self.ratio = compressor.ratio();
    }
}

#[derive(Default)]
struct Block {
    /// The lines, each ending with a newline.
    text: Vec<u8>,
    /// Where each record ends in `text`.
    ends: Vec<usize>,
    records: Vec<u32>,
    /// The user's key; empty for records without one.
    key: String,
}

impl Lines {
    /// Adds a record to a block.
    pub(super) fn add(
        &mut self,
        index: u32,
        line: &[u8],
        key: &Key,
        context: &mut PackContext<'_, '_>,
        ready: &mut Ready,
    ) {
        let Lines { open, due } = self;
        let name = key.random().is_none().then(|| key.as_str());
        if let Some(mut oldest) = open.make_room(name) {
            oldest.close(context, due, ready);
        }
        open.with(name, |block| {
            name.unwrap_or_default().clone_into(&mut block.key);
            block.add(index, line, context, due, ready);
        });
    }

    /// Completes all blocks. Returns whether any are to be compressed now.
    pub(super) fn close(&mut self, context: &mut PackContext<'_, '_>, ready: &mut Ready) -> bool {
        let Lines { open, due } = self;
        open.take_all().for_each(|mut block| block.close(context, due, ready));
        !due.is_empty()
    }

    /// Compresses lines of the next block that is due. Returns whether there was one.
    pub(super) fn compress(&mut self, context: &mut PackContext<'_, '_>, ready: &mut Ready) -> bool {
        let Some(Due { mut block, is_closed }) = self.due.pop_front() else { return false };
        let (limit, mut data) = (block.limit(context), ready.buffer());
        let count = context.encoder.compress_lines(&block.text, &block.ends, limit, &mut data).unwrap_or_default();
        block.send(count, data, context, ready);
        self.put_back(Due { block, is_closed });
        true
    }

    /// The next block that is due, if it is worth another thread.
    pub(super) fn next_job(&mut self, context: &PackContext<'_, '_>, ready: &mut Ready) -> Option<BlockJob> {
        let due = self.due.pop_front_if(|due| due.block.text.len() >= TEXT_FOR_A_JOB)?;
        let (limit, ratio) = (due.block.limit(context), context.encoder.ratio());
        Some(BlockJob { due, limit, ratio, data: ready.buffer(), count: 0 })
    }

    /// Goes on with a block that was compressed elsewhere.
    pub(super) fn finish_job(&mut self, job: BlockJob, context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        let BlockJob { due: Due { mut block, is_closed }, ratio, data, count, .. } = job;
        context.encoder.set_ratio(ratio);
        block.send(count, data, context, ready);
        self.put_back(Due { block, is_closed });
    }

    /// Keeps the lines that are left.
    fn put_back(&mut self, due: Due) {
        if due.block.records.is_empty() {
            return;
        }
        if due.is_closed {
            return self.due.push_front(due);
        }
        let key = due.block.key.clone();
        self.open.with((!key.is_empty()).then_some(key.as_str()), |open| *open = due.block);
    }
}

impl Block {
    fn add(
        &mut self,
        index: u32,
        line: &[u8],
        context: &mut PackContext<'_, '_>,
        due: &mut VecDeque<Due>,
        ready: &mut Ready,
    ) {
        let limit = self.limit(context);
        let compresses = context.encoder.compresses();
        if self.records.len() >= context.limits.group_records || !compresses && self.text.len() + line.len() > limit {
            self.close(context, due, ready);
        }
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
        self.records.push(index);
        if compresses && self.text.len() >= limit.saturating_mul(TEXT_FOR_A_BLOCK).min(limit.max(MOST_TEXT)) {
            due.push_back(Due { block: self.take(), is_closed: false });
        }
    }

    /// Most bytes of data for several lines.
    fn limit(&self, context: &PackContext<'_, '_>) -> usize {
        context.encoder.max_bytes().min(context.limits.group_bytes).saturating_sub(self.key_bytes())
    }

    fn key_bytes(&self) -> usize {
        if self.key.is_empty() { RANDOM_KEY_LENGTH } else { self.key.len() }
    }

    /// Makes a group of all the lines, or has them compressed.
    fn close(&mut self, context: &mut PackContext<'_, '_>, due: &mut VecDeque<Due>, ready: &mut Ready) {
        if self.records.is_empty() {
            return;
        }
        if context.encoder.compresses() {
            due.push_back(Due { block: self.take(), is_closed: true });
        } else {
            let (records, data) = (std::mem::take(&mut self.records), std::mem::take(&mut self.text));
            self.ends.clear();
            ready.push(self.group(records, data, context.random));
        }
    }

    /// Takes the lines, and leaves the key.
    fn take(&mut self) -> Block {
        let key = self.key.clone();
        std::mem::replace(self, Block { key, ..Block::default() })
    }

    /// Makes a group of the first `count` lines, compressed as `data`. If not even the first fits, it is cut and sent
    /// alone, or refused.
    fn send(&mut self, mut count: usize, mut data: Vec<u8>, context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        if count == 0 {
            count = 1;
            data.clear();
            // Alone, it may use the whole size of a Kinesis record, whatever the group limit.
            let limit = context.encoder.max_bytes().saturating_sub(self.key_bytes());
            let line = self.text.get(..self.end_of(1)).unwrap_or_default();
            let index = self.records.first().copied().unwrap_or_default();
            match context.encoder.compress_to_fit(line, limit, &mut data) {
                Ok(false) => {}
                Ok(true) => {
                    let cut_from = Some(line.len() + context.encoder.max_bytes() - limit);
                    (context.report)(index, RecordIssue::Altered(Alterations { cut_from, ..Alterations::default() }));
                }
                Err(refusal) => {
                    (context.report)(index, RecordIssue::Refused(refusal));
                    self.forget(1);
                    return;
                }
            }
        }
        let records = self.forget(count);
        ready.push(self.group(records, data, context.random));
    }

    /// Where the first `count` lines end.
    fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default()
    }

    /// Removes the first `count` lines.
    fn forget(&mut self, count: usize) -> Vec<u32> {
        let end = self.end_of(count);
        self.text.drain(..end);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|position| *position -= end);
        self.records.drain(..count).collect()
    }

    fn group(&self, records: Vec<u32>, data: Vec<u8>, random: &mut rand::rngs::SmallRng) -> Group {
        let random_key = self.key.is_empty();
        let key = if random_key { RandomKey::draw(random).as_str().to_owned() } else { self.key.clone() };
        Group { records, data, key, random_key, ..Group::default() }
    }
}
