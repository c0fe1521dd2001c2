//! Keeps refused records: one line of JSON for each, in the files of a folder.
//!
//! Delivery only hands a letter over; a thread encodes and writes it. The queue between them is bounded in bytes. What
//! finds no room in it or on the disk is counted and logged, and never holds up or stops delivery.

mod error;
mod folder;
mod letter;
mod writer;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::log::{Level, Logger};
use crate::metrics::{Metric, Metrics};
use error::{OpenError, Unusable};
use folder::Folder;
use writer::Event;

pub(crate) use letter::Letter;

/// Most memory of letters that wait for the disk, in bytes. A larger one is taken if no other waits.
const QUEUE_BYTES: usize = 8 << 20;

/// Where dead letters are kept, and how many.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder.
    pub(crate) path: PathBuf,
    /// Most bytes of the files in it.
    pub(crate) max_bytes: u64,
}

/// Takes the refused records of one output.
pub struct DeadLetters {
    folder: PathBuf,
    letters: RefCell<Option<mpsc::Sender<Letter>>>,
    /// Memory of the letters in the queue, in bytes.
    queued: Arc<AtomicUsize>,
    events: RefCell<UnboundedReceiver<Event>>,
    /// Letters of which nothing is known yet.
    pending: Cell<u64>,
    thread: RefCell<Option<JoinHandle<()>>>,
    log: Logger,
    metrics: Metrics,
}

impl DeadLetters {
    /// Checks that the folder can be written to, and starts the thread. `id` tells its files from those of others.
    pub(crate) fn open(
        place: Place,
        id: u32,
        clock: Arc<dyn Clock>,
        log: Logger,
        metrics: Metrics,
    ) -> Result<DeadLetters, OpenError> {
        let folder = Folder::open(place.path, place.max_bytes, id, clock)?;
        let path = folder.path().to_owned();
        let (letters, to_write) = mpsc::channel();
        let (tell, events) = unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let thread = writer::spawn(folder, to_write, Arc::clone(&queued), tell)
            .map_err(|error| OpenError { path: path.clone(), reason: Unusable::Unwritable(error) })?;
        Ok(DeadLetters {
            folder: path,
            letters: RefCell::new(Some(letters)),
            queued,
            events: RefCell::new(events),
            pending: Cell::new(0),
            thread: RefCell::new(Some(thread)),
            log,
            metrics,
        })
    }

    /// Hands over a letter. Never waits.
    pub(crate) fn keep(&self, letter: Letter) {
        let bytes = letter.bytes();
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before.saturating_add(bytes) > QUEUE_BYTES {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            return self.drop(1, "full queue", "they come faster than they can be written");
        }
        let sent = self.letters.borrow().as_ref().is_some_and(|letters| letters.send(letter).is_ok());
        if sent {
            self.pending.set(self.pending.get() + 1);
        } else {
            self.drop(1, "no writer", "the thread that writes them has ended");
        }
    }

    /// Counts and logs what the thread tells, until it has ended.
    pub(crate) async fn watch(&self) {
        while let Some(event) = poll_fn(|context| self.events.borrow_mut().poll_recv(context)).await {
            self.note(event);
            self.metrics.publish();
        }
    }

    /// Writes what was handed over to the disk and ends the thread, unless that takes until `deadline`.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.letters.take();
        if timeout_at(deadline, self.watch()).await.is_ok() {
            // The hook has reported a panic.
            self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
        }
        let pending = self.pending.take();
        if pending > 0 {
            self.drop(pending, "unfinished", "the disk did not take them in time");
        }
    }

    fn note(&self, event: Event) {
        match event {
            Event::Written(count) => {
                self.settle(count);
                self.metrics.add(Metric::DeadLettersWritten, count);
            }
            Event::Lost(count, error) => {
                self.settle(count);
                self.drop(count, "dead letter file", &error.to_string());
            }
            Event::TooLong => {
                self.settle(1);
                self.drop(1, "long letter", "one is larger than dead_letter_max_bytes");
            }
            Event::Removed(files) => self.log.folded(Level::Warn, "dead letters removed", || {
                let folder = self.folder.display();
                format!("{folder} has reached dead_letter_max_bytes: removed the oldest files, {files}")
            }),
            Event::NotSynced(error) => self.log.folded(Level::Warn, "dead letters not synced", || {
                let folder = self.folder.display();
                format!("refused records in {folder} may not survive a loss of power: {error}")
            }),
        }
    }

    fn settle(&self, count: u64) {
        self.pending.set(self.pending.get().saturating_sub(count));
    }

    fn drop(&self, count: u64, cause: &'static str, reason: &str) {
        self.metrics.add(Metric::DeadLettersDropped, count);
        self.log.folded(Level::Warn, cause, || {
            let folder = self.folder.display();
            format!("refused records are not kept in {folder}: {reason}; delivery goes on")
        });
    }
}

#[cfg(test)]
mod tests;
