//! Connections that end, and connections that grow old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::HeaderValue;
use kinesis::aws::blocking::Blocking;
use kinesis::aws::connect::Connector;
use kinesis::aws::connect::proxy::Proxies;
use kinesis::aws::connect::resolver::Resolver;
use kinesis::aws::connect::tls::Tls;
use kinesis::aws::credentials::found::Found;
use kinesis::aws::credentials::{CredentialsCache, Fetch};
use kinesis::aws::endpoint::Endpoint;
use kinesis::aws::region::Region;
use kinesis::clock::SystemClock;
use kinesis::kinesis::client::{Client, Operation, Requests, Transport};
use kinesis::kinesis::request::Protocol;
use kinesis::log::Logger;
use kinesis::metrics::{Metric, Metrics};
use libtest_mimic::{Failed, Trial};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustls::version::TLS13;
use tokio::task::LocalSet;

use super::relay::{Ending, Relay};
use super::stand_in::{KEY, SECRET, chunks, expect_all, instance, kinesis};
use super::tls::certificates::Authority;
use super::trial;
use testing::fake_kinesis::Faults;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(connections_are_used_again),
        trial(a_connection_that_was_closed_while_idle_costs_nothing),
        trial(a_connection_that_is_closed_as_the_request_arrives_costs_nothing),
        trial(a_failure_makes_every_idle_connection_suspect),
        trial(an_old_connection_is_not_used_again),
        trial(open_connections_are_counted),
    ]
}

const FLUSHES: usize = 5;

fn connections_are_used_again() -> Result<(), Failed> {
    let kinesis = kinesis();
    let relay = Relay::plain(kinesis.address())?;
    let report = instance(relay.url("http", "127.0.0.1")).flush(&chunks(FLUSHES))?;
    expect_all(&kinesis, &report, FLUSHES)?;
    assert_eq!(relay.connections(), 1);
    Ok(())
}

/// Flushes through relays that close connections, with and without TLS. Every flush must be delivered, with nothing
/// logged that an operator would have to read.
fn flush_through(ending: Ending, pause: Duration) -> Result<(), Failed> {
    let authority = Authority::new()?;
    for tls in [None, Some(authority.server("localhost")?.tls(&[&TLS13])?)] {
        let kinesis = kinesis();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let relay = Relay::start("127.0.0.1:0", kinesis.address(), tls, ending)?;
        let instance = instance(relay.url(scheme, "localhost")).option("ca_bundle", &authority.file());
        let report = instance.pause(pause).flush(&chunks(FLUSHES))?;
        expect_all(&kinesis, &report, FLUSHES)?;
        assert_eq!(relay.connections(), FLUSHES, "each flush needed another connection");
    }
    Ok(())
}

fn a_connection_that_was_closed_while_idle_costs_nothing() -> Result<(), Failed> {
    flush_through(Ending::Idle(Duration::from_millis(50)), Duration::from_millis(200))
}

/// Indistinguishable from an accepted request, so it is retried immediately, with a line at level debug.
fn a_connection_that_is_closed_as_the_request_arrives_costs_nothing() -> Result<(), Failed> {
    flush_through(Ending::AtNextRequest, Duration::ZERO)
}

/// As when a firewall forgets all of them: the second try must not use the next one.
fn a_failure_makes_every_idle_connection_suspect() -> Result<(), Failed> {
    let kinesis = kinesis();
    kinesis.set_faults(Faults { latency_ms: 100, ..Faults::default() });
    let relay = Relay::start("127.0.0.1:0", kinesis.address(), None, Ending::AtNextRequest)?;
    let (four_records, one_record) = (chunks(4).concat(), chunks(5).remove(4));
    let instance = instance(relay.url("http", "127.0.0.1")).option("batch_request_max_count", "1");
    let report = instance.flush(&[four_records, one_record])?;
    expect_all(&kinesis, &report, 5)?;
    assert_eq!(relay.connections(), 5, "four at once, and a new one");
    Ok(())
}

fn an_old_connection_is_not_used_again() -> Result<(), Failed> {
    let kinesis = kinesis();
    let relay = Relay::plain(kinesis.address())?;
    let age = Duration::from_millis(200);
    let requests = put_for(Duration::from_secs(1), &relay.url("http", "127.0.0.1"), age)?;
    let connections = relay.connections();
    assert!((2..=6).contains(&connections), "{connections} connections for {requests} requests");
    Ok(())
}

const BODY: &[u8] = br#"{"StreamName":"logs","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#;

fn open_connections_are_counted() -> Result<(), Failed> {
    let kinesis = kinesis();
    kinesis.set_faults(Faults { latency_ms: 50, ..Faults::default() });
    let relay = Relay::plain(kinesis.address())?;
    let metrics = Metrics::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let client = client(&relay.url("http", "127.0.0.1"), Duration::from_millis(200), metrics.clone())?;
        let four_at_once = || async {
            let put = || client.send(Operation::PutRecords, Bytes::from_static(BODY));
            let replies = tokio::join!(put(), put(), put(), put());
            [replies.0, replies.1, replies.2, replies.3]
                .map(|reply| reply.map(|reply| reply.exchange.unwrap().is_first))
        };
        assert_eq!(four_at_once().await, [true; 4].map(Ok));
        assert_eq!(metrics.get(Metric::Connections), 4);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(four_at_once().await, [false; 4].map(Ok), "the last exchange on each");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reply =
            client.send(Operation::PutRecords, Bytes::from_static(BODY)).await.map_err(|error| error.to_string())?;
        let exchange = reply.exchange.ok_or("it was not timed")?;
        assert!(exchange.is_first && exchange.took >= Duration::from_millis(50), "{exchange:?}");
        assert_eq!(metrics.get(Metric::Connections), 1, "the others were too old");
        Ok(())
    })
}

/// Must be called in a [`LocalSet`].
fn client(endpoint: &str, age: Duration, metrics: Metrics) -> Result<Client, Failed> {
    let resolver = Resolver::new(Blocking::start());
    let connector = Connector::new(Tls::new(None, false)?, Proxies::default(), resolver).with_max_age(age);
    let requests = Requests::new(
        &Endpoint::parse(endpoint)?,
        Region::parse("us-east-1")?,
        Protocol::Json,
        HeaderValue::from_static("test"),
    );
    let fetch: Fetch = Box::new(|_| {
        let credentials = Credentials::new(KEY, SECRET, None, None, "test");
        Box::pin(async { Ok(Found { credentials, name: "from the test".to_owned(), passed_over: None }) })
    });
    let (log, random) = (Logger::silent(), SmallRng::seed_from_u64(1));
    let cache = CredentialsCache::new(fetch, Arc::new(SystemClock), random, log, metrics.clone());
    Ok(Client::new(connector, cache, Arc::new(SystemClock), requests, None, metrics))
}

/// Sends records one after another for `time`, on connections that live no longer than `age`. Returns their number.
pub fn put_for(time: Duration, endpoint: &str, age: Duration) -> Result<usize, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let client = client(endpoint, age, Metrics::default())?;
        let (start, mut requests) = (Instant::now(), 0);
        while start.elapsed() < time {
            let reply = client.send(Operation::PutRecords, Bytes::from_static(BODY)).await;
            assert_eq!(reply.map_err(|error| error.to_string())?.status, 200);
            requests += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(requests)
    })
}
