//! Thousands of random fault schedules in virtual time, each checked for the promise: nothing lost, nothing twice.
//!
//! A simulated Kinesis throttles, fails, drops connections before and after storing the records, and sends garbage.
//! For a while a proxy refuses every request, and some records are permanently at fault. A simulated Fluent Bit
//! flushes several chunks concurrently, retries on "retry", and restarts. A failing schedule prints the command that
//! repeats it.

use std::cell::Cell;
use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use tokio::task::{JoinSet, LocalSet};

use super::scripted::{delivery, settings};
use super::service::{Behaviour, FakeService, Reply, Request, judged, refusal, reply};
use crate::deliver::*;
use crate::kinesis::client::TransportError;
use crate::kinesis::kpl;
use crate::log::tests::TestLog;
use crate::pack::Aggregation;

/// The faults of one schedule.
struct FaultRates {
    throttled_record: f64,
    failed_record: f64,
    throttled_call: f64,
    server_error: f64,
    reset_before: f64,
    reset_after: f64,
    mismatch: f64,
    expired: f64,
    /// When every request is refused (from, until), and with which status.
    outage: Option<(Duration, Duration, u16)>,
    /// One in this many records is refused permanently.
    at_fault: Option<u32>,
}

impl FaultRates {
    fn draw(random: &mut SmallRng) -> Self {
        // Each fault is absent from half of the schedules, so that faults occur both alone and combined.
        let outage = random.random_bool(0.3).then(|| {
            let start = random.random_range(0..20_000);
            let end = start + random.random_range(0..20_000);
            let status = if random.random_bool(0.5) { 413 } else { 400 };
            (Duration::from_millis(start), Duration::from_millis(end), status)
        });
        let at_fault = random.random_bool(0.3).then(|| random.random_range(2..20));
        let mut chance = |most: f64| if random.random_bool(0.5) { 0.0 } else { random.random_range(0.0..most) };
        FaultRates {
            throttled_record: chance(0.7),
            failed_record: chance(0.2),
            throttled_call: chance(0.3),
            server_error: chance(0.3),
            reset_before: chance(0.2),
            reset_after: chance(0.2),
            mismatch: chance(0.1),
            expired: chance(0.1),
            outage,
            at_fault,
        }
    }
}

struct Kinesis {
    random: SmallRng,
    rates: FaultRates,
    stored: HashMap<String, u32>,
    /// How many times each record was stored without the plugin getting the reply.
    unconfirmed: HashMap<String, u32>,
}

impl Behaviour for Kinesis {
    async fn put(state: &RefCell<Self>, Request { at, records, .. }: Request) -> Reply {
        let latency = Duration::from_millis(state.borrow_mut().random.random_range(0..400));
        tokio::time::sleep(latency).await;
        let records: Vec<_> = records.iter().map(|record| user_records(&record.data, &record.key)).collect();
        state.borrow_mut().put(at + latency, &records)
    }

    fn renew(&mut self) -> bool {
        self.random.random_bool(0.7)
    }
}

/// What a consumer finds in a Kinesis record. It drops an aggregate whose records have keys other than the one it was
/// sent under, as they may belong to another shard.
fn user_records(data: &[u8], key: &str) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    if !data.starts_with(&kpl::MAGIC) {
        return text(data).lines().map(str::to_owned).collect();
    }
    let inside = kpl::tests::user_records(data);
    let is_dropped = inside.iter().any(|(inner, _, _)| inner != key);
    if is_dropped { Vec::new() } else { inside.into_iter().map(|(_, _, data)| text(&data)).collect() }
}

impl Kinesis {
    fn put(&mut self, now: Duration, records: &[Vec<String>]) -> Reply {
        let rates = &self.rates;
        let unreadable = |status| refusal(status, "SerializationException", "m");
        if let Some((start, end, status)) = rates.outage
            && (start..end).contains(&now)
        {
            return unreadable(status);
        }
        if records.iter().flatten().any(|record| is_at_fault(record, rates)) {
            return unreadable(400);
        }
        let faults = [
            rates.throttled_call,
            rates.server_error,
            rates.reset_before,
            rates.reset_after,
            rates.mismatch,
            rates.expired,
        ];
        let fault = faults.iter().position(|&chance| self.random.random_bool(chance));
        let store = |kinesis: &mut Self, confirmed: bool| {
            for record in records.iter().flatten() {
                *kinesis.stored.entry(record.clone()).or_default() += 1;
                *kinesis.unconfirmed.entry(record.clone()).or_default() += u32::from(!confirmed);
            }
        };
        match fault {
            Some(0) => refusal(400, "ThrottlingException", "m"),
            Some(1) => reply(500, ""),
            Some(2) => Err(TransportError::Ambiguous("reset before the records were read".to_owned())),
            Some(3) => {
                store(self, false);
                Err(TransportError::Ambiguous("reset after the records were stored".to_owned()))
            }
            Some(4) => {
                store(self, false);
                judged([])
            }
            Some(_) => refusal(400, "ExpiredTokenException", "m"),
            None => judged(records.iter().map(|record| self.judge(record))),
        }
    }

    fn judge(&mut self, record: &[String]) -> Result<String, &'static str> {
        if self.random.random_bool(self.rates.throttled_record) {
            return Err("ProvisionedThroughputExceededException");
        }
        if self.random.random_bool(self.rates.failed_record) {
            return Err("InternalFailure");
        }
        for record in record {
            *self.stored.entry(record.clone()).or_default() += 1;
        }
        Ok("s".to_owned())
    }
}

/// Whether Kinesis never accepts the record `{"id":number}`.
fn is_at_fault(record: &str, rates: &FaultRates) -> bool {
    let id = record.trim_start_matches("{\"id\":").trim_end_matches('}').parse::<u32>().unwrap();
    rates.at_fault.is_some_and(|every| id.is_multiple_of(every))
}

/// A chunk in Fluent Bit: bytes, tag, and whether it was answered OK.
struct Chunk {
    tag: &'static [u8],
    bytes: Vec<u8>,
    records: Vec<String>,
    delivered: Cell<bool>,
}

fn chunks(random: &mut SmallRng) -> Vec<Rc<Chunk>> {
    let mut next_id = 1_u32;
    let mut next = || {
        let ids: Vec<u32> = (next_id..).take(random.random_range(1..25)).collect();
        next_id += ids.len() as u32;
        Rc::new(chunk(if random.random_bool(0.5) { b"app" } else { b"web" }, &ids))
    };
    (0..6).map(|_| next()).collect()
}

fn chunk(tag: &'static [u8], ids: &[u32]) -> Chunk {
    let mut bytes = Vec::new();
    for &id in ids {
        let body = rmpv::Value::Map(vec![("id".into(), id.into())]);
        rmpv::encode::write_value(&mut bytes, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
    }
    let records = ids.iter().map(|id| format!(r#"{{"id":{id}}}"#)).collect();
    Chunk { tag, bytes, records, delivered: Cell::new(false) }
}

/// Not divisible by any number up to 20.
const NEVER_AT_FAULT: u32 = 232_792_561;

/// `None` in a third of the lives, so that a chunk may be retried with another aggregation than before.
fn aggregation(random: &mut SmallRng) -> Option<Aggregation> {
    match random.random_range(0..3) {
        0 => None,
        1 => Some(Aggregation::Lines),
        _ => {
            let (max_bytes, max_records) = (random.random_range(64..300), random.random_range(1..20));
            Some(Aggregation::Kpl { max_bytes, max_records, by_shard: false })
        }
    }
}

/// Far more than the worst schedule needs.
const MOST_LIVES: usize = 300;

const LEDGER_BYTES: usize = 64 << 10;

/// Runs one schedule. The error is the broken promise.
async fn play(seed: u64, file: &std::path::Path) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let rates = FaultRates::draw(&mut random);
    let chunks = chunks(&mut random);
    let kinesis = Kinesis {
        random: SmallRng::seed_from_u64(seed ^ 1),
        rates,
        stored: HashMap::new(),
        unconfirmed: HashMap::new(),
    };
    let kinesis = FakeService::new(kinesis);

    let mut lives = 0;
    while chunks.iter().any(|chunk| !chunk.delivered.get()) {
        lives += 1;
        if lives > MOST_LIVES {
            return Err("chunks are retried forever".to_owned());
        }
        let log = TestLog::default();
        let ledger = Ledger::open(LEDGER_BYTES, file.to_owned(), "logs".to_owned(), seed, log.logger())
            .map_err(|error| error.to_string())?;
        let settings = Settings {
            concurrency: random.random_range(1..5),
            retries: random.random_range(0..5),
            immediate_retry: random.random_bool(0.5),
            ..settings()
        };
        let mut requests = RequestSettings {
            max_records: random.random_range(1..12),
            aggregation: aggregation(&mut random),
            ..RequestSettings::default()
        };
        if requests.aggregation == Some(Aggregation::Lines) {
            requests.record.newline = true;
            requests.record.max_bytes = random.random_range(50..200);
        }
        let delivery = delivery(kinesis.clone(), requests, settings, ledger, seed ^ 2, &log);
        let life = Duration::from_millis(random.random_range(100..30_000));
        LocalSet::new().run_until(live(&delivery, &chunks, &kinesis, life, &mut random)).await?;
        delivery.ledger().save().map_err(|error| error.to_string())?;
    }
    let kinesis = kinesis.state.borrow();
    for record in chunks.iter().flat_map(|chunk| &chunk.records) {
        let stored = kinesis.stored.get(record).copied().unwrap_or_default();
        let unconfirmed = kinesis.unconfirmed.get(record).copied().unwrap_or_default();
        let wanted = u32::from(!is_at_fault(record, &kinesis.rates));
        if stored < wanted || stored > wanted + unconfirmed {
            return Err(format!("record {record} is stored {stored} times, {unconfirmed} of them unconfirmed"));
        }
    }
    Ok(())
}

/// One life of the plugin: two workers flush and retry until everything is delivered or the host shuts down.
async fn live(
    delivery: &Rc<Delivery<FakeService<Kinesis>>>,
    chunks: &[Rc<Chunk>],
    kinesis: &FakeService<Kinesis>,
    life: Duration,
    random: &mut SmallRng,
) -> Result<(), String> {
    let end = Instant::now() + life;
    let mut workers = JoinSet::new();
    for worker in 0..2 {
        let (delivery, kinesis) = (Rc::clone(delivery), kinesis.clone());
        let mine: Vec<Rc<Chunk>> = chunks.iter().skip(worker).step_by(2).cloned().collect();
        let mut random = SmallRng::seed_from_u64(random.random());
        // To prove records at fault, others must be accepted after them.
        let other = chunk(b"app", &[NEVER_AT_FAULT]);
        workers.spawn_local(async move {
            while Instant::now() < end && mine.iter().any(|chunk| !chunk.delivered.get()) {
                for chunk in mine.iter().filter(|chunk| !chunk.delivered.get()) {
                    flush(&delivery, chunk, &kinesis).await?;
                }
                flush(&delivery, &other, &kinesis).await?;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
            }
            Ok::<(), String>(())
        });
    }
    let leave = async {
        tokio::time::sleep_until(end).await;
        delivery.shut_down(Instant::now() + Duration::from_secs(2));
        std::future::pending::<()>().await;
    };
    let all = async {
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(())
    };
    tokio::select! { result = all => result, () = leave => Ok(()) }
}

async fn flush(
    delivery: &Rc<Delivery<FakeService<Kinesis>>>,
    chunk: &Chunk,
    kinesis: &FakeService<Kinesis>,
) -> Result<(), String> {
    let outcome = delivery.deliver(&chunk.bytes, chunk.tag).await;
    if delivery.ledger().bytes() > LEDGER_BYTES {
        return Err("the ledger is larger than its bound".to_owned());
    }
    match outcome {
        Outcome::Retry => return Ok(()),
        Outcome::Delivered | Outcome::Hopeless => chunk.delivered.set(true),
    }
    let kinesis = kinesis.state.borrow();
    let is_lost = |record: &&String| !kinesis.stored.contains_key(*record) && !is_at_fault(record, &kinesis.rates);
    match chunk.records.iter().find(is_lost) {
        _ if outcome == Outcome::Hopeless
            && chunk.records.iter().any(|record| !is_at_fault(record, &kinesis.rates)) =>
        {
            Err("hopeless".to_owned())
        }
        Some(record) => Err(format!("answered OK without record {record}")),
        None => Ok(()),
    }
}

/// `SCHEDULES` sets their number (2000); `SEED` runs a single one.
#[test]
fn in_every_schedule_nothing_is_lost_and_nothing_is_stored_twice_unless_ambiguous() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCHEDULES").unwrap_or(2000),
    };
    let directory = tempfile::tempdir().unwrap();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let file = directory.path().join(seed.to_string());
        let played = runtime.block_on(play(seed, &file));
        if let Err(broken) = played {
            panic!("{broken}; repeat it with: SEED={seed} cargo test --lib in_every_schedule");
        }
    }
}
