//! A record counts as accepted only when a complete reply says so, and no reply makes the judgement fail.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kinesis::kinesis::reply::{RecordReply, Response};
use kinesis::verdict::{RecordVerdict, Verdict, verdict};
use serde_json::Value;

/// Judges a reply. `input` is a line with the status and the number of records that were sent, a line for each header,
/// an empty line, and the body.
pub fn check(input: &[u8]) {
    let (response, count) = read(input);
    let records = response.records(count);
    if let Some(records) = &records {
        assert_eq!(records.len(), count);
        if let Ok(body) = serde_json::from_slice::<Value>(&response.body) {
            let accepted = |record: &RecordReply| *record == RecordReply::Accepted;
            assert!(records.iter().map(accepted).eq((0..count).map(|index| is_accepted(&body, index))));
        }
    }

    let error = response.error();
    assert!(!error.code.contains(['#', ':']), "{}", error.code);
    // Whatever these headers say.
    response.date();
    response.retry_after();
    response.request_id();

    let is_success = response.status.is_success();
    match verdict(&Ok(response), count) {
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
        Verdict::Again { ambiguous, .. } => assert_eq!(ambiguous, is_success, "a success may have stored the records"),
        Verdict::Poison { index, .. } => assert!(!is_success && index.is_none_or(|index| index < count)),
        Verdict::Unauthorized { .. } | Verdict::Operator { .. } => assert!(!is_success),
    }
}

/// Whether a body says so of a record. Serde takes an array for a structure as well, which no service answers.
fn is_accepted(body: &Value, index: usize) -> bool {
    let member = |value: &Value, name: &str, position: usize| -> Value {
        value.get(name).or_else(|| value.get(position)).cloned().unwrap_or_default()
    };
    let entry = member(body, "Records", 0).get(index).cloned().unwrap_or_default();
    let number = member(&entry, "SequenceNumber", 1);
    member(&entry, "ErrorCode", 0).is_null() && number.as_str().is_some_and(|number| !number.is_empty())
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
    (Response { status, headers, body: body.to_vec().into() }, count)
}
