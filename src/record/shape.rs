//! Selects and renames the entries of an event, msgpack to msgpack.
//!
//! Only events that change pass through here. The result is again an event's body, so all formats and the rules about
//! equal keys apply to it.

use crate::msgpack::{Malformed, Reader, Token};
use crate::record::path::KeyPath;
use crate::record::refusal::{MAX_DEPTH, Refusal, deeper};

/// How an event's entries change.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The entries to keep; `None` keeps all.
    pub keep: Option<Selection>,
    /// Replaces dots in keys.
    pub replace_dots: Option<String>,
    /// The key of the entry for the event's time.
    pub time_key: Option<String>,
}

/// A map or array that is being copied.
#[derive(Debug)]
pub struct Open {
    /// The number of its keys and values still to come.
    left: u64,
    is_map: bool,
}

/// A selection of a map's entries by key.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// For each key, what to keep of its value; `None` keeps everything.
    entries: Vec<(String, Option<Selection>)>,
}

impl Selection {
    /// Selects the values at `paths`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a KeyPath>) -> Self {
        let mut selection = Selection::default();
        paths.into_iter().for_each(|path| selection.add(path.keys()));
        selection
    }

    fn add(&mut self, path: &[String]) {
        let Some((key, deeper)) = path.split_first() else { return };
        let position = self.entries.iter().position(|(known, _)| known == key);
        match position.and_then(|position| self.entries.get_mut(position)) {
            // A shorter path already keeps everything that a longer one would.
            Some((_, None)) => {}
            Some((_, whole)) if deeper.is_empty() => *whole = None,
            Some((_, Some(selection))) => selection.add(deeper),
            None => {
                let mut selection = (!deeper.is_empty()).then(Selection::default);
                if let Some(selection) = &mut selection {
                    selection.add(deeper);
                }
                self.entries.push((key.clone(), selection));
            }
        }
    }

    /// What to keep of the value under `key`: `None` is nothing, `Some(None)` everything.
    fn of(&self, key: &[u8]) -> Option<Option<&Selection>> {
        self.entries.iter().find(|(known, _)| known.as_bytes() == key).map(|(_, selection)| selection.as_ref())
    }

    /// Whether the whole value at `path` is kept.
    pub fn keeps(&self, path: &[String]) -> bool {
        let Some((key, deeper)) = path.split_first() else { return false };
        match self.of(key.as_bytes()) {
            Some(None) => true,
            Some(Some(selection)) => selection.keeps(deeper),
            None => false,
        }
    }
}

impl Shape {
    /// Whether events stay unchanged.
    pub fn is_identity(&self) -> bool {
        self.keep.is_none() && self.replace_dots.is_none() && self.time_key.is_none()
    }

    /// Appends the event's changed `body` to `out`. `time` is the text for the time key; `open` is a list for reuse.
    pub fn write(&self, body: &[u8], time: &[u8], open: &mut Vec<Open>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut reader = Reader::new(body);
        let Token::Map(entries) = reader.token()? else {
            out.extend_from_slice(body);
            return Ok(());
        };
        let map = MapHeader::write(out);
        let mut walk = Walk { shape: self, reader, out, open };
        let mut kept = walk.entries(entries, self.keep.as_ref(), self.time_key.as_deref(), MAX_DEPTH)?;
        if let Some(key) = &self.time_key {
            self.write_key(key.as_bytes(), out);
            write_string(time, out);
            kept += 1;
        }
        map.set(kept, out);
        Ok(())
    }

    fn write_key(&self, key: &[u8], out: &mut Vec<u8>) {
        let Some(replacement) = self.replace_dots.as_ref().filter(|_| key.contains(&b'.')) else {
            return write_string(key, out);
        };
        let dots = key.iter().filter(|&&byte| byte == b'.').count();
        write_string_header(key.len() - dots + dots * replacement.len(), out);
        for (index, part) in key.split(|&byte| byte == b'.').enumerate() {
            if index > 0 {
                out.extend_from_slice(replacement.as_bytes());
            }
            out.extend_from_slice(part);
        }
    }
}

/// A walk over an event's body.
struct Walk<'w, 'b> {
    shape: &'w Shape,
    reader: Reader<'b>,
    out: &'w mut Vec<u8>,
    open: &'w mut Vec<Open>,
}

impl<'b> Walk<'_, 'b> {
    /// Writes the kept entries of a map, except the one called `replaced`. Returns their number. Recursion is as deep
    /// as the selection's paths.
    fn entries(
        &mut self,
        entries: u32,
        keep: Option<&Selection>,
        replaced: Option<&str>,
        depth: u32,
    ) -> Result<u32, Refusal> {
        let depth = deeper(depth, 1)?;
        let mut kept = 0;
        for _ in 0..entries {
            let start = self.reader;
            let key = self.key()?;
            let raw_key = start.up_to(&self.reader);
            let kept_part = match (keep, key) {
                (None, _) => Some(None),
                (Some(selection), Some(key)) => selection.of(key),
                (Some(_), None) => None,
            };
            let is_replaced = key.is_some() && key == replaced.map(str::as_bytes);
            let Some(kept_part) = kept_part.filter(|_| !is_replaced) else {
                self.reader.skip()?;
                continue;
            };
            let before = self.out.len();
            match key {
                Some(key) if self.shape.replace_dots.is_some() => self.shape.write_key(key, self.out),
                _ => self.out.extend_from_slice(raw_key),
            }
            if self.value(kept_part, depth)? {
                kept += 1;
            } else {
                self.out.truncate(before);
            }
        }
        Ok(kept)
    }

    /// Reads a key. Returns `None` if it is neither a string nor binary.
    fn key(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        let start = self.reader;
        match self.reader.token()? {
            Token::String(key) | Token::Binary(key) => Ok(Some(key)),
            _ => {
                self.reader = start;
                self.reader.skip().map(|()| None)
            }
        }
    }

    /// Writes what to keep of a value. Returns `false` if that is nothing.
    fn value(&mut self, keep: Option<&Selection>, depth: u32) -> Result<bool, Refusal> {
        let Some(selection) = keep else {
            match self.shape.replace_dots {
                None => self.out.extend_from_slice(self.reader.value()?),
                Some(_) => self.copy(depth)?,
            }
            return Ok(true);
        };
        let start = self.reader;
        let Token::Map(entries) = self.reader.token()? else {
            // The path continues, but this value is not a map.
            self.reader = start;
            self.reader.skip()?;
            return Ok(false);
        };
        let map = MapHeader::write(self.out);
        let kept = self.entries(entries, Some(selection), None, depth)?;
        map.set(kept, self.out);
        Ok(kept > 0)
    }

    /// Copies a value, replacing the dots in its keys, down to `depth` levels. The depth comes from input, so this
    /// does not recurse.
    fn copy(&mut self, depth: u32) -> Result<(), Refusal> {
        let Walk { shape, reader, out, open } = self;
        open.clear();
        loop {
            let is_key = open.last().is_some_and(|within| within.is_map && within.left % 2 == 0);
            if let Some(within) = open.last_mut() {
                within.left -= 1;
            }
            let start = *reader;
            match reader.token()? {
                Token::String(key) | Token::Binary(key) if is_key => shape.write_key(key, out),
                Token::Map(_) | Token::Array(_) if is_key => {
                    *reader = start;
                    out.extend_from_slice(reader.value()?);
                }
                token => {
                    out.extend_from_slice(start.up_to(reader));
                    match token {
                        Token::Map(entries) => open.push(Open { left: 2 * u64::from(entries), is_map: true }),
                        Token::Array(entries) => open.push(Open { left: entries.into(), is_map: false }),
                        _ => {}
                    }
                    if open.len() > depth as usize {
                        return Err(Refusal::TooDeep);
                    }
                }
            }
            while open.pop_if(|within| within.left == 0).is_some() {}
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The header of a map whose entries are counted while they are written. Always map 32, which fits any count.
struct MapHeader {
    position: usize,
}

impl MapHeader {
    fn write(out: &mut Vec<u8>) -> Self {
        let position = out.len();
        out.extend_from_slice(&[rmp::Marker::Map32.to_u8(), 0, 0, 0, 0]);
        MapHeader { position }
    }

    fn set(self, entries: u32, out: &mut [u8]) {
        if let Some(count) = out.get_mut(self.position + 1..self.position + 5) {
            count.copy_from_slice(&entries.to_be_bytes());
        }
    }
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_string_header(text.len(), out);
    out.extend_from_slice(text);
}

fn write_string_header(length: usize, out: &mut Vec<u8>) {
    // A chunk is far smaller than 4 GiB, and a Vec takes everything.
    rmp::encode::write_str_len(out, u32::try_from(length).unwrap_or(u32::MAX)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn selection(paths: &[&str]) -> Selection {
        Selection::new(&paths.iter().map(|path| KeyPath::parse(path).unwrap()).collect::<Vec<_>>())
    }

    fn shaped(shape: &Shape, body: &Value) -> Value {
        let mut out = Vec::new();
        shape.write(&rmp_serde::to_vec(body).unwrap(), b"now", &mut Vec::new(), &mut out).unwrap();
        rmp_serde::from_slice(&out).unwrap()
    }

    fn keep(paths: &[&str]) -> Shape {
        Shape { keep: Some(selection(paths)), ..Shape::default() }
    }

    fn dots(replacement: &str) -> Shape {
        Shape { replace_dots: Some(replacement.to_owned()), ..Shape::default() }
    }

    #[test]
    fn only_the_chosen_entries_stay_in_the_order_they_came() {
        let body = json!({"coffee": 1, "dumpling": 2, "tea": 3, "pudding": {"x": [4]}, "cake": 5, "sugar": 6});
        let kept = shaped(&keep(&["pudding", "dumpling"]), &body);
        assert_eq!(serde_json::to_string(&kept).unwrap(), r#"{"dumpling":2,"pudding":{"x":[4]}}"#);
        assert_eq!(shaped(&keep(&["none"]), &body), json!({}));
    }

    #[test]
    fn a_path_keeps_its_nesting_and_leaves_no_empty_maps() {
        let pod = json!({"pod": "p", "ip": 1, "labels": {"app": "a", "x": 1}});
        let body = json!({"k": pod, "log": "l", "n": {"m": {"o": 1}}, "e": {}});
        assert_eq!(
            shaped(&keep(&["k->labels->app", "k->pod", "n->m->p", "log->x"]), &body),
            json!({"k": {"pod": "p", "labels": {"app": "a"}}})
        );
        assert_eq!(shaped(&keep(&["k->pod", "k", "k->labels", "e"]), &body), json!({"k": body["k"], "e": {}}));
    }

    #[test]
    fn a_selection_knows_which_values_it_keeps_whole() {
        let selection = selection(&["a->b", "c"]);
        for (path, keeps) in
            [("a->b", true), ("a->b->x", true), ("c", true), ("c->d", true), ("a", false), ("b", false)]
        {
            assert_eq!(selection.keeps(KeyPath::parse(path).unwrap().keys()), keeps, "{path}");
        }
    }

    #[test]
    fn dots_of_keys_are_replaced_in_maps_and_arrays_at_any_depth_and_never_in_values() {
        let body = json!({"message.key": {"messagevalue": "some.message", "message.value/one": "some message"},
            "kubernetes": {"app.kubernetes.io/name": "test key with dots"}, "a": [{"b.c": [{"d.": 1}]}, "e.f"]});
        assert_eq!(
            shaped(&dots("-"), &body),
            json!({"message-key": {"messagevalue": "some.message", "message-value/one": "some message"},
                "kubernetes": {"app-kubernetes-io/name": "test key with dots"}, "a": [{"b-c": [{"d-": 1}]}, "e.f"]})
        );
        let long = "x.".repeat(40_000);
        assert_eq!(shaped(&dots("__"), &json!({ long.as_str(): 1 })), json!({ long.replace('.', "__"): 1 }));
    }

    #[test]
    fn the_time_comes_last_and_replaces_an_existing_one() {
        let shape = Shape { time_key: Some("t".to_owned()), ..Shape::default() };
        let changed = shaped(&shape, &json!({"t": "old", "a": {"t": 1}}));
        assert_eq!(serde_json::to_string(&changed).unwrap(), r#"{"a":{"t":1},"t":"now"}"#);
        assert_eq!(shaped(&shape, &json!({})), json!({"t": "now"}));
    }

    #[test]
    fn the_time_is_kept_whatever_else_is_and_its_key_loses_its_dots_too() {
        let shape = Shape { time_key: Some("t.s".to_owned()), replace_dots: Some("_".to_owned()), ..keep(&["a"]) };
        assert_eq!(shaped(&shape, &json!({"a": 1, "b": 2, "t.s": 0})), json!({"a": 1, "t_s": "now"}));
    }

    #[test]
    fn keys_that_are_no_strings_stay_unless_others_are_chosen() {
        // {1: "a", [2]: {"x.y": 1}, bin "b.c": 2}
        let body = b"\x83\x01\xa1a\x91\x02\x81\xa3x.y\x01\xc4\x03b.c\x02";
        let mut out = Vec::new();
        dots("-").write(body, b"", &mut Vec::new(), &mut out).unwrap();
        assert_eq!(out, b"\xdf\0\0\0\x03\x01\xa1a\x91\x02\x81\xa3x-y\x01\xa3b-c\x02");
        out.clear();
        keep(&["b.c"]).write(body, b"", &mut Vec::new(), &mut out).unwrap();
        assert_eq!(out, b"\xdf\0\0\0\x01\xc4\x03b.c\x02");
    }

    #[test]
    fn nesting_beyond_the_bound_is_refused_and_not_recursed_into() {
        let nested = |levels: usize| [&b"\x81\xa1k".repeat(levels)[..], b"\x01"].concat();
        let (mut open, mut out) = (Vec::new(), Vec::new());
        assert_eq!(dots("-").write(&nested(1024), b"", &mut open, &mut out), Ok(()));
        assert_eq!(dots("-").write(&nested(1025), b"", &mut open, &mut out), Err(Refusal::TooDeep));
        let arrays = [&b"\x81\xa1k"[..], &b"\x91".repeat(100_000), b"\x01"].concat();
        assert_eq!(dots("-").write(&arrays, b"", &mut open, &mut out), Err(Refusal::TooDeep));
    }
}
