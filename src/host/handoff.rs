//! The hand-over between a thread that lends a chunk and waits, and the thread that uses it meanwhile.
//!
//! It has no unsafe code and knows nothing of the host: tests/it/handoff.rs includes this file and runs its interleavings
//! with loom.

use std::cell::Cell;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::log::{Line, LineQueue};
use crate::outcome::Outcome;

/// How often a waiting lender checks whether to go on waiting.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// What waits instead of a lender's thread.
pub(super) trait Waiter {
    /// Comes back soon after [`Waiter::wake`], which may have been called before, and every [`TICK`] at least. Only the
    /// lender calls this.
    fn wait(&self);
    /// Ends the wait. May be called on any thread.
    fn wake(&self);
}

/// One chunk that is handed over.
pub(super) struct Handoff<W> {
    state: Mutex<State>,
    changed: Condvar,
    /// What waits, if it is not the thread.
    waiter: Option<W>,
}

#[derive(Default)]
struct State {
    lines: LineQueue,
    outcome: Option<Outcome>,
    /// The borrower is reading the chunk.
    is_read: bool,
    /// It must no longer read it.
    is_taken: bool,
    returned: bool,
}

impl<W: Waiter> Handoff<W> {
    pub(super) fn new(waiter: Option<W>) -> Self {
        Handoff { state: Mutex::new(State::default()), changed: Condvar::new(), waiter }
    }

    pub(super) fn waiter(&self) -> Option<&W> {
        self.waiter.as_ref()
    }

    /// The lender waits for the next line; `None` when the chunk is back. When `gives_up` says so, it is taken back.
    pub(super) fn next_line(&self, gives_up: &dyn Fn() -> bool) -> Option<Line> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop() {
                return Some(line);
            }
            if state.returned {
                return None;
            }
            state = self.wait(state);
            if !state.returned && state.lines.is_empty() {
                drop(state);
                if gives_up() {
                    self.take_back();
                }
                state = self.lock();
            }
        }
    }

    /// What the borrower made of the chunk, if it got so far.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome
    }

    /// Takes the chunk back from a borrower that no longer answers. Fails while the borrower reads the chunk.
    pub(super) fn take_back(&self) -> bool {
        self.change(|state| {
            state.is_taken |= !state.is_read;
            state.returned |= state.is_taken;
            state.is_taken
        })
    }

    /// The right to read the chunk, for as long as the result lives; `None` when it was taken back. One at a time has it.
    pub(super) fn access(&self) -> Option<Access<'_, W>> {
        let mut state = self.lock();
        state.is_read = !state.is_taken;
        state.is_read.then(|| Access { handoff: self })
    }

    /// The borrower is done with the chunk.
    pub(super) fn give_back(&self) {
        self.change(|state| state.returned = true);
    }

    /// Sets what the lender will be told.
    pub(super) fn settle(&self, outcome: Outcome) {
        self.lock().outcome = Some(outcome);
    }

    /// Hands a line over; gives it back when nobody waits any more.
    pub(super) fn tell(&self, line: Line) -> Result<(), Line> {
        self.change(|state| {
            if state.returned {
                return Err(line);
            }
            state.lines.push(line);
            Ok(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        match &self.waiter {
            None => self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0,
            Some(waiter) => {
                drop(state);
                waiter.wait();
                self.lock()
            }
        }
    }

    /// Changes the state and tells the lender.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        // While the lock is held: the lender leaves when it has seen the change.
        match &self.waiter {
            None => self.changed.notify_one(),
            Some(waiter) => waiter.wake(),
        }
        result
    }
}

/// See [`Handoff::access`].
pub(super) struct Access<'a, W: Waiter> {
    handoff: &'a Handoff<W>,
}

impl<W: Waiter> Drop for Access<'_, W> {
    fn drop(&mut self) {
        self.handoff.lock().is_read = false;
    }
}

/// Whether a coroutine is suspended. Only the thread that runs it has this: the coroutine and its event loop by turns.
#[derive(Default)]
pub(super) struct Parking {
    suspended: Cell<bool>,
}

impl Parking {
    /// Suspends the coroutine by `switch`, which comes back when it is continued.
    pub(super) fn park(&self, switch: impl FnOnce()) {
        self.suspended.set(true);
        switch();
    }

    /// Whether the event loop should continue the coroutine: true once for each suspension.
    pub(super) fn unpark(&self) -> bool {
        self.suspended.replace(false)
    }
}
