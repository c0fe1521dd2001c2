//! Key exchange: post-quantum where the server has it, and no server that has not pays for it with a round trip or is
//! out of reach.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Failed, Trial};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::certificates::Authority;
use crate::network::relay::{Served, relay_forever, serve};
use crate::network::stand_in::{chunks, expect_all, instance, kinesis};
use crate::network::trial;
use testing::fake_kinesis::FakeKinesis;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_server_that_knows_x25519mlkem768_gets_it_at_once),
        trial(a_server_that_knows_x25519_alone_gets_it_at_once),
        trial(a_server_that_prefers_x25519_gets_it_at_once),
        trial(a_server_of_tls_1_2_is_served_as_before),
        trial(a_server_without_either_group_asks_again),
        trial(a_server_that_closes_at_a_long_client_hello_gets_a_short_one),
        trial(a_server_that_waits_for_ever_at_a_long_client_hello_gets_a_short_one),
    ]
}

/// What a TCP segment holds on an Ethernet: all that a careless middlebox reads of a ClientHello.
const SEGMENT: usize = 1_400;

type Groups = [&'static dyn SupportedKxGroup];
type Handshake = (Option<NamedGroup>, Option<HandshakeKind>);

/// What a server does with a ClientHello that is longer than a segment.
#[derive(Clone, Copy)]
enum Long {
    Reads,
    Closes,
    Waits,
}

/// A server of these groups in front of `kinesis`, and the handshakes that it ended.
struct Server {
    url: String,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    _thread: Served,
}

impl Server {
    fn start(kinesis: &FakeKinesis, tls: Arc<ServerConfig>, long: Long) -> Result<Server, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let (target, acceptor) = (kinesis.address(), TlsAcceptor::from(tls));
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::clone(&handshakes);
        let thread = serve(listener, move |mut client| {
            let (acceptor, ended) = (acceptor.clone(), Arc::clone(&ended));
            async move {
                if is_long(&client).await? {
                    match long {
                        Long::Reads => {}
                        Long::Closes => return client.shutdown().await,
                        Long::Waits => std::future::pending().await,
                    }
                }
                let stream = acceptor.accept(client).await?;
                let session = stream.get_ref().1;
                let group = session.negotiated_key_exchange_group().map(|group| group.name());
                ended.lock().unwrap().push((group, session.handshake_kind()));
                relay_forever(stream, target).await
            }
        })?;
        Ok(Server { url, handshakes, _thread: thread })
    }
}

async fn is_long(client: &TcpStream) -> std::io::Result<bool> {
    let mut head = [0; 5];
    while client.peek(&mut head).await? < head.len() {
        tokio::task::yield_now().await;
    }
    let [.., high, low] = head;
    Ok(head.len() + usize::from(u16::from_be_bytes([high, low])) > SEGMENT)
}

/// Flushes to a server of these groups; returns its only handshake.
fn handshake(groups: &Groups, version: &'static SupportedProtocolVersion) -> Result<Handshake, Failed> {
    let (authority, kinesis) = (Authority::new()?, kinesis());
    let tls = authority.server("localhost")?.tls_of_groups(&[version], groups)?;
    let server = Server::start(&kinesis, tls, Long::Reads)?;
    let report = instance(server.url.clone()).option("ca_bundle", &authority.file()).flush(&chunks(1))?;
    expect_all(&kinesis, &report, 1)?;
    let handshakes = server.handshakes.lock().unwrap();
    match handshakes.as_slice() {
        [only] => Ok(*only),
        several => Err(format!("{several:?}").into()),
    }
}

fn a_server_that_knows_x25519mlkem768_gets_it_at_once() -> Result<(), Failed> {
    let handshake = handshake(&[X25519MLKEM768, X25519, SECP256R1], &TLS13)?;
    assert_eq!(handshake, (Some(NamedGroup::X25519MLKEM768), Some(HandshakeKind::Full)));
    Ok(())
}

fn a_server_that_knows_x25519_alone_gets_it_at_once() -> Result<(), Failed> {
    assert_eq!(handshake(&[X25519], &TLS13)?, (Some(NamedGroup::X25519), Some(HandshakeKind::Full)));
    Ok(())
}

fn a_server_that_prefers_x25519_gets_it_at_once() -> Result<(), Failed> {
    let handshake = handshake(&[X25519, X25519MLKEM768], &TLS13)?;
    assert_eq!(handshake.1, Some(HandshakeKind::Full));
    Ok(())
}

fn a_server_of_tls_1_2_is_served_as_before() -> Result<(), Failed> {
    let handshake = handshake(&[SECP256R1, X25519], &TLS12)?;
    assert_eq!(handshake.1, Some(HandshakeKind::Full));
    Ok(())
}

/// No key share is right for everyone; this one cost another round trip before there was anything post-quantum.
fn a_server_without_either_group_asks_again() -> Result<(), Failed> {
    let again = Some(HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(handshake(&[SECP256R1], &TLS13)?, (Some(NamedGroup::secp256r1), again));
    Ok(())
}

/// The first try meets the fault and says so; the next one, at once, and all later ones are delivered.
fn choking(long: Long, reason: &str) -> Result<(), Failed> {
    let (authority, kinesis) = (Authority::new()?, kinesis());
    let tls = authority.server("localhost")?.tls_of_groups(&[&TLS13], &[X25519, SECP256R1])?;
    let server = Server::start(&kinesis, tls, long)?;
    let report = instance(server.url.clone()).option("ca_bundle", &authority.file()).flush(&chunks(3))?;
    expect_all(&kinesis, &report, 3)?;
    let line = format!("{reason}; the next try starts TLS with a shorter ClientHello: retrying immediately");
    assert_eq!(report.log.iter().filter(|(_, text)| text.ends_with(&line)).count(), 1, "{report:#?}");
    assert_eq!(*server.handshakes.lock().unwrap(), [(Some(NamedGroup::X25519), Some(HandshakeKind::Full))]);
    Ok(())
}

fn a_server_that_closes_at_a_long_client_hello_gets_a_short_one() -> Result<(), Failed> {
    choking(Long::Closes, "")
}

fn a_server_that_waits_for_ever_at_a_long_client_hello_gets_a_short_one() -> Result<(), Failed> {
    choking(Long::Waits, " within 10 s")
}
