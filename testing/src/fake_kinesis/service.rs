//! The operation `PutRecords`, and the dispatch to the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use http::request::Parts;

use super::answer::Answer;
use super::describe::{DescribeStreamSummary, summary};
use super::error::ServiceError;
use super::faults::{Fault, FaultSource, Plan, RecordFault};
use super::list_shards::ListShards;
use super::shard::{self, Stream};
use super::store::{RequestLine, Store, StoredRecord};
use super::wire::{Blob, Entry, Record, Reply, Wire};
use super::{ACCOUNT, Settings, limits, signature};

/// The state of the stand-in.
pub struct Service {
    pub settings: Settings,
    pub store: Store,
    pub faults: FaultSource,
    /// Whether every token is expired.
    pub token_expired: bool,
    streams: HashMap<Arc<str>, Stream>,
    started: Instant,
    calls: u64,
    /// The last dry run.
    dry_run_at: Option<Instant>,
}

/// A request that was read.
pub struct Call<'a> {
    pub head: &'a Parts,
    /// `None` if larger than the front end reads.
    pub body: Option<&'a [u8]>,
    /// The number of its connection.
    pub connection: u64,
}

impl Service {
    pub fn new(settings: Settings) -> Service {
        let mut service = Service {
            store: Store::new(settings.keep),
            faults: FaultSource::new(settings.faults.clone()),
            token_expired: false,
            streams: HashMap::new(),
            started: Instant::now(),
            calls: 0,
            dry_run_at: None,
            settings,
        };
        for stream in service.settings.streams.clone() {
            service.add_stream(stream);
        }
        service
    }

    pub fn add_stream(&mut self, stream: Stream) {
        self.streams.insert(Arc::clone(&stream.name), stream);
    }

    /// The service's time.
    #[allow(clippy::disallowed_methods, reason = "a service has a clock of its own")]
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::seconds(self.settings.clock_ahead)
    }

    /// A stream, if it exists.
    pub fn stream(&self, name: &str) -> Option<Stream> {
        self.streams.get(name).cloned()
    }

    /// Changes a stream that exists.
    pub fn change_stream(&mut self, name: &str, change: impl FnOnce(&mut Stream)) {
        self.streams.get_mut(name).map(change);
    }

    /// The faults for a request; only `PutRecords` has any.
    pub fn plan(&mut self, head: &Parts) -> Plan {
        if Other::of(head).is_some() { FaultSource::calm() } else { self.faults.plan() }
    }

    /// Answers a call, stores its records and logs the outcome.
    pub fn answer(&mut self, call: &Call<'_>, plan: &Plan) -> Answer {
        if let Some(operation) = Other::of(call.head) {
            let answer = self.ask(operation, call.head, call.body.unwrap_or_default());
            return answer.unwrap_or_else(|error| Answer::refusal(Wire::Json, error));
        }
        self.calls += 1;
        let content_type = text_of(call.head, "content-type");
        let answer = self.decide(Wire::of(&content_type), call, plan);
        self.store.finish(RequestLine {
            number: self.calls,
            connection: call.connection,
            at: self.started.elapsed(),
            content_type,
            user_agent: text_of(call.head, "user-agent"),
            authorization: text_of(call.head, "authorization"),
            body_size: call.body.map_or(0, <[u8]>::len),
            outcome: answer.outcome.clone(),
        });
        answer
    }

    fn decide(&mut self, wire: Option<Wire>, call: &Call<'_>, plan: &Plan) -> Answer {
        let Some(body) = call.body else {
            return Answer::too_large();
        };
        match &plan.fault {
            Fault::Error503 => return Answer::unavailable(),
            Fault::Html502 => return Answer::bad_gateway(),
            Fault::TooLarge => return Answer::too_large(),
            Fault::ResetBefore => return Answer::none("reset_before"),
            Fault::Hang => return Answer::none("hang"),
            _ => {}
        }
        let Some(wire) = wire else {
            return Answer::unknown_content_type();
        };
        let answer = match &plan.fault {
            Fault::ThrottleCall => {
                let records = wire.decode(body).ok().and_then(|request| request.records).map_or(0, |all| all.len());
                self.store.stats_mut().throttled_records += records as u64;
                Err(ServiceError::throttled())
            }
            Fault::Error500 => Err(ServiceError::internal_failure()),
            Fault::Refuse { status, code, message } => {
                Err(ServiceError { status: *status, code: code.clone().into(), message: Some(message.clone()) })
            }
            _ => self.put_records(wire, call.head, body, plan),
        };
        answer.unwrap_or_else(|error| Answer::refusal(wire, error))
    }

    fn put_records(&mut self, wire: Wire, head: &Parts, body: &[u8], plan: &Plan) -> Result<Answer, ServiceError> {
        if text_of(head, "x-amz-target") != "Kinesis_20131202.PutRecords" {
            return Err(ServiceError::unknown_operation());
        }
        self.authorize(head, body)?;
        let request = wire.decode(body)?;
        let name = self.stream_name(request.stream_arn.as_deref(), request.stream_name.as_deref());
        let stream = name.as_ref().ok().and_then(|name| self.streams.get(name));
        limits::check_request(&request, stream.is_none_or(|stream| !stream.auto))?;
        let name = name?;
        if request.dry_run == Some(true) && !self.settings.ignores_dry_run {
            return Err(self.dry_run());
        }
        let records = request.records.unwrap_or_default();
        let entries = self.store_records(&name, records, plan)?;
        let mut reply = Reply {
            entries,
            encryption_type: self.settings.encryption_type,
            null_error_codes: self.settings.null_error_codes,
            definite: self.settings.definite_cbor,
        };
        if plan.fault == Fault::CountMismatch {
            reply.entries.pop();
        }
        let outcome = match &plan.fault {
            Fault::CountMismatch => "count_mismatch",
            Fault::ResetAfter => "reset_after",
            Fault::Truncate => "truncate",
            _ if reply.failed() > 0 => "partial",
            _ => "ok",
        };
        Ok(Answer {
            status: 200,
            content_type: wire.content_type(),
            body: wire.encode(&reply),
            outcome: outcome.to_owned(),
        })
    }

    /// A second dry run within a second is throttled.
    fn dry_run(&mut self) -> ServiceError {
        if self.dry_run_at.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return ServiceError::throttled();
        }
        self.dry_run_at = Some(Instant::now());
        self.store.stats_mut().dry_runs += 1;
        ServiceError::dry_run()
    }

    fn ask(&mut self, operation: Other, head: &Parts, body: &[u8]) -> Result<Answer, ServiceError> {
        let stats = self.store.stats_mut();
        match operation {
            Other::ListShards => stats.shard_lists += 1,
            Other::DescribeStreamSummary => stats.descriptions += 1,
        }
        self.authorize(head, body)?;
        let body = match operation {
            Other::ListShards => {
                let (request, from) = ListShards::read(body)?;
                let name = self.stream_name(request.stream_arn.as_deref(), request.stream_name.as_deref())?;
                let stream = self.permitted(&name, !self.settings.denies_list_shards, "ListShards")?;
                request.answer(stream, from, self.settings.most_listed_shards)
            }
            Other::DescribeStreamSummary => {
                let request = DescribeStreamSummary::read(body)?;
                let name = self.stream_name(request.stream_arn.as_deref(), request.stream_name.as_deref())?;
                summary(self.permitted(&name, !self.settings.denies_description, "DescribeStreamSummary")?)
            }
        };
        Ok(Answer {
            status: 200,
            content_type: Wire::Json.content_type(),
            body: Wire::Json.encode(&body),
            outcome: "ok".to_owned(),
        })
    }

    fn permitted(&self, name: &Arc<str>, is_permitted: bool, operation: &str) -> Result<&Stream, ServiceError> {
        match self.streams.get(name) {
            Some(stream) if is_permitted => Ok(stream),
            Some(_) => Err(ServiceError::denied(operation, name)),
            None => Err(ServiceError::no_such_stream(name)),
        }
    }

    fn authorize(&self, head: &Parts, body: &[u8]) -> Result<(), ServiceError> {
        signature::authorization(head)?;
        if self.token_expired {
            return Err(signature::expired_token());
        }
        let Settings { credentials, region, .. } = &self.settings;
        match credentials.as_slice() {
            [] => Ok(()),
            known => signature::verify(known, region.as_deref(), self.now(), head, body),
        }
    }

    /// The name of the stream that the request refers to, if it exists.
    fn stream_name(&self, arn: Option<&str>, name: Option<&str>) -> Result<Arc<str>, ServiceError> {
        let (account, name) = match (arn.and_then(limits::stream_of_arn), name) {
            (Some((account, name)), _) => (account, name),
            (None, Some(name)) => (ACCOUNT, name),
            (None, None) => {
                return Err(ServiceError::client(
                    "InvalidArgumentException",
                    "Either StreamName or StreamARN must be specified.",
                ));
            }
        };
        match self.streams.get(name) {
            Some(stream) if account == ACCOUNT => Ok(Arc::clone(&stream.name)),
            _ => Err(ServiceError::no_such_stream(name)),
        }
    }

    fn store_records(&mut self, name: &str, records: Vec<Record>, plan: &Plan) -> Result<Vec<Entry>, ServiceError> {
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(ServiceError::no_such_stream(name));
        };
        limits::check_sizes(&records, stream.max_record_size, self.settings.max_request_size)?;
        // Find all shards first: one bad hash key refuses the whole call before anything is stored.
        let shards: Vec<u32> = records.iter().map(|record| shard_of(stream, record)).collect::<Result<_, _>>()?;
        let mut entries = Vec::with_capacity(records.len());
        for (position, (record, shard)) in records.into_iter().zip(shards).enumerate() {
            if let Some(fault) = self.faults.record(plan, position, shard) {
                entries.push(refuse(&mut self.store, fault, name, shard));
                continue;
            }
            let sequence_number = stream.next_sequence(shard);
            self.store.count(record.data());
            if self.store.keeps_records() {
                self.store.keep(StoredRecord {
                    request: self.calls,
                    stream: Arc::clone(&stream.name),
                    shard,
                    sequence_number: sequence_number.clone(),
                    partition_key: record.partition_key.unwrap_or_default(),
                    explicit_hash_key: record.explicit_hash_key,
                    data: record.data.map(Blob::into_bytes).unwrap_or_default(),
                });
            }
            entries.push(Entry::Accepted { sequence_number, shard });
        }
        Ok(entries)
    }
}

/// An operation other than `PutRecords`.
#[derive(Clone, Copy)]
enum Other {
    ListShards,
    DescribeStreamSummary,
}

impl Other {
    fn of(head: &Parts) -> Option<Other> {
        match text_of(head, "x-amz-target").as_str() {
            "Kinesis_20131202.ListShards" => Some(Other::ListShards),
            "Kinesis_20131202.DescribeStreamSummary" => Some(Other::DescribeStreamSummary),
            _ => None,
        }
    }
}

fn shard_of(stream: &mut Stream, record: &Record) -> Result<u32, ServiceError> {
    if stream.auto {
        return Ok(stream.any_shard());
    }
    let hash = match record.explicit_hash_key.as_deref() {
        Some(key) => limits::explicit_hash_key(key)?,
        None => shard::hash_of(record.partition_key()),
    };
    Ok(stream.shard_of(hash))
}

fn refuse(store: &mut Store, fault: RecordFault, stream: &str, shard: u32) -> Entry {
    match fault {
        RecordFault::Throttled => {
            store.stats_mut().throttled_records += 1;
            let shard = shard::shard_id(shard);
            Entry::Refused {
                code: "ProvisionedThroughputExceededException",
                message: format!("Rate exceeded for shard {shard} in stream {stream} under account {ACCOUNT}."),
            }
        }
        RecordFault::Failed => {
            store.stats_mut().failed_records += 1;
            Entry::Refused { code: "InternalFailure", message: "Internal Service Failure".to_owned() }
        }
    }
}

fn text_of(head: &Parts, name: &str) -> String {
    let value = head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.unwrap_or_default().into_owned()
}
