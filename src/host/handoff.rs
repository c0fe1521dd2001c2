//! The handoff between a thread that lends a chunk and waits, and the thread that uses it in the meantime.
//!
//! It has no unsafe code and knows nothing of the host: tests/it/handoff.rs includes this file and runs all
//! interleavings with loom.

use std::cell::Cell;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::log::{Line, LineQueue};
use crate::outcome::Outcome;

/// The interval at which a waiting lender checks whether to keep waiting.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// What waits instead of a lender's thread.
pub(super) trait Waiter {
    /// Returns soon after [`Waiter::wake`], which may have been called before, and at least every [`TICK`]. Only the
    /// lender calls this.
    fn wait(&self);
    /// Ends the wait. May be called on any thread.
    fn wake(&self);
}

/// The state of one lent chunk.
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
    /// Whether the borrower is reading the chunk.
    is_read: bool,
    /// Whether the borrower must no longer read it.
    is_reclaimed: bool,
    returned: bool,
}

impl<W: Waiter> Handoff<W> {
    pub(super) fn new(waiter: Option<W>) -> Self {
        Handoff { state: Mutex::new(State::default()), changed: Condvar::new(), waiter }
    }

    pub(super) fn waiter(&self) -> Option<&W> {
        self.waiter.as_ref()
    }

    /// Waits for the next line; `None` once the chunk is returned. Reclaims the chunk when `gives_up` says so. Only the
    /// lender calls this.
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
                    self.reclaim();
                }
                state = self.lock();
            }
        }
    }

    /// The outcome that the borrower has set, if any.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome
    }

    /// Takes the chunk back from a borrower that no longer responds. Fails while the borrower is reading it.
    pub(super) fn reclaim(&self) -> bool {
        self.change(|state| {
            state.is_reclaimed |= !state.is_read;
            state.returned |= state.is_reclaimed;
            state.is_reclaimed
        })
    }

    /// The right to read the chunk, while the result lives; `None` if the chunk was reclaimed. Only one exists at a
    /// time.
    pub(super) fn access(&self) -> Option<Access<'_, W>> {
        let mut state = self.lock();
        state.is_read = !state.is_reclaimed;
        state.is_read.then(|| Access { handoff: self })
    }

    /// Returns the chunk to the lender.
    pub(super) fn return_chunk(&self) {
        self.change(|state| state.returned = true);
    }

    /// Sets the outcome for the lender.
    pub(super) fn set_outcome(&self, outcome: Outcome) {
        self.lock().outcome = Some(outcome);
    }

    /// Sends a line to the lender. Fails, with the line, when the lender no longer waits.
    pub(super) fn send(&self, line: Line) -> Result<(), Line> {
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

    /// Changes the state and wakes the lender.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        // Without the lock: the lender runs at once, and would wait for it.
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

/// Whether a coroutine is suspended. Only its own thread uses this: the coroutine and the event loop in turn.
#[derive(Default)]
pub(super) struct Parking {
    suspended: Cell<bool>,
}

impl Parking {
    /// Suspends the coroutine by `switch`, which returns when it is resumed.
    pub(super) fn park(&self, switch: impl FnOnce()) {
        self.suspended.set(true);
        switch();
    }

    /// Whether the event loop should resume the coroutine: true once for each suspension.
    pub(super) fn unpark(&self) -> bool {
        self.suspended.replace(false)
    }
}
