//! A record counts as accepted only when a complete reply says so, and no reply makes the judgement fail.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kinesis::kinesis::reply::{RecordReply, Response};
use kinesis::kinesis::verdict::{RecordVerdict, Refusal, Verdict, verdict};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Judges a reply. `input` is a line with the status and the number of records that were sent, a line for each header,
/// an empty line, and the body.
pub fn check(input: &[u8]) {
    let (response, count) = read(input);
    let records = response.records(count);
    if let Some(records) = &records {
        assert_eq!(records.len(), count);
        if let Ok(body) = serde_json::from_slice::<Body>(&response.body) {
            let accepted = |record: &RecordReply| *record == RecordReply::Accepted;
            assert!(records.iter().map(accepted).eq((0..count).map(|index| is_accepted(&body, index))));
        }
        for record in records {
            if let RecordReply::Failed { code, .. } = record {
                assert!(is_name(code), "{code}");
            }
        }
    }
    response.failed_record_count();

    let error = response.error();
    assert!(error.code.is_empty() || is_name(&error.code), "{}", error.code);
    // Whatever these headers say.
    response.date();
    response.retry_after();
    response.request_id();

    let is_success = response.status.is_success();
    // Kinesis itself answers with a code.
    let is_of_a_gateway = matches!(response.status.as_u16(), 502 | 504) && error.code.is_empty();
    let judged = verdict(&Ok(response), count);
    if let Verdict::Again { reason, .. }
    | Verdict::Unauthorized { reason, .. }
    | Verdict::Operator { reason, .. }
    | Verdict::Refused(Refusal { reason, .. }) = &judged
    {
        assert!(reason.chars().count() <= 501 && !reason.contains(char::is_control), "{reason}");
    }
    match judged {
        Verdict::Accepted => {
            let records = records.expect("what accepts all is a reply for each record");
            assert!(is_success && records.len() == count);
            assert!(records.iter().all(|record| *record == RecordReply::Accepted));
        }
        Verdict::Answered(verdicts) => {
            let records = records.expect("only a reply for each record is an answer");
            assert!(is_success && verdicts.len() == count);
            for (verdict, record) in verdicts.iter().zip(records) {
                assert_eq!(*verdict == RecordVerdict::Accepted, record == RecordReply::Accepted);
            }
        }
        Verdict::Again { ambiguous, .. } => {
            let may_be_stored = is_success || is_of_a_gateway;
            assert_eq!(
                ambiguous, may_be_stored,
                "a success, and what a gateway passed on, may have stored the records"
            );
        }
        Verdict::Refused(Refusal { index, .. }) => assert!(!is_success && index.is_none_or(|index| index < count)),
        Verdict::Unauthorized { .. } | Verdict::Operator { .. } => assert!(!is_success),
    }
}

/// What may be shown and counted as an error's code.
fn is_name(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// An object with all its members, those of one name too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
                std::iter::from_fn(|| members.next_entry().transpose()).collect::<Result<_, _>>().map(Members)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records")]
    records: Vec<Members>,
}

/// Whether a body says so of a record: with no error, and a sequence number in the first member of that name that is not
/// null.
fn is_accepted(body: &Body, index: usize) -> bool {
    let members = &body.records[index].0;
    let all = |wanted: &'static str| members.iter().filter(move |(name, value)| name == wanted && !value.is_null());
    let number = all("SequenceNumber").next().and_then(|(_, number)| number.as_str());
    all("ErrorCode").next().is_none() && number.is_some_and(|number| !number.is_empty())
}

fn read(input: &[u8]) -> (Response, usize) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((&b"200 1"[..], input), |end| (&input[..end], &input[end + 2..]));
    let mut lines = head.split(|&byte| byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (status, count) = first.split_once(' ').unwrap_or((&first, "1"));
    let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    // A request has 1 to 500 records.
    let count = count.parse().unwrap_or(1_usize).clamp(1, 500);
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    (Response::new(status, headers, body.to_vec()), count)
}
