//! The operation `ListShards`.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ServiceError;
use super::shard::{Stream, sequence_number, shard_id};

/// Shards per page unless the request sets a number.
const DEFAULT_RESULTS: usize = 1000;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListShards {
    /// The stream by name.
    pub stream_name: Option<String>,
    /// The stream by ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
    shard_filter: Option<ShardFilter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter {
    r#type: String,
}

impl ListShards {
    /// Reads a request. A continuation's token stands for everything in the first request.
    pub fn read(body: &[u8]) -> Result<(ListShards, usize), ServiceError> {
        let request: ListShards =
            serde_json::from_slice(body).map_err(|error| ServiceError::serialization(Some(error.to_string())))?;
        let Some(token) = &request.next_token else { return Ok((request, 0)) };
        if request.stream_name.is_some() {
            let message = "NextToken and StreamName cannot be provided together.";
            return Err(ServiceError::client("InvalidArgumentException", message));
        }
        let invalid = || ServiceError::client("InvalidArgumentException", "NextToken is invalid.");
        let (from, first) = token.split_once(' ').ok_or_else(invalid)?;
        let from = from.parse().map_err(|_| invalid())?;
        let first: Value = serde_json::from_str(first).map_err(|_| invalid())?;
        let first = serde_json::from_value(first).map_err(|_| invalid())?;
        Ok((ListShards { max_results: request.max_results, ..first }, from))
    }

    /// The page of at most this many shards that begins at `from`.
    pub fn answer(&self, stream: &Stream, from: usize, most: usize) -> Value {
        let open_only = self.shard_filter.as_ref().is_some_and(|filter| filter.r#type == "AT_LATEST");
        let listed: Vec<Value> = (0..)
            .zip(&stream.shards)
            .filter(|(_, shard)| !(open_only && shard.closed))
            .map(|(number, shard)| {
                let last = shard.closed.then(|| sequence_number(number, shard.sequences + 1));
                let parent = |place: usize| shard.parents.get(place).map(|parent| shard_id(*parent));
                without_nulls(json!({
                    "ShardId": shard_id(number),
                    "ParentShardId": parent(0),
                    "AdjacentParentShardId": parent(1),
                    "HashKeyRange": {
                        "StartingHashKey": shard.range.start().to_string(),
                        "EndingHashKey": shard.range.end().to_string(),
                    },
                    "SequenceNumberRange": without_nulls(json!({
                        "StartingSequenceNumber": sequence_number(number, 0),
                        "EndingSequenceNumber": last,
                    })),
                }))
            })
            .collect();
        let count = self.max_results.unwrap_or(DEFAULT_RESULTS).min(most);
        let page: Vec<&Value> = listed.iter().skip(from).take(count).collect();
        let filter = self.shard_filter.as_ref().map(|filter| json!({ "Type": filter.r#type }));
        let first = json!({ "StreamName": &*stream.name, "ShardFilter": filter });
        let rest = (listed.len() > from + count).then(|| format!("{} {first}", from + count));
        without_nulls(json!({ "Shards": page, "NextToken": rest }))
    }
}

/// The service omits absent members.
fn without_nulls(mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.retain(|_, member| !member.is_null());
    }
    object
}
