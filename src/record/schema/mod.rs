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
mod lesson;
mod step;

use crate::msgpack::Reader;
use crate::record::json::{OnePass, string};
use draft::{DRAFT_BYTES, Draft};
use lesson::Lesson;
use step::{MOST_STEPS, Step};

pub use lesson::Rules;

/// Most schemas at a time, and thus most comparisons for one step.
const MOST_SCHEMAS: usize = 16;

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
        self.learn(record, Rules::default(), written.is_ok());
        written
    }

    /// Appends the next event to `out` as `rules` say, which are the same for all, with what `more` appends to its entries.
    /// Consumes it and returns its partition key, which is empty if there is no path to it. If it is of no known schema,
    /// or needs more than one pass, returns `None` and consumes nothing; `out` may then hold a part of it.
    pub fn write_shaped<'v>(
        &mut self,
        reader: &mut Reader<'v>,
        out: &mut Vec<u8>,
        rules: Rules<'_>,
        more: impl FnOnce(&mut Vec<u8>),
    ) -> Option<&'v [u8]> {
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let record = *reader;
        let followed = self.follow_shaped(reader, out, more);
        match followed {
            Some(_) => self.credit = MOST_CREDIT.min(self.credit + 1),
            None => self.learn(record, rules, true),
        }
        followed
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
            write_value(&mut value, step.depth, &mut draft, values)?;
            reader = value;
            if step.ends > 0 {
                step.end(draft.flush());
                return Some(reader);
            }
        }
    }

    /// Writes the next event by a known schema, as [`Schemas::write_shaped`] does.
    fn follow_shaped<'v>(
        &mut self,
        reader: &mut Reader<'v>,
        out: &mut Vec<u8>,
        more: impl FnOnce(&mut Vec<u8>),
    ) -> Option<&'v [u8]> {
        let (mut values, mut key): (_, &[u8]) = (OnePass::default(), &[]);
        let mut draft = Draft::new(&mut self.memory, out);
        let mut steps = self.steps.iter();
        let mut next = *reader;
        loop {
            let step = steps.next()?;
            let Some(value) = step.after(next).filter(|value| step.takes(*value)) else {
                steps = self.steps.get(step.otherwise?..)?.iter();
                continue;
            };
            if step.is_omitted {
                next = value;
                next.skip().ok()?;
            } else {
                draft.push(&step.json.block, step.json.length)?;
                if !step.json.rest.is_empty() {
                    draft.push_long(&step.json.rest);
                }
                next = value;
                write_value(&mut next, step.depth, &mut draft, &mut values)?;
            }
            if step.is_key {
                key = value.up_to(&next);
            }
            if step.ends > 0 {
                step.end_with(more, draft.flush());
                *reader = next;
                return Some(key);
            }
        }
    }

    /// Learns the schema of a record that was unknown, if it could be written.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, record: Reader<'_>, rules: Rules<'_>, was_written: bool) {
        self.credit -= 1;
        if self.credit == 0 {
            *self = Schemas { pause: PAUSE, ..Schemas::default() };
        } else if was_written
            && self.schemas < MOST_SCHEMAS
            && let Some(steps) = Lesson::of(record, rules)
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

/// Writes the next value and consumes it.
#[inline(always)]
fn write_value(value: &mut Reader<'_>, depth: u32, draft: &mut Draft<'_>, values: &mut OnePass) -> Option<()> {
    if let Some(text) = string::short_and_plain(value) {
        draft.push_string(text)
    } else if let Some(number) = value.unsigned() {
        draft.push_number(number)
    } else if let Some(boolean) = value.boolean() {
        draft.push_boolean(boolean)
    } else {
        // A copy, so that the reader stays in registers for all other values.
        let mut other = *value;
        values.write_value(&mut other, draft.flush(), depth)?;
        *value = other;
        Some(())
    }
}

#[cfg(test)]
mod tests;
