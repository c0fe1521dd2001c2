//! A server that accepts every record at the least cost to whoever measures: it checks no signature and stores
//! nothing.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::{Long, ValueExt};
use memchr::memmem;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::wire::{Message, Messages, Wire, header};
use testing::accepted;

use crate::capture;

pub const HELP: &str = "\
  sink     takes records over TLS and counts them, until SIGTERM
    --port N        port on 127.0.0.1 (0: any free one)
    --ca-file PATH  where the authority's certificate is written (required)
    --latency-ms N  every reply waits this long (0)
    --capture PATH  writes every request's body to a file
";

/// What the sink prints when it ends.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub requests: u64,
    /// How many of the requests were CBOR.
    pub cbor_requests: u64,
    pub records: u64,
    pub connections: u64,
    pub body_bytes: u64,
    /// From the first request to the last reply.
    pub seconds: f64,
}

#[derive(Default)]
struct Sink {
    latency: Duration,
    capture: Option<Mutex<BufWriter<File>>>,
    requests: AtomicU64,
    cbor_requests: AtomicU64,
    records: AtomicU64,
    connections: AtomicU64,
    body_bytes: AtomicU64,
    first_request: OnceLock<Instant>,
    nanoseconds: AtomicU64,
}

/// Serves until SIGTERM or SIGINT, then prints [`Counts`] as JSON.
pub fn run(mut arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let (mut sink, mut port, mut ca_file) = (Sink::default(), 0, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("ca-file") => ca_file = Some(PathBuf::from(arguments.value()?)),
            Long("latency-ms") => sink.latency = Duration::from_millis(arguments.value()?.parse()?),
            Long("capture") => sink.capture = Some(Mutex::new(BufWriter::new(File::create(arguments.value()?)?))),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let ca_file = ca_file.ok_or("sink: --ca-file is required")?;
    let config = Arc::new(identity(&ca_file)?);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("ready: https://127.0.0.1:{} ca {}", listener.local_addr()?.port(), ca_file.display());

    let sink = Arc::new(sink);
    let serving = Arc::clone(&sink);
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let (sink, config) = (Arc::clone(&serving), Arc::clone(&config));
            thread::spawn(move || {
                if let Err(error) = sink.serve(stream, config) {
                    // Clients often disconnect without notice.
                    let usual = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
                    if !usual.contains(&error.kind()) {
                        eprintln!("sink: {error}");
                    }
                }
            });
        }
    });
    signals.forever().next();
    println!("{}", serde_json::to_string(&sink.counts()?)?);
    Ok(())
}

/// A server certificate, signed by an authority whose own certificate is written to `ca_file`.
fn identity(ca_file: &std::path::Path) -> Result<ServerConfig, Box<dyn Error>> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "sink authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned))?
        .signed_by(&key, &Issuer::new(authority, authority_key))?;
    std::fs::write(ca_file, pem).map_err(|error| format!("{}: {error}", ca_file.display()))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Sink {
    /// Answers the requests of one connection.
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        // Send a whole reply in one write.
        connection.set_buffer_limit(None);
        let mut stream = StreamOwned::new(connection, Wire::new(stream)?);
        self.connections.fetch_add(1, Relaxed);
        let mut messages = Messages::default();
        let mut replies = HashMap::new();
        let in_cbor = memmem::Finder::new("PartitionKey");
        let in_json = memmem::Finder::new("\"PartitionKey\":");
        while let Some(Message { head, body }) = messages.next(&mut stream)? {
            let begin = *self.first_request.get_or_init(Instant::now);
            let is_cbor = header(head, "content-type") == Some("application/x-amz-cbor-1.1");
            let records = if is_cbor { &in_cbor } else { &in_json }.find_iter(body).count();
            if let Some(file) = &self.capture {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                capture::write(&mut *file, records as u32, is_cbor, body)?;
            }
            self.requests.fetch_add(1, Relaxed);
            self.cbor_requests.fetch_add(u64::from(is_cbor), Relaxed);
            self.records.fetch_add(records as u64, Relaxed);
            self.body_bytes.fetch_add(body.len() as u64, Relaxed);
            if !self.latency.is_zero() {
                thread::sleep(self.latency);
            }
            let reply = replies.entry((records, is_cbor)).or_insert_with(|| reply(records, is_cbor));
            let wrote = stream.write_all(reply);
            self.nanoseconds.fetch_max(begin.elapsed().as_nanos() as u64, Relaxed);
            wrote?;
        }
        Ok(())
    }

    fn counts(&self) -> io::Result<Counts> {
        if let Some(file) = &self.capture {
            file.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        }
        Ok(Counts {
            requests: self.requests.load(Relaxed),
            cbor_requests: self.cbor_requests.load(Relaxed),
            records: self.records.load(Relaxed),
            connections: self.connections.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            seconds: self.nanoseconds.load(Relaxed) as f64 / 1e9,
        })
    }
}

/// Accepts all records, with headers as long as the service's.
fn reply(records: usize, is_cbor: bool) -> Vec<u8> {
    let (kind, body) = if is_cbor { ("cbor", accepted::cbor(records)) } else { ("json", accepted::json(records)) };
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-amzn-RequestId: d1f2a3b4-0c5d-4e6f-8a7b-9c0d1e2f3a4b\r\n\
         x-amz-id-2: Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/x-amz-{kind}-1.1\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
