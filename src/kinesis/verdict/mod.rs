//! What a reply means: one pure decision.
//!
//! Nothing here sleeps, logs or sends; [`crate::deliver`] acts on the verdict.

use std::time::{Duration, SystemTime};

use crate::kinesis::client::TransportError;
use crate::kinesis::reply::complaint::{Complaint, Place, complaint, constraint};
use crate::kinesis::reply::{RecordReply, Response, ServiceError};
use crate::redact::{one_line, with_request_id};

/// The advice when an error is unknown.
pub(crate) const CHECK_ENDPOINT: &str = "check that the endpoint is Kinesis";

/// What to do about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Kinesis has every record.
    Accepted,
    /// Kinesis answered for each record.
    Answered(Vec<RecordVerdict>),
    /// Send the whole batch again, after a pause.
    Again {
        /// What happened, for the log.
        reason: String,
        /// How long the server asked us to wait.
        after: Option<Duration>,
        /// A network failure, which one immediate retry may overcome.
        network: bool,
        /// Kinesis may have stored the records, so sending them again may store them twice.
        ambiguous: bool,
        /// What an operator can do about it, if it is unlikely to pass.
        advice: Option<&'static str>,
    },
    /// The signature or the credentials were refused: get new ones and send the batch again.
    Unauthorized {
        /// What the service said.
        reason: String,
        /// The server's time, to correct our clock.
        server_time: Option<SystemTime>,
    },
    /// Only an operator can fix this. Keep everything.
    Operator {
        /// What the service said.
        reason: String,
        /// What the operator can do about it.
        advice: &'static str,
    },
    /// A record of the batch, or the batch as a whole, is unacceptable.
    Refused(Refusal),
}

impl Verdict {
    /// Whether Kinesis accepted any of the records.
    pub fn accepts_any(&self) -> bool {
        match self {
            Verdict::Accepted => true,
            Verdict::Answered(records) => records.contains(&RecordVerdict::Accepted),
            _ => false,
        }
    }

    /// Names the request in what the log will say.
    fn of_request(mut self, id: Option<&str>) -> Verdict {
        if let Verdict::Again { reason, .. }
        | Verdict::Unauthorized { reason, .. }
        | Verdict::Operator { reason, .. }
        | Verdict::Refused(Refusal { reason, .. }) = &mut self
        {
            *reason = with_request_id(std::mem::take(reason), id);
        }
        self
    }
}

/// Why records are unacceptable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What the service said.
    pub reason: String,
    /// The index of the record in the batch, if the service named it.
    pub index: Option<usize>,
    /// Whether size is the reason.
    pub too_large: bool,
    /// The most bytes allowed, if the service said so: of that record's data, or of the request if no record is
    /// named.
    pub allowed_bytes: Option<usize>,
}

/// What to do about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    /// Nothing: Kinesis has it.
    Accepted,
    /// Send it again, after a pause.
    Again {
        /// `ErrorCode`.
        code: String,
        /// The number of the shard, if named.
        shard: Option<u64>,
    },
    /// Send its records one by one: it is an aggregate in a shard where consumers drop it. Only
    /// [`crate::deliver`] finds out.
    Misplaced,
    /// Count and log it; retries do not help.
    Refused {
        /// `ErrorCode`.
        code: String,
    },
}

/// Judges the answer to a request with `count` entries.
pub fn verdict(answer: &Result<Response, TransportError>, count: usize) -> Verdict {
    match answer {
        Ok(response) => judge_reply(response, count).of_request(response.request_id()),
        Err(error) => judge_failure(error),
    }
}

fn judge_reply(response: &Response, count: usize) -> Verdict {
    if response.status.is_success() {
        if response.accepts_all(count) {
            return Verdict::Accepted;
        }
        return match response.records(count) {
            Some(records) if records.iter().all(|record| *record == RecordReply::Accepted) => Verdict::Accepted,
            Some(records) => Verdict::Answered(records.into_iter().map(judge_record).collect()),
            None => Verdict::Again {
                reason: format!("the reply to {count} records does not match them"),
                after: None,
                network: false,
                ambiguous: true,
                advice: None,
            },
        };
    }
    judge_error(response, count)
}

fn judge_failure(error: &TransportError) -> Verdict {
    let again = |ambiguous, advice| {
        let reason = error.to_string();
        Verdict::Again { reason, after: None, network: true, ambiguous, advice }
    };
    match error {
        TransportError::NoCredentials(reason) => operator(reason.clone(), "give Fluent Bit credentials"),
        TransportError::Connect(_) => again(false, None),
        TransportError::Misconfigured { advice, .. } => again(false, Some(advice)),
        TransportError::Ambiguous(_) => again(true, None),
    }
}

fn judge_record(reply: RecordReply) -> RecordVerdict {
    match reply {
        RecordReply::Accepted => RecordVerdict::Accepted,
        // AWS never gives these codes to a single record. Emulators do, for records that no retry makes acceptable.
        RecordReply::Failed { code, .. }
            if matches!(code.as_str(), "InvalidArgumentException" | "ValidationException") =>
        {
            RecordVerdict::Refused { code }
        }
        RecordReply::Failed { code, shard } => RecordVerdict::Again { code, shard },
    }
}

fn judge_error(response: &Response, count: usize) -> Verdict {
    let error = response.error();
    let status = response.status.as_u16();
    let reason = reason(status, &error);
    match error.code.as_str() {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "LimitExceededException"
        | "KMSThrottlingException" => again(reason, response),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => Verdict::Unauthorized { reason, server_time: response.date() },
        "ResourceNotFoundException" => operator(reason, "create the stream, or correct stream and region"),
        "AccessDeniedException" | "AccessDenied" => operator(reason, "grant kinesis:PutRecords on the stream"),
        "KMSAccessDeniedException" => operator(reason, "grant kms:GenerateDataKey on the stream's key"),
        "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
            operator(reason, "check the stream's KMS key")
        }
        "ValidationException" | "InvalidArgumentException" | "SerializationException" => {
            judge_complaint(status, &error, count)
        }
        _ if status == 413 => Verdict::Refused(Refusal { reason, too_large: true, ..Refusal::default() }),
        _ if status >= 500 || status == 429 || status == 408 => {
            // Kinesis itself answers with a code; a gateway may have passed the request on before it gave up.
            let ambiguous = matches!(status, 502 | 504) && error.code.is_empty();
            Verdict::Again { reason, after: response.retry_after(), network: false, ambiguous, advice: None }
        }
        // Unknown: keep the records and leave it to the operator.
        _ => operator(reason, CHECK_ENDPOINT),
    }
}

/// An error reply in a form that may be logged.
pub fn describe(response: &Response) -> String {
    with_request_id(reason(response.status.as_u16(), &response.error()), response.request_id())
}

/// An error in a form that may be logged. Any proxy may have written it, and it may quote records, so the message is
/// included only for codes whose messages never do.
fn reason(status: u16, error: &ServiceError) -> String {
    match (error.code.as_str(), error.message.as_str()) {
        ("", _) => format!("HTTP {status} without a readable error"),
        (code, message) if !message.is_empty() && speaks_of_no_record(code) => {
            one_line(&format!("HTTP {status} {code}: {message}"))
        }
        (code, _) => format!("HTTP {status} {code}"),
    }
}

/// Whether a code means an error of the caller, the stream or the service rather than of a record.
fn speaks_of_no_record(code: &str) -> bool {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    code.starts_with("KMS")
        || matches!(
            code,
            "AccessDenied"
                | "ExpiredToken"
                | "IncompleteSignature"
                | "InternalFailure"
                | "InvalidClientTokenId"
                | "InvalidSignature"
                | "LimitExceeded"
                | "MissingAuthenticationToken"
                | "ProvisionedThroughputExceeded"
                | "RequestExpired"
                | "RequestTimeTooSkewed"
                | "ResourceInUse"
                | "ResourceNotFound"
                | "ServiceUnavailable"
                | "SignatureDoesNotMatch"
                | "Throttling"
                | "UnrecognizedClient"
        )
}

fn operator(reason: String, advice: &'static str) -> Verdict {
    Verdict::Operator { reason, advice }
}

fn again(reason: String, response: &Response) -> Verdict {
    Verdict::Again { reason, after: response.retry_after(), network: false, ambiguous: false, advice: None }
}

/// Like [`reason`], for messages that quote records and must not be logged: includes only the constraint, in the
/// service's own words.
fn without_content(status: u16, error: &ServiceError) -> String {
    match constraint(&error.message) {
        Some(constraint) => {
            one_line(&format!("HTTP {status} {}: failed to satisfy constraint: {constraint}", error.code))
        }
        None => format!("HTTP {status} {}", error.code),
    }
}

fn judge_complaint(status: u16, error: &ServiceError, count: usize) -> Verdict {
    let reason = without_content(status, error);
    let Complaint { place, size_limit } = complaint(&error.message);
    let index = match place {
        // Not about a record.
        Place::Stream => return operator(reason, "correct stream"),
        Place::Record(index) => Some(index).filter(|&index| index < count),
        Place::Request | Place::Unknown => None,
    };
    Verdict::Refused(Refusal { reason, index, too_large: size_limit.is_some(), allowed_bytes: size_limit })
}

#[cfg(test)]
mod tests;
