//! The path to a value in a record.

use std::fmt;

use crate::error::Allowed;
use crate::msgpack::{Reader, Token};

/// The keys that lead from the top of a record to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    keys: Vec<String>,
}

const ALLOWED: &str = "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']";

impl KeyPath {
    /// Parses `key`, `a->b->c` or `$a['b']['c']`. The error lists what is allowed.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<KeyPath, Allowed> {
        let keys = match text.strip_prefix('$') {
            Some(accessor) => {
                accessor_keys(accessor, |_| true).filter(|(_, rest)| rest.is_empty()).map(|(keys, _)| keys)
            }
            None => Some(text.split("->").map(str::to_owned).collect()),
        };
        match keys {
            Some(keys) if !keys.is_empty() && keys.iter().all(|key| !key.is_empty()) => Ok(KeyPath { keys }),
            _ => Err(ALLOWED.into()),
        }
    }

    /// Parses `name['b']['c']` at the start of `text`, with `is_name` characters in the name. Also returns the rest.
    pub(super) fn parse_accessor(text: &str, is_name: impl Fn(char) -> bool) -> Option<(KeyPath, &str)> {
        let (keys, rest) = accessor_keys(text, is_name)?;
        let is_path = !keys.is_empty() && keys.iter().all(|key| !key.is_empty());
        is_path.then_some((KeyPath { keys }, rest))
    }

    /// The keys, at least one.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Finds the value's bytes in `map`, a complete msgpack map. If a key repeats, the last one counts.
    #[inline]
    pub fn find<'a>(&self, map: &'a [u8]) -> Option<&'a [u8]> {
        let mut value = [None];
        KeyPath::find_all(std::slice::from_ref(self), &mut Reader::new(map), &mut value)?;
        let [value] = value;
        value
    }

    /// Reads a whole map and finds the value of each path in it; `None` if the map is malformed.
    #[inline]
    pub(super) fn find_all<'a>(paths: &[KeyPath], map: &mut Reader<'a>, values: &mut [Option<&'a [u8]>]) -> Option<()> {
        read_map(map, |key, value| {
            for (path, found) in paths.iter().zip(&mut *values) {
                if path.keys.first().is_some_and(|first| first.as_bytes() == key) {
                    *found = Some(value);
                }
            }
        })?;
        for (path, value) in paths.iter().zip(values) {
            for key in path.keys.iter().skip(1) {
                *value = value.and_then(|map| entry(map, key.as_bytes()));
            }
        }
        Some(())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys.join("->"))
    }
}

/// The keys of `name['key']["key"]`, and what follows. Either the name or the brackets may be missing.
fn accessor_keys(text: &str, is_name: impl Fn(char) -> bool) -> Option<(Vec<String>, &str)> {
    let end = |character: char| character == '[' || !is_name(character);
    let (name, mut rest) = text.split_at(text.find(end).unwrap_or(text.len()));
    if name.starts_with('.') {
        return None;
    }
    let mut keys: Vec<String> = Some(name).filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect();
    while let Some(quoted) = rest.strip_prefix('[') {
        let quote = quoted.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (key, after) = quoted.get(1..)?.split_once(quote)?;
        keys.push(key.to_owned());
        rest = after.strip_prefix(']')?;
    }
    Some((keys, rest))
}

/// The value of the last entry of `map` with this key.
fn entry<'a>(map: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    read_map(&mut Reader::new(map), |other, value| {
        if other == key {
            found = Some(value);
        }
    })?;
    found
}

/// Reads a whole map and calls `each` with the text of each key and with its value; `None` if the map is malformed.
#[inline]
fn read_map<'a>(map: &mut Reader<'a>, mut each: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    for _ in 0..map.map()? {
        let key = match map.line() {
            Some(text) => Some(text),
            None => other_key(map)?,
        };
        let value = map.value().ok()?;
        if let Some(key) = key {
            each(key, value);
        }
    }
    Some(())
}

/// Reads a key of any other type than a short string. Returns its text if it is one, or `None` if it is malformed.
fn other_key<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    let token = reader.clone().token().ok()?;
    reader.skip().ok()?;
    match token {
        Token::String(text) | Token::Binary(text) => Some(Some(text)),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        KeyPath::parse(text).unwrap().keys
    }

    #[test]
    fn three_notations_name_the_same_value() {
        assert_eq!(keys("log"), ["log"]);
        assert_eq!(keys("a.b"), ["a.b"]);
        for text in ["a->b.c->d", "$a['b.c']['d']", r#"$a["b.c"]['d']"#, "$['a']['b.c']['d']"] {
            assert_eq!(keys(text), ["a", "b.c", "d"], "{text}");
        }
        assert_eq!(KeyPath::parse("$a['b']").unwrap().to_string(), "a->b");
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_is() {
        for text in
            ["", "$", "a->", "->a", "a->->b", "$a[0]", "$a['b'", "$a['b'x", "$a['']", "$.a.b", "$a['b]", "$a[b]"]
        {
            assert_eq!(KeyPath::parse(text), Err(ALLOWED.into()), "{text}");
        }
    }

    fn find(path: &str, body: &serde_json::Value) -> Option<serde_json::Value> {
        let body = rmp_serde::to_vec(body).unwrap();
        let value = KeyPath::parse(path).unwrap().find(&body)?;
        Some(rmp_serde::from_slice(value).unwrap())
    }

    #[test]
    fn a_value_is_found_at_any_depth_and_nothing_beside_the_path() {
        let body = serde_json::json!({"a": {"b": {"c": [1, {"d": 2}]}}, "lo": 1, "log": "x", "logger": 3});
        assert_eq!(find("a->b->c", &body).unwrap(), serde_json::json!([1, {"d": 2}]));
        assert_eq!(find("log", &body).unwrap(), "x");
        for missing in ["b", "a->c", "log->x", "a->b->c->d", "l", "loggers"] {
            assert_eq!(find(missing, &body), None, "{missing}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts_bin_keys_do_and_others_are_passed_over() {
        // {[1, 2]: "no", nil: "no", bin "k": 1, "k": 2}
        let body = b"\x84\x92\x01\x02\xa2no\xc0\xa2no\xc4\x01k\x01\xa1k\x02";
        assert_eq!(KeyPath::parse("k").unwrap().find(body), Some(&b"\x02"[..]));
        assert_eq!(KeyPath::parse("k").unwrap().find(&body[..body.len() - 1]), None);
        assert_eq!(KeyPath::parse("k").unwrap().find(b"\x93\xa1k\xa1k\xa1k"), None);
    }
}
