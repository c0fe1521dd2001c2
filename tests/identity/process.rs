//! A program that prints credentials
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>): this one, which gets them from the
//! issuer.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tempfile::NamedTempFile;

use crate::child::Setup;
use crate::http::Server;
use crate::issuer::{Issued, Issuer};
use crate::life::{LIFE, lead_through_refusal};
use crate::trial;

/// The argument that makes this program one that prints credentials; the next one is where they are.
pub const PRINT: &str = "print-credentials";

pub fn trials() -> Vec<Trial> {
    vec![
        trial(credentials_of_a_process),
        trial(credentials_of_a_process_that_a_profile_names),
        trial(a_process_that_hangs_does_not_hold_the_start_and_runs_once),
        trial(what_a_process_says_when_it_fails_is_told_without_secrets),
        trial(output_that_is_no_json_is_told_and_not_quoted),
    ]
}

/// Prints what the server at `address` answers; fails when that is no success.
pub fn print(address: &str) -> ExitCode {
    match fetch(address) {
        Ok((true, body)) => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Ok((false, body)) => {
            writeln!(io::stderr(), "{body}").ok();
            ExitCode::from(3)
        }
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::from(4)
        }
    }
}

fn fetch(address: &str) -> io::Result<(bool, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no reply"))?;
    Ok((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}

fn words(issued: &Issued) -> String {
    format!(
        r#"{{"Version":1,"AccessKeyId":"{}","SecretAccessKey":"{}","SessionToken":"{}","Expiration":"{}"}}"#,
        issued.key,
        issued.secret,
        issued.token,
        issued.expiration()
    )
}

fn server(issuer: &Issuer) -> io::Result<Server> {
    let issuer = issuer.clone();
    Server::start(move |_| issuer.answer(words))
}

/// The command line, with a secret as one may have.
fn command(server: &Server) -> io::Result<String> {
    let program = std::env::current_exe()?;
    let address = server.url().trim_start_matches("http://");
    Ok(format!("{} {PRINT} {address} --password S3cr3t", program.display()))
}

fn credentials_of_a_process() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let setup = Setup::new(&issuer.kinesis().endpoint()).option("process", &command(&server)?);
    let refusal = (403, "the vault is sealed");
    lead_through_refusal(
        &issuer,
        setup,
        "from process_credentials",
        refusal,
        &["exit status: 3", "the vault is sealed"],
    )
}

fn credentials_of_a_process_that_a_profile_names() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let server = server(&issuer)?;
    let config = NamedTempFile::new()?;
    fs::write(&config, format!("[default]\ncredential_process = {}\n", command(&server)?))?;
    let setup =
        Setup::new(&issuer.kinesis().endpoint()).environment("AWS_CONFIG_FILE", &config.path().display().to_string());
    let refusal = (403, "the vault is sealed");
    lead_through_refusal(&issuer, setup, "from profile 'default'", refusal, &["exit status: 3", "the vault is sealed"])
}

fn a_process_that_hangs_does_not_hold_the_start_and_runs_once() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let runs = NamedTempFile::new()?;
    let command = format!("echo run >> {}; exec sleep 60", runs.path().display());
    let mut plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", &command).start()?;
    assert!(plugin.started()? < Duration::from_secs(6));
    assert!(plugin.expect("Retry")? < Duration::from_secs(6));
    plugin.expect_line(&["Warn no credentials: process_credentials: no answer yet"])?;
    assert_eq!(fs::read_to_string(&runs)?, "run\n");
    plugin.stop()
}

fn what_a_process_says_when_it_fails_is_told_without_secrets() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let secret = issuer.issue().secret;
    let command = format!("echo 'permission denied for {secret}' >&2; exit 7");
    let plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", &command).start()?;
    plugin.started()?;
    plugin.expect_line(&["exit status: 7", "permission denied for ***"])?;
    plugin.stop()
}

fn output_that_is_no_json_is_told_and_not_quoted() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let command = "echo S3cr3t";
    let plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", command).start()?;
    plugin.started()?;
    plugin.expect_line(&["no credentials: process_credentials: ", "could not parse response"])?;
    plugin.stop()
}
