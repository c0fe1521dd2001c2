//! A program that prints credentials
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>): this one, which gets them from the
//! issuer.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use tempfile::NamedTempFile;

use super::child::Setup;
use super::http::Server;
use super::issuer::{Issued, Issuer, key_of};
use super::life::{LIFE, deliver, lead_through_refusal};
use super::sts::{self, ROLE};
use super::trial;

/// The argument that makes this program print credentials, followed by where to get them.
pub const PRINT: &str = "print-credentials";

pub fn trials() -> Vec<Trial> {
    vec![
        trial(credentials_of_a_process),
        trial(credentials_of_a_process_that_a_profile_names),
        trial(a_process_that_hangs_does_not_hold_the_start_and_runs_once),
        trial(what_a_failing_process_prints_is_logged_without_secrets),
        trial(output_that_is_not_json_is_reported_and_not_quoted),
        trial(a_process_ends_with_the_plugin),
        trial(a_process_has_no_file_of_the_host),
        trial(output_without_end_is_refused),
        trial(a_role_on_top_of_a_process_that_a_profile_names),
    ]
}

/// Prints what the server at `address` answers; fails if that is an error.
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

/// The command line, containing a secret as one may.
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
    deliver(&issuer, setup, "from profile 'default'")
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

fn what_a_failing_process_prints_is_logged_without_secrets() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let secret = issuer.issue().secret;
    let command = format!("echo 'permission denied for {secret}' >&2; exit 7");
    let plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", &command).start()?;
    plugin.started()?;
    plugin.expect_line(&["the process ended with exit status: 7: ", "permission denied for ***"])?;
    plugin.stop()
}

fn output_that_is_not_json_is_reported_and_not_quoted() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let command = "echo S3cr3t";
    let plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", command).start()?;
    plugin.started()?;
    plugin.expect_line(&["no credentials: process_credentials: ", "printed no valid credentials"])?;
    plugin.stop()
}

/// The command leaves another process running, like a shell script may. For both ways to configure it.
fn a_process_ends_with_the_plugin() -> Result<(), Failed> {
    for is_profile in [false, true] {
        let issuer = Issuer::new(LIFE);
        let pids = NamedTempFile::new()?;
        let command = format!("echo $$ >> {0}; sleep 60 & echo $! >> {0}; wait", pids.path().display());
        let config = NamedTempFile::new()?;
        fs::write(&config, format!("[profile vault]\ncredential_process = {command}\n"))?;
        let setup = Setup::new(&issuer.kinesis().endpoint())
            .environment("AWS_CONFIG_FILE", &config.path().display().to_string());
        let plugin = match is_profile {
            true => setup.option("profile", "vault").start()?,
            false => setup.option("process_credentials", &command).start()?,
        };
        plugin.started()?;
        plugin.stop()?;
        let pids: Vec<String> = fs::read_to_string(&pids)?.lines().map(str::to_owned).collect();
        assert_eq!(pids.len(), 2);
        let left: Vec<_> = pids.iter().filter(|pid| is_running_after_a_second(pid)).collect();
        for pid in &left {
            std::process::Command::new("kill").arg(pid).status()?;
        }
        assert!(left.is_empty(), "{left:?} of {pids:?} are left, profile: {is_profile}");
    }
    Ok(())
}

fn is_running_after_a_second(pid: &str) -> bool {
    let status = Path::new("/proc").join(pid).join("stat");
    // A zombie has ended; whoever inherited it has not reaped it yet.
    let runs = || fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z "));
    let start = Instant::now();
    while runs() && start.elapsed() < Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(20));
    }
    runs()
}

fn a_process_has_no_file_of_the_host() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let command = "ls /proc/self/fd >&2; exit 1";
    let setup = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", command);
    let plugin = setup.before("exec 7</dev/null 8>/dev/null").start()?;
    plugin.started()?;
    // The last one is the folder that ls itself reads.
    plugin.expect_line(&["exit status: 1", " 0 1 2 3;"])?;
    plugin.stop()
}

fn output_without_end_is_refused() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    for (command, words) in
        [("cat /dev/zero", "the process printed more than 64 KiB"), ("cat /dev/zero >&2", "more than 1024 KiB")]
    {
        let plugin = Setup::new(&issuer.kinesis().endpoint()).option("process_credentials", command).start()?;
        plugin.started()?;
        let peak = plugin.peak_memory()?;
        assert!(peak < 128, "{peak} MiB");
        plugin.expect_line_within(Duration::from_secs(10), &["process_credentials: ", words])?;
        plugin.stop()?;
    }
    Ok(())
}

fn a_role_on_top_of_a_process_that_a_profile_names() -> Result<(), Failed> {
    let issuer = Issuer::new(Duration::from_secs(3600));
    let (server, sts) = (server(&issuer)?, sts::server(&issuer)?);
    let command = command(&server)?;
    for config in [
        format!(
            "[profile logs]\nrole_arn = {ROLE}\nsource_profile = vault\n[profile vault]\ncredential_process = {command}\n"
        ),
        format!("[profile logs]\nrole_arn = {ROLE}\nsource_profile = logs\ncredential_process = {command}\n"),
    ] {
        let file = NamedTempFile::new()?;
        fs::write(&file, config)?;
        let mut plugin = Setup::new(&issuer.kinesis().endpoint())
            .option("profile", "logs")
            .environment("AWS_CONFIG_FILE", &file.path().display().to_string())
            .environment("AWS_ENDPOINT_URL_STS", sts.url())
            .start()?;
        plugin.started()?;
        plugin.expect("Delivered")?;
        plugin.stop()?;
    }
    let keys: Vec<String> = sts.requests().iter().map(|request| key_of(request.header("authorization"))).collect();
    assert_eq!(keys, ["ASIAISSUED000001", "ASIAISSUED000003"]);
    Ok(())
}
