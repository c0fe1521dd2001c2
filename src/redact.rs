//! Text that others wrote, as a log line may hold it.
//!
//! A service that refuses a signature quotes the request, session token included. A program that prints credentials may
//! print them to stderr when it fails. Such text goes through here.

/// Characters that a reason may have.
const MAX_CHARACTERS: usize = 500;

/// A run of letters and digits from this length on is taken for a key or a token when it mixes cases and digits. AWS's
/// secret access keys have 40 characters, ids of keys 20.
const SECRET_CHARACTERS: usize = 32;

/// `text` on one line, of at most 500 characters, without what looks like a secret or a token.
pub fn one_line(text: &str) -> String {
    let line = text.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut shown = String::with_capacity(line.len().min(MAX_CHARACTERS));
    let mut rest = line.as_str();
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !is_of_secrets(c)).unwrap_or(rest.len()));
        shown.push_str(if looks_secret(run) { "***" } else { run });
        let next = after.find(is_of_secrets).unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        shown.push_str(between);
        rest = after;
    }
    match shown.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", shown.split_at(end).0),
        None => shown,
    }
}

/// Base64's characters; without `-` and `_`, which names have.
fn is_of_secrets(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '+' || c == '/'
}

pub(crate) fn looks_secret(run: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().any(kind);
    run.len() >= SECRET_CHARACTERS
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_left_out_and_what_names_things_stays() {
        for (text, shown) in [
            ("{\"SecretAccessKey\": \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"}", "{\"SecretAccessKey\": \"***\"}"),
            ("x-amz-security-token:FwoGZXIvYXdzEBYaDKLEXAMPLETOKEN0123==\nhost:a", "x-amz-security-token:***== host:a"),
            (
                "User: arn:aws:sts::111122223333:assumed-role/eksctl-logs-NodeInstanceRole-1ABCDEFGHIJKL/i-0a1b2c3d4e5f60718 is not authorized",
                "User: arn:aws:sts::111122223333:assumed-role/eksctl-logs-NodeInstanceRole-1ABCDEFGHIJKL/i-0a1b2c3d4e5f60718 is not authorized",
            ),
            (
                "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
            ),
            (
                "041931e3de8454c6754fbe0a41e0ef47fed2ac8d864a849119dd1b20aebcc062",
                "041931e3de8454c6754fbe0a41e0ef47fed2ac8d864a849119dd1b20aebcc062",
            ),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(one_line(" a\r\n\tb  é "), "a b é");
        assert_eq!(one_line(&"é ".repeat(1000)).chars().count(), MAX_CHARACTERS + 1);
    }
}
