//! Keys from the environment and from the files of profiles.

use std::fs;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tempfile::NamedTempFile;

use super::child::Setup;
use super::issuer::{Issuer, key_of};
use super::sts::{self, ROLE};
use super::trial;

const AN_HOUR: Duration = Duration::from_secs(3600);

pub fn trials() -> Vec<Trial> {
    vec![
        trial(keys_of_the_environment),
        trial(a_variable_that_is_not_text_is_reported_and_not_quoted),
        trial(a_profile_that_takes_a_role_with_the_keys_of_another),
        trial(sts_endpoint_is_that_of_a_profiles_role_too),
        trial(a_secret_that_is_corrected_in_the_file_is_used_without_a_restart),
        trial(nothing_configured_names_every_place_that_was_tried),
    ]
}

fn keys_of_the_environment() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let issued = issuer.issue();
    let mut plugin = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_ACCESS_KEY_ID", &issued.key)
        .environment("AWS_SECRET_ACCESS_KEY", &issued.secret)
        .environment("AWS_SESSION_TOKEN", &issued.token)
        .start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    plugin.expect_line(&["Info signing with access key …0001 from environment"])?;
    plugin.stop()
}

fn a_variable_that_is_not_text_is_reported_and_not_quoted() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let plugin = Setup::new(&issuer.kinesis().endpoint())
        .environment_bytes("AWS_ACCESS_KEY_ID", b"S3cr3t that was misplaced\xff")
        .environment("AWS_SECRET_ACCESS_KEY", "S3cr3t")
        .start()?;
    plugin.started()?;
    plugin.expect_line(&["Warn no credentials: environment: a variable is not UTF-8; starting without credentials"])?;
    plugin.stop()
}

fn a_profile_that_takes_a_role_with_the_keys_of_another() -> Result<(), Failed> {
    role_of_a_profile("", |setup, sts| setup.environment("AWS_ENDPOINT_URL_STS", sts))
}

fn sts_endpoint_is_that_of_a_profiles_role_too() -> Result<(), Failed> {
    role_of_a_profile("", |setup, sts| setup.option("sts_endpoint", sts))?;
    // The profile may have services of its own.
    let services = "services = ours\n[services ours]\nkinesis =\n  endpoint_url = http://127.0.0.1:1\n";
    role_of_a_profile(services, |setup, sts| setup.option("sts_endpoint", sts))
}

fn role_of_a_profile(more: &str, at: impl Fn(Setup, &str) -> Setup) -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let server = sts::server(&issuer)?;
    let (config, keys) = (NamedTempFile::new()?, NamedTempFile::new()?);
    fs::write(
        &config,
        format!(
            "[profile base]\n[profile logs]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = fleet-7\n{more}"
        ),
    )?;
    fs::write(&keys, "[base]\naws_access_key_id = AKIABASE00000000BASE\naws_secret_access_key = S3cr3t\n")?;
    let setup = Setup::new(&issuer.kinesis().endpoint())
        .option("profile", "logs")
        .environment("AWS_CONFIG_FILE", &config.path().display().to_string())
        .environment("AWS_SHARED_CREDENTIALS_FILE", &keys.path().display().to_string())
        .environment("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        .environment("AWS_SECRET_ACCESS_KEY", "S3cr3t");
    let mut plugin = at(setup, server.url()).start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    let request = &server.requests()[0];
    assert_eq!(key_of(request.header("authorization")), "AKIABASE00000000BASE");
    assert_eq!(request.form()["ExternalId"], "fleet-7");
    assert_eq!(issuer.keys_used(), ["ASIAISSUED000001"]);
    plugin.expect_line(&["of account 111122223333 from profile 'logs'"])?;
    plugin.stop()
}

fn a_secret_that_is_corrected_in_the_file_is_used_without_a_restart() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let issued = issuer.issue();
    let file = NamedTempFile::new()?;
    let write = |secret: &str| {
        let (key, token) = (&issued.key, &issued.token);
        fs::write(
            &file,
            format!(
                "[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
            ),
        )
    };
    write("S3cr3t that is wrong")?;
    let mut plugin = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_SHARED_CREDENTIALS_FILE", &file.path().display().to_string())
        .start()?;
    plugin.started()?;
    plugin.expect("Retry")?;
    plugin.expect_line(&["InvalidSignatureException"])?;
    write(&issued.secret)?;
    plugin.expect_delivery_within(Duration::from_secs(65))?;
    let records = issuer.kinesis().records();
    assert_eq!(records.len(), 1, "nothing but the record of the last flush");
    plugin.stop()
}

fn nothing_configured_names_every_place_that_was_tried() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let mut plugin = Setup::new(&issuer.kinesis().endpoint()).start()?;
    assert!(plugin.started()? < Duration::from_secs(6));
    plugin.expect("Retry")?;
    let places = ["environment: ", "; profile 'default': ", "; web identity: ", "; container: ", "; instance: "];
    plugin.expect_line(&[&["Warn no credentials: "], &places[..]].concat())?;
    plugin.expect_line(&[&["Error cannot put records", "no credentials: "], &places[..]].concat())?;
    plugin.stop()
}
