//! The hand-over, over transports that misbehave.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::config;
use crate::config::Stream;
use crate::kinesis::client::{Operation, TransportError};
use crate::kinesis::reply::Response;
use crate::metrics::{BOUNDS, series};

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

impl Transport for Fake {
    async fn send(&self, _: Operation, body: Bytes) -> Result<Response, TransportError> {
        self.sending.send(thread::current().id()).unwrap();
        match self.behaviour {
            Behaviour::Panic => panic!("injected into a request"),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Accept => {
                let count = body.windows(6).filter(|window| window == b"\"Data\"").count();
                let entries = vec![r#"{"SequenceNumber":"1"}"#; count].join(",");
                let body = format!(r#"{{"Records":[{entries}]}}"#).into();
                Ok(Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
            }
        }
    }

    fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
        false
    }
}

fn start(behaviour: Behaviour) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    start_in(behaviour, || false)
}

/// As [`start`], in a host that was told to end when `host_stops` says so.
fn start_in(behaviour: Behaviour, host_stops: fn() -> bool) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    start_shown(behaviour, host_stops, None)
}

/// As [`start_in`], with metrics that are shown.
fn start_shown(
    behaviour: Behaviour,
    host_stops: fn() -> bool,
    exporter: Option<Box<dyn Exporter>>,
) -> (Plugin, Arc<Lines>, Receiver<thread::ThreadId>) {
    let lines = Arc::new(Lines::default());
    let (sending, sent) = channel();
    let plugin = Plugin::start_with(lines.clone(), host_stops, move |log| async move {
        log.write(Level::Info, || "started");
        let config = Config::parse(&|name| (name == "stream").then(|| "logs".to_owned())).unwrap();
        let settings = config::Delivery { retries: 0, ..config.delivery };
        let stream = Stream::parse("logs").unwrap();
        let fake = Fake { behaviour, sending };
        Ok(Delivery::new(
            fake,
            stream,
            "stream logs".to_owned(),
            config.requests,
            settings,
            Ledger::new(1 << 20),
            SmallRng::seed_from_u64(1),
            log,
            Metrics::new(exporter),
        ))
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
fn several_threads_flush_at_once() {
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

struct Told(Sender<(usize, u64)>);

impl Exporter for Told {
    fn set(&self, series: usize, value: u64) {
        self.0.send((series, value)).ok();
    }

    fn set_histogram(&self, _: usize, _: &[u64; BOUNDS.len() + 1], _: f64) {}
}

#[test]
fn a_request_that_hangs_is_shown_in_flight() {
    let (tell, told) = channel();
    let (plugin, _lines, _sent) = start_shown(Behaviour::Hang, || false, Some(Box::new(Told(tell))));
    let in_flight = series().position(|(family, _)| family.metric == Metric::RequestsInFlight).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry));
        let within = Duration::from_secs(20);
        let is_shown = std::iter::from_fn(|| told.recv_timeout(within).ok()).any(|shown| shown == (in_flight, 1));
        plugin.stop();
        assert!(is_shown);
    });
}

#[test]
fn a_panic_while_starting_is_an_error() {
    async fn open(_: Logger) -> Result<Rc<Delivery<Fake>>, ConfigError> {
        panic!("injected into the start")
    }
    let error = Plugin::start_with(Arc::new(Lines::default()), || false, open).err().unwrap();
    assert_eq!(error.to_string(), "plugin: it cannot start: the delivery thread ended");
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
fn lines_that_nobody_waited_for_are_written_later_and_bounded() {
    let router = Rc::new(LineRouter::default());
    let line = |number: usize| Line { level: Level::Info, text: number.to_string().into() };
    (0..MAX_WAITING_LINES + 50).for_each(|number| router.route(line(number)));
    let mut written = Vec::new();
    lend(
        CHUNK,
        b"app",
        |loan| {
            let listening = router.listen(loan.teller());
            router.route(line(9999));
            drop(listening);
            router.route(line(10_000));
        },
        |line| written.push(line.text.into_owned()),
    );
    assert_eq!(written.len(), MAX_WAITING_LINES + 1);
    assert_eq!((written[0].as_str(), written.last().unwrap().as_str()), ("50", "9999"));
    assert_eq!(router.take(), [line(10_000)]);
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
    let plugin = Plugin::start(&property, lines.clone(), &|_| None).unwrap();
    assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry);
    plugin.stop();
    let texts = lines.texts();
    assert!(texts[0].starts_with("Info version "), "{texts:?}");
    let options = "stream 'logs', region 'us-east-1', endpoint 'http://127.0.0.1:1', profile 'no such profile'";
    assert_eq!(texts[1], format!("Info options: {options}; all others as by default"));
    assert!(texts[2].starts_with("Warn no credentials: profile 'no such profile': "), "{texts:?}");
    assert!(texts[4].contains("Fluent Bit keeps them and will retry"), "{texts:?}");
}

#[test]
fn a_host_that_was_told_to_end_is_not_held_up_by_a_kinesis_that_is_away() {
    static STOPS: AtomicBool = AtomicBool::new(false);
    let (plugin, lines, sent) = start_in(Behaviour::Hang, || STOPS.load(Ordering::Relaxed));
    let began = thread::scope(|scope| {
        let flush = scope.spawn(|| plugin.flush(CHUNK, b"app"));
        // The host is told while the flush is under way.
        sent.recv().unwrap();
        STOPS.store(true, Ordering::Relaxed);
        let began = std::time::Instant::now();
        assert_eq!(flush.join().unwrap(), Outcome::Retry);
        began
    });
    let first = began.elapsed();
    assert!(first >= LEAVING_PATIENCE && first < 2 * LEAVING_PATIENCE, "{first:?}");
    // What the host has in its queue.
    (0..100).for_each(|_| assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Retry));
    assert!(began.elapsed() - first < Duration::from_secs(1));
    let told = lines.texts().iter().filter(|line| line.contains("about to end")).count();
    assert_eq!(told, 1, "{:?}", lines.texts());
}

#[test]
fn a_host_that_was_told_to_end_still_delivers() {
    let (plugin, _lines, _sent) = start_in(Behaviour::Accept, || true);
    let began = std::time::Instant::now();
    while began.elapsed() < LEAVING_PATIENCE + CHECK_INTERVAL + CHECK_INTERVAL {
        assert_eq!(plugin.flush(CHUNK, b"app"), Outcome::Delivered);
        thread::sleep(Duration::from_millis(100));
    }
}
