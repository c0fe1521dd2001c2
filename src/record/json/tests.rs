//! JSON records compared with an oracle (rmp-serde → serde_json) and with the documented rules.

use proptest::prelude::*;
use rmpv::Value;

use super::*;

fn json_of(value: &Value) -> String {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    json_of_bytes(&bytes).unwrap()
}

fn json_of_bytes(bytes: &[u8]) -> Result<String, Refusal> {
    let mut out = b"kept".to_vec();
    write(bytes, &mut out)?;
    Ok(String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned())
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn map(pairs: Vec<(Value, Value)>) -> Value {
    Value::Map(pairs)
}

fn value_with_unique_string_keys() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        any::<String>().prop_map(Value::from),
        "[ -~\"\\\\\u{0}-\u{1f}é😀]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 128, 10, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            proptest::collection::btree_map(".{0,20}", inner.clone(), 0..90).prop_map(|map| {
                Value::Map(map.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
            }),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..10).prop_map(|map| {
                Value::Map(map.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
            }),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        value_with_unique_string_keys(),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Binary),
        (any::<i8>(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(t, b)| Value::Ext(t, b)),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| proptest::collection::vec((inner.clone(), inner), 0..8).prop_map(Value::Map))
}

proptest! {
    #[test]
    fn equals_the_oracle(value in value_with_unique_string_keys()) {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        let oracle: serde_json::Value = rmp_serde::from_slice(&bytes).unwrap();
        let ours: serde_json::Value = serde_json::from_str(&json_of(&value)).unwrap();
        prop_assert_eq!(ours, oracle);
    }

    #[test]
    fn is_valid_json_without_repeated_keys_whatever_the_value(value in any_value()) {
        let json = json_of(&value);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        // serde_json keeps the last of equal keys: if there were any, printing it again would be shorter than escapes
        // and number forms can explain.
        prop_assert_eq!(count_keys(&json), count_keys(&parsed.to_string()));
    }

    #[test]
    fn of_equal_keys_the_last_counts_whatever_they_are_and_wherever_they_stand(value in value_with_equal_keys()) {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        if let Ok(json) = json_of_bytes(&bytes) {
            prop_assert_eq!(json, model(&value));
        }
    }

    #[test]
    fn bad_utf8_becomes_one_replacement_character_per_bad_byte(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let expected: String = bytes
            .utf8_chunks()
            .flat_map(|c| [c.valid().to_owned(), "\u{fffd}".repeat(c.invalid().len())])
            .collect();
        let ours: String = serde_json::from_str(&json_of(&Value::Binary(bytes))).unwrap();
        prop_assert_eq!(ours, expected);
    }
}

/// A value as JSON by the rules alone: of keys with equal text, the last entry counts.
fn model(value: &Value) -> String {
    match value {
        Value::Map(entries) => {
            let texts: Vec<String> = entries.iter().map(|(key, _)| model_key(key)).collect();
            let counts = |&(index, _): &(usize, &(Value, Value))| !texts[index + 1..].contains(&texts[index]);
            let members = entries.iter().enumerate().filter(counts);
            let members: Vec<String> =
                members.map(|(index, (_, value))| format!("{}:{}", texts[index], model(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(model).collect::<Vec<_>>().join(",")),
        scalar => json_of(scalar),
    }
}

fn model_key(key: &Value) -> String {
    match key {
        Value::String(_) | Value::Binary(_) | Value::Ext(..) => model(key),
        other => serde_json::to_string(&model(other)).unwrap(),
    }
}

/// Values whose maps have few different keys of any kind, so that most repeat.
fn value_with_equal_keys() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0i64..4).prop_map(Value::from),
        (0i64..4).prop_map(|number| Value::from(number.to_string())),
        "[ab\"]{0,2}".prop_map(Value::from),
        "[ab\"]{0,2}".prop_map(|text| Value::Binary(text.into_bytes())),
        Just(Value::Nil),
        Just(Value::F64(1.0)),
    ];
    leaf.prop_recursive(6, 256, 12, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..12).prop_map(Value::Map),
            proptest::collection::vec(("[a-c]", inner.clone()), 0..100)
                .prop_map(|pairs| Value::Map(pairs.into_iter().map(|(k, v)| (Value::from(k), v)).collect())),
        ]
    })
}

/// Counts the members of all objects (colons outside strings).
fn count_keys(json: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            ':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

#[test]
fn values_measured_on_the_peers_become_this_json() {
    // Name, msgpack of the body, our JSON. Where peers disagree or write invalid JSON, ours is the valid form.
    let table = [
        ("str", "81a36c6f67a5706c61696e", r#"{"log":"plain"}"#),
        (
            "esc",
            "81a36c6f67af6122625c632f640a090d080c017f1f",
            "{\"log\":\"a\\\"b\\\\c/d\\n\\t\\r\\b\\f\\u0001\u{7f}\\u001f\"}",
        ),
        ("del_simd", "81a36c6f67b230313233343536373839616263647f78797a", "{\"log\":\"0123456789abcd\u{7f}xyz\"}"),
        ("uni", "81a36c6f67afc3a920e2988320f09f988020e280a8", "{\"log\":\"é ☃ 😀 \u{2028}\"}"),
        ("int", "81a36c6f67cf0000000000003039", r#"{"log":12345}"#),
        ("int1", "81a36c6f6707", r#"{"log":7}"#),
        ("u64", "81a36c6f67cfffffffffffffffff", r#"{"log":18446744073709551615}"#),
        ("f1", "81a36c6f67cb3ff0000000000000", r#"{"log":1.0}"#),
        ("f15", "81a36c6f67cb3ff8000000000000", r#"{"log":1.5}"#),
        ("f01", "81a36c6f67cb3fb999999999999a", r#"{"log":0.1}"#),
        ("f1e20", "81a36c6f67cb4415af1d78b58c40", r#"{"log":1e+20}"#),
        ("f1e-7", "81a36c6f67cb3e7ad7f29abcaf48", r#"{"log":1e-7}"#),
        ("nan", "81a36c6f67cb7ff8000000000000", r#"{"log":null}"#),
        ("true", "81a36c6f67c3", r#"{"log":true}"#),
        ("nil", "81a36c6f67c0", r#"{"log":null}"#),
        ("map", "81a36c6f6782a16101a16281a16393010281a164c0", r#"{"log":{"a":1,"b":{"c":[1,2,{"d":null}]}}}"#),
        ("earr", "81a36c6f6790", r#"{"log":[]}"#),
        ("bin", "81a36c6f67c60000000a62696e2264617461ff00", "{\"log\":\"bin\\\"data\u{fffd}\\u0000\"}"),
        ("ext", "81a36c6f67c90000000405007fff22", r#"{"log":"AH//Ig=="}"#),
        ("bad1", "81a36c6f67a361ff62", "{\"log\":\"a\u{fffd}b\"}"),
        ("bad3", "81a36c6f67a2e298", "{\"log\":\"\u{fffd}\u{fffd}\"}"),
        ("estr", "81a36c6f67a0", r#"{"log":""}"#),
        ("missing", "81a56f74686572a178", r#"{"other":"x"}"#),
        ("empty", "80", "{}"),
        ("intkey", "8201a161a36c6f67a176", r#"{"1":"a","log":"v"}"#),
    ];
    for (name, hex, json) in table {
        assert_eq!(json_of_bytes(&bytes_of_hex(hex)).as_deref(), Ok(json), "{name}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_in_its_own_place() {
    let pairs =
        |keys: &[(&str, i64)]| map(keys.iter().map(|&(key, value)| (Value::from(key), Value::from(value))).collect());
    assert_eq!(json_of(&pairs(&[("a", 1), ("b", 2), ("a", 3), ("c", 4)])), r#"{"b":2,"a":3,"c":4}"#);
    // Equal only as text: the number 1 and the string "1".
    let mixed = map(vec![(Value::from(1), Value::from("number")), (Value::from("1"), Value::from("text"))]);
    assert_eq!(json_of(&mixed), r#"{"1":"text"}"#);
}

#[test]
fn keys_that_are_no_strings_become_their_text() {
    let keys = map(vec![
        (Value::Nil, 1.into()),
        (Value::from(true), 2.into()),
        (Value::from(-5), 3.into()),
        (Value::F64(1.5), 4.into()),
        (Value::Binary(b"b\"in".to_vec()), 5.into()),
        (Value::Array(vec!["x".into(), 1.into()]), 6.into()),
        (map(vec![("k".into(), 1.into())]), 7.into()),
        (Value::Ext(1, b"ext".to_vec()), 8.into()),
    ]);
    assert_eq!(json_of(&keys), r#"{"null":1,"true":2,"-5":3,"1.5":4,"b\"in":5,"[\"x\",1]":6,"{\"k\":1}":7,"ZXh0":8}"#);
}

#[test]
fn a_map_of_ten_thousand_keys_keeps_the_last_of_each() {
    let keys = (0..10_000).map(|i| (Value::from(format!("key{}", i % 7_000)), Value::from(i)));
    let parsed: serde_json::Value = serde_json::from_str(&json_of(&map(keys.collect()))).unwrap();
    assert_eq!(parsed.as_object().unwrap().len(), 7_000);
    assert_eq!(parsed["key5"], 7_005);
    assert_eq!(parsed["key6999"], 6_999);
}

#[test]
fn a_string_of_ten_megabytes_is_escaped_exactly_and_in_bounded_memory() {
    let text: String = "0123456789abcdef\"\\\n€😀".chars().cycle().take(6_000_000).collect();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Value::from(text.as_str())).unwrap();
    let mut out = Vec::new();
    write(&bytes, &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    assert!(out.capacity() < 4 * bytes.len(), "{} for {}", out.capacity(), bytes.len());
}

/// Arrays or maps nested `levels` deep.
fn nested(levels: usize, open: &[u8], innermost: &[u8]) -> Vec<u8> {
    [&open.repeat(levels), innermost].concat()
}

#[test]
fn nesting_is_written_down_to_the_bound_and_refused_beyond_it_on_a_small_stack() {
    let levels = MAX_DEPTH as usize;
    let on_a_delivery_threads_stack = std::thread::Builder::new().stack_size(crate::plugin::STACK_BYTES / 2);
    let claims = move || {
        for open in [&b"\x91"[..], b"\x81\xa1k", b"\x81\x01", b"\x82\xa1k\xc0\xa1k"] {
            let json = json_of_bytes(&nested(levels, open, b"\xc0")).unwrap();
            assert_eq!(json.matches(['[', '{']).count(), levels);
            assert_eq!(json_of_bytes(&nested(levels + 1, open, b"\xc0")), Err(Refusal::TooDeep));
        }
    };
    on_a_delivery_threads_stack.spawn(claims).unwrap().join().unwrap();
}

/// On a separate thread, so that a hang fails instead of never ending.
fn ends_within_seconds(claim: impl FnOnce() + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || {
            claim();
            ended.send(())
        })
        .unwrap();
    assert_eq!(end.recv_timeout(std::time::Duration::from_secs(20)), Ok(()));
}

/// Regression: each level was written, found to have an odd key at its end, and written again, doubling the time per
/// level.
#[test]
fn odd_keys_after_nested_maps_do_not_double_the_time_at_each_level() {
    for after in [&b"\xa1a\xc0\x01\xc0"[..], b"\xa1a\xc0\xa1a\xc0"] {
        let levels = MAX_DEPTH as usize;
        let value = [&b"\x83\xa1k".repeat(levels)[..], b"\xc0", &after.repeat(levels)].concat();
        ends_within_seconds(move || {
            let json = json_of_bytes(&value).unwrap();
            assert!(json.ends_with('}') && json.len() < 40 * levels);
        });
    }
}

/// Regression: each false positive of the filter re-read all entries before it, at every level.
#[test]
fn keys_that_look_alike_to_the_filter_are_not_searched_without_end() {
    let mut look_alikes: Vec<Vec<u8>> = Vec::new();
    let bits = |key: &[u8]| {
        let mut filter = KeyFilter::default();
        filter.is_new(edges(key), key.len());
        filter.bits
    };
    let keys = (0..u16::MAX).map(|number| [&b"\xa2"[..], &[(number >> 8) as u8 & 0x7f, number as u8 & 0x7f]].concat());
    for key in keys {
        if look_alikes.len() < 64 && !look_alikes.contains(&key) && bits(&key[1..]) == bits(b"\0\0") {
            look_alikes.push(key);
        }
    }
    assert_eq!(look_alikes.len(), 64);
    let after: Vec<u8> = look_alikes[1..].iter().flat_map(|key| [key, &b"\xc0"[..]].concat()).collect();
    let levels = 300;
    let innermost = [&b"\xdd\x00\x01\x00\x00"[..], &[0; 0x10000]].concat();
    let before = [&b"\xde\x00\x40"[..], &look_alikes[0]].concat();
    let value = [before.repeat(levels), innermost, after.repeat(levels)].concat();
    ends_within_seconds(move || {
        json_of_bytes(&value).unwrap();
    });
}

/// Regression: each level of keys in keys doubled the escapes: 40 levels (120 bytes) became a terabyte of text.
#[test]
fn keys_in_keys_are_refused_before_their_escapes_grow_without_end() {
    let keys_in_keys = |levels: usize| [&b"\x81".repeat(levels)[..], b"\xa1k", &b"\xc0".repeat(levels)].concat();
    assert_eq!(json_of_bytes(&keys_in_keys(2)).unwrap(), r#"{"{\"k\":null}":null}"#);
    let deepest = 5;
    let json = json_of_bytes(&keys_in_keys(deepest)).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_object());
    for levels in [deepest + 1, 40, 1000] {
        assert_eq!(json_of_bytes(&keys_in_keys(levels)), Err(Refusal::TooDeep), "{levels}");
    }
    // Depth within a value is counted as usual.
    assert!(json_of_bytes(&nested(100, b"\x81\x01", b"\xc0")).is_ok());
}

#[test]
fn a_key_of_maps_whose_text_is_larger_than_a_record_is_refused_before_it_grows_further() {
    let quotes = |bytes: u32| [&b"\xdb"[..], &bytes.to_be_bytes(), &vec![b'"'; bytes as usize]].concat();
    let keys_in_keys = |bytes: u32| [&[0x81; 5][..], &quotes(bytes), &[0xc0; 5]].concat();
    // Each level of keys doubles the quotes, and escapes what it doubled.
    assert!(json_of_bytes(&keys_in_keys(50_000)).is_ok());
    let mut out = Vec::new();
    assert_eq!(write(&keys_in_keys(2_000_000), &mut out), Err(Refusal::TooLarge));
    assert!(out.capacity() < 20_000_000, "{}", out.capacity());
}

/// Regression: each level re-read all its entries in search of equal keys: 1,000 times two megabytes of numbers.
#[test]
fn maps_in_each_other_are_read_once_in_search_of_equal_keys() {
    let levels = 1000;
    let innermost = [&b"\xdd\0\x1e\0\0"[..], &[1; 0x1e0000]].concat();
    let wide =
        [&b"\xde\0\x42"[..], &(0..65u8).flat_map(|key| [0xa1, key, 0xc0]).collect::<Vec<_>>(), b"\xa2in"].concat();
    for open in [&b"\x82\xa1k\xc0\xa1k"[..], b"\x81\x01", &wide] {
        let value = nested(levels, open, &innermost);
        ends_within_seconds(move || {
            json_of_bytes(&value).unwrap();
        });
    }
}

/// `text` as a msgpack string in its shortest form.
fn string_of(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let head = if length < 32 { vec![0xa0 | length] } else { vec![0xd9, length] };
    [&head, text].concat()
}

/// Texts of up to 40 bytes, with every byte value at every position.
fn texts_with_each_byte_everywhere() -> impl Iterator<Item = Vec<u8>> {
    let places = (0..=40).flat_map(|length: usize| (0..length.max(1)).map(move |place| (length, place)));
    places.flat_map(|place| (0..=255).map(move |byte| (place, byte))).map(|((length, place), byte)| {
        let mut text = vec![b'a'; length];
        text.splice(place..length.min(place + 1), (length > 0).then_some(byte));
        text
    })
}

#[test]
fn a_short_string_is_written_as_any_other_whatever_it_holds_and_whatever_follows_it() {
    for text in texts_with_each_byte_everywhere() {
        let valid: String = text.iter().map(|&byte| if byte < 0x80 { byte as char } else { '\u{fffd}' }).collect();
        let expected = serde_json::to_string(&valid).unwrap();
        for after in [&b""[..], b"\"", &[b'"'; 40], &[b'z'; 40]] {
            let value = [&b"\x92"[..], &string_of(&text), &string_of(after)].concat();
            let after = serde_json::to_string(std::str::from_utf8(after).unwrap()).unwrap();
            assert_eq!(json_of_bytes(&value).unwrap(), format!("[{expected},{after}]"), "{text:?}");
        }
    }
}

#[test]
fn a_short_string_is_plain_exactly_when_nothing_in_it_is_escaped() {
    for text in texts_with_each_byte_everywhere() {
        let is_plain =
            text.len() <= 32 && text.iter().all(|byte| (0x20..0x80).contains(byte) && !b"\"\\".contains(byte));
        let bytes = [string_of(&text), vec![b'"'; 40]].concat();
        let mut reader = Reader::new(&bytes);
        let found = string::short_and_plain(&mut reader);
        assert_eq!(found.is_some(), is_plain, "{text:?}");
        assert_eq!(reader.rest().len(), if is_plain { 40 } else { bytes.len() });
    }
    assert!(string::short_and_plain(&mut Reader::new(&[&b"\xa1a"[..], &[0; 30]].concat())).is_none(), "31 bytes left");
}

#[test]
fn a_key_looks_the_same_to_the_filter_whichever_way_it_was_read() {
    let text: Vec<u8> = (b'A'..=b'`').collect();
    for length in 0..=32 {
        let bytes = [string_of(&text[..length]), vec![b'"'; 40]].concat();
        let key = Reader::new(&bytes).short_string().unwrap();
        assert_eq!(short_edges(key), edges(&text[..length]), "{length}");
    }
}
