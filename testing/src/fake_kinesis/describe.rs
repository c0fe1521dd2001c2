//! The operation `DescribeStreamSummary`.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>, read 2026-11.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ACCOUNT;
use super::error::ServiceError;
use super::shard::Stream;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamSummary {
    /// The stream by name.
    pub stream_name: Option<String>,
    /// The stream by ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
}

impl DescribeStreamSummary {
    pub fn read(body: &[u8]) -> Result<DescribeStreamSummary, ServiceError> {
        serde_json::from_slice(body).map_err(|error| ServiceError::serialization(Some(error.to_string())))
    }
}

/// The description of an on-demand stream.
pub fn summary(stream: &Stream) -> Value {
    let name = &*stream.name;
    json!({
        "StreamDescriptionSummary": {
            "StreamName": name,
            "StreamARN": format!("arn:aws:kinesis:eu-west-1:{ACCOUNT}:stream/{name}"),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": { "StreamMode": "ON_DEMAND" },
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_790_000_000.0,
            "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
            "EncryptionType": "NONE",
            "OpenShardCount": stream.open_shards().len(),
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": stream.max_record_size / 1024,
            "RecordDistributionStrategy": if stream.auto { "AUTO" } else { "USER_PARTITION_KEY" },
        }
    })
}
