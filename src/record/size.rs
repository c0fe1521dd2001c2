//! Handles records that are too large.

use crate::record::refusal::Refusal;

/// What to do with a record above `max_record_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    #[default]
    /// Cut it and mark it with [`SUFFIX`].
    Truncate,
    /// Refuse it.
    Discard,
}

/// How a cut record ends, as in AWS's Go plugin.
pub(crate) const SUFFIX: &[u8] = b"[Truncated...]";

/// Cuts the data in `out` after `start` to at most `room` bytes, including the suffix and a final newline.
pub(crate) fn truncate(
    out: &mut Vec<u8>,
    start: usize,
    room: usize,
    newline: bool,
    holds_json: bool,
) -> Result<(), Refusal> {
    let suffix = suffix(newline);
    let kept = room.checked_sub(suffix.len()).ok_or(Refusal::TooLarge)?;
    let data = out.get(start..).unwrap_or_default();
    out.truncate(start + boundary(data, kept, holds_json));
    out.extend_from_slice(suffix);
    Ok(())
}

/// How a cut record ends.
pub(crate) fn suffix(newline: bool) -> &'static [u8] {
    if newline { b"[Truncated...]\n" } else { SUFFIX }
}

/// The last position up to `end` where cutting `data` splits neither a character nor, if it `holds_json`, an escape.
pub(crate) fn boundary(data: &[u8], end: usize, holds_json: bool) -> usize {
    if end >= data.len() {
        return data.len();
    }
    let continued = |position: &usize| data.get(*position).is_some_and(|byte| byte & 0xc0 == 0x80);
    // A character has at most three continuation bytes. More are not UTF-8, and then any position will do.
    let character = (end.saturating_sub(3)..=end).rev().find(|position| !continued(position)).unwrap_or(end);
    if holds_json { before_split_escape(data, character) } else { character }
}

/// `end`, or the start of the escape that a cut at `end` would split.
fn before_split_escape(data: &[u8], end: usize) -> usize {
    let kept = data.get(..end).unwrap_or_default();
    // The longest escape, \u001f, has six bytes, so a split one starts within the last five.
    let Some(backslash) = kept.iter().rev().take(5).position(|&byte| byte == b'\\').map(|back| end - 1 - back) else {
        return end;
    };
    let run = kept.iter().take(backslash + 1).rev().take_while(|&&byte| byte == b'\\').count();
    let escape_length = if kept.get(backslash + 1) == Some(&b'u') { 6 } else { 2 };
    // In an even run of backslashes, each pair is a complete escape.
    if run % 2 == 1 && backslash + escape_length > end { backslash } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(data: &str, room: usize, newline: bool, holds_json: bool) -> String {
        let mut out = [b"the preceding part", data.as_bytes()].concat();
        truncate(&mut out, 18, room, newline, holds_json).unwrap();
        String::from_utf8(out.split_off(18)).unwrap()
    }

    #[test]
    fn a_record_is_cut_to_exactly_the_limit_with_suffix_and_newline() {
        let data = "x".repeat(100);
        assert_eq!(cut(&data, 99, false, false), format!("{}[Truncated...]", "x".repeat(85)));
        assert_eq!(cut(&format!("{data}\n"), 100, true, false), format!("{}[Truncated...]\n", "x".repeat(85)));
        assert_eq!(cut(&data, 14, false, false), "[Truncated...]");
        assert_eq!(truncate(&mut data.into_bytes(), 0, 13, false, false), Err(Refusal::TooLarge));
    }

    #[test]
    fn no_character_is_split() {
        for (data, character) in [("é", 2), ("☃", 3), ("😀", 4)] {
            let text = data.repeat(50);
            for room in 14..100 {
                let kept = (room - 14) / character * character;
                assert_eq!(cut(&text, room, false, true), format!("{}[Truncated...]", &text[..kept]), "{room}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_cut_anywhere() {
        assert_eq!(boundary(&[0x80; 10], 5, true), 5);
        assert_eq!(boundary(&[0xff; 10], 5, true), 5);
    }

    #[test]
    fn no_escape_of_json_is_split() {
        let content = r#"\\\"\u001f\\u001f\n\\\\ \u0000u\\é"#;
        for end in 0..=content.len() {
            let kept = &content[..boundary(content.as_bytes(), end, true)];
            assert!(serde_json::from_str::<String>(&format!("\"{kept}\"")).is_ok(), "{end}: {kept}");
            assert!(end - kept.len() < 6, "{end}: more than an escape was cut");
        }
        assert_eq!(boundary(br"ab\u001fcd", 7, false), 7);
        assert_eq!(boundary(br"ab\u001fcd", 7, true), 2);
        assert_eq!(boundary(br"ab\u001fcd", 8, true), 8);
        assert_eq!(boundary(br"ab\\u001fcd", 6, true), 6);
        assert_eq!(boundary(br"ab\\\u001fcd", 6, true), 4);
    }
}
