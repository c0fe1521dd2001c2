//! Limits the requests in flight.
//!
//! A distant endpoint needs many to be busy; a busy one, or a stream that throttles, should get few. The [`Window`] of
//! each stream says how many. All streams of an output share one [`Budget`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::window::{Accepted, Window};
use crate::kinesis::reply::Exchange;

/// No new request starts while this many bytes of bodies are in flight; otherwise large requests would use too much
/// memory.
const MAX_BYTES: usize = 32 << 20;
/// Most bytes of bodies kept during pauses before retries. Beyond this, records are packed again from their chunk.
const MAX_PARKED_BYTES: usize = 16 << 20;

/// What the streams of one output may have in flight together.
pub(crate) struct Budget {
    /// The user's `concurrency`.
    max: usize,
    requests: Cell<usize>,
    bytes: Cell<usize>,
    /// Bytes of bodies kept during pauses.
    parked_bytes: Cell<usize>,
    /// Notified when there is room again.
    freed: Notify,
}

impl Budget {
    /// Creates a budget of `max` requests.
    pub(crate) fn new(max: usize) -> Rc<Budget> {
        Rc::new(Budget {
            max,
            requests: Cell::default(),
            bytes: Cell::default(),
            parked_bytes: Cell::default(),
            freed: Notify::new(),
        })
    }

    /// Waits until one more request has room. First come, first served.
    async fn enter(&self) {
        while !self.has_room() {
            self.freed.notified().await;
        }
        add(&self.requests, 1);
        // The end of one large request may have made room for several.
        self.notify();
    }

    /// Wakes one waiter if there is room for it.
    fn notify(&self) {
        if self.has_room() {
            self.freed.notify_one();
        }
    }

    fn has_room(&self) -> bool {
        self.requests.get() < self.max && self.bytes.get() < MAX_BYTES
    }
}

/// Limits the requests in flight to one stream. Requests pausing before a retry do not count; they would block all
/// others.
pub(crate) struct ConcurrencyLimiter {
    budget: Rc<Budget>,
    window: RefCell<Window>,
    requests: Cell<usize>,
    /// Permits issued so far.
    issued: Cell<u64>,
    /// Permits issued when the limit was last reached. Only these may raise it: more were wanted since.
    saturated_at: Cell<u64>,
    freed: Notify,
}

/// Permission for one request in flight, released on drop.
pub(super) struct Permit {
    limiter: Rc<ConcurrencyLimiter>,
    /// The number of the permit, from 1.
    number: u64,
    /// Whether it counts in the budget yet.
    in_budget: bool,
    bytes: usize,
    /// The requests in flight when it got its body.
    in_flight: usize,
}

impl ConcurrencyLimiter {
    /// Creates a limiter within `budget`.
    pub(super) fn new(budget: Rc<Budget>) -> Rc<Self> {
        Rc::new(ConcurrencyLimiter {
            window: RefCell::new(Window::new(budget.max, Instant::now())),
            budget,
            requests: Cell::default(),
            issued: Cell::default(),
            saturated_at: Cell::default(),
            freed: Notify::new(),
        })
    }

    /// Waits until one more request may be sent. First come, first served.
    pub(super) async fn acquire(self: &Rc<Self>) -> Permit {
        if self.requests.get() >= self.limit() {
            self.saturated_at.set(self.issued.get());
        }
        while !self.is_open() {
            self.freed.notified().await;
        }
        add(&self.requests, 1);
        self.issued.set(self.issued.get() + 1);
        let (limiter, number) = (Rc::clone(self), self.issued.get());
        let mut permit = Permit { limiter, number, in_budget: false, bytes: 0, in_flight: 0 };
        self.notify();
        self.budget.enter().await;
        permit.in_budget = true;
        permit
    }

    /// Reserves room for a body of this many bytes during a pause. Returns `None` if there is none.
    pub(crate) fn park(&self, bytes: usize) -> Option<Parked> {
        let budget = &self.budget;
        if budget.parked_bytes.get() + bytes > MAX_PARKED_BYTES {
            return None;
        }
        add(&budget.parked_bytes, bytes);
        Some(Parked { budget: Rc::clone(budget), bytes })
    }

    /// How many requests may be in flight now.
    pub(crate) fn limit(&self) -> usize {
        self.window.borrow().size()
    }

    /// Notes that a request must be sent again.
    pub(super) fn failed(&self) {
        self.window.borrow_mut().failed(self.issued.get());
    }

    fn is_open(&self) -> bool {
        self.requests.get() < self.limit()
    }

    /// Wakes one waiter if there is a permit for it.
    fn notify(&self) {
        if self.is_open() {
            self.freed.notify_one();
        }
    }
}

/// Room for a body during a pause, released on drop.
pub(crate) struct Parked {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Drop for Parked {
    fn drop(&mut self) {
        subtract(&self.budget.parked_bytes, self.bytes);
    }
}

impl Permit {
    /// Notes that Kinesis accepted the whole request, and how long that took if it was timed.
    pub(super) fn accepted(&self, exchange: Option<Exchange>) {
        let &Permit { ref limiter, number, in_flight, bytes, .. } = self;
        let is_wanted = number <= limiter.saturated_at.get();
        let request = Accepted { number, in_flight, bytes, is_wanted, exchange };
        limiter.window.borrow_mut().accepted(&request, limiter.issued.get(), Instant::now());
        limiter.notify();
    }

    /// Counts the bytes of the request's body.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.in_flight = self.limiter.requests.get();
        add(&self.limiter.budget.bytes, bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ConcurrencyLimiter { budget, requests, .. } = &*self.limiter;
        subtract(requests, 1);
        self.limiter.notify();
        if self.in_budget {
            subtract(&budget.requests, 1);
            subtract(&budget.bytes, self.bytes);
            budget.notify();
        }
    }
}

fn add(count: &Cell<usize>, amount: usize) {
    count.set(count.get() + amount);
}

fn subtract(count: &Cell<usize>, amount: usize) {
    count.set(count.get().saturating_sub(amount));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    /// Whether a permit can be had at once.
    fn is_open(limiter: &ConcurrencyLimiter) -> bool {
        limiter.is_open() && limiter.budget.has_room()
    }

    fn limiter(max: usize) -> Rc<ConcurrencyLimiter> {
        ConcurrencyLimiter::new(Budget::new(max))
    }

    /// Takes all free permits while another caller waits for one.
    fn fill(limiter: &Rc<ConcurrencyLimiter>) -> Vec<Permit> {
        let mut permits = Vec::new();
        while is_open(limiter) {
            permits.push(acquire(limiter));
        }
        let mut waits = std::pin::pin!(limiter.acquire());
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        permits
    }

    fn acquire(limiter: &Rc<ConcurrencyLimiter>) -> Permit {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(limiter.acquire())
    }

    #[test]
    fn each_round_trip_without_a_failure_doubles_it_up_to_the_users_number() {
        let limiter = limiter(100);
        let doubled = [(); 5].map(|()| {
            let permits = fill(&limiter);
            permits.iter().for_each(|permit| permit.accepted(None));
            permits.len()
        });
        assert_eq!(doubled, [8, 16, 32, 64, 100]);
    }

    /// Only the first of a burst of replies counted: its permit was taken again before the next reply was read.
    #[test]
    fn replies_count_though_permits_are_taken_again_between_them() {
        let limiter = limiter(100);
        let mut permits = fill(&limiter);
        for _ in 0..8 {
            permits.remove(0).accepted(None);
            permits.push(acquire(&limiter));
        }
        assert_eq!(limiter.limit(), 16);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_reached() {
        let limiter = limiter(100);
        for _ in 0..1000 {
            let permits = acquire(&limiter);
            permits.accepted(None);
            drop(permits);
        }
        assert_eq!(limiter.limit(), 8);
    }

    #[test]
    fn a_failure_halves_it_down_to_where_it_began() {
        let limiter = limiter(100);
        while limiter.limit() < 100 {
            fill(&limiter).iter().for_each(|permit| permit.accepted(None));
        }
        let limits = [(); 5].map(|()| {
            limiter.failed();
            limiter.limit()
        });
        assert_eq!(limits, [50, 25, 12, 8, 8]);
    }

    #[test]
    fn a_user_who_wants_fewer_gets_fewer() {
        let limiter = limiter(3);
        assert_eq!(fill(&limiter).len(), 3);
        limiter.failed();
        assert_eq!(limiter.limit(), 3);
    }

    #[test]
    fn what_pauses_has_a_bound_of_its_own() {
        let limiter = limiter(100);
        let mut parked: Vec<Parked> = std::iter::from_fn(|| limiter.park(5 << 20)).collect();
        assert_eq!(parked.len(), 3);
        assert!(is_open(&limiter));
        parked.pop();
        assert!(limiter.park(5 << 20).is_some());
        parked.clear();
        let all = limiter.park(MAX_PARKED_BYTES);
        assert!(all.is_some() && limiter.park(1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_ends_lets_as_many_go_on_as_there_is_room_for() {
        let limiter = limiter(100);
        let mut large = limiter.acquire().await;
        large.fill(MAX_BYTES);
        let free = async {
            tokio::task::yield_now().await;
            drop(large);
        };
        let all = async { tokio::join!(limiter.acquire(), limiter.acquire(), limiter.acquire(), free) };
        let (one, two, three, ()) = tokio::time::timeout(std::time::Duration::from_secs(1), all).await.unwrap();
        assert_eq!([one.number, two.number, three.number], [2, 3, 4]);
    }

    #[test]
    fn large_bodies_close_it_and_their_end_opens_it() {
        let limiter = limiter(100);
        let mut permits = Vec::new();
        while is_open(&limiter) {
            let mut large = acquire(&limiter);
            large.fill(5 << 20);
            permits.push(large);
        }
        assert_eq!(permits.len(), 7);
        drop(permits.pop());
        assert!(is_open(&limiter));
        permits.clear();
        acquire(&limiter).fill(MAX_BYTES - 1);
        let mut all = acquire(&limiter);
        all.fill(MAX_BYTES - 1);
        assert!(is_open(&limiter));
        all.fill(1);
        assert!(!is_open(&limiter));
    }

    #[tokio::test(start_paused = true)]
    async fn the_streams_of_an_output_share_its_requests_and_room_and_each_has_a_limit_of_its_own() {
        let budget = Budget::new(10);
        let [one, other] = [(); 2].map(|()| ConcurrencyLimiter::new(Rc::clone(&budget)));
        let mut permits = Vec::new();
        for limiter in [&one, &other] {
            while is_open(limiter) {
                permits.push(limiter.acquire().await);
            }
        }
        assert_eq!((one.requests.get(), other.requests.get()), (8, 2), "together no more than the user's number");
        let frees = async {
            tokio::task::yield_now().await;
            // It is the first stream's, and the other one waits for it.
            drop(permits.remove(0));
        };
        tokio::time::timeout(std::time::Duration::from_secs(1), async { tokio::join!(other.acquire(), frees) })
            .await
            .unwrap();
        assert!(one.park(MAX_PARKED_BYTES).is_some_and(|_parked| other.park(1).is_none()));
        one.failed();
        assert_eq!((one.limit(), other.limit()), (8, 8));
    }
}
