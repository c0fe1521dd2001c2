//! Keys in the configuration, two outputs with two identities, mistakes.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::child::Setup;
use super::issuer::{Issuer, is_leaked_in};
use super::trial;

const AN_HOUR: Duration = Duration::from_secs(3600);

pub fn trials() -> Vec<Trial> {
    vec![
        trial(keys_of_the_configuration),
        trial(two_outputs_sign_with_their_own_keys),
        trial(an_output_whose_keys_are_refused_does_not_disturb_the_other),
        trial(mistakes_stop_the_start_without_a_secret),
    ]
}

fn with_keys(setup: Setup, issuer: &Issuer) -> Setup {
    let issued = issuer.issue();
    setup.option("aws_key_id", &issued.key).option("aws_sec_key", &issued.secret).option("aws_ses_token", &issued.token)
}

fn keys_of_the_configuration() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let setup = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        .environment("AWS_SECRET_ACCESS_KEY", "S3cr3t");
    let mut plugin = with_keys(setup, &issuer).start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    assert_eq!(issuer.keys_used(), ["ASIAISSUED000001"]);
    plugin.expect_line(&["Info signing with access key …0001 from the configuration"])?;
    plugin.stop()
}

fn two_outputs_sign_with_their_own_keys() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let setup = with_keys(Setup::new(&issuer.kinesis().endpoint()), &issuer);
    let mut plugins = with_keys(setup.instance(&issuer.kinesis().endpoint()), &issuer).start()?;
    plugins.started()?;
    for instance in [0, 1, 1, 0] {
        assert_eq!(plugins.flush_through(instance)?.0, "Delivered");
    }
    let [one, two] = ["ASIAISSUED000001", "ASIAISSUED000002"];
    assert_eq!(issuer.keys_used(), [one, two, two, one]);
    plugins.expect_line(&["0 Info signing with access key …0001"])?;
    plugins.expect_line(&["1 Info signing with access key …0002"])?;
    plugins.stop()
}

fn an_output_whose_keys_are_refused_does_not_disturb_the_other() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    let setup = with_keys(Setup::new(&issuer.kinesis().endpoint()), &issuer);
    let setup = with_keys(setup.instance(&issuer.kinesis().endpoint()), &issuer).option("aws_sec_key", "S3cr3t wrong");
    let mut plugins = setup.start()?;
    plugins.started()?;
    for _ in 0..3 {
        assert_eq!(plugins.flush_through(1)?.0, "Retry");
        assert_eq!(plugins.flush_through(0)?.0, "Delivered");
    }
    let complaints =
        plugins.log().iter().filter(|line| line.starts_with("0 Warn") || line.starts_with("0 Error")).count();
    assert_eq!(complaints, 0, "{:?}", plugins.log());
    plugins.expect_line(&["1 Warn ", "InvalidSignatureException"])?;
    plugins.stop()
}

fn mistakes_stop_the_start_without_a_secret() -> Result<(), Failed> {
    let plugin = Setup::new("http://127.0.0.1:1")
        .option("aws_key_id", "S3cr3t/swapped")
        .option("process", "vault --token T0k3n")
        .option("external_id", "S3cr3t?")
        .start()?;
    let failed = plugin.started().expect_err("it must not start");
    let said = failed.message().unwrap_or_default();
    for mistake in [
        "aws_key_id: the value (not shown) is not valid",
        "aws_key_id: only valid with aws_sec_key",
        "process_credentials: cannot be combined with aws_key_id",
        "external_id: the value (not shown) is not valid",
    ] {
        assert!(said.contains(mistake), "{said}");
    }
    assert!(!is_leaked_in(said), "{said}");
    Ok(())
}
