//! The formats of a record. The bytes match Fluentd's formatters of the same names
//! (<https://docs.fluentd.org/formatter>, read 2026-11), except that JSON is always valid here.
//!
//! No format writes the final newline; [`crate::record::Encoder`] adds it.
//! None of them ends in a newline here: [`crate::record::Encoder`] adds it.

use memchr::memmem;

use crate::msgpack::{Reader, Token};
use crate::record::json;
use crate::record::path::KeyPath;
use crate::record::refusal::Refusal;

/// The format of a record.
#[derive(Clone, Debug)]
pub enum Format {
    /// The event as JSON.
    Json,
    /// A single value: text and binary unchanged, anything else as JSON. The record is refused if the value is
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

impl Format {
    /// Appends the event's `body` to `out`. `time` is the event's time as text.
    pub fn write(&self, body: &[u8], time: &[u8], tag: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Format::Json => json::write(body, out),
            Format::Value(path) => write_text(Some(path.find(body).ok_or(Refusal::NoLogKey)?), json_null, out),
            Format::SingleValue(path) => write_text(path.find(body), nothing, out),
            Format::Msgpack => {
                out.extend_from_slice(body);
                Ok(())
            }
            Format::Ltsv { delimiter, label_delimiter } => write_ltsv(body, delimiter, label_delimiter, out),
            Format::Csv { fields, delimiter } => write_fields(fields, delimiter, body, write_quoted, out),
            Format::Tsv { fields, delimiter } => {
                write_fields(fields, delimiter, body, |value, out| write_text(value, nothing, out), out)
            }
            Format::OutFile { delimiter } => {
                for column in [time, tag] {
                    out.extend_from_slice(column);
                    out.extend_from_slice(delimiter.as_bytes());
                }
                json::write(body, out)
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

fn nothing(_: &mut Vec<u8>) {}

fn json_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

/// Writes a value as text: strings and binary unchanged, anything else as JSON.
fn write_text(value: Option<&[u8]>, nil: fn(&mut Vec<u8>), out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    match Reader::new(value).token()? {
        Token::String(bytes) | Token::Binary(bytes) => out.extend_from_slice(bytes),
        Token::Nil => nil(out),
        _ => json::write(value, out)?,
    }
    Ok(())
}

fn write_ltsv(body: &[u8], delimiter: &str, label_delimiter: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut reader = Reader::new(body);
    let Token::Map(entries) = reader.token()? else { return Ok(()) };
    for entry in 0..entries {
        if entry > 0 {
            out.extend_from_slice(delimiter.as_bytes());
        }
        write_text(Some(reader.value()?), nothing, out)?;
        out.extend_from_slice(label_delimiter.as_bytes());
        let start = out.len();
        write_text(Some(reader.value()?), nothing, out)?;
        replace_in(out, start, delimiter.as_bytes(), b" ");
    }
    Ok(())
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

/// Replaces every `pattern` in `out` after `start`.
fn replace_in(out: &mut Vec<u8>, start: usize, pattern: &[u8], replacement: &[u8]) {
    let text = out.get(start..).unwrap_or_default();
    if pattern.is_empty() || memmem::find(text, pattern).is_none() {
        return;
    }
    let text = text.to_vec();
    out.truncate(start);
    let mut rest = text.as_slice();
    while let Some((before, after)) = memmem::find(rest, pattern).and_then(|at| rest.split_at_checked(at)) {
        out.extend_from_slice(before);
        out.extend_from_slice(replacement);
        rest = after.get(pattern.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}
