//! Lending between threads, without a host.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::log::Level;

fn line(text: &'static str) -> Line {
    Line { level: Level::Info, text: text.into() }
}

fn lend_to(borrower: impl FnOnce(Loan)) -> (Option<Outcome>, Vec<Line>) {
    let mut lines = Vec::new();
    let outcome = lend(&Lenders::default(), b"chunk", b"app", borrower, |line| lines.push(line), &|| false);
    (outcome, lines)
}

/// Runs a future to its end that needs no runtime.
fn run(future: impl Future<Output = Outcome>) -> Poll<Outcome> {
    std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn the_lender_gets_lines_and_outcome() {
    let (hand_over, take) = mpsc::channel::<Loan>();
    let borrower = thread::spawn(move || {
        let loan = Rc::new(take.recv().unwrap());
        loan.teller().tell(line("one")).unwrap();
        let delivered = run(loan.deliver(async |chunk: &[u8], tag: &[u8]| {
            assert_eq!((chunk, tag), (&b"chunk"[..], &b"app"[..]));
            Outcome::Delivered
        }));
        assert_eq!(delivered, Poll::Ready(Outcome::Delivered));
        loan.settle(Outcome::Delivered);
        loan.teller().tell(line("two")).unwrap();
    });
    let (outcome, lines) = lend_to(|loan| hand_over.send(loan).unwrap());
    assert_eq!(outcome, Some(Outcome::Delivered));
    assert_eq!(lines, [line("one"), line("two")]);
    borrower.join().unwrap();
}

#[test]
fn a_loan_that_is_dropped_has_no_outcome() {
    assert_eq!(lend_to(drop).0, None);
}

#[test]
fn a_borrower_that_panics_gives_the_loan_back() {
    let (hand_over, take) = mpsc::channel::<Loan>();
    let borrower = thread::spawn(move || {
        let _loan = take.recv().unwrap();
        panic!("injected");
    });
    assert_eq!(lend_to(|loan| hand_over.send(loan).unwrap()).0, None);
    assert!(borrower.join().is_err());
}

#[test]
fn a_line_for_a_lender_that_went_away_comes_back() {
    let mut teller = None;
    lend_to(|loan| teller = Some(loan.teller()));
    assert_eq!(teller.unwrap().tell(line("late")), Err(line("late")));
}

/// Reads a chunk, and notes when it is polled or dropped.
struct Watched(mpsc::Sender<&'static str>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.send("dropped").ok();
    }
}

#[test]
fn a_chunk_that_was_taken_back_is_looked_at_no_more() {
    let (hand_over, take) = mpsc::channel::<Loan>();
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let borrower = thread::spawn(move || {
        let loan = Rc::new(take.recv().unwrap());
        let watched = Watched(tell.clone());
        let mut reading = Box::pin(loan.deliver(async move |_: &[u8], _: &[u8]| {
            watched.0.send("polled").unwrap();
            std::future::pending().await
        }));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(reading.as_mut().poll(&mut context).is_pending());
        // A file that does not answer.
        wait.recv().unwrap();
        assert!(reading.as_mut().poll(&mut context).is_pending());
        drop(reading);
        tell.send("lives on").unwrap();
    });
    let lender = lend(&Lenders::default(), b"chunk", b"app", |loan| hand_over.send(loan).unwrap(), |_| {}, &|| {
        matches!(told.try_recv(), Ok("polled"))
    });
    assert_eq!(lender, None);
    go_on.send(()).unwrap();
    assert_eq!(told.recv(), Ok("lives on"), "neither polled nor dropped");
    borrower.join().unwrap();
}
