//! Stream names made from the tag and from values of the event, as in Fluent Bit's record accessor.

use crate::error::Allowed;
use crate::kinesis::stream::Stream;
use crate::msgpack::Reader;
use crate::record::partition_key::write_value;
use crate::record::path::KeyPath;
use crate::record::shape::merge;

const ALLOWED: &str = "use a name with variables: $TAG, a part of the tag such as $TAG[1], or a value such as \
    $kubernetes['namespace_name']; the text between them may have a-z A-Z 0-9 _ . -";

/// Most values of a record in a name.
const MAX_VALUES: usize = 8;

/// A stream's name with variables: `logs-$TAG`, `$TAG[1]`, `$kubernetes['namespace_name']-logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTemplate {
    text: String,
    pieces: Vec<Piece>,
    /// Where the values are that the pieces refer to.
    paths: Vec<KeyPath>,
    /// The stream of records for which the template gives no valid name.
    fallback: Option<Stream>,
    /// Whether maps of one name are merged before values are read.
    merges_maps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Tag,
    /// A part of the tag between its dots, from 0.
    TagPart(usize),
    /// The value at one of the paths.
    Value(usize),
}

impl StreamTemplate {
    /// Whether `text` has variables.
    pub fn is_template(text: &str) -> bool {
        text.contains('$')
    }

    /// Parses a name with variables. A key in it ends before the first character other than `a-z A-Z 0-9 _`; any other
    /// key can be written as `$['a-b']`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<StreamTemplate, Allowed> {
        if text.starts_with("arn:") {
            return Err("an ARN cannot have variables: use a name, and set region if it is not the default".into());
        }
        let mut template = StreamTemplate {
            text: text.to_owned(),
            pieces: Vec::new(),
            paths: Vec::new(),
            fallback: None,
            merges_maps: false,
        };
        let mut rest = text;
        while !rest.is_empty() {
            rest = template.parse_piece(rest)?;
        }
        Ok(template)
    }

    /// Parses the first piece of `text`. Returns the rest.
    fn parse_piece<'t>(&mut self, text: &'t str) -> Result<&'t str, Allowed> {
        if text.starts_with("${") {
            return Err("Fluent Bit replaces ${X} by an environment variable, and has not done so here; use $TAG for the tag, and $key for a value".into());
        }
        let Some(variable) = text.strip_prefix('$') else {
            let (text, rest) = text.split_at(text.find('$').unwrap_or(text.len()));
            self.pieces.push(Piece::Text(text.to_owned()));
            return if Stream::is_name(text) { Ok(rest) } else { Err(ALLOWED.into()) };
        };
        if let Some(rest) = variable.strip_prefix("TAG").filter(|rest| !rest.starts_with(is_key_character)) {
            let Some(part) = rest.strip_prefix('[') else {
                self.pieces.push(Piece::Tag);
                return Ok(rest);
            };
            let (part, rest) = part.split_once(']').ok_or(ALLOWED)?;
            self.pieces.push(Piece::TagPart(part.parse().map_err(|_| ALLOWED)?));
            return Ok(rest);
        }
        let (path, rest) = KeyPath::parse_accessor(variable, is_key_character).ok_or(ALLOWED)?;
        if matches!(path.keys(), [key] if key == "tag") && !variable.starts_with('[') {
            return Err("$tag is the value of a key; the tag is $TAG, and a key of that name is $['tag']".into());
        }
        if self.paths.len() == MAX_VALUES {
            return Err(format!("at most {MAX_VALUES} values of a record can be in a name").into());
        }
        self.pieces.push(Piece::Value(self.paths.len()));
        self.paths.push(path);
        Ok(rest)
    }

    /// Sends records for which the template gives no valid name to `fallback`.
    #[must_use]
    pub fn with_fallback(self, fallback: Option<Stream>) -> StreamTemplate {
        StreamTemplate { fallback, ..self }
    }

    /// Reads values after maps of one name in one event were merged, as they are sent.
    #[must_use]
    pub fn with_merged_maps(self, merges_maps: bool) -> StreamTemplate {
        StreamTemplate { merges_maps, ..self }
    }

    /// The text as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether no value of a record is part of the name.
    pub fn needs_only_the_tag(&self) -> bool {
        self.paths.is_empty()
    }

    /// Reads an event's body, a whole map, and returns the name of its stream, if there is one; `None` if the body is
    /// malformed. `name` is memory for it.
    #[inline]
    pub fn read<'n>(&'n self, tag: &[u8], body: &mut Reader<'_>, name: &'n mut String) -> Option<Option<&'n str>> {
        if !self.merges_maps || self.paths.is_empty() {
            return self.read_merged(tag, body, name);
        }
        let mut merged = Vec::new();
        merge::write(body.value().ok()?, &mut merged).ok()?;
        self.read_merged(tag, &mut Reader::new(&merged), name)
    }

    #[inline]
    fn read_merged<'n>(&'n self, tag: &[u8], body: &mut Reader<'_>, name: &'n mut String) -> Option<Option<&'n str>> {
        name.clear();
        let mut values = [None; MAX_VALUES];
        // The pass that finds the values also finds the end of the body.
        KeyPath::find_all(&self.paths, body, &mut values)?;
        let value = |index: usize| values.get(index).copied().flatten();
        let is_complete = self.pieces.iter().all(|piece| piece.write(tag, value, name));
        let is_name = is_complete && Stream::is_name(name);
        Some(if is_name { Some(name) } else { self.fallback.as_ref().map(Stream::as_str) })
    }
}

impl Piece {
    /// Appends what the piece stands for. Returns `false` if there is nothing.
    #[inline]
    fn write<'b>(&self, tag: &[u8], value: impl FnOnce(usize) -> Option<&'b [u8]>, out: &mut String) -> bool {
        let mut push = |text: &[u8]| str::from_utf8(text).map(|text| out.push_str(text)).is_ok() && !text.is_empty();
        match self {
            Piece::Text(text) => {
                out.push_str(text);
                true
            }
            Piece::Tag => push(tag),
            Piece::TagPart(part) => tag.split(|&byte| byte == b'.').nth(*part).is_some_and(push),
            Piece::Value(index) => value(*index).is_some_and(|value| write_value(value, out)),
        }
    }
}

fn is_key_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn name(template: &str, tag: &str, body: &Value) -> Option<String> {
        let body = rmp_serde::to_vec(body).unwrap();
        let mut bytes = body.clone();
        bytes.push(0xc0);
        let mut reader = Reader::new(&bytes);
        let mut name = "left over".to_owned();
        let template = StreamTemplate::parse(template).unwrap();
        let found = template.read(tag.as_bytes(), &mut reader, &mut name).unwrap().map(str::to_owned);
        assert_eq!(reader.rest(), [0xc0], "the body is read to its end and no further");
        found
    }

    #[test]
    fn a_name_is_made_of_text_the_tag_its_parts_and_values() {
        let body = json!({"log": "x", "kubernetes": {"namespace_name": "shop", "labels": {"app.io/name": "web"}},
            "n": 7, "on": true, "a-b": "c", "TAGS": "t", "after": 1});
        for (template, expected) in [
            ("logs-$TAG", "logs-kube.shop.web"),
            ("$TAG", "kube.shop.web"),
            ("$TAG[1]", "shop"),
            ("$TAG[0]-$TAG[2].x", "kube-web.x"),
            ("$kubernetes['namespace_name']-logs", "shop-logs"),
            ("$kubernetes['labels'][\"app.io/name\"]", "web"),
            ("a.$n", "a.7"),
            ("$on", "true"),
            ("$['a-b']", "c"),
            ("$['kubernetes']['namespace_name']_$n-$TAG[0]", "shop_7-kube"),
            ("$TAGS", "t"),
            ("$n.$log", "7.x"),
        ] {
            assert_eq!(name(template, "kube.shop.web", &body).as_deref(), Some(expected), "{template}");
        }
    }

    #[test]
    fn without_a_value_or_a_valid_name_the_fallback_is_the_stream_if_there_is_one() {
        let body = json!({"empty": "", "null": null, "map": {}, "long": "l".repeat(128), "bad": "a/b", "umlaut": "ö"});
        for template in
            ["$missing", "$empty", "x-$empty", "$null", "$map", "$map['x']", "$bad", "$umlaut", "$long-x", "$TAG[3]"]
        {
            assert_eq!(name(template, "a.b", &body), None, "{template}");
            let with = StreamTemplate::parse(template).unwrap().with_fallback(Some(Stream::parse("rest").unwrap()));
            let bytes = rmp_serde::to_vec(&body).unwrap();
            assert_eq!(with.read(b"a.b", &mut Reader::new(&bytes), &mut String::new()), Some(Some("rest")));
        }
        assert_eq!(name("$long", "a", &body), Some("l".repeat(128)));
        assert_eq!(name("logs-$TAG", "app/x", &body), None);
        assert_eq!(name("logs-$TAG", "", &body), None);
    }

    #[test]
    fn a_malformed_body_has_no_stream_and_is_said_to_be_malformed() {
        for template in ["$a", "$TAG", "$a$b"] {
            let template = StreamTemplate::parse(template).unwrap();
            for body in [&b"\x82\xa1a\xa1x"[..], b"\x81\xc1", b""] {
                assert_eq!(template.read(b"tag", &mut Reader::new(body), &mut String::new()), None, "{body:x?}");
            }
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_is() {
        for text in ["$", "a$", "$$TAG", "a/$TAG", "logs $TAG", "$TAG[x]", "$TAG[1", "$TAG[-1]", "$a['b'"] {
            let error = StreamTemplate::parse(text).unwrap_err().to_string();
            assert!(error.contains("use a name with variables"), "{text}: {error}");
        }
        let error = |text| StreamTemplate::parse(text).unwrap_err().to_string();
        assert!(error("arn:aws:kinesis:us-east-1:111122223333:stream/$TAG").starts_with("an ARN cannot"));
        assert!(error("logs-${tag}").starts_with("Fluent Bit replaces ${X}"));
        assert!(error("logs-$tag").contains("the tag is $TAG"));
        assert!(StreamTemplate::parse("logs-$['tag']").is_ok());
        assert!(StreamTemplate::parse(&"$a".repeat(8)).is_ok());
        assert_eq!(error(&"$a".repeat(9)), "at most 8 values of a record can be in a name");
    }
}
