//! Events as inputs and filters of the world make them, and what is sent of each.

use base64_simd::STANDARD;
use kinesis::config::Config;
use kinesis::kinesis::stream::Stream;
use kinesis::msgpack::Reader;
use kinesis::pack::{Packer, RecordIssue};
use kinesis::record::StreamTemplate;
use kinesis::record_set::RecordSet;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use testing::property;

/// A record of a request: its data as text, its partition key and its explicit hash key.
#[derive(Debug, PartialEq)]
struct Sent {
    data: String,
    key: String,
    hash_key: Option<String>,
}

/// What is sent of a chunk, and what is said of its records.
fn send(options: &[(&str, &str)], chunk: &[u8]) -> (Vec<Sent>, Vec<RecordIssue>) {
    let config = Config::parse(&property(options)).unwrap_or_else(|error| panic!("{error}"));
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, &config.requests, RecordSet::default());
    let (mut random, mut issues, mut sent) = (SmallRng::seed_from_u64(1), Vec::new(), Vec::new());
    while let Some(batch) = packer.next_batch(&mut random, &mut |_, issue| issues.push(issue)) {
        let body: Value = serde_json::from_slice(&batch.body()).unwrap();
        sent.extend(body["Records"].as_array().unwrap().iter().map(record));
    }
    (sent, issues)
}

fn record(record: &Value) -> Sent {
    let text = |member: &str| record[member].as_str().map(str::to_owned);
    let data = STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap();
    let data = String::from_utf8(data).unwrap();
    Sent { data, key: text("PartitionKey").unwrap(), hash_key: text("ExplicitHashKey") }
}

/// The data of each record of a chunk about which there is nothing to say.
fn data(options: &[(&str, &str)], chunk: &[u8]) -> Vec<String> {
    let (sent, issues) = send(options, chunk);
    assert_eq!(issues, []);
    sent.into_iter().map(|sent| sent.data).collect()
}

/// An event at 1,600,000,000.5 seconds.
fn event(body: &Value) -> Vec<u8> {
    rmp_serde::to_vec(&(1_600_000_000.5, body)).unwrap()
}

/// A map whose entries are in this order and may repeat.
fn map(entries: &[(&str, Value)]) -> Vec<u8> {
    let mut body = vec![0x80 | entries.len() as u8];
    for (key, value) in entries {
        body.extend(rmp_serde::to_vec(key).unwrap());
        body.extend(rmp_serde::to_vec(value).unwrap());
    }
    body
}

#[test]
fn an_event_of_the_last_second_before_1970_or_of_2106_is_sent() {
    let time = [("time_key", "t"), ("time_key_format", "iso8601")];
    for (head, shown) in [
        (&b"\x92\xff"[..], "1969-12-31T23:59:59.000000Z"),
        (b"\x92\xfe", "1969-12-31T23:59:58.000000Z"),
        (b"\x92\xcb\xbf\xe0\0\0\0\0\0\0", "1969-12-31T23:59:59.500000Z"),
        (b"\x92\xd7\0\xff\xff\xff\xff\0\0\0\x05", "2106-02-07T06:28:15.000000Z"),
        (b"\x92\x92\xd7\0\xff\xff\xff\xff\0\0\x27\x10\x80", "2106-02-07T06:28:15.000010Z"),
    ] {
        let chunk = [head, b"\x81\xa1a\x01"].concat();
        assert_eq!(data(&[], &chunk), [r#"{"a":1}"#], "{head:02x?}");
        assert_eq!(data(&time, &chunk), [format!(r#"{{"a":1,"t":"{shown}"}}"#)], "{head:02x?}");
    }
}

#[test]
fn the_emoji_of_pythons_json_is_one_in_every_form_of_text() {
    // What Fluent Bit up to 3.2 makes of {"log": "\ud83d\ude00"}.
    let chunk = b"\x92\x01\x82\xa3log\xa6\xed\xa0\xbd\xed\xb8\x80\xa6\xed\xa0\xbd\xed\xb8\x80\x01";
    for (options, expected) in [
        (&[][..], "{\"log\":\"😀\",\"😀\":1}"),
        (&[("log_key", "log")], "😀"),
        (&[("format", "ltsv")], "log:😀\t😀:1\n"),
        (&[("format", "csv"), ("format_fields", "log")], "\"😀\"\n"),
        (&[("format", "tsv"), ("format_fields", "log")], "😀\n"),
        (&[("format", "single_value"), ("message_key", "log")], "😀\n"),
        (&[("format", "out_file"), ("time_key_format", "epoch")], "1\tapp\t{\"log\":\"😀\",\"😀\":1}\n"),
    ] {
        assert_eq!(data(options, chunk), [expected], "{options:?}");
        let (sent, _) = send(&[options, &[("partition_key", "log")]].concat(), chunk);
        assert_eq!(sent[0].key, "😀");
    }
    let half = b"\x92\x01\x81\xa3log\xa3\xed\xa0\xbd";
    assert_eq!(data(&[], half), ["{\"log\":\"\u{fffd}\u{fffd}\u{fffd}\"}"]);
}

#[test]
fn two_maps_of_one_name_are_merged_if_asked_for() {
    // As two filters `nest` leave it: each makes a map of its own.
    let body = map(&[
        ("nested", json!({"one": "v1"})),
        ("kubernetes", json!({"pod_name": "p"})),
        ("nested", json!({"two": "v2"})),
        ("kubernetes", json!({"cluster": "c"})),
    ]);
    let chunk = [&b"\x92\x01"[..], &body].concat();
    let last = r#"{"nested":{"two":"v2"},"kubernetes":{"cluster":"c"}}"#;
    let merged = r#"{"nested":{"one":"v1","two":"v2"},"kubernetes":{"pod_name":"p","cluster":"c"}}"#;
    assert_eq!(data(&[], &chunk), [last]);
    assert_eq!(data(&[("duplicate_keys", "last")], &chunk), [last]);
    let merge = ("duplicate_keys", "merge");
    assert_eq!(data(&[merge], &chunk), [merged]);
    let (sent, issues) = send(&[merge, ("partition_key", "kubernetes->pod_name")], &chunk);
    assert_eq!((sent[0].key.as_str(), issues.len()), ("p", 0), "a path finds what was merged");
    assert_eq!(data(&[merge, ("log_key", "nested")], &chunk), [r#"{"one":"v1","two":"v2"}"#]);
    assert_eq!(data(&[merge, ("data_keys", "nested->one")], &chunk), [r#"{"nested":{"one":"v1"}}"#]);
}

#[test]
fn a_stream_by_template_is_that_of_the_merged_maps() {
    let body = map(&[("k", json!({"ns": "shop"})), ("k", json!({"pod": "p"}))]);
    let template = |merges| StreamTemplate::parse("logs-$k['ns']").unwrap().with_merged_maps(merges);
    for (merges, stream) in [(true, Some("logs-shop")), (false, None)] {
        let (mut reader, mut name) = (Reader::new(&body), String::new());
        assert_eq!(template(merges).read(b"tag", &mut reader, &mut name), Some(stream));
        assert_eq!(reader.rest(), b"", "the whole body is read");
    }
}

#[test]
fn an_event_without_entries_is_dropped_if_asked_for() {
    let chunk = [event(&json!({})), event(&json!({"log": "l", "k": 1})), event(&json!({"k": 2}))].concat();
    let dropped = |options: &[(&str, &str)]| {
        let (sent, issues) = send(&[options, &[("drop_empty", "on")]].concat(), &chunk);
        assert!(issues.iter().all(|issue| *issue == RecordIssue::Dropped), "{issues:?}");
        (sent.into_iter().map(|sent| sent.data).collect::<Vec<_>>(), issues.len())
    };
    let sent = |data: &[&str]| data.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    assert_eq!(data(&[], &chunk).len(), 3);
    assert_eq!(dropped(&[]), (sent(&[r#"{"k":1,"log":"l"}"#, r#"{"k":2}"#]), 1));
    for choice in [("data_keys", "log"), ("exclude_keys", "k")] {
        assert_eq!(dropped(&[choice]), (sent(&[r#"{"log":"l"}"#]), 2), "{choice:?}");
        let time = [choice, ("time_key", "t"), ("time_key_format", "epoch")];
        assert_eq!(dropped(&time), (sent(&[r#"{"log":"l","t":1600000000}"#]), 2), "a time alone is nothing");
    }
    assert_eq!(dropped(&[("data_keys", "log"), ("log_key", "log")]), (sent(&["l"]), 2));
    assert_eq!(dropped(&[("data_keys", "log"), ("format", "ltsv")]), (sent(&["log:l\n"]), 2));
    assert_eq!(dropped(&[("data_keys", "log"), ("aggregation", "lines")]), (sent(&["{\"log\":\"l\"}\n"]), 2));
}

#[test]
fn a_time_is_a_number_where_the_format_is_an_epoch() {
    let chunk = event(&json!({"a": 1}));
    for (format, expected) in [
        ("epoch", "1600000000"),
        ("epoch_ms", "1600000000500"),
        ("epoch_us", "1600000000500000"),
        ("epoch_ns", "1600000000500000000"),
        ("iso8601", "\"2020-09-13T12:26:40.500000Z\""),
        ("%s", "\"1600000000\""),
    ] {
        let time = [("time_key", "t"), ("time_key_format", format)];
        assert_eq!(data(&time, &chunk), [format!(r#"{{"a":1,"t":{expected}}}"#)]);
        let text = expected.trim_matches('"');
        let (sent, _) = send(&[&time[..], &[("partition_key", "t")]].concat(), &chunk);
        assert_eq!(sent[0].key, text);
        let csv = [&time[..], &[("format", "csv"), ("format_fields", "t,a")]].concat();
        assert_eq!(data(&csv, &chunk), [format!("\"{text}\",\"1\"\n")]);
    }
}

#[test]
fn a_record_has_the_hash_key_of_its_event_and_one_without_goes_by_its_partition_key() {
    let route = |hash: Value| event(&json!({"route": {"hash": hash}, "k": "p"}));
    let chunk = [route(json!("42")), route(json!(7)), route(json!("x")), event(&json!({"k": "p"}))].concat();
    for partition_key in [&[][..], &[("partition_key", "k")], &[("partition_key", "constant:all of one")]] {
        let options = [partition_key, &[("explicit_hash_key", "route->hash"), ("exclude_keys", "route")]].concat();
        let (sent, issues) = send(&options, &chunk);
        let hash_keys: Vec<Option<&str>> = sent.iter().map(|sent| sent.hash_key.as_deref()).collect();
        assert_eq!(hash_keys, [Some("42"), Some("7"), None, None]);
        assert!(sent.iter().all(|sent| sent.data == r#"{"k":"p"}"#), "{sent:?}");
        let without = |issue: &RecordIssue| matches!(issue, RecordIssue::Altered(issue) if issue.no_hash_key);
        assert_eq!((issues.len(), issues.iter().all(without)), (2, true), "{issues:?}");
        match partition_key {
            [("partition_key", "k")] => assert!(sent.iter().all(|sent| sent.key == "p")),
            [_] => assert!(sent.iter().all(|sent| sent.key == "all of one")),
            _ => assert!(sent.iter().all(|sent| sent.key.len() == 6), "{sent:?}"),
        }
    }
}

/// An event of OpenTelemetry with severity, in a group with a resource.
fn of_opentelemetry(body: &Value) -> Vec<u8> {
    let head =
        |time: &[u8], metadata: &Value| [b"\x92\x92\xd7\0", time, &rmp_serde::to_vec(metadata).unwrap()].concat();
    let group = json!({"resource": {"attributes": {"service.name": "shop"}}, "scope": {"name": "lib"}});
    let metadata = json!({"otlp": {"severity_text": "INFO", "trace_id": "5b8e", "attributes": {"order.id": 9_007_199_254_740_993_u64}}});
    [
        head(b"\xff\xff\xff\xff\0\0\0\0", &json!({"schema": "otlp"})),
        rmp_serde::to_vec(&group).unwrap(),
        head(b"\0\0\0\x01\0\0\0\0", &metadata),
        rmp_serde::to_vec(body).unwrap(),
        head(b"\xff\xff\xff\xfe\0\0\0\0", &json!({})),
        rmp_serde::to_vec(&json!({})).unwrap(),
        head(b"\0\0\0\x02\0\0\0\0", &json!({})),
        rmp_serde::to_vec(&json!({"alone": true})).unwrap(),
    ]
    .concat()
}

const ADDED: [(&str, &str); 3] = [("tag_key", "tag"), ("metadata_key", "meta"), ("group_key", "group")];

#[test]
fn metadata_group_and_tag_are_added_where_there_are_any() {
    let chunk = of_opentelemetry(&json!({"log": "order placed"}));
    assert_eq!(data(&[("stream", "logs")], &chunk), [r#"{"log":"order placed"}"#, r#"{"alone":true}"#]);
    let options = [&[("stream", "logs")][..], &ADDED].concat();
    let whole = concat!(
        r#"{"log":"order placed","tag":"app","meta":{"otlp":{"attributes":{"order.id":9007199254740993},"#,
        r#""severity_text":"INFO","trace_id":"5b8e"}},"#,
        r#""group":{"resource":{"attributes":{"service.name":"shop"}},"scope":{"name":"lib"}}}"#
    );
    assert_eq!(data(&options, &chunk), [whole, r#"{"alone":true,"tag":"app"}"#]);
    let with = |more: &[(&str, &str)]| data(&[&options, more].concat(), &chunk);
    let chosen = [
        ("data_keys", "log,tag,meta->otlp,group->scope"),
        ("exclude_keys", "meta->otlp->severity_text,meta->otlp->trace_id"),
        ("replace_dots", "_"),
    ];
    let parts = concat!(
        r#"{"log":"order placed","tag":"app","meta":{"otlp":{"attributes":{"order_id":9007199254740993}}},"#,
        r#""group":{"scope":{"name":"lib"}}}"#
    );
    assert_eq!(with(&chosen), [parts, r#"{"tag":"app"}"#]);
    let csv = [("format", "csv"), ("format_fields", "log,tag,meta->otlp->trace_id,group->scope->name")];
    assert_eq!(with(&csv)[0], "\"order placed\",\"app\",\"5b8e\",\"lib\"\n");
    let alone = |more: &[(&str, &str)]| data(&[&[("stream", "logs"), ADDED[0]], more].concat(), &chunk);
    assert_eq!(alone(&[("format", "ltsv"), ("data_keys", "log,tag")])[0], "log:order placed\ttag:app\n");
    let time = [("time_key", "t"), ("data_keys", "tag"), ("time_key_format", "epoch")];
    assert_eq!(alone(&time)[0], r#"{"tag":"app","t":1}"#);
}

#[test]
fn a_key_of_the_events_own_is_replaced_and_said_to_be() {
    let chunk = of_opentelemetry(&json!({"group": 1, "log": "l", "meta": 2, "tag": 3}));
    let options = [("stream", "logs"), ("tag_key", "tag")];
    let (sent, issues) = send(&options, &chunk);
    assert_eq!(sent[0].data, r#"{"group":1,"log":"l","meta":2,"tag":"app"}"#);
    let [RecordIssue::Altered(alterations)] = issues[..] else { panic!("{issues:?}") };
    assert!(alterations.key_replaced);
    // Where there is nothing to add, the event's own stays.
    let own = [&event(&json!({"meta": 2}))[..]].concat();
    assert_eq!(data(&[("stream", "logs"), ("metadata_key", "meta")], &own), [r#"{"meta":2}"#]);
}

#[test]
fn keys_that_cannot_be_added_are_refused() {
    let issues = |options: &[(&str, &str)]| {
        let options = [&[("stream", "logs")][..], options].concat();
        Config::parse(&property(&options)).map_err(|error| error.to_string()).unwrap_err()
    };
    assert_eq!(
        issues(&[("log_key", "log"), ("metadata_key", "m")]),
        "metadata_key: cannot be combined with log_key, which sends a single value"
    );
    assert_eq!(
        issues(&[("time_key", "t"), ("group_key", "t")]),
        "group_key: 't' is the key of another option too: use different keys"
    );
    let left_out = "data_keys or exclude_keys leaves it out, so it would not be sent";
    assert_eq!(issues(&[("tag_key", "t"), ("data_keys", "log")]), format!("tag_key: {left_out}"));
    assert_eq!(issues(&[("group_key", "g"), ("exclude_keys", "g,log")]), format!("group_key: {left_out}"));
}
