//! A Kinesis stream in virtual time: shards with token buckets that throttle single records, and outages.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use base64_simd::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use kinesis::kinesis::client::{Operation, Transport, TransportError};
use kinesis::kinesis::reply::Response;
use md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

/// Bytes per second that a shard takes (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>,
/// read 2026-11).
const SHARD_BYTES: f64 = 1_048_576.0;
/// How long records of a newly split shard fail.
const SPLIT: Duration = Duration::from_secs(1);

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Calls that reached the service, or should have.
    pub requests: u64,
    /// Records in them.
    pub sent: u64,
    /// Records stored for the first time.
    pub stored: u64,
    /// Records stored again.
    pub duplicates: u64,
}

/// One stream.
pub struct Service {
    start: Instant,
    shards: RefCell<Vec<Shard>>,
    /// When no call gets through.
    outage: Cell<Option<Range<Duration>>>,
    random: RefCell<SmallRng>,
    seconds: RefCell<Vec<Second>>,
    /// How many times each record is stored, by its number.
    stored: RefCell<Vec<u8>>,
}

struct Shard {
    /// The last hash key of its range.
    last_hash: u128,
    records: Bucket,
    bytes: Bucket,
    splitting_until: Option<Instant>,
}

/// A token bucket that refills evenly and holds one second's worth.
struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: f64) -> Self {
        Bucket { per_second, tokens: per_second, at: Instant::now() }
    }

    fn fill(&mut self) -> f64 {
        let now = Instant::now();
        let came = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + came).min(self.per_second);
        self.at = now;
        self.tokens
    }
}

impl Shard {
    fn new(last_hash: u128, records_per_second: f64) -> Self {
        let (records, bytes) = (Bucket::new(records_per_second), Bucket::new(SHARD_BYTES));
        Shard { last_hash, records, bytes, splitting_until: None }
    }

    fn answer(&mut self, bytes: f64) -> Answer {
        if self.splitting_until.is_some_and(|end| Instant::now() < end) {
            return Answer::Failed;
        }
        if self.records.fill() < 1.0 || self.bytes.fill() < bytes {
            return Answer::Throttled;
        }
        self.records.tokens -= 1.0;
        self.bytes.tokens -= bytes;
        Answer::Stored
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Stored,
    Throttled,
    Failed,
}

impl Answer {
    fn json(self) -> &'static str {
        match self {
            Answer::Stored => r#"{"SequenceNumber":"49543463076548007577105092703039560359975228518395012686"}"#,
            Answer::Throttled => {
                r#"{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard"}"#
            }
            Answer::Failed => r#"{"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."}"#,
        }
    }
}

impl Service {
    /// A stream of `shards` equal shards that take `records_per_second` each.
    pub fn new(shards: u32, records_per_second: f64, seed: u64) -> Rc<Self> {
        let width = u128::MAX / u128::from(shards);
        let last = |shard| if shard + 1 == shards { u128::MAX } else { width * u128::from(shard + 1) };
        Rc::new(Service {
            start: Instant::now(),
            shards: RefCell::new((0..shards).map(|shard| Shard::new(last(shard), records_per_second)).collect()),
            outage: Cell::new(None),
            random: RefCell::new(SmallRng::seed_from_u64(seed)),
            seconds: RefCell::default(),
            stored: RefCell::default(),
        })
    }

    /// Lets other producers use this fraction of the first shard.
    pub fn take_from_first_shard(&self, share: f64) {
        for shard in self.shards.borrow_mut().iter_mut().take(1) {
            shard.records = Bucket::new(shard.records.per_second * (1.0 - share));
            shard.bytes = Bucket::new(shard.bytes.per_second * (1.0 - share));
        }
    }

    /// Blocks all calls between these times: half of the producers get their connection refused, the others a 503.
    pub fn fail_between(&self, times: Range<Duration>) {
        self.outage.set(Some(times));
    }

    /// Splits the shard at `index` in half. Its records fail for a second.
    pub fn split(&self, index: usize) {
        let mut shards = self.shards.borrow_mut();
        let first_hash = index.checked_sub(1).map_or(0, |before| shards[before].last_hash + 1);
        let shard = &mut shards[index];
        let until = Some(Instant::now() + SPLIT);
        shard.splitting_until = until;
        let middle = first_hash + (shard.last_hash - first_hash) / 2;
        let half = Shard { splitting_until: until, ..Shard::new(middle, shard.records.per_second) };
        shards.insert(index, half);
    }

    /// The stream's capacity in records per second.
    pub fn capacity(&self) -> f64 {
        self.shards.borrow().iter().map(|shard| shard.records.per_second).sum()
    }

    /// What happened in each second since the start.
    pub fn seconds(&self) -> Vec<Second> {
        self.seconds.borrow().clone()
    }

    /// How many of the first `records` are not stored.
    pub fn missing(&self, records: u64) -> u64 {
        let stored = self.stored.borrow();
        (0..records).filter(|&record| stored.get(record as usize).is_none_or(|&times| times == 0)).count() as u64
    }

    fn count(&self, change: impl FnOnce(&mut Second)) {
        let mut seconds = self.seconds.borrow_mut();
        let second = self.start.elapsed().as_secs() as usize;
        if seconds.len() <= second {
            seconds.resize(second + 1, Second::default());
        }
        change(&mut seconds[second]);
    }

    fn put(&self, producer: usize, body: &[u8]) -> Result<Response, TransportError> {
        let records = records(body);
        self.count(|second| {
            second.requests += 1;
            second.sent += records.len() as u64;
        });
        let outage = self.outage.take();
        self.outage.set(outage.clone());
        if outage.is_some_and(|times| times.contains(&self.start.elapsed())) {
            return match producer % 2 {
                0 => Err(TransportError::Connect("connection refused".to_owned())),
                _ => Ok(reply(StatusCode::SERVICE_UNAVAILABLE, String::new())),
            };
        }
        let mut entries = String::with_capacity(100 * records.len());
        for (id, key, bytes) in records {
            let answer = self.shard_answers(key, bytes);
            if answer == Answer::Stored {
                self.store(id);
            }
            entries.push_str(if entries.is_empty() { "" } else { "," });
            entries.push_str(answer.json());
        }
        Ok(reply(StatusCode::OK, format!(r#"{{"FailedRecordCount":0,"Records":[{entries}]}}"#)))
    }

    fn shard_answers(&self, key: &[u8], bytes: f64) -> Answer {
        let hash = u128::from_be_bytes(Md5::digest(key).into());
        let mut shards = self.shards.borrow_mut();
        let index = shards.partition_point(|shard| shard.last_hash < hash);
        shards[index].answer(bytes)
    }

    fn store(&self, record: usize) {
        let mut stored = self.stored.borrow_mut();
        if stored.len() <= record {
            stored.resize(record + 1, 0);
        }
        stored[record] = stored[record].saturating_add(1);
        let again = stored[record] > 1;
        self.count(|second| if again { second.duplicates += 1 } else { second.stored += 1 });
    }
}

/// Number, partition key and bytes of each record in a request. Relies on the plugin's exact output; parsing JSON
/// properly would take most of the simulation's time.
fn records(body: &[u8]) -> Vec<(usize, &[u8], f64)> {
    let mut records = Vec::new();
    let mut strings = body.split(|&byte| byte == b'"');
    while let Some(string) = strings.next() {
        if string == b"Data" {
            let data = strings.nth(1).unwrap_or_default();
            let key = strings.nth(3).unwrap_or_default();
            records.push((number(data), key, (data.len() / 4 * 3 + key.len()) as f64));
        }
    }
    records
}

/// The number in `{"id":"000000000123",…`, from its base64.
fn number(data: &[u8]) -> usize {
    let mut start = [0; 21];
    let written = STANDARD.decode(&data[..28], base64_simd::Out::from_slice(&mut start)).map(|bytes| &bytes[7..19]);
    let digits = written.ok().and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX)
}

fn reply(status: StatusCode, body: String) -> Response {
    Response::new(status, HeaderMap::new(), body)
}

/// One producer's connection to the service.
#[derive(Clone)]
pub struct Line {
    pub service: Rc<Service>,
    pub producer: usize,
}

impl Transport for Line {
    async fn send(&self, _: Operation, body: Bytes) -> Result<Response, TransportError> {
        let latency = self.service.random.borrow_mut().random_range(10.0..30.0);
        let half = Duration::from_secs_f64(latency / 2000.0);
        sleep(half).await;
        let answer = self.service.put(self.producer, &body);
        sleep(half).await;
        answer
    }

    fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
        false
    }
}
