//! What Kinesis already has of the chunks that Fluent Bit will bring again.
//!
//! Fluent Bit retries whole chunks and gives them no id. So a chunk that is not done is remembered by its length and its
//! hash, with one bit for each of its records that needs no sending any more. When the same bytes come again under the
//! same tag, only the others are sent. Chunks that are equal to the last byte may take each other's entry: as each entry
//! is used once, every record is still stored as often as it was handed over.

mod progress;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

pub use progress::{Progress, Suspects};

/// What an entry takes beside its sets, in bytes, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// The chunks of one instance that are in retry.
#[derive(Debug)]
pub struct Ledger {
    entries: RefCell<VecDeque<Entry>>,
    max_bytes: usize,
    seed: u64,
    file: Option<File>,
}

/// Where a ledger is kept over a restart.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Where the records went, so that nobody takes the file for another stream's.
    destination: String,
}

/// What a chunk is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    length: u64,
    hash: u128,
}

impl Key {
    fn of(seed: u64, tag: &[u8], chunk: &[u8]) -> Key {
        let mut hasher = XxHash3_128::with_seed(seed);
        hasher.write(&(tag.len() as u64).to_le_bytes());
        hasher.write(tag);
        hasher.write(chunk);
        Key { length: chunk.len() as u64, hash: hasher.finish_128() }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    progress: Rc<Progress>,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD + self.progress.bytes()
    }
}

/// A chunk whose delivery is under way. Dropped without [`done`](Self::done), what is known of it is kept for the time
/// when Fluent Bit brings it again.
#[derive(Debug)]
pub struct OpenChunk<'a> {
    ledger: Rc<Ledger>,
    tag: &'a [u8],
    chunk: &'a [u8],
    /// Known when the chunk was hashed.
    key: Option<Key>,
    progress: Rc<Progress>,
    is_done: Cell<bool>,
}

impl OpenChunk<'_> {
    /// What is known of it. The tasks of its requests may hold it.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Fluent Bit will not bring it again: nothing is kept.
    pub fn done(self) {
        self.is_done.set(true);
    }
}

impl Drop for OpenChunk<'_> {
    fn drop(&mut self) {
        if !self.is_done.get() && !self.progress.is_empty() {
            let key = self.key.unwrap_or_else(|| Key::of(self.ledger.seed, self.tag, self.chunk));
            self.ledger.keep(Entry { key, progress: Rc::clone(&self.progress) });
        }
    }
}

impl Ledger {
    /// An empty ledger of at most `max_bytes`; the oldest entries go first.
    pub fn new(max_bytes: usize) -> Self {
        Ledger { entries: RefCell::default(), max_bytes, seed: 0, file: None }
    }

    /// A ledger that is kept in a file. Starts with what [`save`](Self::save) wrote there for the same `destination`; the
    /// result says why the file is of no use. What was read is removed: used twice it would lose records.
    pub fn with_file(max_bytes: usize, path: PathBuf, destination: String) -> (Self, Result<(), String>) {
        let file = File { path, destination };
        let read = file.read();
        let ledger = Ledger { file: Some(file), ..Self::new(max_bytes) };
        let loaded = read.map(|entries| ledger.entries.replace(entries)).map(drop);
        (ledger, loaded)
    }

    /// How many chunks are in it.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether no chunk is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// What it takes, in bytes, roughly.
    pub fn bytes(&self) -> usize {
        self.entries.borrow().iter().map(Entry::bytes).sum()
    }

    /// Begins the delivery of a chunk: takes out what is known of it. The chunk is read only when an entry has its length.
    pub fn begin<'a>(self: &Rc<Self>, tag: &'a [u8], chunk: &'a [u8]) -> OpenChunk<'a> {
        let mut entries = self.entries.borrow_mut();
        let is_like_one = entries.iter().any(|entry| entry.key.length == chunk.len() as u64);
        let key = is_like_one.then(|| Key::of(self.seed, tag, chunk));
        let position = entries.iter().position(|entry| Some(entry.key) == key);
        let entry = position.and_then(|position| entries.remove(position));
        let progress = entry.map(|entry| entry.progress).unwrap_or_default();
        OpenChunk { ledger: Rc::clone(self), tag, chunk, key, progress, is_done: Cell::new(false) }
    }

    fn keep(&self, entry: Entry) {
        let mut entries = self.entries.borrow_mut();
        entries.push_back(entry);
        let mut bytes: usize = entries.iter().map(Entry::bytes).sum();
        while bytes > self.max_bytes
            && let Some(oldest) = entries.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }

    /// Writes the ledger to its file, if it has one, whole or not at all. An empty ledger leaves no file.
    pub fn save(&self) -> Result<(), String> {
        match &self.file {
            Some(file) => file.write(&self.entries.borrow()).map_err(|error| file.error("cannot be written", error)),
            None => Ok(()),
        }
    }
}

/// Key, settled, suspects.
type InFile = (Key, Vec<u32>, Vec<u32>);

const HEADER: &[u8] = b"fluent-bit-kinesis ledger 1\n";

impl File {
    fn error(&self, what: &str, why: impl Display) -> String {
        format!("the ledger file {} {what}: {why}", self.path.display())
    }

    fn write(&self, entries: &VecDeque<Entry>) -> io::Result<()> {
        if entries.is_empty() {
            return self.remove();
        }
        let content = serde_json::to_vec(&(
            &self.destination,
            entries
                .iter()
                .map(|e| (e.key, e.progress.settled().iter().collect(), e.progress.suspects().records.iter().collect()))
                .collect::<Vec<InFile>>(),
        ))?;
        let beside = self.path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(HEADER)?;
        file.write_all(digest(&SHA256, &content).as_ref())?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }

    fn read(&self) -> Result<VecDeque<Entry>, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
            Err(error) => return Err(self.error("cannot be read", error)),
        };
        let (destination, entries) = parse(&bytes).ok_or_else(|| self.error("is not used", "it is damaged"))?;
        if destination != self.destination {
            return Err(self.error("is not used", format!("it is of {destination}")));
        }
        // Before the entries are used: a file that stays would be read again at the next start.
        self.remove().map_err(|error| self.error("is not used, because it cannot be removed", error))?;
        Ok(entries)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(String, VecDeque<Entry>)> {
    let (checksum, content) = bytes.strip_prefix(HEADER)?.split_first_chunk::<32>()?;
    if digest(&SHA256, content).as_ref() != checksum {
        return None;
    }
    let (destination, entries): (String, Vec<InFile>) = serde_json::from_slice(content).ok()?;
    let entry = |(key, settled, suspects): InFile| {
        let progress = Progress::default();
        progress.settle(settled);
        suspects.into_iter().for_each(|record| progress.suspect(record, 0));
        Entry { key, progress: Rc::new(progress) }
    };
    Some((destination, entries.into_iter().map(entry).collect()))
}

#[cfg(test)]
mod tests;
