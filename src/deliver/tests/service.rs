//! A Kinesis in memory: reads requests and writes replies. What it answers is up to the tests.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::reply::Response;

pub(crate) type Reply = Result<Response, TransportError>;

/// A `PutRecords` request.
pub(crate) struct Request {
    /// When it arrived, since the service began.
    pub(crate) at: Duration,
    pub(crate) stream: String,
    pub(crate) body_bytes: usize,
    pub(crate) records: Vec<Sent>,
}

pub(crate) struct Sent {
    /// Empty if there is none.
    pub(crate) key: String,
    pub(crate) explicit_hash_key: Option<u128>,
    pub(crate) data: Vec<u8>,
}

impl Sent {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.data).unwrap()
    }
}

/// What a service does with requests.
pub(crate) trait Behaviour: 'static {
    async fn put(state: &RefCell<Self>, request: Request) -> Reply;

    /// Answers `ListShards`, at a time since the service began.
    async fn list(_: &RefCell<Self>, _: Duration, request: Value) -> Reply {
        panic!("the shards are not listed here: {request}")
    }

    /// Answers `DescribeStreamSummary`, at a time since the service began.
    async fn describe(_: &RefCell<Self>, _: Duration, request: Value) -> Reply {
        panic!("the stream is not described here: {request}")
    }

    /// Whether there are newer credentials.
    fn renew(&mut self) -> bool;
}

/// The service, shared by the delivery and the test.
pub(crate) struct FakeService<B> {
    pub(crate) state: Rc<RefCell<B>>,
    pub(crate) start: Instant,
}

impl<B> FakeService<B> {
    pub(crate) fn new(behaviour: B) -> Self {
        FakeService { state: Rc::new(RefCell::new(behaviour)), start: Instant::now() }
    }
}

impl<B> Clone for FakeService<B> {
    fn clone(&self) -> Self {
        FakeService { state: Rc::clone(&self.state), start: self.start }
    }
}

impl<B: Behaviour> Transport for FakeService<B> {
    async fn send(&self, operation: Operation, body: Bytes) -> Reply {
        let at = self.start.elapsed();
        let request: Value = serde_json::from_slice(&body).unwrap();
        match operation {
            Operation::PutRecords => {
                let records = request["Records"].as_array().unwrap().iter().map(sent).collect();
                let stream = request["StreamName"].as_str().unwrap().to_owned();
                B::put(&self.state, Request { at, stream, body_bytes: body.len(), records }).await
            }
            Operation::ListShards => B::list(&self.state, at, request).await,
            Operation::DescribeStreamSummary => B::describe(&self.state, at, request).await,
            Operation::DryRun => panic!("nothing is delivered by a dry run: {request}"),
        }
    }

    fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
        self.state.borrow_mut().renew()
    }
}

fn sent(record: &Value) -> Sent {
    Sent {
        key: record["PartitionKey"].as_str().unwrap_or_default().to_owned(),
        explicit_hash_key: record["ExplicitHashKey"].as_str().map(|digits| digits.parse().unwrap()),
        data: base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap(),
    }
}

pub(crate) fn reply(status: u16, body: impl ToString) -> Reply {
    let status = StatusCode::from_u16(status).unwrap();
    Ok(Response::new(status, HeaderMap::new(), body.to_string()))
}

/// The refusal of a whole request.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Reply {
    reply(status, json!({ "__type": code, "message": message }))
}

/// The reply to records: the shard in which each is, or why it was refused.
pub(crate) fn judged<'a>(records: impl IntoIterator<Item = Result<String, &'a str>>) -> Reply {
    let mut failed = 0;
    let entries = records.into_iter().map(|record| match record {
        Ok(shard) => json!({ "SequenceNumber": "1", "ShardId": shard }),
        Err(code) => {
            failed += 1;
            json!({ "ErrorCode": code, "ErrorMessage": "m" })
        }
    });
    let entries: Vec<Value> = entries.collect();
    reply(200, json!({ "FailedRecordCount": failed, "Records": entries }))
}
