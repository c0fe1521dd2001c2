//! Lists the open shards of a stream.

use std::fmt;

use serde_json::json;

use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::control::ask::ask;
use crate::kinesis::shards::{Page, ShardError, ShardMap};
use crate::kinesis::stream::Stream;
use crate::kinesis::verdict::describe;
use crate::redact::one_line;

/// Shards per page. 10,000 is the maximum
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11); the default is
/// 1,000.
const PAGE_SHARDS: u32 = 10_000;

/// No stream has more. Guards against a service that never ends its list.
const MAX_PAGES: usize = 100;

/// Why the shards of a stream are unknown.
#[derive(Debug)]
pub(crate) enum ListShardsError {
    /// No reply.
    Transport(TransportError),
    /// An error reply, in a form that may be logged.
    Refused(String),
    /// The shards in the reply do not partition the hash keys.
    Shards(ShardError),
    /// The reply contains no open shard.
    NoShard,
    /// The list has more than a hundred pages.
    TooManyPages,
}

impl fmt::Display for ListShardsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListShardsError::Transport(error) => error.fmt(f),
            ListShardsError::Refused(reason) => f.write_str(reason),
            // It quotes the reply.
            ListShardsError::Shards(error) => f.write_str(&one_line(&error.to_string())),
            ListShardsError::NoShard => f.write_str("the reply to ListShards names no open shard"),
            ListShardsError::TooManyPages => write!(f, "the reply to ListShards has more than {MAX_PAGES} pages"),
        }
    }
}

impl std::error::Error for ListShardsError {}

/// Lists the open shards of `stream`, page by page.
///
/// # Errors
///
/// There is no reply, an error, or an unusable reply.
pub(crate) async fn list_shards<T: Transport>(transport: &T, stream: &Stream) -> Result<ShardMap, ListShardsError> {
    let mut shards = Vec::new();
    let mut body = first_page(stream);
    for _ in 0..MAX_PAGES {
        let reply = ask(transport, Operation::ListShards, &body).await.map_err(ListShardsError::Transport)?;
        if !reply.status.is_success() {
            return Err(ListShardsError::Refused(describe(&reply)));
        }
        let page = Page::parse(&reply.body).map_err(ListShardsError::Shards)?;
        shards.extend(page.shards);
        match page.next_token {
            Some(token) => body = json!({ "NextToken": token }),
            None if shards.is_empty() => return Err(ListShardsError::NoShard),
            None => return ShardMap::new(shards).map_err(ListShardsError::Shards),
        }
    }
    Err(ListShardsError::TooManyPages)
}

/// The request for the first page. Later pages have a token, which implies the stream; naming both is an error.
fn first_page(stream: &Stream) -> serde_json::Value {
    json!({ stream.member(): stream.as_str(), "MaxResults": PAGE_SHARDS, "ShardFilter": { "Type": "AT_LATEST" } })
}
