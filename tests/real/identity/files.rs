//! Files that never end or never begin, in place of a token, a profile or a certificate.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use super::child::Setup;
use super::issuer::Issuer;
use super::sts::ROLE;
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_pipe_in_the_place_of_a_token_is_named_and_holds_nothing),
        trial(a_pipe_in_the_place_of_a_profile_stops_the_start_by_its_name),
        trial(a_pipe_in_the_place_of_a_certificate_stops_the_start_by_its_name),
        trial(a_file_without_end_is_named_and_takes_no_memory),
    ]
}

const AN_HOUR: Duration = Duration::from_secs(3600);

/// A folder with a pipe that nobody writes to, and its path.
fn pipe() -> Result<(TempDir, String), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status()?.success());
    let path = path.display().to_string();
    Ok((folder, path))
}

fn setup() -> Setup {
    Setup::new(&Issuer::new(AN_HOUR).kinesis().endpoint())
}

fn with_config(folder: &TempDir, config: &str) -> Result<Setup, Failed> {
    let file = folder.path().join("config");
    fs::write(&file, config)?;
    Ok(setup().environment("AWS_CONFIG_FILE", &file.display().to_string()))
}

/// The instance starts within its usual time and reports what is wrong with `path`.
fn expect_named(setup: Setup, path: &str, place: &str) -> Result<(), Failed> {
    let plugin = setup.start()?;
    plugin
        .expect_line_within(Duration::from_secs(15), &["Warn no credentials", place, path, "is a pipe, not a file"])?;
    assert!(plugin.started()? < Duration::from_secs(6));
    plugin.stop()
}

fn a_pipe_in_the_place_of_a_token_is_named_and_holds_nothing() -> Result<(), Failed> {
    let (folder, path) = pipe()?;
    let of_service_account =
        setup().environment("AWS_WEB_IDENTITY_TOKEN_FILE", &path).environment("AWS_ROLE_ARN", ROLE);
    expect_named(of_service_account, &path, "web identity: ")?;
    let of_container = setup()
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/credentials")
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path);
    expect_named(of_container, &path, "container: ")?;
    let config = format!("[default]\nrole_arn = {ROLE}\nweb_identity_token_file = {path}\n");
    expect_named(with_config(&folder, &config)?, &path, "profile 'default': ")?;
    let config = format!(
        "[default]\nrole_arn = {ROLE}\nsource_profile = pod\n\
         [profile pod]\nrole_arn = {ROLE}\nweb_identity_token_file = {path}\n"
    );
    expect_named(with_config(&folder, &config)?, &path, "profile 'default': ")?;

    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"work");
    let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let cache = folder.path().join(".aws/sso/cache");
    fs::create_dir_all(&cache)?;
    let login = cache.join(format!("{name}.json"));
    fs::rename(&path, &login)?;
    let config = "[default]\nsso_session = work\nsso_account_id = 111122223333\nsso_role_name = write-logs\n\
                  [sso-session work]\nsso_region = eu-west-1\nsso_start_url = https://example.awsapps.com/start\n";
    let signed_in = with_config(&folder, config)?.environment("HOME", &folder.path().display().to_string());
    expect_named(signed_in, &login.display().to_string(), "profile 'default': ")
}

/// It might contain the endpoint: records must not go anywhere else.
fn a_pipe_in_the_place_of_a_profile_stops_the_start_by_its_name() -> Result<(), Failed> {
    let (_folder, path) = pipe()?;
    for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        let reason = setup().environment(variable, &path).start()?.refused()?;
        assert!(reason.contains(&format!("{path} is a pipe, not a file")), "{reason}");
    }
    Ok(())
}

fn a_pipe_in_the_place_of_a_certificate_stops_the_start_by_its_name() -> Result<(), Failed> {
    let (_folder, path) = pipe()?;
    let setup = || Setup::new("https://127.0.0.1:1");
    for setup in [
        setup().option("ca_bundle", &path),
        setup().environment("AWS_CA_BUNDLE", &path),
        setup().environment("SSL_CERT_FILE", &path),
    ] {
        let reason = setup.start()?.refused()?;
        assert!(reason.contains(&format!("{path} is a pipe, not a file")), "{reason}");
    }
    Ok(())
}

fn a_file_without_end_is_named_and_takes_no_memory() -> Result<(), Failed> {
    let zero = "/dev/zero";
    assert!(Path::new(zero).exists());
    let of_service_account = setup()
        .environment("AWS_WEB_IDENTITY_TOKEN_FILE", zero)
        .environment("AWS_ROLE_ARN", ROLE)
        .before("ulimit -v 4000000");
    let plugin = of_service_account.start()?;
    plugin.expect_line_within(Duration::from_secs(15), &["web identity: ", "/dev/zero is larger than"])?;
    plugin.started()?;
    let peak = plugin.peak_memory()?;
    assert!(peak < 128, "{peak} MiB");
    plugin.stop()?;
    let reason = setup().environment("AWS_CONFIG_FILE", zero).before("ulimit -v 4000000").start()?.refused()?;
    assert!(reason.contains("/dev/zero is larger than"), "{reason}");
    let certificates = Setup::new("https://127.0.0.1:1").environment("SSL_CERT_FILE", zero).before("ulimit -v 4000000");
    let reason = certificates.start()?.refused()?;
    assert!(reason.contains("/dev/zero is larger than"), "{reason}");
    Ok(())
}
