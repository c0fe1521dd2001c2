//! Names with several or changing addresses: in our own namespaces, with our own /etc/hosts.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::connections::put_for;
use super::metadata::{TOKEN, serve_metadata};
use super::proxy_server::ProxyServer;
use super::relay::{Ending, Relay};
use super::stand_in::{KEY, SECRET, chunks, expect_all, instance, kinesis};
use super::trial_with;
use crate::finish;
use crate::flush::Instance;
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};
use testing::programs::said;

/// The argument with which this program runs inside, followed by what to do there.
pub const INSIDE: &str = "--in-namespaces";

const HOSTS: &str = "/etc/hosts";
const NAME: &str = "kinesis.example.test";

pub fn trials() -> Vec<Trial> {
    vec![
        trial_with(namespaces_are_missing, an_address_that_does_not_answer_holds_up_nothing),
        trial_with(namespaces_are_missing, a_change_of_addresses_is_followed),
        trial_with(namespaces_are_missing, metadata_services_are_asked_past_the_proxy),
    ]
}

fn namespaces_are_missing() -> Option<String> {
    let possible = in_namespaces("grep -q ::1 /proc/net/if_inet6 || ip -6 addr show dev lo | grep -q ::1");
    let is_possible = possible.is_ok_and(|output| output.status.success());
    (!is_possible).then(|| "no namespaces with IPv6: needs unshare, ip and mount, and the right".to_owned())
}

/// Runs a command with the loopback up and our own /etc/hosts, initially empty.
fn in_namespaces(command: &str) -> std::io::Result<Output> {
    let hosts = tempfile::NamedTempFile::new()?;
    let script = format!("ip link set lo up && mount --bind \"$0\" {HOSTS} && {command}");
    Command::new("unshare").args(["--mount", "--net", "sh", "-c", &script]).arg(hosts.path()).output()
}

fn run_inside(what: &str) -> Result<(), Failed> {
    let output = in_namespaces(&format!("'{}' {INSIDE} {what}", std::env::current_exe()?.display()))?;
    if output.status.success() { Ok(()) } else { Err(said(&output).into()) }
}

/// Does as told, inside.
pub fn inside(what: Option<&str>) -> ExitCode {
    finish(match what {
        Some("silent") => flush_past_a_silent_address(),
        Some("change") => put_while_addresses_change(),
        Some("metadata") => flush_with_credentials_of_metadata(),
        _ => Err("what?".into()),
    })
}

fn an_address_that_does_not_answer_holds_up_nothing() -> Result<(), Failed> {
    run_inside("silent")
}

/// The name's first address is IPv6, where connections are silently dropped: the queue is full.
fn flush_past_a_silent_address() -> Result<(), Failed> {
    std::fs::write(HOSTS, format!("::1 {NAME}\n127.0.0.1 {NAME}\n"))?;
    let kinesis = kinesis();
    let relay = Relay::plain(kinesis.address())?;
    let silent = std::net::TcpListener::bind(("::1", relay.address().port()))?;
    let _queue = fill(&silent)?;
    let start = Instant::now();
    let report = instance(relay.url("http", NAME)).flush(&chunks(1))?;
    expect_all(&kinesis, &report, 1)?;
    let time = start.elapsed();
    if time < Duration::from_secs(4) { Ok(()) } else { Err(format!("it took {time:?}").into()) }
}

/// Opens connections that nobody accepts, until the next one is not answered.
fn fill(listener: &std::net::TcpListener) -> Result<Vec<TcpStream>, Failed> {
    let mut queue = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_millis(200)) {
        queue.push(connection);
        if queue.len() > 10_000 {
            return Err("the queue does not fill".into());
        }
    }
    Ok(queue)
}

fn a_change_of_addresses_is_followed() -> Result<(), Failed> {
    run_inside("change")
}

/// The old address keeps answering and its connections stay open: only their age leads away from it.
fn put_while_addresses_change() -> Result<(), Failed> {
    let kinesis = kinesis();
    let old = Relay::plain(kinesis.address())?;
    let bind = format!("127.0.0.2:{}", old.address().port());
    let new = Relay::start(&bind, kinesis.address(), None, Ending::Never)?;
    std::fs::write(HOSTS, format!("127.0.0.1 {NAME}\n"))?;
    let endpoint = old.url("http", NAME);
    let change = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        // In place, so that nobody reads an empty file.
        OpenOptions::new().write(true).open(HOSTS)?.write_all(b"127.0.0.2")
    });
    put_for(Duration::from_millis(1500), &endpoint, Duration::from_millis(200))?;
    change.join().expect("the thread does not panic")?;
    let (before, after) = (old.connections(), new.connections());
    if before > 0 && after > 0 { Ok(()) } else { Err(format!("{before} connections, then {after}").into()) }
}

fn metadata_services_are_asked_past_the_proxy() -> Result<(), Failed> {
    run_inside("metadata")
}

/// The addresses of the services, here on the loopback. No proxy would know them.
fn flush_with_credentials_of_metadata() -> Result<(), Failed> {
    for address in ["169.254.169.254/32", "169.254.170.2/32", "fd00:ec2::23/128"] {
        // An IPv6 address is usable immediately only without duplicate detection.
        let nodad = if address.contains("::") { &["nodad"][..] } else { &[] };
        let added = Command::new("ip").args(["address", "add", address, "dev", "lo"]).args(nodad).status()?;
        assert!(added.success(), "{address} cannot be added");
    }
    let _services = [
        serve_metadata("169.254.169.254:80")?,
        serve_metadata("169.254.170.2:80")?,
        serve_metadata("[fd00:ec2::23]:80")?,
    ];
    let ways: [fn(Instance) -> Instance; 3] = [
        |instance| instance.environment("AWS_EC2_METADATA_DISABLED", "false"),
        |instance| instance.environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x"),
        |instance| instance.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::23]/v1/credentials"),
    ];
    for way in ways {
        let credentials = vec![Credential::new(KEY, SECRET).with_session_token(TOKEN)];
        let kinesis = FakeKinesis::start(Settings { credentials, ..Settings::default() });
        let proxy = ProxyServer::start(&[("10.1.2.3:4567", kinesis.address())], None)?;
        let instance = way(Instance::new("http://10.1.2.3:4567".to_owned(), "logs"));
        let instance = instance.environment("HTTP_PROXY", &proxy.url("")).environment("HTTPS_PROXY", &proxy.url(""));
        expect_all(&kinesis, &instance.flush(&chunks(1))?, 1)?;
        assert_eq!(proxy.asked(), ["POST http://10.1.2.3:4567/ HTTP/1.1"]);
    }
    Ok(())
}
