//! Asks how a stream is configured: whether it distributes records itself, and how large they may be.

use std::fmt;

use serde::Deserialize;
use serde_json::json;

use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::control::ask::ask;
use crate::kinesis::stream::Stream;
use crate::kinesis::verdict::{Verdict, describe, verdict};

/// The strategy of streams whose shards are chosen by partition keys.
const BY_KEY: &str = "USER_PARTITION_KEY";

/// What is known of a stream from its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Whether the service chooses the shard of each record, whatever its keys.
    pub(crate) is_auto: bool,
    /// Most bytes of a record, if stated.
    pub(crate) max_record_bytes: Option<usize>,
}

/// Why a stream's configuration is unknown.
#[derive(Debug)]
pub(crate) enum DescribeError {
    /// No reply.
    Transport(TransportError),
    /// Too many calls in the account, or the service failed: asking later will help.
    Busy(String),
    /// Another error reply, in a form that may be logged.
    Refused(String),
    /// Not a description.
    Unreadable,
}

impl fmt::Display for DescribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DescribeError::Transport(error) => error.fmt(f),
            DescribeError::Busy(reason) | DescribeError::Refused(reason) => f.write_str(reason),
            DescribeError::Unreadable => f.write_str("the reply to DescribeStreamSummary is unreadable"),
        }
    }
}

impl std::error::Error for DescribeError {}

/// Describes `stream`.
///
/// # Errors
/// There is no reply, an error, or an unusable reply.
pub(crate) async fn describe_stream<T: Transport>(
    transport: &T,
    stream: &Stream,
) -> Result<Description, DescribeError> {
    let request = json!({ stream.member(): stream.as_str() });
    let reply = ask(transport, Operation::DescribeStreamSummary, &request).await.map_err(DescribeError::Transport)?;
    if reply.status.is_success() {
        return parse(&reply.body).ok_or(DescribeError::Unreadable);
    }
    let reason = describe(&reply);
    match verdict(&Ok(reply), 0) {
        Verdict::Again { .. } => Err(DescribeError::Busy(reason)),
        _ => Err(DescribeError::Refused(reason)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    stream_description_summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_kib: Option<usize>,
    #[serde(rename = "RecordDistributionStrategy")]
    strategy: Option<String>,
}

/// Reads a reply
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>, read 2026-11). Streams
/// with provisioned shards have no strategy. One that is not known yet is taken for one that ignores keys, because
/// that loses nothing.
fn parse(body: &[u8]) -> Option<Description> {
    let Summary { max_record_kib, strategy } = serde_json::from_slice::<Reply>(body).ok()?.stream_description_summary;
    Some(Description {
        is_auto: strategy.is_some_and(|strategy| strategy != BY_KEY),
        max_record_bytes: max_record_kib.filter(|kib| *kib > 0).and_then(|kib| kib.checked_mul(1024)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service's own form, from its API reference.
    fn reply(members: &str) -> Option<Description> {
        let summary = format!(
            r#"{{"StreamName":"logs","StreamStatus":"ACTIVE","StreamModeDetails":{{"StreamMode":"ON_DEMAND"}},"RetentionPeriodHours":24,"OpenShardCount":4,"KeyId":null{members}}}"#
        );
        parse(format!(r#"{{"StreamDescriptionSummary":{summary}}}"#).as_bytes())
    }

    #[test]
    fn a_strategy_other_than_by_key_ignores_keys_and_none_does_not() {
        for (strategy, is_auto) in [
            (r#","RecordDistributionStrategy":"AUTO""#, true),
            (r#","RecordDistributionStrategy":"USER_PARTITION_KEY""#, false),
            (r#","RecordDistributionStrategy":"SOMETHING_NEW""#, true),
            (r#","RecordDistributionStrategy":null"#, false),
            ("", false),
        ] {
            assert_eq!(reply(strategy).unwrap().is_auto, is_auto, "{strategy}");
        }
    }

    #[test]
    fn the_size_of_records_is_read_in_bytes() {
        for (size, bytes) in [
            (r#","MaxRecordSizeInKiB":1024"#, Some(1 << 20)),
            (r#","MaxRecordSizeInKiB":10240"#, Some(10 << 20)),
            (r#","MaxRecordSizeInKiB":0"#, None),
            (r#","MaxRecordSizeInKiB":18446744073709551615"#, None),
            ("", None),
        ] {
            assert_eq!(reply(size).unwrap().max_record_bytes, bytes, "{size}");
        }
    }

    #[test]
    fn what_is_no_description_says_nothing() {
        for body in
            ["", "{}", "[]", "<html>", r#"{"StreamDescriptionSummary":null}"#, r#"{"StreamDescriptionSummary":[1]}"#]
        {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
    }
}
