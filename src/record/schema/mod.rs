//! Remembers what the records of a source have in common, so that its keys are compared instead of written.
//!
//! Records of one source nearly always have the same keys in the same order. What stands between two values, keys and
//! the heads of maps, is a [`Step`]: its msgpack, and the JSON that this becomes. A record that consists of known steps
//! costs one comparison and one copy per value. Its keys are not escaped again, and not searched for equal ones: they
//! are those of the record that the steps were learned from. At the first difference, the record is written as any
//! other.
//!
//! Schemas that begin alike share their first steps. Values may differ in type: the bytes before them tell what comes
//! next, whatever they are.

mod draft;

use std::collections::HashSet;

use crate::msgpack::{Reader, Token};
use crate::record::json::{OnePass, string};
use crate::record::refusal::MAX_DEPTH;
use draft::{DRAFT_BYTES, Draft};

/// Most schemas at a time, and thus most comparisons for one step.
const MOST_SCHEMAS: usize = 16;
/// Most steps of all schemas. Each takes less than 200 bytes, and what its keys have beyond [`BLOCK`].
const MOST_STEPS: usize = 256;
/// A usual schema has no more.
const FEW_STEPS: usize = 32;
/// Most bytes of a step in either form. Larger ones are not worth it.
const MOST_STEP_BYTES: usize = 256;
/// Maps with more entries or below this level are values.
const MOST_ENTRIES: u32 = 128;
const MOST_LEVELS: u32 = 16;

/// The first records are not learned from, so that chunks of a few records cost nothing.
const FIRST_PAUSE: u32 = 7;
/// Each unknown record costs one, each known one earns one, up to [`MOST_CREDIT`]. Without credit, records are written as
/// usual for a while, and all is forgotten.
const CREDIT: u32 = 32;
const MOST_CREDIT: u32 = 64;
const PAUSE: u32 = 1024;

/// What is known of the records so far.
pub struct Schemas {
    /// Each schema in a row, but for what it shares with one before it.
    steps: Vec<Step>,
    schemas: usize,
    credit: u32,
    /// The number of records to write as usual.
    pause: u32,
    /// For [`Draft`].
    memory: [u8; DRAFT_BYTES],
}

/// What stands before a value.
struct Step {
    msgpack: Literal,
    /// The bits that count of a block of msgpack.
    mask: [u8; BLOCK],
    json: Literal,
    /// The levels left for the value.
    depth: u32,
    /// The number of maps that end after the value, at the end of a record; 0 before.
    ends: usize,
    /// The step to try if this is not what comes next.
    otherwise: Option<usize>,
}

/// The ends of all maps.
const ENDS: [u8; MOST_LEVELS as usize] = [b'}'; MOST_LEVELS as usize];

impl Default for Schemas {
    fn default() -> Self {
        Schemas { steps: Vec::new(), schemas: 0, credit: CREDIT, pause: FIRST_PAUSE, memory: [0; DRAFT_BYTES] }
    }
}

impl Schemas {
    /// Appends the next value to `out` as JSON and consumes it: by a known schema, or else with `plain`, which must do
    /// just that.
    ///
    /// # Errors
    /// As of `plain`.
    #[inline]
    pub fn write<'v, E>(
        &mut self,
        reader: &mut Reader<'v>,
        out: &mut Vec<u8>,
        plain: impl FnOnce(&mut Reader<'v>, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pause > 0 {
            self.pause -= 1;
            return plain(reader, out);
        }
        let (record, length) = (*reader, out.len());
        if self.follow(reader, out).is_some() {
            self.credit = MOST_CREDIT.min(self.credit + 1);
            return Ok(());
        }
        out.truncate(length);
        let written = plain(reader, out);
        self.learn(record, written.is_ok());
        written
    }

    /// Writes the next value by a known schema. If it has none, returns `None` and consumes nothing; `out` may then hold a
    /// part of it.
    // Inlined, a record of a single value costs 30 instructions less.
    #[inline(always)]
    fn follow(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
        let mut values = OnePass::default();
        // The first step is written here, because many records have no other.
        let (index, step, mut value) = self.find(0, *reader)?;
        step.json.append(out);
        values.write_value(&mut value, out, step.depth)?;
        if step.ends > 0 {
            step.end(out);
        } else {
            value = self.follow_from(index + 1, value, out, &mut values)?;
        }
        *reader = value;
        Some(())
    }

    /// The step at this index or one instead of it whose msgpack comes next, and what follows that.
    #[inline(always)]
    fn find<'v>(&self, mut index: usize, reader: Reader<'v>) -> Option<(usize, &Step, Reader<'v>)> {
        loop {
            let step = self.steps.get(index)?;
            if let Some(after) = step.after(reader) {
                return Some((index, step, after));
            }
            index = step.otherwise?;
        }
    }

    /// Writes from a step to the end of the record. Returns what follows.
    #[inline(never)]
    fn follow_from<'v>(
        &mut self,
        index: usize,
        mut reader: Reader<'v>,
        out: &mut Vec<u8>,
        values: &mut OnePass,
    ) -> Option<Reader<'v>> {
        let mut draft = Draft::new(&mut self.memory, out);
        let mut steps = self.steps.get(index..)?.iter();
        loop {
            let step = steps.next()?;
            let Some(mut value) = step.after(reader) else {
                steps = self.steps.get(step.otherwise?..)?.iter();
                continue;
            };
            draft.push(&step.json.block, step.json.length)?;
            if !step.json.rest.is_empty() {
                draft.push_long(&step.json.rest);
            }
            if let Some(text) = string::short_and_plain(&mut value) {
                draft.push_string(text)?;
            } else if let Some(number) = value.unsigned() {
                draft.push_number(number)?;
            } else if let Some(boolean) = value.boolean() {
                draft.push_boolean(boolean)?;
            } else {
                // A copy, so that the reader stays in registers for all other values.
                let mut other = value;
                values.write_value(&mut other, draft.flush(), step.depth)?;
                value = other;
            }
            reader = value;
            if step.ends > 0 {
                step.end(draft.flush());
                return Some(reader);
            }
        }
    }

    /// Learns the schema of a record that was unknown, if it could be written.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, record: Reader<'_>, was_written: bool) {
        self.credit -= 1;
        if self.credit == 0 {
            *self = Schemas { pause: PAUSE, ..Schemas::default() };
        } else if was_written
            && self.schemas < MOST_SCHEMAS
            && let Some(steps) = Lesson::of(record)
            && self.steps.len() + steps.len() <= MOST_STEPS
        {
            self.add(steps);
        }
    }

    /// Adds the steps of a schema after those that it shares with another.
    fn add(&mut self, steps: Vec<Step>) {
        let (mut shared, mut index) = (0, 0);
        let end = self.steps.len();
        while let (Some(known), Some(new)) = (self.steps.get_mut(index), steps.get(shared)) {
            if known.is_same(new) {
                (shared, index) = (shared + 1, index + 1);
            } else if let Some(otherwise) = known.otherwise {
                index = otherwise;
            } else {
                known.otherwise = Some(end);
                break;
            }
        }
        self.steps.extend(steps.into_iter().skip(shared));
        self.schemas += 1;
    }
}

impl Step {
    /// What follows its msgpack, if that comes next.
    #[inline]
    fn after<'v>(&self, reader: Reader<'v>) -> Option<Reader<'v>> {
        let bytes = reader.rest();
        match (bytes.first_chunk(), bytes.get(self.msgpack.length..)) {
            (Some(found), Some(after)) if self.msgpack.rest.is_empty() => {
                self.begins(found).then(|| Reader::new(after))
            }
            _ => self.after_any_length(reader),
        }
    }

    /// The same for long msgpack, and at the end of a chunk.
    #[cold]
    #[inline(never)]
    fn after_any_length<'v>(&self, reader: Reader<'v>) -> Option<Reader<'v>> {
        let Literal { block, length, rest } = &self.msgpack;
        let bytes = reader.rest().strip_prefix(block.get(..*length)?)?;
        Some(Reader::new(bytes.strip_prefix(&**rest)?))
    }

    /// Ends the maps that end after its value.
    #[inline]
    fn end(&self, out: &mut Vec<u8>) {
        // The last value of most records is in no map within the record.
        if self.ends == 1 {
            return out.push(b'}');
        }
        let end = out.len() + self.ends;
        out.extend_from_slice(&ENDS);
        out.truncate(end);
    }

    #[inline]
    fn begins(&self, found: &[u8; BLOCK]) -> bool {
        let bytes = self.msgpack.block.iter().zip(&self.mask).zip(found);
        bytes.fold(0, |differences, ((known, mask), found)| differences | ((known ^ found) & mask)) == 0
    }

    fn is_same(&self, other: &Step) -> bool {
        self.msgpack == other.msgpack && self.json == other.json && self.ends == other.ends
    }
}

/// The division of a record into steps.
struct Lesson<'v> {
    reader: Reader<'v>,
    /// Where the current step starts.
    start: Reader<'v>,
    /// What it has become so far.
    json: Vec<u8>,
    steps: Vec<Step>,
}

impl<'v> Lesson<'v> {
    /// The steps of a map. Returns `None` if there are none or too many, or keys that are no text, or equal ones.
    fn of(record: Reader<'v>) -> Option<Vec<Step>> {
        let mut lesson = Lesson {
            reader: record,
            start: record,
            json: Vec::with_capacity(MOST_STEP_BYTES),
            steps: Vec::with_capacity(FEW_STEPS),
        };
        let entries = lesson.reader.map()?;
        lesson.map(entries, 1)?;
        // What is left are the ends of maps.
        lesson.steps.last_mut()?.ends = lesson.json.len();
        Some(lesson.steps)
    }

    /// Reads a map at this level, the top being 1.
    fn map(&mut self, entries: u32, level: u32) -> Option<()> {
        if entries > MOST_ENTRIES {
            return None;
        }
        let mut keys = HashSet::with_capacity(entries as usize);
        self.json.push(b'{');
        for _ in 0..entries {
            let Token::String(key) = self.reader.token().ok()? else { return None };
            if !keys.is_empty() {
                self.json.push(b',');
            }
            if !keys.insert(key) || key.len() > MOST_STEP_BYTES {
                return None;
            }
            string::write_text(simdutf8::basic::from_utf8(key).ok()?, &mut self.json);
            self.json.push(b':');
            let mut value = self.reader;
            match value.map() {
                Some(entries @ 1..=MOST_ENTRIES) if level < MOST_LEVELS => {
                    self.reader = value;
                    self.map(entries, level + 1)?;
                }
                _ => {
                    self.end_step(level)?;
                    self.reader.skip().ok()?;
                    self.start = self.reader;
                }
            }
        }
        self.json.push(b'}');
        Some(())
    }

    /// Ends a step before a value of a map at this level.
    fn end_step(&mut self, level: u32) -> Option<()> {
        let msgpack = Literal::new(self.start.up_to(&self.reader))?;
        let json = Literal::new(&self.json)?;
        self.json.clear();
        let mut mask = [0; BLOCK];
        mask.get_mut(..msgpack.length)?.fill(u8::MAX);
        self.steps.push(Step { msgpack, mask, json, depth: MAX_DEPTH - level, ends: 0, otherwise: None });
        (self.steps.len() <= MOST_STEPS).then_some(())
    }
}

/// Bytes that are known. Most are few, so that comparing and copying a block of constant size beats a call.
#[derive(PartialEq, Eq)]
struct Literal {
    block: [u8; BLOCK],
    /// How many bytes of the block count.
    length: usize,
    /// What follows them.
    rest: Box<[u8]>,
}

const BLOCK: usize = 32;

impl Literal {
    /// Returns `None` for too many bytes.
    fn new(bytes: &[u8]) -> Option<Literal> {
        let (first, rest) = bytes.split_at(bytes.len().min(BLOCK));
        let mut block = [0; BLOCK];
        block.get_mut(..first.len())?.copy_from_slice(first);
        (bytes.len() <= MOST_STEP_BYTES).then(|| Literal { block, length: first.len(), rest: rest.into() })
    }

    #[inline]
    fn append(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.length;
        out.extend_from_slice(&self.block);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}

#[cfg(test)]
mod tests;
