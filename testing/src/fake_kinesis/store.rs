//! What arrived: every record, or only counts.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use serde::Serialize;

/// What to keep of accepted records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every record, and one line per request.
    Records,
    /// Only counters, with 16 bytes per distinct record to detect duplicates: for millions of records.
    Counts,
}

/// An accepted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The number of the `PutRecords` call that brought it, from 1; see [`RequestLine::number`].
    pub request: u64,
    /// The stream's name.
    pub stream: Arc<str>,
    /// The shard's number, from 0.
    pub shard: u32,
    /// 56 digits, growing within a shard.
    pub sequence_number: String,
    /// The partition key as sent; empty if there was none.
    pub partition_key: String,
    /// The explicit hash key as sent.
    pub explicit_hash_key: Option<String>,
    /// The data, without base64.
    pub data: Vec<u8>,
}

/// One `PutRecords` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// From 1, in order of arrival.
    pub number: u64,
    /// Number of the connection it came on, from 1.
    pub connection: u64,
    /// When it had been read, counted from the start of the stand-in.
    pub at: Duration,
    /// The header `Content-Type`.
    pub content_type: String,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// The header `Authorization`.
    pub authorization: String,
    /// Size of the body in bytes.
    pub body_size: usize,
    /// How it ended: see [`Stats::outcomes`].
    pub outcome: String,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted (with TLS: after the handshake).
    pub connections: u64,
    /// `PutRecords` calls, however they ended.
    pub requests: u64,
    /// `ListShards` calls, however they ended.
    pub shard_lists: u64,
    /// `DescribeStreamSummary` calls, however they ended.
    pub descriptions: u64,
    /// Dry runs of `PutRecords` that would have succeeded.
    pub dry_runs: u64,
    /// Bytes of the bodies of `PutRecords`.
    pub body_bytes: u64,
    /// Calls by their end: `ok`, `partial`, an exception's name, or the name of a fault.
    pub outcomes: BTreeMap<String, u64>,
    /// Records accepted.
    pub records: u64,
    /// Bytes of their data.
    pub data_bytes: u64,
    /// Accepted records with data that no earlier one had.
    pub distinct: u64,
    /// Accepted records with data that an earlier one had.
    pub duplicates: u64,
    /// Records answered with `ProvisionedThroughputExceededException`, and those of throttled calls.
    pub throttled_records: u64,
    /// Records answered with `InternalFailure`.
    pub failed_records: u64,
}

/// The memory of the stand-in.
pub struct Store {
    keep: Keep,
    stats: Stats,
    records: Vec<StoredRecord>,
    requests: Vec<RequestLine>,
    digests: HashSet<u128, BuildHasherDefault<DigestHasher>>,
    /// The requests in flight now, and the most at a time since somebody asked.
    in_flight: (usize, usize),
}

impl Store {
    /// An empty store.
    pub fn new(keep: Keep) -> Store {
        Store {
            keep,
            stats: Stats::default(),
            records: Vec::new(),
            requests: Vec::new(),
            digests: HashSet::default(),
            in_flight: (0, 0),
        }
    }

    /// Whether whole records are kept.
    pub fn keeps_records(&self) -> bool {
        self.keep == Keep::Records
    }

    /// A request has come.
    pub fn begin(&mut self) {
        let (now, most) = &mut self.in_flight;
        *now += 1;
        *most = (*most).max(*now);
    }

    /// A request has its reply, or its caller has gone.
    pub fn end(&mut self) {
        self.in_flight.0 -= 1;
    }

    /// The most requests at a time since the last call.
    pub fn take_most_in_flight(&mut self) -> usize {
        let (now, most) = &mut self.in_flight;
        std::mem::replace(most, *now)
    }

    /// Counts a connection and returns its number, from 1.
    pub fn count_connection(&mut self) -> u64 {
        self.stats.connections += 1;
        self.stats.connections
    }

    /// Counts an accepted record by its data.
    pub fn count(&mut self, data: &[u8]) {
        self.stats.records += 1;
        self.stats.data_bytes += data.len() as u64;
        match self.digests.insert(digest_of(data)) {
            true => self.stats.distinct += 1,
            false => self.stats.duplicates += 1,
        }
    }

    /// Keeps an accepted record; it is counted apart.
    pub fn keep(&mut self, record: StoredRecord) {
        self.records.push(record);
    }

    /// Counts a call that ended.
    pub fn finish(&mut self, line: RequestLine) {
        self.stats.requests += 1;
        self.stats.body_bytes += line.body_size as u64;
        match self.stats.outcomes.get_mut(&line.outcome) {
            Some(count) => *count += 1,
            None => drop(self.stats.outcomes.insert(line.outcome.clone(), 1)),
        }
        if self.keeps_records() {
            self.requests.push(line);
        }
    }

    /// The records in order of arrival.
    pub fn records(&self) -> &[StoredRecord] {
        &self.records
    }

    /// The calls in order of arrival.
    pub fn requests(&self) -> &[RequestLine] {
        &self.requests
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// The counters, to be raised.
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }
}

/// The first 128 bits of SHA-256: two different records among millions do not share them.
fn digest_of(data: &[u8]) -> u128 {
    let digest = digest::digest(&digest::SHA256, data);
    let half = digest.as_ref().first_chunk::<16>().copied();
    u128::from_be_bytes(half.unwrap_or_default())
}

/// A digest is its own hash.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
