//! The token of a Kubernetes service account for the credentials of a role, as IAM roles for service accounts do it
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>).

use std::fs;

use libtest_mimic::{Failed, Trial};
use tempfile::NamedTempFile;

use super::child::Setup;
use super::http::Server;
use super::issuer::Issuer;
use super::life::{LIFE, lead_through_refusal, wait_for};
use super::sts::{self, ROLE};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(credentials_of_a_service_account),
        trial(the_token_is_read_again_for_each_renewal),
        trial(sts_is_found_through_the_environment_too),
        trial(a_service_account_without_its_token_does_not_write_as_the_node),
        trial(a_profile_may_name_a_web_identity),
    ]
}

/// A JSON web token to look at.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IlQwazNuIn0.eyJzdWIiOiJmbHVlbnQtYml0In0.T0k3n";

fn token() -> Result<NamedTempFile, Failed> {
    let file = NamedTempFile::new()?;
    fs::write(&file, TOKEN)?;
    Ok(file)
}

fn setup(issuer: &Issuer, token: &NamedTempFile) -> Setup {
    Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_WEB_IDENTITY_TOKEN_FILE", &token.path().display().to_string())
        .environment("AWS_ROLE_ARN", ROLE)
        .environment("AWS_ROLE_SESSION_NAME", "pod-1")
}

fn credentials_of_a_service_account() -> Result<(), Failed> {
    let (issuer, token) = (Issuer::new(LIFE), token()?);
    let server = sts::server(&issuer)?;
    let setup = setup(&issuer, &token).option("sts_endpoint", server.url());
    let place = "of arn:aws:sts::111122223333:assumed-role/write-logs/pod-1, assumed with web identity";
    let refusal = sts::error("InvalidIdentityToken", "No OpenIDConnect provider found in your account");
    let complaint = ["web identity: ", ROLE, "InvalidIdentityToken: No OpenIDConnect provider found in your account"];
    lead_through_refusal(&issuer, setup, place, (400, &refusal), &complaint)
}

fn tokens_brought(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| request.form()["WebIdentityToken"].clone()).collect()
}

fn the_token_is_read_again_for_each_renewal() -> Result<(), Failed> {
    let (issuer, token) = (Issuer::new(LIFE), token()?);
    let server = sts::server(&issuer)?;
    let mut plugin = setup(&issuer, &token).option("sts_endpoint", server.url()).start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    fs::write(&token, "T0k3n-2\n")?;
    wait_for(&plugin, 2 * LIFE, || tokens_brought(&server).len() >= 2)?;
    plugin.expect("Delivered")?;
    assert_eq!(tokens_brought(&server), [TOKEN, "T0k3n-2"]);
    plugin.stop()
}

fn sts_is_found_through_the_environment_too() -> Result<(), Failed> {
    let (issuer, token) = (Issuer::new(LIFE), token()?);
    let server = sts::server(&issuer)?;
    let mut plugin = setup(&issuer, &token).environment("AWS_ENDPOINT_URL_STS", server.url()).start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    assert_eq!(tokens_brought(&server), [TOKEN]);
    plugin.expect_line(&["Debug skipped: environment: ", "; profile 'default': not configured"])?;
    plugin.stop()
}

fn a_service_account_without_its_token_does_not_write_as_the_node() -> Result<(), Failed> {
    let (issuer, token) = (Issuer::new(LIFE), token()?);
    let setup = setup(&issuer, &token);
    let path = token.path().display().to_string();
    drop(token);
    let node = Server::start(|_| super::http::Reply::Status(200, "node".to_owned()))?;
    let mut plugin = setup
        .environment("AWS_EC2_METADATA_DISABLED", "false")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", node.url())
        .start()?;
    plugin.started()?;
    plugin.expect("Retry")?;
    plugin.expect_line(&["Warn no credentials", &format!("web identity: {path}: No such file")])?;
    assert_eq!(node.requests().len(), 0);
    plugin.stop()
}

fn a_profile_may_name_a_web_identity() -> Result<(), Failed> {
    let (issuer, token) = (Issuer::new(LIFE), token()?);
    let server = sts::server(&issuer)?;
    let config = NamedTempFile::new()?;
    let file = token.path().display();
    fs::write(
        &config,
        format!("[profile pod]\nrole_arn = {ROLE}\nrole_session_name = pod-1\nweb_identity_token_file = {file}\n"),
    )?;
    let mut plugin = Setup::new(&issuer.kinesis().endpoint())
        .option("profile", "pod")
        .environment("AWS_CONFIG_FILE", &config.path().display().to_string())
        .environment("AWS_ENDPOINT_URL_STS", server.url())
        .start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    plugin.expect_line(&["of account 111122223333 from profile 'pod'"])?;
    assert_eq!(tokens_brought(&server), [TOKEN]);
    plugin.stop()
}
