//! The dashboard and the alerts, with a real Prometheus: it scrapes the plugin under faults, and every panel has data.
//!
//! It scrapes each Fluent Bit named by `FLUENT_BIT`, and a host of our own, which is this program again. [`story`] is
//! for the picture in docs/metrics.md.

mod prometheus;
mod story;

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use testing::fake_kinesis::{FakeKinesis, Faults, Keep, Settings};
use testing::host::chunk::Chunk;
use testing::host::library::{Library, built_plugin};
use testing::host::metrics;
use testing::host::output::{ENVIRONMENT, Output};
use testing::sources::root;

use self::prometheus::Prometheus;

/// How long the plugin is watched: long enough for a rate over four scrapes, a second apart.
const WATCHED: Duration = Duration::from_secs(12);

/// A command that prints credentials which end in an hour, so that they have an end to show.
const CREDENTIALS: &str = r#"date -u -d '+1 hour' '+{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"secret","Expiration":"%Y-%m-%dT%H:%M:%SZ"}'"#;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("every_panel_has_data_from_a_host_of_our_own", || panels_have_data(&own_host)),
        Trial::test("the_alerts_are_valid_and_tell_what_they_claim", alerts),
    ];
    for binary in env::split_paths(&env::var_os("FLUENT_BIT").unwrap_or_default()).filter(|path| path.is_file()) {
        let told = Command::new(&binary).arg("--version").output().map(|told| told.stdout).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        let version = told.split_whitespace().find(|word| word.starts_with('v')).unwrap_or("unknown").to_owned();
        let name = format!("every_panel_has_data_from_fluent_bit_{version}");
        let inputs = || [("logs", "Name dummy\n Rate 500".to_owned())];
        let start = move |kinesis: &FakeKinesis| Scraped::fluent_bit(&binary, kinesis, &inputs());
        let trial = Trial::test(name, move || panels_have_data(&start));
        trials.push(match version.starts_with("v1.") {
            true => ignored(trial, "Fluent Bit 1.9 has no metrics that a plugin could add to"),
            false => trial,
        });
    }
    trials.extend(story::trial());
    for program in ["prometheus", "promtool"] {
        if let Err(error) = Command::new(program).arg("--version").output() {
            let reason = format!("{program} (Debian: prometheus): {error}");
            trials = trials.into_iter().map(|trial| ignored(trial, &reason)).collect();
        }
    }
    trials
}

fn ignored(trial: Trial, reason: &str) -> Trial {
    trial.with_kind(reason).with_ignored_flag(true)
}

fn alerts() -> Result<(), Failed> {
    for arguments in [["check", "rules", "kinesis.rules.yaml"], ["test", "rules", "kinesis.rules.test.yaml"]] {
        let ended = Command::new("promtool").args(arguments).current_dir(root().join("deploy/prometheus")).output()?;
        if !ended.status.success() {
            let told = [ended.stdout, ended.stderr].concat();
            return Err(String::from_utf8_lossy(&told).into_owned().into());
        }
    }
    Ok(())
}

/// Something that runs the plugin and can be scraped; killed on drop.
struct Scraped {
    path: &'static str,
    port: u16,
    _ends: Vec<Box<dyn std::any::Any>>,
}

fn panels_have_data(start: &dyn Fn(&FakeKinesis) -> Result<Scraped, Failed>) -> Result<(), Failed> {
    let faults = Faults { seed: 1, throttle_records: 0.1, error_500: 0.05, latency_ms: 20, ..Faults::default() };
    let kinesis = FakeKinesis::start(Settings { faults, keep: Keep::Counts, ..Settings::default() });
    let scraped = start(&kinesis)?;
    let prometheus = Prometheus::start(&scraped, 1)?;
    thread::sleep(WATCHED);
    shown(&prometheus, WATCHED).map(drop)
}

/// The answers to the queries of all panels, of which each must be a number.
fn shown(prometheus: &Prometheus, watched: Duration) -> Result<Vec<Value>, Failed> {
    let dashboard: Value = serde_json::from_slice(&fs::read(root().join("deploy/grafana/kinesis.json"))?)?;
    let panels = dashboard["panels"].as_array().ok_or("no panels")?;
    let mut shown = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().ok_or("no targets")? {
            let query = target["expr"].as_str().ok_or("no query")?;
            let series = prometheus.range(query, watched)?;
            let is_number =
                |point: &Value| point[1].as_str().is_some_and(|value| value.parse().is_ok_and(f64::is_finite));
            let mut points = series.iter().flat_map(|series| series["values"].as_array().into_iter().flatten());
            if !points.any(is_number) {
                return Err(format!("{}: no data for {query}", panel["title"]).into());
            }
            shown.push(serde_json::json!({ "panel": panel["id"], "legend": target["legendFormat"], "series": series }));
        }
    }
    match shown.len() {
        0..30 => Err(format!("{} queries", shown.len()).into()),
        _ => Ok(shown),
    }
}

/// The plugin in a process of our own, with its metrics served on a port.
fn own_host(kinesis: &FakeKinesis) -> Result<Scraped, Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.args([HOST, &kinesis.endpoint()]).env_clear().envs(ENVIRONMENT);
    command.envs(env::var_os("KINESIS_SO").map(|so| ("KINESIS_SO", so)));
    let mut host = command.stdout(Stdio::piped()).spawn()?;
    let told = host.stdout.take().ok_or("no output")?;
    let ends = Process(host);
    let mut port = String::new();
    BufReader::new(told).read_line(&mut port)?;
    Ok(Scraped { path: "/metrics", port: port.trim().parse()?, _ends: vec![Box::new(ends)] })
}

/// The argument that makes this program that host, followed by Kinesis's endpoint.
pub const HOST: &str = "dashboard-host";

/// The host: prints its port, and flushes until it is killed.
pub fn host(endpoint: &str) -> Result<ExitCode, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let library = Library::open(&built_plugin()?)?;
    let _definition = library.register(0)?;
    let options = [("stream", "logs"), ("region", "eu-west-1"), ("process_credentials", CREDENTIALS)];
    let mut output = Output::new("kinesis.0", &[&options[..], &[("endpoint", endpoint)]].concat())?;
    output.init(&library);
    thread::spawn(move || listener.incoming().flatten().for_each(|connection| drop(answer(connection))));
    let mut chunk = Chunk::default();
    (0..2000).for_each(|number| chunk.push(1_760_000_000, "log", format!("line {number}").as_bytes()));
    loop {
        output.flush(&library, &chunk.bytes, c"app");
        thread::sleep(Duration::from_millis(50));
    }
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut request = [0; 4096];
    let _ = connection.read(&mut request)?;
    let body = metrics::exposition();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    connection.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Scraped {
    /// Each input has a tag, and an output of that name with the stream of that name. Flushes and retries are those of
    /// fluent-bit-conf/reliable.conf.
    fn fluent_bit(binary: &Path, kinesis: &FakeKinesis, inputs: &[(&str, String)]) -> Result<Scraped, Failed> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let mut text = "[SERVICE]\n Flush 1\n scheduler.base 3\n scheduler.cap 60\n".to_owned();
        text += &format!(" HTTP_Server On\n HTTP_Listen 127.0.0.1\n HTTP_Port {port}\n");
        for (tag, input) in inputs {
            text += &format!("[INPUT]\n Tag {tag}\n {input}\n");
            text += &format!("[OUTPUT]\n Name kinesis\n Alias {tag}\n Match {tag}\n stream {tag}\n Workers 1\n");
            text += &format!(" region eu-west-1\n endpoint {}\n retry_limit no_limits\n", kinesis.endpoint());
            text += &format!(" process_credentials {CREDENTIALS}\n");
        }
        let configuration = directory.path().join("main.conf");
        fs::write(&configuration, text)?;
        let plugin = built_plugin().map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.arg("-e").arg(plugin).arg("-c").arg(configuration).envs(ENVIRONMENT);
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let ends: Vec<Box<dyn std::any::Any>> = vec![Box::new(process), Box::new(directory)];
        Ok(Scraped { path: "/api/v2/metrics/prometheus", port, _ends: ends })
    }
}

/// A port that was free a moment ago; neither program reports which one it took.
fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
