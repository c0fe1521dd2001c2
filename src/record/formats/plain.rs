//! Values as plain text.

use memchr::memmem;

use crate::msgpack::{Reader, Token};
use crate::record::json;
use crate::record::refusal::Refusal;
use crate::record::text;

pub(super) fn nothing(_: &mut Vec<u8>) {}

pub(super) fn json_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

/// Writes a value as text: strings with surrogate pairs joined, binary unchanged, anything else as JSON.
pub(super) fn write_text(value: Option<&[u8]>, nil: fn(&mut Vec<u8>), out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    match Reader::new(value).token()? {
        Token::String(bytes) => out.extend_from_slice(&text::join_surrogates(bytes)),
        Token::Binary(bytes) => out.extend_from_slice(bytes),
        Token::Nil => nil(out),
        _ => json::write(value, out)?,
    }
    Ok(())
}

/// Replaces every `pattern` in `out` after `start`.
pub(super) fn replace_in(out: &mut Vec<u8>, start: usize, pattern: &[u8], replacement: &[u8]) {
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
