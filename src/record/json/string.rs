//! Strings in JSON: quoted, escaped, valid whatever the bytes.

use std::borrow::Cow;

#[cfg(target_arch = "x86_64")]
use super::escape;
use crate::msgpack::{Reader, ShortString};
use crate::record::text;

/// Strings are escaped in pieces of this many bytes, because the escaper reserves six times its input.
const ESCAPE_PIECE: usize = 64 * 1024;

/// Writes a JSON string, including quotes.
// Out of line, a record of one line costs 17 instructions more.
#[inline(always)]
pub(in crate::record) fn write(bytes: &[u8], out: &mut Vec<u8>) {
    // It asks for more than this, but other processors need not call it to learn that it cannot help.
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vbmi2") && escape::write(bytes, out) {
        return;
    }
    write_anywhere(bytes, out);
}

/// The same without AVX-512.
#[inline(always)]
fn write_anywhere(bytes: &[u8], out: &mut Vec<u8>) {
    match text::lossy(bytes) {
        Cow::Borrowed(text) => write_text(text, out),
        Cow::Owned(text) => write_long_string(&text, out),
    }
}

#[inline]
pub(in crate::record) fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.len() <= ESCAPE_PIECE { json_escape_simd::escape_into(text, out) } else { write_long_string(text, out) }
}

/// Reads the next string if it is at most 32 bytes and needs no escaping, like most keys and short values; calling
/// SIMD code would cost more than it saves.
#[inline]
pub(in crate::record) fn short_and_plain<'a>(reader: &mut Reader<'a>) -> Option<ShortString<'a>> {
    let mut ahead = *reader;
    let string = ahead.short_string().filter(is_plain)?;
    *reader = ahead;
    Some(string)
}

/// Whether a string is ASCII without control characters, quotes and backslashes. Branch-free over the whole block, so
/// that the compiler vectorizes it.
#[inline]
fn is_plain(string: &ShortString<'_>) -> bool {
    const BLOCK: usize = 32;
    /// A window of this has as many set bytes as the string is long.
    const LENGTHS: [u8; 2 * BLOCK] = {
        let mut bytes = [0; 2 * BLOCK];
        bytes.split_at_mut(BLOCK).0.copy_from_slice(&[u8::MAX; BLOCK]);
        bytes
    };
    let window = LENGTHS.get(BLOCK.saturating_sub(string.length)..).and_then(<[u8]>::first_chunk::<BLOCK>);
    let Some(in_string) = window else { return false };
    // The first comparison is true for control characters, the quote, and what is not ASCII.
    let escaped = |byte: u8| (byte ^ 2).cast_signed() < 0x21 || byte == b'\\';
    let bytes = string.block.iter().zip(in_string);
    bytes.fold(0, |found, (&byte, in_string)| found | (u8::from(escaped(byte)).wrapping_neg() & in_string)) == 0
}

/// Writes such a string between a quote and `end`, of one or two bytes.
#[inline]
pub(super) fn write_short<const N: usize>(string: ShortString<'_>, end: &[u8; N], out: &mut Vec<u8>) {
    let written = out.len() + 1 + string.length + N;
    // A block of constant size is copied without a call, and at once.
    let mut quoted = [b'"'; 35];
    let [_, text @ ..] = &mut quoted;
    if let Some(text) = text.first_chunk_mut() {
        *text = *string.block;
    }
    if let Some(place) = text.get_mut(string.length..).and_then(<[u8]>::first_chunk_mut) {
        *place = *end;
    }
    out.extend_from_slice(&quoted);
    out.truncate(written);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of all kinds: text with much to escape, any text, and what is no text.
    fn strings() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-c\"\\\\\n\t\u{1}é]{0,200}".prop_map(String::into_bytes),
            "[ -~]{0,200}".prop_map(String::into_bytes),
            "\\PC{0,100}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..200),
        ]
    }

    fn written(write: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = b"before".to_vec();
        write(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_string_is_the_same_on_every_processor(bytes in strings()) {
            prop_assert_eq!(written(write, &bytes), written(write_anywhere, &bytes));
        }
    }

    #[test]
    fn each_byte_is_the_same_on_every_processor_wherever_it_is() {
        for (byte, length) in (0..=u8::MAX).flat_map(|byte| (1..=100).map(move |length| (byte, length))) {
            for place in [0, length / 2, length - 1] {
                let mut bytes = vec![b'x'; length];
                bytes[place] = byte;
                assert_eq!(written(write, &bytes), written(write_anywhere, &bytes), "{byte} at {place} of {length}");
            }
        }
    }
}
