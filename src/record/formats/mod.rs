//! The formats of a record. The bytes match Fluentd's formatters of the same names
//! (<https://docs.fluentd.org/formatter>, read 2026-11), except that JSON is always valid here.
//!
//! No format writes the final newline; [`crate::record::Encoder`] adds it.

mod ltsv;
mod plain;

use crate::msgpack::Reader;
use crate::record::json;
use crate::record::path::KeyPath;
use crate::record::refusal::Refusal;
use crate::record::schema::Schemas;
use ltsv::{Delimiters, Labels};
use plain::{json_null, nothing, replace_in, write_text};

/// The format of a record.
#[derive(Clone, Debug)]
pub enum Format {
    /// The event as JSON.
    Json,
    /// A single value: text and binary as they are, anything else as JSON. The record is refused if the value is
    /// missing.
    Value(KeyPath),
    /// A single value, or nothing if it is missing.
    SingleValue(KeyPath),
    /// The event as msgpack.
    Msgpack,
    /// `label:value` pairs.
    Ltsv {
        /// Between pairs.
        delimiter: String,
        /// Between a label and its value.
        label_delimiter: String,
    },
    /// Quoted values.
    Csv {
        /// The paths of the values.
        fields: Vec<KeyPath>,
        /// Between values.
        delimiter: String,
    },
    /// Unquoted values.
    Tsv {
        /// The paths of the values.
        fields: Vec<KeyPath>,
        /// Between values.
        delimiter: String,
    },
    /// Time, tag and the event as JSON.
    OutFile {
        /// Between the three fields.
        delimiter: String,
    },
}

/// What is kept of one event for the next.
#[derive(Default)]
pub(crate) struct Known {
    /// The schemas of events that are written as JSON.
    pub(crate) schemas: Schemas,
    labels: Labels,
}

impl Format {
    /// Appends the event's `body` to `out`. `time` is the event's time as text.
    pub(crate) fn write(
        &self,
        body: &[u8],
        time: &[u8],
        tag: &[u8],
        known: &mut Known,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match self {
            Format::Json => write_json(body, &mut known.schemas, out),
            Format::Value(path) => write_text(Some(path.find(body).ok_or(Refusal::NoLogKey)?), json_null, out),
            Format::SingleValue(path) => write_text(path.find(body), nothing, out),
            Format::Msgpack => {
                out.extend_from_slice(body);
                Ok(())
            }
            Format::Ltsv { delimiter, label_delimiter } => {
                ltsv::write(body, &Delimiters { pairs: delimiter, label: label_delimiter }, &mut known.labels, out)
            }
            Format::Csv { fields, delimiter } => write_fields(fields, delimiter, body, write_quoted, out),
            Format::Tsv { fields, delimiter } => {
                write_fields(fields, delimiter, body, |value, out| write_text(value, nothing, out), out)
            }
            Format::OutFile { delimiter } => {
                for column in [time, tag] {
                    out.extend_from_slice(column);
                    out.extend_from_slice(delimiter.as_bytes());
                }
                write_json(body, &mut known.schemas, out)
            }
        }
    }

    /// Whether the output is text, so that a newline may follow.
    pub fn is_text(&self) -> bool {
        !matches!(self, Format::Msgpack)
    }

    /// Whether backslashes in the output may be JSON escapes.
    pub fn holds_json(&self) -> bool {
        matches!(self, Format::Json | Format::OutFile { .. })
    }
}

fn write_json(body: &[u8], schemas: &mut Schemas, out: &mut Vec<u8>) -> Result<(), Refusal> {
    schemas.write(&mut Reader::new(body), out, |_, out| json::write(body, out))
}

fn write_fields(
    fields: &[KeyPath],
    delimiter: &str,
    body: &[u8],
    write: impl Fn(Option<&[u8]>, &mut Vec<u8>) -> Result<(), Refusal>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(delimiter.as_bytes());
        }
        write(field.find(body), out)?;
    }
    Ok(())
}

fn write_quoted(value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.push(b'"');
    let start = out.len();
    write_text(value, nothing, out)?;
    replace_in(out, start, b"\"", b"\"\"");
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &[u8] = b"\x81\xa1k\xa6\xed\xa0\xbd\xed\xb8\x80";

    fn path() -> KeyPath {
        KeyPath::parse("k").unwrap()
    }

    #[test]
    fn a_surrogate_pair_is_its_character_in_every_format_of_text() {
        let delimiter = || "\t".to_owned();
        for (format, expected) in [
            (Format::Json, r#"{"k":"😀"}"#),
            (Format::Value(path()), "😀"),
            (Format::SingleValue(path()), "😀"),
            (Format::Ltsv { delimiter: delimiter(), label_delimiter: ":".to_owned() }, "k:😀"),
            (Format::Csv { fields: vec![path()], delimiter: delimiter() }, "\"😀\""),
            (Format::Tsv { fields: vec![path()], delimiter: delimiter() }, "😀"),
            (Format::OutFile { delimiter: delimiter() }, "now\ttag\t{\"k\":\"😀\"}"),
        ] {
            let mut out = Vec::new();
            format.write(PAIR, b"now", b"tag", &mut Known::default(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?}");
        }
    }

    #[test]
    fn binary_and_msgpack_are_sent_as_they_are() {
        let mut out = Vec::new();
        Format::Msgpack.write(PAIR, b"", b"", &mut Known::default(), &mut out).unwrap();
        assert_eq!(out, PAIR);
        out.clear();
        Format::Value(path())
            .write(b"\x81\xa1k\xc4\x06\xed\xa0\xbd\xed\xb8\x80", b"", b"", &mut Known::default(), &mut out)
            .unwrap();
        assert_eq!(out, b"\xed\xa0\xbd\xed\xb8\x80");
    }
}
