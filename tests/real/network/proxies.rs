//! Through a proxy, and past it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustls::version::{TLS12, TLS13};

use super::proxy_server::ProxyServer;
use super::relay::Relay;
use super::stand_in::{chunks, expect_all, expect_refused, instance, kinesis};
use super::tls::certificates::Authority;
use super::trial;
use crate::flush::{Instance, Report};
use crate::sts::{ROLE_KEY, ROLE_SECRET, ROLE_TOKEN, Sts};
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_tunnel_goes_through_the_proxy_of_the_option),
        trial(a_tunnel_goes_through_the_proxy_of_the_environment),
        trial(a_proxy_may_speak_tls_itself),
        trial(a_plain_endpoint_is_requested_through_http_proxy),
        trial(what_no_proxy_lists_and_loopback_go_past_the_proxy),
        trial(a_wrong_password_is_reported_and_not_shown),
        trial(a_proxy_that_refuses_or_is_away_is_named),
        trial(a_proxy_that_never_answers_does_not_hold_a_flush),
        trial(a_certificate_behind_the_proxy_is_verified),
        trial(a_role_is_assumed_through_the_proxy_with_the_same_trust),
        trial(a_variable_that_is_no_proxy_stops_the_start_without_its_text),
    ]
}

/// This name does not resolve: whoever reaches it went through the proxy.
const HOST: &str = "kinesis.example.test";
const PASSWORD: &str = "p@ss word";
const IN_A_URL: &str = "p%40ss%20word";

/// A stand-in with TLS, known to a proxy as [`HOST`].
struct Site {
    kinesis: FakeKinesis,
    _relay: Relay,
    proxy: ProxyServer,
    authority: Authority,
}

impl Site {
    fn new(user: Option<&str>) -> Result<Site, Failed> {
        let (kinesis, authority) = (kinesis(), Authority::new()?);
        let relay = Relay::with_tls(kinesis.address(), authority.server(HOST)?.tls(&[&TLS12, &TLS13])?)?;
        let proxy = ProxyServer::start(&[(&format!("{HOST}:443"), relay.address())], user)?;
        Ok(Site { kinesis, _relay: relay, proxy, authority })
    }

    fn instance(&self) -> Instance {
        instance(HOST.to_owned()).option("ca_bundle", &self.authority.file())
    }

    fn expect_passed(&self, report: &Report) -> Result<(), Failed> {
        expect_all(&self.kinesis, report, 1)?;
        assert_eq!(self.proxy.asked(), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
        expect_no_secret(report);
        Ok(())
    }
}

fn expect_no_secret(report: &Report) {
    let log = format!("{report:?}");
    let basic = base64_simd::STANDARD.encode_to_string(format!("shipper:{PASSWORD}"));
    for secret in [PASSWORD, IN_A_URL, &basic, "wrong%20one", "wrong one"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

fn a_tunnel_goes_through_the_proxy_of_the_option() -> Result<(), Failed> {
    let site = Site::new(Some(&format!("shipper:{PASSWORD}")))?;
    let proxy = site.proxy.url(&format!("shipper:{IN_A_URL}@"));
    let report = site.instance().option("http_proxy", &proxy).flush(&chunks(1))?;
    site.expect_passed(&report)?;
    let way = format!("at https://{HOST} through the proxy {}", site.proxy.url(""));
    assert!(report.log.iter().any(|(_, line)| line.ends_with(&way)), "{report:?}");
    Ok(())
}

fn a_tunnel_goes_through_the_proxy_of_the_environment() -> Result<(), Failed> {
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let site = Site::new(None)?;
        site.expect_passed(&site.instance().environment(variable, &site.proxy.url("")).flush(&chunks(1))?)?;
    }
    Ok(())
}

fn a_proxy_may_speak_tls_itself() -> Result<(), Failed> {
    let site = Site::new(Some(&format!("shipper:{PASSWORD}")))?;
    let tls = site.authority.server("localhost")?.tls(&[&TLS13])?;
    let front = Relay::with_tls(site.proxy.address(), tls)?;
    let proxy = front.url("https", &format!("shipper:{IN_A_URL}@localhost"));
    site.expect_passed(&site.instance().option("http_proxy", &proxy).flush(&chunks(1))?)
}

fn a_plain_endpoint_is_requested_through_http_proxy() -> Result<(), Failed> {
    let kinesis = kinesis();
    let proxy = ProxyServer::start(&[("10.1.2.3:4567", kinesis.address())], Some(&format!("shipper:{PASSWORD}")))?;
    let instance = instance("http://10.1.2.3:4567".to_owned());
    let report = instance.environment("HTTP_PROXY", &proxy.url(&format!("shipper:{IN_A_URL}@"))).flush(&chunks(1))?;
    expect_all(&kinesis, &report, 1)?;
    assert_eq!(proxy.asked(), ["POST http://10.1.2.3:4567/ HTTP/1.1"]);
    expect_no_secret(&report);
    Ok(())
}

fn what_no_proxy_lists_and_loopback_go_past_the_proxy() -> Result<(), Failed> {
    let site = Site::new(None)?;
    let proxied = |instance: Instance| instance.environment("HTTPS_PROXY", &site.proxy.url(""));
    let report = proxied(site.instance()).environment("no_proxy", ".example.test:443").flush(&chunks(1))?;
    expect_refused(&site.kinesis, &report, &format!("cannot connect: cannot resolve {HOST}: "))?;
    let relay = Relay::with_tls(site.kinesis.address(), site.authority.server("localhost")?.tls(&[&TLS13])?)?;
    let straight = proxied(instance(relay.url("https", "localhost"))).option("ca_bundle", &site.authority.file());
    expect_all(&site.kinesis, &straight.flush(&chunks(1))?, 1)?;
    assert!(site.proxy.asked().is_empty());
    Ok(())
}

fn a_wrong_password_is_reported_and_not_shown() -> Result<(), Failed> {
    let site = Site::new(Some(&format!("shipper:{PASSWORD}")))?;
    let proxy = site.proxy.url("shipper:wrong%20one@");
    let report = site.instance().option("http_proxy", &proxy).flush(&chunks(1))?;
    let refused = ": HTTP 407: it requires a user and a password, or refuses those given; correct them in http_proxy";
    let line = format!("cannot connect: the proxy {}{refused}", site.proxy.url(""));
    expect_refused(&site.kinesis, &report, &line)?;
    expect_no_secret(&report);
    // Without TLS, the proxy's answer comes in place of the server's.
    let plain = instance("http://10.1.2.3:4567".to_owned()).option("http_proxy", &proxy);
    expect_refused(&site.kinesis, &plain.flush(&chunks(1))?, &line)
}

fn a_proxy_that_refuses_or_is_away_is_named() -> Result<(), Failed> {
    let kinesis = kinesis();
    let proxy = ProxyServer::start(&[], None)?;
    let instance = || instance(HOST.to_owned());
    let report = instance().option("http_proxy", &proxy.url("")).flush(&chunks(1))?;
    let says = format!("the proxy {}: it did not connect to {HOST}:443: see its log", proxy.url(""));
    expect_refused(&kinesis, &report, &says)?;
    let plain = self::instance("http://10.1.2.3:4567".to_owned()).option("http_proxy", &proxy.url(""));
    let says = format!("through the proxy {}: HTTP 403 without a readable error; allow this host", proxy.url(""));
    expect_refused(&kinesis, &plain.flush(&chunks(1))?, &says)?;
    let away = proxy.url("");
    drop(proxy);
    let report = instance().option("http_proxy", &away).flush(&chunks(1))?;
    expect_refused(&kinesis, &report, &format!("the proxy {away}: Connection refused"))
}

fn a_proxy_that_never_answers_does_not_hold_a_flush() -> Result<(), Failed> {
    // The kernel accepts on its behalf; nobody reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let instance = instance(HOST.to_owned()).option("http_proxy", &silent.local_addr()?.to_string());
    let start = Instant::now();
    let report = instance.option("http_request_timeout", "500ms").flush(&chunks(1))?;
    report.expect("Retry")?;
    report.expect_complaint(&format!("cannot connect: no connection to {HOST}:443 within 500 ms"))?;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    Ok(())
}

fn a_certificate_behind_the_proxy_is_verified() -> Result<(), Failed> {
    let site = Site::new(None)?;
    let other = Authority::new()?;
    let instance = site.instance().option("ca_bundle", &other.file()).option("http_proxy", &site.proxy.url(""));
    let line = format!("through the proxy {}: the certificate's authority is not trusted", site.proxy.url(""));
    expect_refused(&site.kinesis, &instance.flush(&chunks(1))?, &line)
}

/// Neither name resolves: STS and Kinesis were reached through the proxy.
fn a_role_is_assumed_through_the_proxy_with_the_same_trust() -> Result<(), Failed> {
    const STS: &str = "sts.us-east-1.amazonaws.com";
    let (sts, authority) = (Sts::start()?, Authority::new()?);
    let credentials = vec![Credential::new(ROLE_KEY, ROLE_SECRET).with_session_token(ROLE_TOKEN)];
    let kinesis = FakeKinesis::start(Settings { credentials, ..Settings::default() });
    let sts_address: SocketAddr = sts.endpoint().trim_start_matches("http://").parse()?;
    let sts_relay = Relay::with_tls(sts_address, authority.server(STS)?.tls(&[&TLS13])?)?;
    let kinesis_relay = Relay::with_tls(kinesis.address(), authority.server(HOST)?.tls(&[&TLS13])?)?;
    let servers = [(&*format!("{STS}:443"), sts_relay.address()), (&*format!("{HOST}:443"), kinesis_relay.address())];
    let proxy = ProxyServer::start(&servers, Some(&format!("shipper:{PASSWORD}")))?;
    let instance = |user: &str| {
        let instance = instance(HOST.to_owned()).option("role_arn", "arn:aws:iam::123456789012:role/write-logs");
        instance.option("ca_bundle", &authority.file()).option("http_proxy", &proxy.url(user))
    };
    let report = instance(&format!("shipper:{IN_A_URL}@")).flush(&chunks(1))?;
    expect_all(&kinesis, &report, 1)?;
    assert_eq!(proxy.asked(), [format!("CONNECT {STS}:443 HTTP/1.1"), format!("CONNECT {HOST}:443 HTTP/1.1")]);
    expect_no_secret(&report);
    assert!(sts.requests().concat().contains("Action=AssumeRole"));
    let report = instance("shipper:wrong%20one@").flush(&chunks(1))?;
    report.expect("Retry")?;
    report.expect_complaint(&format!("the proxy {}: HTTP 407: it requires a user and a password", proxy.url("")))?;
    expect_no_secret(&report);
    Ok(())
}

fn a_variable_that_is_no_proxy_stops_the_start_without_its_text() -> Result<(), Failed> {
    let instance = instance(HOST.to_owned()).environment("HTTPS_PROXY", "socks5://shipper:secret@127.0.0.1:1080");
    let failed = instance.flush(&chunks(1)).expect_err("it must not start");
    let said = failed.message().unwrap_or_default();
    assert!(said.contains("http_proxy: HTTPS_PROXY is not valid: use http://host:port"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    Ok(())
}
