//! What goes out before the thread turns to something else.

use super::scripted::{chunk, delivery, settings};
use super::service::{Behaviour, FakeService, Reply, Request, judged};
use super::*;
use crate::log::tests::TestLog;

/// Counts the requests that have begun a turn after each one did.
#[derive(Default)]
struct Turns {
    begun: usize,
    a_turn_later: Vec<usize>,
}

impl Behaviour for Turns {
    async fn put(state: &RefCell<Self>, request: Request) -> Reply {
        state.borrow_mut().begun += 1;
        tokio::task::yield_now().await;
        let mut state = state.borrow_mut();
        let begun = state.begun;
        state.a_turn_later.push(begun);
        judged(request.records.iter().map(|_| Ok("s".to_owned())))
    }

    fn renew(&mut self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn two_requests_go_out_per_turn_so_that_their_digests_are_made_together() {
    let kinesis = FakeService::new(Turns::default());
    let requests = RequestSettings { max_records: 4, ..RequestSettings::default() };
    let delivery = delivery(kinesis.clone(), requests, settings(), Ledger::new(1 << 20), 1, &TestLog::default());
    let outcome = tokio::task::LocalSet::new().run_until(delivery.deliver(&chunk(22), b"app")).await;
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(kinesis.state.borrow().a_turn_later, [2, 2, 4, 4, 6, 6]);
}
