//! What Kinesis answered, read with suspicion: proxies, load balancers and stand-ins answer in its place.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use minicbor::data::Type;
use serde::Deserialize;

use crate::kinesis::accepted;

/// An HTTP reply, complete.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordReply {
    /// Kinesis has it.
    Accepted,
    /// Kinesis does not have it.
    Failed {
        /// `ErrorCode`.
        code: String,
        /// The number of the shard that `ErrorMessage` names, as that of a throttled record does.
        shard: Option<u64>,
    },
}

/// An error of the whole call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// The error's type without namespace, such as `ValidationException`; empty when the body names none.
    pub code: String,
    /// The service's words.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsReply<'a> {
    #[serde(borrow)]
    records: Vec<RecordEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordEntry<'a> {
    #[serde(borrow)]
    error_code: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    error_message: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    sequence_number: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    shard_id: Option<std::borrow::Cow<'a, str>>,
}

impl Response {
    /// Whether this is the reply to `count` records and accepts all of them, as nearly every reply does. A `false` says
    /// nothing: [`Response::records`] tells.
    pub fn accepts_all(&self, count: usize) -> bool {
        match self.is_cbor() {
            true => accepted::all_accepted_in_cbor(&self.body, count),
            false => accepted::all_accepted(&self.body, count),
        }
    }

    /// The reply to each of `count` records, in order; `None` when the body is not that, so that nobody can say which
    /// records were accepted.
    pub fn records(&self, count: usize) -> Option<Vec<RecordReply>> {
        self.entries(count, |entry| entry.reply())
    }

    /// The ids of the shards that each of `count` records went to, in order, empty for one that went nowhere.
    pub fn shard_ids(&self, count: usize) -> Option<Vec<String>> {
        self.entries(count, |entry| entry.shard_id.map_or_else(String::new, std::borrow::Cow::into_owned))
    }

    fn entries<T>(&self, count: usize, read: impl Fn(RecordEntry<'_>) -> T) -> Option<Vec<T>> {
        if self.is_cbor() {
            let mut records = Vec::new();
            return (cbor_records(&self.body, |entry| records.push(read(entry)))? == count).then_some(records);
        }
        let reply: PutRecordsReply<'_> = serde_json::from_slice(&self.body).ok()?;
        (reply.records.len() == count).then(|| reply.records.into_iter().map(read).collect())
    }

    /// The error that the reply states, in JSON, CBOR or XML: front ends and proxies do not always answer in the caller's
    /// wire, so the body decides.
    pub fn error(&self) -> ServiceError {
        let mut error =
            self.json_error().or_else(|| self.cbor_error()).or_else(|| self.xml_error()).unwrap_or_default();
        if error.code.is_empty()
            && let Some(code) = self.header("x-amzn-errortype")
        {
            error.code = code.to_owned();
        }
        error.code = bare_code(&error.code).to_owned();
        error
    }

    /// Whether the body is a map of CBOR; front ends and proxies answer in JSON or XML whatever they were asked in.
    fn is_cbor(&self) -> bool {
        self.body.first().is_some_and(|first| (0xa0..=0xbf).contains(first))
    }

    fn json_error(&self) -> Option<ServiceError> {
        #[derive(Deserialize)]
        struct JsonError {
            #[serde(rename = "__type", alias = "code", alias = "Code")]
            code: Option<String>,
            #[serde(alias = "Message")]
            message: Option<String>,
        }
        let error: JsonError = serde_json::from_slice(&self.body).ok()?;
        Some(ServiceError { code: error.code.unwrap_or_default(), message: error.message.unwrap_or_default() })
    }

    fn cbor_error(&self) -> Option<ServiceError> {
        let mut decoder = minicbor::Decoder::new(&self.body);
        let mut error = ServiceError::default();
        let mut members = Members::of(decoder.map().ok()?);
        while members.next(&mut decoder)? {
            match decoder.str().ok()? {
                "__type" | "code" | "Code" => error.code = decoder.str().ok()?.to_owned(),
                "message" | "Message" => error.message = decoder.str().ok()?.to_owned(),
                _ => decoder.skip().ok()?,
            }
        }
        Some(error)
    }

    fn xml_error(&self) -> Option<ServiceError> {
        let text = std::str::from_utf8(&self.body).ok()?;
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (content, _) = rest.split_once(&format!("</{name}>"))?;
            Some(content.trim().to_owned())
        };
        Some(ServiceError { code: element("Code")?, message: element("Message").unwrap_or_default() })
    }

    /// The server's time of day.
    pub fn date(&self) -> Option<SystemTime> {
        Some(chrono::DateTime::parse_from_rfc2822(self.header(header::DATE.as_str())?).ok()?.into())
    }

    /// How long the server asks to wait; dates, which the header allows too, are not used by any AWS service.
    pub fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.header(header::RETRY_AFTER.as_str())?.trim().parse().ok()?))
    }

    /// The id to name to AWS's support.
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-amzn-requestid")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Reads a reply in CBOR, tells each record's entry, and returns how many there are; `None` when it is something else.
fn cbor_records<'a>(body: &'a [u8], mut tell: impl FnMut(RecordEntry<'a>)) -> Option<usize> {
    let mut decoder = minicbor::Decoder::new(body);
    let mut records = None;
    let mut members = Members::of(decoder.map().ok()?);
    while members.next(&mut decoder)? {
        if decoder.str().ok()? != "Records" || records.is_some() {
            decoder.skip().ok()?;
            continue;
        }
        let mut count = 0;
        let mut entries = Members::of(decoder.array().ok()?);
        while entries.next(&mut decoder)? {
            tell(cbor_entry(&mut decoder)?);
            count += 1;
        }
        records = Some(count);
    }
    records.filter(|_| decoder.position() == body.len())
}

fn cbor_entry<'a>(decoder: &mut minicbor::Decoder<'a>) -> Option<RecordEntry<'a>> {
    let mut entry = RecordEntry { error_code: None, error_message: None, sequence_number: None, shard_id: None };
    let mut members = Members::of(decoder.map().ok()?);
    while members.next(decoder)? {
        let key = decoder.str().ok()?;
        if decoder.datatype().ok()? == Type::Null {
            decoder.skip().ok()?;
            continue;
        }
        match key {
            "ErrorCode" => entry.error_code = Some(decoder.str().ok()?.into()),
            "ErrorMessage" => entry.error_message = Some(decoder.str().ok()?.into()),
            "SequenceNumber" => entry.sequence_number = Some(decoder.str().ok()?.into()),
            "ShardId" => entry.shard_id = Some(decoder.str().ok()?.into()),
            _ => decoder.skip().ok()?,
        }
    }
    Some(entry)
}

/// What is left of a map or an array, whose length is told at its start or by a mark at its end.
struct Members {
    left: Option<u64>,
}

impl Members {
    fn of(length: Option<u64>) -> Self {
        Members { left: length }
    }

    /// Whether another member follows; reads the mark of the end.
    fn next(&mut self, decoder: &mut minicbor::Decoder<'_>) -> Option<bool> {
        match &mut self.left {
            Some(0) => Some(false),
            Some(left) => {
                *left -= 1;
                Some(true)
            }
            None if decoder.datatype().ok()? == Type::Break => {
                decoder.skip().ok()?;
                Some(false)
            }
            None => Some(true),
        }
    }
}

impl RecordEntry<'_> {
    fn is_accepted(&self) -> bool {
        self.error_code.is_none() && self.sequence_number.as_ref().is_some_and(|number| !number.is_empty())
    }

    fn reply(self) -> RecordReply {
        if self.is_accepted() {
            return RecordReply::Accepted;
        }
        let code = self.error_code.map_or_else(|| "NoSequenceNumber".to_owned(), std::borrow::Cow::into_owned);
        RecordReply::Failed { code, shard: self.error_message.as_deref().and_then(named_shard) }
    }
}

/// "Rate exceeded for shard shardId-000000000004 in stream …" names the fourth.
fn named_shard(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("shardId-")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

/// `com.amazonaws.kinesis#ValidationException:http://…` is `ValidationException`.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(body: &str, headers: &[(&'static str, &str)]) -> Response {
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Response { status: StatusCode::OK, headers, body: Bytes::from(body.to_owned()) }
    }

    fn failed(code: &str) -> RecordReply {
        RecordReply::Failed { code: code.to_owned(), shard: None }
    }

    /// A reply in CBOR, its maps and arrays open-ended as Kinesis writes them, or not.
    fn cbor(records: &[&[(&str, Option<&str>)]], open: bool) -> Response {
        let mut body = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut body);
        let _ = if open { encoder.begin_map() } else { encoder.map(2) }.unwrap();
        let _ = encoder.str("FailedRecordCount").unwrap().u8(0).unwrap().str("Records").unwrap();
        let _ = if open { encoder.begin_array() } else { encoder.array(records.len() as u64) }.unwrap();
        for record in records {
            let _ = if open { encoder.begin_map() } else { encoder.map(record.len() as u64) }.unwrap();
            for (key, value) in *record {
                let _ = encoder.str(key).unwrap();
                let _ = match value {
                    Some(value) => encoder.str(value),
                    None => encoder.null(),
                }
                .unwrap();
            }
            let _ = if open { encoder.end() } else { Ok(&mut encoder) }.unwrap();
        }
        if open {
            let _ = encoder.end().unwrap().end().unwrap();
        }
        Response { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn a_reply_in_cbor_says_the_same_as_one_in_json() {
        let accepted = [("SequenceNumber", Some("4954")), ("ShardId", Some("shardId-0"))];
        let nulls = [("SequenceNumber", Some("4954")), ("ErrorCode", None), ("ErrorMessage", None)];
        let throttled = [("ErrorCode", Some("ProvisionedThroughputExceededException")), ("ErrorMessage", Some("Rate"))];
        for open in [true, false] {
            let all = cbor(&[&accepted, &nulls, &accepted], open);
            // With nulls, as kinesis-local writes them, it is for the patient reader.
            assert!(!all.accepts_all(3));
            assert_eq!(all.records(3), Some(vec![RecordReply::Accepted; 3]));
            assert_eq!(all.records(2), None);
            let some = cbor(&[&accepted, &throttled, &[("ShardId", Some("s"))], &[("SequenceNumber", Some(""))]], open);
            assert!(!some.accepts_all(4));
            assert_eq!(
                some.records(4),
                Some(vec![
                    RecordReply::Accepted,
                    failed("ProvisionedThroughputExceededException"),
                    failed("NoSequenceNumber"),
                    failed("NoSequenceNumber")
                ])
            );
            let plain = cbor(&[&accepted, &accepted, &accepted], open);
            assert!(plain.accepts_all(3) && !plain.accepts_all(2));
            for end in 0..plain.body.len() {
                let cut = Response { body: plain.body.slice(..end), ..plain.clone() };
                assert!(!cut.accepts_all(3) && cut.records(3).is_none(), "{end}");
            }
            let longer = Response { body: [&plain.body[..], b"\0"].concat().into(), ..plain.clone() };
            assert!(!longer.accepts_all(3) && longer.records(3).is_none());
            for trick in [
                &[("SequenceNumber", Some("1")), ("ErrorCode", Some("InternalFailure"))][..],
                &[("SequenceNumber", Some("1")), ("SequenceNumber", Some("2"))],
                &[("SequenceNumber", Some(""))],
                &[("ShardId", Some("s"))],
            ] {
                assert!(!cbor(&[&accepted, trick, &accepted], open).accepts_all(3), "{trick:?}");
            }
        }
    }

    #[test]
    fn the_example_of_the_api_reference_fails_records_one_and_two() {
        let body = r#"{"FailedRecordCount":2,"Records":[
            {"SequenceNumber":"49543463076548007577105092703039560359975228518395012686","ShardId":"shardId-000000000000"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard shardId-000000000001 in stream exampleStreamName under account 111111111111."},
            {"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."}]}"#;
        assert_eq!(
            response(body, &[]).records(3),
            Some(vec![
                RecordReply::Accepted,
                RecordReply::Failed { code: "ProvisionedThroughputExceededException".to_owned(), shard: Some(1) },
                failed("InternalFailure")
            ])
        );
    }

    #[test]
    fn null_error_codes_are_success_as_kinesis_local_writes_them() {
        let body = r#"{"EncryptionType":"NONE","FailedRecordCount":0,"Records":[{"ErrorCode":null,"ErrorMessage":null,"SequenceNumber":"1","ShardId":"s"}]}"#;
        assert_eq!(response(body, &[]).records(1), Some(vec![RecordReply::Accepted]));
    }

    #[test]
    fn a_record_with_neither_error_nor_sequence_number_is_not_taken_for_accepted() {
        let body = r#"{"Records":[{},{"SequenceNumber":""},{"SequenceNumber":null}]}"#;
        assert_eq!(response(body, &[]).records(3), Some(vec![failed("NoSequenceNumber"); 3]));
    }

    #[test]
    fn a_reply_that_does_not_match_the_request_says_nothing_about_any_record() {
        let one = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
        assert_eq!(response(one, &[]).records(2), None);
        for body in ["", "{}", "[]", "null", "<html>ok</html>", r#"{"FailedRecordCount":0}"#, &one[..one.len() - 1]] {
            assert_eq!(response(body, &[]).records(1), None, "{body}");
        }
    }

    #[test]
    fn errors_are_read_from_json_xml_and_headers() {
        for (body, headers, code, message) in [
            (r#"{"__type":"ValidationException","message":"m"}"#, &[][..], "ValidationException", "m"),
            (
                r#"{"__type":"com.amazonaws.kinesis.v20131202#LimitExceededException","Message":"m"}"#,
                &[],
                "LimitExceededException",
                "m",
            ),
            (r#"{"code":"ServiceUnavailable","message":"try later"}"#, &[], "ServiceUnavailable", "try later"),
            (
                "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error></ErrorResponse>",
                &[],
                "SignatureDoesNotMatch",
                "no",
            ),
            (
                "{}",
                &[("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/coral/")],
                "AccessDeniedException",
                "",
            ),
            ("garbage", &[], "", ""),
            ("", &[], "", ""),
            ("<html><body>502</body></html>", &[], "", ""),
        ] {
            let error = response(body, headers).error();
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
        }
    }

    #[test]
    fn errors_are_read_from_cbor_with_stated_and_with_open_length() {
        let text = |text: &str| [&[0x60 + u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
        let members =
            [text("__type"), text("LimitExceeded"), text("other"), vec![0x80], text("message"), text("slowly")];
        for body in [[&[0xa3][..], &members.concat()].concat(), [&[0xbf][..], &members.concat(), &[0xff]].concat()] {
            let reply = Response { status: StatusCode::BAD_REQUEST, headers: HeaderMap::new(), body: body.into() };
            assert_eq!((reply.error().code.as_str(), reply.error().message.as_str()), ("LimitExceeded", "slowly"));
        }
    }

    #[test]
    fn date_and_retry_after_are_read_from_headers() {
        let reply =
            response("", &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "3"), ("x-amzn-requestid", "r")]);
        assert_eq!(reply.date(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)));
        assert_eq!(reply.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(reply.request_id(), Some("r"));
        let reply = response("", &[("date", "yesterday"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!((reply.date(), reply.retry_after()), (None, None));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..400), count in 0usize..3) {
            let reply = Response { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() };
            reply.records(count);
            reply.error();
        }
    }
}
