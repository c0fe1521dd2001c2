//! How many requests a server gets at a time, in virtual time: near and far, busy, uneven, moving and throttling ones.
//!
//! `UPDATE=1 cargo test --test it window::` writes the table of docs/tuning.md.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::rc::Rc;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use kinesis::deliver::{Delivery, Deps, Destination, Settings};
use kinesis::kinesis::client::{Operation, Transport, TransportError};
use kinesis::kinesis::reply::{Exchange, Response};
use kinesis::kinesis::stream::Stream;
use kinesis::ledger::Ledger;
use kinesis::log::Logger;
use kinesis::metrics::Metrics;
use kinesis::outcome::Outcome;
use kinesis::pack::RequestSettings;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use testing::sources::{read, root, with_marked};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

const ACCEPTED: &str = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"49543463076548007577105092703039560359975228518395012686","ShardId":"shardId-000000000000"}]}"#;
const THROTTLED: &str = r#"{"__type":"ProvisionedThroughputExceededException","message":"Rate exceeded"}"#;
/// What an idle connection is kept for.
const IDLE: Duration = Duration::from_secs(30);
/// Requests of a chunk, each with one record, and chunks that are delivered side by side.
const REQUESTS: usize = 200;
const CHUNKS: usize = 4;
const SECONDS: usize = 12;
/// The seconds that the table shows.
const SHOWN: [usize; 6] = [1, 2, 3, 5, 8, SECONDS];

/// A server: what a request waits for on its way, and the queue before those who answer.
#[derive(Clone)]
struct Server {
    way: Cell<Duration>,
    /// The way takes up to this much longer, on average a quarter of it.
    varies: Duration,
    random: RefCell<SmallRng>,
    /// The time that each answer takes.
    takes: Cell<Duration>,
    /// When each of those who answer is free.
    free: RefCell<Vec<Instant>>,
    /// Answers with records accepted per second; others are throttled.
    throttles: Option<f64>,
    tokens: Cell<(f64, Instant)>,
    /// Connections not in use, and since when.
    idle: RefCell<Vec<Instant>>,
    open: Cell<usize>,
    /// The most at once that were in use, since this was last looked at.
    in_use: Cell<usize>,
    accepted: Cell<u64>,
    /// Whether the plugin learns how long exchanges took.
    is_timed: bool,
}

impl Server {
    fn new(way: u64, takes: u64, answer: usize) -> Server {
        let now = Instant::now();
        Server {
            way: Cell::new(Duration::from_millis(way)),
            varies: Duration::ZERO,
            random: RefCell::new(SmallRng::seed_from_u64(1)),
            takes: Cell::new(Duration::from_millis(takes)),
            free: RefCell::new(vec![now; answer]),
            throttles: None,
            tokens: Cell::new((0.0, now)),
            idle: RefCell::default(),
            open: Cell::default(),
            in_use: Cell::default(),
            accepted: Cell::default(),
            is_timed: true,
        }
    }

    /// Takes a connection. Returns whether it was used before.
    fn connect(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|since| since.elapsed() < IDLE);
        self.open.set(self.open.get() - (before - idle.len()));
        let is_used = idle.pop().is_some();
        self.open.set(self.open.get() + usize::from(!is_used));
        self.in_use.set(self.in_use.get().max(self.open.get() - idle.len()));
        is_used
    }

    /// Whether a request is let through.
    fn takes_one(&self) -> bool {
        let Some(rate) = self.throttles else { return true };
        let (tokens, at) = self.tokens.get();
        let tokens = (tokens + at.elapsed().as_secs_f64() * rate).min(rate);
        let passes = tokens >= 1.0;
        self.tokens.set((if passes { tokens - 1.0 } else { tokens }, Instant::now()));
        passes
    }

    async fn queue(&self) {
        let ends = {
            let mut free = self.free.borrow_mut();
            let first = free.iter_mut().min().unwrap();
            *first = (*first).max(Instant::now()) + self.takes.get();
            *first
        };
        sleep_until(ends).await;
    }
}

/// The way to a server.
struct Network(Rc<Server>);

impl Transport for Network {
    async fn send(&self, _: Operation, _: Bytes) -> Result<Response, TransportError> {
        let server = &self.0;
        let is_used = server.connect();
        if !is_used {
            // TCP and TLS.
            sleep(server.way.get() * 2).await;
        }
        let sent = Instant::now();
        let longer = server.random.borrow_mut().random::<f64>().powi(3);
        let half = server.way.get() / 2 + server.varies.mul_f64(longer) / 2;
        sleep(half).await;
        server.queue().await;
        let passes = server.takes_one();
        sleep(half).await;
        server.idle.borrow_mut().push(Instant::now());
        let (status, body) = match passes {
            true => (StatusCode::OK, ACCEPTED),
            false => (StatusCode::BAD_REQUEST, THROTTLED),
        };
        server.accepted.set(server.accepted.get() + u64::from(passes));
        let exchange = server.is_timed.then(|| Exchange { took: sent.elapsed(), is_first: !is_used });
        Ok(Response { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()), exchange })
    }

    fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
        false
    }
}

fn delivery(server: &Rc<Server>) -> Rc<Delivery<Network>> {
    let settings = Settings::plain(256, 100);
    let requests = RequestSettings { max_records: 1, ..RequestSettings::default() };
    let log = Logger::silent();
    let (transport, ledger, metrics) = (Network(Rc::clone(server)), Ledger::new(1 << 20), Metrics::default());
    let deps = Deps { transport, ledger, dead_letters: None, random: SmallRng::seed_from_u64(1), log, metrics };
    let destination = Destination { target: Stream::parse("logs").unwrap().into(), place: String::new() };
    Delivery::new(deps, destination, requests, settings)
}

fn chunk(number: usize) -> Vec<u8> {
    let event = rmp_serde::to_vec(&(1, BTreeMap::from([("n", number)]))).unwrap();
    event.repeat(REQUESTS)
}

/// A second of a server.
#[derive(Clone, Copy, Debug)]
struct Second {
    /// The most connections in use at once.
    in_use: usize,
    /// Requests accepted.
    accepted: u64,
}

/// Sends to a server as fast as it can. `change` is called before each second.
fn send(server: Server, change: fn(usize, &Server)) -> Vec<Second> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let server = Rc::new(server);
        let (delivery, made) = (delivery(&server), Rc::new(Cell::new(0)));
        for _ in 0..CHUNKS {
            let (delivery, made) = (Rc::clone(&delivery), Rc::clone(&made));
            spawn_local(async move {
                loop {
                    made.set(made.get() + 1);
                    assert_eq!(delivery.deliver(&chunk(made.get()), b"app").await, Outcome::Delivered);
                }
            });
        }
        let mut seconds = Vec::new();
        for second in 0..SECONDS {
            change(second, &server);
            sleep(Duration::from_secs(1)).await;
            seconds.push(Second { in_use: server.in_use.take(), accepted: server.accepted.take() });
        }
        seconds
    })
}

/// A row of the table: what the server is, and what it saw, with and without the delays.
struct Row {
    server: &'static str,
    seconds: Vec<Second>,
    without: Vec<Second>,
}

/// What it is, how it begins, and what becomes of it before each second.
type Kind = (&'static str, fn() -> Server, fn(usize, &Server));

const BUSY: &str = "next to it, one request at a time, 1 ms each";
const FAR: &str = "200 ms away";
const UNEVEN: &str = "8 to 80 ms away, on average 26";
const MOVES: &str = "5 ms away, from the 4th to the 7th second 50 ms";
const LIMITED: &str = "20 ms away, one request at a time, 2 ms each";
const THROTTLES: &str = "20 ms away, throttles more than 100 a second";

fn servers() -> [Kind; 8] {
    fn same(_: usize, _: &Server) {}
    fn moves(second: usize, server: &Server) {
        server.way.set(Duration::from_millis(if (3..7).contains(&second) { 50 } else { 5 }));
    }
    [
        (BUSY, || Server::new(0, 1, 1), same),
        ("5 ms away", || Server::new(5, 1, 2), same),
        ("50 ms away", || Server::new(50, 1, 2), same),
        (FAR, || Server::new(200, 1, 2), same),
        (UNEVEN, || Server { varies: Duration::from_millis(72), ..Server::new(8, 1, 2) }, same),
        (MOVES, || Server::new(5, 1, 2), moves),
        (LIMITED, || Server::new(20, 2, 1), same),
        (THROTTLES, || Server { throttles: Some(100.0), ..Server::new(20, 1, 2) }, same),
    ]
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let run = |(server, make, change): Kind| {
        let without = thread::spawn(move || send(Server { is_timed: false, ..make() }, change));
        let seconds = send(make(), change);
        Row { server, seconds, without: without.join().unwrap() }
    };
    servers().map(run).into()
});

fn row(server: &str) -> &'static Row {
    ROWS.iter().find(|row| row.server == server).unwrap()
}

fn most_in_use(seconds: &[Second]) -> usize {
    seconds.iter().map(|second| second.in_use).max().unwrap()
}

/// The first is 1.
fn at(seconds: &[Second], second: usize) -> Second {
    seconds[second - 1]
}

fn accepted(seconds: &[Second]) -> u64 {
    seconds.iter().map(|second| second.accepted).sum()
}

#[test]
fn a_busy_server_gets_no_more_connections_than_keep_it_busy() {
    let Row { seconds, without, .. } = row(BUSY);
    assert!(most_in_use(seconds) <= 16, "{seconds:?}");
    assert_eq!(accepted(seconds), accepted(without));
    assert_eq!(most_in_use(without), 256, "it was not tempted");
}

#[test]
fn one_that_answers_one_at_a_time_gets_a_few_times_what_is_under_way_and_loses_a_fiftieth() {
    let Row { seconds, without, .. } = row(LIMITED);
    // A request each 2 ms, 22 ms under way.
    assert!(most_in_use(seconds) <= 4 * 11 && at(seconds, SECONDS).in_use <= 3 * 11, "{seconds:?}");
    assert!(accepted(seconds) * 100 >= accepted(without) * 98, "{seconds:?} {without:?}");
}

#[test]
fn the_farther_away_the_more_connections_and_none_loses_more_than_a_hundredth() {
    for (server, least) in [("5 ms away", 12), ("50 ms away", 102), (FAR, 256)] {
        let Row { seconds, without, .. } = row(server);
        assert!(most_in_use(seconds) >= least, "{server} {seconds:?}");
        let (with, without) = (accepted(seconds), accepted(without));
        assert!(with * 100 >= without * 99, "{server}: {with}, without {without}");
    }
    assert!(at(&row("5 ms away").seconds, SECONDS).in_use <= 36);
}

#[test]
fn uneven_delays_are_not_taken_for_a_queue() {
    let Row { seconds, without, .. } = row(UNEVEN);
    assert!(accepted(seconds) * 100 >= accepted(without) * 97, "{seconds:?} {without:?}");
    assert!(most_in_use(seconds) < 128, "{seconds:?}");
}

#[test]
fn one_that_moves_is_followed_there_and_back() {
    let Row { seconds, without, .. } = row(MOVES);
    assert!(at(seconds, 3).in_use <= 36 && at(seconds, 12).in_use <= 36, "{seconds:?}");
    for second in [5, 6, 7, 12] {
        assert!(at(seconds, second).accepted * 100 >= at(without, second).accepted * 95, "{second}: {seconds:?}");
    }
}

#[test]
fn one_that_throttles_gets_what_it_got_before() {
    let Row { seconds, without, .. } = row(THROTTLES);
    assert!(accepted(seconds) * 100 >= accepted(without) * 97, "{seconds:?} {without:?}");
    assert!(most_in_use(seconds) <= most_in_use(without), "{seconds:?} {without:?}");
}

/// The table of docs/tuning.md is what comes out.
#[test]
fn the_table_is_current() {
    let heads: String = SHOWN.iter().map(|second| format!(" {second} s |")).collect();
    let mut table = format!("| server |{heads} without |\n|---|{}\n", "--:|".repeat(SHOWN.len() + 1));
    for Row { server, seconds, without } in ROWS.iter() {
        let cell = |second: &Second| format!(" {} / {} |", second.in_use, second.accepted);
        let cells: String = SHOWN.iter().map(|&second| cell(&at(seconds, second))).collect();
        table += &format!("| {server} |{cells}{}\n", cell(without.last().unwrap()));
    }
    let text = read("docs/tuning.md");
    let current = with_marked(&text, "window", &table).unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/tuning.md"), current).unwrap();
    } else {
        assert!(text == current, "docs/tuning.md is not current: UPDATE=1 cargo test --test it window::\n{table}");
    }
}
