//! The handoff of a chunk, in every order in which its threads can run (loom).
//!
//! This runs the plugin's own code: the file is included, with loom's locks in place of the standard library's.
//! [`Host`] plays the host's event loop and its switches between stacks.

#[allow(dead_code, reason = "the plugin uses the rest")]
#[path = "../../src/host/handoff.rs"]
mod included;
mod sync {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

use std::sync::atomic::{AtomicUsize, Ordering};

use self::included::{Handoff, Parking, Waiter};
use kinesis::log::{Level, Line};
use kinesis::outcome::Outcome;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{self, JoinHandle};

/// Runs `model` in every order; there must be more than one.
fn in_every_order(model: impl Fn() + Sync + Send + 'static) {
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    assert!(runs.load(Ordering::Relaxed) > 1, "{runs:?} order");
}

/// What is lent. Loom fails if it is freed while it is read, or vice versa.
struct Chunk(UnsafeCell<bool>);

// SAFETY: loom checks each use.
unsafe impl Sync for Chunk {}
// SAFETY: as above.
unsafe impl Send for Chunk {}

impl Chunk {
    fn new() -> Arc<Chunk> {
        Arc::new(Chunk(UnsafeCell::new(true)))
    }

    fn read(&self) {
        // SAFETY: loom checks it.
        assert!(self.0.with(|is_there| unsafe { *is_there }), "read after it was freed");
    }

    fn free(&self) {
        // SAFETY: as above.
        self.0.with_mut(|is_there| unsafe { *is_there = false });
    }
}

fn line(text: &'static str) -> Line {
    Line { level: Level::Info, text: text.into() }
}

/// What the delivery thread does with a chunk.
fn deliver<W: Waiter>(handoff: &Handoff<W>, chunk: &Chunk) {
    if let Some(_access) = handoff.access() {
        chunk.read();
        // Nobody can write it if the chunk was taken back.
        handoff.send(line("one")).ok();
        chunk.read();
    }
    if let Some(_access) = handoff.access() {
        chunk.read();
        handoff.set_outcome(Outcome::Delivered);
    }
    handoff.return_chunk();
}

/// The delivery thread, with one chunk.
fn borrower<W: Waiter + Send + Sync + 'static>(handoff: &Arc<Handoff<W>>, chunk: &Arc<Chunk>) -> JoinHandle<()> {
    let (handoff, chunk) = (Arc::clone(handoff), Arc::clone(chunk));
    thread::spawn(move || deliver(&handoff, &chunk))
}

/// What a thread of the host does in a flush.
fn lend<W: Waiter>(handoff: &Handoff<W>, write: impl Fn()) -> (Vec<Line>, Option<Outcome>) {
    let mut lines = Vec::new();
    while let Some(line) = handoff.next_line(&|| false) {
        lines.push(line);
        write();
    }
    (lines, handoff.outcome())
}

/// A lender that is not on a coroutine.
type Blocking = Handoff<NoCoroutine>;

struct NoCoroutine;

impl Waiter for NoCoroutine {
    fn wait(&self) {}
    fn wake(&self) {}
}

#[test]
fn a_blocked_lender_gets_every_line_and_the_outcome_and_frees_the_chunk_afterwards() {
    in_every_order(|| {
        let (handoff, chunk) = (Arc::new(Blocking::new(None)), Chunk::new());
        let borrower = borrower(&handoff, &chunk);
        let (lines, outcome) = lend(&handoff, || ());
        chunk.free();
        assert_eq!((lines, outcome), (vec![line("one")], Some(Outcome::Delivered)));
        borrower.join().unwrap_or_else(|_| unreachable!());
    });
}

#[test]
fn a_chunk_that_is_taken_back_is_read_before_or_never() {
    in_every_order(|| {
        let (handoff, chunk) = (Arc::new(Blocking::new(None)), Chunk::new());
        let borrower = borrower(&handoff, &chunk);
        // The exit, after which the chunk is freed.
        if handoff.reclaim() {
            chunk.free();
        }
        borrower.join().unwrap_or_else(|_| unreachable!());
    });
}

/// A coroutine that the host never resumes, because it ends the output and frees its chunks.
#[test]
fn a_suspended_lender_loses_its_chunk_at_the_exit_and_its_timer_is_not_set_any_more() {
    in_every_order(|| {
        let (host, chunk) = (Host::new(), Chunk::new());
        let handoff = Arc::new(Handoff::new(Some(host.clone())));
        let borrower = borrower(&handoff, &chunk);
        // The exit, while the borrower may be anywhere.
        while !handoff.reclaim() {
            thread::yield_now();
        }
        host.close();
        chunk.free();
        borrower.join().unwrap_or_else(|_| unreachable!());
        assert!(host.is_closed() && handoff.access().is_none());
    });
}

#[test]
fn a_suspended_lender_is_continued_once_for_each_suspension_and_misses_no_wake() {
    in_every_order(|| {
        let (host, chunk) = (Host::new(), Chunk::new());
        let handoff = Arc::new(Handoff::new(Some(host.clone())));
        let borrower = borrower(&handoff, &chunk);
        let flush = thread::spawn({
            let (host, handoff, chunk) = (host.clone(), Arc::clone(&handoff), Arc::clone(&chunk));
            move || {
                let (lines, outcome) = lend(&handoff, || host.suspend_elsewhere());
                // As `with_chunk` does before the coroutine ends and the host frees the chunk.
                host.close();
                chunk.free();
                assert_eq!((lines, outcome), (vec![line("one")], Some(Outcome::Delivered)));
                host.end();
            }
        });
        host.run();
        flush.join().unwrap_or_else(|_| unreachable!());
        borrower.join().unwrap_or_else(|_| unreachable!());
    });
}

/// A thread of the host with an event loop and one coroutine. Each has a thread of loom's, and they take turns.
#[derive(Clone)]
struct Host(Arc<Inside>);

struct Inside {
    parking: Parking,
    state: Mutex<State>,
    changed: Condvar,
}

// SAFETY: the cell in `parking` is used only by the one whose turn it is.
unsafe impl Sync for Inside {}
// SAFETY: as above.
unsafe impl Send for Inside {}

struct State {
    turn: Turn,
    /// Whether the coroutine waits for something else of the host's.
    is_elsewhere: bool,
    /// Whether the timer has expired unnoticed; `None` if it is closed.
    timer: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Loop,
    Coroutine,
    Over,
}

impl Host {
    /// The coroutine runs first: the flush has just started.
    fn new() -> Host {
        let state = Mutex::new(State { turn: Turn::Coroutine, is_elsewhere: false, timer: Some(false) });
        Host(Arc::new(Inside { parking: Parking::default(), state, changed: Condvar::new() }))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap_or_else(|_| unreachable!()));
        self.0.changed.notify_all();
    }

    fn wait_for(&self, done: impl Fn(&State) -> bool) -> Turn {
        let mut state = self.0.state.lock().unwrap_or_else(|_| unreachable!());
        while !done(&state) {
            state = self.0.changed.wait(state).unwrap_or_else(|_| unreachable!());
        }
        state.turn
    }

    fn switch(&self, from: Turn, to: Turn) {
        self.change(|state| {
            assert_eq!(state.turn, from, "continued while it runs");
            state.turn = to;
        });
        self.wait_for(|state| state.turn != to);
    }

    fn notice(&self) {
        self.change(|state| state.timer = state.timer.map(|_| false));
    }

    fn close(&self) {
        self.change(|state| state.timer = None);
    }

    fn is_closed(&self) -> bool {
        self.0.state.lock().unwrap_or_else(|_| unreachable!()).timer.is_none()
    }

    fn end(&self) {
        self.change(|state| state.turn = Turn::Over);
    }

    /// The host suspends the coroutine for a reason of its own, as it might while a line is written.
    fn suspend_elsewhere(&self) {
        self.change(|state| state.is_elsewhere = true);
        self.switch(Turn::Coroutine, Turn::Loop);
    }

    /// The event loop, like the host's: it calls the handler as long as the timer has expired.
    fn run(&self) {
        self.wait_for(|state| state.turn != Turn::Coroutine);
        let is_due = |state: &State| state.timer == Some(true) || state.is_elsewhere || state.turn == Turn::Over;
        while self.wait_for(is_due) != Turn::Over {
            let mut seen = (false, false);
            self.change(|state| seen = (state.timer == Some(true), std::mem::take(&mut state.is_elsewhere)));
            let (has_gone_off, is_elsewhere) = seen;
            // As `resume` does.
            let continues = has_gone_off && self.0.parking.unpark();
            assert!(!(continues && is_elsewhere), "continued where it does not wait");
            if has_gone_off && !continues {
                self.notice();
            }
            if continues || is_elsewhere {
                self.switch(Turn::Loop, Turn::Coroutine);
            }
        }
    }
}

impl Waiter for Host {
    fn wait(&self) {
        self.0.parking.park(|| self.switch(Turn::Coroutine, Turn::Loop));
        self.notice();
    }

    fn wake(&self) {
        self.change(|state| state.timer = state.timer.map(|_| true));
    }
}
