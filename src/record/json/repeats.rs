//! Finds map entries that a later equal key overrides.
//!
//! One walk over the value, however nested, and one sort of each map's keys. Hostile input costs eight bytes per
//! entry of the open maps and O(n log n) time. Keys are sorted by a hash with a random seed; only keys with equal
//! hashes are compared.

use std::hash::{BuildHasher, RandomState};

use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::KEY_LEVELS;

/// Overwrites the last argument with the text of a key, without overridden entries; `depth` levels are left. Returns
/// `false` if the key has no text. Passed in because writing a key in turn needs [`Repeats`].
pub(super) type ReadKey = fn(Reader<'_>, &Repeats, depth: u32, &mut Vec<u8>) -> Result<bool, Malformed>;

/// The overridden entries, by the position of their keys.
pub(super) struct Repeats {
    /// Bytes left to read at position 0.
    origin: usize,
    /// One bit per position.
    places: Vec<u64>,
}

impl Repeats {
    /// Searches the next value and all maps in it, down to `depth` levels.
    pub(super) fn of_value(mut value: Reader<'_>, depth: u32, read_key: ReadKey) -> Result<Repeats, Malformed> {
        let mut search = Search::new(value, read_key);
        search.value(&mut value, depth)?;
        Ok(search.found)
    }

    /// Searches the map whose entries come next, and all maps in it.
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

    /// Whether the next entry is overridden.
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
    /// For each key of the open maps: half of its text's hash, then its position in the lower half.
    keys: Vec<u64>,
    hashes: RandomState,
    /// The current key, as JSON.
    text: Vec<u8>,
    found: Repeats,
}

impl<'v> Search<'v> {
    fn new(start: Reader<'v>, read_key: ReadKey) -> Self {
        let found = Repeats { origin: start.rest().len(), places: Vec::new() };
        Search { start, read_key, keys: Vec::new(), hashes: RandomState::new(), text: Vec::new(), found }
    }

    /// Searches the next value. Too deep nesting is refused when the value is written.
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
                // Fluent Bit's chunks have about 2 MB; beyond 4 GiB, keys are not compared.
                if let Ok(position) = u32::try_from(position) {
                    self.keys.push((hash & !u64::from(u32::MAX)) | u64::from(position));
                }
            }
            self.value(reader, depth)?;
        }
        self.close(first, depth)
    }

    /// Searches a key. The maps in it come first, because its text omits their overridden entries.
    fn maps_of_key(&mut self, reader: &mut Reader<'v>, depth: u32) -> Result<(), Malformed> {
        match depth.checked_sub(KEY_LEVELS) {
            Some(depth) => self.value(reader, depth),
            None => reader.skip(),
        }
    }

    /// Reads the text of the next key, if it has one.
    fn read_text(&mut self, key: Reader<'v>, depth: u32) -> Result<bool, Malformed> {
        (self.read_key)(key, &self.found, depth, &mut self.text)
    }

    /// Ends a map whose keys start at `first`.
    fn close(&mut self, first: usize, depth: u32) -> Result<(), Malformed> {
        let mut keys = std::mem::take(&mut self.keys);
        let own = keys.get_mut(first..).unwrap_or_default();
        own.sort_unstable();
        let have_same_hash = |one: &u64, other: &u64| one >> 32 == other >> 32;
        for alike in own.chunk_by(have_same_hash).filter(|alike| alike.len() > 1) {
            // Equal hashes nearly always mean one text, whose last entry counts.
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
