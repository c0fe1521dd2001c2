//! Remembers which records of chunks in retry Kinesis already has.
//!
//! Fluent Bit retries whole chunks and gives them no id. So the ledger identifies a chunk in retry by its length and
//! a hash, with one bit per record that is done. When the same bytes come again under the same tag, only the other
//! records are sent. Equal chunks may take each other's entry; as each entry is used once, every record is still
//! stored as often as it was handed over.
//!
//! With a file ([`Ledger::open`]), this survives the process, however it ends.

mod active;
mod error;
mod frame;
mod journal;
mod key;
mod known;
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

pub(crate) use active::ActiveChunks;
pub use error::{OpenError, SaveError};
pub use progress::Progress;

/// What is known of the chunks of one output.
pub struct Ledger {
    waiting: RefCell<Waiting>,
    max_bytes: usize,
    seed: u64,
    /// The number of chunks begun so far.
    begun: Cell<u64>,
    journal: Option<Rc<Journal>>,
}

impl Debug for Ledger {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ledger").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// A chunk being delivered. If it is dropped without [`done`](Self::done), the ledger keeps what is known of it for
/// Fluent Bit's retry.
#[derive(Debug)]
pub struct OpenChunk<'a> {
    ledger: Rc<Ledger>,
    tag: &'a [u8],
    chunk: &'a [u8],
    /// Set when the chunk has been hashed.
    key: Option<Key>,
    progress: Rc<Progress>,
    is_done: bool,
}

impl OpenChunk<'_> {
    /// What is known of the chunk. Tasks of its requests may keep this.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Forgets the chunk because Fluent Bit will not bring it again. Call this before answering Fluent Bit: if the
    /// process ends in between, the chunk is sent twice; in the other order, a stale entry could cost records of an
    /// equal chunk.
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
    /// Creates an empty ledger in memory. Entries take at most `max_bytes`; the oldest are dropped first.
    pub fn new(max_bytes: usize) -> Self {
        Ledger { waiting: RefCell::default(), max_bytes, seed: 0, begun: Cell::new(0), journal: None }
    }

    /// Sets the seed of the hashes.
    pub fn with_seed(self, seed: u64) -> Self {
        Ledger { seed, ..self }
    }

    /// Opens a ledger kept in the file `path`, starting with the file's content if it belongs to `destination`.
    ///
    /// # Errors
    ///
    /// The path cannot be used; the text is for whoever configured it. Any other flaw of the file goes to the log.
    pub fn open(
        max_bytes: usize,
        path: PathBuf,
        destination: String,
        seed: u64,
        log: Logger,
    ) -> Result<Self, OpenError> {
        let (journal, chunks) = Journal::open(path, destination, seed, log)?;
        let begun = Cell::new(journal.last_id());
        let ledger = Ledger { seed: journal.seed, begun, journal: Some(Rc::clone(&journal)), ..Self::new(max_bytes) };
        for known in chunks {
            let progress = Rc::new(Progress::noted_in(&journal, known));
            let (key, since_chunk) = (progress.key(), progress.id());
            ledger.keep(Entry { key, progress, since: Instant::now(), since_chunk });
        }
        Ok(ledger)
    }

    /// The number of chunks remembered.
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whether no chunk is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Approximate memory of its entries, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.borrow().bytes()
    }

    /// Begins the delivery of a chunk and takes out what is known of it. Without a file, the chunk is hashed only if
    /// an entry has its length.
    pub fn begin<'a>(self: &Rc<Self>, tag: &'a [u8], chunk: &'a [u8]) -> OpenChunk<'a> {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        let old = self.waiting.borrow_mut().take_old(Instant::now(), number);
        old.iter().for_each(|entry| entry.progress.forget());
        let is_read = self.journal.is_some() || self.waiting.borrow().has_length(chunk.len() as u64);
        let key = is_read.then(|| Key::of(self.seed, tag, chunk));
        let known = key.and_then(|key| self.waiting.borrow_mut().take(key));
        let progress = known.unwrap_or_else(|| match (&self.journal, key) {
            (Some(journal), Some(key)) => Rc::new(Progress::noted_in(journal, journal.chunk(number, key))),
            _ => Rc::default(),
        });
        OpenChunk { ledger: Rc::clone(self), tag, chunk, key, progress, is_done: false }
    }

    fn keep(&self, entry: Entry) {
        let gone = self.waiting.borrow_mut().add(entry, self.max_bytes);
        gone.iter().for_each(|entry| entry.progress.forget());
    }

    /// Writes the file, if any, to disk. Call this at shutdown.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the text is a line for the log.
    pub(crate) fn save(&self) -> Result<(), SaveError> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.save())
    }
}

#[cfg(test)]
mod tests;
