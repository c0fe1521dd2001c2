//! Every file of fluent-bit-conf/ does what it says.

use std::fs;

use libtest_mimic::Failed;

use super::host::{Binary, Home};
use super::stand_in::{assert_each_once, checked, home_beside, section};
use super::{Claim, features};
use crate::sts::{ROLE_KEY, ROLE_SECRET, ROLE_TOKEN, Sts};
use testing::fake_kinesis::{ACCOUNT, Credential, FakeKinesis, Settings};
use testing::sources::root;

pub fn claims() -> Vec<Claim> {
    let mut files: Vec<String> = fs::read_dir(root().join("fluent-bit-conf"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut claims = Vec::new();
    for file in files {
        let name = file.replace('.', "_");
        let dry = file.clone();
        let dry_run = Claim::new(&format!("{name}_passes_a_dry_run"), move |binary| passes_a_dry_run(binary, &dry));
        let is_yaml = file.ends_with(".yaml");
        let both = [dry_run, Claim::new(&format!("{name}_delivers"), move |binary| delivers(binary, &file))];
        claims.extend(both.map(|claim| if is_yaml { claim.needs(&features::YAML) } else { claim }));
    }
    claims
}

fn passes_a_dry_run(binary: &Binary, file: &str) -> Result<(), Failed> {
    let mut home = Home::new(binary)?;
    home.set("LOG_FILE", "app.log");
    home.set("KINESIS_ENDPOINT", "https://localhost:4567");
    home.set("KINESIS_STREAM", "logs");
    let plugin = home.plugin().display().to_string();
    let shipped = root().join("fluent-bit-conf").join(file).display().to_string();
    let ended = match file {
        // Not a configuration by itself.
        "plugins.conf" => {
            home.write(file, &fs::read_to_string(shipped)?.replace("/fluent-bit/kinesis.so", &plugin))?;
            home.write("main.conf", &using_plugins_file())?;
            home.run(&["-c", "main.conf", "--dry-run"])?
        }
        _ => home.run(&["-e", &plugin, "-c", &shipped, "--dry-run"])?,
    };
    match ended.status.success() && ended.output.contains("configuration test is successful") {
        true => Ok(()),
        false => Err(format!("{}: {}", ended.status, ended.output).into()),
    }
}

fn delivers(binary: &Binary, file: &str) -> Result<(), Failed> {
    const LINES: usize = 1000;
    let region = if file == "demo.conf" { "us-east-1" } else { "eu-west-1" };
    let (mut home, kinesis) = home_beside(binary, Settings { region: Some(region.to_owned()), ..checked() })?;
    let sts = Sts::start()?;
    if file == "role.yaml" {
        // The node's own key must not reach Kinesis.
        kinesis.set_credentials(vec![Credential::new(ROLE_KEY, ROLE_SECRET).with_session_token(ROLE_TOKEN)]);
    }
    home.set("LOG_FILE", "app.log");
    home.set("KINESIS_ENDPOINT", kinesis.endpoint());
    home.set("KINESIS_STREAM", "logs");
    let text = fs::read_to_string(root().join("fluent-bit-conf").join(file))?;
    home.write(file, &moved_here(&text, &home, &kinesis, &sts))?;
    home.append_lines(0..LINES)?;
    let mut fluent_bit = match file {
        "plugins.conf" => {
            home.write("main.conf", &moved_here(&using_plugins_file(), &home, &kinesis, &sts))?;
            home.start_with(&["-c", "main.conf"])?
        }
        _ => home.start(file)?,
    };
    match file {
        // It ends by itself after reading the file.
        "demo.conf" => fluent_bit.end_well()?,
        _ => {
            fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
            fluent_bit.stop()?;
        }
    }
    assert_each_once(&kinesis, "logs", LINES)?;
    let assumed = sts.requests();
    match file {
        "role.yaml" => assert_assumed(&assumed),
        _ if assumed.is_empty() => Ok(()),
        _ => Err(format!("a role was assumed: {assumed:?}").into()),
    }
}

fn assert_assumed(requests: &[String]) -> Result<(), Failed> {
    let wanted = ["Action=AssumeRole", "role%2Fwrite-logs", "ExternalId=fleet-7"];
    match requests {
        [request] if wanted.iter().all(|part| request.contains(part)) => Ok(()),
        _ => Err(format!("not one request with {wanted:?}: {requests:?}").into()),
    }
}

/// A configuration that loads the plugin through plugins.conf.
fn using_plugins_file() -> String {
    section("SERVICE", &[&["Flush 1", "Plugins_File plugins.conf"]])
        + &section("INPUT", &[&["Name tail", "Tag app", "Path /var/log/app/*.log", "Read_from_Head on"]])
        + &section("OUTPUT", &[&["Name kinesis", "Match app", "stream logs", "region eu-west-1", "Workers 2"]])
}

/// The configuration with the test's paths and servers in place of a node's.
fn moved_here(text: &str, home: &Home, kinesis: &FakeKinesis, sts: &Sts) -> String {
    let mut moved = String::new();
    let has_endpoint = text.contains("\n      endpoint: ") || text.contains("KINESIS_ENDPOINT");
    for line in text.lines() {
        moved.push_str(line);
        moved.push('\n');
        let indent: String = line.chars().take_while(|character| *character == ' ').collect();
        if line.trim().starts_with("stream") && !has_endpoint {
            let colon = if line.contains("stream:") { ":" } else { "" };
            moved.push_str(&format!("{indent}endpoint{colon} {}\n", kinesis.endpoint()));
        }
        if line.trim().starts_with("role_arn:") {
            moved.push_str(&format!("{indent}sts_endpoint: {}\n", sts.endpoint()));
        }
    }
    moved
        .replace("/var/log/app/*.log", "app.log")
        .replace("/var/lib/fluent-bit", ".")
        .replace("/fluent-bit/kinesis.so", &home.plugin().to_string_lossy())
        // Without a scheme, as in the file.
        .replace(VPC_ENDPOINT, &format!("localhost:{}", kinesis.address().port()))
        .replace(ACCOUNT_OF_THE_FILES, ACCOUNT)
}

const VPC_ENDPOINT: &str = "vpce-0123456789abcdef0-abcdefgh.kinesis.eu-west-1.vpce.amazonaws.com";
const ACCOUNT_OF_THE_FILES: &str = "111122223333";
