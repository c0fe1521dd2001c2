//! IAM Identity Center: a profile, a token that `aws sso login` left, and the portal
//! (<https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html>).

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use super::child::Setup;
use super::http::{Reply, Server};
use super::issuer::{Issued, Issuer};
use super::life::{LIFE, lead_through_refusal};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![trial(credentials_of_a_signed_in_user), trial(an_expired_login_is_reported_and_a_new_one_is_found)]
}

const START: &str = "https://example.awsapps.com/start";

fn words(issued: &Issued) -> String {
    let expires = issued.expires.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
    format!(
        r#"{{"roleCredentials":{{"accessKeyId":"{}","secretAccessKey":"{}","sessionToken":"{}","expiration":{expires}}}}}"#,
        issued.key, issued.secret, issued.token
    )
}

fn portal(issuer: &Issuer) -> io::Result<Server> {
    let issuer = issuer.clone();
    Server::start(move |request| {
        let is_ours = request.path.starts_with("/federation/credentials?")
            && request.path.contains("account_id=111122223333")
            && request.path.contains("role_name=write-logs");
        match is_ours && request.header("x-amz-sso_bearer_token") == "T0k3n of the user" {
            true => issuer.answer(words),
            false => Reply::Status(401, r#"{"message":"Session token not found or invalid"}"#.to_owned()),
        }
    })
}

/// A home directory with the profile.
fn home() -> Result<TempDir, Failed> {
    let home = tempfile::tempdir()?;
    fs::create_dir_all(home.path().join(".aws/sso/cache"))?;
    fs::write(
        home.path().join(".aws/config"),
        format!(
            "[default]\nsso_session = work\nsso_account_id = 111122223333\nsso_role_name = write-logs\n\
             [sso-session work]\nsso_region = eu-west-1\nsso_start_url = {START}\n"
        ),
    )?;
    Ok(home)
}

/// What `aws sso login` writes.
fn log_in(home: &TempDir, expires: SystemTime) -> io::Result<()> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"work");
    let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let expires = DateTime::<Utc>::from(expires).to_rfc3339_opts(SecondsFormat::Secs, true);
    fs::write(
        home.path().join(format!(".aws/sso/cache/{name}.json")),
        format!(
            r#"{{"startUrl":"{START}","region":"eu-west-1","accessToken":"T0k3n of the user","expiresAt":"{expires}"}}"#
        ),
    )
}

fn setup(issuer: &Issuer, portal: &Server, home: &TempDir) -> Setup {
    let config = home.path().join(".aws/config").display().to_string();
    Setup::new(&issuer.kinesis().endpoint())
        .environment("HOME", &home.path().display().to_string())
        .environment("AWS_CONFIG_FILE", &config)
        .environment("AWS_ENDPOINT_URL_SSO", portal.url())
}

fn credentials_of_a_signed_in_user() -> Result<(), Failed> {
    let (issuer, home) = (Issuer::new(LIFE), home()?);
    let portal = portal(&issuer)?;
    log_in(&home, SystemTime::now() + Duration::from_secs(3600))?;
    let refusal = (403, r#"{"message":"No access"}"#);
    lead_through_refusal(
        &issuer,
        setup(&issuer, &portal, &home),
        "from profile 'default'",
        refusal,
        &["profile 'default': ", "No access"],
    )
}

fn an_expired_login_is_reported_and_a_new_one_is_found() -> Result<(), Failed> {
    let (issuer, home) = (Issuer::new(LIFE), home()?);
    let portal = portal(&issuer)?;
    log_in(&home, SystemTime::now() - Duration::from_secs(60))?;
    let mut plugin = setup(&issuer, &portal, &home).start()?;
    plugin.started()?;
    plugin.expect("Retry")?;
    plugin.expect_line(&["Warn no credentials", "profile 'default': "])?;
    log_in(&home, SystemTime::now() + Duration::from_secs(3600))?;
    plugin.expect_delivery_within(Duration::from_secs(40))?;
    plugin.stop()
}
