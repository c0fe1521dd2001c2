//! Replies from Kinesis, read defensively: proxies, load balancers and stand-ins may answer in its place.

mod accepted;
mod cbor;
pub mod complaint;
mod service_error;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use minicbor::Decoder;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::kinesis::reply::cbor::{Member, Members};
use crate::redact::REQUEST_ID;

pub use crate::kinesis::reply::service_error::ServiceError;

/// A complete HTTP reply.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The exchange, if it was timed.
    pub exchange: Option<Exchange>,
}

/// A request and its reply.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// How long it took, from when there was a connection.
    pub took: Duration,
    /// Whether it was the first on its connection, which takes longer.
    pub is_first: bool,
}

/// The result of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordReply {
    /// Kinesis has it.
    Accepted,
    /// Kinesis does not have it.
    Failed {
        /// `ErrorCode`, or why there is none: `NoSequenceNumber`, `UnreadableErrorCode`.
        code: String,
        /// The number of the shard named in `ErrorMessage`, as for throttled records.
        shard: Option<u64>,
    },
}

/// The entry of one record.
#[derive(Default)]
struct RecordEntry<'a> {
    error_code: Member<'a>,
    error_message: Member<'a>,
    sequence_number: Member<'a>,
    shard_id: Member<'a>,
}

impl Response {
    /// A reply that was not timed.
    pub fn new(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Response {
        Response { status, headers, body: body.into(), exchange: None }
    }

    /// Whether this accepts all of `count` records, in the usual form. `false` means "unknown": use
    /// [`Response::records`].
    pub fn accepts_all(&self, count: usize) -> bool {
        match self.is_cbor() {
            true => accepted::all_accepted_in_cbor(&self.body, count),
            false => accepted::all_accepted(&self.body, count),
        }
    }

    /// The result of each of `count` records, in order. Returns `None` if the body does not have exactly that; which
    /// records were accepted is then unknown.
    pub fn records(&self, count: usize) -> Option<Vec<RecordReply>> {
        self.entries(count, |entry| entry.reply())
    }

    /// The shard id of each of `count` records, in order; empty for one that was not stored.
    pub fn shard_ids(&self, count: usize) -> Option<Vec<Cow<'_, str>>> {
        self.entries(count, |entry| entry.shard_id.text().unwrap_or_default())
    }

    fn entries<'r, T>(&'r self, count: usize, read: impl Fn(RecordEntry<'r>) -> T) -> Option<Vec<T>> {
        let mut records = Vec::new();
        if self.is_cbor() {
            cbor_records(&self.body, |entry| records.push(read(entry)))?;
        } else {
            // Serde would accept an array for a struct.
            let body = self.json().filter(|body| body.trim_start().starts_with('{'))?;
            records.extend(serde_json::from_str::<JsonReply<'r>>(body).ok()?.records.into_iter().map(read));
        }
        (records.len() == count).then_some(records)
    }

    /// The reply's own count of failed records; the entries themselves decide. Kinesis writes the count first, and
    /// only that much is read.
    pub fn failed_record_count(&self) -> Option<u64> {
        if !self.is_cbor() {
            // Not through `json`, which would check every byte of the reply.
            return json_failed_record_count(self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body));
        }
        let mut decoder = Decoder::new(&self.body);
        let mut members = Members::of_map(&mut decoder)?;
        while members.next(&mut decoder)? {
            if cbor::key(&mut decoder)? == FAILED_RECORD_COUNT {
                return cbor::count(&mut decoder)?;
            }
            decoder.skip().ok()?;
        }
        None
    }

    /// The error stated in the reply, in JSON, CBOR or XML. The body's first byte decides: front ends and proxies do
    /// not always use the request's format.
    pub fn error(&self) -> ServiceError {
        let mut error = ServiceError::read(&self.body);
        if error.code.is_empty()
            && let Some(code) = self.header("x-amzn-errortype").and_then(service_error::code)
        {
            code.clone_into(&mut error.code);
        }
        error
    }

    fn is_cbor(&self) -> bool {
        cbor::is_map(&self.body)
    }

    /// The body without a byte order mark.
    fn json(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.body).ok()?;
        Some(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    /// The server's time.
    pub fn date(&self) -> Option<SystemTime> {
        Some(chrono::DateTime::parse_from_rfc2822(self.header(header::DATE.as_str())?).ok()?.into())
    }

    /// How long the server asks to wait. The header's date form is not used by any AWS service.
    pub fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.header(header::RETRY_AFTER.as_str())?.trim().parse().ok()?))
    }

    /// The request id for AWS's support.
    pub fn request_id(&self) -> Option<&str> {
        self.header(REQUEST_ID)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

const FAILED_RECORD_COUNT: &str = "FailedRecordCount";

/// A missing or repeated list of records is an error.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonReply<'a> {
    #[serde(borrow)]
    records: Vec<RecordEntry<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for RecordEntry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RecordEntry<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the entry of a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<RecordEntry<'de>, A::Error> {
                let mut entry = RecordEntry::default();
                while let Some(Text(key)) = members.next_key()? {
                    match entry.member(&key) {
                        Some(member) => member.take(json_member(members.next_value()?)),
                        None => members.next_value::<IgnoredAny>().map(drop)?,
                    }
                }
                Ok(entry)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Text, borrowed if it has no escapes; for a plain `Cow`, serde always copies.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn json_member(value: &RawValue) -> Member<'_> {
    match value.get() {
        "null" => Member::Nothing,
        text => serde_json::from_str(text).map_or(Member::Other, |Text(text)| Member::Text(text)),
    }
}

/// The first number of this name. Reading stops there, with an error.
fn json_failed_record_count(body: &[u8]) -> Option<u64> {
    struct Reader<'r>(&'r mut Option<u64>);
    impl<'de> Visitor<'de> for Reader<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a reply")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
            while let Some(Text(key)) = members.next_key()? {
                if key == FAILED_RECORD_COUNT {
                    *self.0 = members.next_value::<&RawValue>()?.get().parse().ok();
                    return Ok(());
                }
                members.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }
    let mut count = None;
    drop(serde_json::Deserializer::from_slice(body).deserialize_map(Reader(&mut count)));
    count
}

/// Reads a CBOR reply and passes each entry to `each`. Returns `None` if it is anything else or has two lists.
fn cbor_records<'a>(body: &'a [u8], mut each: impl FnMut(RecordEntry<'a>)) -> Option<()> {
    let mut decoder = Decoder::new(body);
    let mut has_records = false;
    let mut members = Members::of_map(&mut decoder)?;
    while members.next(&mut decoder)? {
        if cbor::key(&mut decoder)? != "Records" {
            decoder.skip().ok()?;
            continue;
        }
        if std::mem::replace(&mut has_records, true) {
            return None;
        }
        let mut entries = Members::of_array(&mut decoder)?;
        while entries.next(&mut decoder)? {
            each(cbor_entry(&mut decoder)?);
        }
    }
    (has_records && decoder.position() == body.len()).then_some(())
}

fn cbor_entry<'a>(decoder: &mut Decoder<'a>) -> Option<RecordEntry<'a>> {
    let mut entry = RecordEntry::default();
    let mut members = Members::of_map(decoder)?;
    while members.next(decoder)? {
        let key = cbor::key(decoder)?;
        match entry.member(&key) {
            Some(member) => member.take(cbor::member(decoder)?),
            None => decoder.skip().ok()?,
        }
    }
    Some(entry)
}

impl<'a> RecordEntry<'a> {
    fn member(&mut self, key: &str) -> Option<&mut Member<'a>> {
        match key {
            "ErrorCode" => Some(&mut self.error_code),
            "ErrorMessage" => Some(&mut self.error_message),
            "SequenceNumber" => Some(&mut self.sequence_number),
            "ShardId" => Some(&mut self.shard_id),
            _ => None,
        }
    }

    fn reply(self) -> RecordReply {
        let failed = |code: &str, shard| RecordReply::Failed { code: code.to_owned(), shard };
        match (self.error_code, self.sequence_number.text()) {
            (Member::Nothing, Some(_)) => RecordReply::Accepted,
            (Member::Nothing, None) => failed("NoSequenceNumber", None),
            (code, _) => {
                let shard = self.error_message.text().as_deref().and_then(named_shard);
                let code = code.text();
                failed(code.as_deref().and_then(service_error::code).unwrap_or("UnreadableErrorCode"), shard)
            }
        }
    }
}

/// "Rate exceeded for shard shardId-000000000004 in stream …" gives 4.
fn named_shard(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("shardId-")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests;
