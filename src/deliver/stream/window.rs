//! How many requests to a stream may be in flight: decisions without side effects.
//!
//! It is the gradient rule of Netflix's concurrency-limits, which applies TCP Vegas to requests: the window grows while
//! the delay is near the smallest one seen, so that it doubles with every round trip to a distant server, and a busy
//! one is not made to queue more. A larger delay alone does not tell a queue from a longer way, so that is tried out:
//! with another window for a round, the throughput follows it, or it does not. By Little's law throughput is what is
//! in flight divided by the delay, which needs no clock and no steady load.

use std::time::Duration;

use tokio::time::Instant;

use crate::kinesis::reply::Exchange;

/// The initial window, and the smallest one.
pub(super) const FEWEST: usize = 8;
/// Fewest exchanges from which the window is judged.
const ROUND: usize = 32;
/// Up to this many times the smallest delay counts as near.
const NEAR: f64 = 1.25;
/// At this many times the smallest delay half the window would do, if that is a queue.
const QUEUED: f64 = 2.5;
/// Below this many times what was the smallest delay, that was a queue's.
const STALE: f64 = 0.8;
/// A round says something about the window if this much of it was used on average.
const IN_USE: f64 = 0.75;
/// The larger of two windows is worth it if at least this much of the difference shows in the throughput.
const WORTH: f64 = 0.5;
/// Pauses between trials that change nothing double between these. After the longest the window is tried anyway: the
/// smallest delay may have changed.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The number of requests that may be in flight, and what it was learnt from.
pub(super) struct Window {
    size: usize,
    min: usize,
    max: usize,
    delays: Delays,
    /// Whether the last delay that says something was near the smallest.
    is_near: bool,
    /// The last permit whose reply says nothing about growth: the window was another then.
    settled_after: u64,
    round: Round,
    trial: Option<Trial>,
    tried: Tried,
}

/// A request that was accepted.
pub(super) struct Accepted {
    /// The number of its permit.
    pub(super) number: u64,
    /// The number of requests in flight when it was sent.
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    /// Whether another request had to wait since.
    pub(super) is_wanted: bool,
    pub(super) exchange: Option<Exchange>,
}

/// Exchanges that began with the window as it is.
#[derive(Default)]
struct Round {
    /// The last permit before it.
    after: u64,
    exchanges: usize,
    /// The sum of their delays, in multiples of the smallest.
    delay: f64,
    /// The sum of the requests in flight.
    in_flight: usize,
}

/// Another window, for a round.
struct Trial {
    from: usize,
    /// The delay before, in multiples of the smallest.
    delay: f64,
}

/// The last trial.
struct Tried {
    at: Instant,
    /// No other before this has passed, without need.
    pause: Duration,
    delay: f64,
}

impl Window {
    /// A window of at most `max` requests.
    pub(super) fn new(max: usize, now: Instant) -> Window {
        let min = FEWEST.min(max);
        Window {
            size: min,
            min,
            max,
            delays: Delays { on_new: Default::default(), on_used: Default::default(), last: 1.0 },
            is_near: true,
            settled_after: 0,
            round: Round::default(),
            trial: None,
            tried: Tried { at: now, pause: Duration::ZERO, delay: 1.0 },
        }
    }

    /// How many requests may be in flight.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Halves the window because a request must be sent again. `issued`: the last permit so far.
    pub(super) fn failed(&mut self, issued: u64) {
        self.size = (self.size / 2).max(self.min);
        self.trial = None;
        self.round = Round { after: issued, ..Round::default() };
    }

    /// Learns from an accepted request. `issued`: the last permit so far.
    pub(super) fn accepted(&mut self, request: &Accepted, issued: u64, now: Instant) {
        if let Some(exchange) = request.exchange {
            self.learn(request, exchange);
        }
        if request.is_wanted && self.is_near && self.trial.is_none() && request.number > self.settled_after {
            self.size = self.max.min(self.size + 1);
        }
        if self.round.exchanges >= ROUND.max(self.size) {
            self.end_round(issued, now);
        }
    }

    fn learn(&mut self, request: &Accepted, exchange: Exchange) {
        let counts = request.number > self.round.after;
        let Some(delay) = self.delays.compare(request.bytes, exchange, counts) else { return };
        // With few in flight it is always near.
        if request.number > self.settled_after && (delay > NEAR || request.in_flight * 2 >= self.size) {
            self.is_near = delay <= NEAR;
        }
        if counts {
            self.round.exchanges += 1;
            self.round.delay += delay;
            self.round.in_flight += request.in_flight;
        }
    }

    fn end_round(&mut self, issued: u64, now: Instant) {
        let Round { exchanges, delay, in_flight, .. } = std::mem::take(&mut self.round);
        let delay = delay / exchanges as f64;
        let is_used = in_flight as f64 >= IN_USE * (exchanges * self.size) as f64;
        match self.trial.take() {
            Some(trial) if !is_used => self.size = trial.from,
            Some(trial) => {
                self.settled_after = issued;
                let shrank = self.judge(&trial, delay, now);
                // The smallest delay was that of a queue.
                if shrank && delay < STALE {
                    self.try_another(QUEUED, now);
                }
            }
            None if is_used => self.try_another(delay, now),
            None => {}
        }
        self.delays.end_round();
        self.round.after = issued;
    }

    /// Keeps the better of two windows, and returns whether that is a smaller one than before.
    fn judge(&mut self, trial: &Trial, delay: f64, now: Instant) -> bool {
        let step = self.size as f64 / trial.from as f64;
        let throughput = step * trial.delay / delay;
        let is_worth = (throughput - 1.0) / (step - 1.0) >= WORTH;
        let tried = self.size;
        if is_worth {
            self.size = tried.max(trial.from);
            // The delay is that of the way.
            self.delays.grew(delay);
            self.is_near |= delay > NEAR;
        } else {
            self.size = tried.min(trial.from);
        }
        let pause = if self.size == trial.from { self.tried.pause * 2 } else { SHORTEST_PAUSE };
        self.tried = Tried { at: now, pause: pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE), delay: trial.delay };
        self.size < trial.from
    }

    /// Starts a trial if there is a reason: half the window, or half as many again if it is near its smallest.
    fn try_another(&mut self, delay: f64, now: Instant) {
        let since = now.duration_since(self.tried.at);
        let is_large = self.size * 2 >= self.min * 3;
        let is_suspect = delay > NEAR && (since >= self.tried.pause || delay >= self.tried.delay * 2.0);
        let size = if is_large && (is_suspect || delay >= QUEUED || since >= LONGEST_PAUSE) {
            (self.size / 2).max(self.min)
        } else if !is_large && is_suspect {
            (self.size * 3 / 2).min(self.max)
        } else {
            return;
        };
        if size != self.size {
            // What is below the smallest becomes the smallest.
            self.trial = Some(Trial { from: self.size, delay: delay.max(1.0) });
            self.size = size;
        }
    }
}

/// The smallest delays. Only exchanges of about the same size are compared: up to 4 KiB, 8 KiB, 16 KiB and so on. Those
/// on new connections are compared with each other.
struct Delays {
    on_new: [Delay; SIZES],
    on_used: [Delay; SIZES],
    /// The last one in multiples of the smallest.
    last: f64,
}

/// Up to 16 MiB.
const SIZES: usize = 13;

#[derive(Default)]
struct Delay {
    /// The smallest average of several exchanges, in seconds; at first that of one.
    smallest: Option<f64>,
    sum: f64,
    exchanges: usize,
}

impl Delays {
    /// An exchange's delay in multiples of the smallest. `counts`: whether it may become that.
    fn compare(&mut self, bytes: usize, exchange: Exchange, counts: bool) -> Option<f64> {
        let doublings = (usize::BITS - (bytes >> 12).leading_zeros()) as usize;
        let delays = if exchange.is_first { &mut self.on_new } else { &mut self.on_used };
        let delay = delays.get_mut(doublings.min(SIZES - 1))?;
        let seconds = exchange.took.as_secs_f64().max(f64::MIN_POSITIVE);
        if counts {
            delay.sum += seconds;
            delay.exchanges += 1;
        }
        // The first of its kind is assumed to be as far from its smallest as the one before it.
        self.last = seconds / *delay.smallest.get_or_insert(seconds / self.last);
        Some(self.last)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Delay> {
        self.on_new.iter_mut().chain(&mut self.on_used)
    }

    fn end_round(&mut self) {
        for delay in self.all().filter(|delay| delay.exchanges >= ROUND / 4) {
            let average = delay.sum / delay.exchanges as f64;
            *delay = Delay { smallest: delay.smallest.map(|smallest| smallest.min(average)), ..Delay::default() };
        }
    }

    /// All are this many times as large as was thought.
    fn grew(&mut self, times: f64) {
        let smallest = self.all().filter_map(|delay| delay.smallest.as_mut());
        smallest.for_each(|smallest| *smallest *= times.max(1.0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// A window that is always used up; the oldest request is answered first.
    struct Load {
        window: Window,
        /// The number of each request in flight, and how many there were.
        sent: VecDeque<(u64, usize)>,
        issued: u64,
        now: Instant,
    }

    impl Load {
        fn new() -> Load {
            let now = Instant::now();
            Load { window: Window::new(256, now), sent: VecDeque::new(), issued: 0, now }
        }

        /// Has this many requests accepted. `answer`: the size and the exchange of a request by its number and by how
        /// many were in flight.
        fn run(&mut self, requests: usize, answer: impl Fn(u64, usize) -> (usize, Exchange)) -> usize {
            for _ in 0..requests {
                while self.sent.len() < self.window.size() {
                    self.issued += 1;
                    self.sent.push_back((self.issued, self.sent.len() + 1));
                }
                let (number, in_flight) = self.sent.pop_front().unwrap();
                let (bytes, exchange) = answer(number, in_flight);
                self.now += exchange.took / u32::try_from(in_flight).unwrap();
                let request = Accepted { number, in_flight, bytes, is_wanted: true, exchange: Some(exchange) };
                self.window.accepted(&request, self.issued, self.now);
            }
            self.window.size()
        }
    }

    fn after(milliseconds: f64) -> Exchange {
        Exchange { took: Duration::from_secs_f64(milliseconds / 1e3), is_first: false }
    }

    #[test]
    fn it_doubles_every_round_trip_while_the_delay_stays() {
        let mut load = Load::new();
        let doubled = [8, 16, 32, 64, 128].map(|requests| load.run(requests, |_, _| (4096, after(200.0))));
        assert_eq!(doubled, [16, 32, 64, 128, 256]);
    }

    #[test]
    fn what_is_larger_and_takes_longer_does_not_wait_in_a_queue() {
        let mixed = |number, _| if number % 2 == 0 { (2 << 10, after(5.0)) } else { (1 << 20, after(50.0)) };
        assert_eq!(Load::new().run(300, mixed), 256);
    }

    #[test]
    fn nor_does_the_first_exchange_on_a_connection() {
        // Each request beyond those in flight so far opens one.
        let opening = |number, in_flight| {
            let is_first = number <= 8 || number % 2 == in_flight as u64 % 2;
            (4096, Exchange { is_first, ..after(if is_first { 600.0 } else { 200.0 }) })
        };
        assert_eq!(Load::new().run(300, opening), 256);
    }

    #[test]
    fn it_stays_where_it_began_if_more_only_wait_longer() {
        let mut load = Load::new();
        for _ in 0..1000 {
            let size = load.run(10, |_, in_flight| (4096, after(in_flight as f64)));
            assert!((8..=16).contains(&size), "{size}");
        }
    }

    /// The smallest delay is that of a queue here: no less was ever seen.
    #[test]
    fn a_queue_that_was_there_from_the_start_is_found() {
        let mut load = Load::new();
        assert_eq!(load.run(5_000, |_, _| (4096, after(300.0))), 256);
        let size = load.run(60_000, |_, in_flight| (4096, after((in_flight as f64 * 1.1).max(20.0))));
        assert!(size <= 50, "{size}");
    }

    #[test]
    fn a_longer_way_is_told_from_a_queue() {
        let mut load = Load::new();
        load.run(2_000, |_, in_flight| (4096, after((in_flight as f64).max(20.0))));
        assert!(load.window.size() <= 60, "{}", load.window.size());
        assert_eq!(load.run(3_000, |_, _| (4096, after(200.0))), 256);
    }

    #[test]
    fn a_failure_ends_a_trial_and_halves_what_was_tried() {
        let mut load = Load::new();
        load.run(500, |_, _| (4096, after(20.0)));
        while load.window.trial.is_none() {
            load.run(1, |_, in_flight| (4096, after(in_flight as f64)));
        }
        let tried = load.window.size();
        load.window.failed(load.issued);
        assert_eq!((load.window.size(), load.window.trial.is_none()), (tried / 2, true));
    }

    #[test]
    fn a_user_who_wants_fewer_gets_fewer() {
        let mut load = Load { window: Window::new(3, Instant::now()), ..Load::new() };
        for milliseconds in [1.0, 100.0, 1.0] {
            assert_eq!(load.run(1000, |_, _| (4096, after(milliseconds))), 3);
        }
    }

    proptest! {
        #[test]
        fn it_stays_between_its_bounds_whatever_happens(
            max in 1_usize..300,
            steps in prop::collection::vec((any::<bool>(), 0_usize..20 << 20, 0_u64..10_000_000, any::<bool>()), 1..2000),
        ) {
            let mut load = Load { window: Window::new(max, Instant::now()), ..Load::new() };
            for (fails, bytes, micros, is_first) in steps {
                if fails && bytes % 8 == 0 {
                    load.window.failed(load.issued);
                }
                let exchange = Exchange { took: Duration::from_micros(micros), is_first };
                load.run(1, |_, _| (bytes, exchange));
                prop_assert!((8.min(max)..=max).contains(&load.window.size()));
            }
        }
    }
}
