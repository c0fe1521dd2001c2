//! What the labels of metrics may say: few values, known beforehand, because each is a series in every output.

/// All outcomes: what Kinesis did, the error codes that it answers a whole request with, and what came in place of them.
pub const OUTCOMES: [&str; 21] = [
    "ok",
    "partial",
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ExpiredTokenException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "AccessDeniedException",
    "KMSAccessDeniedException",
    "ResourceNotFoundException",
    "ValidationException",
    "InternalFailure",
    "ServiceUnavailable",
    "other_4xx",
    "other_5xx",
    "unreadable",
    "no_reply",
    "no_connection",
    "no_credentials",
];

/// Why a record is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its maps and arrays stand too deep in each other.
    TooDeep,
    /// It is too large.
    TooLarge,
    /// It has nothing under the key that alone is sent.
    NoLogKey,
    /// It cannot be compressed.
    Compression,
    /// It is no event.
    NotAnEvent,
    /// Kinesis does not want it.
    ByKinesis,
}

impl RefusalReason {
    /// Their names as a metric's label, in order.
    pub const NAMES: [&str; 6] =
        ["too_deep", "too_large", "no_log_key", "compression", "not_an_event", "refused_by_kinesis"];
}
