//! Ids of OpenTelemetry as text: Fluent Bit keeps the bytes of trace and span ids, which JSON cannot hold.

use super::writer::write_string_header;
use crate::msgpack::{Malformed, Reader, Token};

/// Keys of ids, with their length in bytes (<https://opentelemetry.io/docs/specs/otel/trace/api/#spancontext>, read
/// 2026-11).
const IDS: [(&[u8], usize); 2] = [(b"trace_id", 16), (b"span_id", 8)];

/// Appends a copy of `metadata` to `out`, with ids in hexadecimal, as in the JSON of OpenTelemetry's protocol.
pub(crate) fn write(metadata: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut reader = Reader::new(metadata);
    // The length of the id that comes next, if one does.
    let mut id = None;
    while !reader.rest().is_empty() {
        let start = reader;
        match reader.token()? {
            Token::String(bytes) | Token::Binary(bytes) if id == Some(bytes.len()) => write_hex(bytes, out),
            _ => out.extend_from_slice(start.up_to(&reader)),
        }
        let key = start.up_to(&reader);
        id = IDS.iter().find(|(name, _)| key.get(1..) == Some(name)).map(|(_, length)| *length);
    }
    Ok(())
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    write_string_header(2 * bytes.len(), out);
    for byte in bytes {
        out.extend(
            [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).map_or(b'0', |digit| digit as u8)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(metadata: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(metadata, &mut out).unwrap();
        out
    }

    #[test]
    fn ids_become_hexadecimal_and_nothing_else_changes() {
        let trace = b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c";
        let [as_bytes, as_text] = [&b"\xc4\x10"[..], b"\xb0"].map(|head| {
            [b"\x82\xa8trace_id", head, trace, b"\xa7span_id\xc4\x08\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74"].concat()
        });
        let expected = b"\x82\xa8trace_id\xd9\x205b8efff798038103d269b633813fc60c\xa7span_id\xb0eee19b7ec3c1b174";
        assert_eq!(copy(&as_bytes), expected);
        assert_eq!(copy(&as_text), expected);
        assert_eq!(copy(expected), expected, "what is hexadecimal already");
        let other = b"\x83\xa1k\xc4\x10aaaaaaaaaaaaaaaa\xa8trace_id\xc0\xa1m\x81\xa7span_id\x93\x01\x02\xa1x";
        assert_eq!(copy(other), other);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        assert_eq!(write(b"\x81\xa8trace_id\xc4\x10abc", &mut Vec::new()), Err(Malformed::Truncated));
    }
}
