use proptest::prelude::*;

use super::*;

const LAST: u128 = u128::MAX;
const HALF: u128 = 1 << 127;

/// A shard as `ListShards` shows it. The last sequence number marks a closed shard; some stand-ins also include the
/// member for open ones.
fn entry(id: u32, start: u128, end: u128, last: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "ShardId": format!("shardId-{id:012}"),
        "HashKeyRange": { "StartingHashKey": start.to_string(), "EndingHashKey": end.to_string() },
        "SequenceNumberRange": { "StartingSequenceNumber": "1", "EndingSequenceNumber": last },
        "ParentShardId": null,
    })
}

#[test]
fn open_shards_are_read_from_the_pages_of_a_reply() {
    // From the API reference; an open shard has no member for its last sequence number.
    let page = Page::parse(
        br#"{"Shards":[{"ShardId":"shardId-000000000001","ParentShardId":"shardId-000000000000","HashKeyRange":
            {"EndingHashKey":"68056473384187692692674921486353642280","StartingHashKey":
            "34028236692093846346337460743176821145"},"SequenceNumberRange":{"StartingSequenceNumber":
            "49579844037727333356165064238440708846556371693205002258"}}],"NextToken":"AAAA"}"#,
    )
    .unwrap();
    assert_eq!(page.next_token.as_deref(), Some("AAAA"));
    assert_eq!(page.shards.len(), 1);
    assert_eq!(page.shards[0].id, "shardId-000000000001");
    assert_eq!(page.shards[0].start, 34_028_236_692_093_846_346_337_460_743_176_821_145);
    assert_eq!(page.shards[0].end, 68_056_473_384_187_692_692_674_921_486_353_642_280);
    assert_eq!(page.shards[0].explicit_hash_key, "51042355038140769519506191114765231712");

    // A split: the parent is closed.
    let null = serde_json::Value::Null;
    let body = serde_json::json!({ "NextToken": null, "Shards": [
        entry(0, 0, LAST, "5".into()), entry(2, HALF, LAST, null.clone()), entry(1, 0, HALF - 1, null),
    ] });
    let page = Page::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(page.next_token, None);
    let map = ShardMap::new(page.shards).unwrap();
    assert_eq!(
        [0, LAST].map(|hash_key| map.owner(hash_key).unwrap().id.as_str()),
        ["shardId-000000000001", "shardId-000000000002"]
    );
    let last = map.owner(LAST).unwrap().id.clone();
    assert_eq!(map.placement(LAST, &last), Placement::Expected);
    assert_eq!(map.placement(LAST, "shardId-000000000000"), Placement::New, "it is closed");
}

#[test]
fn replies_that_make_no_sense_are_refused_with_the_reason() {
    for (body, reason) in [
        ("", "the reply to ListShards is unreadable: "),
        ("{}", "the reply to ListShards is unreadable: missing field `Shards`"),
        (r#"{"Shards":[{"ShardId":"s"}]}"#, "the reply to ListShards is unreadable: missing field `HashKeyRange`"),
        (
            r#"{"Shards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"2","EndingHashKey":"1"}}]}"#,
            "shard s has no range: 2 to 1",
        ),
        (
            r#"{"Shards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":
               "340282366920938463463374607431768211456"}}]}"#,
            "shard s has no range: 0 to 340282366920938463463374607431768211456",
        ),
        (
            r#"{"Shards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"-1","EndingHashKey":""}}]}"#,
            "shard s has no range: -1 to ",
        ),
    ] {
        let error = Page::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
    let body = serde_json::json!({ "Shards": [entry(0, 0, 10, ().into()), entry(1, 10, 20, ().into())] });
    let shards = Page::parse(body.to_string().as_bytes()).unwrap().shards;
    let error = ShardMap::new(shards).unwrap_err().to_string();
    assert_eq!(error, "the ranges of the shards shardId-000000000000 and shardId-000000000001 overlap");
}

/// A map of ranges, named by their index.
fn map(ranges: &[(u128, u128)]) -> ShardMap {
    let entries: Vec<_> = (0..).zip(ranges).map(|(id, (start, end))| entry(id, *start, *end, ().into())).collect();
    let body = serde_json::json!({ "Shards": entries });
    ShardMap::new(Page::parse(body.to_string().as_bytes()).unwrap().shards).unwrap()
}

#[test]
fn a_reply_shows_whether_a_record_is_in_the_shard_of_its_hash_key() {
    let null = serde_json::Value::Null;
    let body = serde_json::json!({ "Shards": [entry(1, 0, HALF - 1, null.clone()), entry(2, HALF, LAST, null)] });
    let map = ShardMap::new(Page::parse(body.to_string().as_bytes()).unwrap().shards).unwrap();
    assert!(!map.is_empty() && ShardMap::default().is_empty());
    let [low, high, other] = [1, 2, 3].map(|id| format!("shardId-{id:012}"));
    for (hash_key, named, placement) in [
        (LAST, &high, Placement::Expected),
        (LAST, &low, Placement::Foreign),
        (LAST, &other, Placement::New),
        (HALF, &high, Placement::Expected),
        (HALF - 1, &high, Placement::Foreign),
        (0, &low, Placement::Expected),
        (0, &other, Placement::New),
    ] {
        assert_eq!(map.placement(hash_key, named), placement, "{hash_key} {named}");
    }
}

#[test]
fn a_hash_key_belongs_to_the_shard_whose_range_holds_it() {
    let map = map(&[(0, 99), (100, HALF - 1), (HALF, HALF), (HALF + 10, LAST)]);
    for (hash_key, id) in [
        (0, Some(0)),
        (99, Some(0)),
        (100, Some(1)),
        (HALF - 1, Some(1)),
        (HALF, Some(2)),
        (HALF + 1, None),
        (HALF + 9, None),
        (HALF + 10, Some(3)),
        (LAST, Some(3)),
    ] {
        let expected = id.map(|id: u32| format!("shardId-{id:012}"));
        assert_eq!(map.owner(hash_key).map(|shard| shard.id.clone()), expected, "{hash_key}");
    }
    assert_eq!(ShardMap::default().owner(0), None);
}

proptest! {
    #[test]
    fn every_key_has_one_shard_and_its_explicit_hash_key_leads_there(
        mut cuts in prop::collection::vec(1..LAST, 0..50), key in "\\PC{1,20}", other in any::<u128>()
    ) {
        cuts.sort_unstable();
        cuts.dedup();
        let starts: Vec<u128> = [0].into_iter().chain(cuts.iter().copied()).collect();
        let ends: Vec<u128> = cuts.iter().map(|cut| cut - 1).chain([LAST]).collect();
        let ranges: Vec<_> = starts.into_iter().zip(ends).collect();
        let map = map(&ranges);
        for hash_key in [hash_key(&key), other, 0, LAST].into_iter().chain(cuts) {
            let shard = map.owner(hash_key).unwrap();
            prop_assert!(shard.start <= hash_key && hash_key <= shard.end);
            prop_assert!(ranges.contains(&(shard.start, shard.end)));
            prop_assert_eq!(map.owner(shard.explicit_hash_key.parse().unwrap()), Some(shard));
        }
    }
}

/// The producer library's own vector (user_record_test.cc).
#[test]
fn a_partition_key_hashes_to_its_md5() {
    assert_eq!(hash_key("abcd"), 0xe2fc_714c_4727_ee93_95f3_24cd_2e7f_331f);
    assert_eq!(hash_key(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
}
