//! The signature of a request.
//!
//! AWS's library computes the key. What it would redo for each request, although method, path and headers never change,
//! is done here once: the canonical form and the day's key
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, read 2026-11).

use std::cell::RefCell;
use std::fmt::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::generate_signing_key;
use chrono::format::{Item, Numeric, Pad};
use chrono::{DateTime, Utc};

use crate::aws::region::Region;
use crate::digest::Digest;
use crate::digest::sha256::alone;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// `%Y%m%dT%H%M%SZ`, ready to be used.
const DATE: [Item<'static>; 8] = [
    Item::Numeric(Numeric::Year, Pad::Zero),
    Item::Numeric(Numeric::Month, Pad::Zero),
    Item::Numeric(Numeric::Day, Pad::Zero),
    Item::Literal("T"),
    Item::Numeric(Numeric::Hour, Pad::Zero),
    Item::Numeric(Numeric::Minute, Pad::Zero),
    Item::Numeric(Numeric::Second, Pad::Zero),
    Item::Literal("Z"),
];

/// Signs the requests of one client: always `POST /` to the same host.
pub(crate) struct Signer {
    region: Region,
    host: String,
    key: RefCell<Option<DaysKey>>,
}

/// The key for one day and one secret.
struct DaysKey {
    day: String,
    credentials: Credentials,
    key: hmac::Key,
}

/// The headers that sign a request.
#[derive(Debug)]
pub(crate) struct Signature {
    /// `x-amz-date`.
    pub(crate) date: String,
    /// `authorization`.
    pub(crate) authorization: String,
}

impl Signer {
    /// Creates a signer for requests to `host`.
    pub(crate) fn new(region: Region, host: String) -> Signer {
        Signer { region, host, key: RefCell::default() }
    }

    /// Signs a request for `target` at `time`: `body` is the SHA-256 of its body, which has the type `content_type`. A
    /// session token is signed as `x-amz-security-token`.
    pub(crate) fn sign(
        &self,
        target: &str,
        content_type: &str,
        body: &Digest,
        credentials: &Credentials,
        time: SystemTime,
    ) -> Signature {
        let time_of_day: DateTime<Utc> = time.into();
        let date = time_of_day.format_with_items(DATE.iter()).to_string();
        let day = date.split('T').next().unwrap_or_default();
        let (token, signed_headers) = match credentials.session_token() {
            None => (String::new(), "content-type;host;x-amz-date;x-amz-target"),
            Some(token) => (
                format!("x-amz-security-token:{token}\n"),
                "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
            ),
        };
        let headers = format!("content-type:{content_type}\nhost:{}\nx-amz-date:{date}\n{token}", self.host);
        let mut canonical = format!("POST\n/\n\n{headers}x-amz-target:{target}\n\n{signed_headers}\n");
        write_hex(body, &mut canonical);

        let scope = format!("{day}/{}/kinesis/aws4_request", self.region);
        let mut to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n");
        write_hex(&alone(canonical.as_bytes()), &mut to_sign);
        let signature = self.with_key(day, credentials, time, |key| hmac::sign(key, to_sign.as_bytes()));
        let id = credentials.access_key_id();
        let mut authorization =
            format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed_headers}, Signature=");
        write_hex(signature.as_ref(), &mut authorization);
        Signature { date, authorization }
    }

    fn with_key<T>(
        &self,
        day: &str,
        credentials: &Credentials,
        time: SystemTime,
        sign: impl FnOnce(&hmac::Key) -> T,
    ) -> T {
        let mut cached = self.key.borrow_mut();
        let secret = credentials.secret_access_key();
        let is_current = |key: &&mut DaysKey| key.day == day && key.credentials.secret_access_key() == secret;
        match cached.as_mut().filter(is_current) {
            Some(cached) => sign(&cached.key),
            None => {
                let key = generate_signing_key(secret, time, self.region.as_str(), "kinesis");
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
                let signed = sign(&key);
                *cached = Some(DaysKey { day: day.to_owned(), credentials: credentials.clone(), key });
                signed
            }
        }
    }
}

/// Appends a digest in hexadecimal.
fn write_hex(digest: &[u8], out: &mut String) {
    // In two halves rather than byte by byte, because calling the formatter costs more than a digit.
    let (halves, _) = digest.as_chunks::<16>();
    for half in halves {
        // Writing to a string does not fail.
        write!(out, "{:032x}", u128::from_be_bytes(*half)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;
    use std::time::Duration;

    const TARGET: &str = "Kinesis_20131202.PutRecords";
    const JSON: &str = "application/x-amz-json-1.1";

    /// The date and authorization that AWS's library computes for the same request.
    fn as_aws_signs(
        host: &str,
        region: &str,
        body: &[u8],
        credentials: &Credentials,
        time: SystemTime,
    ) -> (String, String) {
        let headers = [("content-type", JSON), ("x-amz-target", TARGET)];
        let uri = format!("https://{host}/");
        let request = SignableRequest::new("POST", uri, headers.into_iter(), SignableBody::Bytes(body)).unwrap();
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("kinesis")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
        let mut signed = http::Request::new(());
        *signed.uri_mut() = "https://h/".parse().unwrap();
        instructions.apply_to_request_http1x(&mut signed);
        let header = |name: &str| signed.headers()[name].to_str().unwrap().to_owned();
        (header("x-amz-date"), header("authorization"))
    }

    fn signer(host: &str, region: &str) -> Signer {
        Signer::new(Region::parse(region).unwrap(), host.to_owned())
    }

    proptest! {
        #[test]
        fn a_signature_is_the_one_that_awss_library_makes(
            host in prop_oneof![Just("kinesis.eu-west-1.amazonaws.com"), Just("localhost:4567"), Just("[::1]:443")],
            region in prop_oneof![Just("eu-west-1"), Just("us-gov-west-1")],
            body in proptest::collection::vec(any::<u8>(), 0..200),
            secret in "[A-Za-z0-9/+=]{1,80}",
            token in proptest::option::of("[A-Za-z0-9/+=]{1,200}"),
            seconds in 0u64..4_000_000_000,
        ) {
            let host = if host == "[::1]:443" { "[::1]" } else { host };
            let credentials = Credentials::new("AKIDEXAMPLE", secret, token, None, "test");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let Signature { date, authorization } = signer(host, region).sign(TARGET, JSON, &alone(&body), &credentials, time);
            prop_assert_eq!((date, authorization), as_aws_signs(host, region, &body, &credentials, time));
        }
    }

    #[test]
    fn the_days_key_is_used_for_its_day_and_its_secret_only() {
        let signer = signer("localhost:4567", "eu-west-1");
        let mut seconds = 1_600_000_000;
        for (secret, ahead) in [("one", 0), ("one", 5), ("two", 0), ("two", 86_400), ("one", 0), ("one", 86_400)] {
            seconds += ahead;
            let credentials = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let Signature { date, authorization } = signer.sign(TARGET, JSON, &alone(b"{}"), &credentials, time);
            let expected = as_aws_signs("localhost:4567", "eu-west-1", b"{}", &credentials, time);
            assert_eq!((date, authorization), expected, "{secret} {ahead}");
        }
    }
}
