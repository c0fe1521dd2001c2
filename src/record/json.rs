//! A msgpack value as JSON.
//!
//! The output is always valid JSON, whatever the input: a byte that is not UTF-8 becomes U+FFFD, NaN and the
//! infinities become null, a key that is no string becomes its text, an extension becomes base64 text, and of several
//! equal keys the last one counts and stands where it stood.

use crate::msgpack::{Malformed, Reader, Token};
use crate::record::{Refusal, deeper};

/// How deep maps and arrays may stand in each other. The encoder recurses, and the delivery thread's stack of 2 MiB
/// holds this many levels several times over (a test proves it).
pub const MAX_DEPTH: u32 = 1024;

/// A map or an array that is a key counts for this many levels: it is written as text within text, and each such step
/// doubles the backslashes before its quotes. Four of them may stand in each other.
pub const KEY_LEVELS: u32 = 250;

/// Maps with more entries than this are searched for equal keys by sorting instead of by the filter.
const FILTER_MAX_ENTRIES: u32 = 64;

/// Strings are escaped in pieces of this many bytes, because the escaper reserves six times its input.
const ESCAPE_PIECE: usize = 64 * 1024;

/// How many times its own length may be read again of a value in search of equal keys, before all maps are sorted.
const REREADS: usize = 16;

/// Appends `value`, one complete msgpack value, to `out` as JSON. On an error `out` may hold a part of it.
pub fn write(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    let mut filter = Keys::Filter { rereads: REREADS * value.len() };
    let written = match write_all(value, out, &mut filter) {
        // Once for the whole value: if each map were begun anew for itself, the time would double with each level.
        Err(Stop::Undecided) => {
            out.truncate(start);
            write_all(value, out, &mut Keys::Sort)
        }
        written => written,
    };
    written.map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        // Cannot be: sorting decides about all keys.
        Stop::Undecided => Refusal::TooDeep,
    })
}

/// How equal keys of a map are found.
enum Keys {
    /// In one pass, as long as keys are strings and no two of them are equal.
    Filter {
        /// Bytes that may be read again to see whether two keys are equal or only look so to the filter.
        rereads: usize,
    },
    /// By sorting the keys of each map.
    Sort,
}

/// Why writing ends early.
enum Stop {
    Refused(Refusal),
    /// [`Keys::Filter`] is not enough for this value.
    Undecided,
}

impl From<Malformed> for Stop {
    fn from(reason: Malformed) -> Self {
        Stop::Refused(reason.into())
    }
}

impl From<Refusal> for Stop {
    fn from(reason: Refusal) -> Self {
        Stop::Refused(reason)
    }
}

fn write_all(value: &[u8], out: &mut Vec<u8>, keys: &mut Keys) -> Result<(), Stop> {
    let mut reader = Reader::new(value);
    let token = reader.token()?;
    write_value(token, &mut reader, out, keys, MAX_DEPTH)
}

fn write_value(
    token: Token<'_>,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys,
    depth: u32,
) -> Result<(), Stop> {
    match token {
        Token::Map(entries) if entries > FILTER_MAX_ENTRIES || matches!(keys, Keys::Sort) => {
            write_map_by_sorting(entries, reader, out, keys, deeper(depth, 1)?)
        }
        Token::Map(entries) => write_map(entries, reader, out, keys, deeper(depth, 1)?),
        Token::Array(entries) => write_array(entries, reader, out, keys, deeper(depth, 1)?),
        scalar => {
            write_scalar(scalar, out);
            Ok(())
        }
    }
}

/// Writes what has no entries; not in [`write_value`], whose place on the stack is needed once for each level.
fn write_scalar(token: Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::String(bytes) | Token::Binary(bytes) => write_string(bytes, out),
        Token::Extension(_, bytes) => {
            out.push(b'"');
            base64_simd::STANDARD.encode_append(bytes, out);
            out.push(b'"');
        }
        Token::Boolean(true) => out.extend_from_slice(b"true"),
        Token::Boolean(false) => out.extend_from_slice(b"false"),
        Token::Unsigned(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Token::Signed(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Token::Float(number) if number.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        }
        Token::Nil | Token::Float(_) | Token::Array(_) | Token::Map(_) => out.extend_from_slice(b"null"),
    }
}

fn write_array(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys,
    depth: u32,
) -> Result<(), Stop> {
    out.push(b'[');
    for entry in 0..entries {
        if entry > 0 {
            out.push(b',');
        }
        let token = reader.token()?;
        write_value(token, reader, out, keys, depth)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a map in one pass as long as its keys are different strings, which is nearly always.
fn write_map(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys,
    depth: u32,
) -> Result<(), Stop> {
    let contents = *reader;
    let mut filter = KeyFilter::default();
    out.push(b'{');
    for entry in 0..entries {
        if entry > 0 {
            out.push(b',');
        }
        let position = *reader;
        let Token::String(key) = reader.token()? else { return Err(Stop::Undecided) };
        let text = match is_short_and_plain(key) {
            true => None,
            false => Some(simdutf8::basic::from_utf8(key).map_err(|_| Stop::Undecided)?),
        };
        if !filter.is_new(key) && !keys.is_missing(key, contents, position)? {
            return Err(Stop::Undecided);
        }
        match text {
            None => write_plain(key, out),
            Some(text) => write_text(text, out),
        }
        out.push(b':');
        let token = reader.token()?;
        write_value(token, reader, out, keys, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a map of any keys, but only the last entry of each.
#[cold]
#[inline(never)]
fn write_map_by_sorting(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys,
    depth: u32,
) -> Result<(), Stop> {
    let kept = last_of_each_key(entries, *reader, keys, depth)?;
    let mut kept = kept.iter().peekable();
    let mut first = true;
    out.push(b'{');
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
        write_value(token, reader, out, keys, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// The keys of a map as JSON strings, each once, with the last entry that has it; in the order of the entries.
fn last_of_each_key(
    entries: u32,
    mut contents: Reader<'_>,
    keys: &mut Keys,
    depth: u32,
) -> Result<Vec<(Vec<u8>, u32)>, Stop> {
    let mut last: Vec<(Vec<u8>, u32)> = Vec::new();
    for entry in 0..entries {
        let token = contents.token()?;
        let mut key = Vec::new();
        write_key(token, &mut contents, &mut key, keys, depth)?;
        contents.skip()?;
        last.push((key, entry));
    }
    last.sort_unstable();
    last.dedup_by(|later, earlier| {
        let equal = later.0 == earlier.0;
        if equal {
            earlier.1 = later.1;
        }
        equal
    });
    last.sort_unstable_by_key(|&(_, entry)| entry);
    Ok(last)
}

/// Writes a key of any kind as a JSON string: strings as they are, everything else as its JSON text.
fn write_key(
    token: Token<'_>,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys,
    depth: u32,
) -> Result<(), Stop> {
    let mut text = Vec::new();
    match token {
        Token::String(_) | Token::Binary(_) | Token::Extension(..) => {
            write_scalar(token, out);
            return Ok(());
        }
        Token::Map(_) | Token::Array(_) => {
            write_value(token, reader, &mut text, keys, deeper(depth, KEY_LEVELS)?)?;
        }
        scalar => write_scalar(scalar, &mut text),
    }
    write_string(&text, out);
    Ok(())
}

/// Writes a JSON string, quotes included.
#[inline]
fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    if is_short_and_plain(bytes) {
        return write_plain(bytes, out);
    }
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => write_text(text, out),
        Err(_) => write_long_string(&replace_bad_bytes(bytes), out),
    }
}

#[inline]
fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.len() <= ESCAPE_PIECE { json_escape_simd::escape_into(text, out) } else { write_long_string(text, out) }
}

#[inline]
fn write_plain(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Whether a string is ASCII without anything that JSON escapes, and too short for the vector code to be worth its calls:
/// so are most keys and most values of nested records.
#[inline]
fn is_short_and_plain(bytes: &[u8]) -> bool {
    const LONGEST: usize = 32;
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(_), Some(last)) if bytes.len() <= LONGEST => {
            bytes.as_chunks::<8>().0.iter().chain([last]).all(|eight| are_plain(u64::from_le_bytes(*eight)))
        }
        (None, _) => bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')),
        _ => false,
    }
}

/// Whether none of eight bytes is a control character, a quote, a backslash or beyond ASCII. The bit arithmetic is that of
/// "determine if a word has a byte less than n" (<https://graphics.stanford.edu/~seander/bithacks.html>, read 2026-11).
#[inline]
fn are_plain(eight: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let is_control = eight.wrapping_sub(ONES * b' ' as u64) & !eight;
    let is_quote = has_zero(eight ^ (ONES * b'"' as u64));
    let is_backslash = has_zero(eight ^ (ONES * b'\\' as u64));
    (eight | is_control | is_quote | is_backslash) & HIGHS == 0
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

impl Keys {
    /// Whether `key` is not among the keys of a map from the start of its `contents` up to `position`.
    #[cold]
    #[inline(never)]
    fn is_missing(&mut self, key: &[u8], mut contents: Reader<'_>, position: Reader<'_>) -> Result<bool, Stop> {
        let Keys::Filter { rereads } = self else { return Ok(false) };
        let length = contents.rest().len().saturating_sub(position.rest().len());
        *rereads = rereads.checked_sub(length).ok_or(Stop::Undecided)?;
        while contents.rest().len() > position.rest().len() {
            if contents.token()? == Token::String(key) {
                return Ok(false);
            }
            contents.skip()?;
        }
        Ok(true)
    }
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
