//! What Kinesis answered, read with suspicion: proxies, load balancers and stand-ins answer in its place.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

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
    sequence_number: Option<std::borrow::Cow<'a, str>>,
}

impl Response {
    /// The reply to each of `count` records, in order; `None` when the body is not that, so that nobody can say which
    /// records were accepted.
    pub fn records(&self, count: usize) -> Option<Vec<RecordReply>> {
        let reply: PutRecordsReply<'_> = serde_json::from_slice(&self.body).ok()?;
        (reply.records.len() == count).then(|| reply.records.into_iter().map(RecordEntry::reply).collect())
    }

    /// The error that the reply states, in JSON or XML.
    pub fn error(&self) -> ServiceError {
        let mut error = self.json_error().or_else(|| self.xml_error()).unwrap_or_default();
        if error.code.is_empty()
            && let Some(code) = self.header("x-amzn-errortype")
        {
            error.code = code.to_owned();
        }
        error.code = bare_code(&error.code).to_owned();
        error
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

impl RecordEntry<'_> {
    fn reply(self) -> RecordReply {
        match (self.error_code, self.sequence_number) {
            (Some(code), _) => RecordReply::Failed { code: code.into_owned() },
            (None, Some(number)) if !number.is_empty() => RecordReply::Accepted,
            (None, _) => RecordReply::Failed { code: "NoSequenceNumber".to_owned() },
        }
    }
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
        RecordReply::Failed { code: code.to_owned() }
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
                failed("ProvisionedThroughputExceededException"),
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
