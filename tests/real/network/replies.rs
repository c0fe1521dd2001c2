//! Replies of Kinesis, or of a proxy in its place, that never end: fast, slow, or before they begin.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::stand_in::{chunks, instance};
use super::trial;
use crate::flush::Report;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_page_without_end_beside_an_error_costs_neither_memory_nor_the_status),
        trial(a_reply_that_accepts_without_end_takes_no_memory),
        trial(interim_replies_count_against_the_time_of_the_request),
        trial(a_reply_that_drips_counts_against_the_time_of_the_request),
        trial(a_proxys_answer_without_end_is_refused),
    ]
}

/// The most that an endless reply sends: more than any test may load into memory.
const ENDLESS_BYTES: usize = 1 << 30;

/// How long it lasts at most. A client that waits for its end has no reason to name its own limit.
const ENDLESS_TIME: Duration = Duration::from_secs(60);

const AT_ONCE: Duration = Duration::ZERO;

/// Answers each connection with `begin` and then `again`, with pauses, for as long as the client reads.
fn server(begin: &'static str, again: &'static str, pause: Duration) -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A client that disconnects is what the tests are about.
            thread::spawn(move || answer(connection, begin, again, pause).ok());
        }
    });
    Ok(address)
}

fn answer(mut connection: TcpStream, begin: &str, again: &str, pause: Duration) -> std::io::Result<()> {
    // Head and body of a small request arrive together; otherwise the rest stays unread.
    let _read = connection.read(&mut [0; 64 << 10])?;
    connection.write_all(begin.as_bytes())?;
    let piece = if pause.is_zero() { again.repeat((64 << 10) / again.len()) } else { again.to_owned() };
    let end = Instant::now() + ENDLESS_TIME;
    let mut pieces = ENDLESS_BYTES / piece.len();
    while pieces > 0 && Instant::now() < end {
        connection.write_all(piece.as_bytes())?;
        thread::sleep(pause);
        pieces -= 1;
    }
    Ok(())
}

/// Flushes a record there, with two seconds for a request.
fn flush(address: SocketAddr) -> Result<Report, Failed> {
    let report = instance(format!("http://{address}")).option("http_request_timeout", "2s").flush(&chunks(1))?;
    assert!(report.peak_memory_mib < 128, "{} MiB: {report:#?}", report.peak_memory_mib);
    report.expect("Retry")?;
    Ok(report)
}

fn a_page_without_end_beside_an_error_costs_neither_memory_nor_the_status() -> Result<(), Failed> {
    let report = flush(server("HTTP/1.1 503 -\r\nContent-Type: text/html\r\n\r\n", "<p>Sorry.</p>", AT_ONCE)?)?;
    let told = |(_, line): &(String, String)| line.contains("HTTP 503");
    if report.log.iter().any(told) { Ok(()) } else { Err(format!("no line with the status: {report:#?}").into()) }
}

fn a_reply_that_accepts_without_end_takes_no_memory() -> Result<(), Failed> {
    let report = flush(server("HTTP/1.1 200 -\r\n\r\n", "{\"Records\":[", AT_ONCE)?)?;
    let told = |(_, line): &(String, String)| line.contains("no reply: it is longer than 8192 KiB");
    if report.log.iter().any(told) { Ok(()) } else { Err(format!("no line with the reason: {report:#?}").into()) }
}

fn interim_replies_count_against_the_time_of_the_request() -> Result<(), Failed> {
    for pause in [AT_ONCE, Duration::from_millis(100)] {
        let report = flush(server("", "HTTP/1.1 102 -\r\n\r\n", pause)?)?;
        report.expect_complaint("no reply: none within 2 s")?;
    }
    Ok(())
}

fn a_reply_that_drips_counts_against_the_time_of_the_request() -> Result<(), Failed> {
    let head = "HTTP/1.1 200 -\r\nContent-Length: 100000\r\n\r\n";
    let report = flush(server(head, " ", Duration::from_millis(500))?)?;
    report.expect_complaint("no reply: none within 2 s")?;
    Ok(())
}

fn a_proxys_answer_without_end_is_refused() -> Result<(), Failed> {
    for begin in ["HTTP/1.1 200 -\r\n", "HTTP/1.1 407 -\r\n", ""] {
        let proxy = server(begin, "x-more: and more\r\n", AT_ONCE)?;
        let instance = instance("kinesis.example.test".to_owned()).option("http_proxy", &proxy.to_string());
        let report = instance.flush(&chunks(1))?;
        report.expect("Retry")?;
        report.expect_complaint(&format!("cannot connect: the proxy http://{proxy}: it did not connect to "))?;
        assert!(report.peak_memory_mib < 128, "{} MiB", report.peak_memory_mib);
    }
    Ok(())
}
