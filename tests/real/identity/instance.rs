//! The EC2 instance's metadata service, version 2
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>).

use std::io;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::child::Setup;
use super::http::{Reply, Request, Server};
use super::issuer::{Issued, Issuer};
use super::life::{LIFE, lead_through_refusal};
use super::trial;

const SESSION: &str = "a session with the metadata";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

pub fn trials() -> Vec<Trial> {
    vec![
        trial(credentials_of_an_instance),
        trial(the_region_of_an_instance),
        trial(a_metadata_service_that_never_answers_does_not_hold_the_start_and_is_named),
        trial(attempts_are_bounded_by_the_option),
        trial(a_metadata_service_that_fails_is_called_so),
        trial(an_instance_without_a_role_is_logged),
        trial(a_disabled_metadata_service_is_not_asked),
    ]
}

fn session() -> Reply {
    Reply::WithHeader("x-aws-ec2-metadata-token-ttl-seconds: 21600", SESSION.to_owned())
}

/// Without a session token it answers 401, like `HttpTokens` set to `required`.
fn metadata(request: &Request, credentials: impl Fn() -> Reply) -> Reply {
    let has_session = request.header("x-aws-ec2-metadata-token") == SESSION;
    match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") if !request.header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => session(),
        ("GET", _) if !has_session => Reply::Status(401, String::new()),
        ("GET", ROLE) => Reply::Status(200, "node-role".to_owned()),
        ("GET", "/latest/meta-data/placement/region") => Reply::Status(200, "eu-west-1".to_owned()),
        ("GET", path) if path == format!("{ROLE}node-role") => credentials(),
        _ => Reply::Status(404, String::new()),
    }
}

fn words(issued: &Issued) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","AccessKeyId":"{}","SecretAccessKey":"{}","Token":"{}","Expiration":"{}"}}"#,
        issued.key,
        issued.secret,
        issued.token,
        issued.expiration()
    )
}

fn server(issuer: &Issuer) -> io::Result<Server> {
    server_on("127.0.0.1:0", issuer)
}

/// A metadata service on `address`.
pub fn server_on(address: &str, issuer: &Issuer) -> io::Result<Server> {
    let issuer = issuer.clone();
    Server::on(address, move |request| metadata(request, || issuer.answer(words)))
}

fn setup(issuer: &Issuer, server: &Server) -> Setup {
    Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_EC2_METADATA_DISABLED", "false")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url())
}

fn credentials_of_an_instance() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    lead_through_refusal(
        &issuer,
        setup(&issuer, &server),
        "from instance",
        (403, "out of order"),
        &["instance: error response from IMDS (code: 403);"],
    )?;
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method == "PUT" || request.header("x-aws-ec2-metadata-token") == SESSION)
    );
    Ok(())
}

/// As in a container with a hop limit of 1: the service answers, and the answer is dropped.
fn a_metadata_service_that_never_answers_does_not_hold_the_start_and_is_named() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = Server::start(|_| Reply::Silence)?;
    let mut plugin = setup(&issuer, &server).start()?;
    assert!(plugin.started()? < Duration::from_secs(6));
    assert!(plugin.expect("Retry")? < Duration::from_secs(6));
    plugin.expect_line(&[
        "Warn no credentials: environment: ",
        "instance: ",
        "hop limit",
        "starting without credentials",
    ])?;
    plugin.stop()
}

/// aws-config has no HTTP client of its own, and panics if it is given none.
fn the_region_of_an_instance() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let plugin = setup(&issuer, &server).without("region").start()?;
    plugin.started()?;
    plugin.expect_line(&["stream logs in eu-west-1 at "])?;
    plugin.stop()
}

fn attempts_are_bounded_by_the_option() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    issuer.refuse(500, "out of order");
    let plugin = setup(&issuer, &server).option("aws_iam_retries", "2").start()?;
    plugin.started()?;
    let asked = server.requests().iter().filter(|request| request.path.ends_with("node-role")).count();
    assert_eq!(asked, 2);
    plugin.expect_line(&["instance: ", "500"])?;
    plugin.stop()
}

/// AWS's library would report a header that it misses.
fn a_metadata_service_that_fails_is_called_so() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = Server::start(|_| Reply::Status(500, String::new()))?;
    let plugin = setup(&issuer, &server).option("aws_iam_retries", "1").start()?;
    plugin.started()?;
    plugin.expect_line(&["instance: the instance metadata service failed or has no IMDSv2: it returned no token"])?;
    plugin.stop()
}

fn an_instance_without_a_role_is_logged() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => session(),
        _ => Reply::Status(404, String::new()),
    })?;
    let plugin = setup(&issuer, &server).start()?;
    plugin.started()?;
    plugin.expect_line(&["Warn no credentials", "instance: received 404 from IMDS"])?;
    plugin.stop()
}

fn a_disabled_metadata_service_is_not_asked() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let plugin = setup(&issuer, &server).environment("AWS_EC2_METADATA_DISABLED", "true").start()?;
    plugin.started()?;
    plugin.expect_line(&["instance: AWS_EC2_METADATA_DISABLED is true"])?;
    assert_eq!(server.requests().len(), 0);
    plugin.stop()
}
