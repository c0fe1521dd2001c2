//! Learns the schema of a record.

use std::borrow::Cow;
use std::collections::HashSet;

use super::step::{BLOCK, Literal, MOST_ENTRIES, MOST_LEVELS, MOST_STEP_BYTES, MOST_STEPS, Step};
use crate::msgpack::{Reader, Token};
use crate::record::json::string;
use crate::record::refusal::MAX_DEPTH;
use crate::record::shape::{Choice, Shape};

/// A usual schema has no more steps.
const FEW_STEPS: usize = 32;

/// What becomes of the values of an event, as far as their keys decide that.
#[derive(Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Which are sent, and under which keys; `None` sends all as they are.
    pub shape: Option<&'a Shape>,
    /// The path to the partition key; empty if the event does not contain it.
    pub partition_key: &'a [String],
}

/// The division of a record into steps.
pub(super) struct Lesson<'v, 'r> {
    rules: Rules<'r>,
    reader: Reader<'v>,
    /// Where the current step starts.
    start: Reader<'v>,
    /// What it has become so far.
    json: Vec<u8>,
    steps: Vec<Step>,
    /// Whether the partition key was found, if there is a path to it.
    has_key: bool,
}

/// What becomes of a value.
#[derive(Clone, Copy)]
struct Fate<'r> {
    /// What stays of it; `None` if nothing does.
    choice: Option<Choice<'r>>,
    /// How the path to the partition key goes on from here; empty if it does not lead here.
    path: &'r [String],
    is_key: bool,
}

impl<'v, 'r> Lesson<'v, 'r> {
    /// The steps of a map. Returns `None` if there are none or too many, if keys are no text or equal, and if nothing is
    /// sent of it or it lacks a partition key.
    pub(super) fn of(record: Reader<'v>, rules: Rules<'r>) -> Option<Vec<Step>> {
        let mut lesson = Lesson {
            rules,
            reader: record,
            start: record,
            json: Vec::with_capacity(MOST_STEP_BYTES),
            steps: Vec::with_capacity(FEW_STEPS),
            has_key: rules.partition_key.is_empty(),
        };
        let entries = lesson.reader.map()?;
        let choice = Some(rules.shape.map_or(Choice::default(), Shape::choice));
        lesson.map(entries, 1, Fate { choice, path: rules.partition_key, is_key: false })?;
        // After the last value, no map may be left of which everything was left out.
        let only_ends = lesson.json.iter().all(|&byte| byte == b'}');
        lesson.steps.last_mut()?.ends = lesson.json.len();
        (only_ends && lesson.has_key).then_some(lesson.steps)
    }

    /// Reads a map at this level, the top being 1. Returns how many of its entries are sent.
    fn map(&mut self, entries: u32, level: u32, fate: Fate<'r>) -> Option<u32> {
        if entries > MOST_ENTRIES {
            return None;
        }
        let (mut keys, mut kept) = (HashSet::with_capacity(entries as usize), 0);
        let mut names = self.rules.shape.and_then(|shape| names(shape, level));
        if fate.choice.is_some() {
            self.json.push(b'{');
        }
        for _ in 0..entries {
            let Token::String(key) = self.reader.token().ok()? else { return None };
            if !keys.insert(key) || key.len() > MOST_STEP_BYTES {
                return None;
            }
            let length = self.json.len();
            let fate = self.fate(key, level, fate);
            if fate.choice.is_some() {
                if kept > 0 {
                    self.json.push(b',');
                }
                self.key(key, names.as_mut())?;
            }
            if self.value(level, fate)? {
                kept += 1;
            } else {
                self.json.truncate(length);
            }
        }
        if fate.choice.is_some() {
            self.json.push(b'}');
        }
        Some(kept)
    }

    /// What becomes of the value under `key` in a map at this level.
    fn fate(&self, key: &[u8], level: u32, map: Fate<'r>) -> Fate<'r> {
        let is_replaced = level == 1 && self.rules.shape.is_some_and(|shape| shape.adds(key));
        let choice = map.choice.filter(|_| !is_replaced).and_then(|choice| choice.of(Some(key)));
        match map.path.split_first().filter(|(first, _)| first.as_bytes() == key) {
            Some((_, path)) => Fate { choice, path, is_key: path.is_empty() },
            None => Fate { choice, path: &[], is_key: false },
        }
    }

    /// Writes a key, as it is sent.
    fn key(&mut self, key: &[u8], names: Option<&mut HashSet<String>>) -> Option<()> {
        let key = simdutf8::basic::from_utf8(key).ok()?;
        let name = self.rules.shape.map_or(Cow::Borrowed(key), |shape| shape.name(key));
        string::write_text(&name, &mut self.json);
        self.json.push(b':');
        names.is_none_or(|names| names.insert(name.into_owned())).then_some(())
    }

    /// Reads a value in a map at this level. Returns whether anything of it is sent.
    fn value(&mut self, level: u32, fate: Fate<'r>) -> Option<bool> {
        let mut value = self.reader;
        match value.map() {
            Some(entries @ 1..=MOST_ENTRIES)
                if level < MOST_LEVELS && (fate.choice.is_some() || !fate.path.is_empty()) =>
            {
                self.reader = value;
                let kept = self.map(entries, level + 1, fate)?;
                Some(fate.choice.is_some_and(|choice| kept > 0 || choice.keep.is_none()))
            }
            _ => {
                // A value that is no map has no entries to keep.
                let is_sent = fate.choice.is_some_and(|choice| choice.keep.is_none());
                let is_flat = fate.choice.is_some_and(|choice| !choice.is_all() || self.renames());
                self.end_step(level, is_sent, is_flat, fate.is_key)?;
                self.has_key |= fate.is_key;
                self.reader.skip().ok()?;
                self.start = self.reader;
                Some(is_sent)
            }
        }
    }

    fn renames(&self) -> bool {
        self.rules.shape.is_some_and(|shape| shape.replace_dots.is_some())
    }

    /// Ends a step before a value of a map at this level. The JSON before a value that is left out stays for the next.
    fn end_step(&mut self, level: u32, is_sent: bool, is_flat: bool, is_key: bool) -> Option<()> {
        let msgpack = Literal::new(self.start.up_to(&self.reader))?;
        let json = Literal::new(if is_sent { &self.json } else { &[] })?;
        if is_sent {
            self.json.clear();
        }
        let mut mask = [0; BLOCK];
        mask.get_mut(..msgpack.length)?.fill(u8::MAX);
        let (depth, is_omitted) = (MAX_DEPTH - level, !is_sent);
        self.steps.push(Step { msgpack, mask, json, depth, is_omitted, is_flat, is_key, ends: 0, otherwise: None });
        (self.steps.len() <= MOST_STEPS).then_some(())
    }
}

/// The names of entries that are added to a map at this level, to which its own must not become equal; `None` if keys
/// keep their names.
fn names(shape: &Shape, level: u32) -> Option<HashSet<String>> {
    let added = shape.added_keys().filter(|_| level == 1);
    shape.replace_dots.as_ref().map(|_| added.map(|key| shape.name(key).into_owned()).collect())
}
