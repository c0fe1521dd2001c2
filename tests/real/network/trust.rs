//! Certificates: which are trusted, and why others are not.

use libtest_mimic::{Failed, Trial};
use rustls::version::{TLS12, TLS13};

use super::relay::Relay;
use super::stand_in::{chunks, expect_all, expect_refused, instance, kinesis};
use super::tls::certificates::{Authority, Server, path, self_signed};
use super::trial;
use crate::flush::Report;
use testing::fake_kinesis::FakeKinesis;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_private_authority_is_trusted_by_option_and_by_variable),
        trial(a_ca_bundle_adds_to_the_trust_of_the_system),
        trial(tls_1_2_and_tls_1_3_are_each_enough),
        trial(a_certificate_of_an_unknown_authority_is_refused),
        trial(a_certificate_of_a_renewed_authority_is_refused),
        trial(a_certificate_for_another_host_is_refused),
        trial(an_expired_certificate_is_refused),
        trial(a_certificate_that_is_not_yet_valid_is_refused),
        trial(a_self_signed_certificate_is_refused_until_it_is_named),
        trial(an_authority_that_serves_itself_is_refused),
        trial(a_ca_bundle_that_cannot_be_used_stops_the_start),
        trial(a_server_without_tls_is_told_from_one_that_does_not_answer),
    ]
}

/// The first mistake of whoever tries a stand-in. The line names the name and the address behind it.
fn a_server_without_tls_is_told_from_one_that_does_not_answer() -> Result<(), Failed> {
    let kinesis = kinesis();
    let port = kinesis.address().port();
    let report = instance(format!("https://localhost:{port}")).flush(&chunks(1))?;
    let advice = "the server does not speak TLS; if that is meant, write http:// before the endpoint";
    expect_refused(&kinesis, &report, advice)?;
    report.expect_complaint(&format!("cannot connect: localhost:{port} ("))?;
    report.expect_complaint("127.0.0.1")?;
    // It answered, so it need not be asked with less.
    match report.log.iter().any(|(_, line)| line.contains("shorter ClientHello")) {
        false => Ok(()),
        true => Err(format!("{report:#?}").into()),
    }
}

/// Flushes a record to a server with this certificate, trusting those in `ca_bundle`.
fn flush_to(kinesis: &FakeKinesis, server: &Server, ca_bundle: &str) -> Result<Report, Failed> {
    let relay = Relay::with_tls(kinesis.address(), server.tls(&[&TLS12, &TLS13])?)?;
    instance(relay.url("https", "localhost")).option("ca_bundle", ca_bundle).flush(&chunks(1))
}

fn a_private_authority_is_trusted_by_option_and_by_variable() -> Result<(), Failed> {
    let authority = Authority::new()?;
    let server = authority.server("localhost")?;
    let by_option = kinesis();
    expect_all(&by_option, &flush_to(&by_option, &server, &authority.file())?, 1)?;
    let by_variable = kinesis();
    let relay = Relay::with_tls(by_variable.address(), server.tls(&[&TLS13])?)?;
    let instance = instance(relay.url("https", "localhost")).environment("AWS_CA_BUNDLE", &authority.file());
    expect_all(&by_variable, &instance.flush(&chunks(1))?, 1)
}

fn a_ca_bundle_adds_to_the_trust_of_the_system() -> Result<(), Failed> {
    let (system, other) = (Authority::new()?, Authority::new()?);
    let kinesis = kinesis();
    let relay = Relay::with_tls(kinesis.address(), system.server("localhost")?.tls(&[&TLS13])?)?;
    let instance = instance(relay.url("https", "localhost")).environment("SSL_CERT_FILE", &system.file());
    expect_all(&kinesis, &instance.option("ca_bundle", &other.file()).flush(&chunks(1))?, 1)
}

fn tls_1_2_and_tls_1_3_are_each_enough() -> Result<(), Failed> {
    let authority = Authority::new()?;
    for version in [&TLS12, &TLS13] {
        let kinesis = kinesis();
        let relay = Relay::with_tls(kinesis.address(), authority.server("localhost")?.tls(&[version])?)?;
        let instance = instance(relay.url("https", "localhost")).option("ca_bundle", &authority.file());
        expect_all(&kinesis, &instance.flush(&chunks(1))?, 1)?;
    }
    Ok(())
}

fn a_certificate_of_an_unknown_authority_is_refused() -> Result<(), Failed> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &authority.server("localhost")?, &other.file())?;
    let line = "the certificate's authority is not trusted here; if it is yours, name its file in ca_bundle";
    expect_refused(&kinesis, &report, line)
}

fn a_certificate_of_a_renewed_authority_is_refused() -> Result<(), Failed> {
    let (old, renewed) = (Authority::named("authority")?, Authority::named("authority")?);
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &renewed.server("localhost")?, &old.file())?;
    expect_refused(&kinesis, &report, "has the name of a trusted one, but another key")
}

fn a_certificate_for_another_host_is_refused() -> Result<(), Failed> {
    let authority = Authority::new()?;
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &authority.server("kinesis.example")?, &authority.file())?;
    expect_refused(
        &kinesis,
        &report,
        "the certificate is not for localhost, but for kinesis.example; use a name from the certificate",
    )
}

fn an_expired_certificate_is_refused() -> Result<(), Failed> {
    let authority = Authority::new()?;
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &authority.expired("localhost")?, &authority.file())?;
    expect_refused(&kinesis, &report, "the certificate expired on 20")
}

fn a_certificate_that_is_not_yet_valid_is_refused() -> Result<(), Failed> {
    let authority = Authority::new()?;
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &authority.not_yet_valid("localhost")?, &authority.file())?;
    expect_refused(&kinesis, &report, "the certificate is not valid before 20")
}

fn a_self_signed_certificate_is_refused_until_it_is_named() -> Result<(), Failed> {
    let authority = Authority::new()?;
    let (server, folder) = self_signed("localhost", false)?;
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &server, &authority.file())?;
    let line = "the certificate is self-signed; if you trust it, name its file in ca_bundle";
    expect_refused(&kinesis, &report, line)?;
    expect_all(&kinesis, &flush_to(&kinesis, &server, &path(&folder, "ca.pem"))?, 1)
}

/// As made by `openssl req -x509` by default: trusting the file would not help, so the line says what does.
fn an_authority_that_serves_itself_is_refused() -> Result<(), Failed> {
    let (server, folder) = self_signed("localhost", true)?;
    let kinesis = kinesis();
    let report = flush_to(&kinesis, &server, &path(&folder, "ca.pem"))?;
    expect_refused(&kinesis, &report, "the certificate is an authority's own (CA:TRUE)")
}

fn a_ca_bundle_that_cannot_be_used_stops_the_start() -> Result<(), Failed> {
    let file = tempfile::NamedTempFile::new()?;
    let empty = file.path().display().to_string();
    let instance = || instance("https://localhost:1".to_owned());
    for (instance, line) in [
        (instance().option("ca_bundle", "/nowhere/ca.pem"), "ca_bundle: /nowhere/ca.pem cannot be read: ".to_owned()),
        (instance().environment("AWS_CA_BUNDLE", &empty), format!("ca_bundle: {empty} holds no certificate in PEM")),
    ] {
        let failed = instance.flush(&chunks(1)).expect_err("it must not start");
        assert!(failed.message().is_some_and(|text| text.contains(&line)), "{failed:?} lacks {line}");
    }
    Ok(())
}
