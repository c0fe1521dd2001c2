//! A proxy or load balancer that accepts bodies up to a megabyte, whether or not it reads larger ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use libtest_mimic::{Failed, Trial};
use rmpv::Value;

use super::stand_in::instance;
use super::trial;
use testing::chunks::{chunk, map};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_limit_of_bodies_costs_no_line_when_the_body_is_read),
        trial(a_limit_of_bodies_costs_no_line_when_the_body_is_left_unread),
    ]
}

const MOST_BYTES: usize = 1_000_000;
const LINES: usize = 20_000;

/// The lines that got through, in order.
type Stored = Arc<Mutex<Vec<String>>>;

/// Accepts requests like Kinesis, but answers larger ones with 413: after reading their body, or without reading it.
fn proxy(reads: bool) -> Result<(SocketAddr, Stored), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, stored) = (listener.local_addr()?, Stored::default());
    let taken = Arc::clone(&stored);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let taken = Arc::clone(&taken);
            // A client that disconnects ends only its connection.
            thread::spawn(move || serve(connection, reads, &taken).ok());
        }
    });
    Ok((address, stored))
}

fn serve(connection: TcpStream, reads: bool, stored: &Stored) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut requests = BufReader::new(connection.try_clone()?);
    let mut replies = connection;
    loop {
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                bytes = length.trim().parse().unwrap_or_default();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        if bytes > MOST_BYTES && !reads {
            replies.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
            return replies.shutdown(Shutdown::Write);
        }
        let mut body = vec![0; bytes];
        requests.read_exact(&mut body)?;
        let reply = if bytes > MOST_BYTES {
            "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n".to_owned()
        } else {
            let records = store(&body, stored);
            let entries = vec![r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#; records].join(",");
            let reply = format!(r#"{{"FailedRecordCount":0,"Records":[{entries}]}}"#);
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}", reply.len())
        };
        replies.write_all(reply.as_bytes())?;
    }
}

/// Stores the lines of a request's records. Returns the number of records.
fn store(body: &[u8], stored: &Stored) -> usize {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let records = body["Records"].as_array().unwrap();
    let data =
        |record: &serde_json::Value| base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap();
    let lines = records
        .iter()
        .flat_map(|record| String::from_utf8(data(record)).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    stored.lock().unwrap().extend(lines);
    records.len()
}

fn lose_no_line(reads: bool) -> Result<(), Failed> {
    for aggregation in ["lines", "off"] {
        let (address, stored) = proxy(reads)?;
        // Sent alone, 500 records exceed a megabyte.
        let (lines, text) = if aggregation == "lines" { (LINES, 80) } else { (1000, 3000) };
        let line = |id: usize| map([("id", Value::from(id)), ("text", Value::from("x".repeat(text)))]);
        let chunk = chunk(&(0..lines).map(line).collect::<Vec<_>>());
        let mut instance = instance(format!("http://{address}")).option("retries_on_batch_request", "8");
        instance = match aggregation {
            "lines" => instance.option("aggregation", "lines"),
            _ => instance.option("append_newline", "on"),
        };
        let report = instance.flush(&[chunk])?;
        report.expect("Delivered")?;
        let mut stored = stored.lock().unwrap().clone();
        let count = stored.len();
        stored.sort();
        stored.dedup();
        assert_eq!((count, stored.len()), (lines, lines), "{aggregation}: {:?}", report.log);
    }
    Ok(())
}

fn a_limit_of_bodies_costs_no_line_when_the_body_is_read() -> Result<(), Failed> {
    lose_no_line(true)
}

fn a_limit_of_bodies_costs_no_line_when_the_body_is_left_unread() -> Result<(), Failed> {
    lose_no_line(false)
}
