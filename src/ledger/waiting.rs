//! The chunks that Fluent Bit may bring again, limited in bytes and in time.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;
use super::progress::Progress;

/// Approximate memory of an entry without its sets, in bytes.
pub(super) const ENTRY_OVERHEAD: usize = 128;

/// How long an entry waits for its chunk. Fluent Bit retries a chunk within 2,001 seconds, ± its scheduler's interval
/// of ten (`FLB_SCHED_CAP`, `flb_sched_request_create`), unless `scheduler.cap` is higher. A stale entry could cost
/// the records of a later chunk with the same bytes.
pub(super) const ENTRY_LIFE: Duration = Duration::from_secs(3600);

/// How many other chunks may begin before an entry is dropped. Unlike the time, this count survives restarts.
pub(super) const ENTRY_LIFE_CHUNKS: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) progress: Rc<Progress>,
    pub(super) since: Instant,
    /// The number of the last chunk begun before that.
    pub(super) since_chunk: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD + self.progress.bytes()
    }

    fn is_old(&self, now: Instant, chunk: u64) -> bool {
        now.duration_since(self.since) > ENTRY_LIFE || chunk.saturating_sub(self.since_chunk) > ENTRY_LIFE_CHUNKS
    }
}

/// Entries, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().map(Entry::bytes).sum()
    }

    pub(super) fn has_length(&self, length: u64) -> bool {
        self.entries.iter().any(|entry| entry.key.length == length)
    }

    /// Removes the oldest entry for a key.
    pub(super) fn take(&mut self, key: Key) -> Option<Rc<Progress>> {
        let position = self.entries.iter().position(|entry| entry.key == key)?;
        self.entries.remove(position).map(|entry| entry.progress)
    }

    /// Adds an entry. Returns those dropped: the oldest, or the entry itself if it exceeds the limit.
    pub(super) fn add(&mut self, entry: Entry, max_bytes: usize) -> Vec<Entry> {
        let mut bytes = entry.bytes();
        if bytes > max_bytes {
            return vec![entry];
        }
        bytes += self.bytes();
        self.entries.push_back(entry);
        let mut gone = Vec::new();
        while bytes > max_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            bytes -= oldest.bytes();
            gone.push(oldest);
        }
        gone
    }

    /// Removes entries that are too old at `now`, when `chunk` begins.
    pub(super) fn take_old(&mut self, now: Instant, chunk: u64) -> Vec<Entry> {
        let mut gone = Vec::new();
        while self.entries.front().is_some_and(|entry| entry.is_old(now, chunk)) {
            gone.extend(self.entries.pop_front());
        }
        gone
    }
}
