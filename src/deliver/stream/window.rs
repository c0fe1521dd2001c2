//! How many requests to a stream may be in flight: decisions without side effects.
//!
//! It is the gradient rule of Netflix's concurrency-limits, which applies TCP Vegas to requests: the window grows
//! while the delay is near the smallest one seen, so that it doubles with every round trip to a distant server, and a
//! busy one is not made to queue more. Long or uneven delays do not tell a queue from distance, so another window is
//! tried for a round: either the throughput follows it, or it does not. By Little's law throughput is what is in
//! flight divided by the delay, which needs no clock and no steady load.

use std::time::Duration;

use tokio::time::Instant;

use crate::kinesis::reply::Exchange;

/// The initial window, and the smallest one.
const FEWEST: usize = 8;
/// From an exchange that takes this long on, and until a request fails, the window grows by more than one for each
/// accepted request. To double it five times would take seconds, because new connections need round trips too.
const FAR: Duration = Duration::from_millis(100);
const GROWTH_FROM_FAR: usize = 8;
/// Fewest exchanges from which the window is judged.
const ROUND: usize = 32;
/// Up to this many times the smallest delay counts as near.
const NEAR: f64 = 1.25;
/// At this many times the smallest delay half the window would do, if that is a queue.
const QUEUED: f64 = 2.5;
/// How much one delay counts in the smoothed delay and its deviation, as in TCP (RFC 6298).
const SMOOTHING: f64 = 0.125;
const SMOOTHING_OF_DEVIATION: f64 = 0.25;
/// A larger window is tried if this much of the present one is in use on average, a smaller one if half is.
const IN_USE: f64 = 0.75;
const HALF_IN_USE: f64 = 0.5;
/// The larger of two windows is worth it if at least this much of the difference shows in the throughput.
const WORTH: f64 = 0.5;
/// A trial that changes what is in flight by less than this says nothing.
const LEAST_STEP: f64 = 0.15;
/// Pauses between trials that change nothing double between these. After the longest the window is tried anyway: the
/// smallest delay may have been a queue's.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The number of requests that may be in flight, and what it was learnt from.
pub(super) struct Window {
    size: usize,
    min: usize,
    max: usize,
    has_failed: bool,
    delays: Delays,
    /// The delay in multiples of the smallest, and its mean deviation, both smoothed.
    delay: f64,
    deviation: f64,
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

/// What was in flight on average, and the delay in multiples of the smallest.
#[derive(Clone, Copy)]
struct Seen {
    in_flight: f64,
    delay: f64,
}

/// Another window, for a round.
struct Trial {
    from: usize,
    before: Seen,
}

/// The last trial.
struct Tried {
    at: Instant,
    /// No other before this has passed, without need.
    pause: Duration,
    delay: f64,
    /// Whether the next is larger: what was better is tried again, what was not the other way.
    larger_is_next: bool,
}

impl Window {
    /// A window of at most `max` requests.
    pub(super) fn new(max: usize, now: Instant) -> Window {
        let min = FEWEST.min(max);
        Window {
            size: min,
            min,
            max,
            has_failed: false,
            delays: Delays { on_new: Default::default(), on_used: Default::default(), last: 1.0 },
            delay: 1.0,
            deviation: 0.0,
            settled_after: 0,
            round: Round::default(),
            trial: None,
            tried: Tried { at: now, pause: Duration::ZERO, delay: 1.0, larger_is_next: false },
        }
    }

    /// How many requests may be in flight.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Halves the window because a request must be sent again. `issued`: the last permit so far.
    pub(super) fn failed(&mut self, issued: u64) {
        self.size = (self.size / 2).max(self.min);
        self.has_failed = true;
        self.trial = None;
        self.round = Round { after: issued, ..Round::default() };
    }

    /// Learns from an accepted request. `issued`: the last permit so far.
    pub(super) fn accepted(&mut self, request: &Accepted, issued: u64, now: Instant) {
        if let Some(exchange) = request.exchange {
            self.learn(request, exchange);
        }
        if request.is_wanted && self.is_near() && self.trial.is_none() && request.number > self.settled_after {
            self.size = self.max.min(self.size + self.growth(request.exchange));
        }
        if self.round.exchanges >= ROUND.max(self.size) {
            self.end_round(issued, now);
        }
    }

    fn growth(&self, exchange: Option<Exchange>) -> usize {
        let is_far = exchange.is_some_and(|exchange| exchange.took >= FAR);
        if is_far && !self.has_failed { GROWTH_FROM_FAR } else { 1 }
    }

    /// Whether delays are near the smallest, and so even that this means something.
    fn is_near(&self) -> bool {
        self.delay + self.deviation <= NEAR
    }

    fn learn(&mut self, request: &Accepted, exchange: Exchange) {
        let counts = request.number > self.round.after;
        let Some(delay) = self.delays.compare(request.bytes, exchange, counts) else { return };
        // With few in flight it is always near.
        if request.number > self.settled_after && (delay > NEAR || request.in_flight * 2 >= self.size) {
            self.deviation += ((delay - self.delay).abs() - self.deviation) * SMOOTHING_OF_DEVIATION;
            self.delay += (delay - self.delay) * SMOOTHING;
        }
        if counts {
            self.round.exchanges += 1;
            self.round.delay += delay;
            self.round.in_flight += request.in_flight;
        }
    }

    fn end_round(&mut self, issued: u64, now: Instant) {
        let Round { exchanges, delay, in_flight, .. } = std::mem::take(&mut self.round);
        let average = |sum: f64| sum / exchanges as f64;
        let seen = Seen { in_flight: average(in_flight as f64), delay: average(delay) };
        let goes_on = match self.trial.take() {
            Some(trial) => {
                self.settled_after = issued;
                self.judge(&trial, seen, now)
            }
            None => self.is_due(seen.delay, now),
        };
        if goes_on {
            self.try_another(seen);
        }
        self.delays.end_round();
        self.round.after = issued;
    }

    /// Keeps the better of two windows. Returns whether it is the new one.
    fn judge(&mut self, trial: &Trial, now_seen: Seen, now: Instant) -> bool {
        let (tried, before) = (self.size, trial.before);
        let step = now_seen.in_flight / before.in_flight;
        let throughput = step * before.delay / now_seen.delay;
        let was_larger = tried > trial.from;
        let says_something = (step - 1.0).abs() >= LEAST_STEP;
        let is_larger_better = (throughput - 1.0) / (step - 1.0) >= WORTH;
        let is_better = says_something && was_larger == is_larger_better;
        if !is_better {
            self.size = trial.from;
        }
        if says_something && !was_larger && is_larger_better {
            // The delay is due to distance.
            self.delays.grew(now_seen.delay);
            (self.delay, self.deviation) = (1.0, 0.0);
        }
        let pause = if is_better { SHORTEST_PAUSE } else { self.tried.pause * 2 };
        let pause = pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.tried = Tried { at: now, pause, delay: before.delay, larger_is_next: was_larger == is_better };
        is_better
    }

    /// Whether there is a reason to try another window.
    fn is_due(&self, delay: f64, now: Instant) -> bool {
        let since = now.duration_since(self.tried.at);
        let has_changed = delay >= self.tried.delay * 2.0;
        since >= LONGEST_PAUSE
            || delay >= QUEUED && self.is_large()
            || !self.is_near() && (since >= self.tried.pause || has_changed)
    }

    fn is_large(&self) -> bool {
        self.size * 2 >= self.min * 3
    }

    /// Starts a trial: with half of what is in flight, or half as many again.
    fn try_another(&mut self, seen: Seen) {
        let used = seen.in_flight / self.size as f64;
        let (may_shrink, may_grow) = (self.is_large() && used >= HALF_IN_USE, used >= IN_USE && self.size < self.max);
        let size = if may_shrink && (!may_grow || !self.tried.larger_is_next || seen.delay >= QUEUED) {
            ((seen.in_flight / 2.0) as usize).max(self.min)
        } else if may_grow {
            (self.size * 3 / 2).min(self.max)
        } else {
            return;
        };
        if size != self.size {
            // What is below the smallest becomes the smallest.
            self.trial = Some(Trial { from: self.size, before: Seen { delay: seen.delay.max(1.0), ..seen } });
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
    /// The smallest average of several exchanges, in seconds; until there is one, the smallest of all.
    smallest: Option<f64>,
    is_average: bool,
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
        let smallest = delay.smallest.get_or_insert(seconds / self.last);
        if !delay.is_average {
            *smallest = smallest.min(seconds);
        }
        self.last = seconds / *smallest;
        Some(self.last)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Delay> {
        self.on_new.iter_mut().chain(&mut self.on_used)
    }

    fn end_round(&mut self) {
        for delay in self.all().filter(|delay| delay.exchanges >= ROUND / 4) {
            let average = delay.sum / delay.exchanges as f64;
            let smallest = delay.smallest.map(|smallest| smallest.min(average));
            *delay = Delay { smallest, is_average: true, ..Delay::default() };
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
        let doubled = [8, 16, 32, 64, 128].map(|requests| load.run(requests, |_, _| (4096, after(99.0))));
        assert_eq!(doubled, [16, 32, 64, 128, 256]);
    }

    #[test]
    fn far_away_it_grows_faster_until_a_request_fails() {
        let mut load = Load::new();
        let grown = [8, 72].map(|requests| load.run(requests, |_, _| (4096, after(100.0))));
        assert_eq!(grown, [72, 256]);
        load.window.failed(load.issued);
        load.sent.truncate(128);
        assert_eq!(load.run(100, |_, _| (4096, after(100.0))), 228);
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
