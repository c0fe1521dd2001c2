//! Log lines through the built library to the stand-in: loaded like Fluent Bit does, signed, over TLS, read back.
//!
//! The plugin runs in examples/host, a separate process, because credentials and trusted certificates come from the
//! environment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::process::{Command, Output, Stdio};
use std::ptr;

use testing::fake_kinesis::{Credential, FakeKinesis, Fault, Faults, Keep, Settings, Stats, Stream};
use testing::programs::{example, said};

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The host, configured for the stand-in.
fn host(kinesis: &FakeKinesis, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(example("host"));
    command.args(["-p", "region=eu-west-1", "-p", &format!("endpoint={}", kinesis.endpoint())]);
    if !arguments.iter().any(|argument| argument.starts_with("stream=")) {
        command.args(["-p", "stream=logs"]);
    }
    command.args(arguments).env_clear().env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    if kinesis.endpoint().starts_with("https:") {
        command.env("SSL_CERT_FILE", kinesis.ca_file());
    }
    command.envs(environment.iter().copied());
    command
}

/// Sends `lines` lines to the stand-in and returns what the host printed.
fn send(kinesis: &FakeKinesis, lines: usize, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    (0..lines).for_each(|id| writeln!(file, "line {id} of \"{lines}\" \\ – é").unwrap());
    host(kinesis, arguments, environment).arg(file.path()).output().unwrap()
}

/// How many times each line is in the stream; every record must be the JSON that was sent.
fn times(kinesis: &FakeKinesis, lines: usize) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for record in kinesis.records() {
        let json: serde_json::Value = serde_json::from_slice(&record.data).unwrap();
        let text = json["log"].as_str().unwrap();
        let id: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(text, format!("line {id} of \"{lines}\" \\ – é"));
        assert_eq!(json.as_object().unwrap().len(), 1);
        *times.entry(id).or_default() += 1;
    }
    times
}

fn assert_each_once(kinesis: &FakeKinesis, lines: usize) {
    let times = times(kinesis, lines);
    assert_eq!(times.len(), lines, "lines that arrived");
    assert!(times.values().all(|&times| times == 1), "a line arrived twice");
}

fn checked(tls: bool) -> Settings {
    let credentials = vec![Credential::new(KEY, SECRET)];
    Settings { tls, credentials, region: Some("eu-west-1".to_owned()), ..Settings::default() }
}

#[test]
fn every_line_arrives_once_signed_and_over_tls() {
    let kinesis = FakeKinesis::start(checked(true));
    let output = send(&kinesis, 20_000, &["--chunk-bytes", "300000"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 20_000);
    let keys: std::collections::HashSet<String> = kinesis.records().into_iter().map(|r| r.partition_key).collect();
    // Two of 20,000 keys are the same once in 280 runs, three pairs of them once in 10^8.
    assert!(keys.len() > 20_000 - 3, "{} keys: each record has a random key of its own", keys.len());
}

#[test]
fn cbor_stores_the_same_bytes_and_is_answered_record_by_record() {
    let faults = Faults { throttle_records: 0.3, error_500: 0.05, seed: 11, ..Faults::default() };
    let kinesis = FakeKinesis::start(Settings { faults, ..checked(true) });
    let arguments = ["--chunk-bytes", "300000", "-p", "protocol=cbor"];
    let output = send(&kinesis, 20_000, &arguments, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 20_000);
}

#[test]
fn several_workers_flush_one_instance() {
    let kinesis = FakeKinesis::start(checked(true));
    let output = send(&kinesis, 20_000, &["--chunk-bytes", "50000", "--workers", "4"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 20_000);
}

#[test]
fn a_flush_on_the_thread_of_init_works_too() {
    let kinesis = FakeKinesis::start(checked(false));
    let output = send(&kinesis, 1_000, &["--workers", "0"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 1_000);
}

#[test]
fn a_stream_may_be_named_by_its_arn() {
    let kinesis = FakeKinesis::start(checked(true));
    let arn = "stream=arn:aws:kinesis:eu-west-1:123456789012:stream/logs";
    let output = send(&kinesis, 100, &["-p", arn], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 100);
}

#[test]
fn records_and_calls_that_fail_are_sent_again_without_duplicates() {
    let faults = Faults {
        seed: 7,
        throttle_records: 0.10,
        fail_records: 0.05,
        error_500: 0.05,
        reset_before: 0.02,
        ..Faults::default()
    };
    let kinesis = FakeKinesis::start(Settings { faults, ..checked(true) });
    let output = send(&kinesis, 10_000, &["-p", "retries_on_batch_request=40", "--chunk-bytes", "200000"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 10_000);
    let stats = kinesis.stats();
    assert!(stats.throttled_records > 500 && stats.failed_records > 200, "the faults were on: {stats:?}");
}

#[test]
fn a_session_token_is_sent() {
    let credentials = vec![Credential::new(KEY, SECRET).with_session_token("the token")];
    let kinesis = FakeKinesis::start(Settings { credentials, ..checked(true) });
    let output = send(&kinesis, 100, &[], &[("AWS_SESSION_TOKEN", "the token")]);
    assert!(output.status.success(), "{}", said(&output));
    assert_each_once(&kinesis, 100);
}

#[test]
fn a_wrong_secret_is_a_retry_and_a_line_that_says_so() {
    let kinesis = FakeKinesis::start(checked(true));
    let output = send(&kinesis, 100, &["--retries", "1"], &[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    assert!(!output.status.success());
    assert!(said(&output).contains("InvalidSignatureException"), "{}", said(&output));
    assert!(!said(&output).contains("wrong\""), "the secret is in the log");
    assert_eq!(kinesis.records().len(), 0);
}

/// The service, or a proxy in its place, quotes headers and records in each kind of error.
#[test]
fn no_line_contains_a_token_or_a_record_whatever_the_service_says() {
    const TOKEN: &str = "FwoGZXIvYXdzEBYaDKLplantedTOKEN0123456789";
    let credentials = vec![Credential::new(KEY, SECRET).with_session_token(TOKEN)];
    let headers = format!("x-amz-security-token:{TOKEN}\\nauthorization: AWS4-HMAC-SHA256 Signature=plantedsignature");
    // The host's form of a line, and the form on the wire.
    let body = r#"{"Records":[{"Data":"eyJsb2ciOiJsaW5l","PartitionKey":"planted key"}]}"#;
    let content = "{\"log\":\"line 0 of \\\"1\\\"\"} is no Blob";
    let long = format!("{headers} {}", "planted ".repeat(100_000));
    for (code, message, tries) in [
        ("ServiceUnavailable", body, 2),
        ("InvalidSignatureException", &headers, 2),
        ("AccessDeniedException", &headers, 1),
        ("AccessDeniedException", body, 1),
        ("SerializationException", content, 1),
        ("SomethingNewException", content, 1),
        ("", content, 1),
        ("planted content as a code", &long, 1),
    ] {
        for status in [400, 413, 503] {
            let kinesis = FakeKinesis::start(Settings { credentials: credentials.clone(), ..checked(false) });
            let refuse = Fault::Refuse { status, code: code.to_owned(), message: message.to_owned() };
            kinesis.script(vec![refuse; tries]);
            let arguments = ["-p", "log_level=debug", "--retries", "3", "-p", "retries_on_batch_request=1"];
            let output = send(&kinesis, 1, &arguments, &[("AWS_SESSION_TOKEN", TOKEN)]);
            let said = said(&output);
            assert!(said.contains("[debug]") && said.contains(&format!("HTTP {status}")), "{status} {code}: {said}");
            for planted in ["planted", "eyJsb2ci", "line 0", SECRET, &TOKEN[..12]] {
                assert!(!said.contains(planted), "{status} {code}: {planted} in {said}");
            }
            assert!(said.lines().all(|line| line.len() < 2000), "{status} {code}: {said}");
        }
    }
}

#[test]
fn a_clock_that_is_off_by_ten_minutes_cures_itself() {
    for clock_ahead in [600, -600] {
        let kinesis = FakeKinesis::start(Settings { clock_ahead, ..checked(true) });
        let output = send(&kinesis, 100, &[], &[]);
        assert!(output.status.success(), "{}", said(&output));
        assert_each_once(&kinesis, 100);
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let kinesis = FakeKinesis::start(checked(true));
    let other = FakeKinesis::start(checked(true));
    let ca = other.ca_file().to_str().unwrap().to_owned();
    let output = send(&kinesis, 10, &["--retries", "0", "-p", "retries_on_batch_request=1"], &[("SSL_CERT_FILE", &ca)]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("the certificate's authority has the name of a trusted one, but another key"),
        "{}",
        said(&output)
    );
    assert_eq!(kinesis.records().len(), 0);
}

#[test]
fn a_stream_that_does_not_exist_is_a_retry_that_names_it() {
    let kinesis = FakeKinesis::start(Settings { streams: vec![Stream::new("other", 1)], ..checked(true) });
    let output = send(&kinesis, 10, &["--retries", "1"], &[]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(
        said.contains("cannot put records into stream logs") && said.contains("ResourceNotFoundException"),
        "{said}"
    );
}

#[test]
fn every_mistake_of_a_configuration_stops_the_start_with_a_line() {
    let kinesis = FakeKinesis::start(checked(false));
    let output =
        send(&kinesis, 1, &["-p", "concurrency=257", "-p", "http_request_timeout=x", "-p", "external_id=e1"], &[]);
    assert!(!output.status.success());
    for line in [
        "external_id: only valid with role_arn",
        "concurrency: '257' is not valid: use a whole number from 0 to 256",
        "http_request_timeout: 'x' is not valid: use seconds, or a time such as 500ms, 1.5s or 2m, up to 24h",
    ] {
        assert!(said(&output).contains(line), "{line} is missing in: {}", said(&output));
    }
}

/// 200,000 lines in chunks of 2 MB over two workers, retried by the host when the plugin answers "retry".
fn send_many_through(faults: Faults) -> Stats {
    let kinesis = FakeKinesis::start(Settings { faults, keep: Keep::Counts, ..checked(true) });
    let arguments = ["--lines", "200000", "--workers", "2", "--retries", "100", "-p", "retries_on_batch_request=4"];
    let output = host(&kinesis, &arguments, &[]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let retries =
        said(&output).lines().find_map(|line| line.strip_prefix("answered retry")?.trim().parse::<u32>().ok());
    assert!(retries.unwrap() > 0, "the host had to bring chunks again: {}", said(&output));
    let stats = kinesis.stats();
    assert_eq!(stats.distinct, 200_000, "{stats:?}");
    stats
}

#[test]
fn under_heavy_faults_and_the_hosts_own_retries_every_record_is_stored_exactly_once() {
    let faults = Faults { seed: 3, throttle_records: 0.30, error_500: 0.05, reset_before: 0.02, ..Faults::default() };
    let stats = send_many_through(faults);
    assert_eq!(stats.duplicates, 0, "{stats:?}");
}

#[test]
fn when_replies_are_lost_nothing_is_missing_and_only_their_records_may_be_there_twice() {
    let faults = Faults { seed: 4, throttle_records: 0.30, error_500: 0.05, reset_after: 0.02, ..Faults::default() };
    let stats = send_many_through(faults);
    let lost_replies = stats.outcomes["reset_after"];
    assert!(lost_replies > 0 && stats.duplicates > 0, "the faults were on: {stats:?}");
    assert!(stats.duplicates <= 500 * lost_replies, "{stats:?}");
}

/// A terminal: the end that shows output, and the end that a program writes to.
#[allow(unsafe_code, reason = "the standard library opens none")]
fn terminal() -> (File, File) {
    let (mut shows, mut takes) = (0, 0);
    // SAFETY: two places for descriptors; name, settings and size are optional.
    assert_eq!(unsafe { libc::openpty(&raw mut shows, &raw mut takes, ptr::null_mut(), ptr::null(), ptr::null()) }, 0);
    // SAFETY: both are open, and nobody else's.
    unsafe { (File::from_raw_fd(shows), File::from_raw_fd(takes)) }
}

#[test]
fn the_progress_is_one_line_on_a_terminal_and_a_table_closes_it() {
    let faults = Faults { seed: 9, throttle_records: 0.3, ..Faults::default() };
    let kinesis = FakeKinesis::start(Settings { faults, ..checked(true) });
    let (mut shows, takes) = terminal();
    let mut host = host(&kinesis, &["--lines", "20000", "--chunk-bytes", "300000", "--progress"], &[]);
    host.env("TERM", "xterm");
    let mut child = host.stdout(takes).stderr(Stdio::null()).spawn().unwrap();
    // The command also holds the terminal, which ends when nobody does.
    drop(host);
    let mut screen = Vec::new();
    shows.read_to_end(&mut screen).expect_err("Linux ends a terminal by an error");
    assert!(child.wait().unwrap().success());
    let screen = String::from_utf8(screen).unwrap();
    let (progress, table) = screen.rsplit_once("\x1b[2K").unwrap();
    assert!(!progress.contains('\n') && progress.ends_with('\r'), "{progress:?}");
    for part in ["% ", " of 20,000, ", " s left, ", " MB/s, ", " in flight, ", " sent again"] {
        assert!(progress.contains(part), "{progress:?}");
    }
    let throttled = kinesis.stats().throttled_records;
    for line in ["records        20000", "delivered      20000", &format!("throttled      {throttled}")] {
        assert!(table.lines().any(|shown| shown == line), "{line}: {table}");
    }
}

#[test]
fn without_a_terminal_a_short_run_shows_its_table_alone() {
    let kinesis = FakeKinesis::start(checked(true));
    let output = send(&kinesis, 100, &["--progress"], &[]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("chunks         1\n") && shown.contains("\ndelivered      100\n"), "{shown}");
}

/// What `make demo FAULTS=1` runs, with fewer lines.
#[test]
fn the_demonstration_with_faults_and_a_kill_ends_with_every_record_once() {
    let output = Command::new(example("demo")).args(["--lines", "20000", "--faults"]).output().unwrap();
    let shown = said(&output);
    assert!(output.status.success(), "{shown}");
    for part in [
        "== Kinesis refuses everything now",
        "== killed the host (SIGKILL) and started it again",
        "== every record once: 20,000 of 20,000 in ",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_library_that_cannot_be_loaded_is_named_with_the_reason() {
    let host = |plugin: &str| said(&Command::new(example("host")).args(["--plugin", plugin]).output().unwrap());
    assert_eq!(
        host("/nowhere/kinesis.so"),
        "host: cannot load /nowhere/kinesis.so: cannot open shared object file: No such file or directory\n"
    );
    let document = testing::sources::root().join("README.md").display().to_string();
    assert!(host(&document).starts_with(&format!("host: cannot load {document}: ")));
}

/// Sends one chunk to `endpoint` with half a second per request and one retry. Returns how long the flush took: a
/// busy machine, or an emulator, may need many times that to start the process.
fn flush_within_bounds(endpoint: &str, ca: Option<&str>) -> f64 {
    let mut command = Command::new(example("host"));
    command.args(["-p", "stream=logs", "-p", "region=eu-west-1", "-p", &format!("endpoint={endpoint}")]);
    command.args([
        "-p",
        "http_request_timeout=500ms",
        "-p",
        "retries_on_batch_request=1",
        "--retries",
        "0",
        "--lines",
        "10",
    ]);
    command.env_clear().env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command.envs(ca.map(|ca| ("SSL_CERT_FILE", ca)));
    let said = said(&command.output().unwrap());
    assert!(said.contains("answered retry 1"), "{said}");
    let seconds = said.lines().find_map(|line| line.strip_prefix("seconds")?.trim().parse().ok());
    seconds.unwrap_or_else(|| panic!("it does not say how long: {said}"))
}

/// In seconds. Three tries of half a second, and a pause of at most 0.1 s: all that the configuration allows, plus time
/// for a busy machine. The reply that trickles would take 90.
const BOUND: f64 = 10.0;

/// Without TLS: where a processor is emulated, its handshake takes the half second, and no request arrives.
fn assert_no_flush_is_held(faults: Faults) {
    let kinesis = FakeKinesis::start(Settings { faults, ..checked(false) });
    assert!(flush_within_bounds(&kinesis.endpoint(), None) < BOUND);
    assert!(kinesis.stats().requests >= 2, "{:?}", kinesis.stats());
}

#[test]
fn a_server_that_never_answers_does_not_hold_a_flush() {
    assert_no_flush_is_held(Faults { hang: 1.0, ..Faults::default() });
}

#[test]
fn a_reply_that_trickles_does_not_hold_a_flush() {
    assert_no_flush_is_held(Faults { trickle: 1.0, trickle_ms: 10_000, ..Faults::default() });
}

#[test]
fn a_server_that_accepts_and_says_nothing_does_not_hold_a_flush() {
    // The kernel accepts on the listener's behalf; nobody speaks TLS.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let kinesis = FakeKinesis::start(checked(true));
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    assert!(flush_within_bounds(&endpoint, kinesis.ca_file().to_str()) < BOUND);
}

#[test]
fn an_address_that_nobody_answers_for_does_not_hold_a_flush() {
    // 192.0.2.0/24 is for documentation: packets to it are dropped or rejected, but never answered.
    assert!(flush_within_bounds("http://192.0.2.1:4567", None) < BOUND);
}
