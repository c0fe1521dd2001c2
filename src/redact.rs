//! Text from others, made safe for the log.
//!
//! A service that refuses a signature quotes the request, including the session token; a proxy may quote its body; a
//! program that prints credentials may print them to stderr when it fails. All such text goes through here. Values
//! that follow the name of a secret or of a record's content are masked, and so is anything that looks like a secret.

use std::iter;

/// Maximum length of a reason, in characters.
const MAX_CHARACTERS: usize = 500;

/// How much of a text is examined, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// A run of letters and digits of at least this length is taken for a key or a token if it mixes cases and digits, or
/// is hexadecimal. AWS's secret access keys have 40 characters, key IDs 20, groups of a UUID at most 12.
const SECRET_CHARACTERS: usize = 32;

/// Endings of the names of secrets, in lower case and without `-` and `_`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secretkey",
    "secretstring",
    "accesskey",
    "apikey",
    "privatekey",
    "token",
    "signature",
    "authorization",
    "cookie",
];

/// Request members that hold users' data, and names too short to be searched for as an ending.
const WHOLE_NAMES: [&str; 5] = ["data", "partitionkey", "explicithashkey", "pass", "auth"];

/// Beginnings of error codes; some codes end like names of secrets: `ExpiredToken: The …`.
const STARTS_OF_CODES: [&str; 4] = ["Expired", "Incomplete", "Invalid", "Missing"];

/// Schemes of the `Authorization` header, which precede a secret.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];

const HIDDEN: &str = "***";

/// `text` on one line of at most 500 characters, with secrets and records' content masked.
pub(crate) fn one_line(text: &str) -> String {
    let line = without_tokens(&without_named(&without_userinfo(&flat(text))));
    match line.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", line.split_at(end).0),
        None => line,
    }
}

/// One line without control characters. A long text is cut between words, so that no secret is cut to a length at
/// which it no longer looks like one.
fn flat(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_BYTES);
    let (begin, rest) = text.split_at(end);
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let begin = if rest.is_empty() { begin } else { begin.rsplit_once(is_blank).map_or("", |(words, _)| words) };
    let mut line = begin.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if !rest.is_empty() {
        line.push_str(" …");
    }
    line
}

/// `http://user:password@host` without user and password.
fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let authority = after.split(['/', '?', ' ']).next().unwrap_or_default();
        rest = match authority.rfind('@').and_then(|at| after.get(at..)) {
            Some(host) => {
                shown.push_str(HIDDEN);
                host
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// Masks values after the name of a secret (`password=x`, `"SecretAccessKey": "x"`, `Authorization: Bearer x`,
/// `<SessionToken>x<`, `--token x`) and after an authorization scheme.
fn without_named(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_names) {
        let (before, name_on) = rest.split_at(start);
        shown.push_str(before);
        let (name, after) = name_on.split_at(name_on.find(|c| !is_of_names(c)).unwrap_or(name_on.len()));
        shown.push_str(name);
        rest = after;
        if let Some(value_at) = value_at(&shown, name, after) {
            let (separator, value) = after.split_at(value_at);
            let length = value_length(separator, value);
            shown.push_str(separator);
            shown.push_str(if length == 0 { "" } else { HIDDEN });
            rest = value.get(length..).unwrap_or_default();
        }
    }
    shown.push_str(rest);
    shown
}

/// Where the secret announced by `name` begins in `after`; `before` ends with the name.
fn value_at(before: &str, name: &str, after: &str) -> Option<usize> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if SCHEMES.contains(&plain.as_str()) {
        let word = after.strip_prefix(' ')?.split(' ').next()?;
        let is_secret = word.len() >= 8 && word.contains(|c: char| !c.is_ascii_lowercase());
        return is_secret.then_some(1);
    }
    let is_secret = SECRET_NAMES.iter().any(|end| plain.ends_with(end)) || WHOLE_NAMES.contains(&plain.as_str());
    if !is_secret {
        return None;
    }
    let blank = |text: &str| text.len() - text.trim_start().len();
    let quotes = after.len() - after.trim_start_matches(['"', '\'', '\\']).len();
    let at = quotes + blank(after.get(quotes..)?);
    let separator = after.get(at..)?.chars().next()?;
    let word = before.rsplit([' ', '"', '\'', '(']).next().unwrap_or_default();
    let is_option = name.starts_with("--") && quotes == 0 && at > 0;
    match separator {
        _ if is_option && separator != '=' => return Some(at),
        // An AWS resource or a file may have such a name.
        ':' if word.starts_with("arn:") || word.contains('/') => return None,
        ':' if at == 0 && after.starts_with(": ") && STARTS_OF_CODES.iter().any(|start| name.starts_with(start)) => {
            return None;
        }
        ':' | '=' | '>' => {}
        _ => return None,
    }
    let at = at + 1 + usize::from(after.get(at..)?.starts_with("=>"));
    let value = after.get(at..)?.trim_start().trim_start_matches('\\');
    Some(after.len() - value.strip_prefix(['"', '\'']).unwrap_or(value).len())
}

/// The length of the secret at the start of `value`. A quote before it shows where it ends.
fn value_length(separator: &str, value: &str) -> usize {
    if let Some(quote) = separator.chars().last().filter(|c| matches!(c, '"' | '\'')) {
        let is_escaped = separator.trim_end_matches(quote).ends_with('\\');
        let mut characters = value.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' if !is_escaped => drop(characters.next()),
                _ if character == quote => return at,
                _ => {}
            }
        }
        return value.len();
    }
    let end = |value: &str| value.find([' ', ',', ';', '&', '<', '"', '\'', '}', ')', ']']).unwrap_or(value.len());
    let first = end(value);
    let (word, after) = value.split_at(first);
    let is_scheme = separator.contains(':') && SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    match after.strip_prefix(' ') {
        Some(secret) if is_scheme => first + 1 + end(secret),
        _ => first,
    }
}

fn is_of_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Masks what looks like a secret.
fn without_tokens(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !is_of_secrets(c)).unwrap_or(rest.len()));
        // AWS names its cache files by hashes.
        let (folder, file) = run.rsplit_once('/').filter(|_| after.starts_with(".json")).unwrap_or((run, ""));
        if looks_secret(folder) {
            shown.push_str(HIDDEN);
        } else {
            for (index, piece) in folder.split('/').enumerate() {
                shown.push_str(if index == 0 { "" } else { "/" });
                shown.push_str(if looks_secret(piece) { HIDDEN } else { piece });
            }
        }
        if folder.len() < run.len() {
            let is_hash = file.bytes().all(|byte| byte.is_ascii_hexdigit());
            shown.push('/');
            shown.push_str(if !is_hash && looks_secret(file) { HIDDEN } else { file });
        }
        let next = after.find(is_of_secrets).unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        shown.push_str(between);
        rest = after;
    }
    shown
}

/// The characters of base64, in both alphabets.
fn is_of_secrets(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')
}

/// Whether a run of base64 characters is too random to be a name.
pub(crate) fn looks_secret(run: &str) -> bool {
    run.split(['-', '_']).any(is_random) || is_random_with_dashes(run)
}

/// The header with AWS's id of a request, which its support asks for.
pub(crate) const REQUEST_ID: &str = "x-amzn-requestid";

/// Adds the request id of a reply to what the log says of it, if it has one.
pub(crate) fn with_request_id(mut text: String, id: Option<&str>) -> String {
    // Anything else is not AWS's.
    let is_id = |id: &&str| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // More follows: no full stop.
    text.truncate(text.trim_end_matches('.').len());
    if let Some(id) = id.filter(is_id).filter(|id| !id.is_empty()) {
        text.push_str(", request id ");
        text.push_str(id);
    }
    text
}

/// Long names contain `-` and `_`.
fn is_random(run: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().any(kind);
    run.len() >= SECRET_CHARACTERS
        && has(u8::is_ascii_digit)
        && (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
            || run.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// In names, letters mostly follow letters of the same case, and digits digits. In random text, nearly two in three
/// characters differ in kind from the one before.
fn is_random_with_dashes(run: &str) -> bool {
    let kind = |byte: &u8| (byte.is_ascii_lowercase(), byte.is_ascii_uppercase(), byte.is_ascii_digit());
    let bytes = run.as_bytes();
    let changes = iter::zip(bytes, bytes.iter().skip(1)).filter(|(one, next)| kind(one) != kind(next)).count();
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    run.len() >= SECRET_CHARACTERS
        && !run.contains('/')
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && changes * 100 >= run.len() * 45
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_left_out_and_what_names_things_stays() {
        for (text, shown) in [
            ("{\"SecretAccessKey\": \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"}", "{\"SecretAccessKey\": \"***\"}"),
            ("x-amz-security-token:FwoGZXIvYXdzEBYaDKLEXAMPLETOKEN0123==\nhost:a", "x-amz-security-token:*** host:a"),
            (
                "User: arn:aws:sts::111122223333:assumed-role/eksctl-logs-NodeInstanceRole-1ABCDEFGHIJKL/i-0a1b2c3d4e5f60718 is not authorized",
                "User: arn:aws:sts::111122223333:assumed-role/eksctl-logs-NodeInstanceRole-1ABCDEFGHIJKL/i-0a1b2c3d4e5f60718 is not authorized",
            ),
            (
                "/home/app/.aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json is a pipe",
                "/home/app/.aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json is a pipe",
            ),
            ("/wJalrXUtnFEMIaK7MDENGabPxRfiCYEXAMPLEKEY.json", "/***.json"),
            (
                "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
            ),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }

    #[test]
    fn a_request_id_is_added_if_it_looks_like_one() {
        let named = |id| with_request_id("HTTP 400".to_owned(), id);
        assert_eq!(with_request_id("not found.".to_owned(), None), "not found");
        let uuid = "c1d7e3a0-5c4b-4b6e-9d55-2f1f7a0c9e11";
        assert_eq!(named(Some(uuid)), format!("HTTP 400, request id {uuid}"));
        for other in [None, Some(""), Some("a b"), Some("password=SECRETx"), Some(&*"a".repeat(65))] {
            assert_eq!(named(other), "HTTP 400");
        }
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(one_line(" a\r\n\tb  é "), "a b é");
        assert_eq!(one_line(&"é ".repeat(1000)).chars().count(), MAX_CHARACTERS + 1);
    }

    #[test]
    fn a_secret_is_hidden_by_its_name_and_by_its_looks() {
        for text in [
            "password=SECRETx",
            "password: SECRETx",
            "DB_PASSWORD=SECRETx&user=a",
            "{\"password\":\"SECRETx with \\\" blanks\"}",
            "{\\\"SecretAccessKey\\\":\\\"SECRETx\\\"}",
            "SecretAccessKey=SECRETxabcdefghijklmn",
            "secret_access_key = SECRETx",
            "aws_session_token=SECRETx",
            "'token' => 'SECRETx'",
            "Authorization: Bearer SECRETx",
            "authorization: Basic SECRETx==",
            "authorization: SECRETx",
            "curl -H 'X: Bearer SECRETx-y'",
            "<SessionToken>SECRETx</SessionToken>",
            "vault login --token SECRETx",
            "vault login --token=SECRETx",
            "https://user:SECRETx@host:8080/path",
            "https://SECRETx@host",
            "https://a?X-Amz-Security-Token=SECRETx%2F&b=1",
            "{\"Records\":[{\"Data\":\"SECRETx\",\"PartitionKey\":\"SECRETx\"}]}",
            "error:token:SECRETx",
        ] {
            let shown = one_line(text);
            assert!(!shown.contains("SECRETx") && shown.contains(HIDDEN), "{text}: {shown}");
        }
        for secret in [
            "hvs.CAESIJ_x3Dk-9sQmVb2LwZ0tYpRr8NfGh7aUcXe1oKiMdS4vGh4KHGh2cy5ZbW9",
            "hvs.CAESIAbC-dEf_GhI1jKl2MnO3pQr4StU5vWx6YzAb7",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "9f86d081884c7d659a2feaa0c55ad015",
            "041931e3de8454c6754fbe0a41e0ef47fed2ac8d864a849119dd1b20aebcc062",
            "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4OTAifQ",
        ] {
            let shown = one_line(&format!("error: got {secret} here"));
            let end = secret.rsplit(['.', '/']).next().unwrap();
            assert!(!shown.contains(end) && shown.ends_with("*** here"), "{shown}");
        }
    }

    #[test]
    fn what_helps_an_operator_stays() {
        for text in [
            "AccessDeniedException: User: arn:aws:iam::111122223333:user/bob is not authorized to perform: kinesis:PutRecords on resource: arn:aws:kinesis:us-east-1:111122223333:stream/logs because no identity-based policy allows it",
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:name-AbCdEf",
            "arn:aws:sts::111122223333:assumed-role/Stack-LogRole-AbC1dEf2GhI3/fluent-bit-kinesis",
            "request id 1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901",
            "KMSDisabledException: arn:aws:kms:us-east-1:111122223333:key/1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901 is disabled",
            "Rate exceeded for shard shardId-000000000004 in stream logs under account 111111111111.",
            "The security token included in the request is expired",
            "Signature expired: 20261128T101417Z is now earlier than 20261128T102000Z",
            "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
            "InvalidIdentityToken: No OpenIDConnect provider found in your account",
            "HTTP 403 ExpiredToken: The provided token has expired",
            "HTTP 403 IncompleteSignature: Authorization header requires 'Credential' parameter",
            "/var/run/secrets/token: No such file or directory (os error 2)",
            "profile 'logs': the session token is not set",
            "https://sts.eu-central-1.amazonaws.com/ answered with Basic authentication required",
            "ip-10-0-12-34.eu-central-1.compute.internal:8443",
            "eks-logs-prod-cluster-1-eu-central-1-NodeInstanceRole-1ABCDEFGHIJKL",
        ] {
            assert_eq!(one_line(text), text);
        }
    }

    #[test]
    fn no_control_character_reaches_the_log_and_no_secret_is_cut_to_look_harmless() {
        assert_eq!(one_line("a\u{1b}[31mb\0c\u{7}"), "a [31mb c");
        let secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12";
        for before in MAX_BYTES - 60..MAX_BYTES + 10 {
            let shown =
                one_line(&format!("{}{secret}", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12 ".repeat(before / 41)));
            assert!(!shown.contains("wJ"), "{shown}");
        }
        assert!(one_line(&format!("{} {secret}", "a".repeat(MAX_CHARACTERS - 10))).len() < MAX_CHARACTERS + 10);
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in ".{0,300}") {
            let shown = one_line(&text);
            proptest::prop_assert!(shown.chars().count() <= MAX_CHARACTERS + 1 && !shown.contains('\n'));
        }
    }
}
