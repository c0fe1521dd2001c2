//! Text of a log that need not be valid UTF-8.
//!
//! Fluent Bit up to 3.2 decodes the escapes of JSON's surrogate pairs one by one (`\ud83d\ude00`, as Python writes an
//! emoji), which makes six bytes that are not UTF-8 (CESU-8). Both halves together are read as the character that was
//! meant.

use std::borrow::Cow;

use memchr::memchr;

/// The first byte of each half.
const LEAD: u8 = 0xed;

/// `bytes` as text. Each byte that belongs to no character becomes one U+FFFD, as in the plugins that this one
/// replaces.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replace_bad_bytes(bytes)),
    }
}

#[cold]
#[inline(never)]
fn replace_bad_bytes(bytes: &[u8]) -> String {
    let joined = join_surrogates(bytes);
    let mut text = String::with_capacity(joined.len() + 16);
    for chunk in joined.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
    text
}

/// `bytes` with the character of each surrogate pair in its place. Everything else stays, UTF-8 or not.
pub(super) fn join_surrogates(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut joined = Vec::new();
    let (mut rest, mut searched) = (bytes, 0);
    while let Some(lead) = memchr(LEAD, rest.get(searched..).unwrap_or_default()) {
        let (before, from) = rest.split_at(searched + lead);
        match surrogate_pair(from) {
            Some((character, after)) => {
                joined.extend_from_slice(before);
                joined.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                (rest, searched) = (after, 0);
            }
            None => searched += lead + 1,
        }
    }
    if rest.len() == bytes.len() {
        return Cow::Borrowed(bytes);
    }
    joined.extend_from_slice(rest);
    Cow::Owned(joined)
}

/// The character of the pair that `bytes` begins with, and what follows.
fn surrogate_pair(bytes: &[u8]) -> Option<(char, &[u8])> {
    let (pair, after) = bytes.split_first_chunk()?;
    let &[LEAD, high @ 0xa0..=0xaf, high_end @ 0x80..=0xbf, LEAD, low @ 0xb0..=0xbf, low_end @ 0x80..=0xbf] = pair
    else {
        return None;
    };
    let ten_bits = |first: u8, second: u8| u32::from(first & 0x0f) << 6 | u32::from(second & 0x3f);
    let character = char::from_u32(0x10000 + (ten_bits(high, high_end) << 10) + ten_bits(low, low_end))?;
    Some((character, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each surrogate as UTF-8 would encode it.
    fn cesu8(text: &str) -> Vec<u8> {
        let half = |half: u16| [0xe0 | (half >> 12) as u8, 0x80 | (half >> 6 & 0x3f) as u8, 0x80 | (half & 0x3f) as u8];
        let encode = |character: char| match character {
            '\u{10000}'.. => character.encode_utf16(&mut [0; 2]).iter().flat_map(|&unit| half(unit)).collect(),
            _ => character.to_string().into_bytes(),
        };
        text.chars().flat_map(encode).collect()
    }

    #[test]
    fn the_emoji_that_fluent_bit_3_makes_of_pythons_escapes_is_one() {
        assert_eq!(lossy(b"pair \xed\xa0\xbd\xed\xb8\x80 end"), "pair 😀 end");
    }

    #[test]
    fn half_a_pair_becomes_a_replacement_for_each_byte() {
        for half in [&b"\xed\xa0\xbd"[..], b"\xed\xb8\x80"] {
            assert_eq!(lossy(&[b"a", half, b"b"].concat()), "a\u{fffd}\u{fffd}\u{fffd}b");
            assert_eq!(join_surrogates(half), half);
        }
        assert_eq!(lossy(b"\xed\xa0\xbd\xed\xa0\xbd\xed\xb8\x80"), "\u{fffd}\u{fffd}\u{fffd}😀");
        assert_eq!(lossy(b"\xed\xb8\x80\xed\xa0\xbd"), "\u{fffd}".repeat(6));
    }

    proptest! {
        #[test]
        fn text_whose_characters_are_halved_is_whole_again(text in "\\PC*") {
            let halved = cesu8(&text);
            prop_assert_eq!(lossy(&halved), text.as_str());
            prop_assert_eq!(join_surrogates(text.as_bytes()), text.as_bytes(), "UTF-8 stays");
        }

        #[test]
        fn nothing_but_pairs_changes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let pairs = bytes.windows(6).filter(|six| surrogate_pair(six).is_some()).count();
            prop_assert_eq!(join_surrogates(&bytes).len(), bytes.len() - 2 * pairs);
        }
    }
}
