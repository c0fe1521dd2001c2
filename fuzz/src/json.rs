//! A record is JSON without equal keys, and the very JSON that rmp-serde and serde_json make of a value whose keys are
//! strings, also when its keys are known from the records before.

use std::collections::HashSet;
use std::fmt;

use arbitrary::Unstructured;
use kinesis::msgpack::Reader;
use kinesis::record::{Schemas, json};
use rmpv::Value;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A few more than it takes until keys are known.
const REPEATS: usize = 10;
/// Longer values would slow the fuzzer down.
const LONGEST_REPEATED: usize = 4096;

/// Writes `input` as msgpack, and a value that is made of `input`.
pub fn check(input: &[u8]) {
    if let Some(json) = write(input)
        && let Ok(value) = rmpv::decode::read_value(&mut &*input)
        && has_oracle(&value)
    {
        equals_the_oracle(&json, input);
    }
    let Ok(value) = value(&mut Unstructured::new(input), 8) else { return };
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &value).expect("memory takes everything");
    let json = write(&bytes).expect("the value is complete and not too deep");
    if has_oracle(&value) {
        equals_the_oracle(&json, &bytes);
    }
}

/// The JSON of a msgpack value, found to be JSON without equal keys; `None` when it is refused.
fn write(value: &[u8]) -> Option<Vec<u8>> {
    let mut json = b"before".to_vec();
    json::write(value, &mut json).ok()?;
    let json = json.strip_prefix(b"before").expect("what was there stays").to_vec();
    let mut reader = serde_json::Deserializer::from_slice(&json);
    reader.disable_recursion_limit();
    let read = Unambiguous::deserialize(&mut reader).and_then(|Unambiguous| reader.end());
    if let Err(error) = read {
        panic!("{error}: {}", String::from_utf8_lossy(&json));
    }
    if value.len() < LONGEST_REPEATED {
        let mut schemas = Schemas::default();
        for _ in 0..REPEATS {
            let mut known = Vec::new();
            let written = schemas.write(&mut Reader::new(value), &mut known, |_, out| json::write(value, out));
            assert_eq!(written.map(|()| known), Ok(json.clone()));
        }
    }
    Some(json)
}

fn equals_the_oracle(json: &[u8], msgpack: &[u8]) {
    let oracle: serde_json::Value = rmp_serde::from_slice(msgpack).expect("a plain value is read by rmp-serde");
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.disable_recursion_limit();
    assert_eq!(serde_json::Value::deserialize(&mut reader).expect("JSON"), oracle);
}

/// Whether rmp-serde reads a value as we do: no bytes, no extensions, nothing that is not UTF-8, and keys that are
/// strings.
fn has_oracle(value: &Value) -> bool {
    match value {
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::F32(_) | Value::F64(_) => true,
        Value::String(text) => text.as_str().is_some(),
        Value::Binary(_) | Value::Ext(..) => false,
        Value::Array(values) => values.iter().all(has_oracle),
        Value::Map(entries) => entries.iter().all(|(key, value)| key.as_str().is_some() && has_oracle(value)),
    }
}

/// A value of any kind that msgpack has, made of the fuzzer's bytes.
fn value(source: &mut Unstructured<'_>, levels: u32) -> arbitrary::Result<Value> {
    Ok(match source.int_in_range(0..=if levels == 0 { 10 } else { 14 })? {
        0 => Value::Nil,
        1 => Value::from(source.arbitrary::<bool>()?),
        2 => Value::from(source.arbitrary::<u64>()?),
        3 => Value::from(source.arbitrary::<i64>()?),
        4 => Value::from(source.arbitrary::<i8>()?),
        5 => Value::F32(source.arbitrary()?),
        6 => Value::F64(source.arbitrary()?),
        7 | 8 => Value::from(source.arbitrary::<&str>()?),
        9 => Value::Binary(source.arbitrary::<&[u8]>()?.to_vec()),
        10 => Value::Ext(source.arbitrary()?, source.arbitrary::<&[u8]>()?.to_vec()),
        11 => Value::Array(entries(source, |source| value(source, levels - 1))?),
        12 => Value::Map(entries(source, |source| Ok((value(source, 0)?, value(source, levels - 1)?)))?),
        // A key that is itself a map or an array may not nest as deep.
        13 => {
            Value::Map(entries(source, |source| Ok((value(source, levels.min(3) - 1)?, value(source, levels - 1)?)))?)
        }
        _ => {
            Value::Map(entries(source, |source| Ok((source.arbitrary::<&str>()?.into(), value(source, levels - 1)?)))?)
        }
    })
}

/// As many entries as the source says, up to 100: above 64, maps are written in another way.
fn entries<'a, T>(
    source: &mut Unstructured<'a>,
    mut entry: impl FnMut(&mut Unstructured<'a>) -> arbitrary::Result<T>,
) -> arbitrary::Result<Vec<T>> {
    let count = source.int_in_range(0..=100)?;
    (0..count).map(|_| entry(source)).collect()
}

/// JSON of any kind; equal keys in one object are an error.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_element::<Unambiguous>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, Unambiguous)) = entries.next_entry::<String, Unambiguous>()? {
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
        }
        Ok(self)
    }
}
