//! The handoff, with services that misbehave.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::shutdown_watch::{CHECK_INTERVAL, SHUTDOWN_GRACE};
use super::*;
use crate::deliver::tests::service::{self, FakeService, Reply, Request, judged};
use crate::deliver::{Deps, Destination};
use crate::kinesis::stream::Stream;
use crate::ledger::Ledger;
use crate::metrics::{AnyMetric, BOUNDS, Metric, series};

#[derive(Default)]
struct Lines(Mutex<Vec<(String, thread::ThreadId)>>);

impl Lines {
    fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }
}

impl LogSink for Lines {
    fn enabled(&self, level: Level) -> bool {
        level <= Level::Info
    }

    fn write(&self, level: Level, line: &str) {
        self.0.lock().unwrap().push((format!("{level:?} {line}"), thread::current().id()));
    }
}

/// What a request does.
#[derive(Clone, Copy)]
enum Behaviour {
    Accept,
    Panic,
    Hang,
}

struct Fake {
    behaviour: Behaviour,
    sending: Sender<thread::ThreadId>,
}

impl service::Behaviour for Fake {
    async fn put(state: &RefCell<Self>, request: Request) -> Reply {
        let behaviour = {
            let state = state.borrow();
            state.sending.send(thread::current().id()).unwrap();
            state.behaviour
        };
        match behaviour {
            Behaviour::Panic => panic!("injected into a request"),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Accept => judged(request.records.iter().map(|_| Ok("s".to_owned()))),
        }
    }

    fn renew(&mut self) -> bool {
        false
    }
}

fn start(behaviour: Behaviour) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    start_in(behaviour, || false)
}

/// Like [`start`], in a host that is shutting down if `host_stops` says so.
fn start_in(behaviour: Behaviour, host_stops: fn() -> bool) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    start_shown(behaviour, host_stops, None)
}

/// Like [`start_in`], with published metrics.
fn start_shown(
    behaviour: Behaviour,
    host_stops: fn() -> bool,
    exporter: Option<Box<dyn Exporter>>,
) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    let lines = Arc::new(Lines::default());
    let (sending, sent) = channel();
    let plugin =
        Plugin::start_with(lines.clone(), Coroutines::Auto, Arc::new(host_stops), TIMEOUTS, move |log| async move {
            log.write(Level::Info, || "started");
            let config = Config::parse(&|name| (name == "stream").then(|| "logs".to_owned())).unwrap();
            let settings = crate::deliver::Settings { retries: 0, ..config.delivery };
            let stream = Stream::parse("logs").unwrap();
            let (random, metrics) = (SmallRng::seed_from_u64(1), Metrics::new(exporter));
            let transport = FakeService::new(Fake { behaviour, sending });
            let deps = Deps { transport, ledger: Ledger::new(1 << 20), dead_letters: None, random, log, metrics };
            let destination = Destination { target: stream.into(), place: String::new() };
            Ok(Delivery::new(deps, destination, config.requests, settings))
        });
    (plugin.unwrap(), lines, sent)
}

const CHUNK: &[u8] = b"\x92\x01\x81\xa1k\x01";

#[test]
fn a_flush_is_delivered_on_the_delivery_thread_and_logged_on_the_callers() {
    let (plugin, lines, sent) = start(Behaviour::Accept);
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Delivered);
    assert_eq!(plugin.flush(b"\xc1", b"app"), Outcome::Hopeless);
    assert_ne!(sent.recv().unwrap(), thread::current().id());
    let written = lines.0.lock().unwrap();
    assert_eq!(written.len(), 3, "{written:?}");
    assert!(written[1].0.contains("set workers to 1 or more"), "once, though there were two flushes: {written:?}");
    assert!(written.iter().all(|(_, thread)| *thread == thread::current().id()), "{written:?}");
}

#[test]
fn several_threads_flush_concurrently() {
    let (plugin, _lines, _sent) = start(Behaviour::Accept);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Delivered)));
        }
    });
    plugin.stop();
}

#[test]
fn a_panic_while_sending_is_a_retry_with_its_message_in_the_log() {
    let (plugin, lines, _sent) = start(Behaviour::Panic);
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry);
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry, "the delivery thread lives on");
    let texts = lines.texts();
    assert!(texts[2].contains("injected into a request"), "{texts:?}");
}

struct Shown(Sender<(usize, u64)>);

impl Exporter for Shown {
    fn set(&self, series: usize, value: u64) {
        self.0.send((series, value)).ok();
    }

    fn set_histogram(&self, _: usize, _: &[u64; BOUNDS.len() + 1], _: f64) {}
}

#[test]
fn a_request_that_hangs_is_shown_in_flight() {
    let (show, shown) = channel();
    let (plugin, _lines, _sent) = start_shown(Behaviour::Hang, || false, Some(Box::new(Shown(show))));
    let in_flight = series().position(|(family, _)| family.metric == AnyMetric::One(Metric::RequestsInFlight)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry));
        let within = Duration::from_secs(20);
        let is_shown = std::iter::from_fn(|| shown.recv_timeout(within).ok()).any(|shown| shown == (in_flight, 1));
        plugin.stop();
        assert!(is_shown);
    });
}

/// Tells which thread publishes: the delivery thread.
struct Publisher(Sender<PathBuf>);

impl Exporter for Publisher {
    fn set(&self, _: usize, _: u64) {
        self.0.send(Path::new("/proc").join(fs::read_link("/proc/thread-self").unwrap())).ok();
    }

    fn set_histogram(&self, _: usize, _: &[u64; BOUNDS.len() + 1], _: f64) {}
}

/// Each wake of an idle processor costs power and time, on every node.
#[test]
fn nothing_wakes_the_delivery_thread_between_flushes() {
    let (tell, told) = channel();
    let (plugin, _lines, _sent) = start_shown(Behaviour::Accept, || false, Some(Box::new(Publisher(tell))));
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Delivered);
    let status = told.recv().unwrap().join("status");
    let waits = || {
        let status = fs::read_to_string(&status).unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
    };
    let mut before = String::new();
    while before != waits() {
        before = waits();
        thread::sleep(CHECK_INTERVAL / 3);
    }
    thread::sleep(CHECK_INTERVAL * 2);
    assert_eq!(waits(), before);
    plugin.stop();
}

#[test]
fn a_panic_while_starting_is_an_error() {
    async fn open(_: Logger) -> Result<Rc<Delivery<FakeService<Fake>>>, ConfigError> {
        panic!("injected into the start")
    }
    let error = Plugin::start_with(Arc::new(Lines::default()), Coroutines::Auto, Arc::new(|| false), TIMEOUTS, open)
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "plugin: cannot start: the delivery thread ended");
}

#[test]
fn stopping_answers_what_is_in_flight_with_retry_and_leaves_no_thread() {
    let (plugin, _, sent) = start(Behaviour::Hang);
    thread::scope(|scope| {
        let flush = scope.spawn(|| plugin.flush(CHUNK, b"app"));
        sent.recv().unwrap();
        plugin.stop();
        assert_eq!(flush.join().unwrap(), Outcome::Retry);
    });
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry, "a flush after the end");
    plugin.stop();
}

#[test]
fn missing_credentials_and_a_closed_port_do_not_stop_the_start() {
    let lines = Arc::new(Lines::default());
    let options = [
        ("stream", "logs"),
        ("region", "us-east-1"),
        ("endpoint", "http://127.0.0.1:1"),
        ("profile", "no such profile"),
    ];
    let property = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let plugin = Plugin::start(&property, lines.clone(), &|_| None, Arc::new(|| false)).unwrap();
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry);
    plugin.stop();
    let texts = lines.texts();
    assert!(texts[0].starts_with("Info version "), "{texts:?}");
    let options = "stream 'logs', region 'us-east-1', endpoint 'http://127.0.0.1:1', profile 'no such profile'";
    assert_eq!(texts[1], format!("Info options: {options}; defaults for all others"));
    assert!(texts[2].starts_with("Warn no credentials: profile 'no such profile': "), "{texts:?}");
    assert!(texts[4].contains("Fluent Bit keeps the records and will retry"), "{texts:?}");
}

#[test]
fn a_host_that_is_shutting_down_is_not_held_up_by_an_unreachable_kinesis() {
    static STOPS: AtomicBool = AtomicBool::new(false);
    let (plugin, lines, sent) = start_in(Behaviour::Hang, || STOPS.load(Ordering::Relaxed));
    let began = thread::scope(|scope| {
        let flush = scope.spawn(|| plugin.flush(CHUNK, b"app"));
        // The host begins to shut down during the flush.
        sent.recv().unwrap();
        STOPS.store(true, Ordering::Relaxed);
        let began = std::time::Instant::now();
        assert_eq!(flush.join().unwrap(), Outcome::Retry);
        began
    });
    let first = began.elapsed();
    assert!(first >= SHUTDOWN_GRACE && first < 2 * SHUTDOWN_GRACE, "{first:?}");
    // The host's queue.
    (0..100).for_each(|_| assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry));
    assert!(began.elapsed() - first < Duration::from_secs(1));
    let count = lines.texts().iter().filter(|line| line.contains("is shutting down")).count();
    assert_eq!(count, 1, "{:?}", lines.texts());
}

#[test]
fn a_host_that_is_shutting_down_still_delivers() {
    let (plugin, _lines, _sent) = start_in(Behaviour::Accept, || true);
    let began = std::time::Instant::now();
    while began.elapsed() < SHUTDOWN_GRACE + CHECK_INTERVAL + CHECK_INTERVAL {
        assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Delivered);
        thread::sleep(Duration::from_millis(100));
    }
}

/// What is stuck stays so, however long one waits. What is not may need longer to start on a slow machine.
const SHORT: Duration = Duration::from_millis(300);

/// A service that blocks the delivery thread until released, like a file on a dead mount.
struct Stuck {
    sending: Sender<()>,
    released: Receiver<()>,
}

impl service::Behaviour for Stuck {
    async fn put(state: &RefCell<Self>, _: Request) -> Reply {
        state.borrow().sending.send(()).ok();
        state.borrow().released.recv().ok();
        std::future::pending().await
    }

    fn renew(&mut self) -> bool {
        false
    }
}

fn start_stuck(host_stops: fn() -> bool) -> (Plugin, Arc<Lines>, Receiver<()>, Sender<()>) {
    let lines = Arc::new(Lines::default());
    let ((sending, sent), (release, released)) = (channel(), channel());
    let stuck = Stuck { sending, released };
    let timeouts = Timeouts { flush: SHORT, stop: SHORT, ..TIMEOUTS };
    let plugin =
        Plugin::start_with(lines.clone(), Coroutines::Auto, Arc::new(host_stops), timeouts, move |log| async move {
            let config = Config::parse(&|name| (name == "stream").then(|| "logs".to_owned())).unwrap();
            let stream = Stream::parse("logs").unwrap();
            let ledger = Ledger::new(1 << 20);
            let (random, metrics) = (SmallRng::seed_from_u64(1), Metrics::new(None));
            let deps = Deps { transport: FakeService::new(stuck), ledger, dead_letters: None, random, log, metrics };
            let destination = Destination { target: stream.into(), place: String::new() };
            Ok(Delivery::new(deps, destination, config.requests, config.delivery))
        });
    (plugin.unwrap(), lines, sent, release)
}

#[test]
fn a_stuck_delivery_thread_holds_up_neither_flush_nor_stop_and_is_left_behind() {
    static STOPS: AtomicBool = AtomicBool::new(false);
    let (plugin, lines, sent, release) = start_stuck(|| STOPS.load(Ordering::Relaxed));
    thread::scope(|scope| {
        let flush = scope.spawn(|| plugin.flush(CHUNK, b"app"));
        sent.recv().unwrap();
        STOPS.store(true, Ordering::Relaxed);
        assert_eq!(flush.join().unwrap(), Outcome::Retry, "given up though the thread has the chunk");
    });
    plugin.stop();
    let texts = lines.texts();
    assert!(texts.last().unwrap().contains("the delivery thread is stuck in a file"), "{texts:?}");
    release.send(()).unwrap();
}

#[test]
fn a_stop_answers_flushes_of_a_stuck_delivery_thread() {
    let (plugin, _lines, sent, release) = start_stuck(|| false);
    thread::scope(|scope| {
        let flush = scope.spawn(|| plugin.flush(CHUNK, b"app"));
        sent.recv().unwrap();
        plugin.stop();
        assert_eq!(flush.join().unwrap(), Outcome::Retry);
    });
    release.send(()).unwrap();
}

#[test]
fn a_start_that_is_stuck_is_an_error() {
    let (release, released) = channel::<()>();
    let open = move |_: Logger| async move {
        released.recv().ok();
        std::future::pending::<Result<Rc<Delivery<FakeService<Fake>>>, ConfigError>>().await
    };
    let timeouts = Timeouts { start: SHORT, ..TIMEOUTS };
    let error = Plugin::start_with(Arc::new(Lines::default()), Coroutines::Auto, Arc::new(|| false), timeouts, open);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("a file or a library has not responded"), "{error}");
    drop(release);
}
