//! Lends a chunk to another thread without copying it.
//!
//! The thread that lends waits until the loan is given back, and writes the log lines that come meanwhile. That wait is
//! what makes it sound, so lending and waiting are one function. On a coroutine of the host, the host's thread does other
//! things meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::coroutine::Coroutine;
use crate::log::Line;
use crate::outcome::Outcome;

/// A chunk and its tag, lent by a thread that waits. Giving it back is dropping it.
pub struct Loan {
    chunk: *const [u8],
    tag: *const [u8],
    gate: Arc<Gate>,
}

// SAFETY: the pointers are read only, through `&self`, and `lend` keeps what they point to alive and unchanged until the
// loan is dropped, on whatever thread.
unsafe impl Send for Loan {}

/// Sends log lines to a thread that waits for its loan.
#[derive(Clone)]
pub struct Teller(Arc<Gate>);

struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// What waits, if it is not the thread.
    coroutine: Option<Coroutine>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    outcome: Option<Outcome>,
    returned: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may have changed. Only for the lender.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        match &self.coroutine {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(coroutine) => {
                drop(state);
                // SAFETY: the lender runs on it, and does not let go of the gate before it has left the loop.
                unsafe { coroutine.wait() };
                self.lock()
            }
        }
    }

    /// Tells the lender of a change.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        // While the lock is held: the lender lets go of its coroutine when it has seen the change.
        match &self.coroutine {
            None => self.changed.notify_one(),
            Some(coroutine) => coroutine.wake(),
        }
        result
    }
}

/// Lends `chunk` and `tag` to `borrower`, waits until the loan is given back and returns the outcome that was set on it,
/// if any. Meanwhile `write` gets the lines that were told. On a coroutine of the host, the host's thread does other things
/// meanwhile.
pub fn lend(chunk: &[u8], tag: &[u8], borrower: impl FnOnce(Loan), mut write: impl FnMut(Line)) -> Option<Outcome> {
    /// Waits also when `borrower` or `write` panics.
    struct Return<'a>(&'a Gate);
    impl Drop for Return<'_> {
        fn drop(&mut self) {
            let mut state = self.0.lock();
            while !state.returned {
                state = self.0.wait(state);
            }
            drop(state);
            if let Some(coroutine) = &self.0.coroutine {
                // SAFETY: `lend` found this coroutine running, and a call does not change its coroutine.
                unsafe { coroutine.leave_loop() };
            }
        }
    }

    // Looked up here, so that no caller can name another one than that which runs.
    let coroutine = Coroutine::current();
    let gate = Arc::new(Gate { state: Mutex::default(), changed: Condvar::new(), coroutine });
    let _wait = Return(&gate);
    borrower(Loan { chunk, tag, gate: Arc::clone(&gate) });
    loop {
        let mut state = gate.lock();
        while state.lines.is_empty() && !state.returned {
            state = gate.wait(state);
        }
        let Some(line) = state.lines.pop_front() else { return state.outcome };
        drop(state);
        write(line);
    }
}

impl Loan {
    /// The chunk.
    pub fn chunk(&self) -> &[u8] {
        // SAFETY: `lend` does not return before this loan is dropped, so what it borrowed is still there.
        unsafe { &*self.chunk }
    }

    /// The tag.
    pub fn tag(&self) -> &[u8] {
        // SAFETY: as for the chunk.
        unsafe { &*self.tag }
    }

    /// Whether the lender keeps its thread while it waits.
    pub fn keeps_thread(&self) -> bool {
        self.gate.coroutine.is_none()
    }

    /// Sets the outcome that `lend` will return.
    pub fn settle(&self, outcome: Outcome) {
        self.gate.lock().outcome = Some(outcome);
    }

    /// Where to send the lines that the lender shall write.
    pub fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.gate))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.gate.change(|state| state.returned = true);
    }
}

impl Teller {
    /// Lets the lender look about itself.
    pub fn wake(&self) {
        self.0.change(|_| ());
    }

    /// Hands a line over; gives it back when nobody waits any more.
    pub fn tell(&self, line: Line) -> Result<(), Line> {
        self.0.change(|state| {
            if state.returned {
                return Err(line);
            }
            state.lines.push_back(line);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;
    use std::sync::mpsc;
    use std::thread;

    fn line(text: &'static str) -> Line {
        Line { level: Level::Info, text: text.into() }
    }

    #[test]
    fn the_borrower_reads_the_very_bytes_and_the_lender_gets_lines_and_outcome() {
        let chunk = vec![7_u8; 1000];
        let address = chunk.as_ptr() as usize;
        let (hand_over, take) = mpsc::channel::<Loan>();
        let borrower = thread::spawn(move || {
            let loan = take.recv().unwrap();
            assert_eq!(loan.chunk().as_ptr() as usize, address);
            assert_eq!(loan.tag(), b"app");
            loan.teller().tell(line("one")).unwrap();
            loan.settle(Outcome::Delivered);
            loan.teller().tell(line("two")).unwrap();
        });
        let mut lines = Vec::new();
        let outcome = lend(&chunk, b"app", |loan| hand_over.send(loan).unwrap(), |line| lines.push(line));
        assert_eq!(outcome, Some(Outcome::Delivered));
        assert_eq!(lines, [line("one"), line("two")]);
        borrower.join().unwrap();
    }

    #[test]
    fn a_loan_that_is_dropped_has_no_outcome() {
        assert_eq!(lend(b"chunk", b"tag", drop, |_| {}), None);
    }

    #[test]
    fn a_borrower_that_panics_gives_the_loan_back() {
        let (hand_over, take) = mpsc::channel::<Loan>();
        let borrower = thread::spawn(move || {
            let _loan = take.recv().unwrap();
            panic!("injected");
        });
        assert_eq!(lend(b"chunk", b"tag", |loan| hand_over.send(loan).unwrap(), |_| {}), None);
        assert!(borrower.join().is_err());
    }

    #[test]
    fn a_line_for_a_lender_that_went_away_comes_back() {
        let mut teller = None;
        lend(b"chunk", b"tag", |loan| teller = Some(loan.teller()), |_| {});
        assert_eq!(teller.unwrap().tell(line("late")), Err(line("late")));
    }
}
