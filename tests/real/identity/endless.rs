//! Credential servers that send endless replies, fast or slow: none uses up memory or time.

use std::io;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::child::Setup;
use super::http::{Reply, Server};
use super::issuer::Issuer;
use super::sts::ROLE;
use super::trial;

/// Much more than a process in these tests uses, and much less than an endless reply.
const MOST_MEMORY_MIB: u64 = 128;

const AN_HOUR: Duration = Duration::from_secs(3600);
const LATE: &str = "no reply within";
const AT_ONCE: Duration = Duration::ZERO;
const HEAD: &str = "HTTP/1.1 200 -\r\nContent-Type: text/plain\r\n\r\n";
const DRIPPING_HEAD: &str = "HTTP/1.1 200 -\r\nContent-Length: 100000\r\n\r\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_body_without_end_takes_no_memory),
        trial(an_error_without_end_takes_no_memory),
        trial(a_head_without_end_takes_no_memory),
        trial(interim_replies_without_end_take_no_time),
        trial(a_body_that_drips_takes_no_time),
    ]
}

type Place = fn(&Issuer, &Server) -> Setup;

const STS: (&str, Place) = (ROLE, |issuer, server| {
    let setup = Setup::new(&issuer.kinesis().endpoint()).option("sts_endpoint", server.url()).option("role_arn", ROLE);
    setup.environment("AWS_ACCESS_KEY_ID", "AKIABASE00000000BASE").environment("AWS_SECRET_ACCESS_KEY", "S3cr3t base")
});
const CONTAINER: (&str, Place) = ("container: ", |issuer, server| {
    let uri = format!("{}/v1/credentials", server.url());
    Setup::new(&issuer.kinesis().endpoint()).environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)
});
const INSTANCE: (&str, Place) = ("instance: ", |issuer, server| {
    Setup::new(&issuer.kinesis().endpoint())
        .option("aws_iam_retries", "1")
        .environment("AWS_EC2_METADATA_DISABLED", "false")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url())
});

/// What AWS's client reports for all its attempts together, before the last is over.
const OF_ALL_TRIES: &str = "request has timed out";

/// Each place gets this reply and reports it in these words, within this many flushes.
fn meet(reply: fn() -> Reply, words: &str, patience: u64) -> Result<(), Failed> {
    for (place, setup) in [STS, CONTAINER, INSTANCE] {
        let is_timed = place == STS.0 && words == LATE;
        let words = if is_timed { OF_ALL_TRIES } else { words };
        let server = start(reply)?;
        let mut plugin = setup(&Issuer::new(AN_HOUR), &server).start()?;
        plugin.started()?;
        for _ in 0..patience {
            if plugin.expect_line(&["no credentials: ", place, words]).is_ok() {
                break;
            }
            plugin.expect("Retry")?;
            thread::sleep(Duration::from_secs(1));
        }
        plugin.expect_line(&["no credentials: ", place, words])?;
        let peak = plugin.peak_memory()?;
        assert!(peak < MOST_MEMORY_MIB, "{place}: {peak} MiB");
        plugin.stop()?;
    }
    Ok(())
}

fn start(reply: fn() -> Reply) -> io::Result<Server> {
    Server::start(move |_| reply())
}

fn a_body_without_end_takes_no_memory() -> Result<(), Failed> {
    meet(|| Reply::Endless(HEAD, "x", AT_ONCE), "the reply is longer than 256 KiB", 10)
}

fn an_error_without_end_takes_no_memory() -> Result<(), Failed> {
    const HEAD: &str = "HTTP/1.1 400 -\r\nContent-Type: text/xml\r\n\r\n";
    meet(|| Reply::Endless(HEAD, "x", AT_ONCE), "the reply is longer than 256 KiB", 10)
}

fn a_head_without_end_takes_no_memory() -> Result<(), Failed> {
    meet(|| Reply::Endless("HTTP/1.1 200 -\r\n", "x-more: and more\r\n", AT_ONCE), "message head is too large", 20)
}

fn interim_replies_without_end_take_no_time() -> Result<(), Failed> {
    meet(|| Reply::Endless("", "HTTP/1.1 102 -\r\n\r\n", AT_ONCE), LATE, 40)
}

/// One byte per second.
fn a_body_that_drips_takes_no_time() -> Result<(), Failed> {
    meet(|| Reply::Endless(DRIPPING_HEAD, "x", Duration::from_secs(1)), LATE, 40)
}
