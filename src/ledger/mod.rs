//! What Kinesis already has of the chunks that Fluent Bit will bring again.
//!
//! Fluent Bit retries whole chunks and gives them no id. So a chunk that is not done is remembered by its length and a
//! hash, with one bit for each of its records that needs no sending any more. When the same bytes come again under the
//! same tag, only the others are sent. Chunks that are equal to the last byte may take each other's entry: as each entry
//! is used once, every record is still stored as often as it was handed over.
//!
//! With a file ([`Ledger::open`]) this survives the end of the process, however it ends.

mod frame;
mod journal;
mod key;
mod progress;
mod waiting;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::time::Instant;

use crate::log::Logger;
use journal::Journal;
use key::Key;
use waiting::{Entry, Waiting};

pub use progress::{Progress, Suspects};
pub use waiting::{ENTRY_LIFE, ENTRY_LIFE_CHUNKS};

/// What is known of the chunks of one instance.
pub struct Ledger {
    waiting: RefCell<Waiting>,
    max_bytes: usize,
    seed: u64,
    /// Chunks that began so far.
    begun: Cell<u64>,
    journal: Option<Rc<Journal>>,
}

impl Debug for Ledger {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ledger").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// A chunk whose delivery is under way. Dropped without [`done`](Self::done), what is known of it is kept for the time
/// when Fluent Bit brings it again.
#[derive(Debug)]
pub struct OpenChunk<'a> {
    ledger: Rc<Ledger>,
    tag: &'a [u8],
    chunk: &'a [u8],
    /// Set when the chunk was hashed.
    key: Option<Key>,
    progress: Rc<Progress>,
    is_done: bool,
}

impl OpenChunk<'_> {
    /// What is known of it. The tasks of its requests may hold it.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Fluent Bit will not bring it again: nothing is kept. To be called before Fluent Bit is told. If the process ends
    /// between the two, the chunk is sent twice; in the other order, an entry would outlive its chunk, and be a loss to
    /// another one that happens to be the same.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for OpenChunk<'_> {
    fn drop(&mut self) {
        if self.is_done || self.progress.is_empty() {
            self.progress.forget();
            return;
        }
        let key = self.key.unwrap_or_else(|| Key::of(self.ledger.seed, self.tag, self.chunk));
        let since_chunk = self.ledger.begun.get();
        self.ledger.keep(Entry { key, progress: Rc::clone(&self.progress), since: Instant::now(), since_chunk });
    }
}

impl Ledger {
    /// An empty ledger, in memory only. Waiting chunks take at most `max_bytes`; the oldest go first.
    pub fn new(max_bytes: usize) -> Self {
        Ledger { waiting: RefCell::default(), max_bytes, seed: 0, begun: Cell::new(0), journal: None }
    }

    /// The same, with another seed for its hashes.
    pub fn with_seed(self, seed: u64) -> Self {
        Ledger { seed, ..self }
    }

    /// A ledger that is also kept in the file `path`, and begins with what the file holds for the same `destination`. The error
    /// tells the operator that the path cannot be used at all; anything else that is wrong with the file goes to the log.
    pub fn open(max_bytes: usize, path: PathBuf, destination: String, seed: u64, log: Logger) -> Result<Self, String> {
        let (journal, chunks) = Journal::open(path, destination, seed, log)?;
        let begun = Cell::new(journal.last_id());
        let ledger = Ledger { seed: journal.seed, begun, journal: Some(journal), ..Self::new(max_bytes) };
        for progress in chunks {
            let (key, since, since_chunk) = (progress.key, Instant::now(), progress.id);
            ledger.keep(Entry { key, progress, since, since_chunk });
        }
        Ok(ledger)
    }

    /// How many chunks wait in it.
    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whether no chunk waits in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the chunks that wait take, in bytes, roughly.
    pub fn bytes(&self) -> usize {
        self.waiting.borrow().bytes()
    }

    /// Begins the delivery of a chunk: takes out what is known of it. Without a file, the chunk is read only when one of
    /// its length waits.
    pub fn begin<'a>(self: &Rc<Self>, tag: &'a [u8], chunk: &'a [u8]) -> OpenChunk<'a> {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        let old = self.waiting.borrow_mut().take_old(Instant::now(), number);
        old.iter().for_each(|entry| entry.progress.forget());
        let is_read = self.journal.is_some() || self.waiting.borrow().has_length(chunk.len() as u64);
        let key = is_read.then(|| Key::of(self.seed, tag, chunk));
        let known = key.and_then(|key| self.waiting.borrow_mut().take(key));
        let progress = known.unwrap_or_else(|| match (&self.journal, key) {
            (Some(journal), Some(key)) => journal.chunk(number, key),
            _ => Rc::default(),
        });
        OpenChunk { ledger: Rc::clone(self), tag, chunk, key, progress, is_done: false }
    }

    fn keep(&self, entry: Entry) {
        let gone = self.waiting.borrow_mut().add(entry, self.max_bytes);
        gone.iter().for_each(|entry| entry.progress.forget());
    }

    /// Writes the file, if there is one, so that it outlives the machine as well. To be called at the end.
    pub fn save(&self) -> Result<(), String> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.save())
    }
}

#[cfg(test)]
mod tests;
