//! AWS's Security Token Service: roles on top of other credentials
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::child::Setup;
use super::http::{Reply, Request, Server};
use super::issuer::{Issued, Issuer, key_of};
use super::life::{LIFE, lead_through_refusal};
use super::trial;

pub const ROLE: &str = "arn:aws:iam::111122223333:role/path/write-logs";
const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIABASE00000000BASE"), ("AWS_SECRET_ACCESS_KEY", "S3cr3t base")];

pub fn trials() -> Vec<Trial> {
    vec![
        trial(a_role_on_top_of_keys),
        trial(every_setting_of_the_session_is_requested),
        trial(a_session_without_a_name_gets_a_random_one),
        trial(a_refusal_is_logged_in_the_words_of_sts),
        trial(a_refusal_that_quotes_the_token_is_logged_without_it),
        trial(the_role_of_a_fargate_pod_is_assumed_and_another_with_it),
        trial(an_sts_that_never_answers_does_not_hold_the_start),
    ]
}

/// A server that gives credentials to every valid request.
pub fn server(issuer: &Issuer) -> io::Result<Server> {
    let issuer = issuer.clone();
    Server::start(move |request| {
        let form = request.form();
        let signed = request.header("authorization").contains("/eu-west-1/sts/aws4_request");
        match form.get("Action").map(String::as_str) {
            Some("AssumeRole") if signed => issuer.answer(|issued| words(issued, "AssumeRole", &form)),
            Some("AssumeRoleWithWebIdentity") if form.contains_key("WebIdentityToken") => {
                issuer.answer(|issued| words(issued, "AssumeRoleWithWebIdentity", &form))
            }
            _ => Reply::Status(400, error("ValidationError", "not a request of ours")),
        }
    })
}

fn words(issued: &Issued, action: &str, form: &BTreeMap<String, String>) -> String {
    let role = form["RoleArn"].rsplit('/').next().unwrap_or_default();
    let session = &form["RoleSessionName"];
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:{session}</AssumedRoleId>\
         <Arn>arn:aws:sts::111122223333:assumed-role/{role}/{session}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
         </{action}Result></{action}Response>",
        issued.key,
        issued.secret,
        issued.token,
        issued.expiration()
    )
}

pub fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

fn with_keys(issuer: &Issuer, server: &Server) -> Setup {
    let setup = Setup::new(&issuer.kinesis().endpoint()).option("sts_endpoint", server.url()).option("role_arn", ROLE);
    KEYS.iter().fold(setup, |setup, (name, value)| setup.environment(name, value))
}

fn a_role_on_top_of_keys() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let setup = with_keys(&issuer, &server).option("role_session_name", "fleet");
    let place = "of arn:aws:sts::111122223333:assumed-role/write-logs/fleet, assumed with credentials from environment";
    let complaint = [ROLE, "assumed with credentials from environment: HTTP 403: "];
    lead_through_refusal(&issuer, setup, place, (403, "a gateway's page"), &complaint)
}

fn every_setting_of_the_session_is_requested() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kinesis:*","Resource":"*"}]}"#;
    let mut plugin = with_keys(&issuer, &server)
        .option("external_id", "fleet/7+=,.@:-")
        .option("role_session_name", "node@1")
        .option("policy", policy)
        .option("duration_seconds", "900")
        .start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    let request: &Request = &server.requests()[0];
    let form = request.form();
    let expected = [
        ("Action", "AssumeRole"),
        ("DurationSeconds", "900"),
        ("ExternalId", "fleet/7+=,.@:-"),
        ("Policy", policy),
        ("RoleArn", ROLE),
        ("RoleSessionName", "node@1"),
        ("Version", "2011-06-15"),
    ];
    let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(form, expected);
    assert_eq!(key_of(request.header("authorization")), "AKIABASE00000000BASE");
    plugin.stop()
}

fn a_session_without_a_name_gets_a_random_one() -> Result<(), Failed> {
    let issuer = Issuer::new(Duration::from_secs(3600));
    let server = server(&issuer)?;
    let setup = with_keys(&issuer, &server);
    let setup = setup.instance(&issuer.kinesis().endpoint()).option("sts_endpoint", server.url());
    let plugin = setup.option("role_arn", ROLE).start()?;
    plugin.started()?;
    let names: Vec<String> = server.requests().iter().map(|r| r.form()["RoleSessionName"].clone()).collect();
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
    for name in names {
        let word = name.strip_prefix("fluent-bit-kinesis-").unwrap_or_default();
        assert!(word.len() == 12 && word.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
    }
    plugin.stop()
}

fn a_refusal_is_logged_in_the_words_of_sts() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    issuer.refuse(403, &error("AccessDenied", "User: arn:aws:iam::111122223333:user/x is not authorized to assume it"));
    let mut plugin = with_keys(&issuer, &server).start()?;
    assert!(plugin.started()? < Duration::from_secs(6));
    plugin.expect("Retry")?;
    let reason = "no credentials: arn:aws:iam::111122223333:role/path/write-logs assumed with credentials from environment: \
                  AccessDenied: User: arn:aws:iam::111122223333:user/x is not authorized to assume it";
    plugin.expect_line(&["Warn", reason, "starting without credentials"])?;
    plugin.expect_line(&["Error cannot put records", reason])?;
    plugin.stop()
}

fn a_refusal_that_quotes_the_token_is_logged_without_it() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let token = issuer.issue().token;
    issuer.refuse(
        403,
        &error("SignatureDoesNotMatch", &format!("The Canonical String was\nx-amz-security-token:{token}")),
    );
    let plugin = with_keys(&issuer, &server).start()?;
    plugin.started()?;
    plugin.expect_line(&["SignatureDoesNotMatch: The Canonical String was x-amz-security-token:***"])?;
    plugin.stop()
}

/// The log router of EKS on Fargate assumes the pod's role with the machine's credentials, like Fluent Bit's own
/// plugins.
fn the_role_of_a_fargate_pod_is_assumed_and_another_with_it() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let mut plugin = with_keys(&issuer, &server)
        .option("role_session_name", "fleet")
        .environment("EKS_POD_EXECUTION_ROLE", "arn:aws:iam::444455556666:role/pod")
        .start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    let chain: Vec<(String, String)> =
        server.requests().iter().map(|r| (key_of(r.header("authorization")), r.form()["RoleArn"].clone())).collect();
    assert_eq!(
        chain,
        [
            ("AKIABASE00000000BASE".to_owned(), "arn:aws:iam::444455556666:role/pod".to_owned()),
            ("ASIAISSUED000001".to_owned(), ROLE.to_owned()),
        ]
    );
    assert_eq!(issuer.keys_used(), ["ASIAISSUED000002"]);
    plugin.stop()
}

fn an_sts_that_never_answers_does_not_hold_the_start() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = Server::start(|_| Reply::Silence)?;
    let mut plugin = with_keys(&issuer, &server).start()?;
    assert!(plugin.started()? < Duration::from_secs(6));
    assert!(plugin.expect("Retry")? < Duration::from_secs(6));
    plugin.expect_line(&["Warn no credentials", ROLE, "no answer yet; starting without credentials"])?;
    plugin.stop()
}
