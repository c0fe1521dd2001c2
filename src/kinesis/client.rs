//! The connection to Kinesis: signs a body, posts it, reads the reply.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::kinesis::credentials::{CredentialsCache, with_causes};
use crate::kinesis::endpoint::{Endpoint, Region};
use crate::kinesis::reply::Response;
use crate::kinesis::request;

/// Longest time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for this long is closed rather than used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest reply that is read, in bytes; one to 500 records has about 100 KiB.
const MAX_REPLY_BYTES: usize = 8 << 20;
/// A clock that is off by less than this is not corrected: AWS allows five minutes.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

const TARGET: &str = "x-amz-target";
const PUT_RECORDS: &str = "Kinesis_20131202.PutRecords";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("fluent-bit-kinesis/", env!("CARGO_PKG_VERSION")));

/// Something that posts a request's body and returns the reply: the client below, or a test's.
pub trait Transport: 'static {
    /// Posts `body` and returns the complete reply.
    fn send(&self, body: Bytes) -> impl Future<Output = Result<Response, TransportError>>;

    /// Prepares for another try after the service refused the credentials or the signature of a request that was sent at
    /// `sent_at`: corrects the clock when the server's is another, drops the credentials at most once a minute. Says
    /// whether another try makes sense now.
    fn renew(&self, sent_at: Instant, server_time: Option<SystemTime>) -> bool;
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// Nothing could be signed, so nothing was sent.
    NoCredentials(String),
    /// No connection: nothing was sent.
    Connect(String),
    /// The connection broke or time ran out after the request was on its way: whether Kinesis has the records is unknown.
    Ambiguous(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::NoCredentials(reason) => f.write_str(reason),
            TransportError::Connect(reason) => write!(f, "cannot connect: {reason}"),
            TransportError::Ambiguous(reason) => write!(f, "no reply: {reason}"),
        }
    }
}

/// One instance's connections to Kinesis.
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
    region: Region,
    credentials: CredentialsCache,
    clock: Arc<dyn Clock>,
    /// Seconds that the server's clock is ahead of ours.
    clock_offset: Cell<i64>,
    clock_corrected_at: Cell<Option<Instant>>,
    request_timeout: Option<Duration>,
}

impl Client {
    /// A client without connections; they are opened as needed. Fails when no trusted certificates are found.
    pub fn new(
        endpoint: Endpoint,
        region: Region,
        credentials: CredentialsCache,
        clock: Arc<dyn Clock>,
        request_timeout: Option<Duration>,
    ) -> Result<Client, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(endpoint.is_https())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let (clock_offset, clock_corrected_at) = (Cell::new(0), Cell::new(None));
        Ok(Client { http, endpoint, region, credentials, clock, clock_offset, clock_corrected_at, request_timeout })
    }

    /// Fetches credentials now, so that the log can tell at the start whether there are any.
    pub async fn credentials(&self, patience: Duration) -> Result<Credentials, String> {
        self.credentials.get_within(patience).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, TransportError> {
        let reply = self.http.request(request).await.map_err(|error| {
            let reason = with_causes(&error);
            if error.is_connect() { TransportError::Connect(reason) } else { TransportError::Ambiguous(reason) }
        })?;
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES)
            .collect()
            .await
            .map_err(|error| TransportError::Ambiguous(with_causes(error.as_ref())))?
            .to_bytes();
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    fn now(&self) -> SystemTime {
        let offset = self.clock_offset.get();
        let distance = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { self.clock.now() - distance } else { self.clock.now() + distance }
    }
}

impl Transport for Client {
    async fn send(&self, body: Bytes) -> Result<Response, TransportError> {
        let credentials = self.credentials.get().await.map_err(TransportError::NoCredentials)?;
        let mut request = signed(body, &self.endpoint, &self.region, credentials, self.now())
            .map_err(|reason| TransportError::NoCredentials(format!("the request cannot be signed: {reason}")))?;
        let connection = capture_connection(&mut request);
        let Some(limit) = self.request_timeout else { return self.exchange(request).await };
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) if connection.connection_metadata().is_none() => {
                Err(TransportError::Connect(format!("no connection within {limit:?}")))
            }
            Err(_) => Err(TransportError::Ambiguous(format!("none within {limit:?}"))),
        }
    }

    fn renew(&self, sent_at: Instant, server_time: Option<SystemTime>) -> bool {
        if self.clock_corrected_at.get().is_some_and(|at| at >= sent_at) {
            return true;
        }
        let Some(server_time) = server_time else { return self.credentials.forget(sent_at) };
        let seconds = match server_time.duration_since(self.now()) {
            Ok(behind) if behind > CLOCK_TOLERANCE => behind.as_secs().cast_signed(),
            Err(ahead) if ahead.duration() > CLOCK_TOLERANCE => -ahead.duration().as_secs().cast_signed(),
            _ => return self.credentials.forget(sent_at),
        };
        self.clock_offset.set(self.clock_offset.get().saturating_add(seconds));
        self.clock_corrected_at.set(Some(Instant::now()));
        true
    }
}

/// A `PutRecords` request with SigV4 headers. The body is hashed once, by aws-lc, which uses the CPU's SHA instructions.
fn signed(
    body: Bytes,
    endpoint: &Endpoint,
    region: &Region,
    credentials: Credentials,
    time: SystemTime,
) -> Result<Request<Full<Bytes>>, String> {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let signed_headers = [(CONTENT_TYPE.as_str(), request::CONTENT_TYPE), (TARGET, PUT_RECORDS)];
    let signable = SignableRequest::new(
        Method::POST.as_str(),
        endpoint.uri().to_string(),
        signed_headers.into_iter(),
        SignableBody::Precomputed(hex(hash.as_ref())),
    )
    .map_err(|error| with_causes(&error))?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.as_str())
        .name("kinesis")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| with_causes(&error))?;
    let (instructions, _) = sign(signable, &params.into()).map_err(|error| with_causes(&error))?.into_parts();

    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.uri().clone();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(request::CONTENT_TYPE));
    request.headers_mut().insert(TARGET, HeaderValue::from_static(PUT_RECORDS));
    request.headers_mut().insert(USER_AGENT, AGENT);
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// TLS 1.2 and 1.3, trusting what the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are heard). Verification cannot
/// be turned off.
fn tls_config(needed: bool) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!(
                "no trusted certificates found: install the system's (package ca-certificates) or set SSL_CERT_FILE{}{}",
                if reasons.is_empty() { "" } else { ": " },
                reasons.join(", ")
            ));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(versions.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(endpoint: &str, token: Option<&str>) -> Request<Full<Bytes>> {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        signed(
            Bytes::from_static(b"{}"),
            &Endpoint::parse(endpoint).unwrap(),
            &Region::parse("us-east-1").unwrap(),
            credentials,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160),
        )
        .unwrap()
    }

    fn header<'a>(request: &'a Request<Full<Bytes>>, name: &str) -> &'a str {
        request.headers()[name].to_str().unwrap()
    }

    #[test]
    fn a_request_is_signed_as_botocore_signs_it() {
        // Expected value computed with botocore's SigV4Auth from the same key, time, headers and body.
        let request = request("https://kinesis.us-east-1.amazonaws.com", None);
        assert_eq!(header(&request, "x-amz-date"), "20150830T123600Z");
        assert_eq!(
            header(&request, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=041931e3de8454c6754fbe0a41e0ef47fed2ac8d864a849119dd1b20aebcc062"
        );
    }

    #[test]
    fn a_session_token_is_sent_and_signed_and_secrets_are_marked_sensitive() {
        let request = request("http://127.0.0.1:4567", Some("token"));
        assert_eq!(header(&request, "x-amz-security-token"), "token");
        assert!(request.headers()["x-amz-security-token"].is_sensitive());
        assert!(header(&request, "authorization").contains("x-amz-security-token"));
    }

    #[test]
    fn the_port_of_an_endpoint_is_part_of_the_signed_host() {
        let signature = |endpoint| header(&request(endpoint, None), "authorization").to_owned();
        assert_eq!(signature("https://localhost"), signature("https://localhost:443"));
        assert_ne!(signature("https://localhost"), signature("https://localhost:4567"));
    }
}
