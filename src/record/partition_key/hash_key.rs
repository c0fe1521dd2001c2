//! The explicit hash key of a record, which decides on its shard whatever the partition key is.

use crate::msgpack::{Reader, Token};
use crate::record::path::KeyPath;

/// Appends the hash key at `path` in an event's `body` to `out`, in decimal. Returns `false` if there is none: only
/// numbers from 0 to 2^128-1 are hash keys, as integers or as text of digits.
pub(in crate::record) fn read(path: &KeyPath, body: &[u8], out: &mut String) -> bool {
    let number = path.find(body).and_then(|value| match Reader::new(value).token() {
        Ok(Token::String(digits) | Token::Binary(digits)) => from_digits(digits),
        Ok(Token::Unsigned(number)) => Some(number.into()),
        Ok(Token::Signed(number)) => u128::try_from(number).ok(),
        _ => None,
    });
    if let Some(number) = number {
        out.push_str(itoa::Buffer::new().format(number));
    }
    number.is_some()
}

fn from_digits(digits: &[u8]) -> Option<u128> {
    // `parse` would take a sign.
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn hash_key(value: &Value) -> Option<String> {
        let body = rmp_serde::to_vec(&json!({"route": {"hash": value}})).unwrap();
        let mut out = String::new();
        let found = read(&KeyPath::parse("route->hash").unwrap(), &body, &mut out);
        assert_eq!(found, !out.is_empty());
        found.then_some(out)
    }

    #[test]
    fn numbers_from_0_to_the_last_of_128_bits_are_hash_keys_and_nothing_else_is() {
        let largest = u128::MAX.to_string();
        let too_large = "340282366920938463463374607431768211456";
        for (value, expected) in [
            (json!("0"), Some("0")),
            (json!(0), Some("0")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!(largest), Some(largest.as_str())),
            (json!("007"), Some("7")),
            (json!(too_large), None),
            (json!("-1"), None),
            (json!(-1), None),
            (json!("+1"), None),
            (json!(" 1"), None),
            (json!("1.0"), None),
            (json!(1.0), None),
            (json!("0x1"), None),
            (json!(""), None),
            (json!(null), None),
            (json!(true), None),
            (json!([1]), None),
        ] {
            assert_eq!(hash_key(&value).as_deref(), expected, "{value}");
        }
    }
}
