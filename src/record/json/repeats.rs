//! Which entries of a value's maps do not count, because an equal key follows.
//!
//! One walk over the value, however its maps are nested, and a sort of each map's keys: hostile input costs
//! eight bytes for each entry of the maps it is inside of, and n log n in time. Keys are sorted by a hash that
//! nobody outside can foresee, and only those whose hashes are equal are compared.

use std::hash::{BuildHasher, RandomState};

use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::KEY_LEVELS;

/// Writes the text of a key over the last argument, without the entries of its maps that do not count; `depth` levels are
/// left. `false` when it has no text. Passed in, because whoever writes keys also asks for repeats.
pub(super) type ReadKey = fn(Reader<'_>, &Repeats, depth: u32, &mut Vec<u8>) -> Result<bool, Malformed>;

/// The entries that do not count, by where their keys begin.
pub(super) struct Repeats {
    /// Bytes that were left to read at the place that positions are counted from.
    origin: usize,
    /// A bit for each position.
    places: Vec<u64>,
}

impl Repeats {
    /// Those of the next value, all maps in it included; `depth` levels may be nested.
    pub(super) fn of_value(mut value: Reader<'_>, depth: u32, read_key: ReadKey) -> Result<Repeats, Malformed> {
        let mut search = Search::new(value, read_key);
        search.value(&mut value, depth)?;
        Ok(search.found)
    }

    /// Those of a map whose entries come next, all maps in it included.
    pub(super) fn of_map(
        entries: u32,
        mut contents: Reader<'_>,
        depth: u32,
        read_key: ReadKey,
    ) -> Result<Repeats, Malformed> {
        let mut search = Search::new(contents, read_key);
        search.map(entries, &mut contents, depth)?;
        Ok(search.found)
    }

    /// Whether the entry that comes next is one of them.
    pub(super) fn contain(&self, entry: &Reader<'_>) -> bool {
        let position = self.origin.wrapping_sub(entry.rest().len());
        self.places.get(position / 64).is_some_and(|bits| bits >> (position % 64) & 1 == 1)
    }

    fn insert(&mut self, position: usize) {
        if position / 64 >= self.places.len() {
            self.places.resize(position / 64 + 1, 0);
        }
        if let Some(bits) = self.places.get_mut(position / 64) {
            *bits |= 1 << (position % 64);
        }
    }
}

/// A walk over a value.
struct Search<'v> {
    start: Reader<'v>,
    read_key: ReadKey,
    /// Of each key of the maps that are open half its text's hash and, in the lower half, its position.
    keys: Vec<u64>,
    hashes: RandomState,
    /// The key that is looked at, as JSON.
    text: Vec<u8>,
    found: Repeats,
}

impl<'v> Search<'v> {
    fn new(start: Reader<'v>, read_key: ReadKey) -> Self {
        let found = Repeats { origin: start.rest().len(), places: Vec::new() };
        Search { start, read_key, keys: Vec::new(), hashes: RandomState::new(), text: Vec::new(), found }
    }

    /// Passes over the next value. What is nested too deep is refused when it is written, if ever.
    fn value(&mut self, reader: &mut Reader<'v>, depth: u32) -> Result<(), Malformed> {
        let before = *reader;
        match (reader.token()?, depth.checked_sub(1)) {
            (Token::Map(entries), Some(depth)) => self.map(entries, reader, depth),
            (Token::Array(entries), Some(depth)) => (0..entries).try_for_each(|_| self.value(reader, depth)),
            (Token::Map(_) | Token::Array(_), None) => {
                *reader = before;
                reader.skip()
            }
            _ => Ok(()),
        }
    }

    fn map(&mut self, entries: u32, reader: &mut Reader<'v>, depth: u32) -> Result<(), Malformed> {
        let first = self.keys.len();
        for _ in 0..entries {
            let key = *reader;
            self.maps_of_key(reader, depth)?;
            if self.read_text(key, depth)? {
                let hash = self.hashes.hash_one(self.text.as_slice());
                let position = self.found.origin - key.rest().len();
                // Fluent Bit's chunks have 2 MB; in one of more than 4 GiB keys are not compared.
                if let Ok(position) = u32::try_from(position) {
                    self.keys.push((hash & !u64::from(u32::MAX)) | u64::from(position));
                }
            }
            self.value(reader, depth)?;
        }
        self.close(first, depth)
    }

    /// Passes over a key. The maps in it are searched first, because its text is made without what does not count.
    fn maps_of_key(&mut self, reader: &mut Reader<'v>, depth: u32) -> Result<(), Malformed> {
        match depth.checked_sub(KEY_LEVELS) {
            Some(depth) => self.value(reader, depth),
            None => reader.skip(),
        }
    }

    /// Reads the text of the key that comes next, if it has one.
    fn read_text(&mut self, key: Reader<'v>, depth: u32) -> Result<bool, Malformed> {
        (self.read_key)(key, &self.found, depth, &mut self.text)
    }

    /// Ends a map, whose keys are those from `first` on.
    fn close(&mut self, first: usize, depth: u32) -> Result<(), Malformed> {
        let mut keys = std::mem::take(&mut self.keys);
        let own = keys.get_mut(first..).unwrap_or_default();
        own.sort_unstable();
        let have_same_hash = |one: &u64, other: &u64| one >> 32 == other >> 32;
        for alike in own.chunk_by(have_same_hash).filter(|alike| alike.len() > 1) {
            // As a rule they are one text, whose last entry counts.
            let mut counted: Vec<Vec<u8>> = Vec::new();
            for position in alike.iter().rev().map(|key| *key as u32 as usize) {
                let Some(key) = self.start.rest().get(position..) else { continue };
                if !self.read_text(Reader::new(key), depth)? {
                    continue;
                }
                if counted.contains(&self.text) {
                    self.found.insert(position);
                } else {
                    counted.push(self.text.clone());
                }
            }
        }
        keys.truncate(first);
        self.keys = keys;
        Ok(())
    }
}
