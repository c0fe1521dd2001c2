//! Inspection and control over HTTP: what arrived, and which faults to inject.

use std::sync::Mutex;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reply::{Hangup, Pace, ReplyBody};
use super::server::read;
use super::service::Service;
use super::store::StoredRecord;
use super::{Fault, Faults, lock};

/// Answers `GET /_/stats`, `GET /_/records?from=N&count=M`, `POST /_/faults` and `POST /_/script`.
pub async fn handle(request: Request<Incoming>, service: &Mutex<Service>) -> Result<Response<ReplyBody>, Hangup> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let answer = match (&head.method, head.uri.path()) {
        (&Method::GET, "/_/stats") => json(&lock(service).store.stats()),
        (&Method::GET, "/_/records") => Ok(lines(lock(service).store.records(), query)),
        (&Method::POST, "/_/faults") => body_as::<Faults>(body).await?.map(|faults| {
            lock(service).faults.set(faults);
            "{}\n".to_owned()
        }),
        (&Method::POST, "/_/script") => body_as::<Vec<Fault>>(body).await?.map(|faults| {
            lock(service).faults.script(faults);
            "{}\n".to_owned()
        }),
        (method, path) => Err(format!("{method} {path} is not known\n")),
    };
    let (status, text) = match answer {
        Ok(text) => (StatusCode::OK, text),
        Err(text) => (StatusCode::BAD_REQUEST, text),
    };
    let mut response = Response::new(ReplyBody::new(text, Pace::AtOnce));
    *response.status_mut() = status;
    Ok(response)
}

async fn body_as<T: DeserializeOwned>(body: Incoming) -> Result<Result<T, String>, Hangup> {
    let bytes = read(body).await?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).map_err(|error| format!("{error}\n")))
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|error| format!("{error}\n"))
}

/// A record as one line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    shard: u32,
    sequence: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<&'a str>,
    /// In base64.
    data: String,
    /// If the data is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

fn lines(records: &[StoredRecord], query: &str) -> String {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok())
    };
    let from = number("from").unwrap_or(0);
    let count = number("count").unwrap_or(usize::MAX);
    records.iter().skip(from).take(count).filter_map(|record| json(&line(record)).ok()).collect()
}

fn line(record: &StoredRecord) -> Line<'_> {
    Line {
        stream: &record.stream,
        shard: record.shard,
        sequence: &record.sequence_number,
        key: &record.partition_key,
        explicit_hash_key: record.explicit_hash_key.as_deref(),
        data: base64_simd::STANDARD.encode_to_string(&record.data),
        text: std::str::from_utf8(&record.data).ok(),
    }
}
