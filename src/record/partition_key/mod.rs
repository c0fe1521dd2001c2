//! The partition key of a record: random, the tag, a value of the event, or the same text for all.

pub(super) mod hash_key;

use crate::error::Allowed;
use crate::kinesis::limits::MAX_PARTITION_KEY_CHARACTERS;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::msgpack::{Reader, Token};
use crate::record::path::KeyPath;
use crate::record::text;

/// Where partition keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKey {
    /// A new random key for each record.
    Random,
    /// The event's tag.
    Tag,
    /// A value of the event.
    Value(KeyPath),
    /// The same for every record.
    Constant(String),
}

/// How a constant begins. Not quotes: they are written around keys out of habit, and YAML takes them away.
const CONSTANT: &str = "constant:";

/// The partition key of one record. The memory is reused for the next record's key.
#[derive(Debug, Default)]
pub struct Key {
    random: Option<RandomKey>,
    /// The user's key, if the key is not random.
    text: String,
    /// The explicit hash key in decimal; empty if there is none.
    hash_key: String,
}

impl Key {
    /// The key as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.random.as_ref().map_or(&self.text, RandomKey::as_str)
    }

    /// The key, if it is random.
    #[inline]
    pub fn random(&self) -> Option<RandomKey> {
        self.random
    }

    /// The explicit hash key, in decimal.
    #[inline]
    pub fn hash_key(&self) -> Option<&str> {
        Some(self.hash_key.as_str()).filter(|digits| !digits.is_empty())
    }

    /// Sets the explicit hash key to what `write` appends to an empty text. Returns the result of `write`.
    pub(super) fn set_hash_key(&mut self, write: impl FnOnce(&mut String) -> bool) -> bool {
        self.hash_key.clear();
        write(&mut self.hash_key)
    }

    /// The length in bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        if self.random.is_some() { RANDOM_KEY_LENGTH } else { self.text.len() }
    }

    /// Sets a random key.
    #[inline]
    pub(crate) fn set_random(&mut self, key: RandomKey) {
        self.random = Some(key);
    }

    /// Sets the key to what `write` appends to an empty text, if it returns `true`. Returns the result of `write`.
    #[inline]
    pub(super) fn set(&mut self, write: impl FnOnce(&mut String) -> bool) -> bool {
        self.text.clear();
        let is_set = write(&mut self.text);
        if is_set {
            self.random = None;
        }
        is_set
    }
}

impl PartitionKey {
    /// Parses the option's value: `$TAG`, `constant:` and a text, or a path.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<PartitionKey, Allowed> {
        match text {
            "$TAG" => Ok(PartitionKey::Tag),
            text if text.eq_ignore_ascii_case("$TAG") => {
                Err("use $TAG for the tag, or the key without $ for the value of a key of that name".into())
            }
            text => match text.strip_prefix(CONSTANT) {
                Some(constant) if (1..=MAX_PARTITION_KEY_CHARACTERS).contains(&constant.chars().count()) => {
                    Ok(PartitionKey::Constant(constant.to_owned()))
                }
                Some(_) => Err(format!("constant: takes 1 to {MAX_PARTITION_KEY_CHARACTERS} characters").into()),
                None => KeyPath::parse(text)
                    .map(PartitionKey::Value)
                    .map_err(|allowed| format!("{allowed}, or $TAG, or constant: and a text").into()),
            },
        }
    }

    /// The path to the key in events, if that is where it comes from. `time_key` is the key of the entry that will hold
    /// the event's time.
    pub(super) fn path(&self, time_key: Option<&str>) -> &[String] {
        match self {
            PartitionKey::Value(path) if !is_time(path, time_key) => path.keys(),
            _ => &[],
        }
    }

    /// Appends the key of an event to `out`. `time` is the key and the text of the entry that will hold the event's
    /// time; `find` returns the value at a path. Returns `false` if there is no key: only non-empty strings and binary,
    /// numbers and booleans are keys.
    #[inline]
    pub fn read<'b>(
        &self,
        find: impl FnOnce(&KeyPath) -> Option<&'b [u8]>,
        time: Option<(&str, &[u8])>,
        tag: &[u8],
        out: &mut String,
    ) -> bool {
        match self {
            PartitionKey::Random => false,
            PartitionKey::Tag => write_text(tag, out),
            PartitionKey::Constant(text) => {
                out.push_str(text);
                true
            }
            PartitionKey::Value(path) => match time {
                Some((time_key, time)) if is_time(path, Some(time_key)) => write_text(time, out),
                _ => find(path).is_some_and(|value| write_value(value, out)),
            },
        }
    }
}

/// Whether a path leads to the event's time.
fn is_time(path: &KeyPath, time_key: Option<&str>) -> bool {
    matches!((path.keys(), time_key), ([key], Some(time_key)) if key == time_key)
}

/// Appends a value as text, cut to the length of a partition key. Returns `false` if it is none of the above.
pub(super) fn write_value(value: &[u8], out: &mut String) -> bool {
    match Reader::new(value).token() {
        Ok(Token::String(text) | Token::Binary(text)) => write_text(text, out),
        Ok(Token::Boolean(value)) => write_text(if value { b"true" } else { b"false" }, out),
        Ok(Token::Unsigned(number)) => write_text(itoa::Buffer::new().format(number).as_bytes(), out),
        Ok(Token::Signed(number)) => write_text(itoa::Buffer::new().format(number).as_bytes(), out),
        Ok(Token::Float(number)) if number.is_finite() => {
            write_text(zmij::Buffer::new().format_finite(number).as_bytes(), out)
        }
        _ => false,
    }
}

/// Appends as many characters of `text` as a key may have. Each byte of no character becomes one U+FFFD.
fn write_text(text: &[u8], out: &mut String) -> bool {
    if let Ok(text) = simdutf8::basic::from_utf8(text)
        && text.len() <= MAX_PARTITION_KEY_CHARACTERS
    {
        out.push_str(text);
        return !text.is_empty();
    }
    out.extend(text::lossy(text).chars().take(MAX_PARTITION_KEY_CHARACTERS));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(path: &str, body: &serde_json::Value) -> Option<String> {
        let mut key = String::new();
        let body = rmp_serde::to_vec(body).unwrap();
        let found = PartitionKey::parse(path).unwrap().read(
            |path| path.find(&body),
            Some(("time", b"now")),
            b"app.log",
            &mut key,
        );
        found.then_some(key)
    }

    #[test]
    fn strings_numbers_and_booleans_are_keys_and_nothing_else_is() {
        let body = json!({"s": "text", "log": "l", "i": -3, "u": u64::MAX, "f": 1.5, "b": true, "e": "", "n": null,
            "m": {}, "a": [1], "k": {"p": "deep"}, "constant:s": "a key that looks like one"});
        for (path, key) in [
            ("s", Some("text")),
            ("log", Some("l")),
            ("i", Some("-3")),
            ("u", Some("18446744073709551615")),
            ("f", Some("1.5")),
            ("b", Some("true")),
            ("k->p", Some("deep")),
            ("$k['p']", Some("deep")),
            ("time", Some("now")),
            ("$TAG", Some("app.log")),
            ("constant:s", Some("s")),
            ("constant: two words ", Some(" two words ")),
            ("$['constant:s']", Some("a key that looks like one")),
            ("e", None),
            ("n", None),
            ("m", None),
            ("a", None),
            ("k", None),
            ("missing", None),
            ("s->p", None),
        ] {
            assert_eq!(read(path, &body).as_deref(), key, "{path}");
        }
        let mut key = String::new();
        assert!(PartitionKey::parse("k").unwrap().read(
            |path| path.find(b"\x81\xa1k\xc4\x04byte"),
            None,
            b"",
            &mut key
        ));
        assert!(!PartitionKey::parse("k").unwrap().read(
            |path| path.find(b"\x81\xa1k\xcb\x7f\xf8\0\0\0\0\0\0"),
            None,
            b"",
            &mut key
        ));
        assert!(!PartitionKey::Tag.read(|path| path.find(b"\x80"), None, b"", &mut key));
        assert_eq!(key, "byte");
    }

    #[test]
    fn a_constant_has_1_to_256_characters() {
        assert!(PartitionKey::parse(&format!("constant:{}", "😀".repeat(256))).is_ok());
        for text in ["constant:".to_owned(), format!("constant:{}", "k".repeat(257))] {
            assert_eq!(PartitionKey::parse(&text), Err("constant: takes 1 to 256 characters".into()));
        }
    }

    #[test]
    fn a_key_has_256_characters_at_most_whatever_their_bytes() {
        assert_eq!(read("k", &json!({"k": "k".repeat(256)})).unwrap().len(), 256);
        assert_eq!(read("k", &json!({"k": "k".repeat(257)})).unwrap().len(), 256);
        assert_eq!(read("k", &json!({"k": "😀".repeat(300)})).unwrap(), "😀".repeat(256));
        let mut key = String::new();
        PartitionKey::parse("k").unwrap().read(|path| path.find(b"\x81\xa1k\xa5a\xff\xe2\x98b"), None, b"", &mut key);
        assert_eq!(key, "a\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_surrogate_pair_in_a_key_is_its_character() {
        let mut key = String::new();
        assert!(PartitionKey::parse("k").unwrap().read(
            |path| path.find(b"\x81\xa1k\xa6\xed\xa0\xbd\xed\xb8\x80"),
            None,
            b"",
            &mut key
        ));
        assert!(PartitionKey::Tag.read(|path| path.find(b"\x80"), None, b"\xed\xa0\xbd\xed\xb8\x80", &mut key));
        assert_eq!(key, "😀😀");
    }
}
