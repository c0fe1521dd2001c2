//! The minimum cost of sending the same bodies: hash, encrypt, write, read the reply, one after another.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use lexopt::prelude::{Long, ValueExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::capture;
use crate::clock::processor_seconds;
use crate::plugin::Cost;
use crate::wire::{Messages, Wire};

pub const HELP: &str = "\
  floor    sends captured bodies over one connection, as cheaply as possible
    --bodies PATH   what the sink captured
    --port N        the sink's port
    --ca-file PATH  the sink's authority
    --records N     how many records; the bodies come again and again (1000000)
";

/// Sends the bodies and prints the [`Cost`] as JSON.
pub fn run(mut arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let (mut bodies, mut port, mut ca_file, mut records) = (PathBuf::new(), 0, PathBuf::new(), 1_000_000);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bodies") => bodies = arguments.value()?.into(),
            Long("port") => port = arguments.value()?.parse()?,
            Long("ca-file") => ca_file = arguments.value()?.into(),
            Long("records") => records = arguments.value()?.parse()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    let bodies = capture::read(&bodies)?;
    if bodies.iter().all(|body| body.records == 0) {
        return Err("floor: no records among the bodies".into());
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&ca_file)?)?;
    let provider = Arc::new(kinesis::aws::connect::tls::provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1")?)?;
    connection.set_buffer_limit(None);
    let mut stream = StreamOwned::new(connection, Wire::new(TcpStream::connect(("127.0.0.1", port))?)?);
    stream.flush()?;

    let (mut messages, mut sent, mut request, mut hash) = (Messages::default(), 0, Vec::new(), String::new());
    let (cpu_before, begin) = (processor_seconds()?, Instant::now());
    for body in bodies.iter().cycle() {
        if sent >= records {
            break;
        }
        hash.clear();
        for byte in digest(&SHA256, &body.bytes).as_ref() {
            write!(hash, "{byte:02x}")?;
        }
        request.clear();
        write!(
            request,
            "POST / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/x-amz-{}-1.1\r\n\
             x-amz-target: Kinesis_20131202.PutRecords\r\nuser-agent: floor\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={hash}\r\ncontent-length: {}\r\n\r\n",
            if body.is_cbor { "cbor" } else { "json" },
            body.bytes.len()
        )?;
        // Two slices, so that the body is not copied before encryption.
        stream.conn.writer().write_all(&request)?;
        stream.write_all(&body.bytes)?;
        let reply = messages.next(&mut stream)?.ok_or("floor: the sink closed the connection")?;
        if !reply.head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("floor: {}", reply.head).into());
        }
        sent += u64::from(body.records);
    }
    let (cpu_seconds, seconds) = (processor_seconds()? - cpu_before, begin.elapsed().as_secs_f64());
    println!("{}", serde_json::to_string(&Cost { records: sent, cpu_seconds, seconds, waits: 0, resident_kib: 0 })?);
    Ok(())
}
