//! The shards of a stream: listed, split and merged.

use serde_json::{Value, json};

use super::client::{Client, JSON, Request, put, send};
use testing::fake_kinesis::{FakeKinesis, Settings, Stream};

const LAST: &str = "340282366920938463463374607431768211455";

fn start(shards: u32) -> FakeKinesis {
    let streams = vec![Stream::new("logs", shards)];
    FakeKinesis::start(Settings { streams, ..Settings::default() })
}

fn list(body: &Value) -> Request {
    Request::new(JSON, body.to_string()).with("X-Amz-Target", Some("Kinesis_20131202.ListShards"))
}

fn shards(server: &FakeKinesis, body: &Value) -> Vec<Value> {
    let reply = send(server, &list(body));
    assert_eq!(reply.status, 200);
    reply.json()["Shards"].as_array().unwrap().clone()
}

#[test]
fn a_shard_is_listed_with_its_range_and_without_what_it_does_not_have() {
    let server = start(2);
    let half = "170141183460469231731687303715884105728";
    let entry = |id: &str, start: &str, end: &str, sequence: &str| {
        json!({
            "ShardId": id,
            "HashKeyRange": { "StartingHashKey": start, "EndingHashKey": end },
            "SequenceNumberRange": { "StartingSequenceNumber": sequence },
        })
    };
    let sequence = |shard: u32| format!("496590338271490256608559692{shard:05}{:024}", 0);
    assert_eq!(
        shards(&server, &json!({ "StreamName": "logs" })),
        [
            entry("shardId-000000000000", "0", "170141183460469231731687303715884105727", &sequence(0)),
            entry("shardId-000000000001", half, LAST, &sequence(1)),
        ]
    );
    assert_eq!((server.stats().shard_lists, server.stats().requests), (1, 0));
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/logs";
    assert_eq!(shards(&server, &json!({ "StreamARN": arn })).len(), 2);
    let (status, code, _) = send(&server, &list(&json!({ "StreamName": "other" }))).error();
    assert_eq!((status, code.as_str()), (400, "ResourceNotFoundException"));
}

#[test]
fn what_was_split_or_merged_is_closed_and_its_range_goes_to_its_children() {
    let server = start(2);
    server.reshard("logs", |stream| stream.split(0));
    server.reshard("logs", |stream| stream.merge(3));
    let all = shards(&server, &json!({ "StreamName": "logs" }));
    let closed = |shard: &Value| shard["SequenceNumberRange"].get("EndingSequenceNumber").is_some();
    assert_eq!(all.iter().map(closed).collect::<Vec<_>>(), [true, true, false, true, false]);
    assert_eq!(all[2]["ParentShardId"], "shardId-000000000000");
    assert_eq!(all[4]["ParentShardId"], "shardId-000000000003");
    assert_eq!(all[4]["AdjacentParentShardId"], "shardId-000000000001");
    assert_eq!(all[4]["HashKeyRange"]["EndingHashKey"], LAST);
    let open = shards(&server, &json!({ "StreamName": "logs", "ShardFilter": { "Type": "AT_LATEST" } }));
    assert_eq!(
        open.iter().map(|shard| shard["ShardId"].as_str().unwrap()).collect::<Vec<_>>(),
        ["shardId-000000000002", "shardId-000000000004"]
    );
    let with = |hash_key: &str| {
        let record = json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": hash_key });
        send(&server, &put(&[record])).json()["Records"][0]["ShardId"].as_str().unwrap().to_owned()
    };
    assert_eq!([with("0"), with(LAST)], ["shardId-000000000002", "shardId-000000000004"]);
}

#[test]
fn a_long_list_comes_in_pages_and_a_token_stands_for_the_stream() {
    let server = start(25);
    let mut client = Client::plain(&server);
    let filter = json!({ "Type": "AT_LATEST" });
    let mut body = json!({ "StreamName": "logs", "MaxResults": 10, "ShardFilter": filter });
    let mut pages = Vec::new();
    loop {
        let reply = client.send(&list(&body)).unwrap().json();
        pages.push(reply["Shards"].as_array().unwrap().len());
        let Some(token) = reply["NextToken"].as_str() else { break };
        body = json!({ "NextToken": token, "MaxResults": 10 });
        let both = json!({ "NextToken": token, "StreamName": "logs" });
        assert_eq!(client.send(&list(&both)).unwrap().error().1, "InvalidArgumentException");
    }
    assert_eq!(pages, [10, 10, 5]);
    assert_eq!(client.send(&list(&json!({ "NextToken": "x" }))).unwrap().error().1, "InvalidArgumentException");
}

#[test]
fn the_list_may_be_denied_and_is_signed_for() {
    let server = start(1);
    server.deny_list_shards(true);
    let (status, code, message) = send(&server, &list(&json!({ "StreamName": "logs" }))).error();
    assert_eq!((status, code.as_str()), (400, "AccessDeniedException"));
    assert!(message.contains("not authorized to perform: kinesis:ListShards"), "{message}");
    server.deny_list_shards(false);
    let unsigned = list(&json!({ "StreamName": "logs" })).with("Authorization", None);
    assert_eq!(send(&server, &unsigned).error().1, "MissingAuthenticationTokenException");
}
