//! A node of the fleet: its log records, and the part of Fluent Bit that decides when a chunk is flushed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kinesis::deliver::{Delivery, Deps, Destination, Settings};
use kinesis::kinesis::client::{Operation, Transport};
use kinesis::kinesis::stream::Stream;
use kinesis::kinesis::verdict::{RecordVerdict, Verdict, verdict};
use kinesis::ledger::Ledger;
use kinesis::log::Logger;
use kinesis::metrics::Metrics;
use kinesis::outcome::Outcome;
use kinesis::pack::{Packer, RequestSettings};
use kinesis::record_set::RecordSet;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::service::Line;

/// `scheduler.base` and `scheduler.cap` of Fluent Bit, in seconds.
const RETRY_BASE: u64 = 5;
const RETRY_CAP: u64 = 2000;
/// Fluent Bit flushes once a second.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What is sent again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// This plugin: only the failed records, both within a flush and when Fluent Bit retries the chunk.
    Records,
    /// Other plugins: the whole chunk, when Fluent Bit retries it.
    Chunk,
}

impl fmt::Display for Resend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resend::Records => "records",
            Resend::Chunk => "chunk",
        })
    }
}

/// What all producers share.
pub struct Fleet {
    pub resend: Resend,
    /// How many times the plugin retries failed records within a flush.
    pub retries: usize,
    /// Whether an accepted record in a request resets the backoff.
    pub reset_backoff: bool,
    /// Log records per second and producer.
    pub rate: f64,
    /// A producer with this many chunks reads no more logs until one is delivered.
    pub most_chunks: usize,
    /// The number of records made so far; their numbers are below it.
    pub records: Cell<u64>,
    /// Chunks not yet delivered.
    pub undelivered: Cell<usize>,
}

/// Records with consecutive numbers. The msgpack is made on demand, as thousands may be waiting.
#[derive(Clone, Copy)]
struct Chunk {
    first: u64,
    records: u64,
    attempts: u32,
}

/// Makes and delivers log records until `end`. Never returns; `fleet` notices when everything is delivered.
pub async fn produce(fleet: Rc<Fleet>, line: Line, seed: u64, end: Instant) {
    let mut random = SmallRng::seed_from_u64(seed);
    let output = Rc::new(Output::new(&fleet, line, seed));
    let (queue, mut queued) = mpsc::unbounded_channel();
    let mine = Rc::new(Cell::new(0));

    let input = {
        let (fleet, queue, mine) = (Rc::clone(&fleet), queue.clone(), Rc::clone(&mine));
        let mut waiting = random.random::<f64>();
        let phase = FLUSH_INTERVAL.mul_f64(random.random());
        async move {
            sleep(phase).await;
            while Instant::now() < end {
                sleep(FLUSH_INTERVAL).await;
                if mine.get() >= fleet.most_chunks {
                    continue;
                }
                waiting += fleet.rate;
                let records = waiting as u64;
                waiting -= records as f64;
                if records == 0 {
                    continue;
                }
                let first = fleet.records.replace(fleet.records.get() + records);
                fleet.undelivered.set(fleet.undelivered.get() + 1);
                mine.set(mine.get() + 1);
                if queue.send(Chunk { first, records, attempts: 0 }).is_err() {
                    return;
                }
            }
        }
    };
    spawn_local(input);

    // One worker: `workers 1`, one flush at a time.
    while let Some(mut chunk) = queued.recv().await {
        if output.flush(&msgpack(chunk)).await == Outcome::Delivered {
            fleet.undelivered.set(fleet.undelivered.get() - 1);
            mine.set(mine.get() - 1);
            continue;
        }
        chunk.attempts += 1;
        let pause = retry_pause(chunk.attempts, &mut random);
        let queue = queue.clone();
        spawn_local(async move {
            sleep(pause).await;
            queue.send(chunk)
        });
    }
}

/// How long Fluent Bit waits before it retries a chunk
/// (<https://docs.fluentbit.io/manual/administration/scheduling-and-retries>).
fn retry_pause(attempts: u32, random: &mut SmallRng) -> Duration {
    let bound = RETRY_BASE.saturating_mul(2_u64.saturating_pow(attempts)).min(RETRY_CAP);
    Duration::from_secs(random.random_range(RETRY_BASE..=bound) + 1)
}

/// Events with a 12-digit id and a line of text: records of 76 bytes, with partition keys of 9.
fn msgpack(chunk: Chunk) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in chunk.first..chunk.first + chunk.records {
        bytes.extend_from_slice(b"\x92\xce\x6b\x02\x6c\x03\x82\xa2id\xac");
        bytes.extend_from_slice(format!("{number:012}").as_bytes());
        bytes.extend_from_slice(b"\xa3log\xd9\x29GET /index.html HTTP/1.1 200 1043 0.0123s");
    }
    bytes
}

/// An instance of an output plugin.
enum Output {
    Records(Rc<Delivery<Line>>),
    Chunk { line: Line, stream: Stream, random: RefCell<SmallRng> },
}

impl Output {
    fn new(fleet: &Fleet, line: Line, seed: u64) -> Self {
        let stream = || Stream::parse("logs").expect("a name of a stream");
        let random = SmallRng::seed_from_u64(seed ^ 1);
        match fleet.resend {
            Resend::Chunk => Output::Chunk { line, stream: stream(), random: RefCell::new(random) },
            Resend::Records => {
                let settings =
                    Settings { reset_backoff_on_success: fleet.reset_backoff, ..Settings::plain(256, fleet.retries) };
                let log = Logger::silent();
                let (ledger, metrics) = (Ledger::new(1 << 20), Metrics::default());
                let deps = Deps { transport: line, ledger, dead_letters: None, random, log, metrics };
                let destination = Destination { target: stream().into(), place: String::new() };
                Output::Records(Delivery::new(deps, destination, RequestSettings::default(), settings))
            }
        }
    }

    async fn flush(&self, chunk: &[u8]) -> Outcome {
        match self {
            Output::Records(delivery) => delivery.deliver(chunk, b"app").await,
            Output::Chunk { line, stream, random } => send_whole(chunk, line, stream, random).await,
        }
    }
}

/// Sends all records of a chunk once. If any fails, the chunk must be retried.
async fn send_whole(chunk: &[u8], line: &Line, stream: &Stream, random: &RefCell<SmallRng>) -> Outcome {
    let requests = RequestSettings::default();
    let mut packer = Packer::new(chunk, b"app", stream, &requests, RecordSet::default());
    loop {
        let Some(batch) = packer.next_batch(&mut random.borrow_mut(), &mut |_, _| {}) else {
            return Outcome::Delivered;
        };
        let accepted = match verdict(&line.send(Operation::PutRecords, batch.body()).await, batch.entries().len()) {
            Verdict::Accepted => true,
            Verdict::Answered(records) => records.iter().all(|record| *record == RecordVerdict::Accepted),
            _ => false,
        };
        if !accepted {
            return Outcome::Retry;
        }
    }
}
