//! A Kinesis with scripted answers, and a delivery to it.

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use rand::SeedableRng;

use crate::deliver::*;
use crate::kinesis::client::{Operation, TransportError};
use crate::kinesis::reply::Response;
use crate::log::tests::TestLog;
use crate::metrics::Metrics;

/// The answer to a request.
pub(crate) enum Answer {
    /// Accepts all records except those with these indexes, which get the error code.
    Fail(&'static [usize], &'static str),
    /// Refuses the request.
    Status(u16, &'static str),
    /// Refuses a request that contains one of these records, with a message.
    Poison(&'static [&'static str], &'static str),
    /// Like `Poison`, naming the record.
    NamedPoison(&'static str),
    /// Refuses a request in which a record contains this text; names the record, or not.
    PoisonInside(&'static str, bool),
    /// Answers each record with its code; an empty code accepts it.
    Codes(&'static [&'static str]),
    /// Refuses individually the records that contain this text.
    FailInside(&'static str, &'static str),
    /// Refuses larger bodies (413), as a proxy may.
    BodyLimit(usize),
    /// Refuses larger data, naming the first such record.
    DataLimit(usize),
    Broken(TransportError),
    /// Answers with one entry too few.
    Mismatch,
    /// Never answers.
    Silence,
    /// Answers with this body.
    Body(&'static str),
    Panic,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) script: VecDeque<Answer>,
    /// The answers after the end of the script; `None` accepts everything.
    pub(crate) otherwise: Option<fn() -> Answer>,
    pub(crate) accepted: Vec<String>,
    pub(crate) requests: Vec<Vec<(String, String)>>,
    pub(crate) sent_at: Vec<Duration>,
    pub(crate) renewals: usize,
    pub(crate) may_renew: bool,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    pub(crate) latency: Duration,
}

#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) state: Rc<RefCell<State>>,
    pub(crate) start: Instant,
}

impl Transport for Scripted {
    async fn send(&self, _: Operation, body: Bytes) -> Result<Response, TransportError> {
        let records = records(&body);
        let (answer, latency) = {
            let mut state = self.state.borrow_mut();
            state.sent_at.push(self.start.elapsed());
            state.requests.push(records.clone());
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
            let answer = state.script.pop_front().or_else(|| state.otherwise.map(|answer| answer()));
            (answer.unwrap_or(Answer::Fail(&[], "")), state.latency)
        };
        tokio::time::sleep(latency).await;
        if matches!(answer, Answer::Silence) {
            std::future::pending::<()>().await;
        }
        self.state.borrow_mut().in_flight -= 1;
        self.answer(answer, &records, body.len())
    }

    fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
        let mut state = self.state.borrow_mut();
        state.renewals += 1;
        state.may_renew
    }
}

impl Scripted {
    fn answer(
        &self,
        answer: Answer,
        records: &[(String, String)],
        body_bytes: usize,
    ) -> Result<Response, TransportError> {
        let reply = |status: u16, body: String| {
            let status = StatusCode::from_u16(status).unwrap();
            Ok(Response { status, headers: HeaderMap::new(), body: body.into() })
        };
        let validation = |message: &str| format!(r#"{{"__type":"ValidationException","message":"{message}"}}"#);
        match answer {
            Answer::Status(status, code) => reply(status, format!(r#"{{"__type":"{code}","message":"said so"}}"#)),
            Answer::Broken(error) => Err(error),
            Answer::Panic => panic!("injected"),
            Answer::Body(body) => reply(200, body.to_owned()),
            Answer::Mismatch => reply(200, r#"{"FailedRecordCount":0,"Records":[]}"#.to_owned()),
            Answer::Poison(poison, message) if records.iter().any(|(data, _)| poison.contains(&data.as_str())) => {
                reply(400, validation(message))
            }
            Answer::NamedPoison(poison) if records.iter().any(|(data, _)| data == poison) => {
                let position = records.iter().position(|(data, _)| data == poison).unwrap() + 1;
                reply(
                    400,
                    validation(&format!(
                        "Value at 'records.{position}.member.data' failed to satisfy constraint: Member must not be null"
                    )),
                )
            }
            Answer::PoisonInside(text, named) if records.iter().any(|(data, _)| data.contains(text)) => {
                let position = records.iter().position(|(data, _)| data.contains(text)).unwrap() + 1;
                let (place, why) = (format!("records.{position}.member.data"), "Member must not be null");
                let message = format!("Value at '{place}' failed to satisfy constraint: {why}");
                reply(400, validation(if named { &message } else { "said so" }))
            }
            Answer::BodyLimit(most) if body_bytes > most => reply(413, "<html>too large</html>".to_owned()),
            Answer::DataLimit(most) if records.iter().any(|(data, _)| data.len() > most) => {
                let position = records.iter().position(|(data, _)| data.len() > most).unwrap() + 1;
                let too_long = format!(
                    "1 validation error detected: Value at 'records.{position}.member.data' failed to satisfy constraint: Member must have length less than or equal to {most}"
                );
                reply(400, validation(&too_long))
            }
            _ => {
                let code = |index: usize, data: &str| match answer {
                    Answer::Fail(failing, code) if failing.contains(&index) => code,
                    Answer::FailInside(text, code) if data.contains(text) => code,
                    Answer::Codes(codes) => codes[index],
                    _ => "",
                };
                let (mut entries, mut failed) = (Vec::new(), 0);
                for (index, (data, _)) in records.iter().enumerate() {
                    if code(index, data).is_empty() {
                        self.state.borrow_mut().accepted.push(data.clone());
                        entries.push(r#"{"SequenceNumber":"1","ShardId":"s"}"#.to_owned());
                    } else {
                        failed += 1;
                        entries.push(format!(r#"{{"ErrorCode":"{}","ErrorMessage":"m"}}"#, code(index, data)));
                    }
                }
                reply(200, format!(r#"{{"FailedRecordCount":{failed},"Records":[{}]}}"#, entries.join(",")))
            }
        }
    }
}

/// Data as text, and partition key, of each record in a request.
fn records(body: &Bytes) -> Vec<(String, String)> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let text = |record: &serde_json::Value| {
        String::from_utf8(base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap()).unwrap()
    };
    let records = body["Records"].as_array().unwrap().iter();
    records.map(|record| (text(record), record["PartitionKey"].as_str().unwrap().to_owned())).collect()
}

/// Settings that most tests share.
pub(crate) fn settings() -> Settings {
    Settings {
        concurrency: 8,
        retries: 8,
        reset_backoff_on_success: true,
        immediate_retry: true,
        flush_timeout: None,
        slow_flush: None,
        stats_interval: None,
    }
}

/// Delivery to the stream "logs" on a simulated Kinesis.
pub(crate) fn delivery<T: Transport>(
    transport: T,
    requests: RequestSettings,
    settings: Settings,
    ledger: Ledger,
    seed: u64,
    log: &TestLog,
) -> Rc<Delivery<T>> {
    let random = SmallRng::seed_from_u64(seed);
    let deps = Deps { transport, ledger, random, log: log.logger(), metrics: Metrics::default() };
    let destination = Destination { stream: Stream::parse("logs").unwrap(), name: "stream logs".to_owned() };
    Delivery::new(deps, destination, requests, settings)
}

pub(crate) struct Bench {
    pub(crate) kinesis: Scripted,
    pub(crate) delivery: Rc<Delivery<Scripted>>,
    pub(crate) log: TestLog,
}

impl Bench {
    pub(crate) fn new(script: Vec<Answer>) -> Self {
        Self::with(script, |_, _| {})
    }

    pub(crate) fn with(script: Vec<Answer>, change: impl FnOnce(&mut Settings, &mut RequestSettings)) -> Self {
        let mut requests = RequestSettings { max_records: 4, ..RequestSettings::default() };
        let mut settings = Settings { slow_flush: Some(Duration::from_secs(20)), ..settings() };
        change(&mut settings, &mut requests);
        let state = State { script: script.into(), may_renew: true, ..State::default() };
        let kinesis = Scripted { state: Rc::new(RefCell::new(state)), start: Instant::now() };
        let log = TestLog::default();
        let delivery = delivery(kinesis.clone(), requests, settings, Ledger::new(1 << 20), 1, &log);
        Bench { kinesis, delivery, log }
    }

    pub(crate) async fn flush(&self, records: usize) -> Outcome {
        self.flush_chunk(&chunk(records)).await
    }

    pub(crate) async fn flush_chunk(&self, chunk: &[u8]) -> Outcome {
        tokio::task::LocalSet::new().run_until(self.delivery.deliver(chunk, b"app")).await
    }

    pub(crate) fn accepted(&self) -> Vec<String> {
        let mut accepted = self.kinesis.state.borrow().accepted.clone();
        accepted.sort_by_key(|record| (record.len(), record.clone()));
        accepted
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.kinesis.state.borrow().requests.iter().map(Vec::len).collect()
    }
}

pub(crate) fn chunk(records: usize) -> Vec<u8> {
    let mut chunk = Vec::new();
    for id in 0..records {
        let body = rmpv::Value::Map(vec![("i".into(), id.into())]);
        rmpv::encode::write_value(&mut chunk, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
    }
    chunk
}

/// The records of a chunk by their ids.
pub(crate) fn ids(ids: impl IntoIterator<Item = usize>) -> Vec<String> {
    ids.into_iter().map(|id| format!(r#"{{"i":{id}}}"#)).collect()
}
