//! The predecessors' own test cases and observed output: option values in, exact bytes out.
//!
//! Where this plugin differs on purpose, the expectation is ours and the comment gives theirs. docs/migration.md has
//! the reasons.

use kinesis::chunk::{Event, EventTime};
use kinesis::config::Config;
use kinesis::record::{Alterations, Encoder, Key, Refusal};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use testing::property;

/// The record that would be sent.
#[derive(Debug, PartialEq)]
struct Sent {
    data: Vec<u8>,
    key: String,
    key_is_random: bool,
    alterations: Alterations,
}

const TIME: EventTime = EventTime { seconds: 1_600_000_000, nanoseconds: 123_456_789 };

/// A configuration with a stream and these options.
fn config(options: &[(&str, &str)]) -> Config {
    Config::parse(&property(options)).unwrap_or_else(|error| panic!("{error}"))
}

fn send(options: &[(&str, &str)], time: EventTime, body: &[u8]) -> Result<Sent, Refusal> {
    let config = config(options);
    let mut encoder = Encoder::new(&config.requests.record, b"app.log");
    let (mut key, mut data) = (Key::default(), Vec::new());
    let alterations = encoder.encode(
        &Event { time, body, ..Event::default() },
        &mut SmallRng::seed_from_u64(1),
        &mut key,
        &mut data,
    )?;
    Ok(Sent { data, key: key.as_str().to_owned(), key_is_random: key.random().is_some(), alterations })
}

fn data(options: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    send(options, TIME, body).unwrap().data
}

fn text(options: &[(&str, &str)], body: &serde_json::Value) -> String {
    line(options, &rmp_serde::to_vec(body).unwrap())
}

/// A map whose entries are in this order, which `json!` does not preserve.
fn map(entries: &[(&str, serde_json::Value)]) -> Vec<u8> {
    let mut body = vec![0x80 | entries.len() as u8];
    for (key, value) in entries {
        body.extend(rmp_serde::to_vec(key).unwrap());
        body.extend(rmp_serde::to_vec(value).unwrap());
    }
    body
}

fn line(options: &[(&str, &str)], body: &[u8]) -> String {
    String::from_utf8(data(options, body)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |index: usize| u8::from_str_radix(&digits[index..index + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

macro_rules! json {
    ($($body:tt)*) => { &serde_json::json!($($body)*) };
}

mod formats {
    use super::*;

    #[test]
    fn case_1_json_ends_in_a_newline_when_asked_to() {
        // Fluentd's json always adds one: here append_newline decides, as in the Go plugin.
        let body = rmp_serde::to_vec(json!({"a": 1, "b": 2})).unwrap();
        let options = [("format", "json"), ("append_newline", "on")];
        assert_eq!(hex(&data(&options, &body)), "7b2261223a312c2262223a327d0a");
    }

    #[test]
    fn case_2_ltsv() {
        let body = rmp_serde::to_vec(json!({"a": 1, "b": 2})).unwrap();
        assert_eq!(hex(&data(&[("format", "ltsv")], &body)), "613a3109623a320a");
    }

    #[test]
    fn case_3_chomp_record_leaves_the_newline_out() {
        let body = rmp_serde::to_vec(json!({"a": 1, "b": 2})).unwrap();
        let chomp = ("chomp_record", "true");
        // json has none here unless it is asked for, so the option would have no effect and is refused.
        assert_eq!(hex(&data(&[("format", "json")], &body)), "7b2261223a312c2262223a327d");
        assert!(Config::parse(&property(&[("format", "json"), chomp])).is_err());
        assert_eq!(hex(&data(&[("format", "ltsv"), chomp], &body)), "613a3109623a32");
    }

    #[test]
    fn case_4_data_key_sends_its_value_alone_and_refuses_what_has_none() {
        let with = rmp_serde::to_vec(json!({"a": 1, "b": 2})).unwrap();
        let without = rmp_serde::to_vec(json!({"b": 2})).unwrap();
        assert_eq!(hex(&data(&[("data_key", "a")], &with)), "31");
        assert_eq!(send(&[("data_key", "a")], TIME, &without), Err(Refusal::NoLogKey));
    }

    #[test]
    fn case_5_a_record_without_its_partition_key_is_sent_under_a_random_one() {
        // Fluentd's plugin does not send it.
        let body = rmp_serde::to_vec(json!({"a": 1})).unwrap();
        let sent = send(&[("partition_key", "partition_key")], TIME, &body).unwrap();
        assert_eq!((sent.data.as_slice(), sent.key.len(), sent.key_is_random), (&b"{\"a\":1}"[..], 6, true));
        assert!(sent.alterations.no_partition_key);
    }

    #[test]
    fn case_6_text_is_sent_as_utf8() {
        let body = rmp_serde::to_vec(json!({"a": "てすと"})).unwrap();
        assert_eq!(hex(&data(&[("append_newline", "on")], &body)), "7b2261223a22e381a6e38199e381a8227d0a");
    }

    #[test]
    fn case_7_fluentds_time_format_is_understood() {
        let options = [("time_key", "time"), ("time_key_format", "%Y-%m-%dT%H:%M:%S.%N%z")];
        let time = EventTime { seconds: 1_293_977_654, nanoseconds: 161_718_190 };
        let sent = send(&options, time, &rmp_serde::to_vec(json!({"a": "foo"})).unwrap()).unwrap();
        assert_eq!(sent.data, br#"{"a":"foo","time":"2011-01-02T14:14:14.161718190+0000"}"#);
    }

    #[test]
    fn case_8_formatters_of_fluentd() {
        let body = &map(&[("message", "awesome".into()), ("greeting", "hello".into())]);
        assert_eq!(text(&[("append_newline", "on")], json!({"message": "awesome"})), "{\"message\":\"awesome\"}\n");
        assert_eq!(line(&[("format", "ltsv")], body), "message:awesome\tgreeting:hello\n");
        assert_eq!(
            line(&[("format", "ltsv"), ("format_delimiter", ","), ("format_label_delimiter", "=")], body),
            "message=awesome,greeting=hello\n"
        );
        assert_eq!(line(&[("format", "tsv"), ("format_fields", "message,greeting")], body), "awesome\thello\n");
        let csv = ("format", "csv");
        let pair = json!({"message": "awesome", "message2": "awesome2"});
        let fields = ("format_fields", "message, message2");
        assert_eq!(text(&[csv, fields], pair), "\"awesome\",\"awesome2\"\n");
        assert_eq!(text(&[csv, fields, ("format_delimiter", "TAB")], pair), "\"awesome\"\t\"awesome2\"\n");
        assert_eq!(
            text(
                &[csv, ("format_fields", "message,message2,message3")],
                json!({"message": "awesome", "message3": "awesome3"})
            ),
            "\"awesome\",\"\",\"awesome3\"\n"
        );
        assert_eq!(line(&[("format", "single_value")], body), "awesome\n");
        assert_eq!(text(&[("format", "single_value"), ("message_key", "foobar")], json!({"foobar": "foo"})), "foo\n");
        assert_eq!(text(&[("format", "single_value")], json!({"x": 1})), "\n");
        assert_eq!(text(&[("format", "out_file")], json!({"a": 1})), "2020-09-13T12:26:40+00:00\tapp.log\t{\"a\":1}\n");
        assert_eq!(data(&[("format", "msgpack")], body), *body);
    }

    #[test]
    fn values_of_text_formats_are_text_and_cannot_break_their_line_apart() {
        let body = &map(&[
            ("s", "a\tb".into()),
            ("n", ().into()),
            ("i", (-1).into()),
            ("f", 1.0.into()),
            ("t", true.into()),
            ("m", serde_json::json!({"k": "\t"})),
            ("q", "say \"hi\", you".into()),
        ]);
        assert_eq!(
            line(&[("format", "ltsv")], body),
            "s:a b\tn:\ti:-1\tf:1.0\tt:true\tm:{\"k\":\"\\t\"}\tq:say \"hi\", you\n"
        );
        assert_eq!(
            line(&[("format", "csv"), ("format_fields", "q,m,n,m->k")], body),
            "\"say \"\"hi\"\", you\",\"{\"\"k\"\":\"\"\\t\"\"}\",\"\",\"\t\"\n"
        );
        assert_eq!(text(&[("format", "ltsv")], json!({})), "\n");
        assert_eq!(
            text(&[("format", "out_file"), ("format_delimiter", "SPACE"), ("time_key_format", "%s.%3N")], json!({})),
            "1600000000.123 app.log {}\n"
        );
    }
}

mod sizes {
    use super::*;

    #[test]
    fn case_10_a_record_of_exactly_the_limit_is_sent_and_one_byte_more_is_not() {
        // Fluentd's test counts only the data. Here, as in Kinesis, the key counts: six bytes if random.
        let options = [("data_key", "a"), ("max_record_size", "36"), ("oversize", "discard")];
        for (value, fits) in
            [("a".repeat(30), true), ("a".repeat(31), false), ("あ".repeat(10), true), ("あ".repeat(11), false)]
        {
            let body = rmp_serde::to_vec(json!({"a": value})).unwrap();
            let sent = send(&options, TIME, &body).map(|sent| sent.data.len());
            assert_eq!(sent, if fits { Ok(30) } else { Err(Refusal::TooLarge) }, "{value}");
        }
    }

    #[test]
    fn case_14_the_newline_counts() {
        let (key, newline) = (("partition_key", "k"), ("append_newline", "on"));
        for (bytes, fits) in [(1_048_574, true), (1_048_575, false)] {
            let overhead = r#"{"k":"k","v":""}"#.len();
            let body = rmp_serde::to_vec(json!({"k": "k", "v": "x".repeat(bytes - overhead)})).unwrap();
            let sent = send(&[key, newline, ("oversize", "discard")], TIME, &body);
            assert_eq!(sent.is_ok(), fits, "{bytes} bytes of JSON, a newline, and a key of one byte");
        }
    }

    #[test]
    fn case_15_a_record_that_is_too_large_is_cut_to_the_last_byte() {
        let body = rmp_serde::to_vec(json!({"k": "testKey", "v": "x".repeat(1 << 20)})).unwrap();
        let sent = send(&[("partition_key", "k"), ("log_key", "v")], TIME, &body).unwrap();
        assert_eq!((sent.key.as_str(), sent.data.len()), ("testKey", 1_048_569));
        assert!(sent.data.ends_with(b"xxx[Truncated...]"));
        assert_eq!(sent.alterations.cut_from, Some((1 << 20) + 7));
    }

    #[test]
    fn a_cut_splits_no_character_and_no_escape_and_keeps_the_newline() {
        for size in 30..60 {
            let limit = size.to_string();
            let options = [("partition_key", "k"), ("append_newline", "on"), ("max_record_size", &limit)];
            for value in ["😀".repeat(40), "\u{1}".repeat(40), "\"".repeat(40), "\\".repeat(40), "\n".repeat(40)] {
                let body = rmp_serde::to_vec(json!({"k": "k", "v": value})).unwrap();
                let sent = text(&options, json!({"k": "k", "v": value}));
                let kept = sent.strip_suffix("[Truncated...]\n").unwrap_or_else(|| panic!("{sent}"));
                assert!(sent.len() < size && sent.len() + 6 >= size, "{size}: {}", sent.len());
                if let Some(string) = kept.strip_prefix(r#"{"k":"k","v":""#) {
                    serde_json::from_str::<String>(&format!("\"{string}\"")).unwrap();
                }
                let cut_from = send(&options, TIME, &body).unwrap().alterations.cut_from;
                assert_eq!(cut_from, Some(data(&[("append_newline", "on")], &body).len() + 1));
            }
        }
    }

    #[test]
    fn what_only_the_newline_makes_too_large_is_cut() {
        let options = [("log_key", "v"), ("partition_key", "k"), ("append_newline", "on"), ("max_record_size", "21")];
        assert_eq!(text(&options, json!({"k": "k", "v": "x".repeat(19)})), format!("{}\n", "x".repeat(19)));
        assert_eq!(text(&options, json!({"k": "k", "v": "x".repeat(20)})), "xxxxx[Truncated...]\n");
    }

    #[test]
    fn what_has_no_room_for_the_mark_is_refused() {
        let body = rmp_serde::to_vec(json!({"v": "x".repeat(50)})).unwrap();
        for size in ["1", "6", "19"] {
            assert_eq!(send(&[("max_record_size", size)], TIME, &body), Err(Refusal::TooLarge), "{size}");
        }
        assert_eq!(send(&[("max_record_size", "20")], TIME, &body).unwrap().data, b"[Truncated...]");
    }

    #[test]
    fn msgpack_is_never_cut() {
        let body = rmp_serde::to_vec(json!({"v": "x".repeat(50)})).unwrap();
        assert_eq!(send(&[("format", "msgpack"), ("max_record_size", "40")], TIME, &body), Err(Refusal::TooLarge));
    }
}

mod compression {
    use super::*;
    use std::io::Read;

    fn inflate(kind: &str, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match kind {
            "gzip" => drop(flate2::read::GzDecoder::new(data).read_to_end(&mut out).unwrap()),
            "zlib" => drop(flate2::read::ZlibDecoder::new(data).read_to_end(&mut out).unwrap()),
            "zstd" => out = zstd::decode_all(data).unwrap(),
            "snappy" => out = snap::raw::Decoder::new().decompress_vec(data).unwrap(),
            _ => out = data.to_vec(),
        }
        out
    }

    const KINDS: [&str; 6] = ["none", "gzip", "zlib", "zstd", "snappy", "GZIP"];

    #[test]
    fn case_37_a_record_is_compressed_with_its_newline() {
        let body = rmp_serde::to_vec(json!({"log": "hello hello hello hello"})).unwrap();
        let options = [("log_key", "log"), ("append_newline", "on"), ("compression", "gzip")];
        let sent = data(&options, &body);
        assert_eq!(hex(&sent[..10]), "1f8b08000000000000ff");
        assert_eq!(inflate("gzip", &sent), b"hello hello hello hello\n");
        let body = rmp_serde::to_vec(json!({"log": "foo"})).unwrap();
        assert_eq!(hex(&data(&[("log_key", "log"), ("compression", "zlib")], &body)), "789c4bcbcf070002820145");
    }

    #[test]
    fn every_kind_inflates_to_the_record_also_when_it_was_cut() {
        let mut random = SmallRng::seed_from_u64(7);
        let value: String =
            (0..4000).map(|_| char::from(rand::RngExt::random_range(&mut random, b' '..=b'z'))).collect();
        let body = json!({"k": "k", "v": value});
        let whole = text(&[], body);
        for kind in KINDS {
            let options = [("compression", kind), ("partition_key", "k"), ("append_newline", "on")];
            let inflated = |options: &[(&str, &str)]| {
                let sent = data(options, &rmp_serde::to_vec(body).unwrap());
                (sent.len(), String::from_utf8(inflate(&kind.to_lowercase(), &sent)).unwrap())
            };
            assert_eq!(inflated(&options).1, format!("{whole}\n"), "{kind}");
            let (length, cut) = inflated(&[&options[..], &[("max_record_size", "2001")]].concat());
            let kept = cut.strip_suffix("[Truncated...]\n").unwrap_or_else(|| panic!("{kind}: {cut}"));
            assert!(whole.starts_with(kept) && (1900..=2000).contains(&length), "{kind}: {length}");
        }
    }

    #[test]
    fn the_size_is_tested_after_compression() {
        // The C plugin discards three megabytes that would compress to a few kilobytes.
        let body = rmp_serde::to_vec(json!({"v": "x".repeat(3_000_000)})).unwrap();
        for kind in ["gzip", "zlib", "zstd", "snappy"] {
            let sent = send(&[("compression", kind)], TIME, &body).unwrap();
            assert_eq!((sent.alterations.cut_from, sent.data.len() < 200_000), (None, true), "{kind}");
        }
        let options = [("compression", "gzip"), ("oversize", "discard"), ("max_record_size", "100")];
        assert_eq!(send(&options, TIME, &body), Err(Refusal::TooLarge));
    }

    #[test]
    fn case_21_what_cannot_be_cut_small_enough_is_refused() {
        let body = rmp_serde::to_vec(json!({"v": "x".repeat(4000)})).unwrap();
        let options = [("compression", "gzip"), ("max_record_size", "29")];
        assert_eq!(send(&options, TIME, &body), Err(Refusal::TooLarge));
    }
}

mod go_plugin {
    use super::*;

    #[test]
    fn case_17_text_of_a_key() {
        // There, a number is not a key.
        for (value, key) in [
            (rmpv::Value::from("testString"), Some("testString")),
            (35344.into(), Some("35344")),
            (rmpv::Value::Binary(b"byte".to_vec()), Some("byte")),
            (rmpv::Value::Nil, None),
        ] {
            let mut body = Vec::new();
            rmpv::encode::write_value(&mut body, &rmpv::Value::Map(vec![("k".into(), value)])).unwrap();
            let sent = send(&[("partition_key", "k")], TIME, &body).unwrap();
            assert_eq!((!sent.key_is_random).then_some(sent.key.as_str()), key);
        }
    }

    #[test]
    fn case_18_replace_dots() {
        let body = json!({"message.key": {"messagevalue": "some.message", "message.value/one": "some message"},
            "kubernetes": {"app": "x", "app.kubernetes.io/name": "test key with dots"}});
        assert_eq!(
            text(&[("replace_dots", "-")], body),
            r#"{"kubernetes":{"app":"x","app-kubernetes-io/name":"test key with dots"},"message-key":{"message-value/one":"some message","messagevalue":"some.message"}}"#
        );
        assert_eq!(text(&[("replace_dots", "-"), ("log_key", "a-b")], json!({"a.b": "value"})), "value");
        assert_eq!(text(&[("replace_dots", "-")], json!({"a-b": 1, "a.b": 2})), r#"{"a-b":2}"#);
    }

    #[test]
    fn case_20_data_keys() {
        let keys = ["coffee", "tea", "pudding", "dumpling", "cake", "sugar"];
        let body = &map(&keys.iter().zip(1..).map(|(key, n)| (*key, n.into())).collect::<Vec<_>>());
        assert_eq!(line(&[("data_keys", "dumpling,pudding")], body), r#"{"pudding":3,"dumpling":4}"#);
        // There, blanks around a comma make the key match nothing.
        assert_eq!(line(&[("data_keys", " dumpling , tea ")], body), r#"{"tea":2,"dumpling":4}"#);
        assert_eq!(line(&[("data_keys", "none")], body), "{}");
        let sent = send(&[("data_keys", "tea"), ("partition_key", "cake")], TIME, body);
        assert_eq!(sent.unwrap().key, "5", "the key is read before the entries are chosen");
    }

    #[test]
    fn case_22_fractions_of_a_second() {
        // %L is milliseconds in the Go plugin, nanoseconds in the C plugin and here.
        let time = |format| text(&[("time_key", "t"), ("time_key_format", format)], json!({}));
        assert_eq!(time("%f"), r#"{"t":"123456"}"#);
        assert_eq!(time("%L"), r#"{"t":"123456789"}"#);
        assert_eq!(time("%Y-%m-%dT%H:%M:%S.%3NZ"), r#"{"t":"2020-09-13T12:26:40.123Z"}"#);
        assert_eq!(time("%Y-%m-%dT%H:%M:%S.%9NZ"), r#"{"t":"2020-09-13T12:26:40.123456789Z"}"#);
    }

    #[test]
    fn the_time_can_be_the_partition_key() {
        let sent = send(&[("time_key", "t"), ("partition_key", "t")], TIME, b"\x80").unwrap();
        assert_eq!(sent.key, "2020-09-13T12:26:40");
    }
}

/// One msgpack event each: what is sent by default, under `log_key log`, and the tail under `time_key t`.
mod measured {
    use super::*;

    fn check(body: &str, whole: &[u8], log: Result<&[u8], Refusal>) {
        let body = unhex(body);
        assert_eq!(String::from_utf8_lossy(&data(&[], &body)), String::from_utf8_lossy(whole));
        assert_eq!(send(&[("log_key", "log")], TIME, &body).map(|sent| sent.data), log.map(<[u8]>::to_vec));
        let with_time = data(&[("time_key", "t"), ("append_newline", "on")], &body);
        let comma = if whole == b"{}" { "" } else { "," };
        let tail = format!("{comma}\"t\":\"2020-09-13T12:26:40\"}}\n");
        assert_eq!(
            String::from_utf8_lossy(&with_time),
            String::from_utf8_lossy(&[&whole[..whole.len() - 1], tail.as_bytes()].concat())
        );
        if let Ok(log) = log {
            let with_newline = data(&[("log_key", "log"), ("append_newline", "on")], &body);
            assert_eq!(with_newline, [log, b"\n"].concat());
        }
    }

    macro_rules! cases {
        ($($(#[$theirs:meta])* $name:ident: $body:literal, $whole:expr, $log:expr;)*) => {
            $($(#[$theirs])* #[test] fn $name() { check($body, $whole, $log); })*
        };
    }

    cases! {
        str: "81a36c6f67a5706c61696e", br#"{"log":"plain"}"#, Ok(b"plain");
        /// With log_key, the C plugin leaves it escaped.
        esc: "81a36c6f67af6122625c632f640a090d080c017f1f", b"{\"log\":\"a\\\"b\\\\c/d\\n\\t\\r\\b\\f\\u0001\x7f\\u001f\"}", Ok(b"a\"b\\c/d\n\t\r\x08\x0c\x01\x7f\x1f");
        del_simd: "81a36c6f67b230313233343536373839616263647f78797a", b"{\"log\":\"0123456789abcd\x7fxyz\"}", Ok(b"0123456789abcd\x7fxyz");
        /// Escaped in the C plugin; U+2028 in the Go plugin.
        uni: "81a36c6f67afc3a920e2988320f09f988020e280a8", b"{\"log\":\"\xc3\xa9 \xe2\x98\x83 \xf0\x9f\x98\x80 \xe2\x80\xa8\"}", Ok(b"\xc3\xa9 \xe2\x98\x83 \xf0\x9f\x98\x80 \xe2\x80\xa8");
        /// `234` from the C plugin.
        int: "81a36c6f67cf0000000000003039", br#"{"log":12345}"#, Ok(b"12345");
        /// Nothing from the C plugin.
        int1: "81a36c6f6707", br#"{"log":7}"#, Ok(b"7");
        u64_max: "81a36c6f67cfffffffffffffffff", br#"{"log":18446744073709551615}"#, Ok(b"18446744073709551615");
        /// `1` from the Go plugin.
        f1: "81a36c6f67cb3ff0000000000000", br#"{"log":1.0}"#, Ok(b"1.0");
        f15: "81a36c6f67cb3ff8000000000000", br#"{"log":1.5}"#, Ok(b"1.5");
        f01: "81a36c6f67cb3fb999999999999a", br#"{"log":0.1}"#, Ok(b"0.1");
        f1e20: "81a36c6f67cb4415af1d78b58c40", br#"{"log":1e+20}"#, Ok(b"1e+20");
        f1e_7: "81a36c6f67cb3e7ad7f29abcaf48", br#"{"log":1e-7}"#, Ok(b"1e-7");
        /// Bad JSON from the C plugin, nothing from the Go plugin.
        nan: "81a36c6f67cb7ff8000000000000", br#"{"log":null}"#, Ok(b"null");
        r#true: "81a36c6f67c3", br#"{"log":true}"#, Ok(b"true");
        nil: "81a36c6f67c0", br#"{"log":null}"#, Ok(b"null");
        /// Without its braces from the C plugin, an empty record from the Go plugin.
        map: "81a36c6f6782a16101a16281a16393010281a164c0", br#"{"log":{"a":1,"b":{"c":[1,2,{"d":null}]}}}"#, Ok(br#"{"a":1,"b":{"c":[1,2,{"d":null}]}}"#);
        earr: "81a36c6f6790", br#"{"log":[]}"#, Ok(b"[]");
        bin: "81a36c6f67c60000000a62696e2264617461ff00", "{\"log\":\"bin\\\"data\u{fffd}\\u0000\"}".as_bytes(), Ok(b"bin\"data\xff\x00");
        /// Invalid JSON from the C plugin, a Go map from the Go plugin.
        ext: "81a36c6f67c90000000405007fff22", br#"{"log":"AH//Ig=="}"#, Ok(b"\"AH//Ig==\"");
        bad1: "81a36c6f67a361ff62", "{\"log\":\"a\u{fffd}b\"}".as_bytes(), Ok(b"a\xffb");
        bad3: "81a36c6f67a2e298", "{\"log\":\"\u{fffd}\u{fffd}\"}".as_bytes(), Ok(b"\xe2\x98");
        estr: "81a36c6f67a0", br#"{"log":""}"#, Ok(b"");
        missing: "81a56f74686572a178", br#"{"other":"x"}"#, Err(Refusal::NoLogKey);
        /// Nothing from the C plugin.
        empty: "80", b"{}", Err(Refusal::NoLogKey);
        /// Two records from the C plugin, `PFX` and `real`.
        prefix: "82a26c6fa3504658a36c6f67a47265616c", br#"{"lo":"PFX","log":"real"}"#, Ok(b"real");
        longer: "81a66c6f67676572a26e6f", br#"{"logger":"no"}"#, Err(Refusal::NoLogKey);
        /// A bare 1 for a key from the C plugin.
        intkey: "8201a161a36c6f67a176", br#"{"1":"a","log":"v"}"#, Ok(b"v");
        onechar: "81a36c6f67a178", br#"{"log":"x"}"#, Ok(b"x");
    }

    #[test]
    fn case_40_text_that_is_no_utf8_becomes_replacement_characters() {
        for (bytes, sent) in [
            (&b"hello \x80 world"[..], "hello \u{fffd} world"),
            (b"a\xe6\x97b", "a\u{fffd}\u{fffd}b"),
            (b"a\xc0\xafb", "a\u{fffd}\u{fffd}b"),
            (b"start-\xff-end", "start-\u{fffd}-end"),
            (b"\x00\x01\xe3\x81\x82abc", "\\u0000\\u0001あabc"),
        ] {
            let body = [&b"\x81\xa1k\xd9"[..], &[bytes.len() as u8], bytes].concat();
            assert_eq!(String::from_utf8(data(&[], &body)).unwrap(), format!("{{\"k\":\"{sent}\"}}"));
        }
    }

    #[test]
    fn the_time_replaces_an_existing_one_and_is_escaped() {
        // The C plugin sends both, and writes its text as it is.
        assert_eq!(
            text(&[("time_key", "t"), ("time_key_format", "plain \"x\"")], json!({"t": 0, "a": 1})),
            r#"{"a":1,"t":"plain \"x\""}"#
        );
    }
}

/// Hostile input must cost neither the record next to it nor the stack.
mod bounds {
    use super::*;

    const ALL_SHAPES: &[&[(&str, &str)]] = &[
        &[],
        &[("replace_dots", "_")],
        &[("time_key", "t")],
        &[("data_keys", "k,k->k")],
        &[("log_key", "k")],
        &[("partition_key", "k->k->k")],
        &[("duplicate_keys", "merge")],
        &[("exclude_keys", "k->k->x")],
        &[("format", "ltsv")],
        &[("format", "csv"), ("format_fields", "k")],
        &[("format", "out_file")],
    ];

    fn nested(levels: usize) -> Vec<u8> {
        [&b"\x81\xa1k".repeat(levels)[..], b"\xa1v"].concat()
    }

    #[test]
    fn a_thousand_levels_are_sent_and_more_than_the_bound_are_refused_on_half_the_stack() {
        let claims = || {
            for options in ALL_SHAPES {
                assert!(send(options, TIME, &nested(1000)).is_ok(), "{options:?}");
                assert_eq!(send(options, TIME, &nested(100_000)), Err(Refusal::TooDeep), "{options:?}");
            }
        };
        let half = std::thread::Builder::new().stack_size(kinesis::plugin::STACK_BYTES / 2);
        half.spawn(claims).unwrap().join().unwrap();
    }

    #[test]
    fn ten_megabytes_and_ten_thousand_keys_are_sent_whole() {
        let large = ("max_record_size", "10M");
        let body = rmp_serde::to_vec(json!({"k": "x".repeat(10_000_000)})).unwrap();
        let keys: Vec<(String, u32)> = (0..10_000).map(|key| (format!("key.{key}"), key)).collect();
        let many = rmp_serde::to_vec(&keys.into_iter().collect::<std::collections::BTreeMap<_, _>>()).unwrap();
        for options in [&[][..], &[("replace_dots", "_")], &[("time_key", "t")]] {
            let options = [&[large], options].concat();
            assert!(data(&options, &body).len() > 10_000_000);
            let sent: serde_json::Value = serde_json::from_slice(&data(&options, &many)).unwrap();
            assert!(sent.as_object().unwrap().len() >= 10_000);
        }
    }

    #[test]
    fn nul_bytes_are_text_like_any_other() {
        let body = json!({"a\u{0}b": "\u{0}", "k": "x\u{0}y"});
        assert_eq!(text(&[("partition_key", "k")], body), r#"{"a\u0000b":"\u0000","k":"x\u0000y"}"#);
        let sent = send(&[("partition_key", "k")], TIME, &rmp_serde::to_vec(body).unwrap()).unwrap();
        assert_eq!(sent.key, "x\u{0}y");
    }
}

/// Several events: what the requests contain.
mod requests {
    use super::*;
    use kinesis::kinesis::stream::Stream;
    use kinesis::pack::Packer;
    use kinesis::record_set::RecordSet;

    /// The data of each record of each request.
    fn requests(options: &[(&str, &str)], bodies: &[serde_json::Value]) -> Vec<Vec<Vec<u8>>> {
        let config = config(options);
        let chunk: Vec<u8> = bodies.iter().flat_map(|body| rmp_serde::to_vec(&(1, body)).unwrap()).collect();
        let stream = Stream::parse("logs").unwrap();
        let mut packer = Packer::new(&chunk, b"app", &stream, &config.requests, RecordSet::default());
        let mut random = SmallRng::seed_from_u64(1);
        let mut requests = Vec::new();
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, remark| panic!("{remark:?}")) {
            let body: serde_json::Value = serde_json::from_slice(&batch.body()).unwrap();
            let data = |record: &serde_json::Value| {
                base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap()
            };
            requests.push(body["Records"].as_array().unwrap().iter().map(data).collect());
        }
        requests
    }

    fn lengths(options: &[(&str, &str)], records: usize) -> Vec<usize> {
        let bodies: Vec<serde_json::Value> = (0..records).map(|n| serde_json::json!({ "n": n })).collect();
        requests(options, &bodies).iter().map(Vec::len).collect()
    }

    #[test]
    fn case_16_twelve_hundred_and_one_records_are_requests_of_500_500_and_201() {
        assert_eq!(lengths(&[], 1201), [500, 500, 201]);
    }

    #[test]
    fn case_51_and_52_requests_are_as_full_as_they_may_be() {
        assert_eq!(lengths(&[], 948), [500, 448]);
        assert_eq!(lengths(&[("batch_request_max_count", "1")], 203), [1; 203]);
    }

    #[test]
    fn case_39_joined_lines_end_in_newlines_and_are_compressed_together() {
        let bodies: Vec<serde_json::Value> =
            (0..3).map(|n| serde_json::json!({"message": "hello hello hello hello", "n": n})).collect();
        let joined = |options: &[(&str, &str)]| {
            let requests = requests(&[options, &[("simple_aggregation", "true")]].concat(), &bodies);
            assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
            requests[0][0].clone()
        };
        let lines: String =
            (0..3).map(|n| format!("{{\"message\":\"hello hello hello hello\",\"n\":{n}}}\n")).collect();
        assert_eq!(String::from_utf8(joined(&[])).unwrap(), lines);
        let log_key = ("log_key", "message");
        assert_eq!(joined(&[log_key]), b"hello hello hello hello\nhello hello hello hello\nhello hello hello hello\n");
        let mut inflated = String::new();
        let packed = joined(&[("compression", "gzip")]);
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut inflated).unwrap();
        assert_eq!(inflated, lines);
    }
}
