//! The sink, the plugin and the floor as separate processes, to measure the processor time of each.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::clock;
use crate::plugin::Cost;
use crate::sink::Counts;
use testing::corpora::Corpus;
use testing::host::output::ENVIRONMENT;

/// The wire format of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Json,
    Cbor,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Json => "json",
            Protocol::Cbor => "cbor",
        }
    }
}

/// A running sink.
pub struct Sink {
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    pub port: u16,
    pub ca_file: PathBuf,
}

impl Sink {
    /// Starts a sink with its files in `home`.
    pub fn start(home: &Path, latency_ms: u32, capture: Option<&Path>) -> Result<Sink, Box<dyn Error>> {
        let ca_file = home.join("ca.pem");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sink", "--latency-ms", &latency_ms.to_string(), "--ca-file"]).arg(&ca_file);
        if let Some(file) = capture {
            command.arg("--capture").arg(file);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the sink has no stdout")?;
        let mut sink = Sink { child: Some(child), stdout: BufReader::new(stdout), port: 0, ca_file };
        let mut ready = String::new();
        sink.stdout.read_line(&mut ready)?;
        let port = ready.split_whitespace().nth(1).and_then(|endpoint| endpoint.rsplit(':').next()?.parse().ok());
        sink.port = port.ok_or("the sink did not start")?;
        Ok(sink)
    }

    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Lets a program trust only the sink: reading the system's certificates should not be measured.
    pub fn trusted_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SSL_CERT_FILE", &self.ca_file).env_remove("SSL_CERT_DIR").env_remove("AWS_CA_BUNDLE")
    }

    /// Ends the sink and returns its counts.
    pub fn stop(mut self) -> Result<Counts, Box<dyn Error>> {
        let child = self.child.take().ok_or("the sink was stopped before")?;
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        let mut counts = String::new();
        self.stdout.read_to_string(&mut counts)?;
        clock::wait(child)?;
        Ok(serde_json::from_str(&counts)?)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // If this fails, it is already exiting.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// One run of the plugin with a sink of its own.
pub struct PluginRun<'a> {
    pub plugin: &'a Path,
    pub corpus: Corpus,
    pub records: u64,
    pub protocol: Protocol,
    pub latency_ms: u32,
    /// More properties of the output, `KEY=VALUE`.
    pub properties: &'a [String],
    pub capture: Option<&'a Path>,
}

impl PluginRun<'_> {
    /// Runs it. Checks that every record arrived, unless records are combined.
    pub fn cost(&self, home: &Path) -> Result<(Cost, Counts), Box<dyn Error>> {
        let sink = Sink::start(home, self.latency_ms, self.capture)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["plugin", "--corpus", self.corpus.name(), "--records", &self.records.to_string()]);
        command.arg("--plugin").arg(self.plugin);
        // The first value of an option counts.
        for property in self.properties {
            command.args(["-p", property]);
        }
        for property in ["stream=logs", "region=us-east-1", &format!("endpoint={}", sink.endpoint())] {
            command.args(["-p", property]);
        }
        if self.protocol == Protocol::Cbor {
            command.args(["-p", "protocol=cbor"]);
        }
        sink.trusted_by(command.args(["-p", "log_level=warn"]).envs(ENVIRONMENT));
        let cost: Cost = answer(command)?;
        let counts = sink.stop()?;
        // Combined records are one record to the sink; the plugin's answer shows that each was accepted.
        let is_each_alone = !self.properties.iter().any(|property| property.starts_with("aggregation="));
        if is_each_alone && counts.records != self.records {
            return Err(format!("{} of {} records arrived", counts.records, self.records).into());
        }
        Ok((cost, counts))
    }
}

/// Sends captured bodies to a sink.
pub fn floor(home: &Path, bodies: &Path, records: u64) -> Result<Cost, Box<dyn Error>> {
    let sink = Sink::start(home, 0, None)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "--port", &sink.port.to_string(), "--records", &records.to_string()]);
    command.arg("--bodies").arg(bodies).arg("--ca-file").arg(&sink.ca_file);
    let cost: Cost = answer(command)?;
    let counts = sink.stop()?;
    if counts.records != cost.records {
        return Err(format!("{} of {} records arrived", counts.records, cost.records).into());
    }
    Ok(cost)
}

/// Whether the plugin has the option `protocol`; a plugin without it warns and sends JSON.
pub fn has_cbor(plugin: &Path, home: &Path) -> Result<bool, Box<dyn Error>> {
    let (corpus, protocol) = (Corpus::Access, Protocol::Cbor);
    let run = PluginRun { plugin, corpus, records: 1, protocol, latency_ms: 0, properties: &[], capture: None };
    Ok(run.cost(home)?.1.cbor_requests > 0)
}

/// Runs a command that prints one JSON value.
fn answer<T: serde::de::DeserializeOwned>(mut command: Command) -> Result<T, Box<dyn Error>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(format!("{command:?}: {}", output.status).into()),
    }
}
