//! Signatures are checked. The test signs step by step as AWS describes, so that it and the signer that the stand-in
//! uses check each other:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use aws_lc_rs::{digest, hmac};
use chrono::{DateTime, TimeDelta, Utc};
use kinesis::clock::{Clock, SystemClock};

use super::client::{CBOR, Request, put, record, send};
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";
const UNKNOWN: &str = "The security token included in the request is invalid.";

fn start(credentials: &[Credential]) -> FakeKinesis {
    FakeKinesis::start(Settings { credentials: credentials.to_vec(), ..Settings::default() })
}

fn lasting() -> Credential {
    Credential::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

fn temporary() -> Credential {
    Credential::new("ASIAEXAMPLE", "another secret").with_session_token("a+token/with=signs")
}

fn now() -> DateTime<Utc> {
    SystemClock.now().into()
}

fn request() -> Request {
    put(&[record(b"hello", "abcd")])
}

/// The time as written in a signature.
fn basic(time: DateTime<Utc>) -> String {
    time.format("%Y%m%dT%H%M%SZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The request with every header signed.
fn sign(request: Request, credential: &Credential, time: DateTime<Utc>, region: &str, service: &str) -> Request {
    let date = basic(time);
    let day = &date[..8];
    let request = request
        .with("Authorization", None)
        .with("X-Amz-Date", Some(&date))
        .with("X-Amz-Security-Token", credential.session_token.as_deref());
    let mut headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    headers.sort();
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(&request.body));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", credential.secret_key).into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = hmac_sha256(&key, part);
    }
    let signature = hex(&hmac_sha256(&key, &text));
    let access_key = &credential.access_key;
    let header =
        format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}");
    request.with("Authorization", Some(&header))
}

fn signed(credential: &Credential) -> Request {
    sign(request(), credential, now(), "us-east-1", "kinesis")
}

fn refusal(server: &FakeKinesis, request: &Request) -> (String, String) {
    let (status, code, message) = send(server, request).error();
    assert_eq!((status, server.stats().records), (400, 0));
    (code, message)
}

fn error(code: &str, message: &str) -> (String, String) {
    (code.to_owned(), message.to_owned())
}

#[test]
fn a_good_signature_is_accepted_in_json_and_cbor() {
    let server = start(&[lasting(), temporary()]);
    assert_eq!(send(&server, &signed(&lasting())).status, 200);
    assert_eq!(send(&server, &signed(&temporary())).status, 200);

    let body = b"\xa2\x6aStreamName\x64logs\x67Records\x81\xa2\x64Data\x45hello\x6cPartitionKey\x64abcd";
    let cbor = sign(Request::new(CBOR, &body[..]), &temporary(), now(), "eu-west-1", "kinesis");
    assert_eq!(send(&server, &cbor).status, 200);
}

#[test]
fn a_wrong_secret_a_changed_body_or_a_changed_header_is_a_mismatch() {
    let server = start(&[lasting()]);
    let mut wrong = lasting();
    wrong.secret_key.push('x');
    let mut changed_body = signed(&lasting());
    changed_body.body.push(b' ');
    let changed_header = signed(&lasting()).with("Host", Some("example.com"));
    for request in [signed(&wrong), changed_body, changed_header] {
        assert_eq!(refusal(&server, &request), error("InvalidSignatureException", MISMATCH));
    }
}

#[test]
fn an_unknown_key_is_not_recognized() {
    let server = start(&[lasting()]);
    let unknown = Credential::new("AKIDOTHER", "secret");
    assert_eq!(refusal(&server, &signed(&unknown)), error("UnrecognizedClientException", UNKNOWN));
}

#[test]
fn a_wrong_or_missing_session_token_is_not_recognized() {
    let server = start(&[temporary()]);
    let mut without = temporary();
    without.session_token = None;
    let other = temporary().with_session_token("another token");
    for credential in [without, other] {
        assert_eq!(refusal(&server, &signed(&credential)), error("UnrecognizedClientException", UNKNOWN));
    }
}

#[test]
fn a_date_more_than_five_minutes_off_is_refused() {
    let server = start(&[lasting()]);
    let at = |seconds: i64| {
        let time = now() + TimeDelta::seconds(seconds);
        (basic(time), sign(request(), &lasting(), time, "us-east-1", "kinesis"))
    };
    let (date, late) = at(-310);
    let (code, message) = refusal(&server, &late);
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with(&format!("Signature expired: {date} is now earlier than ")), "{message}");
    assert!(message.ends_with(" - 5 min.)"), "{message}");

    let (date, early) = at(310);
    let (code, message) = refusal(&server, &early);
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with(&format!("Signature not yet current: {date} is still later than ")), "{message}");

    for seconds in [-290, 290] {
        assert_eq!(send(&server, &at(seconds).1).status, 200);
    }
}

#[test]
fn a_service_whose_clock_is_ahead_says_so_in_its_date() {
    let server =
        FakeKinesis::start(Settings { credentials: vec![lasting()], clock_ahead: 3600, ..Settings::default() });
    let reply = send(&server, &signed(&lasting()));
    assert!(reply.error().2.starts_with("Signature expired: "));

    let date = DateTime::parse_from_rfc2822(&reply.headers["date"]).unwrap();
    let again = sign(request(), &lasting(), date.into(), "us-east-1", "kinesis");
    assert_eq!(send(&server, &again).status, 200);
}

#[test]
fn the_scope_must_name_the_service_the_region_and_the_day() {
    let server = FakeKinesis::start(Settings {
        credentials: vec![lasting()],
        region: Some("us-east-1".to_owned()),
        ..Settings::default()
    });
    let firehose = sign(request(), &lasting(), now(), "us-east-1", "firehose");
    assert_eq!(
        refusal(&server, &firehose),
        error("InvalidSignatureException", "Credential should be scoped to correct service: 'kinesis'.")
    );
    let region = sign(request(), &lasting(), now(), "eu-west-1", "kinesis");
    assert_eq!(
        refusal(&server, &region),
        error("InvalidSignatureException", "Credential should be scoped to a valid region.")
    );
    let good = signed(&lasting());
    let header = &good.headers.iter().find(|(name, _)| name == "Authorization").unwrap().1;
    let day = &basic(now())[..8];
    let other_day = header.replacen(&format!("/{day}/"), "/20200101/", 1);
    let (code, message) = refusal(&server, &good.clone().with("Authorization", Some(&other_day)));
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with("Date in Credential scope does not match YYYYMMDD"), "{message}");
}

#[test]
fn a_request_with_an_incomplete_authorization_is_told_so() {
    let server = start(&[lasting()]);
    let missing = error("MissingAuthenticationTokenException", "Missing Authentication Token");
    assert_eq!(refusal(&server, &request().with("Authorization", None)), missing);
    for header in [
        "Basic dXNlcjpwYXNz",
        "AWS4-HMAC-SHA256 Credential=a/20200101/r/kinesis/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/r/kinesis, SignedHeaders=host, Signature=00",
    ] {
        let (code, message) = refusal(&server, &request().with("Authorization", Some(header)));
        assert_eq!(code, "IncompleteSignatureException", "{message}");
    }
    let undated = signed(&lasting()).with("X-Amz-Date", None);
    assert_eq!(refusal(&server, &undated).0, "IncompleteSignatureException");
}

#[test]
fn without_known_credentials_an_authorization_must_be_there_and_is_not_checked() {
    let server = start(&[]);
    assert_eq!(refusal(&server, &request().with("Authorization", None)).0, "MissingAuthenticationTokenException");
    assert_eq!(send(&server, &request()).status, 200);
}

#[test]
fn an_expired_token_is_refused_and_a_new_one_accepted() {
    let expired = error("ExpiredTokenException", "The security token included in the request is expired");
    let server = start(&[temporary()]);
    server.expire_token(true);
    assert_eq!(refusal(&server, &signed(&temporary())), expired);

    // Or one of several, as during a rotation of credentials.
    server.expire_token(false);
    let renewed = Credential::new("ASIARENEWED", "secret").with_session_token("new");
    let old = Credential { expired: true, ..temporary() };
    server.set_credentials(vec![old, renewed.clone()]);
    assert_eq!(refusal(&server, &signed(&temporary())), expired);
    assert_eq!(send(&server, &signed(&renewed)).status, 200);
}
