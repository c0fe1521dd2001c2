//! A msgpack value as JSON.
//!
//! The output is always valid JSON, whatever the input: a byte that is not UTF-8 becomes U+FFFD, NaN and the
//! infinities become null, a key that is no string becomes its text, an extension becomes base64 text, and of several
//! equal keys the last one counts and stands where it stood.

use crate::msgpack::{Reader, Token};
use crate::record::Refusal;

/// How deep maps and arrays may stand in each other. The encoder recurses, and the delivery thread's stack of 2 MiB
/// holds this many levels several times over (a test proves it).
pub const MAX_DEPTH: u32 = 1024;

/// Maps with more entries than this are searched for equal keys by sorting instead of by the filter.
const FILTER_MAX_ENTRIES: u32 = 64;

/// Strings are escaped in pieces of this many bytes, because the escaper reserves six times its input.
const ESCAPE_PIECE: usize = 64 * 1024;

/// Appends `value`, one complete msgpack value, to `out` as JSON. On an error `out` may hold a part of it.
pub fn write(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut reader = Reader::new(value);
    let token = reader.token()?;
    write_value(token, &mut reader, out, MAX_DEPTH)
}

fn write_value(token: Token<'_>, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Result<(), Refusal> {
    match token {
        Token::Map(entries) => return write_map(entries, reader, out, depth.checked_sub(1).ok_or(Refusal::TooDeep)?),
        Token::Array(entries) => {
            return write_array(entries, reader, out, depth.checked_sub(1).ok_or(Refusal::TooDeep)?);
        }
        Token::String(bytes) | Token::Binary(bytes) => write_string(bytes, out),
        Token::Extension(_, bytes) => {
            out.push(b'"');
            base64_simd::STANDARD.encode_append(bytes, out);
            out.push(b'"');
        }
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Boolean(true) => out.extend_from_slice(b"true"),
        Token::Boolean(false) => out.extend_from_slice(b"false"),
        Token::Unsigned(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Token::Signed(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Token::Float(number) if number.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        }
        Token::Float(_) => out.extend_from_slice(b"null"),
    }
    Ok(())
}

fn write_array(entries: u32, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Result<(), Refusal> {
    out.push(b'[');
    for entry in 0..entries {
        if entry > 0 {
            out.push(b',');
        }
        let token = reader.token()?;
        write_value(token, reader, out, depth)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a map in one pass as long as its keys are different strings, which is nearly always; else starts over.
fn write_map(entries: u32, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Result<(), Refusal> {
    let contents = *reader;
    if entries > FILTER_MAX_ENTRIES {
        return write_map_by_sorting(entries, reader, out, depth);
    }
    let start = out.len();
    let mut filter = KeyFilter::default();
    out.push(b'{');
    for entry in 0..entries {
        if entry > 0 {
            out.push(b',');
        }
        match reader.token()? {
            Token::String(key)
                if simdutf8::basic::from_utf8(key).is_ok()
                    && (filter.is_new(key) || !stands_before(key, contents, entry)?) =>
            {
                write_string(key, out);
            }
            _ => {
                *reader = contents;
                out.truncate(start);
                return write_map_by_sorting(entries, reader, out, depth);
            }
        }
        out.push(b':');
        let token = reader.token()?;
        write_value(token, reader, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a map of any keys: renders them all, finds the last of each, writes only those.
#[cold]
#[inline(never)]
fn write_map_by_sorting(entries: u32, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Result<(), Refusal> {
    let mut contents = *reader;
    let mut keys: Vec<(Vec<u8>, u32)> = Vec::new();
    for entry in 0..entries {
        let token = contents.token()?;
        let mut key = Vec::new();
        write_key(token, &mut contents, &mut key, depth)?;
        contents.skip()?;
        keys.push((key, entry));
    }
    keys.sort_unstable();
    keys.dedup_by(|later, earlier| {
        let equal = later.0 == earlier.0;
        if equal {
            earlier.1 = later.1;
        }
        equal
    });
    keys.sort_unstable_by_key(|&(_, entry)| entry);

    out.push(b'{');
    let mut kept = keys.iter().peekable();
    let mut first = true;
    for entry in 0..entries {
        reader.skip()?;
        let Some((key, _)) = kept.next_if(|&&(_, kept)| kept == entry) else {
            reader.skip()?;
            continue;
        };
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(key);
        out.push(b':');
        let token = reader.token()?;
        write_value(token, reader, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a key of any kind as a JSON string: strings as they are, everything else as its JSON text.
fn write_key(token: Token<'_>, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Result<(), Refusal> {
    if let Token::String(_) | Token::Binary(_) | Token::Extension(..) = token {
        return write_value(token, reader, out, depth);
    }
    let mut text = Vec::new();
    write_value(token, reader, &mut text, depth)?;
    write_string(&text, out);
    Ok(())
}

/// Writes a JSON string, quotes included.
#[inline]
fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) if text.len() <= ESCAPE_PIECE => json_escape_simd::escape_into(text, out),
        Ok(text) => write_long_string(text, out),
        Err(_) => write_long_string(&replace_bad_bytes(bytes), out),
    }
}

#[cold]
#[inline(never)]
fn write_long_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(ESCAPE_PIECE));
        // The escaper writes quotes. The closing one is taken back, the opening one replaces the byte before it,
        // which is put back.
        let before = out.pop();
        let position = out.len();
        json_escape_simd::escape_into(piece, out);
        if let (Some(byte), Some(before)) = (out.get_mut(position), before) {
            *byte = before;
        }
        out.pop();
        rest = behind;
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

/// Whether `key` is among the first `entries` keys of a map's contents.
#[cold]
#[inline(never)]
fn stands_before(key: &[u8], mut contents: Reader<'_>, entries: u32) -> Result<bool, Refusal> {
    for _ in 0..entries {
        if contents.token()? == Token::String(key) {
            return Ok(true);
        }
        contents.skip()?;
    }
    Ok(false)
}

/// Remembers keys as bits: says "new" only of a key that is new, and nearly always of those.
#[derive(Default)]
struct KeyFilter {
    bits: [u64; 4],
}

impl KeyFilter {
    #[inline]
    fn is_new(&mut self, key: &[u8]) -> bool {
        let hash = (edge(key.first_chunk(), key) ^ edge(key.last_chunk(), key).rotate_left(29) ^ key.len() as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = 1 << ((hash >> 58) & 63);
        let Some(word) = self.bits.get_mut((hash >> 56) as usize & 3) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// Eight bytes of the key's edge, or a key that is shorter than that, as a number.
#[inline]
fn edge(eight: Option<&[u8; 8]>, key: &[u8]) -> u64 {
    match eight {
        Some(eight) => u64::from_le_bytes(*eight),
        None => key.iter().fold(0, |number, &byte| (number << 8) | u64::from(byte)),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
