//! The configurations under deploy/, as the cluster, the chart and FireLens hand them to Fluent Bit.

use std::process::Command;

use libtest_mimic::Failed;

use super::host::{Binary, Home};
use super::stand_in::{assert_each_once, checked, home_beside, section};
use super::{Claim, note};
use crate::deploy::configurations;
use testing::sources::read;

pub fn claims() -> Vec<Claim> {
    let mut claims = vec![Claim::new("the_probes_are_answered", |binary| {
        probes_are_answered(binary, &configurations::manifests()?)
    })];
    for deployed in DEPLOYED {
        let Deployed { name, text, load, reads_files } = deployed;
        claims.push(Claim::new(&format!("{name}_passes_a_dry_run"), move |binary| passes(binary, &text()?, load)));
        if reads_files {
            claims.push(Claim::new(&format!("{name}_delivers"), move |binary| delivers(binary, &text()?, load)));
        }
    }
    claims
}

struct Deployed {
    name: &'static str,
    text: fn() -> Result<String, Failed>,
    load: Load,
    /// FireLens' does not: it takes what Docker sends.
    reads_files: bool,
}

/// How the library is loaded.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    ByArgument,
    ByPluginsFile,
}

const DEPLOYED: [Deployed; 6] = [
    deployed("the_manifests_configuration", configurations::manifests),
    deployed("the_charts_configuration", configurations::fluent_bit_chart),
    Deployed { reads_files: false, ..deployed("what_firelens_makes_of_the_task_definition", firelens) },
    deployed("what_fluent_operator_makes_of_its_resources", configurations::fluent_operator),
    Deployed {
        load: Load::ByPluginsFile,
        ..deployed("the_secret_for_logging_operator", configurations::logging_operator)
    },
    deployed("what_the_chart_of_aws_makes_of_its_values", configurations::aws_for_fluent_bit),
];

const fn deployed(name: &'static str, text: fn() -> Result<String, Failed>) -> Deployed {
    Deployed { name, text, load: Load::ByArgument, reads_files: true }
}

/// As ECS writes it: its own inputs, the file, and an output from the options of each container.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/firelens-taskdef.html>, 2026-11-22
fn firelens() -> Result<String, Failed> {
    let task: serde_json::Value = serde_json::from_str(&read("deploy/ecs/task-definition.json"))?;
    let containers = task["containerDefinitions"].as_array().ok_or("no containers")?;
    let mut text = section("INPUT", &[&["Name forward", "unix_path fluent.sock"]]) + &read("deploy/ecs/extra.conf");
    for container in containers {
        let log = &container["logConfiguration"];
        let Some(options) = log["options"].as_object().filter(|_| log["logDriver"] == "awsfirelens") else { continue };
        // Options of Docker's log driver do not reach Fluent Bit.
        let ours = options.iter().filter(|(name, _)| *name != "log-driver-buffer-limit");
        let lines: Vec<String> =
            ours.map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default())).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        text += &section(
            "OUTPUT",
            &[&lines, &[&format!("Match {}-firelens*", container["name"].as_str().unwrap_or_default())]],
        );
    }
    Ok(text)
}

/// The configuration with a node's paths redirected to the test's folder, and another HTTP port.
fn moved_here(text: &str, port: u16) -> String {
    text.replace("/fluent-bit/etc/conf/custom_parsers.conf", "custom_parsers.conf")
        .replace("/fluent-bit/etc/parsers.conf", "parsers.conf")
        .replace("/fluent-bit/parsers/parsers.conf", "parsers.conf")
        .replace("/fluent-bit/etc/plugins.conf", "plugins.conf")
        .replace("/var/lib/fluent-bit", ".")
        .replace("/fluent-bit/tail", ".")
        .replace("/tail-db", ".")
        .replace("/buffers", "./buffers")
        .replace("/var/log/containers", ".")
        .replace("0.0.0.0", "127.0.0.1")
        .replace("2020", &port.to_string())
}

/// Writes the files that the configurations name and the configuration. Returns the arguments that load both.
fn settle(home: &Home, text: &str, load: Load) -> Result<Vec<String>, Failed> {
    home.write("parsers.conf", &section("PARSER", &[&["Name any", "Format json"]]))?;
    home.write("custom_parsers.conf", &section("PARSER", &[&["Name custom", "Format json"]]))?;
    let plugin = home.plugin().to_string_lossy();
    let plugins = read("fluent-bit-conf/plugins.conf");
    home.write("plugins.conf", &plugins.replace("/fluent-bit/kinesis.so", &plugin))?;
    home.write("deployed.conf", text)?;
    let plugin = ["-e", &plugin].map(str::to_owned).into_iter().filter(|_| load == Load::ByArgument);
    Ok(plugin.chain(["-c", "deployed.conf"].map(str::to_owned)).collect())
}

fn passes(binary: &Binary, text: &str, load: Load) -> Result<(), Failed> {
    let home = Home::new(binary)?;
    let text = with_the_filters_of(binary, &moved_here(text, 2020))?;
    let mut arguments = settle(&home, &text, load)?;
    arguments.push("--dry-run".to_owned());
    let ended = home.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    match ended.status.success() && ended.output.contains("configuration test is successful") {
        true => Ok(()),
        false => Err(format!("{}: {}", ended.status, ended.output).into()),
    }
}

fn delivers(binary: &Binary, text: &str, load: Load) -> Result<(), Failed> {
    const LINES: usize = 1000;
    let (home, kinesis) = home_beside(binary, checked())?;
    let text = without_section(&moved_here(text, free_port()?), "FILTER");
    let stream = text.lines().find(|line| line.trim().starts_with("stream ")).ok_or("there is no stream")?;
    let text = text.replace(stream, &format!("{stream}\n    endpoint {}", kinesis.endpoint()));
    let arguments = settle(&home, &text, load)?;
    home.append_lines(0..LINES)?;
    let mut fluent_bit = home.start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

/// Free just now; Fluent Bit does not accept 0.
fn free_port() -> Result<u16, Failed> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Liveness and readiness, as probed by the kubelet.
fn probes_are_answered(binary: &Binary, text: &str) -> Result<(), Failed> {
    let manifest = read("deploy/kubernetes/fluent-bit.yaml");
    let paths: Vec<&str> = manifest.lines().filter_map(|line| line.trim().strip_prefix("path: /api/")).collect();
    let home = Home::new(binary)?;
    home.write("parsers.conf", &section("PARSER", &[&["Name any", "Format json"]]))?;
    let port = free_port()?;
    // There is no cluster to ask, and Fluent Bit does not start without one.
    let without_cluster = without_section(&moved_here(text, port), "FILTER");
    home.write("deployed.conf", &without_cluster)?;
    let mut fluent_bit = home.start("deployed.conf")?;
    for path in &paths {
        let answered = || status(port, &format!("/api/{path}")).is_some_and(|status| status == 200);
        fluent_bit.wait_until(&format!("/api/{path} is answered with 200"), answered)?;
    }
    fluent_bit.stop()?;
    if paths.len() == 2 { Ok(()) } else { Err(format!("two probes, not {paths:?}").into()) }
}

/// Fluent Bit can be built without the kubernetes filter. The official builds have it.
fn with_the_filters_of(binary: &Binary, text: &str) -> Result<String, Failed> {
    let help = Command::new(&binary.path).arg("--help").output()?;
    if String::from_utf8_lossy(&help.stdout).contains("\n  kubernetes ") {
        return Ok(text.to_owned());
    }
    note(binary, "this Fluent Bit has no filter kubernetes: its section is not looked at");
    Ok(without_section(text, "FILTER"))
}

fn without_section(text: &str, name: &str) -> String {
    let head = format!("[{name}]");
    let is_that = |section: &&str| section.trim().lines().next().is_some_and(|line| line.eq_ignore_ascii_case(&head));
    let sections = text.split("\n\n").filter(|section| !is_that(section));
    sections.collect::<Vec<_>>().join("\n\n")
}

/// The status of the reply to a GET, if there is one.
fn status(port: u16, path: &str) -> Option<u16> {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    connection
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = [0; 64];
    let read = connection.read(&mut answer).ok()?;
    String::from_utf8_lossy(&answer[..read]).split_whitespace().nth(1)?.parse().ok()
}
