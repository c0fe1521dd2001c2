//! The options about credentials.
//!
//! Keys, a profile and a process exclude each other, because a silent precedence hides mistakes.

use std::time::Duration;

use aws_credential_types::Credentials;
use secrecy::SecretString;

use super::parse;
use super::reader::Options;
use crate::aws::credentials::identity::{Identity, Role, Source};
use crate::aws::endpoint::Endpoint;
use crate::error::Allowed;

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> Identity {
    let key_id = options.optional("aws_key_id", key_id);
    let secret = options.optional("aws_sec_key", visible_text);
    let token = options.optional("aws_ses_token", visible_text);
    let profile = options.optional("profile", parse::text);
    let process = options.optional("process_credentials", parse::text);
    let role_arn = options.optional("role_arn", role_arn);
    let external_id = options.optional("external_id", external_id);
    let session_name = options.optional("role_session_name", session_name);
    let policy = options.optional("role_policy", policy);
    let duration = options.value("role_duration_seconds", parse::integer(900..=43_200));
    let sts_endpoint = options.optional("sts_endpoint", Endpoint::parse);
    let metadata_attempts = options.value("aws_iam_retries", parse::integer(1..=100));
    find_contradictions(options);

    let keys = key_id.zip(secret).map(|(id, secret)| Credentials::new(id, secret, token, None, "options"));
    let source = match (keys, profile, process) {
        (Some(keys), ..) => Source::Keys(keys),
        (_, Some(profile), _) => Source::Profile(profile),
        (.., Some(command)) => Source::Process(SecretString::from(command)),
        (None, None, None) => Source::DefaultChain,
    };
    let duration = Duration::from_secs(duration as u64);
    Identity {
        source,
        role: role_arn.map(|arn| Role { arn, external_id, session_name, policy, duration }),
        sts_endpoint,
        metadata_attempts: u32::try_from(metadata_attempts).unwrap_or(1),
    }
}

fn find_contradictions(options: &mut Options<'_>) {
    for (option, other) in
        [("aws_key_id", "aws_sec_key"), ("aws_sec_key", "aws_key_id"), ("aws_ses_token", "aws_key_id")]
    {
        // A mistake of its own, even if the value is not valid.
        if options.is_set(option) && !options.is_set(other) {
            options.reject(option, format!("only valid with {other}"));
        }
    }
    for option in ["external_id", "role_session_name", "role_policy", "role_duration_seconds"] {
        options.reject_unless(options.is_set("role_arn"), option, "only valid with role_arn");
    }
    let has_keys = options.is_set("aws_key_id") || options.is_set("process_credentials");
    options.reject_unless(
        !has_keys || options.is_set("role_arn"),
        "sts_endpoint",
        "with aws_key_id or process_credentials only valid with role_arn: nothing else asks STS",
    );
    options.reject_unless(
        !has_keys,
        "aws_iam_retries",
        "cannot be combined with aws_key_id or process_credentials: the instance is not asked for credentials",
    );
    let mut sources = ["aws_key_id", "profile", "process_credentials"].into_iter().filter(|name| options.is_set(name));
    if let Some(first) = sources.next() {
        for other in sources.collect::<Vec<_>>() {
            options.reject(other, format!("cannot be combined with {first}: set only one of them"));
        }
    }
}

/// It precedes the first slash in a signature's `Credential`.
fn key_id(text: &str) -> Result<String, Allowed> {
    let allowed = || Allowed::from("use an access key ID, such as AKIAIOSFODNN7EXAMPLE");
    let fits = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b',');
    fits.then(|| text.to_owned()).ok_or_else(allowed)
}

/// Text that fits in an HTTP header.
fn visible_text(text: &str) -> Result<String, Allowed> {
    let fits = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    fits.then(|| text.to_owned()).ok_or_else(|| "use visible ASCII characters".into())
}

fn role_arn(text: &str) -> Result<String, Allowed> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "iam", "", account, role] if !account.is_empty() && role.starts_with("role/") => Ok(text.to_owned()),
        _ => Err("use a role's ARN, such as arn:aws:iam::111122223333:role/name".into()),
    }
}

// Bounds of AssumeRole: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (read 2026-11).

fn external_id(text: &str) -> Result<SecretString, Allowed> {
    let allowed = "use 2 to 1224 of a-z A-Z 0-9 _ + = , . @ : / -";
    words(text, 2..=1224, "_+=,.@:/-").map(SecretString::from).ok_or_else(|| allowed.into())
}

fn session_name(text: &str) -> Result<String, Allowed> {
    words(text, 2..=64, "_+=,.@-").ok_or_else(|| "use 2 to 64 of a-z A-Z 0-9 _ + = , . @ -".into())
}

fn words(text: &str, length: std::ops::RangeInclusive<usize>, marks: &str) -> Option<String> {
    let fits = length.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c));
    fits.then(|| text.to_owned())
}

fn policy(text: &str) -> Result<String, Allowed> {
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    let fits = is_object && text.chars().count() <= 2048;
    fits.then(|| text.to_owned()).ok_or_else(|| "use a JSON policy of at most 2048 characters".into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::Config;

    const ROLE: (&str, &str) = ("role_arn", "arn:aws:iam::111122223333:role/write-logs");

    fn parse(options: &[(&str, &str)]) -> Result<Config, crate::error::ConfigError> {
        let value = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::parse(&|name| if name == "stream" { Some("logs".to_owned()) } else { value(name) })
    }

    fn issues(options: &[(&str, &str)]) -> Vec<String> {
        parse(options).unwrap_err().issues.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_options_the_default_chain_is_asked() {
        let identity = parse(&[]).unwrap().identity;
        assert!(matches!(identity.source, Source::DefaultChain) && identity.role.is_none());
        assert_eq!(identity.metadata_attempts, 5);
    }

    #[test]
    fn a_role_takes_everything_that_sts_does() {
        let options = [
            ROLE,
            ("external_id", "fleet-7"),
            ("role_session_name", "node@1"),
            ("policy", r#"{"Version":"2012-10-17","Statement":[]}"#),
            ("duration_seconds", "900"),
            ("sts_endpoint_url", "sts.internal:8443"),
        ];
        let identity = parse(&options).unwrap().identity;
        let role = identity.role.unwrap();
        assert_eq!(role.external_id.unwrap().expose_secret(), "fleet-7");
        assert_eq!(role.session_name.as_deref(), Some("node@1"));
        assert!(role.policy.is_some());
        assert_eq!(role.duration, Duration::from_secs(900));
        assert_eq!(identity.sts_endpoint.unwrap().to_string(), "https://sts.internal:8443");
        assert_eq!(parse(&[ROLE]).unwrap().identity.role.unwrap().duration, Duration::from_secs(3600));
    }

    #[test]
    fn half_a_key_and_a_session_without_a_role_are_refused() {
        assert_eq!(issues(&[("aws_key_id", "AKIAEXAMPLE")]), ["aws_key_id: only valid with aws_sec_key"]);
        assert_eq!(
            issues(&[("aws_sec_key", "s3cr3t"), ("aws_ses_token", "t0k3n")]),
            ["aws_sec_key: only valid with aws_key_id", "aws_ses_token: only valid with aws_key_id"]
        );
        let session = [
            ("external_id", "fleet-7"),
            ("role_session_name", "node"),
            ("role_policy", "{}"),
            ("role_duration_seconds", "900"),
        ];
        assert_eq!(
            issues(&session),
            [
                "external_id: only valid with role_arn",
                "role_session_name: only valid with role_arn",
                "role_policy: only valid with role_arn",
                "role_duration_seconds: only valid with role_arn",
            ]
        );
    }

    #[test]
    fn what_nobody_asks_is_refused() {
        let keys = [("aws_key_id", "A"), ("aws_sec_key", "s3cr3t")];
        let sts =
            "sts_endpoint: with aws_key_id or process_credentials only valid with role_arn: nothing else asks STS";
        let instance = "aws_iam_retries: cannot be combined with aws_key_id or process_credentials: the instance is not \
                        asked for credentials";
        for source in [&keys[..], &[("process", "vault")]] {
            let refused = issues(&[source, &[("sts_endpoint", "sts.internal"), ("aws_iam_retries", "2")]].concat());
            assert_eq!(refused, [sts, instance]);
            assert!(parse(&[source, &[ROLE, ("sts_endpoint", "sts.internal")]].concat()).is_ok());
        }
        // A profile or the environment may name a role, and the instance may have credentials.
        assert!(parse(&[("sts_endpoint", "sts.internal"), ("aws_iam_retries", "2")]).is_ok());
        assert!(parse(&[("profile", "p"), ("sts_endpoint", "sts.internal"), ("aws_iam_retries", "2")]).is_ok());
    }

    #[test]
    fn kinds_of_credentials_exclude_each_other() {
        assert_eq!(
            issues(&[("aws_key_id", "A"), ("aws_sec_key", "s3cr3t"), ("profile", "p"), ("process", "c")]),
            [
                "profile: cannot be combined with aws_key_id: set only one of them",
                "process_credentials: cannot be combined with aws_key_id: set only one of them",
            ]
        );
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_is_allowed() {
        let long = "x".repeat(65);
        let options = [ROLE, ("role_session_name", &long), ("role_duration_seconds", "899"), ("aws_iam_retries", "0")];
        assert_eq!(
            issues(&options),
            [
                format!("role_session_name: '{long}' is not valid: use 2 to 64 of a-z A-Z 0-9 _ + = , . @ -"),
                "role_duration_seconds: '899' is not valid: use a whole number from 900 to 43200".to_owned(),
                "aws_iam_retries: '0' is not valid: use a whole number from 1 to 100".to_owned(),
            ]
        );
    }

    #[test]
    fn no_message_shows_the_value_of_a_secret_option() {
        let secrets = [
            ("aws_key_id", "s3cr3t/swapped"),
            ("aws_sec_key", "s3cr3t\u{7f}"),
            ("aws_ses_token", "s3cr3t\n2"),
            ("process_credentials", "vault s3cr3t"),
            ("process", "vault s3cr3t-too"),
            ("external_id", "s3cr3t!"),
            ("role_policy", "s3cr3t"),
            ("sts_endpoint", "https://user:s3cr3t@host/path"),
        ];
        let found = issues(&secrets);
        assert!(found.len() >= 7, "{found:?}");
        assert!(found.iter().all(|issue| !issue.contains("s3cr3t")), "{found:?}");
    }

    #[test]
    fn nothing_that_can_be_printed_for_debugging_shows_a_secret() {
        let role = [ROLE, ("external_id", "s3cr3t")];
        for source in [
            &[("aws_key_id", "AKIAEXAMPLE"), ("aws_sec_key", "s3cr3t"), ("aws_ses_token", "s3cr3t")][..],
            &[("process_credentials", "vault s3cr3t")],
        ] {
            let config = parse(&[&role, source].concat()).unwrap();
            assert!(!format!("{config:?}{config:#?}").contains("s3cr3t"));
        }
    }
}
