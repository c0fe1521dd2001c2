//! Records joined to blocks of lines, one open for each partition key.

use super::Remark;
use super::group::Tools;
use super::open::OpenByKey;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::request::Group;
use crate::record::Alterations;

/// So many times the size of a Kinesis record is as much text as is worth collecting before it is compressed: few logs
/// shrink more, and the next block goes on with what does not fit.
const TEXT_FOR_A_BLOCK: usize = 16;
/// Most text that is collected, in bytes, where records may be larger than that allows.
const MOST_TEXT: usize = 16 << 20;

/// The blocks that are open.
#[derive(Default)]
pub(super) struct Lines {
    open: OpenByKey<Block>,
}

#[derive(Default)]
struct Block {
    /// Lines, each ended by a newline.
    text: Vec<u8>,
    /// Where each record ends in the text.
    ends: Vec<usize>,
    records: Vec<u32>,
    /// The user's key; empty for records without one.
    key: String,
}

impl Lines {
    /// Puts the record that the encoder made last into a block.
    pub(super) fn add(&mut self, index: u32, line: &[u8], tools: &mut Tools<'_, '_>) {
        // The name outlives the borrow of the encoder that may compress.
        let key = if tools.encoder.random_key().is_some() { String::new() } else { tools.encoder.key().to_owned() };
        if let Some(mut oldest) = self.open.make_room(&key) {
            oldest.close(tools);
        }
        self.open.with(&key, |block| {
            block.key.clone_from(&key);
            block.add(index, line, tools);
        });
    }

    /// Completes all of them.
    pub(super) fn close(&mut self, tools: &mut Tools<'_, '_>) {
        self.open.take_all().for_each(|mut block| block.close(tools));
    }
}

impl Block {
    fn add(&mut self, index: u32, line: &[u8], tools: &mut Tools<'_, '_>) {
        let limit = self.limit(tools);
        let compresses = tools.encoder.compresses();
        if self.records.len() >= tools.limits.group_records || !compresses && self.text.len() + line.len() > limit {
            self.close(tools);
        }
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
        self.records.push(index);
        if compresses && self.text.len() >= limit.saturating_mul(TEXT_FOR_A_BLOCK).min(limit.max(MOST_TEXT)) {
            self.compress(tools);
        }
    }

    /// Most bytes of data of several lines.
    fn limit(&self, tools: &Tools<'_, '_>) -> usize {
        tools.encoder.max_bytes().min(tools.limits.group_bytes).saturating_sub(self.key_bytes())
    }

    fn key_bytes(&self) -> usize {
        if self.key.is_empty() { RANDOM_KEY_LENGTH } else { self.key.len() }
    }

    /// Makes groups of all of its lines.
    fn close(&mut self, tools: &mut Tools<'_, '_>) {
        if tools.encoder.compresses() {
            while !self.records.is_empty() {
                self.compress(tools);
            }
        } else if !self.records.is_empty() {
            let (records, data) = (std::mem::take(&mut self.records), std::mem::take(&mut self.text));
            self.ends.clear();
            tools.ready.push(self.group(records, data, tools.random));
        }
    }

    /// Makes a group of as many lines as fit, compressed. A line that is too large for any is cut and goes alone, or is
    /// refused.
    fn compress(&mut self, tools: &mut Tools<'_, '_>) {
        let limit = self.limit(tools);
        let mut data = tools.ready.buffer();
        let mut count = tools.encoder.compress_lines(&self.text, &self.ends, limit, &mut data).unwrap_or_default();
        if count == 0 {
            count = 1;
            data.clear();
            // Alone it may have all of a Kinesis record, whatever groups are held to.
            let limit = tools.encoder.max_bytes().saturating_sub(self.key_bytes());
            let line = self.text.get(..self.end_of(1)).unwrap_or_default();
            let index = self.records.first().copied().unwrap_or_default();
            match tools.encoder.compress_to_fit(line, limit, &mut data) {
                Ok(false) => {}
                Ok(true) => {
                    let cut_from = Some(line.len() + tools.encoder.max_bytes() - limit);
                    (tools.remark)(index, Remark::Altered(Alterations { cut_from, ..Alterations::default() }));
                }
                Err(refusal) => {
                    (tools.remark)(index, Remark::Refused(refusal));
                    self.forget(1);
                    return;
                }
            }
        }
        let records = self.forget(count);
        tools.ready.push(self.group(records, data, tools.random));
    }

    /// Where so many lines end.
    fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default()
    }

    /// Takes so many lines out.
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
