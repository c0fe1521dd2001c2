//! Lends a chunk to another thread without copying it.
//!
//! The thread that lends waits until the loan is given back, and writes the log lines that come meanwhile. That wait is
//! what makes it sound, so lending and waiting are one function. On a coroutine of the host, the host's thread does other
//! things meanwhile. A host that frees chunks in use gets a copy lent.

use std::mem::ManuallyDrop;
use std::ops::AsyncFnOnce;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::coroutine::Coroutine;
use super::handoff;
use super::symbols;
use crate::config::Coroutines;
use crate::log::Line;
use crate::outcome::Outcome;

type Handoff = handoff::Handoff<Box<Coroutine>>;

/// A chunk and its tag, lent by a thread that waits. Giving it back is dropping it.
pub struct Loan {
    chunk: Lent,
    tag: Lent,
    handoff: Arc<Handoff>,
    keeps_thread: Option<KeepsThread>,
}

enum Lent {
    Borrowed(*const [u8]),
    Copied(Box<[u8]>),
}

// SAFETY: what is borrowed is only read, and only while `access` is held, which `lend` and `Lenders::let_go` respect.
unsafe impl Send for Loan {}

/// Why a lender keeps its thread while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepsThread {
    /// It is configured so.
    AsConfigured,
    /// It does not run on a coroutine, or the host does not offer what it takes to suspend it.
    NoCoroutine,
    /// The host is newer than any version that is known.
    UnknownVersion,
    /// The host's structures are not what they should be.
    UnknownForm,
    /// There is no free descriptor, or no room in the event loop.
    NoDescriptor,
}

/// Sends log lines to a thread that waits for its loan.
#[derive(Clone)]
pub struct Teller(Arc<Handoff>);

/// The lenders of one output that wait for their loans.
#[derive(Default)]
pub struct Lenders {
    wanted: Coroutines,
    /// Set when the host's structures once were not what they should be.
    is_unknown_form: AtomicBool,
    waiting: Mutex<Vec<Arc<Handoff>>>,
}

impl Lenders {
    /// None yet; `wanted` says whether they wait on coroutines.
    pub fn new(wanted: Coroutines) -> Lenders {
        Lenders { wanted, ..Lenders::default() }
    }

    /// Whether a thread of the host waits for its loan.
    pub fn keep_threads(&self) -> bool {
        self.waiting().iter().any(|handoff| handoff.waiter().is_none())
    }

    /// Takes all loans back from a borrower that no longer answers. Returns whether that succeeded: it does not while the
    /// borrower reads a chunk, unless that is a copy.
    pub fn take_back(&self) -> bool {
        let still_read = self.waiting().iter().filter(|handoff| !handoff.take_back()).count();
        still_read == 0 || symbols::frees_chunks_in_use()
    }

    /// Closes what belongs to coroutines that the host never continues. To be called when all loans are back, and when the
    /// host has ended the output.
    pub fn let_go(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.iter().filter_map(|handoff| handoff.waiter()).for_each(|coroutine| coroutine.abandon());
    }

    fn coroutine(&self) -> Result<Box<Coroutine>, KeepsThread> {
        if self.is_unknown_form.load(Ordering::Relaxed) {
            return Err(KeepsThread::UnknownForm);
        }
        Coroutine::current(self.wanted).inspect_err(|why| {
            self.is_unknown_form.store(*why == KeepsThread::UnknownForm, Ordering::Relaxed);
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Handoff>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lends `chunk` and `tag` to `borrower`, waits until the loan is given back and returns the outcome that was set on it,
/// if any. Meanwhile `write` gets the lines that were told. About every second `gives_up` is asked whether the borrower
/// answers no more; if so, the loan is taken back.
pub fn lend(
    lenders: &Lenders,
    chunk: &[u8],
    tag: &[u8],
    borrower: impl FnOnce(Loan),
    mut write: impl FnMut(Line),
    gives_up: &dyn Fn() -> bool,
) -> Option<Outcome> {
    /// Waits also when `borrower` or `write` panics.
    struct Return<'a> {
        lenders: &'a Lenders,
        handoff: &'a Arc<Handoff>,
        gives_up: &'a dyn Fn() -> bool,
    }
    impl Drop for Return<'_> {
        fn drop(&mut self) {
            while self.handoff.next_line(self.gives_up).is_some() {}
            if let Some(coroutine) = self.handoff.waiter() {
                coroutine.leave();
            }
            self.lenders.waiting().retain(|other| !Arc::ptr_eq(other, self.handoff));
        }
    }

    // Looked up here, so that no caller can name another coroutine than the running one.
    let (coroutine, keeps_thread) = match lenders.coroutine() {
        Ok(coroutine) => (Some(coroutine), None),
        Err(why) => (None, Some(why)),
    };
    let handoff = Arc::new(Handoff::new(coroutine));
    lenders.waiting().push(Arc::clone(&handoff));
    let waits = Return { lenders, handoff: &handoff, gives_up };
    let [chunk, tag] = [chunk, tag].map(Lent::new);
    borrower(Loan { chunk, tag, handoff: Arc::clone(&handoff), keeps_thread });
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
    /// What is borrowed is there as long as the result is used.
    unsafe fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: by this function's contract.
            Lent::Borrowed(bytes) => unsafe { &**bytes },
            Lent::Copied(bytes) => bytes,
        }
    }
}

impl Loan {
    /// Runs `read` with the chunk and the tag. It is polled and dropped only while they are there; when they are taken back
    /// before it has ended, it never does.
    pub fn deliver<R>(self: &Rc<Self>, read: R) -> impl Future<Output = Outcome> + use<R>
    where
        R: AsyncFnOnce(&[u8], &[u8]) -> Outcome + 'static,
    {
        let lent = Rc::clone(self);
        let read = async move {
            // SAFETY: `Reading` runs this with access, without which `lend` does not return, and the host has not ended the
            // output. Nothing that `read` makes of them outlives it.
            let (chunk, tag) = unsafe { (lent.chunk.bytes(), lent.tag.bytes()) };
            read(chunk, tag).await
        };
        Reading { loan: Rc::clone(self), read: Some(Box::pin(read)) }
    }

    /// Why the lender keeps its thread, if it does.
    pub fn keeps_thread(&self) -> Option<KeepsThread> {
        self.keeps_thread
    }

    /// Sets the outcome that `lend` will return.
    pub fn settle(&self, outcome: Outcome) {
        self.handoff.settle(outcome);
    }

    /// Where to send the lines that the lender shall write.
    pub fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.handoff))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.handoff.give_back();
    }
}

/// See [`Loan::deliver`].
struct Reading<F> {
    loan: Rc<Loan>,
    read: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Reading<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Reading { loan, read } = &mut *self;
        match (loan.handoff.access(), read) {
            (Some(_access), Some(read)) => read.as_mut().poll(context),
            _ => Poll::Pending,
        }
    }
}

impl<F> Drop for Reading<F> {
    fn drop(&mut self) {
        // What is left to drop may refer to the chunk, so it is dropped only with access to it.
        let mut read = ManuallyDrop::new(self.read.take());
        if let Some(_access) = self.loan.handoff.access() {
            drop(read.take());
        }
    }
}

impl Teller {
    /// Hands a line over; gives it back when nobody waits any more.
    pub fn tell(&self, line: Line) -> Result<(), Line> {
        self.0.tell(line)
    }
}

#[cfg(test)]
mod tests;
