//! A Prometheus that scrapes the plugin.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use testing::sources::root;

use super::{Process, Scraped, free_port};

/// Killed on drop.
pub struct Prometheus {
    port: u16,
    /// How often it scrapes, in seconds.
    pub every: u64,
    /// When it had scraped the first time, as Unix time.
    pub started: f64,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `scraped` so many seconds apart, and has done so once.
    pub fn start(scraped: &Scraped, every: u64) -> Result<Prometheus, Failed> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let rules: PathBuf = root().join("deploy/prometheus/kinesis.rules.yaml");
        let configuration = format!(
            "global: {{ scrape_interval: {every}s }}\nrule_files: [ '{}' ]\nscrape_configs:\n  - job_name: fluent-bit\n    metrics_path: {}\n    static_configs: [ {{ targets: [ '127.0.0.1:{}' ] }} ]\n",
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
        let mut prometheus = Prometheus { port, every, started: 0.0, _process: process, _directory: directory };
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

    /// The series of a query of the dashboard, since the start.
    pub fn range(&self, query: &str, watched: Duration) -> Result<Vec<Value>, Failed> {
        // As Grafana chooses it.
        let rate = format!("{}s", 4 * self.every);
        let query = query.replace("$__rate_interval", &rate).replace("$name", ".*").replace("$stream", ".*");
        let (start, end, step) = (self.started, self.started + watched.as_secs_f64(), self.every);
        self.ask(&format!("query_range?query={}&start={start}&end={end}&step={step}", encoded(&query)))
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
