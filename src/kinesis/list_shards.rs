//! Which open shards a stream has, asked of Kinesis.

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use crate::kinesis::client::{Operation, Transport};
use crate::kinesis::reply::Response;
use crate::kinesis::shards::{Page, ShardMap};
use crate::kinesis::stream::Stream;
use crate::kinesis::verdict::{Verdict, describe, verdict};
use crate::redact::one_line;

/// Shards asked for at once; more than that come in pages. 10,000 is the most that is allowed
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11), the default 1,000.
const PAGE_SHARDS: u32 = 10_000;

/// No stream has more; a service that never comes to an end is not followed.
const MAX_PAGES: usize = 100;

/// Asks for the open shards of `stream`, page by page. The error is the reason why they are not known.
pub async fn list_shards<T: Transport>(transport: &T, stream: &Stream) -> Result<ShardMap, String> {
    let mut shards = Vec::new();
    let mut body = first_page(stream);
    for _ in 0..MAX_PAGES {
        let reply = ask(transport, Bytes::from(body.to_string())).await?;
        if !reply.status.is_success() {
            return Err(describe(&reply));
        }
        let page = Page::parse(&reply.body).map_err(|reason| one_line(&reason))?;
        shards.extend(page.shards);
        match page.next_token {
            Some(token) => body = json!({ "NextToken": token }),
            None if shards.is_empty() => return Err("the reply to ListShards names no open shard".to_owned()),
            None => return ShardMap::new(shards).map_err(|reason| one_line(&reason)),
        }
    }
    Err(format!("the reply to ListShards has more than {MAX_PAGES} pages"))
}

async fn ask<T: Transport>(transport: &T, body: Bytes) -> Result<Response, String> {
    let sent_at = Instant::now();
    let mut answer = transport.send(Operation::ListShards, body.clone()).await;
    if let Verdict::Unauthorized { server_time, .. } = verdict(&answer, 0)
        && transport.renew(sent_at, server_time)
    {
        answer = transport.send(Operation::ListShards, body).await;
    }
    answer.map_err(|error| error.to_string())
}

/// A token names the stream already, and a request that names both is refused.
fn first_page(stream: &Stream) -> serde_json::Value {
    let name = if stream.is_arn() { "StreamARN" } else { "StreamName" };
    json!({ name: stream.as_str(), "MaxResults": PAGE_SHARDS, "ShardFilter": { "Type": "AT_LATEST" } })
}
