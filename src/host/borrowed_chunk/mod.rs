//! Lends a chunk to another thread without copying it.
//!
//! The lending thread waits until the chunk is returned, and writes the log lines that arrive in the meantime. That
//! wait is what makes it sound, so lending and waiting are one function. On a coroutine of the host, the host's
//! thread does other work while this one waits. From hosts that free chunks in use, a copy is lent.

use std::mem::ManuallyDrop;
use std::ops::AsyncFnOnce;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::coroutine::{BlockReason, Coroutine};
use super::handoff;
use super::symbols;
use super::timer::SpareTimers;
use crate::config::Coroutines;
use crate::log::Line;
use crate::outcome::Outcome;

type Handoff = handoff::Handoff<Box<Coroutine>>;

/// A chunk and its tag, lent by a thread that waits. Dropping it returns it.
pub(crate) struct BorrowedChunk {
    chunk: Lent,
    tag: Lent,
    handoff: Arc<Handoff>,
    block_reason: Option<BlockReason>,
}

enum Lent {
    Borrowed(*const [u8]),
    Copied(Box<[u8]>),
}

// SAFETY: what is borrowed is only read, and only while `access` is held, which `with_chunk` and `Callers::reclaim`
// respect.
unsafe impl Send for BorrowedChunk {}

/// Sends log lines to a thread that waits for its chunk.
#[derive(Clone)]
pub(crate) struct LogSender(Arc<Handoff>);

/// The calls of one output that wait for their chunks.
#[derive(Default)]
pub(crate) struct Callers {
    wanted: Coroutines,
    /// Set once the host's structures were not as expected.
    is_unknown_layout: AtomicBool,
    waiting: Mutex<Vec<Arc<Handoff>>>,
    timers: SpareTimers,
}

impl Callers {
    /// No calls yet; `wanted` says whether they wait on coroutines.
    pub(crate) fn new(wanted: Coroutines) -> Callers {
        Callers { wanted, ..Callers::default() }
    }

    /// Whether a thread of the host is blocked until its chunk is returned.
    pub(crate) fn any_blocked(&self) -> bool {
        self.waiting().iter().any(|handoff| handoff.waiter().is_none())
    }

    /// Takes all chunks back from a borrower that no longer responds. Returns whether that succeeded: it does not
    /// while the borrower is reading a chunk, unless that is a copy.
    pub(crate) fn reclaim(&self) -> bool {
        let still_read = self.waiting().iter().filter(|handoff| !handoff.reclaim()).count();
        still_read == 0 || symbols::frees_chunks_in_use()
    }

    /// Releases what belongs to coroutines that the host never resumes. Call this after all chunks are returned and
    /// the host has ended the output.
    pub(crate) fn abandon_coroutines(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.iter().filter_map(|handoff| handoff.waiter()).for_each(|coroutine| coroutine.abandon());
    }

    fn coroutine(&self) -> Result<Box<Coroutine>, BlockReason> {
        if self.is_unknown_layout.load(Ordering::Relaxed) {
            return Err(BlockReason::UnknownLayout);
        }
        Coroutine::current(self.wanted, &self.timers).inspect_err(|reason| {
            self.is_unknown_layout.store(*reason == BlockReason::UnknownLayout, Ordering::Relaxed);
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Handoff>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lends `chunk` and `tag` to `borrower` and waits until they are returned. Returns the outcome set by the borrower,
/// if any. Meanwhile, `write` gets the lines sent by the borrower. About once a second, `gives_up` is asked whether
/// the borrower has stopped responding; if so, the chunk is reclaimed.
pub(crate) fn with_chunk(
    callers: &Callers,
    chunk: &[u8],
    tag: &[u8],
    borrower: impl FnOnce(BorrowedChunk),
    mut write: impl FnMut(Line),
    gives_up: &dyn Fn() -> bool,
) -> Option<Outcome> {
    /// Waits even if `borrower` or `write` panics.
    struct WaitOnDrop<'a> {
        callers: &'a Callers,
        handoff: &'a Arc<Handoff>,
        gives_up: &'a dyn Fn() -> bool,
    }
    impl Drop for WaitOnDrop<'_> {
        fn drop(&mut self) {
            while self.handoff.next_line(self.gives_up).is_some() {}
            if let Some(timer) = self.handoff.waiter().and_then(|coroutine| coroutine.detach()) {
                self.callers.timers.stop(timer);
            }
            self.callers.waiting().retain(|other| !Arc::ptr_eq(other, self.handoff));
        }
    }

    // Looked up here, so that no caller can pass any coroutine but the running one.
    let (coroutine, block_reason) = match callers.coroutine() {
        Ok(coroutine) => (Some(coroutine), None),
        Err(reason) => (None, Some(reason)),
    };
    let handoff = Arc::new(Handoff::new(coroutine));
    callers.waiting().push(Arc::clone(&handoff));
    let waits = WaitOnDrop { callers, handoff: &handoff, gives_up };
    let [chunk, tag] = [chunk, tag].map(Lent::new);
    borrower(BorrowedChunk { chunk, tag, handoff: Arc::clone(&handoff), block_reason });
    while let Some(line) = handoff.next_line(gives_up) {
        write(line);
    }
    let outcome = handoff.outcome();
    drop(waits);
    outcome
}

impl Lent {
    fn new(bytes: &[u8]) -> Lent {
        if symbols::frees_chunks_in_use() { Lent::Copied(bytes.into()) } else { Lent::Borrowed(bytes) }
    }

    /// # Safety
    /// What is borrowed stays in place for as long as the result is used.
    unsafe fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: by this function's contract.
            Lent::Borrowed(bytes) => unsafe { &**bytes },
            Lent::Copied(bytes) => bytes,
        }
    }
}

impl BorrowedChunk {
    /// Runs `read` with the chunk and the tag. The future is polled and dropped only while they are in place. If they
    /// are reclaimed before it ends, it never completes.
    pub(crate) fn read<R>(self: &Rc<Self>, read: R) -> impl Future<Output = Outcome> + use<R>
    where
        R: AsyncFnOnce(&[u8], &[u8]) -> Outcome + 'static,
    {
        let lent = Rc::clone(self);
        let read = async move {
            // SAFETY: `Reading` runs this with access; while that is held, `with_chunk` does not return and the host
            // has not ended the output. Nothing that `read` makes of them outlives it.
            let (chunk, tag) = unsafe { (lent.chunk.bytes(), lent.tag.bytes()) };
            read(chunk, tag).await
        };
        Reading { chunk: Rc::clone(self), read: Some(Box::pin(read)) }
    }

    /// Why the caller blocks its thread, if it does.
    pub(crate) fn block_reason(&self) -> Option<BlockReason> {
        self.block_reason
    }

    /// Sets the outcome that [`with_chunk`] will return.
    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        self.handoff.set_outcome(outcome);
    }

    /// Where to send the lines that the caller writes.
    pub(crate) fn log_sender(&self) -> LogSender {
        LogSender(Arc::clone(&self.handoff))
    }
}

impl Drop for BorrowedChunk {
    fn drop(&mut self) {
        self.handoff.return_chunk();
    }
}

/// See [`BorrowedChunk::read`].
struct Reading<F> {
    chunk: Rc<BorrowedChunk>,
    read: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Reading<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Reading { chunk, read } = &mut *self;
        match (chunk.handoff.access(), read) {
            (Some(_access), Some(read)) => read.as_mut().poll(context),
            _ => Poll::Pending,
        }
    }
}

impl<F> Drop for Reading<F> {
    fn drop(&mut self) {
        // The future may refer to the chunk, so it is dropped only with access to it, and leaked otherwise.
        let mut read = ManuallyDrop::new(self.read.take());
        if let Some(_access) = self.chunk.handoff.access() {
            drop(read.take());
        }
    }
}

impl LogSender {
    /// Sends a line to the waiting thread.
    ///
    /// # Errors
    /// The line, when the thread no longer waits.
    pub(crate) fn send(&self, line: Line) -> Result<(), Line> {
        self.0.send(line)
    }
}

#[cfg(test)]
mod tests;
