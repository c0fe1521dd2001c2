//! What versions of Fluent Bit differ in: the columns of docs/compatibility.md.
//!
//! Each is observed in every host of a run, by a claim that fails if the version is not as it says here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use goblin::elf::Elf;
use libtest_mimic::Failed;

use super::Claim;
use super::compatibility;
use super::host::{Binary, Home, Version};
use super::metrics::{free_port, http, scrape};
use super::stand_in::{checked, home_beside, section, tail_to};
use super::stopping::starts;
use testing::fake_kinesis::{FakeKinesis, Faults, Settings};
use testing::host::elf::exported_symbols;
use testing::sources::{read, root};

/// Something that a version of Fluent Bit does or has.
pub struct Feature {
    /// The head of its column.
    pub title: &'static str,
    /// What its claim finds out.
    name: &'static str,
    /// The first version that has it.
    pub since: Version,
    probe: fn(&Binary) -> Result<bool, Failed>,
}

pub static YAML: Feature = Feature {
    title: "YAML as in our files",
    name: "yaml_of_our_form_is_read",
    since: (2, 0, 0),
    probe: |binary| reads(binary, "fluent-bit-conf/minimal.yaml"),
};
/// Some of examples/ need it.
pub static YAML_PARSERS: Feature = Feature {
    title: "parsers in YAML",
    name: "yaml_with_parsers_is_read",
    since: (3, 2, 0),
    probe: |binary| reads(binary, "examples/audit/replay.yaml"),
};
/// Without it, the C plugin cannot send to a stand-in.
pub static PORT_OF_C: Feature = Feature {
    title: "`port` of its own output kinesis_streams",
    name: "the_c_plugin_takes_a_port",
    since: (3, 2, 0),
    probe: takes_port,
};
/// One claim alone needs it.
pub static REJECTED: Feature = Feature {
    title: "a queue of rejected chunks",
    name: "rejected_chunks_can_be_kept",
    since: (4, 2, 0),
    probe: |binary| Ok(memchr::memmem::find(&fs::read(&binary.path)?, b"storage.keep.rejected").is_some()),
};
pub static HELP: Feature =
    Feature { title: "`-o kinesis -h`", name: "the_help_has_our_options", since: (5, 1, 1), probe: has_help };
pub static LOG_LEVEL: Feature = Feature {
    title: "`log_level` of an output",
    name: "a_level_of_an_output_counts",
    since: (2, 0, 0),
    probe: has_log_level,
};
pub static METRICS: Feature =
    Feature { title: "our metrics in its own", name: "our_metrics_are_shown", since: (2, 0, 0), probe: shows_metrics };
pub static RELOAD: Feature = Feature { title: "hot reload", name: "it_reloads", since: (2, 1, 0), probe: reloads };
pub static TWICE: Feature = Feature {
    title: "starts `workers` twice",
    name: "workers_start_twice",
    since: (2, 2, 0),
    probe: starts_workers_twice,
};
static GROUPS: Feature = Feature {
    title: "groups of events",
    name: "events_of_opentelemetry_are_grouped",
    since: (3, 1, 0),
    probe: groups_events,
};
static COROUTINES: Feature = Feature {
    title: "flushes wait side by side",
    name: "flushes_wait_side_by_side_without_workers",
    since: (0, 0, 0),
    probe: waits_side_by_side,
};
static LENT: Feature = Feature {
    title: "chunks are not copied",
    name: "chunks_outlive_their_flushes",
    since: (2, 2, 0),
    probe: keeps_chunks,
};

pub static ALL: [&Feature; 9] = [&YAML, &HELP, &LOG_LEVEL, &METRICS, &RELOAD, &TWICE, &GROUPS, &COROUTINES, &LENT];

/// What has no column of the table.
static OTHERS: [&Feature; 3] = [&YAML_PARSERS, &PORT_OF_C, &REJECTED];

pub fn claims() -> Vec<Claim> {
    ALL.into_iter().chain(OTHERS).map(claim).collect()
}

fn claim(feature: &'static Feature) -> Claim {
    Claim::new(&format!("whether_{}", feature.name), |binary| {
        let has = (feature.probe)(binary)?;
        if ALL.iter().any(|listed| std::ptr::eq(*listed, feature)) {
            compatibility::observed(binary, feature, has);
        }
        match has == (binary.version >= feature.since) {
            true => Ok(()),
            false => Err(format!("{}: {has}, but it is listed since {:?}", feature.title, feature.since).into()),
        }
    })
}

fn reads(binary: &Binary, file: &str) -> Result<bool, Failed> {
    let mut home = Home::new(binary)?;
    home.set("STATE", ".");
    let file = root().join(file).display().to_string();
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-c", &file, "--dry-run"])?;
    Ok(ended.status.success())
}

fn takes_port(binary: &Binary) -> Result<bool, Failed> {
    let (mut home, kinesis) = home_beside(binary, checked())?;
    home.set("STATE", ".");
    home.set("LOGS", "app.log");
    home.set("CA", kinesis.ca_file());
    let port = kinesis.address().port().to_string();
    home.write("before.yaml", &read("examples/from-c-plugin/before.yaml").replace("4567", &port))?;
    home.append_lines(0..1)?;
    Ok(home.start("before.yaml")?.comes_to(Duration::from_secs(10), || kinesis.stats().records > 0))
}

fn has_help(binary: &Binary) -> Result<bool, Failed> {
    let home = Home::new(binary)?;
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-o", "kinesis", "-h"])?;
    Ok(ended.output.contains("partition_key"))
}

/// Ten lines through an output with these properties. Fluent Bit still runs in `meanwhile`.
fn ten_lines<T>(
    binary: &Binary,
    service: &[&str],
    output: &[&str],
    meanwhile: impl FnOnce(&Home) -> T,
) -> Result<T, Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..10)?;
    home.write("main.conf", &tail_to(&kinesis, service, &[], &[&["stream logs"], output].concat()))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= 10)?;
    let answer = meanwhile(&home);
    fluent_bit.stop()?;
    Ok(answer)
}

fn has_log_level(binary: &Binary) -> Result<bool, Failed> {
    ten_lines(binary, &[], &["Log_Level error"], |home| starts(home) == 0)
}

fn shows_metrics(binary: &Binary) -> Result<bool, Failed> {
    let port = free_port()?;
    let service = http(port);
    // Its server may take a moment.
    let shown = |_: &Home| {
        (0..20).any(|_| {
            thread::sleep(Duration::from_millis(200));
            !scrape(port, "kinesis.0").is_empty()
        })
    };
    ten_lines(binary, &service.each_ref().map(String::as_str), &["Workers 1"], shown)
}

/// Whether SIGHUP starts the plugin anew. Versions that cannot reload ignore it or end.
fn reloads(binary: &Binary) -> Result<bool, Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.write("main.conf", &tail_to(&kinesis, &["Hot_Reload on"], &[], &["stream logs"]))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started", || starts(&home) == 1)?;
    // It listens for signals a moment after its outputs have started.
    thread::sleep(Duration::from_secs(1));
    fluent_bit.signal(libc::SIGHUP);
    Ok(fluent_bit.comes_to(Duration::from_secs(20), || starts(&home) == 2))
}

/// Whether there are twice as many workers as were asked for. With hot reload, our own warning must say so.
fn starts_workers_twice(binary: &Binary) -> Result<bool, Failed> {
    let (started, is_told) = ten_lines(binary, &["Hot_Reload on"], &["Workers 2"], |home| {
        let log = home.log();
        (log.matches("worker #0 started").count(), log.contains("a hot reload may crash Fluent Bit"))
    })?;
    match (started, is_told) {
        (1, false) => Ok(false),
        (2, true) => Ok(true),
        _ => Err(format!("worker #0 started {started} times, warned of: {is_told}").into()),
    }
}

/// Whether OpenTelemetry's events come in a group. Its markers in the chunk must not become records.
fn groups_events(binary: &Binary) -> Result<bool, Failed> {
    let (home, kinesis) = home_beside(binary, Settings { faults: away(), ..checked() })?;
    let port = free_port()?;
    let input = ["Name opentelemetry", "Listen 127.0.0.1", &format!("Port {port}"), "Tag app"];
    let input = [&input[..], &["storage.type filesystem"]].concat();
    let output = [to(&kinesis), "stream logs".to_owned(), "Retry_Limit no_limits".to_owned()];
    let output =
        [&["Name kinesis", "Match *", "region eu-west-1"], &output.each_ref().map(String::as_str)[..]].concat();
    let service = ["Flush 0.2", "Log_File fluent-bit.log", "storage.path storage", "scheduler.base 1"];
    let service = [&service[..], &["scheduler.cap 1"]].concat();
    let text = section("SERVICE", &[&service]) + &section("INPUT", &[&input]) + &section("OUTPUT", &[&output]);
    home.write("main.conf", &text)?;
    let mut fluent_bit = home.start("main.conf")?;
    // Fluent Bit 1.9 has no such input and ends; 2.0 accepts logs there and drops them.
    let soon = Duration::from_secs(20);
    let is_on_disk = || !chunks(&home.path("storage")).is_empty();
    if !fluent_bit.comes_to(soon, || post(port, &two_events())) || !fluent_bit.comes_to(soon, is_on_disk) {
        return Ok(false);
    }
    let has_group =
        |chunk: &Vec<u8>| GROUP_STARTS.iter().any(|start| chunk.windows(start.len()).any(|at| at == *start));
    let grouped = chunks(&home.path("storage")).iter().any(has_group);
    kinesis.set_faults(Faults::default());
    fluent_bit.wait_until("both events arrived", || kinesis.stats().distinct >= 2)?;
    fluent_bit.stop()?;
    match kinesis.stats().records {
        2 => Ok(grouped),
        other => Err(format!("{other} records of 2 events").into()),
    }
}

/// Two events in OpenTelemetry's protocol: LogsData with ResourceLogs, its Resource and ScopeLogs, its scope and two
/// LogRecords, each with its body.
fn two_events() -> Vec<u8> {
    let member = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let event = |text: &str| member(2, &member(5, &member(1, text.as_bytes())));
    let of_scope = [member(1, &[]), event("one"), event("two")].concat();
    member(1, &[member(1, &[]), member(2, &of_scope)].concat())
}

/// The time −1 in the form of an event's time: a group begins.
const GROUP_STARTS: [&[u8]; 2] = [b"\xd7\x00\xff\xff\xff\xff", b"\xc7\x08\x00\xff\xff\xff\xff"];

fn away() -> Faults {
    Faults { throttle_calls: 1.0, ..Faults::default() }
}

fn to(kinesis: &FakeKinesis) -> String {
    format!("endpoint {}", kinesis.endpoint())
}

/// Posts OpenTelemetry's logs, and returns whether they were accepted.
fn post(port: u16, body: &[u8]) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let length = body.len();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut reply = [0; 64];
    drop(connection.set_read_timeout(Some(Duration::from_secs(5))));
    drop(connection.write_all(&[head.as_bytes(), body].concat()));
    let read = connection.read(&mut reply).unwrap_or(0);
    String::from_utf8_lossy(&reply[..read]).starts_with("HTTP/1.1 2")
}

/// The files of chunks under `storage`, as they are.
fn chunks(storage: &Path) -> Vec<Vec<u8>> {
    let folders = fs::read_dir(storage).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files
        .filter_map(|file| fs::read(file.path()).ok())
        .filter(|chunk| chunk.windows(3).any(|at| at == b"two"))
        .collect()
}

/// Whether a second chunk is sent while the first has no answer.
fn waits_side_by_side(binary: &Binary) -> Result<bool, Failed> {
    let faults = Faults { hang: 1.0, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    let service = section("SERVICE", &[&["Flush 0.2", "Grace 1", "Log_File fluent-bit.log"]]);
    let inputs = ["Tag one", "Tag two"].map(|tag| section("INPUT", &[&["Name dummy", tag]]));
    let endpoint = to(&kinesis);
    // No other attempt within the time of this test.
    let output = ["Name kinesis", "Match *", "region eu-west-1", "stream logs", "http_request_timeout 60", &endpoint];
    home.write("main.conf", &(service + &inputs.concat() + &section("OUTPUT", &[&output])))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("a chunk is sent", || kinesis.stats().connections >= 1)?;
    let side_by_side = fluent_bit.comes_to(Duration::from_secs(10), || kinesis.stats().connections >= 2);
    match home.log().contains("blocks its thread") || home.log().contains("blocks Fluent Bit's engine") {
        blocks if blocks != side_by_side => Ok(side_by_side),
        _ => Err(fluent_bit.failure("what the log says is not what was seen")),
    }
}

/// By the function that tells these versions apart. The plugin looks for it too, and copies chunks if it is missing.
fn keeps_chunks(binary: &Binary) -> Result<bool, Failed> {
    let home = Home::new(binary)?;
    home.write("main.conf", &section("INPUT", &[&["Name dummy"]]))?;
    let mut fluent_bit = home.start("main.conf")?;
    // It may be started by a script or by a loader.
    let exports = |symbol: &str| {
        let files = fluent_bit.code_files().into_iter().filter_map(|file| fs::read(file).ok());
        files.into_iter().any(|file| Elf::parse(&file).is_ok_and(|elf| exported_symbols(&elf).contains(&symbol)))
    };
    let keeps = (0..20).any(|_| {
        thread::sleep(Duration::from_millis(200));
        exports("flb_log_print")
    }) && exports("flb_proxy_output_cb_init");
    fluent_bit.stop()?;
    Ok(keeps)
}
