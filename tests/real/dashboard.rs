//! The dashboard and the alerts, with a real Prometheus: it scrapes the plugin under faults, and every panel has data.
//!
//! It scrapes each Fluent Bit named by `FLUENT_BIT`, and a host of our own, which is this program again. `DATA` names
//! a file for what the panels show; scripts/picture draws it.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use testing::fake_kinesis::{FakeKinesis, Faults, Keep, Settings};
use testing::host::chunk::Chunk;
use testing::host::library::{Library, built_plugin};
use testing::host::metrics;
use testing::host::output::{ENVIRONMENT, Output};
use testing::sources::root;

/// How long the plugin is watched: long enough for rates over [`RATE`], longer for a picture.
fn watched() -> Duration {
    Duration::from_secs(if env::var_os("DATA").is_some() { 90 } else { 12 })
}

const RATE: &str = "5s";

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
        let trial = Trial::test(name, move || panels_have_data(&|kinesis| Scraped::fluent_bit(&binary, kinesis)));
        trials.push(match version.starts_with("v1.") {
            true => ignored(trial, "Fluent Bit 1.9 has no metrics that a plugin could add to"),
            false => trial,
        });
    }
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
    let prometheus = Prometheus::start(&scraped)?;
    thread::sleep(watched());
    let dashboard: Value = serde_json::from_slice(&fs::read(root().join("deploy/grafana/kinesis.json"))?)?;
    let panels = dashboard["panels"].as_array().ok_or("no panels")?;
    let mut shown = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().ok_or("no targets")? {
            let query = target["expr"].as_str().ok_or("no query")?;
            let query = query.replace("$__rate_interval", RATE).replace("$name", ".*").replace("$stream", ".*");
            let series = prometheus.range(&query)?;
            let is_number =
                |point: &Value| point[1].as_str().is_some_and(|value| value.parse().is_ok_and(f64::is_finite));
            let mut points = series.iter().flat_map(|series| series["values"].as_array().into_iter().flatten());
            if !points.any(is_number) {
                return Err(format!("{}: no data for {query}", panel["title"]).into());
            }
            shown.push(serde_json::json!({ "panel": panel["id"], "legend": target["legendFormat"], "series": series }));
        }
    }
    if shown.len() < 25 {
        return Err(format!("{} queries", shown.len()).into());
    }
    if let Some(file) = env::var_os("DATA") {
        fs::write(file, serde_json::to_vec(&shown)?)?;
    }
    Ok(())
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
    let mut output = Output::new("kinesis.0", &[("stream", "logs"), ("region", "eu-west-1"), ("endpoint", endpoint)])?;
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
    fn fluent_bit(binary: &Path, kinesis: &FakeKinesis) -> Result<Scraped, Failed> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let service = format!("[SERVICE]\n Flush 0.2\n HTTP_Server On\n HTTP_Listen 127.0.0.1\n HTTP_Port {port}\n");
        let input = "[INPUT]\n Name dummy\n Tag app\n Rate 500\n";
        let output = "[OUTPUT]\n Name kinesis\n Match app\n stream logs\n region eu-west-1\n Workers 1\n";
        let output = format!("{output} endpoint {}\n", kinesis.endpoint());
        let configuration = directory.path().join("main.conf");
        fs::write(&configuration, [service.as_str(), input, &output].concat())?;
        let plugin = built_plugin().map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.arg("-e").arg(plugin).arg("-c").arg(configuration).envs(ENVIRONMENT);
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let ends: Vec<Box<dyn std::any::Any>> = vec![Box::new(process), Box::new(directory)];
        Ok(Scraped { path: "/api/v2/metrics/prometheus", port, _ends: ends })
    }
}

struct Prometheus {
    port: u16,
    started: f64,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(scraped: &Scraped) -> Result<Prometheus, Failed> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let rules: PathBuf = root().join("deploy/prometheus/kinesis.rules.yaml");
        let configuration = format!(
            "global: {{ scrape_interval: 1s }}\nrule_files: [ '{}' ]\nscrape_configs:\n  - job_name: fluent-bit\n    metrics_path: {}\n    static_configs: [ {{ targets: [ '127.0.0.1:{}' ] }} ]\n",
            rules.display(),
            scraped.path,
            scraped.port
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, configuration)?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let began = Instant::now();
        let mut prometheus = Prometheus { port, started: 0.0, _process: process, _directory: directory };
        while prometheus.started == 0.0 {
            if began.elapsed() > Duration::from_secs(60) {
                return Err("Prometheus does not scrape within 60 s".into());
            }
            thread::sleep(Duration::from_millis(200));
            let first = "min(timestamp(fluentbit_output_kinesis_records_delivered_total))";
            let found = prometheus.ask(&format!("query?query={}", encoded(first))).unwrap_or_default();
            let time = found.first().and_then(|result| result["value"][1].as_str()?.parse().ok());
            prometheus.started = time.unwrap_or(0.0);
        }
        Ok(prometheus)
    }

    /// The series of a query over the whole time, second by second.
    fn range(&self, query: &str) -> Result<Vec<Value>, Failed> {
        let end = self.started + watched().as_secs_f64();
        self.ask(&format!("query_range?query={}&start={}&end={end}&step=1", encoded(query), self.started))
    }

    fn ask(&self, question: &str) -> Result<Vec<Value>, Failed> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
        connection.write_all(format!("GET /api/v1/{question} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
        let body: Value = serde_json::from_str(body)?;
        match body["status"].as_str() {
            Some("success") => Ok(body["data"]["result"].as_array().cloned().unwrap_or_default()),
            _ => Err(format!("{question}: {body}").into()),
        }
    }
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A port that was free a moment ago; neither program reports which one it took.
fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
