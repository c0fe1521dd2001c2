//! A name server that never answers does not block a flush.
//!
//! The C library asks the server in `/etc/resolv.conf`, so the test runs the host in its own namespaces, where that
//! file names a silent socket of ours. Without namespaces or their tools, it is reported as ignored.

use std::net::UdpSocket;
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use testing::programs::{example, said};

/// The argument with which this program runs inside the namespaces.
pub const INSIDE: &str = "--with-a-silent-name-server";

pub fn trials() -> Vec<Trial> {
    let possible = namespaces("true").is_ok_and(|output| output.status.success());
    let trial =
        Trial::test("a_name_server_that_never_answers_does_not_hold_a_flush", flush).with_ignored_flag(!possible);
    let trial =
        if possible { trial } else { trial.with_kind("no namespaces: needs unshare, ip and mount, and the right") };
    vec![trial]
}

/// Runs a command in namespaces with the loopback up and 127.0.0.1 as the only name server.
fn namespaces(command: &str) -> std::io::Result<Output> {
    let resolv = tempfile::NamedTempFile::new()?;
    std::fs::write(resolv.path(), "nameserver 127.0.0.1\n")?;
    let script = format!("ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && {command}");
    Command::new("unshare").args(["--mount", "--net", "sh", "-c", &script]).arg(resolv.path()).output()
}

fn flush() -> Result<(), Failed> {
    let output = namespaces(&format!("'{}' {INSIDE}", std::env::current_exe()?.display()))?;
    if output.status.success() { Ok(()) } else { Err(said(&output).into()) }
}

/// Half a second for each of three tries, and the exit; one name look-up of the C library alone takes ten seconds.
/// Without a request timeout, the look-up has its own limit.
pub fn inside() -> ExitCode {
    let in_requests_time = is_left_to_a_retry(
        "500ms",
        "cannot connect: no connection to kinesis.example.com:80 within 500 ms",
        Duration::from_secs(8),
    );
    let in_its_own = is_left_to_a_retry(
        "0",
        "cannot connect: cannot resolve kinesis.example.com: no answer within 9 s",
        Duration::from_secs(45),
    );
    if in_requests_time && in_its_own { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_left_to_a_retry(request_timeout: &str, reason: &str, patience: Duration) -> bool {
    let silent = UdpSocket::bind("127.0.0.1:53").unwrap();
    let host = example("host");
    let began = Instant::now();
    let mut command = Command::new(host);
    command.args(["-p", "stream=logs", "-p", "region=eu-west-1", "-p", "endpoint=http://kinesis.example.com"]);
    command.args([
        "-p",
        &format!("http_request_timeout={request_timeout}"),
        "-p",
        "retries_on_batch_request=1",
        "--retries",
        "0",
        "--lines",
        "10",
    ]);
    command.env_clear().env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = command.output().unwrap();
    let time = began.elapsed();
    let said = said(&output);
    println!("{time:?}: {said}");
    silent.set_nonblocking(true).unwrap();
    let was_asked = silent.recv(&mut [0; 512]).is_ok();
    let nothing_was_sent = said.contains(" 0 possibly sent twice");
    let held = !said.contains("answered retry 1") || time > patience;
    was_asked && nothing_was_sent && said.contains(reason) && !held
}
