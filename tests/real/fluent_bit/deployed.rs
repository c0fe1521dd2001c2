//! The configurations under deploy/, as the cluster, the chart and FireLens hand them to Fluent Bit.

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;

use super::host::{Binary, Home};
use super::stand_in::section;
use super::{Claim, note, project};

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("the_manifests_configuration_passes_a_dry_run", |binary| passes(binary, &manifests()?)),
        Claim::new("the_charts_configuration_passes_a_dry_run", |binary| passes(binary, &charts()?)),
        Claim::new("what_firelens_makes_of_the_task_definition_passes_a_dry_run", |binary| {
            passes(binary, &firelens()?)
        }),
        Claim::new("the_probes_are_answered", |binary| probes_are_answered(binary, &manifests()?)),
    ]
}

fn read(file: &str) -> Result<String, Failed> {
    fs::read_to_string(project().join("deploy").join(file)).map_err(|error| format!("{file}: {error}").into())
}

/// The text under `key: |` in a YAML file, without its indentation.
fn block(yaml: &str, key: &str) -> Result<String, Failed> {
    let head = format!("  {key}: |\n");
    let (_, rest) = yaml.split_once(&head).ok_or_else(|| format!("there is no {key}"))?;
    let indented = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    Ok(indented.map(|line| format!("{}\n", line.get(4..).unwrap_or_default())).collect())
}

fn manifests() -> Result<String, Failed> {
    block(&read("kubernetes/fluent-bit.yaml")?, "fluent-bit.conf")
}

/// The values' texts joined, as in the chart's configmap.
fn charts() -> Result<String, Failed> {
    let values = read("helm/values.yaml")?;
    let parts = ["service", "inputs", "filters", "outputs"].map(|part| block(&values, part));
    let text = parts.into_iter().collect::<Result<String, Failed>>()?;
    let text = text
        .replace("{{ .Values.flush }}", "1")
        .replace("{{ .Values.logLevel }}", "info")
        .replace("{{ .Values.metricsPort }}", "2020")
        .replace("{{ .Release.Namespace }}", "logging");
    if text.contains("{{") { Err(format!("a template is left: {text}").into()) } else { Ok(text) }
}

/// As ECS writes it: its own inputs, the file, and an output from the options of each container.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/firelens-taskdef.html>, 2026-11-22
fn firelens() -> Result<String, Failed> {
    let task: serde_json::Value = serde_json::from_str(&read("ecs/task-definition.json")?)?;
    let containers = task["containerDefinitions"].as_array().ok_or("no containers")?;
    let mut text = section("INPUT", &[&["Name forward", "unix_path fluent.sock"]]) + &read("ecs/extra.conf")?;
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
        .replace("/var/lib/fluent-bit", ".")
        .replace("/var/log/containers", ".")
        .replace("0.0.0.0", "127.0.0.1")
        .replace("2020", &port.to_string())
}

fn passes(binary: &Binary, text: &str) -> Result<(), Failed> {
    let home = Home::new(binary)?;
    home.write("parsers.conf", &section("PARSER", &[&["Name any", "Format json"]]))?;
    home.write("custom_parsers.conf", &section("PARSER", &[&["Name custom", "Format json"]]))?;
    home.write("deployed.conf", &with_the_filters_of(binary, &moved_here(text, 2020))?)?;
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-c", "deployed.conf", "--dry-run"])?;
    match ended.status.success() && ended.output.contains("configuration test is successful") {
        true => Ok(()),
        false => Err(format!("{}: {}", ended.status, ended.output).into()),
    }
}

/// Liveness and readiness, as probed by the kubelet.
fn probes_are_answered(binary: &Binary, text: &str) -> Result<(), Failed> {
    let manifest = read("kubernetes/fluent-bit.yaml")?;
    let paths: Vec<&str> = manifest.lines().filter_map(|line| line.trim().strip_prefix("path: /api/")).collect();
    let home = Home::new(binary)?;
    home.write("parsers.conf", &section("PARSER", &[&["Name any", "Format json"]]))?;
    // The kernel picks a free port; Fluent Bit does not accept 0.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
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
    let sections = text.split("\n\n").filter(|section| !section.trim_start().starts_with(&head));
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
