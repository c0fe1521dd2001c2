//! A msgpack value as JSON.
//!
//! The output is always valid JSON, whatever the input: a byte that is not UTF-8 becomes U+FFFD, NaN and the
//! infinities become null, a key that is no string becomes its text, an extension becomes base64 text, and of several
//! equal keys the last one counts and keeps its place.

mod key_filter;
mod repeats;
mod string;

use crate::kinesis::limits;
use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::{KEY_LEVELS, MAX_DEPTH, Refusal, deeper};
use key_filter::{KeyFilter, edges, short_edges};
use repeats::Repeats;

/// Most bytes of the text of a map or an array that is a key: as much as a record has, as a rule. Backslashes are doubled
/// with each level of keys in keys, so that 2 MB of quotes would become a hundred.
const MOST_KEY_BYTES: usize = limits::DEFAULT_RECORD_BYTES;

/// Maps with more entries than this are searched for equal keys by [`Repeats`] instead of the filter.
const FILTER_MAX_ENTRIES: u32 = 64;

/// Budget for re-reading a value in search of equal keys, as a multiple of its length. When spent, [`Repeats`] takes over.
const REREADS: usize = 16;

/// The same budget, in bytes, where the length of the value is not known yet.
const REREADS_IN_ONE_PASS: usize = 16 * 1024;

/// Appends the next value to `out` as JSON and passes over it, if that can be done in one pass, which is nearly always so.
/// `None` leaves `reader` and `out` unspecified.
#[inline]
pub fn write_in_one_pass(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    write_all(reader, out, &mut Keys::Filter { rereads: REREADS_IN_ONE_PASS }).ok()
}

/// Appends `value`, one complete msgpack value, to `out` as JSON.
///
/// # Errors
/// When `value` is not valid msgpack, is nested too deeply, or becomes too large. Then `out` may hold a part of it.
pub fn write(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    let mut filter = Keys::Filter { rereads: REREADS * value.len() };
    let written = match write_all(&mut Reader::new(value), out, &mut filter) {
        // Once for the whole value: restarting each map by itself would double the time with each level.
        Err(Stop::Undecided) => {
            out.truncate(start);
            let repeats = Repeats::of_value(Reader::new(value), MAX_DEPTH, read_key)?;
            write_all(&mut Reader::new(value), out, &mut Keys::Known(&repeats))
        }
        written => written,
    };
    written.map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        // Impossible: all repeats are known.
        Stop::Undecided => Refusal::TooDeep,
    })
}

/// How equal keys of a map are found.
enum Keys<'r> {
    /// In one pass, as long as keys are strings and no two of them are equal.
    Filter {
        /// Bytes that may be read again to see whether two keys are equal or only look so to the filter.
        rereads: usize,
    },
    /// They were, of any kind and in any number.
    Known(&'r Repeats),
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

/// Writes the next value, with a fast path for the map that every event is: 80 instructions less for each.
#[inline]
fn write_all(reader: &mut Reader<'_>, out: &mut Vec<u8>, keys: &mut Keys<'_>) -> Result<(), Stop> {
    match reader.map() {
        Some(entries) => write_map(entries, reader, out, keys, MAX_DEPTH - 1),
        None => write_value(reader, out, keys, MAX_DEPTH),
    }
}

/// Writes the next value.
fn write_value(reader: &mut Reader<'_>, out: &mut Vec<u8>, keys: &mut Keys<'_>, depth: u32) -> Result<(), Stop> {
    if let Some(string) = string::short_and_plain(reader) {
        string::write_short(string, b"\"", out);
        return Ok(());
    }
    if let Some(line) = reader.line() {
        string::write(line, out);
        return Ok(());
    }
    // The token is not bound by `?`, which would copy it right after it was written, a stall.
    match reader.token() {
        Ok(Token::Map(entries)) => write_map(entries, reader, out, keys, deeper(depth, 1)?),
        Ok(Token::Array(entries)) => write_array(entries, reader, out, keys, deeper(depth, 1)?),
        Ok(scalar) => {
            write_scalar(&scalar, out);
            Ok(())
        }
        Err(reason) => Err(reason.into()),
    }
}

/// Writes what has no entries; not in [`write_value`], whose place on the stack is needed once for each level.
fn write_scalar(token: &Token<'_>, out: &mut Vec<u8>) {
    match *token {
        Token::String(bytes) | Token::Binary(bytes) => string::write(bytes, out),
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
    keys: &mut Keys<'_>,
    depth: u32,
) -> Result<(), Stop> {
    out.push(b'[');
    for entry in 0..entries {
        if entry > 0 {
            out.push(b',');
        }
        write_value(reader, out, keys, depth)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a map.
#[inline]
fn write_map(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys<'_>,
    depth: u32,
) -> Result<(), Stop> {
    if entries > FILTER_MAX_ENTRIES || matches!(keys, Keys::Known(_)) {
        return write_map_of_any_keys(entries, reader, out, keys, depth);
    }
    write_map_of_new_keys(entries, reader, out, keys, depth)
}

/// Writes a map in one pass as long as its keys are different strings, which is nearly always.
fn write_map_of_new_keys(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &mut Keys<'_>,
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
        if let Some(key) = string::short_and_plain(reader) {
            if !filter.is_new(short_edges(key), key.length) && !keys.is_missing(contents, position)? {
                return Err(Stop::Undecided);
            }
            string::write_short(key, b"\":", out);
        } else {
            let Token::String(key) = reader.token()? else { return Err(Stop::Undecided) };
            let text = simdutf8::basic::from_utf8(key).map_err(|_| Stop::Undecided)?;
            if !filter.is_new(edges(key), key.len()) && !keys.is_missing(contents, position)? {
                return Err(Stop::Undecided);
            }
            string::write_text(text, out);
            out.push(b':');
        }
        write_value(reader, out, keys, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a map of any keys, but only the last entry of each.
#[cold]
#[inline(never)]
fn write_map_of_any_keys(
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    keys: &Keys<'_>,
    depth: u32,
) -> Result<(), Stop> {
    match keys {
        Keys::Known(repeats) => write_map_without(repeats, entries, reader, out, depth),
        Keys::Filter { .. } => {
            write_map_without(&Repeats::of_map(entries, *reader, depth, read_key)?, entries, reader, out, depth)
        }
    }
}

fn write_map_without(
    repeats: &Repeats,
    entries: u32,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: u32,
) -> Result<(), Stop> {
    let keys = &mut Keys::Known(repeats);
    let mut first = true;
    out.push(b'{');
    for _ in 0..entries {
        if repeats.contain(reader) {
            reader.skip()?;
            reader.skip()?;
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        write_key(reader, out, keys, depth)?;
        out.push(b':');
        write_value(reader, out, keys, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a key of any kind as a JSON string: strings as they are, everything else as its JSON text.
fn write_key(reader: &mut Reader<'_>, out: &mut Vec<u8>, keys: &mut Keys<'_>, depth: u32) -> Result<(), Stop> {
    let mut behind = *reader;
    match behind.token()? {
        Token::Map(_) | Token::Array(_) => {
            let mut text = Vec::new();
            write_value(reader, &mut text, keys, deeper(depth, KEY_LEVELS)?)?;
            if text.len() > MOST_KEY_BYTES {
                return Err(Refusal::TooLarge.into());
            }
            string::write(&text, out);
            return Ok(());
        }
        key @ (Token::String(_) | Token::Binary(_) | Token::Extension(..)) => write_scalar(&key, out),
        // Nothing in the text of a number or a word is escaped.
        scalar => {
            out.push(b'"');
            write_scalar(&scalar, out);
            out.push(b'"');
        }
    }
    *reader = behind;
    Ok(())
}

/// Reads the text of the key that comes next, as [`Repeats`] need it; `false` when it is too deep or too large to be written.
fn read_key(mut key: Reader<'_>, repeats: &Repeats, depth: u32, text: &mut Vec<u8>) -> Result<bool, Malformed> {
    text.clear();
    match write_key(&mut key, text, &mut Keys::Known(repeats), depth) {
        Ok(()) => Ok(true),
        Err(Stop::Refused(Refusal::Malformed(reason))) => Err(reason),
        Err(_) => Ok(false),
    }
}

impl Keys<'_> {
    /// Whether the key at `position` is not among the keys of a map from the start of its `contents` up to there. Of maps with
    /// 16 different keys two in five have a pair that looks equal to the filter: without this they would be written twice.
    #[cold]
    #[inline(never)]
    fn is_missing(&mut self, mut contents: Reader<'_>, mut position: Reader<'_>) -> Result<bool, Stop> {
        let Keys::Filter { rereads } = self else { return Ok(false) };
        let length = contents.rest().len().saturating_sub(position.rest().len());
        *rereads = rereads.checked_sub(length).ok_or(Stop::Undecided)?;
        let before = position.rest().len();
        let key = position.token()?;
        while contents.rest().len() > before {
            if contents.token()? == key {
                return Ok(false);
            }
            contents.skip()?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
