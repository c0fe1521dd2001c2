//! Each documented log line is provoked and found by the text that documents it.
//!
//! The plugin runs in examples/host against the stand-in of Kinesis. Lines that only other tests provoke are listed
//! with them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::ptr;

use testing::fake_kinesis::{Credential, FakeKinesis, Fault, Faults, Settings, Stream};
use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::output::Output;
use testing::programs::example;

/// Where log lines are documented: the document, and the heading of their tables.
const DOCUMENTS: [(&str, &str); 2] =
    [("docs/troubleshooting.md", "## By log line"), ("README.md", "## Troubleshooting")];

/// The documented lines, with `…` for variable parts.
fn entries() -> Vec<String> {
    let there = |(path, _): &&(&str, &str)| testing::sources::root().join(path).exists();
    let (path, heading) = DOCUMENTS.iter().find(there).unwrap();
    let document = testing::sources::read(path);
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| "));
    // The line is in the first cell or, after its level, the second.
    let cells = rows.flat_map(|row| row.trim_matches('|').split(" |").take(2).map(str::trim));
    let quoted = cells.filter_map(|cell| Some(cell.strip_prefix('`')?.split_once('`')?.0.to_owned()));
    quoted.filter(|line| line.contains(' ')).collect()
}

/// The fixed parts of an entry.
fn fixed_parts(entry: &str) -> impl Iterator<Item = &str> {
    entry.split('…').filter(|part| !part.trim_matches([' ', ':', ',', ';']).is_empty())
}

/// Whether a line contains the fixed parts of an entry, in order.
fn is_line_of(line: &str, entry: &str) -> bool {
    let behind = |rest: Option<usize>, part: &str| Some(rest? + line.get(rest?..)?.find(part)? + part.len());
    fixed_parts(entry).fold(Some(0), behind).is_some()
}

/// Lines that other tests provoke: an entry, the test's file, and the part of the entry that it expects.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("plugin: cannot start: …", "src/plugin/tests.rs", "plugin: cannot start: "),
    ("profile: … is …, not a file", "tests/real/identity/files.rs", ", not a file"),
    ("… is …, not a file", "tests/real/identity/files.rs", ", not a file"),
    ("… is larger than … KiB", "src/aws/files.rs", " is larger than "),
    ("profile: … cannot be read: …", "tests/real/network/shortages.rs", " cannot be read: "),
    ("cannot resolve …: …", "tests/real/silent_dns.rs", "cannot resolve "),
    ("no thread is available: …", "tests/real/network/shortages.rs", "no thread is available: "),
    (
        "too many open files: this process may have no more than …",
        "tests/real/network/shortages.rs",
        "too many open files: this process may have no more than ",
    ),
    (
        "only … of … threads for compression could be started: …",
        "tests/real/network/shortages.rs",
        "threads for compression could be started: ",
    ),
    ("the reply is longer than … KiB", "tests/real/identity/endless.rs", "the reply is longer than "),
    ("the process ended with …: …", "tests/real/identity/process.rs", "the process ended with "),
    ("the process printed more than … KiB", "tests/real/identity/process.rs", "the process printed more than "),
    ("throttling has ended: … records were throttled in …", "src/deliver/tests/mod.rs", "records were throttled in "),
    (
        "…; the current ones remain in use and expire in …",
        "tests/real/identity/life.rs",
        "the current ones remain in use and expire in",
    ),
    (
        "Fluent Bit is shutting down and Kinesis accepts nothing: chunks on disk are kept for the next start",
        "src/plugin/tests.rs",
        "is shutting down",
    ),
    (
        "… are too large for the stream or a proxy: limiting them to … bytes from now on",
        "src/deliver/tests/refusals.rs",
        "too large for the stream or a proxy",
    ),
    (
        "a flush took longer than flush_timeout: stopped after …; Fluent Bit will retry the rest",
        "src/deliver/tests/mod.rs",
        "a flush took longer than flush_timeout: stopped after ",
    ),
    (
        "a reply counts … failed records but lists …: using the list",
        "src/deliver/stream/sender.rs",
        " failed records but lists ",
    ),
    (
        "'…' is reached without TLS: anyone on the network can read records and signatures; use https://",
        "src/aws/endpoint.rs",
        "is reached without TLS: anyone on the network can read records and signatures",
    ),
    (
        "this Fluent Bit is newer than the versions this plugin knows, so each flush blocks its thread: see the option coroutines",
        "tests/newer_host.rs",
        "newer than the versions this plugin knows",
    ),
    (
        "coroutines or events of this Fluent Bit differ from those this plugin knows, so each flush blocks its thread",
        "tests/host/coroutines.rs",
        "differ from those this plugin knows",
    ),
    (
        "a hot reload may crash Fluent Bit, because this output has workers: leave out workers or hot_reload",
        "tests/host/abi.rs",
        "a hot reload may crash Fluent Bit",
    ),
    (
        "… log lines are missing here: no Fluent Bit thread was free to write them",
        "src/plugin/log_relay.rs",
        " log lines are missing here: no Fluent Bit thread was free to write them",
    ),
    ("a file or a library has not responded for …", "src/plugin/tests.rs", "a file or a library has not responded"),
    (
        "the delivery thread is stuck in a file or a library: Fluent Bit continues without it",
        "src/plugin/tests.rs",
        "the delivery thread is stuck in a file",
    ),
    ("a request failed because of a bug in this plugin: …", "src/deliver/tests/mod.rs", "bug in this plugin"),
    ("internal error: …", "tests/host/stack.rs", "internal error"),
    ("HTTP … KMSAccessDeniedException: …", "src/kinesis/verdict/tests.rs", "KMSAccessDeniedException"),
    (
        "cannot list the shards of …: …; shard_map requires the permission kinesis:ListShards and … until they are known",
        "src/deliver/tests/shards.rs",
        "shard_map requires the permission kinesis:ListShards",
    ),
    (
        "aggregates are in shards of … to which their keys do not belong: sending their records again one by one",
        "src/deliver/tests/auto.rs",
        " to which their keys do not belong: sending their records again one by one",
    ),
    (
        "… distributes records itself (AUTO), …: consumers would drop aggregates, so records are sent one by one",
        "src/deliver/tests/auto.rs",
        ": consumers would drop aggregates, so records are sent one by one",
    ),
    (
        "… distributes records itself (AUTO), …: partition keys are not sent",
        "src/deliver/tests/auto.rs",
        ": partition keys are not sent",
    ),
    (
        "… distributes records by partition keys: … again",
        "src/deliver/tests/auto.rs",
        " distributes records by partition keys: ",
    ),
    (
        "cannot list the shards of …: …; record_distribution detect requires the permission kinesis:ListShards and cannot see in which shards aggregates are until they are known",
        "src/deliver/tests/auto.rs",
        "; record_distribution detect requires the permission kinesis:ListShards and cannot see",
    ),
    (
        "cannot describe …: …; record_distribution detect requires the permission kinesis:DescribeStreamSummary and … until it is known",
        "src/deliver/tests/auto.rs",
        "; record_distribution detect requires the permission kinesis:DescribeStreamSummary and ",
    ),
    (
        "cannot describe …: …; max_record_size auto requires the permission kinesis:DescribeStreamSummary and is … bytes until it is known",
        "src/deliver/tests/auto.rs",
        "; max_record_size auto requires the permission kinesis:DescribeStreamSummary and is ",
    ),
    ("HTTP … AccessDeniedException: …", "src/deliver/tests/shards.rs", "AccessDeniedException: "),
    ("HTTP … ExpiredTokenException: …", "src/deliver/tests/mod.rs", "ExpiredTokenException"),
    ("the reply to ListShards …", "src/deliver/tests/shards.rs", "the reply to ListShards "),
    (
        "…; the next try starts TLS with a shorter ClientHello",
        "tests/real/network/tls/key_exchange.rs",
        "; the next try starts TLS with a shorter ClientHello",
    ),
    (
        "the certificate's authority is not trusted here",
        "tests/real/network/trust.rs",
        "the certificate's authority is not trusted here",
    ),
    (
        "the certificate's authority has the name of a trusted one, but another key",
        "tests/it/end_to_end.rs",
        "the certificate's authority has the name of a trusted one, but another key",
    ),
    ("the certificate is self-signed", "tests/real/network/trust.rs", "the certificate is self-signed"),
    (
        "the certificate is an authority's own (CA:TRUE), which no server may use",
        "tests/real/network/trust.rs",
        "the certificate is an authority's own (CA:TRUE)",
    ),
    ("the certificate is not for …, but for …", "tests/real/network/trust.rs", "the certificate is not for "),
    ("the certificate expired on …; it is … here", "tests/real/network/trust.rs", "the certificate expired on "),
    (
        "the certificate is not valid before …; it is … here",
        "tests/real/network/trust.rs",
        "the certificate is not valid before ",
    ),
    ("the proxy …: …", "tests/real/network/proxies.rs", "the proxy "),
    (
        "the ledger file … cannot be written: …; chunks will be sent whole if Fluent Bit ends before it can be written",
        "src/ledger/journal/tests.rs",
        "; chunks will be sent whole if Fluent Bit ends before it can be written",
    ),
    (
        "the last note in the ledger file … is truncated after … bytes, as after a crash; everything before it is used",
        "src/ledger/journal/tests.rs",
        " bytes, as after a crash; everything before it is used",
    ),
    (
        "ledger_path: … is in use by another output: each output needs its own",
        "tests/real/fluent_bit/configuration.rs",
        " is in use by another output: each output needs its own",
    ),
    ("through the proxy …: …", "tests/real/network/proxies.rs", "through the proxy "),
    (
        "the proxy …: HTTP 407: it requires a user and a password, or refuses those given",
        "tests/real/network/proxies.rs",
        ": HTTP 407: it requires a user and a password, or refuses those given",
    ),
    ("the proxy …: it did not connect to …: see its log", "tests/real/network/proxies.rs", ": it did not connect to "),
    (
        "through the proxy …: HTTP 403 without a readable error",
        "tests/real/network/proxies.rs",
        ": HTTP 403 without a readable error",
    ),
    ("the server ended TLS with the alert '…'", "src/aws/connect/reason.rs", "the server ended TLS with the alert '"),
    (
        "the server supports neither TLS 1.2 nor 1.3, or no secure cipher",
        "src/aws/connect/reason.rs",
        "the server supports neither TLS 1.2 nor 1.3, or no secure cipher",
    ),
    ("the server violates the TLS protocol", "src/aws/connect/reason.rs", "the server violates the TLS protocol"),
    ("the server sent no certificate", "src/aws/connect/reason.rs", "the server sent no certificate"),
    ("the certificate is refused: …", "src/aws/connect/reason.rs", "the certificate is refused: "),
    (
        "check region, which is part of this name, and this machine's DNS",
        "src/kinesis/client/mod.rs",
        "check region, which is part of this name, and this machine's DNS",
    ),
    ("check endpoint, and this machine's DNS", "src/kinesis/client/mod.rs", "check endpoint, and this machine's DNS"),
    ("Kinesis is answering again after …", "src/deliver/tests/mod.rs", "Kinesis is answering again after "),
    (
        "refused records are not kept in …: …; delivery goes on",
        "src/dead_letters/tests.rs",
        "refused records are not kept in ",
    ),
    (
        "… has reached dead_letter_max_bytes: removed the oldest files, …",
        "src/dead_letters/tests.rs",
        " has reached dead_letter_max_bytes: removed the oldest files, ",
    ),
];

/// What no test can provoke, and why.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("region: '…' does not form an endpoint's host name", "whatever passes for a region's name forms one"),
    (
        "a flush failed because of a bug in this plugin: …",
        "a panic in a request ends there, and outside of one no input leads to one",
    ),
    ("the delivery thread failed because of a bug in this plugin", "panics end in the task that they happen in"),
    ("the ledger file … cannot be locked: …; no other output may use it", "a file system without locks"),
    ("refused records in … may not survive a loss of power: …", "a file system that takes data and fails to sync it"),
];

#[test]
fn each_explained_line_is_provoked_and_found_by_its_text() {
    let entries = entries();
    assert!(entries.len() > 80, "{}", entries.len());
    let mut lines = mistakes();
    lines.extend(deliveries());
    lines.extend(broken_calls());
    names_the_request_of_each_reply(&lines);
    let elsewhere: BTreeMap<&str, (&str, &str)> =
        ELSEWHERE.iter().map(|(entry, file, text)| (*entry, (*file, *text))).collect();
    let not_provoked: BTreeMap<&str, &str> = NOT_PROVOKED.iter().copied().collect();
    for entry in elsewhere.keys().chain(not_provoked.keys()) {
        assert!(entries.iter().any(|known| known == entry), "no document explains: {entry}");
    }
    let mut missing = Vec::new();
    for entry in &entries {
        let provoked = lines.iter().any(|line| is_line_of(line, entry));
        match (elsewhere.get(entry.as_str()), not_provoked.get(entry.as_str())) {
            (None, None) if provoked => {}
            (Some(_), None) | (None, Some(_)) if provoked => missing.push(format!("provoked here as well: {entry}")),
            (Some((file, text)), None) => {
                let expected = tests_of(file).contains(text) && fixed_parts(entry).any(|part| part.contains(text));
                if !expected {
                    missing.push(format!("{file} does not expect '{text}' of '{entry}'"));
                }
            }
            (None, Some(_)) => {}
            _ => missing.push(format!("provoked by no test: {entry}")),
        }
    }
    assert!(missing.is_empty(), "{missing:#?}\namong these lines: {lines:#?}");
}

/// The stand-in gives each reply an id, as AWS does, whose support asks for it.
fn names_the_request_of_each_reply(lines: &[String]) {
    let marks =
        ["HTTP 4", "HTTP 5", " records not accepted (", "Kinesis refused a record", "the reply to ", "a reply counts"];
    let about_replies = lines.iter().filter(|line| marks.iter().any(|mark| line.contains(mark)));
    let (named, nameless): (Vec<_>, Vec<_>) = about_replies.partition(|line| line.contains(", request id "));
    assert!(nameless.is_empty() && named.len() >= 10, "{nameless:#?}\nand of others {}", named.len());
}

/// The part of a file that is tests.
fn tests_of(file: &str) -> String {
    let source = testing::sources::read(file);
    let is_all_tests = file.contains("tests/") || file.ends_with("/tests.rs");
    if is_all_tests { source } else { source.split_once("#[cfg(test)]").unwrap().1.to_owned() }
}

/// What the host logs in a run of `count` records with these properties. `DEFAULTS` are added unless they are among
/// them or named after a minus.
fn run(endpoint: &str, count: usize, arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(example("host"));
    let endpoint = format!("endpoint={endpoint}");
    for default in ["stream=logs", "region=eu-west-1", &endpoint] {
        let name = default.split_once('=').unwrap().0;
        let is_there = |argument: &str| argument.trim_start_matches('-').split('=').next() == Some(name);
        if !arguments.iter().any(|argument| is_there(argument)) {
            command.args(["-p", default]);
        }
    }
    for argument in arguments {
        if argument.starts_with("--") {
            command.args(argument.split(' '));
        } else if !argument.starts_with('-') {
            command.args(["-p", argument]);
        }
    }
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    if !environment.iter().any(|(name, _)| *name == "NO_KEY") {
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    (0..count).for_each(|n| writeln!(file, "{}", "x".repeat(if n % 2 == 0 { 100 } else { 5 })).unwrap());
    let output = command.envs(environment.iter().copied()).args(["--retries", "0"]).arg(file.path()).output().unwrap();
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

/// Variables of the environment.
type Environment<'a> = &'a [(&'a str, &'a str)];

/// Configurations that prevent the start.
fn mistakes() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let no_pem = folder.path().join("ca.pem");
    std::fs::write(&no_pem, "none").unwrap();
    let no_pem = format!("ca_bundle={}", no_pem.display());
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let empty = [("SSL_CERT_FILE", empty.to_str().unwrap())];
    let ledger = |name: &str| format!("ledger_path={}", folder.path().join(name).display());
    // Too long for the option name next to it.
    let (a_folder, no_ledger, long_name) = (ledger("."), ledger("ca.pem"), ledger(&"x".repeat(240)));
    let letters_in = |name: &str| format!("dead_letter_path={}", folder.path().join(name).display());
    let tls = "endpoint=https://localhost:1";
    let cases: &[(&[&str], Environment<'_>)] = &[
        (&["-stream"], &[]),
        (&["concurrency=257"], &[]),
        (&["stream_name=b"], &[]),
        (&["aws_key_id=S3cr3t/swapped"], &[]),
        (&["aws_key_id=A", "aws_sec_key=s", "profile=p"], &[]),
        (&["external_id=fleet"], &[]),
        (&["format=csv"], &[]),
        (&["log_key=a", "data_keys=b"], &[]),
        (&["log_key=a", "exclude_keys=a"], &[]),
        (&["data_keys=a", "exclude_keys=a"], &[]),
        (&["append_newline=on", "chomp_record=on"], &[]),
        (&["append_newline=on", "format=msgpack"], &[]),
        (&["append_newline=on", "format=ltsv"], &[]),
        (&["tag_key=a", "group_key=a"], &[]),
        (&["tag_key=a", "data_keys=b"], &[]),
        (&["partition_key=$tag"], &[]),
        (&["sts_endpoint=sts.internal", "aws_key_id=A", "aws_sec_key=s"], &[]),
        (&["aggregation=lines", "format=msgpack"], &[]),
        (&["aggregation=lines", "append_newline=off"], &[]),
        (&["aggregation=kpl", "simple_aggregation=on"], &[]),
        (&["aggregation=kpl", "aggregation_max_size=200k", "max_record_size=100k"], &[]),
        (&["format=msgpack", "oversize=truncate"], &[]),
        (&["format=csv", "format_fields=a", "format_delimiter=\""], &[]),
        (&["partition_kye=a"], &[]),
        (&["add_newline=on"], &[]),
        (&["stream=arn:aws:kinesis:eu-west-1:123456789012:stream/logs", "region=us-east-1"], &[]),
        (&["-region"], &[]),
        (&["-endpoint"], &[("AWS_ENDPOINT_URL", "ftp://x")]),
        (&["use_fips_endpoint=on"], &[]),
        (&["http_proxy=socks5://proxy:1"], &[]),
        (&[tls], &[("HTTPS_PROXY", "socks5://proxy:1")]),
        (&["ca_bundle=/nowhere/ca.pem", tls], &[]),
        (&[&no_pem, tls], &[]),
        (&[tls], &empty),
        (&[&a_folder], &[]),
        (&[&no_ledger], &[]),
        (&[&long_name], &[]),
        (&[&letters_in("no/where")], &[]),
        (&[&letters_in("ca.pem")], &[]),
        (&["dead_letter_path=/proc/self"], &[]),
    ];
    cases.iter().flat_map(|(options, environment)| run("http://127.0.0.1:1", 1, options, environment)).collect()
}

/// Starts and flushes in which something is wrong.
fn deliveries() -> Vec<String> {
    let plain = |settings: Settings, script: Vec<Fault>, arguments: &[&str], environment: &[(&str, &str)]| {
        let kinesis = FakeKinesis::start(settings);
        kinesis.script(script);
        run(&kinesis.endpoint(), 10, arguments, environment)
    };
    let checked = || Settings { credentials: vec![Credential::new("AKIDEXAMPLE", "secret")], ..Settings::default() };
    let faulty = |faults| Settings { faults, ..Settings::default() };
    let small =
        |bytes| Settings { streams: vec![Stream::new("logs", 4).with_max_record_size(bytes)], ..Settings::default() };
    let once = "retries_on_batch_request=1";
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged");
    std::fs::write(&damaged, "fluent-bit-kinesis ledger 1\n").unwrap();
    let damaged = format!("ledger_path={}", damaged.display());
    let mut lines = plain(checked(), vec![], &["stats_interval=1s"], &[("SEND_FAILURE_TIMEOUT", "1")]);
    let more = [
        plain(faulty(Faults { fail_records: 0.5, seed: 2, ..Faults::default() }), vec![], &[once], &[]),
        plain(checked(), vec![Fault::ResetBefore; 3], &[], &[]),
        plain(checked(), vec![], &[], &[("NO_KEY", "")]),
        plain(Settings { clock_ahead: 600, ..checked() }, vec![], &[], &[]),
        plain(checked(), vec![], &[&damaged], &[]),
        plain(checked(), vec![], &["--workers 0"], &[]),
        plain(checked(), vec![], &["stream=others"], &[]),
        plain(checked(), vec![], &[], &[("AWS_SECRET_ACCESS_KEY", "wrong")]),
        plain(checked(), vec![], &[], &[("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN")]),
        plain(
            Settings { denies_list_shards: true, ..Settings::default() },
            vec![],
            &["aggregation=kpl", "shard_map=on"],
            &[],
        ),
        plain(Settings::default(), vec![], &["partition_key=none", "record_distribution=auto"], &[]),
        plain(Settings::default(), vec![], &["check=warn"], &[]),
        plain(Settings::default(), vec![], &["check=warn", "check_custom_endpoint=on"], &[]),
        plain(
            Settings { ignores_dry_run: true, ..Settings::default() },
            vec![],
            &["check=warn", "check_custom_endpoint=on"],
            &[],
        ),
        plain(checked(), vec![], &["stream=others", "check=warn", "check_custom_endpoint=on"], &[]),
        plain(small(60), vec![], &[], &[]),
        plain(small(2), vec![], &[], &[]),
        plain(checked(), vec![], &["max_record_size=50", "oversize=truncate"], &[]),
        plain(checked(), vec![], &["max_record_size=50", "oversize=discard"], &[]),
        plain(checked(), vec![], &["partition_key=nothing"], &[]),
        plain(checked(), vec![], &["explicit_hash_key=nothing"], &[]),
        plain(faulty(Faults { latency_ms: 1200, ..Faults::default() }), vec![], &["slow_flush_log_threshold=1s"], &[]),
        plain(checked(), vec![Fault::Html502; 3], &[once], &[]),
        plain(faulty(Faults { count_mismatch: 1.0, ..Faults::default() }), vec![], &[once], &[]),
        plain(Settings::default(), vec![Fault::Html502; 3], &["check=warn", "check_custom_endpoint=on"], &[]),
        plain(checked(), vec![], &["stream=logs-"], &[]),
        run("http://127.0.0.1:1", 1, &[once], &[]),
    ];
    lines.extend(more.into_iter().flatten());
    lines.extend(wrong_schemes());
    lines
}

/// HTTPS to a server without TLS, and the reverse.
fn wrong_schemes() -> Vec<String> {
    let plain = FakeKinesis::start(Settings::default());
    let with_tls = FakeKinesis::start(Settings { tls: true, ..Settings::default() });
    let once = "retries_on_batch_request=1";
    let mut lines = run(&plain.endpoint().replace("http://", ""), 1, &[once], &[]);
    lines.extend(run(&with_tls.endpoint().replace("https://", "http://"), 1, &[once], &[]));
    lines
}

/// Calls that no host makes, and bytes that are not a chunk.
fn broken_calls() -> Vec<String> {
    log::collect();
    let library = Library::open(&built_plugin().unwrap()).unwrap();
    // SAFETY: the plugin takes NULL for what is missing.
    unsafe {
        (library.register)(ptr::null_mut());
        (library.init)(ptr::null_mut());
        (library.init)(&raw mut *Box::leak(Box::new(std::mem::zeroed())));
        (library.flush_ctx)(ptr::null_mut(), ptr::null(), 0, ptr::null());
    }
    let definition = library.register(0).unwrap();
    let properties = [
        ("stream", "logs"),
        ("region", "eu-west-1"),
        ("endpoint", "http://127.0.0.1:1"),
        ("aws_key_id", "AKIDEXAMPLE"),
        ("aws_sec_key", "secret"),
    ];
    let mut output = Output::new("kinesis.0", &properties).unwrap();
    assert!(output.init(&library) > 0);
    // SAFETY: as above.
    unsafe { (library.flush_ctx)(output.context(), ptr::null(), 0, ptr::null()) };
    output.flush(&library, b"\xc1 no event", c"app.log");
    output.exit(&library);
    library.unregister(definition);
    log::take().into_iter().map(|(_, line)| line).collect()
}
