//! A plain HTTP/1.1 client that gives tests control over the bytes on the wire.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::{Value, json};

use testing::fake_kinesis::FakeKinesis;

pub const JSON: &str = "application/x-amz-json-1.1";
pub const CBOR: &str = "application/x-amz-cbor-1.1";

/// A request, as the bytes to send.
#[derive(Clone)]
pub struct Request {
    /// Method and path.
    pub target: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// `PutRecords` with headers that are accepted unless signatures are checked.
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Request {
        Request {
            target: "POST /",
            headers: [
                ("Host", "localhost"),
                ("Content-Type", content_type),
                ("X-Amz-Target", "Kinesis_20131202.PutRecords"),
                ("Authorization", "AWS4-HMAC-SHA256 unchecked"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: body.into(),
        }
    }

    pub fn json(body: &Value) -> Request {
        Request::new(JSON, body.to_string())
    }

    /// A request of the inspection interface, such as `GET /_/stats`.
    pub fn admin(target: &'static str, body: &str) -> Request {
        Request { target, ..Request::new(JSON, body) }
    }

    /// The same request with another value for a header, or without it.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Request {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }
}

/// A reply.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn cbor(&self) -> ciborium::Value {
        ciborium::from_reader(self.body.as_slice()).expect("a CBOR body")
    }

    /// Status, exception and message.
    pub fn error(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        (self.status, text("__type"), text("message"))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One keep-alive connection.
pub struct Client {
    stream: Box<dyn Stream>,
    tcp: TcpStream,
}

impl Client {
    pub fn plain(server: &FakeKinesis) -> Client {
        let tcp = connect(server);
        Client { stream: Box::new(tcp.try_clone().unwrap()), tcp }
    }

    pub fn tls(server: &FakeKinesis, name: &str, version: &'static SupportedProtocolVersion) -> Client {
        Client::tls_trusting(server, server.ca_file(), name, version)
    }

    pub fn tls_trusting(
        server: &FakeKinesis,
        ca_file: &Path,
        name: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = connect(server);
        let stream = StreamOwned::new(session, tcp.try_clone().unwrap());
        Client { stream: Box::new(stream), tcp }
    }

    /// How long a read waits; 20 seconds unless set.
    pub fn set_timeout(&self, timeout: Duration) {
        self.tcp.set_read_timeout(Some(timeout)).unwrap();
    }

    /// Sends a request and reads its reply.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(request)?;
        self.read()
    }

    pub fn write(&mut self, request: &Request) -> io::Result<()> {
        let mut bytes = format!("{} HTTP/1.1\r\n", request.target).into_bytes();
        for (name, value) in &request.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", request.body.len()).as_bytes());
        bytes.extend_from_slice(&request.body);
        self.write_raw(&bytes)
    }

    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads the next bytes.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    pub fn read(&mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(response) = parse(&bytes) {
                return Ok(response);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// Sends one request on its own connection.
pub fn send(server: &FakeKinesis, request: &Request) -> Response {
    Client::plain(server).send(request).expect("a reply")
}

/// A request with these records for the stream `logs`.
pub fn put(records: &[Value]) -> Request {
    Request::json(&json!({ "StreamName": "logs", "Records": records }))
}

/// A record for such a request.
pub fn record(data: &[u8], key: &str) -> Value {
    json!({ "Data": base64_simd::STANDARD.encode_to_string(data), "PartitionKey": key })
}

fn connect(server: &FakeKinesis) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The whole reply, if complete.
fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |value| value.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Response { status, headers, body })
}
