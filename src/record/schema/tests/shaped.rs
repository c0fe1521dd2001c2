//! What a known schema makes of an event that changes is compared with changing it first and writing it then.

use super::*;
use crate::record::path::KeyPath;
use crate::record::shape::{Added, Selection};

const TIME: &[u8] = b"\xa3now";

/// Paths into a map, to what is there and to what is not.
fn paths(value: &Value, most: usize, random: &mut SmallRng) -> Vec<KeyPath> {
    (0..random.random_range(0..=most)).filter_map(|_| path(value, random)).collect()
}

fn path(mut value: &Value, random: &mut SmallRng) -> Option<KeyPath> {
    let mut keys = Vec::new();
    while let Value::Map(entries) = value
        && !entries.is_empty()
        && (keys.is_empty() || random.random_range(0..4) > 0)
    {
        let (key, within) = &entries[random.random_range(0..entries.len())];
        let Ok(Token::String(key)) = Reader::new(key).token() else { return None };
        keys.push(std::str::from_utf8(key).ok()?.to_owned());
        value = within;
    }
    if random.random_range(0..5) == 0 {
        keys.push("b".to_owned());
    }
    KeyPath::parse(&format!("$['{}']", keys.join("']['"))).ok()
}

/// A shape whose names occur in a map, and the path to its partition key.
fn shape(value: &Value, random: &mut SmallRng) -> (Shape, Option<KeyPath>) {
    let selection = |paths: Vec<KeyPath>| (!paths.is_empty()).then(|| Selection::new(&paths));
    let keep = if random.random() { selection(paths(value, 4, random)) } else { None };
    let exclude = if random.random() { selection(paths(value, 2, random)) } else { None };
    let replace_dots = [None, Some(""), Some("_"), Some("\"")][random.random_range(0..4)].map(str::to_owned);
    let own = path(value, random).filter(|path| path.keys().len() == 1).map(|path| path.keys()[0].clone());
    let time_key = [None, Some("time".to_owned()), Some("t.é\"".to_owned()), own][random.random_range(0..4)].clone();
    let key = if random.random() { path(value, random) } else { None };
    (Shape { keep, exclude, replace_dots, time_key, ..Shape::default() }, key)
}

fn rules<'a>(shape: &'a Shape, key: Option<&'a KeyPath>) -> Rules<'a> {
    Rules { shape: Some(shape), partition_key: key.map_or(&[], KeyPath::keys) }
}

/// The JSON of the changed event.
fn write_plainly_shaped(event: &[u8], shape: &Shape) -> Result<Vec<u8>, Refusal> {
    let added = shape.time_key.as_deref().map(|key| Added { key, value: TIME, always: true });
    let mut shaped = Vec::new();
    shape.write(event, added.as_slice(), &mut Vec::new(), &mut shaped)?;
    write_plainly(&shaped)
}

/// The JSON and the key, if they are written by a known schema. The event is learned otherwise.
fn write_by_schema(
    schemas: &mut Schemas,
    event: &[u8],
    shape: &Shape,
    key: Option<&KeyPath>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let chunk = [event, b"after"].concat();
    let (mut reader, mut out) = (Reader::new(&chunk), b"before".to_vec());
    let found = schemas.write_shaped(&mut reader, &mut out, rules(shape, key), |out| {
        if let Some(key) = &shape.time_key {
            out.push(b',');
            string::write(shape.name(key).as_bytes(), out);
            out.extend_from_slice(b":\"now\"");
        }
    })?;
    assert_eq!(reader.rest(), b"after");
    Some((out.strip_prefix(b"before").unwrap().to_vec(), found.to_vec()))
}

#[test]
fn an_event_is_changed_alike_by_a_known_schema() {
    let (mut known, mut changed) = (0, 0);
    for seed in 0..3000 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let mut source = some_map(3, random);
        let (shape, key) = shape(&source, random);
        let mut schemas = eager();
        for round in 0..6 {
            let event = source.bytes(random.random_range(0..2));
            if let Some((json, found)) = write_by_schema(&mut schemas, &event, &shape, key.as_ref()) {
                assert_eq!(Ok(&json), write_plainly_shaped(&event, &shape).as_ref(), "{seed}.{round} {shape:?}");
                assert_eq!(
                    Some(&*found),
                    key.as_ref().map_or(Some(&[][..]), |path| path.find(&event)),
                    "{seed}.{round}"
                );
                known += 1;
                changed += u32::from(json != write_plainly(&event).unwrap());
            }
            source.refill(if random.random() { 0.05 } else { 0.0 }, random);
        }
    }
    assert!(known > 2000 && changed > 2000, "{known}, {changed}");
}

fn path_of(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

/// Whether an event is known once it was seen.
fn is_learned(event: &serde_json::Value, shape: &Shape, key: Option<&str>) -> bool {
    let (event, key) = (rmp_serde::to_vec(event).unwrap(), key.map(path_of));
    let mut schemas = eager();
    assert_eq!(write_by_schema(&mut schemas, &event, shape, key.as_ref()), None);
    let written = write_by_schema(&mut schemas, &event, shape, key.as_ref());
    assert!(written.iter().all(|(json, _)| Ok(json) == write_plainly_shaped(&event, shape).as_ref()), "{shape:?}");
    written.is_some()
}

#[test]
fn what_a_schema_cannot_tell_is_left_to_the_other_way() {
    let keep = |path| Some(Selection::new(&[path_of(path)]));
    let dots = || Shape { replace_dots: Some("_".to_owned()), ..Shape::default() };
    let event = serde_json::json!({"a": {"b": 1, "c.d": [1, 2]}, "time": "own", "e": []});
    for (shape, key, expected) in [
        (Shape::default(), None, true),
        (Shape::default(), Some("a->b"), true),
        (Shape { exclude: keep("a"), ..Shape::default() }, Some("a->b"), true),
        (Shape { keep: keep("a->b"), ..Shape::default() }, None, true),
        (Shape { keep: keep("a->b"), time_key: Some("time".to_owned()), ..dots() }, Some("time"), true),
        (dots(), None, true),
        // Nothing is left, or an empty map at the end; there is no key; the key is a map.
        (Shape { exclude: keep("e"), ..Shape::default() }, None, true),
        (
            Shape { exclude: Some(Selection::new(&["a->b", "a->c.d", "time", "e"].map(path_of))), ..Shape::default() },
            None,
            false,
        ),
        (Shape { keep: keep("a->z"), ..Shape::default() }, None, false),
        (Shape::default(), Some("a->z"), false),
        (Shape::default(), Some("a"), false),
    ] {
        assert_eq!(is_learned(&event, &shape, key), expected, "{shape:?} {key:?}");
    }
    // Equal names, and maps in arrays, whose names change too.
    for event in [
        serde_json::json!({"a.b": 1, "a_b": 2}),
        serde_json::json!({"x": 1, "t.": 1}),
        serde_json::json!({"a": [{"b.c": 1}]}),
    ] {
        assert!(!is_learned(&event, &Shape { time_key: Some("t_".to_owned()), ..dots() }, None), "{event}");
    }
}

#[test]
fn a_value_that_becomes_a_map_is_no_longer_known_where_its_keys_matter() {
    let excluded = Some(Selection::new(&[path_of("a->b")]));
    let kept = || Some(Selection::new(&[path_of("a->b"), path_of("c")]));
    for shape in [
        Shape { exclude: excluded, ..Shape::default() },
        Shape { keep: kept(), ..Shape::default() },
        Shape { replace_dots: Some(String::new()), ..Shape::default() },
    ] {
        let mut schemas = eager();
        let flat = rmp_serde::to_vec(&serde_json::json!({"a": 1, "c": 2})).unwrap();
        let deep = rmp_serde::to_vec(&serde_json::json!({"a": {"b": 1, "x.y": 2}, "c": 2})).unwrap();
        assert_eq!(write_by_schema(&mut schemas, &flat, &shape, None), None);
        assert!(write_by_schema(&mut schemas, &flat, &shape, None).is_some());
        assert_eq!(write_by_schema(&mut schemas, &deep, &shape, None), None);
        let (json, _) = write_by_schema(&mut schemas, &deep, &shape, None).unwrap();
        assert_eq!(Ok(json), write_plainly_shaped(&deep, &shape));
    }
}
