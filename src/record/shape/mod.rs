//! Selects and renames the entries of an event, msgpack to msgpack.
//!
//! Only events that change pass through here. The result is again an event's body, so all formats and the rules about
//! equal keys apply to it.

pub(super) mod hex_ids;
pub(super) mod merge;
mod selection;
pub(super) mod writer;

use std::borrow::Cow;

use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::{MAX_DEPTH, Refusal, deeper};
use writer::{MapHeader, write_string, write_string_header};

pub(crate) use selection::Selection;

/// How an event's entries change.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The entries to keep; `None` keeps all.
    pub keep: Option<Selection>,
    /// The entries to leave out, of those that are kept.
    pub exclude: Option<Selection>,
    /// Replaces dots in keys.
    pub replace_dots: Option<String>,
    /// The key of the entry for the event's time.
    pub time_key: Option<String>,
    /// The key of the entry for the event's tag.
    pub tag_key: Option<String>,
    /// The key of the entry for the event's metadata.
    pub metadata_key: Option<String>,
    /// The key of the entry for what the events of its group share.
    pub group_key: Option<String>,
}

/// An entry that is added to an event, replacing those of the same key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value, complete msgpack.
    pub value: &'a [u8],
    /// Whether it is added whatever is kept and left out.
    pub always: bool,
}

/// What became of an event's own entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaped {
    /// How many are left.
    pub kept: u32,
    /// Whether one was replaced by an added one that is not always added.
    pub replaced: bool,
}

/// A map or array that is being copied.
#[derive(Debug)]
pub struct Open {
    /// The number of its keys and values still to come.
    left: u64,
    is_map: bool,
}

impl Shape {
    /// Whether events stay unchanged.
    pub fn is_identity(&self) -> bool {
        self.keep.is_none()
            && self.exclude.is_none()
            && self.replace_dots.is_none()
            && self.added_keys().next().is_none()
    }

    /// The keys of the entries to add.
    pub(super) fn added_keys(&self) -> impl Iterator<Item = &String> {
        [&self.time_key, &self.tag_key, &self.metadata_key, &self.group_key].into_iter().flatten()
    }

    /// Whether an entry is added under `key`.
    pub(super) fn adds(&self, key: &[u8]) -> bool {
        self.added_keys().any(|added| added.as_bytes() == key)
    }

    /// What stays of an event.
    pub(super) fn choice(&self) -> Choice<'_> {
        Choice { keep: self.keep.as_ref(), exclude: self.exclude.as_ref() }
    }

    /// What becomes of a key.
    pub(super) fn name<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match &self.replace_dots {
            Some(replacement) if key.contains('.') => Cow::Owned(key.replace('.', replacement)),
            _ => Cow::Borrowed(key),
        }
    }

    /// Appends the event's changed `body` to `out`, with the entries to add at its end. `open` is a list for reuse.
    pub fn write<'b>(
        &self,
        body: &'b [u8],
        added: &[Added<'b>],
        open: &mut Vec<Open>,
        out: &mut Vec<u8>,
    ) -> Result<Shaped, Refusal> {
        let mut reader = Reader::new(body);
        let Token::Map(entries) = reader.token()? else {
            out.extend_from_slice(body);
            return Ok(Shaped { kept: 1, replaced: false });
        };
        let map = MapHeader::write(out);
        let mut walk = Walk { shape: self, reader, replaced: false, out, open };
        let choice = self.choice();
        let kept = walk.entries(entries, choice, added, MAX_DEPTH)?;
        let mut all = kept;
        for added in added {
            all += u32::from(walk.add(added, choice)?);
        }
        let replaced = walk.replaced;
        map.set(all, out);
        Ok(Shaped { kept, replaced })
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

/// What stays of a map.
#[derive(Clone, Copy, Default)]
pub(super) struct Choice<'w> {
    /// `None` keeps everything.
    pub(super) keep: Option<&'w Selection>,
    exclude: Option<&'w Selection>,
}

impl<'w> Choice<'w> {
    /// What stays of the value under `key`, which is `None` if it is not text; `None` if nothing does.
    pub(super) fn of(self, key: Option<&[u8]>) -> Option<Choice<'w>> {
        let keep = match (self.keep, key) {
            (None, _) => None,
            (Some(keep), Some(key)) => keep.of(key)?,
            (Some(_), None) => return None,
        };
        match self.exclude.zip(key).and_then(|(exclude, key)| exclude.of(key)) {
            Some(None) => None,
            exclude => Some(Choice { keep, exclude: exclude.flatten() }),
        }
    }

    /// Whether everything stays.
    pub(super) fn is_all(self) -> bool {
        self.keep.is_none() && self.exclude.is_none()
    }
}

/// A walk over an event's body.
struct Walk<'w, 'b> {
    shape: &'w Shape,
    reader: Reader<'b>,
    /// Whether an entry was replaced.
    replaced: bool,
    out: &'w mut Vec<u8>,
    open: &'w mut Vec<Open>,
}

impl<'b> Walk<'_, 'b> {
    /// Writes the entries of a map that stay and are not replaced by those `added`. Returns their number. Recursion is
    /// as deep as the selections' paths.
    fn entries(&mut self, entries: u32, choice: Choice<'_>, added: &[Added<'_>], depth: u32) -> Result<u32, Refusal> {
        let depth = deeper(depth, 1)?;
        let mut kept = 0;
        for _ in 0..entries {
            let start = self.reader;
            let key = self.key()?;
            let raw_key = start.up_to(&self.reader);
            let replacement = added.iter().find(|added| key == Some(added.key.as_bytes()));
            let is_replaced = replacement.is_some();
            self.replaced |= replacement.is_some_and(|added| !added.always);
            let Some(choice) = choice.of(key).filter(|_| !is_replaced) else {
                self.reader.skip()?;
                continue;
            };
            let before = self.out.len();
            match key {
                Some(key) if self.shape.replace_dots.is_some() => self.shape.write_key(key, self.out),
                _ => self.out.extend_from_slice(raw_key),
            }
            if self.value(choice, depth)? {
                kept += 1;
            } else {
                self.out.truncate(before);
            }
        }
        Ok(kept)
    }

    /// Writes an added entry, or what stays of it. Returns whether anything does.
    fn add(&mut self, added: &Added<'b>, choice: Choice<'_>) -> Result<bool, Refusal> {
        let choice = if added.always { Some(Choice::default()) } else { choice.of(Some(added.key.as_bytes())) };
        let Some(choice) = choice else { return Ok(false) };
        let before = self.out.len();
        self.shape.write_key(added.key.as_bytes(), self.out);
        self.reader = Reader::new(added.value);
        let is_written = self.value(choice, deeper(MAX_DEPTH, 1)?)?;
        if !is_written {
            self.out.truncate(before);
        }
        Ok(is_written)
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

    /// Writes what stays of a value. Returns `false` if nothing was chosen of it.
    fn value(&mut self, choice: Choice<'_>, depth: u32) -> Result<bool, Refusal> {
        let start = self.reader;
        match self.reader.map().filter(|_| !choice.is_all()) {
            Some(entries) => {
                let map = MapHeader::write(self.out);
                let kept = self.entries(entries, choice, &[], depth)?;
                map.set(kept, self.out);
                Ok(kept > 0 || choice.keep.is_none())
            }
            // The path to what is kept continues, but this value is not a map.
            None if choice.keep.is_some() => {
                self.reader.skip()?;
                Ok(false)
            }
            None => {
                self.reader = start;
                match self.shape.replace_dots {
                    None => self.out.extend_from_slice(self.reader.value()?),
                    Some(_) => self.copy(depth)?,
                }
                Ok(true)
            }
        }
    }

    /// Copies a value, replacing the dots in its keys, down to `depth` levels. The depth comes from input, so this
    /// does not recurse.
    fn copy(&mut self, depth: u32) -> Result<(), Refusal> {
        let Walk { shape, reader, out, open, .. } = self;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::path::KeyPath;
    use serde_json::{Value, json};

    fn selection(paths: &[&str]) -> Selection {
        Selection::new(&paths.iter().map(|path| KeyPath::parse(path).unwrap()).collect::<Vec<_>>())
    }

    fn shaped(shape: &Shape, body: &Value) -> Value {
        let mut out = Vec::new();
        let added = shape.time_key.as_ref().map(|key| Added { key, value: b"\xa3now", always: true });
        shape.write(&rmp_serde::to_vec(body).unwrap(), added.as_slice(), &mut Vec::new(), &mut out).unwrap();
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
            assert_eq!(selection.holds(KeyPath::parse(path).unwrap().keys()), keeps, "{path}");
        }
    }

    #[test]
    fn what_is_excluded_goes_at_any_depth_and_what_is_not_named_stays() {
        let body =
            json!({"k": {"pod": "p", "labels": {"app": "a", "x": 1}}, "log": "l", "n": {"m": 1}, "a": [{"k": 1}]});
        let shape = |keep: Option<Selection>| Shape {
            keep,
            exclude: Some(selection(&["k->labels->x", "log", "n->m", "a->k", "none->x"])),
            ..Shape::default()
        };
        assert_eq!(
            shaped(&shape(None), &body),
            json!({"k": {"pod": "p", "labels": {"app": "a"}}, "n": {}, "a": [{"k": 1}]})
        );
        assert_eq!(
            shaped(&shape(Some(selection(&["k->labels", "log"]))), &body),
            json!({"k": {"labels": {"app": "a"}}})
        );
        let with_dots = Shape { replace_dots: Some("_".to_owned()), ..shape(None) };
        assert_eq!(shaped(&with_dots, &json!({"k": {"a.b": {"c.d": 1}}, "log": 1})), json!({"k": {"a_b": {"c_d": 1}}}));
    }

    #[test]
    fn what_is_written_tells_how_many_entries_are_left_without_those_added() {
        let left = |shape: &Shape, body: &Value| {
            let added = [Added { key: "t", value: b"\x01", always: true }];
            shape.write(&rmp_serde::to_vec(body).unwrap(), &added, &mut Vec::new(), &mut Vec::new()).unwrap().kept
        };
        assert_eq!(left(&keep(&["a", "b"]), &json!({"a": 1, "c": 2})), 1);
        assert_eq!(left(&keep(&["a", "b"]), &json!({"c": 2})), 0);
        assert_eq!(left(&Shape::default(), &json!({"t": 2})), 0);
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
        dots("-").write(body, &[], &mut Vec::new(), &mut out).unwrap();
        assert_eq!(out, b"\xdf\0\0\0\x03\x01\xa1a\x91\x02\x81\xa3x-y\x01\xa3b-c\x02");
        out.clear();
        keep(&["b.c"]).write(body, &[], &mut Vec::new(), &mut out).unwrap();
        assert_eq!(out, b"\xdf\0\0\0\x01\xc4\x03b.c\x02");
    }

    #[test]
    fn nesting_beyond_the_bound_is_refused_and_not_recursed_into() {
        let nested = |levels: usize| [&b"\x81\xa1k".repeat(levels)[..], b"\x01"].concat();
        let (mut open, mut out) = (Vec::new(), Vec::new());
        assert_eq!(dots("-").write(&nested(1024), &[], &mut open, &mut out), Ok(Shaped { kept: 1, replaced: false }));
        assert_eq!(dots("-").write(&nested(1025), &[], &mut open, &mut out), Err(Refusal::TooDeep));
        let arrays = [&b"\x81\xa1k"[..], &b"\x91".repeat(100_000), b"\x01"].concat();
        assert_eq!(dots("-").write(&arrays, &[], &mut open, &mut out), Err(Refusal::TooDeep));
    }
}
