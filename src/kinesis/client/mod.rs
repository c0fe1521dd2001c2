//! The connection to Kinesis: signs a body, posts it, reads the reply.

mod transport;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::Instant;

use crate::aws::connect::life::exchanged;
use crate::aws::connect::reason::{ConnectError, Remedy, broken, unauthorized_at_proxy};
use crate::aws::connect::{Connector, Pool, pool};
use crate::aws::credentials::CredentialsCache;
use crate::aws::credentials::found::NoCredentials;
use crate::aws::endpoint::Endpoint;
use crate::aws::region::Region;
use crate::aws::signature::{Signature, Signer};
use crate::clock::Clock;
use crate::digest::Digest;
use crate::digest::sha256::Digests;
use crate::kinesis::reply::{Exchange, Response};
use crate::kinesis::request::Protocol;
use crate::log::duration;
use crate::metrics::{Metric, Metrics};
pub use transport::{Operation, Transport, TransportError};

/// Largest reply to read, in bytes. A reply to 500 records has about 100 KiB, a page of 10,000 shards about 4 MiB.
const MAX_REPLY_BYTES: usize = 8 << 20;
/// Most bytes of an error reply to read: the status is enough, and any proxy may have written the page.
const MAX_ERROR_BYTES: usize = 256 << 10;
/// Clock differences below this are not corrected; AWS allows five minutes.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The connections of one output to Kinesis.
pub struct Client {
    connector: Connector,
    pool: RefCell<Pool>,
    requests: Requests,
    digests: Digests,
    credentials: CredentialsCache,
    clock: Arc<dyn Clock>,
    /// Seconds by which the server's clock is ahead of ours.
    clock_offset: Cell<i64>,
    clock_corrected_at: Cell<Option<Instant>>,
    request_timeout: Option<Duration>,
    /// Whether anything ever answered in HTTP.
    is_answered: Cell<bool>,
    metrics: Metrics,
}

impl Client {
    /// Creates a client; `connector` opens connections as needed, and `metrics` shows their number.
    pub fn new(
        connector: Connector,
        credentials: CredentialsCache,
        clock: Arc<dyn Clock>,
        requests: Requests,
        request_timeout: Option<Duration>,
        metrics: Metrics,
    ) -> Client {
        let connector = connector.with_own_count();
        Client {
            pool: RefCell::new(pool(connector.clone())),
            connector,
            requests,
            digests: Digests::new(),
            credentials,
            clock,
            clock_offset: Cell::new(0),
            clock_corrected_at: Cell::new(None),
            request_timeout,
            is_answered: Cell::new(false),
            metrics,
        }
    }

    /// Fetches credentials now, so that the log shows at startup whether there are any.
    ///
    /// # Errors
    /// What was tried, for the log.
    pub async fn credentials(&self, patience: Duration) -> Result<Credentials, NoCredentials> {
        self.credentials.get_within(patience).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, TransportError> {
        let exchange = self.pool.borrow().request(request);
        let reply = exchange.await.map_err(|error| match error.source() {
            Some(reason) if error.is_connect() => self.not_connected(reason),
            _ => self.no_answer(&error),
        })?;
        self.is_answered.set(true);
        let (head, body) = reply.into_parts();
        let body = match head.status.is_success() {
            true => whole(body).await,
            false => beginning(body).await,
        };
        let response = Response::new(head.status, head.headers, body?);
        self.refused_by_proxy(&response).map_or(Ok(response), Err)
    }

    fn not_connected(&self, error: &(dyn Error + 'static)) -> TransportError {
        let Some(error) = error.downcast_ref::<ConnectError>() else {
            return TransportError::Connect(error.to_string());
        };
        let reason = error.text.clone();
        match error.remedy {
            Some(Remedy::Advice(advice)) => TransportError::Misconfigured { reason, advice },
            Some(Remedy::OtherName) => TransportError::Misconfigured { reason, advice: self.requests.other_name },
            None => TransportError::Connect(reason),
        }
    }

    /// A server that expects TLS closes the connection, or answers in something other than HTTP.
    fn no_answer(&self, error: &(dyn Error + 'static)) -> TransportError {
        let mut reason = broken(error);
        if !self.is_answered.get() && self.requests.uri.scheme() == Some(&Scheme::HTTP) {
            reason.push_str("; if the server expects TLS, write https:// before the endpoint");
        }
        TransportError::Ambiguous(reason)
    }

    /// Why the proxy of a plain endpoint answered in its own name, if it did.
    fn refused_by_proxy(&self, response: &Response) -> Option<TransportError> {
        if !matches!(response.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::FORBIDDEN) {
            return None;
        }
        let uri = &self.requests.uri;
        let proxy = self.connector.proxy(uri).filter(|_| uri.scheme() == Some(&Scheme::HTTP))?;
        if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Some(self.not_connected(&unauthorized_at_proxy().at(format_args!("the proxy {proxy}"))));
        }
        let reason = format!("through the proxy {proxy}: HTTP 403 without a readable error");
        let advice = "allow this host in the proxy, and see its log";
        response.error().code.is_empty().then_some(TransportError::Misconfigured { reason, advice })
    }

    async fn exchange_in_time(
        &self,
        request: Request<Full<Bytes>>,
        connection: &CaptureConnection,
    ) -> Result<Response, TransportError> {
        let Some(limit) = self.request_timeout else { return self.exchange(request).await };
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) if connection.connection_metadata().is_none() => Err(TransportError::Connect(format!(
                "no connection to {} within {}",
                self.connector.tried(&self.requests.uri),
                duration(limit)
            ))),
            Err(_) => Err(TransportError::Ambiguous(format!("none within {}", duration(limit)))),
        }
    }

    fn now(&self) -> SystemTime {
        let offset = self.clock_offset.get();
        let distance = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { self.clock.now() - distance } else { self.clock.now() + distance }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, TransportError> {
    let read = Limited::new(body, MAX_REPLY_BYTES).collect().await;
    read.map(Collected::to_bytes).map_err(|error| {
        TransportError::Ambiguous(match error.is::<LengthLimitError>() {
            true => format!("it is longer than {} KiB", MAX_REPLY_BYTES >> 10),
            false => broken(error.as_ref()),
        })
    })
}

async fn beginning(mut body: Incoming) -> Result<Bytes, TransportError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TransportError::Ambiguous(broken(&error)))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_ERROR_BYTES - bytes.len();
        bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        if data.len() >= room {
            break;
        }
    }
    Ok(bytes.freeze())
}

impl Transport for Client {
    async fn send(&self, operation: Operation, body: Bytes) -> Result<Response, TransportError> {
        let credentials = self.credentials.get().await;
        let credentials = credentials.map_err(|error| TransportError::NoCredentials(error.to_string()))?;
        let digest = self.digests.sha256(&body).await;
        let mut request = self
            .requests
            .sign(operation, body, &digest, &credentials, self.now())
            .map_err(|reason| TransportError::NoCredentials(format!("the request cannot be signed: {reason}")))?;
        let connection = capture_connection(&mut request);
        let (mut opened, connected_at) = (connection.clone(), Cell::new(Instant::now()));
        let note = async {
            opened.wait_for_connection_metadata().await;
            connected_at.set(Instant::now());
            pending().await
        };
        let mut result = tokio::select! {
            biased;
            result = self.exchange_in_time(request, &connection) => result,
            result = note => result,
        };
        match &mut result {
            // What broke one connection may have broken others that still look open, so use new ones.
            Err(TransportError::Ambiguous(_)) => drop(self.pool.replace(pool(self.connector.clone()))),
            Ok(response) => {
                let (took, is_first) = (connected_at.get().elapsed(), exchanged(&connection));
                response.exchange = Some(Exchange { took, is_first });
            }
            Err(_) => {}
        }
        self.metrics.set(Metric::Connections, self.connector.open_connections() as u64);
        result
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

/// Builds the requests of one client, which differ in operation, body, date and signature.
pub struct Requests {
    uri: Uri,
    /// The wire format of `PutRecords`.
    protocol: Protocol,
    /// The headers that all requests share.
    headers: HeaderMap,
    signer: Signer,
    /// What to do if the endpoint's name does not exist.
    other_name: &'static str,
}

impl Requests {
    /// Creates requests to `endpoint`, signed for `region`; `PutRecords` uses `protocol`.
    pub fn new(endpoint: &Endpoint, region: Region, protocol: Protocol, user_agent: HeaderValue) -> Requests {
        let headers = HeaderMap::from_iter([(USER_AGENT, user_agent)]);
        let other_name = match endpoint.is_of_region(&region) {
            true => "check region, which is part of this name, and this machine's DNS",
            false => "check endpoint, and this machine's DNS",
        };
        let signer = Signer::new(region, endpoint.host_header());
        Requests { uri: endpoint.uri().clone(), protocol, headers, signer, other_name }
    }

    /// Adds credentials for a proxy.
    pub fn with_proxy_authorization(mut self, authorization: Option<HeaderValue>) -> Requests {
        self.headers.extend(authorization.map(|authorization| (PROXY_AUTHORIZATION, authorization)));
        self
    }

    fn sign(
        &self,
        operation: Operation,
        body: Bytes,
        digest: &Digest,
        credentials: &Credentials,
        time: SystemTime,
    ) -> Result<Request<Full<Bytes>>, InvalidHeaderValue> {
        let target = operation.target();
        let content_type = match operation {
            Operation::PutRecords => self.protocol.content_type(),
            Operation::DryRun | Operation::ListShards | Operation::DescribeStreamSummary => {
                Protocol::Json.content_type()
            }
        };
        let Signature { date, authorization } = self.signer.sign(target, content_type, digest, credentials, time);
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text)?;
            value.set_sensitive(true);
            Ok::<_, InvalidHeaderValue>(value)
        };
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(TARGET, HeaderValue::from_static(target));
        headers.insert(DATE, HeaderValue::from_str(&date)?);
        headers.insert(AUTHORIZATION, secret(&authorization)?);
        if let Some(token) = credentials.session_token() {
            headers.insert(TOKEN, secret(token)?);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256::alone;

    fn request(endpoint: &str, token: Option<&str>) -> Request<Full<Bytes>> {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        let endpoint = Endpoint::parse(endpoint).unwrap();
        let region = Region::parse("us-east-1").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let requests = Requests::new(&endpoint, region, Protocol::Json, HeaderValue::from_static("test"));
        let body = Bytes::from_static(b"{}");
        let digest = alone(&body);
        requests.sign(Operation::PutRecords, body, &digest, &credentials, time).unwrap()
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

    #[test]
    fn a_name_that_does_not_exist_makes_suspect_what_it_was_made_of() {
        let suspect = |endpoint: &str, region: &str| {
            let (endpoint, region) = (Endpoint::parse(endpoint).unwrap(), Region::parse(region).unwrap());
            Requests::new(&endpoint, region, Protocol::Json, HeaderValue::from_static("test")).other_name
        };
        let region = "check region, which is part of this name, and this machine's DNS";
        assert_eq!(suspect("kinesis.eu-west-l.amazonaws.com", "eu-west-l"), region);
        assert_eq!(suspect("kinesis-fips.eu-west-l.api.aws", "eu-west-l"), region);
        let endpoint = "check endpoint, and this machine's DNS";
        assert_eq!(suspect("vpce-1.kinesis.eu-west-1.vpce.amazonaws.com", "eu-west-1"), endpoint);
        assert_eq!(suspect("https://kinesis.example", "eu-west-1"), endpoint);
    }
}
