//! Joins records into blocks of lines, one open per partition key.

use super::context::PackContext;
use super::issue::RecordIssue;
use super::keyed_lru::KeyedLru;
use super::ready::Ready;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::request::Group;
use crate::record::Alterations;
use crate::record::partition_key::Key;

/// Buffer up to 16 times the record limit before compressing; few logs compress better. What does not fit starts the
/// next block.
const TEXT_FOR_A_BLOCK: usize = 16;
/// Most bytes of text to buffer, if the record limit would allow more.
const MOST_TEXT: usize = 16 << 20;

/// The open blocks.
#[derive(Default)]
pub(super) struct Lines {
    open: KeyedLru<Block>,
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
        let name = key.random().is_none().then(|| key.as_str());
        if let Some(mut oldest) = self.open.make_room(name) {
            oldest.close(context, ready);
        }
        self.open.with(name, |block| {
            name.unwrap_or_default().clone_into(&mut block.key);
            block.add(index, line, context, ready);
        });
    }

    /// Completes all blocks.
    pub(super) fn close(&mut self, context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        self.open.take_all().for_each(|mut block| block.close(context, ready));
    }
}

impl Block {
    fn add(&mut self, index: u32, line: &[u8], context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        let limit = self.limit(context);
        let compresses = context.encoder.compresses();
        if self.records.len() >= context.limits.group_records || !compresses && self.text.len() + line.len() > limit {
            self.close(context, ready);
        }
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
        self.records.push(index);
        if compresses && self.text.len() >= limit.saturating_mul(TEXT_FOR_A_BLOCK).min(limit.max(MOST_TEXT)) {
            self.compress(context, ready);
        }
    }

    /// Most bytes of data for several lines.
    fn limit(&self, context: &PackContext<'_, '_>) -> usize {
        context.encoder.max_bytes().min(context.limits.group_bytes).saturating_sub(self.key_bytes())
    }

    fn key_bytes(&self) -> usize {
        if self.key.is_empty() { RANDOM_KEY_LENGTH } else { self.key.len() }
    }

    /// Makes groups of all the lines.
    fn close(&mut self, context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        if context.encoder.compresses() {
            while !self.records.is_empty() {
                self.compress(context, ready);
            }
        } else if !self.records.is_empty() {
            let (records, data) = (std::mem::take(&mut self.records), std::mem::take(&mut self.text));
            self.ends.clear();
            ready.push(self.group(records, data, context.random));
        }
    }

    /// Makes a group of as many lines as fit when compressed. A line too large for any group is cut and sent alone,
    /// or refused.
    fn compress(&mut self, context: &mut PackContext<'_, '_>, ready: &mut Ready) {
        let limit = self.limit(context);
        let mut data = ready.buffer();
        let mut count = context.encoder.compress_lines(&self.text, &self.ends, limit, &mut data).unwrap_or_default();
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
