//! Recognizes a reply that accepts every record, without parsing it.
//!
//! Nearly every reply does, and one to 500 records has 60 KiB. This matches only the exact form that Kinesis writes,
//! from the first byte to the last; anything else is left to the full parser in [`super::reply`].

/// Whether `body`, in JSON, accepts all of `count` records. `false` means "unknown".
pub(super) fn all_accepted(body: &[u8], count: usize) -> bool {
    object(body, b"{", |state: &mut Option<usize>, key, rest| match key {
        b"FailedRecordCount" => literal(rest, b"0"),
        b"EncryptionType" => string(rest).map(|(_, rest)| rest),
        b"Records" if state.is_none() => {
            let (records, rest) = records(rest)?;
            *state = Some(records);
            Some(rest)
        }
        _ => None,
    })
    .is_some_and(|(records, rest)| rest.is_empty() && records == Some(count))
}

/// An array of accepted records: their number, and what follows it.
fn records(body: &[u8]) -> Option<(usize, &[u8])> {
    let mut rest = literal(body, b"[")?;
    let mut records = 0;
    loop {
        let after = after_usual(USUAL, rest).or_else(|| record(rest))?;
        records += 1;
        match after.split_first()? {
            (b',', after) => rest = after,
            (b']', after) => return Some((records, after)),
            _ => return None,
        }
    }
}

/// An accepted record as nearly always written; a 0 stands for any digit.
const USUAL: &[u8; 110] =
    br#"{"SequenceNumber":"00000000000000000000000000000000000000000000000000000000","ShardId":"shardId-000000000000"}"#;
/// The same in CBOR, as written by Java's generator.
const USUAL_IN_CBOR: &[u8; 104] =
    b"\xbf\x6eSequenceNumber\x78\x3800000000000000000000000000000000000000000000000000000000\
      \x67ShardId\x74shardId-000000000000\xff";

/// What follows a record of the usual form. Compares the whole record without branches, so that the compiler
/// vectorizes it.
#[inline]
fn after_usual<'a, const N: usize>(usual: &[u8; N], body: &'a [u8]) -> Option<&'a [u8]> {
    let (record, rest) = body.split_first_chunk::<N>()?;
    let is_usual = usual.iter().zip(record).fold(true, |so_far, (&usual, &byte)| {
        let fits = if usual == b'0' { byte.is_ascii_digit() } else { byte == usual };
        so_far & fits
    });
    is_usual.then_some(rest)
}

/// What follows an accepted record of any other form.
fn record(body: &[u8]) -> Option<&[u8]> {
    let (has_number, rest) = object(body, b"{", |has_number: &mut bool, key, rest| {
        let (value, rest) = string(rest)?;
        match key {
            b"SequenceNumber" if !*has_number && !value.is_empty() => *has_number = true,
            b"ShardId" => {}
            _ => return None,
        }
        Some(rest)
    })?;
    has_number.then_some(rest)
}

/// An object without whitespace. `member` reads the value after each key and returns what follows it.
#[inline]
fn object<'a, State: Default>(
    body: &'a [u8],
    open: &[u8],
    mut member: impl FnMut(&mut State, &[u8], &'a [u8]) -> Option<&'a [u8]>,
) -> Option<(State, &'a [u8])> {
    let mut state = State::default();
    let mut rest = literal(body, open)?;
    loop {
        let (key, after) = string(rest)?;
        let after = member(&mut state, key, literal(after, b":")?)?;
        match after.split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return Some((state, after)),
            _ => return None,
        }
    }
}

#[inline]
fn literal<'a>(body: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    body.strip_prefix(text)
}

/// A string without escapes; it always ends at the next quote.
#[inline]
fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = literal(body, b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', body)?;
    let (text, rest) = body.split_at_checked(end)?;
    Some((text, literal(rest, b"\"")?))
}

/// Like [`all_accepted`], for CBOR (RFC 8949): maps and arrays of definite or indefinite length, texts in one piece.
pub(super) fn all_accepted_in_cbor(body: &[u8], count: usize) -> bool {
    let mut records = None;
    let rest = entries(body, MAP, |rest| {
        let (key, rest) = text(rest)?;
        match key {
            b"FailedRecordCount" => literal(rest, b"\0"),
            b"EncryptionType" => text(rest).map(|(_, rest)| rest),
            b"Records" if records.is_none() => {
                let mut accepted = 0;
                let rest = entries(rest, ARRAY, |rest| {
                    accepted += 1;
                    after_usual(USUAL_IN_CBOR, rest).or_else(|| accepted_in_cbor(rest))
                })?;
                records = Some(accepted);
                Some(rest)
            }
            _ => None,
        }
    });
    rest.is_some_and(<[u8]>::is_empty) && records == Some(count)
}

/// What follows an accepted record.
#[inline]
fn accepted_in_cbor(body: &[u8]) -> Option<&[u8]> {
    let mut has_number = false;
    let rest = entries(body, MAP, |rest| {
        let (key, rest) = text(rest)?;
        let (value, rest) = text(rest)?;
        match key {
            b"SequenceNumber" if !has_number && !value.is_empty() => has_number = true,
            b"ShardId" => {}
            _ => return None,
        }
        Some(rest)
    })?;
    has_number.then_some(rest)
}

const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Reads the head of an array or map and each entry. Returns what follows it.
#[inline]
fn entries<'a>(body: &'a [u8], major: u8, mut entry: impl FnMut(&'a [u8]) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
    const OPEN: u8 = 31;
    const BREAK: u8 = 0xff;
    if *body.first()? == major << 5 | OPEN {
        let mut rest = body.get(1..)?;
        while *rest.first()? != BREAK {
            rest = entry(rest)?;
        }
        return rest.get(1..);
    }
    let (count, mut rest) = head(body, major)?;
    for _ in 0..count {
        rest = entry(rest)?;
    }
    Some(rest)
}

#[inline]
fn text(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = head(body, TEXT)?;
    rest.split_at_checked(length)
}

/// The number in the head of an item of this major type.
#[inline]
fn head(body: &[u8], major: u8) -> Option<(usize, &[u8])> {
    let (&first, rest) = body.split_first()?;
    if first >> 5 != major {
        return None;
    }
    match (first & 31, rest) {
        (number @ 0..=23, rest) => Some((number.into(), rest)),
        (24, [number, rest @ ..]) => Some(((*number).into(), rest)),
        (25, [high, low, rest @ ..]) => Some((u16::from_be_bytes([*high, *low]).into(), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str = r#"{"SequenceNumber":"49543463076548007577105092703039560359975228518395012686","ShardId":"shardId-000000000000"}"#;

    fn reply(records: &[&str]) -> String {
        format!(r#"{{"FailedRecordCount":0,"Records":[{}]}}"#, records.join(","))
    }

    #[test]
    fn a_reply_as_kinesis_writes_it_is_recognized() {
        assert!(all_accepted(reply(&[RECORD]).as_bytes(), 1));
        assert!(all_accepted(reply(&[RECORD; 500]).as_bytes(), 500));
        let encrypted = format!(r#"{{"EncryptionType":"KMS","FailedRecordCount":0,"Records":[{RECORD}]}}"#);
        assert!(all_accepted(encrypted.as_bytes(), 1));
        let turned =
            r#"{"Records":[{"ShardId":"s","SequenceNumber":"1"}],"FailedRecordCount":0,"EncryptionType":"NONE"}"#;
        assert!(all_accepted(turned.as_bytes(), 1));
    }

    #[test]
    fn the_usual_form_is_known_by_each_of_its_bytes() {
        fn look_at<const N: usize>(usual: &[u8; N]) {
            for (position, byte) in (0..N).flat_map(|position| (0..=255).map(move |byte| (position, byte))) {
                let mut record = *usual;
                record[position] = byte;
                let fits = byte == usual[position] || usual[position] == b'0' && byte.is_ascii_digit();
                let body = [&record[..], b"after"].concat();
                assert_eq!(after_usual(usual, &body), fits.then_some(&b"after"[..]), "{position} {byte:#x}");
            }
            assert_eq!(after_usual(usual, &usual[1..]), None);
        }
        look_at(USUAL);
        look_at(USUAL_IN_CBOR);
        assert_eq!(after_usual(USUAL, RECORD.as_bytes()), Some(&[][..]));
        assert!(accepted_in_cbor(USUAL_IN_CBOR).is_some_and(<[u8]>::is_empty));
    }

    #[test]
    fn anything_else_is_not() {
        let refused =
            r#"{"ErrorCode":"InternalFailure","ErrorMessage":"{\"SequenceNumber\":\"1\",\"ShardId\":\"s\"}"}"#;
        for (body, count) in [
            (reply(&[RECORD]), 2),
            (reply(&[RECORD, RECORD]), 1),
            (reply(&[]), 0),
            (reply(&[RECORD, refused]), 2),
            (reply(&[refused]), 1),
            (reply(&[r#"{"SequenceNumber":"","ShardId":"s"}"#]), 1),
            (reply(&[r#"{"ShardId":"s"}"#]), 1),
            (reply(&[r#"{"SequenceNumber":"1","SequenceNumber":"2"}"#]), 1),
            (reply(&[r#"{"SequenceNumber":"1\","ShardId":"s"}"#]), 1),
            (reply(&[r#"{"SequenceNumber":"1","ErrorCode":null}"#]), 1),
            (reply(&[r#"{"SequenceNumber":"1","ErrorCode":"InternalFailure"}"#]), 1),
            (reply(&[RECORD]) + "x", 1),
            (reply(&[RECORD]).replace(":0", ":1"), 1),
            (reply(&[RECORD]).replace(":0", ":00"), 1),
            (format!(r#"{{"Records":[{RECORD}],"Records":[{RECORD}]}}"#), 1),
            (format!(r#"{{"message":"{}"}}"#, reply(&[RECORD]).replace('"', "'")), 1),
            (String::new(), 0),
        ] {
            assert!(!all_accepted(body.as_bytes(), count), "{body}");
        }
    }

    #[test]
    fn no_cut_of_a_reply_is_one() {
        let whole = reply(&[RECORD; 3]);
        assert!((0..whole.len()).all(|end| !all_accepted(&whole.as_bytes()[..end], 3)));
    }

    proptest! {
        #[test]
        fn whatever_is_recognized_serde_reads_as_accepted(
            position in 0usize..400, byte in b' '..=b'~', records in 1usize..3,
        ) {
            let mut body = reply(&vec![RECORD; records]).into_bytes();
            let position = position % body.len();
            body[position] = byte;
            if all_accepted(&body, records) {
                let text = String::from_utf8_lossy(&body);
                let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
                let entries = reply["Records"].as_array().unwrap();
                prop_assert_eq!(entries.len(), records);
                prop_assert!(entries.iter().all(|entry| !entry["SequenceNumber"].as_str().unwrap().is_empty()));
                prop_assert!(entries.iter().all(|entry| entry.get("ErrorCode").is_none()));
            }
        }
    }
}
