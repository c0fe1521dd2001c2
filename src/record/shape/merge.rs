//! Merges maps of the same name, msgpack to msgpack.
//!
//! Fluent Bit's filters may add a map beside one of the same name (`nest` twice), and JSON knows only one. Of other
//! values the last counts, as without merging.

use super::writer::MapHeader;
use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::Refusal;

/// How deep maps and arrays are searched for maps to merge; no log is nested that deeply. Each level reads what is in
/// it once more, so hostile input must not choose the number.
const LEVELS: u32 = 64;

/// Appends the event's `body` to `out`, with the maps of one name in one map merged: their entries follow each other,
/// and again maps of the same name among them are merged.
pub(in crate::record) fn write(body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    // Positions are 32-bit numbers; chunks have about 2 MB.
    if u32::try_from(body.len()).is_err() || Reader::new(body).map().is_none() {
        out.extend_from_slice(body);
        return Ok(());
    }
    Ok(Merge { body }.maps(&[0], LEVELS, out)?)
}

struct Merge<'b> {
    body: &'b [u8],
}

impl<'b> Merge<'b> {
    /// Writes the maps at these positions as one.
    fn maps(&self, maps: &[u32], levels: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let entries = self.entries(maps)?;
        let mut by_key = entries.clone();
        by_key.sort_unstable_by_key(|&entry| (self.key(entry), entry));
        let header = MapHeader::write(out);
        let mut kept = 0;
        for &entry in &entries {
            let end = by_key.partition_point(|&other| (self.key(other), other) <= (self.key(entry), entry));
            if by_key.get(end).is_some_and(|&next| self.key(next) == self.key(entry)) {
                continue;
            }
            let before = by_key.get(..end).unwrap_or_default().iter().rev();
            let alike = before.copied().take_while(|&other| self.key(other) == self.key(entry));
            kept += 1;
            self.entry(entry, alike, levels, out)?;
        }
        header.set(kept, out);
        Ok(())
    }

    /// The positions of the entries of these maps.
    fn entries(&self, maps: &[u32]) -> Result<Vec<u32>, Malformed> {
        let mut entries = Vec::new();
        for &map in maps {
            let mut reader = self.at(map);
            let Token::Map(count) = reader.token()? else { continue };
            for _ in 0..count {
                entries.push(self.position(&reader));
                reader.skip()?;
                reader.skip()?;
            }
        }
        Ok(entries)
    }

    /// Writes an entry. `alike` are those of its key, this one first and then the earlier ones.
    fn entry(
        &self,
        entry: u32,
        alike: impl Iterator<Item = u32>,
        levels: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let start = self.at(entry);
        let mut value = start;
        value.skip()?;
        out.extend_from_slice(start.up_to(&value));
        let mut contents = value;
        if contents.map().is_none() {
            return self.value(&mut value, levels, out);
        }
        let mut maps = Vec::new();
        for other in alike {
            let mut value = self.at(other);
            value.skip()?;
            let position = self.position(&value);
            if value.map().is_none() {
                break;
            }
            maps.push(position);
        }
        maps.reverse();
        match levels.checked_sub(1) {
            Some(levels) => self.maps(&maps, levels, out),
            None => {
                out.extend_from_slice(self.at(maps.last().copied().unwrap_or_default()).value()?);
                Ok(())
            }
        }
    }

    /// Writes the next value.
    fn value(&self, reader: &mut Reader<'b>, levels: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let position = self.position(reader);
        match (reader.token()?, levels.checked_sub(1)) {
            (Token::Map(_), Some(levels)) => {
                *reader = self.at(position);
                reader.skip()?;
                self.maps(&[position], levels, out)
            }
            (Token::Array(entries), Some(levels)) => {
                out.extend_from_slice(self.at(position).up_to(reader));
                (0..entries).try_for_each(|_| self.value(reader, levels, out))
            }
            _ => {
                *reader = self.at(position);
                out.extend_from_slice(reader.value()?);
                Ok(())
            }
        }
    }

    fn at(&self, position: u32) -> Reader<'b> {
        Reader::new(self.body.get(position as usize..).unwrap_or_default())
    }

    fn position(&self, reader: &Reader<'b>) -> u32 {
        (self.body.len() - reader.rest().len()) as u32
    }

    /// What makes the key of an entry equal to another: its text, or its bytes if it is neither text nor binary.
    fn key(&self, entry: u32) -> (bool, &'b [u8]) {
        match self.at(entry).token() {
            Ok(Token::String(text) | Token::Binary(text)) => (true, text),
            _ => (false, self.at(entry).value().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rmpv::Value;

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes
    }

    fn merged(value: &Value) -> Value {
        let mut out = b"before".to_vec();
        write(&encode(value), &mut out).unwrap();
        let mut rest = out.strip_prefix(b"before").unwrap();
        let merged = rmpv::decode::read_value(&mut rest).unwrap();
        assert_eq!(rest, b"");
        merged
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    }

    #[test]
    fn two_maps_of_one_name_become_one() {
        let event =
            map(&[("nested", map(&[("one", 1.into())])), ("b", 2.into()), ("nested", map(&[("two", 2.into())]))]);
        let expected = map(&[("b", 2.into()), ("nested", map(&[("one", 1.into()), ("two", 2.into())]))]);
        assert_eq!(merged(&event), expected);
    }

    #[test]
    fn maps_within_merged_maps_merge_too_and_of_other_values_the_last_counts() {
        let first = map(&[("labels", map(&[("a", 1.into()), ("b", 1.into())])), ("pod", "p".into())]);
        let second = map(&[("labels", map(&[("b", 2.into())])), ("pod", "q".into())]);
        let expected = map(&[("labels", map(&[("a", 1.into()), ("b", 2.into())])), ("pod", "q".into())]);
        let event = map(&[("k", first), ("k", second)]);
        assert_eq!(merged(&event), map(&[("k", expected)]));
        let in_array = Value::Array(vec![event]);
        let whole = map(&[("list", in_array.clone())]);
        assert_eq!(
            merged(&whole).as_map().unwrap()[0].1.as_array().unwrap()[0],
            merged(&in_array.as_array().unwrap()[0])
        );
    }

    #[test]
    fn a_map_and_a_value_that_is_none_are_not_merged() {
        let (a, b) = (map(&[("a", 1.into())]), map(&[("b", 2.into())]));
        for (values, expected) in [
            (vec![a.clone(), 1.into()], Value::from(1)),
            (vec![1.into(), a.clone()], a.clone()),
            (vec![a.clone(), Value::Nil, b.clone()], b.clone()),
            (vec![Value::Array(vec![1.into()]), Value::Array(vec![2.into()])], Value::Array(vec![2.into()])),
        ] {
            let event = Value::Map(values.into_iter().map(|value| ("k".into(), value)).collect());
            assert_eq!(merged(&event), map(&[("k", expected)]));
        }
    }

    #[test]
    fn text_and_binary_keys_of_the_same_bytes_are_one_and_others_stay_apart() {
        // {"1": {a: 1}, bin "1": {b: 2}, 1: {c: 3}, [1]: {d: 4}, [1]: {e: 5}}
        let body =
            b"\x85\xa11\x81\xa1a\x01\xc4\x011\x81\xa1b\x02\x01\x81\xa1c\x03\x91\x01\x81\xa1d\x04\x91\x01\x81\xa1e\x05";
        let mut out = Vec::new();
        write(body, &mut out).unwrap();
        let two = b"\xdf\0\0\0\x02\xa1a\x01\xa1b\x02";
        let expected = [
            b"\xdf\0\0\0\x03\xc4\x011",
            &two[..],
            b"\x01\xdf\0\0\0\x01\xa1c\x03\x91\x01\xdf\0\0\0\x02\xa1d\x04\xa1e\x05",
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn nesting_of_any_depth_is_copied_and_torn_events_are_refused() {
        for opening in [&b"\x81\xa1k"[..], b"\x82\xa1k\x80\xa1k"] {
            let body = [&opening.repeat(100_000), &b"\x80"[..]].concat();
            let mut out = Vec::new();
            write(&body, &mut out).unwrap();
            let mut reader = Reader::new(&out);
            reader.skip().unwrap();
            assert_eq!(reader.rest(), b"");
            assert_eq!(write(&body[..body.len() - 1], &mut out), Err(Refusal::Malformed(Malformed::Truncated)));
        }
    }

    /// The rule, in a few lines.
    fn oracle(value: &Value) -> Value {
        match value {
            Value::Array(values) => Value::Array(values.iter().map(oracle).collect()),
            Value::Map(entries) => {
                let mut kept: Vec<(Value, Value)> = Vec::new();
                for (key, value) in entries {
                    let earlier = kept.iter().position(|(other, _)| other == key).map(|at| kept.remove(at).1);
                    let value = match (earlier, value) {
                        (Some(Value::Map(earlier)), Value::Map(later)) => Value::Map([earlier, later.clone()].concat()),
                        _ => value.clone(),
                    };
                    kept.push((key.clone(), value));
                }
                Value::Map(kept.into_iter().map(|(key, value)| (key, oracle(&value))).collect())
            }
            _ => value.clone(),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Nil), any::<u8>().prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let key = "[ab]".prop_map(Value::from);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((key, inner), 0..6).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_event_is_merged_as_the_rule_says(entries in proptest::collection::vec(("[ab]".prop_map(Value::from), value()), 0..6)) {
            let event = Value::Map(entries);
            prop_assert_eq!(merged(&event), oracle(&event));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = [&[0x84][..], &bytes].concat();
            write(&body, &mut Vec::new()).ok();
        }
    }
}
