//! What is written by a known schema is compared with what is written without one.

mod shaped;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::step::{MOST_ENTRIES, MOST_LEVELS, MOST_STEP_BYTES};
use super::*;
use crate::msgpack::Token;
use crate::record::json;
use crate::record::refusal::{MAX_DEPTH, Refusal};
use crate::record::shape::Shape;

/// A value of which only maps, and the heads of everything, are looked at.
#[derive(Clone, Debug)]
enum Value {
    Map(Vec<(Vec<u8>, Value)>),
    /// Complete msgpack.
    Other(Vec<u8>),
}

/// The head of a string, or of a map, in one of the forms that it may have.
fn head(length: usize, forms: [(usize, &[u8]); 4], random: &mut SmallRng) -> Vec<u8> {
    let fits: Vec<_> = forms.iter().filter(|(most, _)| length <= *most).collect();
    let (most, first) = fits[random.random_range(0..fits.len())];
    match *most {
        15 | 31 => vec![first[0] | length as u8],
        0xff => [*first, &(length as u8).to_be_bytes()].concat(),
        0xffff => [*first, &(length as u16).to_be_bytes()].concat(),
        _ => [*first, &(length as u32).to_be_bytes()].concat(),
    }
}

fn string(text: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let forms = [(31, &[0xa0][..]), (0xff, &[0xd9]), (0xffff, &[0xda]), (usize::MAX, &[0xdb])];
    [&head(text.len(), forms, random)[..], text].concat()
}

impl Value {
    fn write(&self, random: &mut SmallRng, out: &mut Vec<u8>) {
        match self {
            Value::Map(entries) => {
                let forms = [(15, &[0x80][..]), (0xffff, &[0xde]), (usize::MAX, &[0xdf]), (usize::MAX, &[0xdf])];
                out.extend_from_slice(&head(entries.len(), forms, random));
                for (key, value) in entries {
                    out.extend_from_slice(key);
                    value.write(random, out);
                }
            }
            Value::Other(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The msgpack, with the heads of maps in the forms of this seed.
    fn bytes(&self, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut SmallRng::seed_from_u64(seed), &mut bytes);
        bytes
    }

    /// Other values under the same keys, and now and then something else than before.
    fn refill(&mut self, changes: f64, random: &mut SmallRng) {
        if random.random_bool(changes) {
            return self.change(random);
        }
        match self {
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| value.refill(changes, random)),
            other => *other = some_value(random),
        }
    }

    fn change(&mut self, random: &mut SmallRng) {
        let kind = random.random_range(0..7);
        match self {
            Value::Map(entries) if !entries.is_empty() => {
                let place = random.random_range(0..entries.len());
                match kind {
                    0 => entries.shuffle(random),
                    1 => drop(entries.remove(place)),
                    2 => entries.push(entries[place].clone()),
                    3 => entries[place].0 = some_key(random),
                    4 => entries.insert(place, (some_key(random), some_value(random))),
                    5 => entries[place].1 = Value::Map(vec![(some_key(random), some_value(random))]),
                    _ => *self = some_value(random),
                }
            }
            _ if kind < 3 => *self = Value::Map(Vec::new()),
            _ => *self = Value::Map(vec![(some_key(random), some_value(random))]),
        }
    }
}

const ODD: [&[u8]; 12] = [
    b"\xc0",
    b"\x01",
    b"\xa1\xff",
    b"\xc4\x01a",
    b"\x92\x01\xa1x",
    b"\x81\xa1a\x01",
    b"\xcb\x3f\xf8\0\0\0\0\0\0",
    b"\xc7\x02\x01ab",
    b"\xd9\x02\"\\",
    b"\xa3\xed\xa0\xbd",
    b"\xa2\n\t",
    b"\x90",
];

fn some_text(random: &mut SmallRng) -> Vec<u8> {
    const LETTERS: [&str; 13] =
        ["a", "b", "key", "name", "\"", "\\", "\n", "é", "😀", "\u{7f}", "0123456789", "_", "."];
    let length = *[1, 1, 2, 3, 8, 40].get(random.random_range(0..6)).unwrap();
    (0..length).flat_map(|_| LETTERS[random.random_range(0..LETTERS.len())].bytes()).collect()
}

fn some_key(random: &mut SmallRng) -> Vec<u8> {
    match random.random_range(0..40) {
        0 => ODD[random.random_range(0..ODD.len())].to_vec(),
        1 => string(&b"k".repeat(random.random_range(200..1100)), random),
        _ => string(&some_text(random), random),
    }
}

fn some_value(random: &mut SmallRng) -> Value {
    Value::Other(match random.random_range(0..12) {
        0 => ODD[random.random_range(0..ODD.len())].to_vec(),
        1 => vec![0xc0 + random.random_range(0..4u8)].into_iter().map(|byte| byte.max(0xc2)).collect(),
        2 => [&b"\xcf"[..], &random.random::<u64>().to_be_bytes()].concat(),
        3 => [&b"\xd1"[..], &random.random::<i16>().to_be_bytes()].concat(),
        4 => [&b"\xcb"[..], &random.random::<f64>().to_be_bytes()].concat(),
        5 => b"\x93\x01\xa3two\x81\xa2k.\xc3".to_vec(),
        6 => string(&b"\xffnot UTF-8 "[..random.random_range(1..10)], random),
        7 => string(&[&some_text(random)[..], b" is long enough to be written by vector code"].concat(), random),
        8 => vec![random.random_range(0..0x80)],
        _ => string(&some_text(random), random),
    })
}

fn some_map(levels: u32, random: &mut SmallRng) -> Value {
    // Now and then one of many keys.
    let (length, levels) = if random.random_range(0..60) == 0 { (140, 0) } else { (random.random_range(0..7), levels) };
    let entries = (0..length).map(|_| {
        let is_map = levels > 0 && random.random_range(0..3) == 0;
        (some_key(random), if is_map { some_map(levels - 1, random) } else { some_value(random) })
    });
    Value::Map(entries.collect())
}

/// Knows how to learn from the first record on.
fn eager() -> Schemas {
    Schemas { pause: 0, credit: MOST_CREDIT, ..Schemas::default() }
}

/// Writes a record, and then what follows it in a chunk.
fn write_known(schemas: &mut Schemas, record: &[u8], after: &[u8]) -> Result<Vec<u8>, Refusal> {
    let chunk = [record, after].concat();
    let (mut reader, mut out) = (Reader::new(&chunk), b"before".to_vec());
    let written = schemas.write(&mut reader, &mut out, |reader, out| {
        json::write(record, out)?;
        *reader = Reader::new(after);
        Ok(())
    });
    written.map(|()| {
        assert_eq!(reader.rest(), after);
        out.strip_prefix(b"before").unwrap().to_vec()
    })
}

fn write_plainly(record: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    json::write(record, &mut out).map(|()| out)
}

fn is_known(schemas: &mut Schemas, record: &[u8]) -> bool {
    schemas.follow(&mut Reader::new(record), &mut Vec::new()).is_some()
}

proptest! {
    #[test]
    fn a_record_is_written_alike_whatever_was_learned_before(seed: u64, schemas in 1usize..20, changes in 0f64..0.3) {
        let random = &mut SmallRng::seed_from_u64(seed);
        let mut sources: Vec<Value> = (0..schemas).map(|_| some_map(4, random)).collect();
        let (mut known, mut learned) = (eager(), 0);
        for _ in 0..40 {
            let source = random.random_range(0..schemas);
            let forms = random.random_range(0..3);
            sources[source].refill(if random.random_range(0..3) == 0 { changes } else { 0.0 }, random);
            let record = sources[source].bytes(forms);
            let after = if random.random() { &[b'"'; 40][..] } else { b"" };
            learned += u32::from(is_known(&mut known, &record));
            prop_assert_eq!(write_known(&mut known, &record, after), write_plainly(&record), "{:02x?}", record);
            prop_assert!(known.steps.len() <= MOST_STEPS && known.schemas <= MOST_SCHEMAS);
        }
        if schemas == 1 && changes < 0.001 {
            prop_assert!(learned > 0);
        }
    }
}

/// A record as an application writes them.
fn record(level: &str, order: u64) -> Vec<u8> {
    let value = serde_json::json!({
        "http": {"bytes": order * 12_345, "method": "GET", "path": format!("/api/v1/orders/{order}")},
        "kubernetes": {
            "annotations": {"a \"quoted\" key of more than thirty-two bytes, and then some": 1, "short": null},
            "labels": {"app": "shop", "tier": "é"},
            "none": {},
        },
        "level": level, "order": order, "ratio": order as f64 / 7.0, "tags": ["edge", {"n": order}],
    });
    rmp_serde::to_vec(&value).unwrap()
}

/// Knows the schema of [`record`].
fn taught() -> Schemas {
    let mut schemas = eager();
    write_known(&mut schemas, &record("info", 1), b"").unwrap();
    schemas
}

#[test]
fn a_record_with_the_keys_of_one_before_is_known_whatever_its_values() {
    let mut schemas = taught();
    for other in [record("warning", 2), record("", u64::MAX / 20_000), record(&"\"é\u{1}".repeat(100), 3)] {
        assert!(is_known(&mut schemas, &other));
    }
    for (from, to) in
        [(&b"\xa5level"[..], &b"\xa5lever"[..]), (b"then some", b"then same"), (b"\x83\xa5b", b"\x84\xa5b")]
    {
        let record = record("info", 1);
        let place = record.windows(from.len()).position(|bytes| bytes == from).unwrap();
        let changed = [&record[..place], to, &record[place + from.len()..]].concat();
        assert!(!is_known(&mut schemas, &changed), "{to:?}");
    }
}

#[test]
fn a_known_record_with_any_byte_changed_or_its_end_cut_off_is_written_as_if_it_were_unknown() {
    let known = record("info", 1);
    let mut changed = known.clone();
    for place in 0..known.len() {
        for byte in [0, 1, b' ', b'"', b'\\', 0x7f, 0x80, 0x81, 0xa0, 0xa1, 0xc0, 0xc1, 0xd9, 0xdf, known[place] ^ 1] {
            changed[place] = byte;
            // Only a complete value is a record.
            let mut value = Reader::new(&changed);
            if value.skip().is_ok() && value.rest().is_empty() {
                let schemas = &mut taught();
                assert_eq!(write_known(schemas, &changed, b""), write_plainly(&changed), "{place}: {byte:02x}");
            }
        }
        changed[place] = known[place];
        let cut = &known[..place];
        assert!(!is_known(&mut taught(), cut), "{place}");
    }
}

#[test]
fn schemas_that_begin_alike_share_their_first_steps() {
    let first = b"\x83\xa1a\x01\xa1b\x82\xa1c\x01\xa1d\x01\xa1e\x01";
    let mut schemas = eager();
    for (last, steps) in [(b'e', 4), (b'f', 5), (b'g', 6)] {
        let mut record = first.to_vec();
        record[first.len() - 2] = last;
        write_known(&mut schemas, &record, b"").unwrap();
        assert_eq!(schemas.steps.len(), steps);
        assert!(is_known(&mut schemas, &record));
    }
    assert!(is_known(&mut schemas, first));
}

#[test]
fn keys_that_are_no_text_or_equal_are_never_known() {
    for record in [&b"\x81\x01\xa1v"[..], b"\x81\xa1\xff\x01", b"\x82\xa1a\x01\xa1a\x02", b"\x82\xa1a\x01\xd9\x01a\x02"]
    {
        let mut schemas = eager();
        assert_eq!(write_known(&mut schemas, record, b""), write_plainly(record));
        assert!(schemas.steps.is_empty() && !is_known(&mut schemas, record), "{record:02x?}");
    }
}

/// A map of keys of this length.
fn wide(entries: u32, length: usize) -> Value {
    let key = |number| string(format!("{number:0length$}").as_bytes(), &mut SmallRng::seed_from_u64(0));
    Value::Map((0..entries).map(|number| (key(number), Value::Other(b"\xa5value".to_vec()))).collect())
}

/// Maps in each other around a value.
fn deep(levels: u32, value: Value) -> Value {
    (0..levels).fold(value, |value, _| Value::Map(vec![(b"\xa1k".to_vec(), value)]))
}

#[test]
fn what_is_learned_has_a_bound_whatever_the_records() {
    for (value, is_learned) in [
        (wide(MOST_ENTRIES, 1), true),
        (wide(MOST_ENTRIES + 1, 1), false),
        (wide(10, 240), true),
        (wide(10, 255), false),
        (deep(1000, Value::Other(vec![1])), true),
        (Value::Map((0..3).map(|key| (vec![0xa1, b'a' + key], wide(100, 2))).collect()), false),
    ] {
        let (mut schemas, record) = (eager(), value.bytes(1));
        for _ in 0..2 {
            assert_eq!(write_known(&mut schemas, &record, b"\xc0"), write_plainly(&record));
        }
        assert_eq!(is_known(&mut schemas, &record), is_learned, "{value:?}");
        assert!(schemas.steps.iter().all(|step| step.msgpack.rest.len() + step.json.rest.len() < 2 * MOST_STEP_BYTES));
    }
    for (entries, schemas) in [(10, MOST_SCHEMAS), (40, MOST_STEPS / 40)] {
        let mut known = eager();
        for number in 0..40 {
            write_known(&mut known, &wide(entries, number + 2).bytes(1), b"").unwrap();
        }
        assert_eq!((known.schemas, known.steps.len()), (schemas, entries as usize * schemas));
    }
}

#[test]
fn a_value_in_a_known_record_may_nest_as_deep_as_in_any_other() {
    for levels in [1, MOST_LEVELS] {
        for innermost in [MAX_DEPTH - levels, MAX_DEPTH - levels + 1] {
            let known = deep(levels, Value::Other(vec![1])).bytes(1);
            let nested = [&known[..known.len() - 1], &b"\x91".repeat(innermost as usize), b"\x01"].concat();
            let mut schemas = eager();
            write_known(&mut schemas, &known, b"").unwrap();
            assert_eq!(is_known(&mut schemas, &nested), innermost + levels == MAX_DEPTH);
            assert_eq!(write_known(&mut schemas, &nested, b""), write_plainly(&nested));
        }
    }
}

#[test]
fn records_that_never_repeat_are_soon_written_without_a_look_and_nothing_is_kept_of_them() {
    let mut schemas = Schemas::default();
    let mut write = |number: u32| {
        let record = [&b"\x81\xce"[..1], b"\xaa", format!("{number:010}").as_bytes(), b"\x01"].concat();
        write_known(&mut schemas, &record, b"").unwrap();
        (schemas.pause, schemas.steps.is_empty())
    };
    let looked_at = (0..10_000).filter(|&number| write(number).0 == 0).count();
    assert!(looked_at < 400, "{looked_at}");
    let (pauses, is_empty): (Vec<u32>, Vec<bool>) = (0..PAUSE).map(|number| write(20_000 + number)).unzip();
    assert!(pauses.contains(&PAUSE) && is_empty.contains(&true));
}

#[test]
fn as_long_as_half_of_the_records_repeat_they_stay_known() {
    let mut schemas = taught();
    for number in 0..10_000u32 {
        let unknown = [&b"\x81\xa4"[..], &number.to_be_bytes().map(|byte| byte & 0x7f), b"\x01"].concat();
        write_known(&mut schemas, &unknown, b"").unwrap();
        assert!(is_known(&mut schemas, &record("info", 1)));
        write_known(&mut schemas, &record("info", 1), b"").unwrap();
    }
}
