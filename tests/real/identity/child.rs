//! Instances of the plugin in their own process, with their own environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kinesis::log::{Level, LogSink};
use kinesis::plugin::Plugin;
use libtest_mimic::Failed;
use serde::{Deserialize, Serialize};

use super::chunk::chunk;
use super::issuer::is_leaked_in;

/// The argument that makes this program a child.
pub const CHILD: &str = "identity-child";

/// Longer than anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

type Options = BTreeMap<String, String>;

/// A process to start.
#[derive(Default)]
pub struct Setup {
    /// Shell code that runs first, in its place.
    before: String,
    instances: Vec<Options>,
    environment: BTreeMap<String, OsString>,
}

impl Setup {
    /// One instance that sends to `endpoint`, without credentials. Nothing is inherited from this process's
    /// environment.
    pub fn new(endpoint: &str) -> Setup {
        Setup::default()
            .instance(endpoint)
            .environment("AWS_EC2_METADATA_DISABLED", "true")
            .environment("AWS_CONFIG_FILE", "/dev/null")
            .environment("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    }

    /// Adds an instance; the following options belong to it.
    pub fn instance(mut self, endpoint: &str) -> Setup {
        self.instances.push(Options::new());
        self.option("endpoint", endpoint)
            .option("stream", "logs")
            .option("region", "eu-west-1")
            .option("retries_on_batch_request", "0")
    }

    pub fn option(mut self, name: &str, value: &str) -> Setup {
        self.instances.last_mut().expect("there is one").insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes an option that every instance has.
    pub fn without(mut self, name: &str) -> Setup {
        self.instances.last_mut().expect("there is one").remove(name);
        self
    }

    pub fn environment(self, name: &str, value: &str) -> Setup {
        self.environment_bytes(name, value.as_bytes())
    }

    /// Sets a variable that need not be text.
    pub fn environment_bytes(mut self, name: &str, value: &[u8]) -> Setup {
        self.environment.insert(name.to_owned(), OsString::from_vec(value.to_owned()));
        self
    }

    /// Runs this shell code before the process, in its place.
    pub fn before(self, code: &str) -> Setup {
        Setup { before: code.to_owned(), ..self }
    }

    /// Starts the process and its instances.
    pub fn start(self) -> Result<Running, Failed> {
        let mut process = Command::new("sh")
            .args(["-c", &format!("{}\nexec \"$0\" {CHILD}", self.before)])
            .arg(std::env::current_exe()?)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let (tell, messages) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(Message::Log(instance, level, text)) => {
                        lines.lock().unwrap().push(format!("{instance} {level} {text}"));
                    }
                    Ok(message) => drop(tell.send(message)),
                    Err(_) => drop(tell.send(Message::Failed(format!("printed {line:?}")))),
                }
            }
        });
        let mut running = Running { process, stdin: Some(stdin), messages, log };
        running.send(&serde_json::to_string(&self.instances)?)?;
        Ok(running)
    }
}

/// What a child reports.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    /// Instance, level and text of a log line.
    Log(usize, String, String),
    /// How many milliseconds it took to start all instances.
    Started(u64),
    /// The answer to a flush, and how many milliseconds it took.
    Answer(String, u64),
    /// Something that must not happen.
    Failed(String),
}

/// A running process.
pub struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Message>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Waits until all instances have started. Returns how long that took.
    pub fn started(&self) -> Result<Duration, Failed> {
        match self.next(PATIENCE)? {
            Message::Started(milliseconds) => Ok(Duration::from_millis(milliseconds)),
            other => Err(self.explain(&format!("{other:?}"))),
        }
    }

    /// Waits until the start is refused. Returns the reason.
    pub fn refused(&self) -> Result<String, Failed> {
        match self.next(Duration::from_secs(20))? {
            Message::Failed(reason) => Ok(reason),
            other => Err(self.explain(&format!("{other:?}"))),
        }
    }

    /// Waits until a line contains all of `words`.
    pub fn expect_line_within(&self, patience: Duration, words: &[&str]) -> Result<(), Failed> {
        let start = Instant::now();
        while start.elapsed() < patience && self.expect_line(words).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
        self.expect_line(words)
    }

    /// Peak memory of the process so far, in MiB.
    pub fn peak_memory(&self) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
    }

    /// Flushes a chunk through the first instance.
    pub fn flush(&mut self) -> Result<(String, Duration), Failed> {
        self.flush_through(0)
    }

    /// Flushes a chunk through an instance.
    pub fn flush_through(&mut self, instance: usize) -> Result<(String, Duration), Failed> {
        self.send(&instance.to_string())?;
        match self.next(PATIENCE)? {
            Message::Answer(answer, milliseconds) => Ok((answer, Duration::from_millis(milliseconds))),
            other => Err(self.explain(&format!("{other:?}"))),
        }
    }

    /// Flushes a chunk and fails unless this is the answer.
    pub fn expect(&mut self, answer: &str) -> Result<Duration, Failed> {
        let (given, time) = self.flush()?;
        if given == answer { Ok(time) } else { Err(self.explain(&format!("{given} instead of {answer}"))) }
    }

    /// Flushes chunks until one is delivered, for up to `patience`.
    pub fn expect_delivery_within(&mut self, patience: Duration) -> Result<(), Failed> {
        let start = Instant::now();
        while self.flush()?.0 != "Delivered" {
            if start.elapsed() > patience {
                return Err(self.explain(&format!("nothing was delivered for {patience:?}")));
            }
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// The log so far: instance, level, text.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Fails unless a line contains all of `words`.
    pub fn expect_line(&self, words: &[&str]) -> Result<(), Failed> {
        match self.log().iter().any(|line| words.iter().all(|word| line.contains(word))) {
            true => Ok(()),
            false => Err(self.explain(&format!("no line with {words:?}"))),
        }
    }

    /// Stops the instances. Fails if a secret was printed or logged, or anything that is not a log line.
    pub fn stop(mut self) -> Result<(), Failed> {
        drop(self.stdin.take());
        let status = self.process.wait()?;
        let mut printed = String::new();
        self.process.stderr.take().expect("stderr is piped").read_to_string(&mut printed)?;
        if let Some(line) = self.log().iter().find(|line| is_leaked_in(line)) {
            return Err(format!("a secret was logged: {line}").into());
        }
        match status.success() && printed.is_empty() {
            true => Ok(()),
            false => Err(self.explain(&format!("ended with {status} and printed {printed:?}"))),
        }
    }

    pub fn explain(&self, what: &str) -> Failed {
        format!("{what}; the log:\n{}", self.log().join("\n")).into()
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.stdin.as_mut().expect("it runs"), "{line}")
    }

    fn next(&self, patience: Duration) -> Result<Message, Failed> {
        self.messages.recv_timeout(patience).map_err(|error| {
            self.explain(match error {
                RecvTimeoutError::Timeout => "no answer",
                RecvTimeoutError::Disconnected => "the process ended",
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test leaves it running.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The child: reads the instances' options, then an instance's number for each flush. Ends with its input.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            say(&Message::Failed(failed.message().unwrap_or("failed").to_owned()));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Failed> {
    let mut lines = io::stdin().lines();
    let instances: Vec<Options> = serde_json::from_str(&lines.next().ok_or("no options")??)?;
    let begin = Instant::now();
    let start = |(number, options): (usize, &Options)| {
        Plugin::start(
            &|name| options.get(name).cloned(),
            Arc::new(Log { instance: number }),
            &|_| None,
            Arc::new(|| false),
        )
    };
    let plugins = instances.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
    say(&Message::Started(milliseconds(begin)));
    for (number, line) in lines.enumerate() {
        let plugin = plugins.get(line?.parse::<usize>()?).ok_or("no such instance")?;
        let begin = Instant::now();
        // On a separate thread, like a host with workers.
        let record = chunk(&format!("record {number}"));
        let answer = thread::scope(|scope| scope.spawn(|| plugin.flush(&record, b"app")).join());
        say(&Message::Answer(format!("{:?}", answer.map_err(|_| "a flush panicked")?), milliseconds(begin)));
    }
    plugins.iter().for_each(Plugin::stop);
    Ok(())
}

fn milliseconds(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn say(message: &Message) {
    println!("{}", serde_json::to_string(message).expect("a message is JSON"));
}

struct Log {
    instance: usize,
}

impl LogSink for Log {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn write(&self, level: Level, line: &str) {
        say(&Message::Log(self.instance, format!("{level:?}"), line.to_owned()));
    }
}
