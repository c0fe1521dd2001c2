//! Writes a msgpack value as JSON.
//!
//! The output is always valid JSON: bytes that are not UTF-8 become U+FFFD, NaN and infinities become null, keys that
//! are not strings become their text, and extensions become base64 text. If a key repeats, the last value wins, in
//! its own place.

#[cfg(target_arch = "x86_64")]
mod escape;
mod key_filter;
mod repeats;
pub(super) mod string;

use crate::kinesis::limits;
use crate::msgpack::{Malformed, Reader, Token};
use crate::record::refusal::{KEY_LEVELS, MAX_DEPTH, Refusal, deeper};
use key_filter::{KeyFilter, edges, short_edges};
use repeats::Repeats;

/// Most bytes of text for a key that is a map or an array; about as much as a whole record usually has. Each level of
/// keys within keys doubles the backslashes, so 2 MB of quotes could otherwise become 100 MB.
const MOST_KEY_BYTES: usize = limits::DEFAULT_RECORD_BYTES;

/// Maps with more entries than this use [`Repeats`] instead of the filter.
const FILTER_MAX_ENTRIES: u32 = 64;

/// Budget for re-reading a value while checking for equal keys, as a multiple of its length. When spent, [`Repeats`]
/// is used.
const REREADS: usize = 16;

/// The same budget in bytes, for when the length of the value is not yet known.
const REREADS_IN_ONE_PASS: usize = 16 * 1024;

/// Appends the next value to `out` as JSON and consumes it, if one pass is enough, as it usually is. If it returns
/// `None`, `reader` and `out` are unspecified.
#[inline]
pub fn write_in_one_pass(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    write_all(reader, out, &mut OnePass::default().0).ok()
}

/// For the values of a record, one after the other.
pub(super) struct OnePass(Keys<'static>);

impl Default for OnePass {
    fn default() -> Self {
        OnePass(Keys::Filter { rereads: REREADS_IN_ONE_PASS })
    }
}

impl OnePass {
    /// As [`write_in_one_pass`], with `depth` levels left.
    #[inline]
    pub(super) fn write_value(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: u32) -> Option<()> {
        write_value(reader, out, &mut self.0, depth).ok()
    }
}

/// Appends `value`, one complete msgpack value, to `out` as JSON. On an error, `out` may hold part of it.
///
/// # Errors
/// When `value` is not valid msgpack, is nested too deeply, or becomes too large. Then `out` may hold a part of it.
pub fn write(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    let mut filter = Keys::Filter { rereads: REREADS * value.len() };
    let written = match write_all(&mut Reader::new(value), out, &mut filter) {
        // Restart once for the whole value; restarting per map would double the time with each level.
        Err(Stop::Undecided) => {
            out.truncate(start);
            let repeats = Repeats::of_value(Reader::new(value), MAX_DEPTH, read_key)?;
            write_all(&mut Reader::new(value), out, &mut Keys::Known(&repeats))
        }
        written => written,
    };
    written.map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        // Unreachable: all repeats are known.
        Stop::Undecided => Refusal::TooDeep,
    })
}

/// How equal keys of a map are found.
enum Keys<'r> {
    /// In one pass, while all keys are different strings.
    Filter {
        /// Bytes that may still be re-read to tell equal keys from false positives of the filter.
        rereads: usize,
    },
    /// All repeats were found beforehand, for keys of any type and maps of any size.
    Known(&'r Repeats),
}

/// Why writing stopped early.
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

/// Writes the next value, with a fast path for the map that every event is; saves 80 instructions per event.
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
    if write_line(reader, out) {
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

/// Writes the next value if it is a longer string. Returns whether it did. A function, as the next, to keep the recursive
/// stack frame small.
#[inline]
fn write_line(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> bool {
    let line = reader.line();
    line.inspect(|line| string::write(line, out)).is_some()
}

/// Writes a value without entries. Kept out of [`write_value`] to keep the recursive stack frame small.
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
        match string::short_and_plain(reader) {
            Some(string) => string::write_short(string, b"\"", out),
            None => write_value(reader, out, keys, depth)?,
        }
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

/// Writes a map in one pass, as long as its keys are different strings; they usually are.
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

/// Writes a map with any keys, keeping only the last entry of each.
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

/// Writes any key as a JSON string: strings as they are, anything else as its JSON text.
fn write_key(reader: &mut Reader<'_>, out: &mut Vec<u8>, keys: &mut Keys<'_>, depth: u32) -> Result<(), Stop> {
    let mut after = *reader;
    match after.token()? {
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
        // The text of numbers and literals needs no escaping.
        scalar => {
            out.push(b'"');
            write_scalar(&scalar, out);
            out.push(b'"');
        }
    }
    *reader = after;
    Ok(())
}

/// Reads the text of the next key for [`Repeats`]. Returns `false` if it is too deep or too large to write.
fn read_key(mut key: Reader<'_>, repeats: &Repeats, depth: u32, text: &mut Vec<u8>) -> Result<bool, Malformed> {
    text.clear();
    match write_key(&mut key, text, &mut Keys::Known(repeats), depth) {
        Ok(()) => Ok(true),
        Err(Stop::Refused(Refusal::Malformed(reason))) => Err(reason),
        Err(_) => Ok(false),
    }
}

impl Keys<'_> {
    /// Whether the key at `position` does not occur between the start of the map's `contents` and there. Two in five
    /// maps with 16 distinct keys have a false positive in the filter; without this check they would be written
    /// twice.
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
