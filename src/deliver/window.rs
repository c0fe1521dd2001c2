//! How many requests fly at once.
//!
//! As many as keep a distant endpoint busy, and few while Kinesis has enough: each accepted request lets one more fly, so
//! that the number doubles with each round trip as long as it is used up, and each one that has to be sent again halves it.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Requests that may fly before Kinesis has accepted any, and however much it throttles.
const FEWEST: usize = 8;

/// Bytes of bodies beyond which no further request is made; what many large ones would take of the node's memory.
const MOST_BYTES: usize = 32 << 20;
/// Bytes of bodies that may pause before a retry. Bodies beyond it are built again from their chunk.
const MOST_PARKED_BYTES: usize = 16 << 20;

/// The requests in flight of one instance. Those that pause before a retry do not count: they would hold up all others.
pub(super) struct Window {
    /// The user's `concurrency`.
    most: usize,
    limit: Cell<usize>,
    requests: Cell<usize>,
    bytes: Cell<usize>,
    /// Bytes of bodies that pause.
    parked_bytes: Cell<usize>,
    /// How many places were given so far.
    given: Cell<u64>,
    /// As many were given when one last had to wait for a place: these used the window up.
    used_up: Cell<u64>,
    freed: Notify,
}

/// Room for one request; free again when this is dropped.
pub(super) struct Place {
    window: Rc<Window>,
    /// Which one it is, counted from 1.
    number: u64,
    bytes: usize,
}

impl Window {
    /// One for at most `most` requests.
    pub(super) fn new(most: usize) -> Rc<Self> {
        let limit = Cell::new(FEWEST.min(most));
        let (requests, bytes, parked_bytes) = (Cell::default(), Cell::default(), Cell::default());
        let (given, used_up) = (Cell::default(), Cell::default());
        Rc::new(Window { most, limit, requests, bytes, parked_bytes, given, used_up, freed: Notify::new() })
    }

    /// Waits until one more request may be sent. The longest wait comes first.
    pub(super) async fn place(self: &Rc<Self>) -> Place {
        if let Some(place) = self.free_place() {
            return place;
        }
        while !self.is_open() {
            self.freed.notified().await;
        }
        self.take()
    }

    /// A place that is free now.
    pub(super) fn free_place(self: &Rc<Self>) -> Option<Place> {
        if self.requests.get() >= self.limit.get() {
            self.used_up.set(self.given.get());
        }
        self.is_open().then(|| self.take())
    }

    fn take(self: &Rc<Self>) -> Place {
        self.requests.set(self.requests.get() + 1);
        self.given.set(self.given.get() + 1);
        // One large body that ended may have made room for several.
        self.tell();
        Place { window: Rc::clone(self), number: self.given.get(), bytes: 0 }
    }

    /// Room for a pausing body of this many bytes; `None` when there is none left.
    pub(super) fn park(self: &Rc<Self>, bytes: usize) -> Option<Parked> {
        let parked = self.parked_bytes.get() + bytes;
        if parked > MOST_PARKED_BYTES {
            return None;
        }
        self.parked_bytes.set(parked);
        Some(Parked { window: Rc::clone(self), bytes })
    }

    /// How many may fly now.
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Notes a request that has to be sent again.
    pub(super) fn failed(&self) {
        self.limit.set((self.limit.get() / 2).max(FEWEST.min(self.most)));
    }

    fn is_open(&self) -> bool {
        self.requests.get() < self.limit.get() && self.bytes.get() < MOST_BYTES
    }

    /// Wakes one that waits, if it would not wait again.
    fn tell(&self) {
        if self.is_open() {
            self.freed.notify_one();
        }
    }
}

/// Room for the body of a request that pauses; free again when this is dropped.
pub(super) struct Parked {
    window: Rc<Window>,
    bytes: usize,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.window.parked_bytes.set(self.window.parked_bytes.get().saturating_sub(self.bytes));
    }
}

impl Place {
    /// Notes that Kinesis accepted all of the request.
    pub(super) fn accepted(&self) {
        let window = &self.window;
        if self.number <= window.used_up.get() {
            window.limit.set(window.most.min(window.limit.get() + 1));
            window.tell();
        }
    }

    /// Notes the size of the request's body, in bytes.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.window.bytes.set(self.window.bytes.get() + bytes);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.requests.set(self.window.requests.get().saturating_sub(1));
        self.window.bytes.set(self.window.bytes.get().saturating_sub(self.bytes));
        self.window.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    /// As many as may fly now, and one that waits.
    fn fill(window: &Rc<Window>) -> Vec<Place> {
        let mut places = Vec::new();
        while window.is_open() {
            places.push(place(window));
        }
        let mut waits = std::pin::pin!(window.place());
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        places
    }

    fn place(window: &Rc<Window>) -> Place {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(window.place())
    }

    #[test]
    fn each_round_trip_without_a_failure_doubles_it_up_to_the_users_number() {
        let window = Window::new(100);
        let flown = [(); 5].map(|()| {
            let places = fill(&window);
            places.iter().for_each(Place::accepted);
            places.len()
        });
        assert_eq!(flown, [8, 16, 32, 64, 100]);
    }

    /// Of a burst of replies only the first counted: the places that it freed were taken again before the next was read.
    #[test]
    fn replies_count_though_places_are_taken_again_between_them() {
        let window = Window::new(100);
        let mut flying = fill(&window);
        for _ in 0..8 {
            flying.remove(0).accepted();
            flying.push(place(&window));
        }
        assert_eq!(window.limit(), 16);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used_up() {
        let window = Window::new(100);
        for _ in 0..1000 {
            let flying = place(&window);
            flying.accepted();
            drop(flying);
        }
        assert_eq!(window.limit(), 8);
    }

    #[test]
    fn a_failure_halves_it_down_to_where_it_began() {
        let window = Window::new(100);
        window.limit.set(100);
        let limits = [(); 5].map(|()| {
            window.failed();
            window.limit()
        });
        assert_eq!(limits, [50, 25, 12, 8, 8]);
    }

    #[test]
    fn a_user_who_wants_fewer_gets_fewer() {
        let window = Window::new(3);
        assert_eq!(fill(&window).len(), 3);
        window.failed();
        assert_eq!(window.limit(), 3);
    }

    #[test]
    fn what_pauses_has_a_bound_of_its_own() {
        let window = Window::new(100);
        let mut parked: Vec<Parked> = std::iter::from_fn(|| window.park(5 << 20)).collect();
        assert_eq!(parked.len(), 3);
        assert!(window.is_open());
        parked.pop();
        assert!(window.park(5 << 20).is_some());
        parked.clear();
        let all = window.park(MOST_PARKED_BYTES);
        assert!(all.is_some() && window.park(1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_ends_lets_as_many_go_on_as_there_is_room_for() {
        let window = Window::new(100);
        let mut large = window.place().await;
        large.fill(MOST_BYTES);
        let free = async {
            tokio::task::yield_now().await;
            drop(large);
        };
        let all = async { tokio::join!(window.place(), window.place(), window.place(), free) };
        let (one, two, three, ()) = tokio::time::timeout(std::time::Duration::from_secs(1), all).await.unwrap();
        assert_eq!([one.number, two.number, three.number], [2, 3, 4]);
    }

    #[test]
    fn large_bodies_close_it_and_their_end_opens_it() {
        let window = Window::new(100);
        let mut places = Vec::new();
        while window.is_open() {
            let mut large = place(&window);
            large.fill(5 << 20);
            places.push(large);
        }
        assert_eq!(places.len(), 7);
        drop(places.pop());
        assert!(window.is_open());
        places.clear();
        place(&window).fill(MOST_BYTES - 1);
        let mut all = place(&window);
        all.fill(MOST_BYTES - 1);
        assert!(window.is_open());
        all.fill(1);
        assert!(!window.is_open());
    }
}
