//! What sends a request, and why there may be no reply.

use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

use crate::kinesis::reply::Response;
use crate::redact::one_line;

/// An operation of Kinesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store records.
    PutRecords,
    /// The same, only to learn whether it would succeed. Always in JSON.
    DryRun,
    /// List the stream's shards. Always in JSON.
    ListShards,
    /// Describe the stream. Always in JSON.
    DescribeStreamSummary,
}

impl Operation {
    pub(super) fn target(self) -> &'static str {
        match self {
            Operation::PutRecords | Operation::DryRun => "Kinesis_20131202.PutRecords",
            Operation::ListShards => "Kinesis_20131202.ListShards",
            Operation::DescribeStreamSummary => "Kinesis_20131202.DescribeStreamSummary",
        }
    }
}

/// Sends a request and returns the reply: [`crate::kinesis::client::Client`], or a test's.
pub trait Transport: 'static {
    /// Posts `body` and returns the complete reply.
    ///
    /// # Errors
    /// When there is none.
    fn send(&self, operation: Operation, body: Bytes) -> impl Future<Output = Result<Response, TransportError>>;

    /// Prepares for another try after the service refused the credentials or signature of a request sent at
    /// `sent_at`. Corrects the clock if it differs from the server's, and drops the credentials at most once a
    /// minute. Returns whether another try makes sense now.
    fn renew(&self, sent_at: Instant, server_time: Option<SystemTime>) -> bool;
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// The request could not be signed, so nothing was sent.
    NoCredentials(String),
    /// No connection: nothing was sent.
    Connect(String),
    /// The same, and no retry will help until somebody corrects something.
    Misconfigured {
        /// What happened.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The connection broke or timed out after the request was sent. Whether Kinesis has the records is unknown.
    Ambiguous(String),
}

impl TransportError {
    /// Whether nothing was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        !matches!(self, TransportError::Ambiguous(_))
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::NoCredentials(reason) => f.write_str(reason),
            // Servers and proxies contribute to these texts.
            TransportError::Connect(reason) | TransportError::Misconfigured { reason, .. } => {
                write!(f, "cannot connect: {}", one_line(reason))
            }
            TransportError::Ambiguous(reason) => write!(f, "no reply: {}", one_line(reason)),
        }
    }
}
