//! One instance of the plugin in its own process, driven like the C ABI drives it: start, flush, stop.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use kinesis::log::{Level, LogSink};
use kinesis::plugin::Plugin;
use libtest_mimic::Failed;
use serde::{Deserialize, Serialize};

/// The argument that makes this program a child that flushes.
pub const CHILD: &str = "flush-child";

/// Longer than all retries within a flush together.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(180);

const TAG: &[u8] = b"app.access";

/// An instance's options and environment; nothing is inherited.
#[derive(Serialize, Deserialize)]
pub struct Instance {
    options: BTreeMap<String, String>,
    #[serde(skip)]
    environment: BTreeMap<String, String>,
    chunks: Vec<String>,
    pause: Duration,
    /// Whether a chunk is retried until it is delivered.
    persistent: bool,
    #[serde(skip)]
    clock_ahead: i64,
}

/// The results of the flushes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`kinesis::outcome::Outcome`] of each flush, by name.
    pub answers: Vec<String>,
    /// Level and text of the lines logged meanwhile.
    pub log: Vec<(String, String)>,
    /// Peak memory of the process, in MiB.
    pub peak_memory_mib: u64,
}

impl Instance {
    /// An instance that sends to `stream` at `endpoint`, without credentials.
    pub fn new(endpoint: String, stream: &str) -> Instance {
        Instance::in_region(stream).option("endpoint", &endpoint)
    }

    /// An instance that sends to `stream` wherever the region's endpoint is, without credentials.
    pub fn in_region(stream: &str) -> Instance {
        let instance = Instance {
            options: BTreeMap::new(),
            environment: BTreeMap::new(),
            chunks: Vec::new(),
            pause: Duration::ZERO,
            persistent: false,
            clock_ahead: 0,
        };
        instance
            .option("stream", stream)
            .option("region", "us-east-1")
            .environment("AWS_EC2_METADATA_DISABLED", "true")
            .environment("AWS_CONFIG_FILE", "/dev/null")
            .environment("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    }

    /// Sets these credentials in the environment.
    pub fn keys(self, id: &str, secret: &str) -> Instance {
        self.environment("AWS_ACCESS_KEY_ID", id).environment("AWS_SECRET_ACCESS_KEY", secret)
    }

    pub fn option(mut self, name: &str, value: &str) -> Instance {
        self.options.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Instance {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Waits this long between flushes.
    pub fn pause(mut self, pause: Duration) -> Instance {
        self.pause = pause;
        self
    }

    /// Retries a chunk, like Fluent Bit, until it is delivered.
    pub fn persistent(self) -> Instance {
        Instance { persistent: true, ..self }
    }

    /// Runs with a clock that is this many seconds ahead or behind.
    pub fn clock_ahead(self, seconds: i64) -> Instance {
        Instance { clock_ahead: seconds, ..self }
    }

    /// Starts the instance, flushes the chunks one after another, and stops it.
    pub fn flush(mut self, chunks: &[Vec<u8>]) -> Result<Report, Failed> {
        self.chunks = chunks.iter().map(|chunk| base64_simd::STANDARD.encode_to_string(chunk)).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD).env_clear().envs(&self.environment);
        let folder = tempfile::tempdir()?;
        if self.clock_ahead != 0 {
            command.env("LD_PRELOAD", wrong_clock(folder.path())?).env("CLOCK_AHEAD", self.clock_ahead.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().expect("stdin is piped").write_all(serde_json::to_string(&self)?.as_bytes())?;
        let output = child.wait_with_output()?;
        // The plugin's lines belong in the host's log; anything else it prints is a defect.
        let printed = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !printed.is_empty() {
            return Err(format!("the flushing process ended with {} and printed {printed:?}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The library that falsifies the clock, built with the C compiler that the crate needs anyway.
fn wrong_clock(folder: &Path) -> Result<PathBuf, Failed> {
    let library = folder.join("clock_ahead.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/peers/clock_ahead.c"))
        .arg("-ldl")
        .status()?;
    if built.success() { Ok(library) } else { Err(format!("cc: {built}").into()) }
}

impl Report {
    /// Fails unless every flush was answered with `answer`.
    pub fn expect(&self, answer: &str) -> Result<(), Failed> {
        match self.answers.iter().all(|given| given == answer) && !self.answers.is_empty() {
            true => Ok(()),
            false => Err(format!("expected {answer} for every flush: {self:#?}").into()),
        }
    }

    /// Fails unless a warning or an error contains `words`.
    pub fn expect_complaint(&self, words: &str) -> Result<(), Failed> {
        let complains =
            |(level, text): &(String, String)| (level == "Error" || level == "Warn") && text.contains(words);
        match self.log.iter().any(complains) {
            true => Ok(()),
            false => Err(format!("expected a warning or an error with {words:?}: {self:#?}").into()),
        }
    }

    /// Fails if anything other than state changes was logged, except that records travel unencrypted if they do.
    pub fn expect_no_complaint(&self) -> Result<(), Failed> {
        let is_fine = |(level, line): &(String, String)| {
            level == "Info" || level == "Debug" || line.contains("reached without TLS")
        };
        match self.log.iter().all(is_fine) {
            true => Ok(()),
            false => Err(format!("expected neither warnings nor errors: {self:#?}").into()),
        }
    }
}

/// The child: reads an [`Instance`] from stdin and writes a [`Report`] to stdout.
pub fn child() -> ExitCode {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(run_instance()));
    let error = match receiver.recv_timeout(FLUSH_TIMEOUT) {
        Ok(Ok(report)) => {
            println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
            return ExitCode::SUCCESS;
        }
        Ok(Err(failed)) => failed.message().unwrap_or("failed").to_owned(),
        Err(_) => format!("no answer after {FLUSH_TIMEOUT:?}, or a panic"),
    };
    // Nothing can be done if the parent is gone.
    writeln!(io::stderr(), "{error}").ok();
    ExitCode::FAILURE
}

fn run_instance() -> Result<Report, Failed> {
    let instance: Instance = serde_json::from_reader(io::stdin())?;
    let log = Arc::new(Log::default());
    let plugin =
        Plugin::start(&|name| instance.options.get(name).cloned(), log.clone(), &|_| None, Arc::new(|| false))?;
    let mut chunks = Vec::new();
    for chunk in &instance.chunks {
        chunks.push(base64_simd::STANDARD.decode_to_vec(chunk)?);
    }
    // On a separate thread, like a host with workers.
    let flush = || {
        let flush = |(index, chunk): (usize, &Vec<u8>)| {
            thread::sleep(if index > 0 { instance.pause } else { Duration::ZERO });
            answers(&plugin, chunk, instance.persistent)
        };
        chunks.iter().enumerate().flat_map(flush).collect::<Vec<_>>()
    };
    let answers = thread::scope(|scope| scope.spawn(flush).join()).map_err(|_| "a flush panicked")?;
    plugin.stop();
    let log = std::mem::take(&mut *log.0.lock().expect("no thread panicked while it logged"));
    Ok(Report { answers, log, peak_memory_mib: peak_memory_mib()? })
}

fn peak_memory_mib() -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// The answers to a chunk, until the last one.
fn answers(plugin: &Plugin, chunk: &[u8], persistent: bool) -> Vec<String> {
    let mut answers = vec![format!("{:?}", plugin.flush(chunk, TAG))];
    while persistent && answers.last().is_some_and(|answer| answer == "Retry") {
        thread::sleep(Duration::from_secs(2));
        answers.push(format!("{:?}", plugin.flush(chunk, TAG)));
    }
    answers
}

#[derive(Default)]
struct Log(Mutex<Vec<(String, String)>>);

impl LogSink for Log {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn write(&self, level: Level, line: &str) {
        self.0.lock().expect("no thread panicked while it logged").push((format!("{level:?}"), line.to_owned()));
    }
}
