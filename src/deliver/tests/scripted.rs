//! A Kinesis with scripted answers, and a delivery to it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;

use super::service::{Behaviour, FakeService, Reply, Request, judged, refusal, reply};
use crate::clock::SystemClock;
use crate::dead_letters::Place;
use crate::deliver::*;
use crate::kinesis::client::{Transport, TransportError};
use crate::kinesis::stream::Stream;
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

impl Behaviour for State {
    async fn put(state: &RefCell<Self>, Request { at, body_bytes, records, .. }: Request) -> Reply {
        let records = records.into_iter().map(|record| (record.text().to_owned(), record.key));
        let records: Vec<(String, String)> = records.collect();
        let (answer, latency) = {
            let mut state = state.borrow_mut();
            state.sent_at.push(at);
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
        let mut state = state.borrow_mut();
        state.in_flight -= 1;
        state.answer(answer, &records, body_bytes)
    }

    fn renew(&mut self) -> bool {
        self.renewals += 1;
        self.may_renew
    }
}

impl State {
    fn answer(&mut self, answer: Answer, records: &[(String, String)], body_bytes: usize) -> Reply {
        let first = |is_refused: &dyn Fn(&str) -> bool| records.iter().position(|(data, _)| is_refused(data));
        let validation = |message: &str| refusal(400, "ValidationException", message);
        let at = |index: usize, constraint: &str| {
            let place = format!("records.{}.member.data", index + 1);
            validation(&format!("Value at '{place}' failed to satisfy constraint: {constraint}"))
        };
        let (not_null, said_so) = ("Member must not be null", "said so");
        let refused = match answer {
            Answer::Status(status, code) => Some(refusal(status, code, said_so)),
            Answer::Broken(error) => return Err(error),
            Answer::Panic => panic!("injected"),
            Answer::Body(body) => Some(reply(200, body)),
            Answer::Mismatch => Some(judged([])),
            Answer::BodyLimit(most) => (body_bytes > most).then(|| reply(413, "<html>too large</html>")),
            Answer::Poison(poison, message) => first(&|data| poison.contains(&data)).map(|_| validation(message)),
            Answer::NamedPoison(poison) => first(&|data| data == poison).map(|index| at(index, not_null)),
            Answer::PoisonInside(text, is_named) => first(&|data| data.contains(text))
                .map(|index| if is_named { at(index, not_null) } else { validation(said_so) }),
            Answer::DataLimit(most) => first(&|data| data.len() > most)
                .map(|index| at(index, &format!("Member must have length less than or equal to {most}"))),
            _ => None,
        };
        refused.unwrap_or_else(|| {
            let code = |(index, (data, _)): (usize, &(String, String))| match answer {
                Answer::Fail(failing, code) if failing.contains(&index) => code,
                Answer::FailInside(text, code) if data.contains(text) => code,
                Answer::Codes(codes) => codes[index],
                _ => "",
            };
            let codes: Vec<&str> = records.iter().enumerate().map(code).collect();
            let accepted = records.iter().zip(&codes).filter(|(_, code)| code.is_empty());
            self.accepted.extend(accepted.map(|((data, _), _)| data.clone()));
            judged(codes.into_iter().map(|code| if code.is_empty() { Ok("s".to_owned()) } else { Err(code) }))
        })
    }
}

/// Settings that most tests share.
pub(crate) fn settings() -> Settings {
    Settings::plain(8, 8)
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
    let stream = Stream::parse("logs").unwrap();
    delivery_to(stream.into(), deps(transport, ledger, seed, log), requests, settings)
}

pub(crate) fn deps<T>(transport: T, ledger: Ledger, seed: u64, log: &TestLog) -> Deps<T> {
    let random = SmallRng::seed_from_u64(seed);
    Deps { transport, ledger, dead_letters: None, random, log: log.logger(), metrics: Metrics::default() }
}

/// Delivery to a simulated Kinesis.
pub(crate) fn delivery_to<T: Transport>(
    target: Target,
    deps: Deps<T>,
    requests: RequestSettings,
    settings: Settings,
) -> Rc<Delivery<T>> {
    let destination = Destination { target, place: String::new() };
    Delivery::new(deps, destination, requests, settings)
}

pub(crate) struct Bench {
    pub(crate) kinesis: FakeService<State>,
    pub(crate) delivery: Rc<Delivery<FakeService<State>>>,
    pub(crate) log: TestLog,
}

impl Bench {
    pub(crate) fn new(script: Vec<Answer>) -> Self {
        Self::with(script, |_, _| {})
    }

    pub(crate) fn with(script: Vec<Answer>, change: impl FnOnce(&mut Settings, &mut RequestSettings)) -> Self {
        Self::to(Stream::parse("logs").unwrap().into(), None, script, change)
    }

    /// Keeps refused records in a folder, if any.
    pub(crate) fn to(
        target: Target,
        folder: Option<&Path>,
        script: Vec<Answer>,
        change: impl FnOnce(&mut Settings, &mut RequestSettings),
    ) -> Self {
        let mut requests = RequestSettings { max_records: 4, ..RequestSettings::default() };
        let mut settings = Settings { slow_flush: Some(Duration::from_secs(20)), ..settings() };
        change(&mut settings, &mut requests);
        let state = State { script: script.into(), may_renew: true, ..State::default() };
        let kinesis = FakeService::new(state);
        let log = TestLog::default();
        let mut deps = deps(kinesis.clone(), Ledger::new(1 << 20), 1, &log);
        deps.dead_letters = folder.map(|folder| {
            let place = Place { path: folder.to_owned(), max_bytes: 100 << 20 };
            let clock = Arc::new(SystemClock);
            Rc::new(DeadLetters::open(place, 1, clock, deps.log.clone(), deps.metrics.clone()).unwrap())
        });
        let delivery = delivery_to(target, deps, requests, settings);
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
