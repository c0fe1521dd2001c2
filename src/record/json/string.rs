//! Strings in JSON: in quotes, escaped, valid whatever their bytes.

use crate::msgpack::{Reader, ShortString};

/// Strings are escaped in pieces of this many bytes, because the escaper reserves six times its input.
const ESCAPE_PIECE: usize = 64 * 1024;

/// Writes a JSON string, quotes included.
#[inline]
pub(super) fn write(bytes: &[u8], out: &mut Vec<u8>) {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => write_text(text, out),
        Err(_) => write_long_string(&replace_bad_bytes(bytes), out),
    }
}

#[inline]
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.len() <= ESCAPE_PIECE { json_escape_simd::escape_into(text, out) } else { write_long_string(text, out) }
}

/// Reads the next string if it has at most 32 bytes and needs no escaping, as most keys and most values of nested records:
/// calling vector code would cost more than it saves.
#[inline]
pub(super) fn short_and_plain<'a>(reader: &mut Reader<'a>) -> Option<ShortString<'a>> {
    let mut ahead = *reader;
    let string = ahead.short_string().filter(is_plain)?;
    *reader = ahead;
    Some(string)
}

/// Whether a string has no control character, quote or backslash, and nothing beyond ASCII. All of the block is looked at,
/// without a branch, which compilers make a few vector instructions of.
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
    let behind = out.len() + string.length;
    // The whole block, whose size is known, and back: a copy of any length would be a call.
    out.extend_from_slice(string.block);
    out.truncate(behind);
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
        // Without the quotes that the escaper writes.
        if let [_, content @ .., _] = escaped.as_slice() {
            out.extend_from_slice(content);
        }
        rest = after;
    }
    out.push(b'"');
}

/// Each byte that is not UTF-8 becomes one U+FFFD, as the plugins this one replaces do it.
#[cold]
#[inline(never)]
fn replace_bad_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
    text
}
