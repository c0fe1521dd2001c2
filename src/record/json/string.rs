//! Strings in JSON: quoted, escaped, valid whatever the bytes.

use std::borrow::Cow;

use crate::msgpack::{Reader, ShortString};
use crate::record::text;

/// Strings are escaped in pieces of this many bytes, because the escaper reserves six times its input.
const ESCAPE_PIECE: usize = 64 * 1024;

/// Writes a JSON string, including quotes.
#[inline]
pub(super) fn write(bytes: &[u8], out: &mut Vec<u8>) {
    match text::lossy(bytes) {
        Cow::Borrowed(text) => write_text(text, out),
        Cow::Owned(text) => write_long_string(&text, out),
    }
}

#[inline]
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.len() <= ESCAPE_PIECE { json_escape_simd::escape_into(text, out) } else { write_long_string(text, out) }
}

/// Reads the next string if it is at most 32 bytes and needs no escaping, like most keys and short values; calling
/// SIMD code would cost more than it saves.
#[inline]
pub(super) fn short_and_plain<'a>(reader: &mut Reader<'a>) -> Option<ShortString<'a>> {
    let mut ahead = *reader;
    let string = ahead.short_string().filter(is_plain)?;
    *reader = ahead;
    Some(string)
}

/// Whether a string is ASCII without control characters, quotes and backslashes. Branch-free over the whole block, so
/// that the compiler vectorizes it.
#[inline]
fn is_plain(string: &ShortString<'_>) -> bool {
    let escaped = |byte: u8| byte.cast_signed() < 0x20 || byte == b'"' || byte == b'\\';
    let length = string.length as u8;
    !(0..).zip(string.block).fold(false, |found, (index, &byte)| found | (escaped(byte) & (index < length)))
}

/// Writes such a string between a quote and `end`.
#[inline]
pub(super) fn write_short<const N: usize>(string: ShortString<'_>, end: &[u8; N], out: &mut Vec<u8>) {
    out.reserve(1 + string.block.len() + end.len());
    out.push(b'"');
    let written = out.len() + string.length;
    // Copy the whole block, whose size is constant, then truncate; a copy of variable length would be a call.
    out.extend_from_slice(string.block);
    out.truncate(written);
    out.extend_from_slice(end);
}

#[cold]
#[inline(never)]
fn write_long_string(text: &str, out: &mut Vec<u8>) {
    let (mut rest, mut escaped) = (text, Vec::new());
    out.push(b'"');
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(ESCAPE_PIECE));
        escaped.clear();
        json_escape_simd::escape_into(piece, &mut escaped);
        // Strip the quotes that the escaper adds.
        if let [_, content @ .., _] = escaped.as_slice() {
            out.extend_from_slice(content);
        }
        rest = after;
    }
    out.push(b'"');
}
