//! Connections: TLS and plain, kept alive, ended with the stand-in.

use std::io::ErrorKind;
use std::net::TcpStream;

use super::client::{Client, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Settings};

fn start_tls() -> FakeKinesis {
    FakeKinesis::start(Settings { tls: true, ..Settings::default() })
}

#[test]
fn tls_1_2_and_1_3_work_under_each_name_of_loopback() {
    let server = start_tls();
    assert!(server.endpoint().starts_with("https://localhost:"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for name in ["localhost", "127.0.0.1", "::1"] {
            let mut client = Client::tls(&server, name, version);
            assert_eq!(client.send(&put(&[record(b"x", "k")])).unwrap().status, 200, "{name} {version:?}");
        }
    }
    assert_eq!(server.stats().records, 6);
}

#[test]
fn another_name_or_another_authority_is_not_trusted() {
    let server = start_tls();
    let request = put(&[record(b"x", "k")]);
    let mut other_name = Client::tls(&server, "kinesis.us-east-1.amazonaws.com", &rustls::version::TLS13);
    assert_eq!(other_name.send(&request).unwrap_err().kind(), ErrorKind::InvalidData);

    let other = start_tls();
    let mut other_authority = Client::tls_trusting(&server, other.ca_file(), "localhost", &rustls::version::TLS13);
    assert_eq!(other_authority.send(&request).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(server.stats().requests, 0);
}

#[test]
fn the_file_of_the_authority_goes_where_it_is_wanted_or_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authority.pem");
    let server = FakeKinesis::start(Settings { tls: true, ca_file: Some(path.clone()), ..Settings::default() });
    assert_eq!(server.ca_file(), path);
    drop(server);
    assert!(path.exists(), "a file that was asked for stays");

    let server = start_tls();
    let temporary = server.ca_file().to_owned();
    assert!(temporary.exists());
    drop(server);
    assert!(!temporary.exists());
}

#[test]
fn a_connection_is_kept_alive() {
    let server = FakeKinesis::start(Settings::default());
    let mut client = Client::plain(&server);
    for _ in 0..3 {
        assert_eq!(client.send(&put(&[record(b"x", "k")])).unwrap().status, 200);
    }
    assert_eq!((server.stats().connections, server.stats().requests), (1, 3));

    // An error does not end it either.
    assert_eq!(client.send(&put(&[])).unwrap().status, 400);
    assert_eq!(client.send(&put(&[record(b"x", "k")])).unwrap().status, 200);
    assert_eq!(server.stats().connections, 1);
}

#[test]
fn a_reply_arrives_whole_in_one_read() {
    let server = FakeKinesis::start(Settings::default());
    let mut client = Client::plain(&server);
    let request = put(&vec![record(b"x", "k"); 100]);
    let mut buffer = vec![0; 1024 * 1024];
    for _ in 0..20 {
        client.write(&request).unwrap();
        let length = client.read_some(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"]}"), "{length} bytes came first");
    }
}

#[test]
fn every_reply_carries_the_headers_of_the_service() {
    let server = FakeKinesis::start(Settings::default());
    let request = put(&[record(b"x", "k")]);
    let (first, second) = (send(&server, &request), send(&server, &request));
    let header = |name: &str| first.headers[name].as_str();

    assert_eq!(header("content-type"), "application/x-amz-json-1.1");
    assert!(chrono::DateTime::parse_from_rfc2822(header("date")).is_ok());
    let parts: Vec<_> = header("x-amzn-requestid").split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(header("x-amz-id-2").len(), 64);
    assert_ne!(header("x-amzn-requestid"), second.headers["x-amzn-requestid"]);
}

#[test]
fn dropping_it_closes_connections_and_the_port() {
    let server = FakeKinesis::start(Settings::default());
    let address = server.address();
    let mut client = Client::plain(&server);
    assert_eq!(client.send(&put(&[record(b"x", "k")])).unwrap().status, 200);
    drop(server);
    assert!(client.send(&put(&[record(b"x", "k")])).is_err());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_taken_port_is_an_error() {
    let server = FakeKinesis::start(Settings::default());
    let again = FakeKinesis::try_start(Settings { port: server.address().port(), ..Settings::default() });
    assert_eq!(again.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
}
