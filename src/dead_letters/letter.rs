//! A refused record as a line of JSON.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::chunk::EventTime;
use crate::metrics::RefusalReason;
use crate::msgpack::{Reader, Token};
use crate::record::json;
use crate::record::time::{TimeFormat, TimeWriter};

/// UTC as in RFC 3339. examples/audit/replay.yaml reads it.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%9NZ";

/// A record that is not sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// When the event happened; `None` if the bytes are no event.
    pub(crate) time: Option<EventTime>,
    /// The tag of its chunk.
    pub(crate) tag: Arc<[u8]>,
    /// The stream it was for, by name or ARN.
    pub(crate) stream: Arc<str>,
    /// Why it was refused, as counted.
    pub(crate) reason: RefusalReason,
    /// The same for people to read.
    pub(crate) detail: String,
    /// The event's body in msgpack, or whatever stood in its place.
    pub(crate) body: Vec<u8>,
}

/// What a line begins with.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    tag: Cow<'a, str>,
    stream: &'a str,
    reason: &'static str,
    detail: &'a str,
}

impl Letter {
    /// Its memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Letter>() + self.detail.len() + self.body.len()
    }
}

/// Writes letters as lines.
pub(super) struct LineWriter {
    time_format: TimeFormat,
}

impl LineWriter {
    pub(super) fn new() -> LineWriter {
        LineWriter { time_format: TimeFormat::parse(TIME_FORMAT).unwrap_or_default() }
    }

    /// Appends the line of a letter, with its newline. An event is under `record`; what is no event, or what JSON
    /// cannot hold exactly, is under `record_base64`, byte for byte.
    pub(super) fn write(&self, letter: &Letter, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        if let Some(time) = letter.time {
            TimeWriter::new(&self.time_format).write(time, &mut text);
        }
        let head = Head {
            time: letter.time.is_some().then(|| std::str::from_utf8(&text).unwrap_or_default()),
            tag: String::from_utf8_lossy(&letter.tag),
            stream: &letter.stream,
            reason: letter.reason.name(),
            detail: &letter.detail,
        };
        // Writing text into memory cannot fail.
        drop(serde_json::to_writer(&mut *out, &head));
        // Its closing brace.
        out.pop();
        let start = out.len();
        out.extend_from_slice(b",\"record\":");
        let is_json = letter.time.is_some() && fits_json(&letter.body);
        if !is_json || json::write(&letter.body, out).is_err() {
            out.truncate(start);
            out.extend_from_slice(b",\"record_base64\":\"");
            base64_simd::STANDARD.encode_append(&letter.body, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Whether JSON holds all of this value: text is UTF-8, numbers are finite, nothing is of a type that JSON lacks.
fn fits_json(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    while !reader.rest().is_empty() {
        let fits = match reader.token() {
            Ok(Token::String(bytes) | Token::Binary(bytes)) => simdutf8::basic::from_utf8(bytes).is_ok(),
            Ok(Token::Float(number)) => number.is_finite(),
            Ok(Token::Extension(..)) | Err(_) => false,
            Ok(_) => true,
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn letter(body: &[u8]) -> Letter {
        Letter {
            time: Some(EventTime { seconds: 1_600_000_000, nanoseconds: 7 }),
            tag: b"app".as_slice().into(),
            stream: "logs".into(),
            reason: RefusalReason::TooLarge,
            detail: "it is \"larger\"".to_owned(),
            body: body.to_vec(),
        }
    }

    fn line(letter: &Letter) -> String {
        let mut out = b"before\n".to_vec();
        LineWriter::new().write(letter, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn a_letter_is_a_line_with_time_tag_stream_reason_and_the_record_as_json() {
        let expected = concat!(
            r#"{"time":"2020-09-13T12:26:40.000000007Z","tag":"app","stream":"logs","reason":"too_large","#,
            r#""detail":"it is \"larger\"","record":{"log":"a\nb","n":18446744073709551615}}"#,
            "\n"
        );
        let body = rmp_serde::to_vec(&json!({"log": "a\nb", "n": u64::MAX})).unwrap();
        assert_eq!(line(&letter(&body)), expected);
    }

    #[test]
    fn what_json_cannot_hold_is_there_in_base64() {
        let deep = [&b"\x81\xa1k".repeat(1100)[..], b"\x01"].concat();
        let not_finite = [&b"\x81\xa1k\xcb"[..], &f64::NAN.to_be_bytes()].concat();
        for body in [&b"\x81\xa1k\xa1\xff"[..], b"\x81\xa1k\xd4\x05x", b"\x81\xa1k", b"\xc1", b"", &deep, &not_finite] {
            let value: Value = serde_json::from_str(&line(&letter(body))).unwrap();
            assert!(value.get("record").is_none(), "{value}");
            let text = value["record_base64"].as_str().unwrap();
            assert_eq!(base64_simd::STANDARD.decode_to_vec(text).unwrap(), body);
        }
    }

    #[test]
    fn what_is_no_event_has_no_time_and_a_tag_that_is_not_utf_8_is_shown_as_well_as_can_be() {
        let letter = Letter { time: None, tag: b"a\xff".as_slice().into(), ..letter(b"\xa1x") };
        let value: Value = serde_json::from_str(&line(&letter)).unwrap();
        assert_eq!((value.get("time"), value["tag"].as_str()), (None, Some("a\u{fffd}")));
        assert_eq!((value.get("record"), value["record_base64"].as_str()), (None, Some("oXg=")));
    }

    proptest! {
        #[test]
        fn whatever_a_record_holds_its_letter_is_one_line_that_gives_it_back(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::btree_map(".{0,8}", ".{0,40}", 0..6).prop_map(|map| rmp_serde::to_vec(&map).unwrap()),
            ],
            detail in ".{0,20}",
            tag in prop::collection::vec(any::<u8>(), 0..8),
            seconds in any::<i64>(),
        ) {
            let time = Some(EventTime { seconds, nanoseconds: 1 });
            let line = line(&Letter { time, tag: tag.into(), detail: detail.clone(), ..letter(&body) });
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["detail"].as_str(), Some(&*detail));
            match value["record_base64"].as_str() {
                Some(text) => prop_assert_eq!(base64_simd::STANDARD.decode_to_vec(text).unwrap(), body),
                // Keys that are no text become text, which the reader of the test does not take.
                None => match rmp_serde::from_slice::<Value>(&body) {
                    Ok(record) => prop_assert_eq!(&value["record"], &record),
                    Err(_) => prop_assert!(value["record"].is_object(), "{}", value),
                },
            }
        }
    }
}
