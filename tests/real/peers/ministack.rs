//! ministack with `AUTH=true`: signatures, session tokens, policies. It recomputes the signature from the secret it
//! issued, so a wrongly signed request does not get through. It takes the scope's region and service from the
//! request; our own stand-in checks that these are right.

use std::fs;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::kinesis_local::{log_lines, log_lines_as_json};
use super::read_back::{AccessKey, Boto3};
use super::servers::{Ministack, OpenMinistack};
use super::trial;
use crate::flush::{Instance, Report};
use testing::chunks::chunk;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(what_boto3_puts_is_read_back),
        trial(a_signed_request_is_accepted_and_the_records_arrive),
        trial(records_in_cbor_arrive_byte_exact),
        trial(a_wrong_secret_is_retried_and_logged),
        trial(an_unknown_access_key_is_retried_and_logged),
        trial(a_wrong_session_token_is_retried_and_logged),
        trial(a_secret_that_is_corrected_in_the_file_is_used_without_a_restart),
        trial(a_clock_that_is_off_by_ten_minutes_is_cured),
        trial(a_clock_that_is_off_by_twenty_minutes_does_not_keep_a_role_from_being_assumed),
        trial(a_policy_narrows_the_session_of_a_role),
        trial(a_service_account_assumes_its_role),
        trial(a_service_account_that_the_role_does_not_trust_is_retried_and_logged),
        trial(a_missing_permission_is_retried_and_logged),
        trial(a_named_profile_outranks_the_environment),
        trial(a_role_is_assumed_with_its_external_id),
        trial(a_wrong_external_id_is_retried_and_logged),
    ]
}

/// Only the harness: if this fails too, the plugin is not to blame.
fn what_boto3_puts_is_read_back(server: &Ministack) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.endpoint());
    boto3.create_stream("logs", 2)?;
    boto3.put("logs", &["one", "two", "two"])?;
    assert_eq!(boto3.read_text("logs")?, ["one", "two", "two"]);
    Ok(())
}

fn a_signed_request_is_accepted_and_the_records_arrive(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let AccessKey { access_key_id, secret_access_key } = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    let report = plugin(server).keys(&access_key_id, &secret_access_key).flush(&[chunk(&log_lines())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_arrived(&boto3)
}

fn records_in_cbor_arrive_byte_exact(server: &OpenMinistack) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.endpoint());
    boto3.create_stream("logs", 2)?;
    let instance = Instance::new(server.endpoint(), "logs").keys("test", "test").option("protocol", "cbor");
    let report = instance.flush(&[chunk(&log_lines())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_arrived(&boto3)
}

fn a_wrong_secret_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let AccessKey { access_key_id, mut secret_access_key } = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    secret_access_key.push('x');
    let report = plugin(server).keys(&access_key_id, &secret_access_key).flush(&[chunk(&log_lines())])?;
    expect_refused(&report, "InvalidSignatureException", &secret_access_key)?;
    expect_nothing_arrived(&boto3)
}

fn an_unknown_access_key_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let secret = "a secret of nobody";
    let report = plugin(server).keys("AKIAIOSFODNN7EXAMPLE", secret).flush(&[chunk(&log_lines())])?;
    expect_refused(&report, "UnrecognizedClientException", secret)?;
    expect_nothing_arrived(&boto3)
}

fn a_wrong_session_token_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let key = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    let token = "a token of nobody";
    let report = plugin(server)
        .keys(&key.access_key_id, &key.secret_access_key)
        .environment("AWS_SESSION_TOKEN", token)
        .flush(&[chunk(&log_lines())])?;
    expect_refused(&report, "UnrecognizedClientException", token)?;
    expect_nothing_arrived(&boto3)
}

fn a_secret_that_is_corrected_in_the_file_is_used_without_a_restart(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let AccessKey { access_key_id, secret_access_key } = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    let file = tempfile::NamedTempFile::new()?;
    let write = |secret: &str| {
        fs::write(&file, format!("[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n"))
    };
    write("the wrong one")?;
    let instance =
        plugin(server).environment("AWS_SHARED_CREDENTIALS_FILE", &file.path().display().to_string()).persistent();
    let report = thread::scope(|scope| {
        let flushing = scope.spawn(|| instance.flush(&[chunk(&log_lines())]));
        thread::sleep(Duration::from_secs(5));
        write(&secret_access_key)?;
        flushing.join().map_err(|_| "the flush panicked")?
    })?;
    assert_eq!(report.answers.first().map(String::as_str), Some("Retry"));
    assert_eq!(report.answers.last().map(String::as_str), Some("Delivered"));
    report.expect_complaint("InvalidSignatureException")?;
    expect_arrived(&boto3)
}

fn a_clock_that_is_off_by_ten_minutes_is_cured(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let key = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    for seconds in [600, -600] {
        let instance = plugin(server).keys(&key.access_key_id, &key.secret_access_key).clock_ahead(seconds);
        let report = instance.flush(&[chunk(&log_lines())])?;
        report.expect("Delivered")?;
        report.expect_complaint("the server's time")?;
    }
    assert_eq!(boto3.read_text("logs")?.len(), 2 * log_lines().len());
    Ok(())
}

/// STS allows fifteen minutes; AWS's client corrects its clock there.
fn a_clock_that_is_off_by_twenty_minutes_does_not_keep_a_role_from_being_assumed(
    server: &Ministack,
) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let instance = with_role(server, &boto3, "the-right-one")?.clock_ahead(1200);
    instance.flush(&[chunk(&log_lines())])?.expect("Delivered")?;
    expect_arrived(&boto3)
}

fn a_policy_narrows_the_session_of_a_role(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let policy = |action| {
        format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#)
    };
    let session = |action| {
        let instance = with_role(server, &boto3, "the-right-one")?.option("role_policy", &policy(action));
        let instance = instance.option("role_session_name", "fleet").option("role_duration_seconds", "900");
        instance.flush(&[chunk(&log_lines())])
    };
    let report = session("kinesis:ListStreams")?;
    report.expect("Retry")?;
    report.expect_complaint("AccessDeniedException")?;
    expect_nothing_arrived(&boto3)?;
    Ok(())
}

fn a_service_account_assumes_its_role(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let report = as_service_account(server, &boto3, "fluent-bit")?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_arrived(&boto3)
}

fn a_service_account_that_the_role_does_not_trust_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let report = as_service_account(server, &boto3, "another")?;
    report.expect("Retry")?;
    report.expect_complaint("AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity")?;
    expect_nothing_arrived(&boto3)
}

/// Sends as the service account `name`; the role trusts only `fluent-bit`.
fn as_service_account(server: &Ministack, boto3: &Boto3, name: &str) -> Result<Report, Failed> {
    let (issuer, subject) = ("oidc.eks.example/id/1", |name: &str| format!("system:serviceaccount:logging:{name}"));
    let role = boto3.create_pod_role("ingest", issuer, &subject("fluent-bit"), "kinesis:PutRecords")?;
    let claims = format!(r#"{{"iss":"https://{issuer}","sub":"{}"}}"#, subject(name));
    let part = |json: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(json);
    let token = tempfile::NamedTempFile::new()?;
    fs::write(&token, format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims), part("signature")))?;
    plugin(server)
        .option("sts_endpoint", &server.endpoint())
        .environment("AWS_ROLE_ARN", &role)
        .environment("AWS_WEB_IDENTITY_TOKEN_FILE", &token.path().display().to_string())
        .flush(&[chunk(&log_lines())])
}

fn a_missing_permission_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let AccessKey { access_key_id, secret_access_key } = boto3.create_user("shipper", &["kinesis:ListStreams"])?;
    let report = plugin(server).keys(&access_key_id, &secret_access_key).flush(&[chunk(&log_lines())])?;
    expect_refused(&report, "AccessDeniedException", &secret_access_key)?;
    report.expect_complaint("kinesis:PutRecords")?;
    expect_nothing_arrived(&boto3)
}

fn a_named_profile_outranks_the_environment(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let key = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    let profiles = tempfile::NamedTempFile::new()?;
    fs::write(
        &profiles,
        format!(
            "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = wrong\n\
             [shipping]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            key.access_key_id, key.secret_access_key
        ),
    )?;
    let instance = plugin(server)
        .keys("AKIAENVIRONMENT", "wrong")
        .environment("AWS_SHARED_CREDENTIALS_FILE", &profiles.path().display().to_string())
        .option("profile", "shipping");
    instance.flush(&[chunk(&log_lines())])?.expect("Delivered")?;
    expect_arrived(&boto3)
}

/// The user may only assume the role: records arrive only if the session token is sent and signed.
fn a_role_is_assumed_with_its_external_id(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let report = assume_role(server, &boto3, "the-right-one")?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_arrived(&boto3)
}

fn a_wrong_external_id_is_retried_and_logged(server: &Ministack) -> Result<(), Failed> {
    let boto3 = with_stream(server)?;
    let report = assume_role(server, &boto3, "another-one")?;
    report.expect("Retry")?;
    report.expect_complaint("AccessDenied")?;
    expect_nothing_arrived(&boto3)
}

fn assume_role(server: &Ministack, boto3: &Boto3, external_id: &str) -> Result<Report, Failed> {
    with_role(server, boto3, external_id)?.flush(&[chunk(&log_lines())])
}

fn with_role(server: &Ministack, boto3: &Boto3, external_id: &str) -> Result<Instance, Failed> {
    let key = boto3.create_user("shipper", &["sts:AssumeRole"])?;
    let role = boto3.create_role("ingest", "the-right-one", &["kinesis:PutRecords"])?;
    Ok(plugin(server)
        .keys(&key.access_key_id, &key.secret_access_key)
        .option("role_arn", &role)
        .option("external_id", external_id)
        .option("sts_endpoint", &server.endpoint()))
}

fn with_stream(server: &Ministack) -> Result<Boto3, Failed> {
    let boto3 = Boto3::new(server.endpoint());
    boto3.create_stream("logs", 2)?;
    Ok(boto3)
}

fn plugin(server: &Ministack) -> Instance {
    Instance::new(server.endpoint(), "logs")
}

fn expect_refused(report: &Report, code: &str, secret: &str) -> Result<(), Failed> {
    report.expect("Retry")?;
    report.expect_complaint(code)?;
    let lines = || report.log.iter().map(|(_, text)| text);
    assert!(lines().all(|text| !text.contains(secret)), "a secret was logged");
    Ok(())
}

fn expect_arrived(boto3: &Boto3) -> Result<(), Failed> {
    assert_eq!(boto3.read_text("logs")?, log_lines_as_json());
    Ok(())
}

fn expect_nothing_arrived(boto3: &Boto3) -> Result<(), Failed> {
    assert_eq!(boto3.read_text("logs")?, [""; 0]);
    Ok(())
}
