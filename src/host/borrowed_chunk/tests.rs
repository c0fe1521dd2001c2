//! Lends between threads, without a host.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::log::Level;

fn line(text: &'static str) -> Line {
    Line { level: Level::Info, text: text.into() }
}

fn lend_to(borrower: impl FnOnce(BorrowedChunk)) -> (Option<Outcome>, Vec<Line>) {
    let mut lines = Vec::new();
    let outcome = with_chunk(&Callers::default(), b"chunk", b"app", borrower, |line| lines.push(line), &|| false);
    (outcome, lines)
}

/// Runs a future that needs no runtime to its end.
fn run(future: impl Future<Output = Outcome>) -> Poll<Outcome> {
    std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn the_lender_gets_lines_and_outcome() {
    let (hand_over, take) = mpsc::channel::<BorrowedChunk>();
    let borrower = thread::spawn(move || {
        let chunk = Rc::new(take.recv().unwrap());
        chunk.log_sender().send(line("one")).unwrap();
        let delivered = run(chunk.read(async |chunk: &[u8], tag: &[u8]| {
            assert_eq!((chunk, tag), (&b"chunk"[..], &b"app"[..]));
            Outcome::Delivered
        }));
        assert_eq!(delivered, Poll::Ready(Outcome::Delivered));
        chunk.set_outcome(Outcome::Delivered);
        chunk.log_sender().send(line("two")).unwrap();
    });
    let (outcome, lines) = lend_to(|chunk| hand_over.send(chunk).unwrap());
    assert_eq!(outcome, Some(Outcome::Delivered));
    assert_eq!(lines, [line("one"), line("two")]);
    borrower.join().unwrap();
}

#[test]
fn a_chunk_that_is_dropped_has_no_outcome() {
    assert_eq!(lend_to(drop).0, None);
}

#[test]
fn a_borrower_that_panics_gives_the_chunk_back() {
    let (hand_over, take) = mpsc::channel::<BorrowedChunk>();
    let borrower = thread::spawn(move || {
        let _chunk = take.recv().unwrap();
        panic!("injected");
    });
    assert_eq!(lend_to(|chunk| hand_over.send(chunk).unwrap()).0, None);
    assert!(borrower.join().is_err());
}

#[test]
fn a_line_for_a_lender_that_has_returned_comes_back() {
    let mut sender = None;
    lend_to(|chunk| sender = Some(chunk.log_sender()));
    assert_eq!(sender.unwrap().send(line("late")), Err(line("late")));
}

/// Reads a chunk and notes when it is polled or dropped.
struct Watched(mpsc::Sender<&'static str>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.send("dropped").ok();
    }
}

#[test]
fn a_reclaimed_chunk_is_not_read_any_more() {
    let (hand_over, take) = mpsc::channel::<BorrowedChunk>();
    let (note, notes) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let borrower = thread::spawn(move || {
        let chunk = Rc::new(take.recv().unwrap());
        let watched = Watched(note.clone());
        let mut reading = Box::pin(chunk.read(async move |_: &[u8], _: &[u8]| {
            watched.0.send("polled").unwrap();
            std::future::pending().await
        }));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(reading.as_mut().poll(&mut context).is_pending());
        // As if a file did not respond.
        wait.recv().unwrap();
        assert!(reading.as_mut().poll(&mut context).is_pending());
        drop(reading);
        note.send("lives on").unwrap();
    });
    let lender =
        with_chunk(&Callers::default(), b"chunk", b"app", |chunk| hand_over.send(chunk).unwrap(), |_| {}, &|| {
            matches!(notes.try_recv(), Ok("polled"))
        });
    assert_eq!(lender, None);
    release.send(()).unwrap();
    assert_eq!(notes.recv(), Ok("lives on"), "neither polled nor dropped");
    borrower.join().unwrap();
}
