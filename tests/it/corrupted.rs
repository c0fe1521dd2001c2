//! A thousand damaged chunks and a thousand damaged replies: delivery continues, ends, and never reports a chunk as
//! delivered if a record was neither stored nor refused.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kinesis::chunk::Events;
use kinesis::deliver::{Delivery, Deps, Destination, Settings};
use kinesis::kinesis::client::{Operation, Transport, TransportError};
use kinesis::kinesis::reply::Response;
use kinesis::kinesis::stream::Stream;
use kinesis::ledger::Ledger;
use kinesis::log::{Level, LogSink, Logger};
use kinesis::metrics::{Metrics, RefusalReason};
use kinesis::outcome::Outcome;
use kinesis::pack::RequestSettings;
use kinesis::record::json;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::task::LocalSet;

const ROUNDS: u64 = 1000;

/// A service that stores what it gets and may damage its replies.
#[derive(Clone)]
struct Service(Rc<State>);

struct State {
    random: RefCell<SmallRng>,
    /// The number of requests whose replies are still to be damaged.
    damaged_replies: Cell<usize>,
    stored: RefCell<HashSet<String>>,
}

impl Transport for Service {
    async fn send(&self, _: Operation, body: Bytes) -> Result<Response, TransportError> {
        let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
        let records = body["Records"].as_array().expect("with records");
        let left = self.0.damaged_replies.get();
        if left == 0 {
            return Ok(self.0.store(records, |_| true));
        }
        self.0.damaged_replies.set(left - 1);
        let honest = self.0.some_reply(records);
        Ok(self.0.damage(honest))
    }

    fn renew(&self, _: tokio::time::Instant, _: Option<SystemTime>) -> bool {
        self.0.random.borrow_mut().random_bool(0.5)
    }
}

impl State {
    fn store(&self, records: &[Value], accept: impl Fn(usize) -> bool) -> Response {
        let mut entries = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if accept(index) {
                let data = record["Data"].as_str().expect("data");
                let text = base64_simd::STANDARD.decode_to_vec(data).expect("base64");
                serde_json::from_slice::<Value>(&text).expect("a record is JSON");
                self.stored.borrow_mut().insert(data.to_owned());
                entries.push(
                    serde_json::json!({"SequenceNumber": "49543463076548007577105092703039560359975228518395012686"}),
                );
            } else {
                entries.push(serde_json::json!({"ErrorCode": "ProvisionedThroughputExceededException"}));
            }
        }
        reply(200, &serde_json::json!({"FailedRecordCount": 0, "Records": entries}).to_string())
    }

    fn some_reply(&self, records: &[Value]) -> Response {
        match self.random.borrow_mut().random_range(0..8) {
            0..3 => self.store(records, |_| true),
            3 => self.store(records, |index| index % 3 == 0),
            4 => reply(400, r#"{"__type":"ProvisionedThroughputExceededException","message":"Rate exceeded"}"#),
            5 => reply(400, r#"{"__type":"ExpiredTokenException","message":"The security token is expired"}"#),
            6 => reply(
                400,
                r#"{"__type":"ValidationException","message":"Value at 'records.2.member.data' failed to satisfy constraint: Member must not be null"}"#,
            ),
            _ => reply(503, "<html><body><h1>503 Service Unavailable</h1></body></html>"),
        }
    }

    fn damage(&self, mut reply: Response) -> Response {
        let random = &mut *self.random.borrow_mut();
        let mut body = reply.body.to_vec();
        damage(&mut body, random);
        reply.body = body.into();
        if random.random_bool(0.2) {
            reply.status = StatusCode::from_u16(random.random_range(100..1000)).expect("a status");
        }
        for name in ["date", "retry-after", "x-amzn-errortype"] {
            if random.random_bool(0.2) {
                let value: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random_range(32..127)).collect();
                reply
                    .headers
                    .insert(HeaderName::from_static(name), HeaderValue::from_bytes(&value).expect("printable"));
            }
        }
        reply
    }
}

fn reply(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    Response::new(status, HeaderMap::new(), body.to_owned())
}

/// Flips bits, and removes, duplicates and overwrites parts, a few times.
fn damage(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        let start = random.random_range(0..bytes.len());
        let end = random.random_range(start..=bytes.len().min(start + 40));
        match random.random_range(0..6) {
            0 => bytes[start] ^= 1 << random.random_range(0..8),
            1 => bytes[start] = random.random(),
            2 => bytes.truncate(start),
            3 => drop(bytes.drain(start..end)),
            4 => bytes.extend_from_within(start..end),
            _ => bytes[start..end].fill(random.random()),
        }
    }
}

struct Silence;

impl LogSink for Silence {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn write(&self, _: Level, _: &str) {}
}

/// Delivers `chunk` until it is not to be retried, at most 20 times. Returns the outcome and what was stored.
async fn deliver(chunk: &[u8], damaged_replies: usize, seed: u64) -> (Outcome, usize, u64) {
    let random = |salt| SmallRng::seed_from_u64(seed ^ salt);
    let service = Service(Rc::new(State {
        random: RefCell::new(random(1)),
        damaged_replies: Cell::new(damaged_replies),
        stored: RefCell::default(),
    }));
    let requests = RequestSettings { max_records: 10, ..RequestSettings::default() };
    let settings = Settings::plain(3, 4);
    let stream = Stream::parse("logs").expect("a stream");
    let log = Logger::new(Arc::new(Silence), |_| {});
    let (transport, ledger, metrics) = (service.clone(), Ledger::new(1 << 20), Metrics::default());
    let deps = Deps { transport, ledger, dead_letters: None, random: random(2), log, metrics };
    let destination = Destination { target: stream.into(), place: String::new() };
    let delivery = Delivery::new(deps, destination, requests, settings);
    let mut outcome = Outcome::Retry;
    for _ in 0..20 {
        outcome = delivery.deliver(chunk, b"app").await;
        if outcome != Outcome::Retry {
            break;
        }
    }
    let stored = service.0.stored.borrow().len();
    (outcome, stored, delivery.metrics().total::<RefusalReason>())
}

fn real_chunks() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chunks");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "msgpack"));
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs all rounds on a separate thread, so that a hang fails instead of never ending.
fn every_round_ends(round: fn(&[Vec<u8>], u64)) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let chunks = real_chunks();
        for seed in 0..ROUNDS {
            round(&chunks, seed);
            sender.send(seed).unwrap();
        }
    });
    for seed in 0..ROUNDS {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(seed), "round {seed} failed or does not end");
    }
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

#[test]
fn of_a_thousand_damaged_chunks_every_event_that_can_be_read_is_stored_and_the_rest_is_refused() {
    every_round_ends(|chunks, seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut chunk = chunks[seed as usize % chunks.len()].clone();
        damage(&mut chunk, &mut random);
        let readable = Events::new(&chunk).flatten().filter_map(|event| {
            let mut data = Vec::new();
            json::write(event.body, &mut data).is_ok().then_some(data)
        });
        let readable: Vec<Vec<u8>> = readable.collect();
        let refused = Events::new(&chunk).count() - readable.len();
        let expected = if readable.is_empty() && refused > 0 { Outcome::Hopeless } else { Outcome::Delivered };
        // Damage may have made events equal.
        let stored = readable.iter().collect::<HashSet<_>>().len();
        assert_eq!(in_virtual_time(deliver(&chunk, 0, seed)), (expected, stored, refused as u64), "seed {seed}");
    });
}

#[test]
fn after_a_thousand_damaged_replies_no_chunk_is_called_delivered_that_is_not() {
    every_round_ends(|chunks, seed| {
        let chunk = &chunks[seed as usize % chunks.len()];
        let records = Events::new(chunk).count();
        // Each chunk meets several damaged replies, possibly over several flushes.
        let (outcome, stored, refused) = in_virtual_time(deliver(chunk, 12, seed));
        assert_eq!(outcome, Outcome::Delivered, "seed {seed}");
        let refused = refused as usize;
        assert!(stored + refused >= records, "seed {seed}: {stored} stored, {refused} refused of {records}");
    });
}
