//! Injected faults: by probability or by script.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

/// Probabilities (0 to 1) per request or per record. The same seed and requests give the same faults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Seed of the random numbers.
    pub seed: u64,
    /// A record is refused with `ProvisionedThroughputExceededException`.
    pub throttle_records: f64,
    /// A record is refused with `InternalFailure`.
    pub fail_records: f64,
    /// Shards (from 0) that refuse every record with `ProvisionedThroughputExceededException`.
    pub throttle_shards: Vec<u32>,
    /// The call is refused with status 400 and `ThrottlingException`.
    pub throttle_calls: f64,
    /// Status 500 with `InternalFailure`, in the caller's format.
    pub error_500: f64,
    /// Status 503 from the front end: plain JSON, whatever the caller's format.
    pub error_503: f64,
    /// Status 502 with an HTML page, as from a proxy.
    pub html_502: f64,
    /// Status 413 with an empty body.
    pub too_large: f64,
    /// The connection is reset before the body is read; nothing is stored.
    pub reset_before: f64,
    /// The connection is reset after the records are stored, without a reply.
    pub reset_after: f64,
    /// The reply is delayed by `slow_ms`, after the records are stored.
    pub slow: f64,
    /// Milliseconds by which a slow reply is delayed.
    pub slow_ms: u64,
    /// The reply comes in ten pieces, `trickle_ms` apart.
    pub trickle: f64,
    /// Milliseconds between the pieces.
    pub trickle_ms: u64,
    /// The connection ends in the middle of the reply; the records are stored.
    pub truncate: f64,
    /// The reply has one entry too few; the records are stored.
    pub count_mismatch: f64,
    /// The request is read and never answered; nothing is stored.
    pub hang: f64,
    /// The connection closes 5 ms after the reply without notice, as the service closes idle connections.
    pub close: f64,
    /// Milliseconds by which every reply is delayed, like a network's round trip.
    pub latency_ms: u64,
}

/// One fault for one request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No fault.
    Nothing,
    /// The records at these positions (from 0) are refused with `ProvisionedThroughputExceededException`.
    ThrottleRecords(Vec<usize>),
    /// The records at these positions (from 0) are refused with `InternalFailure`.
    FailRecords(Vec<usize>),
    /// See [`Faults::throttle_calls`].
    ThrottleCall,
    /// See [`Faults::error_500`].
    Error500,
    /// See [`Faults::error_503`].
    Error503,
    /// See [`Faults::html_502`].
    Html502,
    /// See [`Faults::too_large`].
    TooLarge,
    /// See [`Faults::reset_before`].
    ResetBefore,
    /// See [`Faults::reset_after`].
    ResetAfter,
    /// See [`Faults::slow`]; milliseconds.
    Slow(u64),
    /// See [`Faults::trickle`]; milliseconds.
    Trickle(u64),
    /// See [`Faults::truncate`].
    Truncate,
    /// See [`Faults::count_mismatch`].
    CountMismatch,
    /// See [`Faults::hang`].
    Hang,
    /// See [`Faults::close`].
    Close,
    /// The call is refused with this status, exception and message, in the caller's format.
    Refuse {
        /// HTTP status.
        status: u16,
        /// Name of the exception.
        code: String,
        /// Its message.
        message: String,
    },
}

/// The decision for one request, made before it is read.
#[derive(Debug)]
pub struct Plan {
    /// The fault.
    pub fault: Fault,
    /// Whether it came from the script, which excludes other faults.
    scripted: bool,
    /// By how much the reply is delayed.
    pub delay: Duration,
}

/// A fault of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// `ProvisionedThroughputExceededException`.
    Throttled,
    /// `InternalFailure`.
    Failed,
}

/// Decides about all faults.
pub struct FaultSource {
    faults: Faults,
    script: VecDeque<Fault>,
    random: Random,
}

impl FaultSource {
    /// Starts with an empty script.
    pub fn new(faults: Faults) -> FaultSource {
        FaultSource { random: Random(faults.seed), faults, script: VecDeque::new() }
    }

    /// Sets other probabilities.
    pub fn set(&mut self, faults: Faults) {
        self.random = Random(faults.seed);
        self.faults = faults;
    }

    /// Appends faults to the script.
    pub fn script(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.script.extend(faults);
    }

    /// The decision for the next request.
    pub fn plan(&mut self) -> Plan {
        let next = self.script.pop_front();
        let scripted = next.is_some();
        let fault = next.unwrap_or_else(|| self.draw());
        let own = match fault {
            Fault::Slow(milliseconds) => milliseconds,
            _ => 0,
        };
        Plan { fault, scripted, delay: Duration::from_millis(self.faults.latency_ms + own) }
    }

    /// For requests exempt from faults.
    pub fn calm() -> Plan {
        Plan { fault: Fault::Nothing, scripted: true, delay: Duration::ZERO }
    }

    /// The decision for the record at `position` of a request, bound for `shard`.
    pub fn record(&mut self, plan: &Plan, position: usize, shard: u32) -> Option<RecordFault> {
        match &plan.fault {
            Fault::ThrottleRecords(positions) => positions.contains(&position).then_some(RecordFault::Throttled),
            Fault::FailRecords(positions) => positions.contains(&position).then_some(RecordFault::Failed),
            _ if plan.scripted => None,
            _ if self.faults.throttle_shards.contains(&shard) => Some(RecordFault::Throttled),
            _ if self.random.hits(self.faults.throttle_records) => Some(RecordFault::Throttled),
            _ if self.random.hits(self.faults.fail_records) => Some(RecordFault::Failed),
            _ => None,
        }
    }

    fn draw(&mut self) -> Fault {
        let Faults { slow_ms, trickle_ms, .. } = self.faults;
        let chances = [
            (self.faults.throttle_calls, Fault::ThrottleCall),
            (self.faults.error_500, Fault::Error500),
            (self.faults.error_503, Fault::Error503),
            (self.faults.html_502, Fault::Html502),
            (self.faults.too_large, Fault::TooLarge),
            (self.faults.reset_before, Fault::ResetBefore),
            (self.faults.reset_after, Fault::ResetAfter),
            (self.faults.slow, Fault::Slow(slow_ms)),
            (self.faults.trickle, Fault::Trickle(trickle_ms)),
            (self.faults.truncate, Fault::Truncate),
            (self.faults.count_mismatch, Fault::CountMismatch),
            (self.faults.hang, Fault::Hang),
            (self.faults.close, Fault::Close),
        ];
        for (probability, fault) in chances {
            if self.random.hits(probability) {
                return fault;
            }
        }
        Fault::Nothing
    }

    /// An id for a reply.
    pub fn id(&mut self) -> u128 {
        (u128::from(self.random.next()) << 64) | u128::from(self.random.next())
    }
}

/// SplitMix64, a small generator with a fixed sequence per seed: <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn hits(&mut self, probability: f64) -> bool {
        // 53 bits make a number in [0, 1).
        probability > 0.0 && ((self.next() >> 11) as f64) / ((1_u64 << 53) as f64) < probability
    }
}
