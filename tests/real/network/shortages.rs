//! A machine without free threads or files: flushes are retried, and the log says what is missing.
//!
//! The thread limit does not apply to root, so the process switches to another user id, which requires root.

use std::fs::File;
use std::process::{Command, ExitCode, Output};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use kinesis::aws::blocking::Blocking;
use kinesis::aws::connect::resolver::Resolver;
use kinesis::log::{Level, LogSink};
use kinesis::plugin::Plugin;
use libtest_mimic::{Failed, Trial};

use super::stand_in::{KEY, SECRET, chunks, kinesis};
use super::{trial, trial_with};
use crate::finish;
use testing::fake_kinesis::FakeKinesis;
use testing::programs::said;

/// The argument with which this program runs inside, followed by what is scarce there.
pub const INSIDE: &str = "--short-of";

/// Users without any processes except those of one test each.
const USERS: [u32; 4] = [54_321, 54_322, 54_323, 54_324];

pub fn trials() -> Vec<Trial> {
    vec![
        trial_with(another_user_is_missing, names_are_resolved_though_no_more_thread_is_to_be_had),
        trial_with(another_user_is_missing, without_a_thread_the_start_is_refused_with_the_reason),
        trial_with(another_user_is_missing, without_a_thread_for_names_a_name_is_not_resolved_until_there_is_one),
        trial_with(another_user_is_missing, without_a_thread_for_compression_the_delivery_thread_compresses),
        trial(a_process_without_files_to_open_says_which_limit_it_is),
        trial(a_connection_that_is_refused_names_the_address),
    ]
}

/// Runs this program again with a limit, as another user or as the same.
fn run(limit: &str, user: Option<u32>, what: &str) -> std::io::Result<Output> {
    // The program may be where only root has access, so it is opened first and run by its descriptor.
    let user = user.map_or(String::new(), |user| format!("setpriv --reuid={user} --clear-groups --"));
    let script = format!("exec 9<\"$0\"; exec prlimit {limit} {user} /proc/self/fd/9 {INSIDE} {what}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(std::env::current_exe()?).current_dir("/").env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("AWS_ACCESS_KEY_ID", KEY);
    command.env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_CONFIG_FILE", "/dev/null");
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null").output()
}

fn another_user_is_missing() -> Option<String> {
    let possible = run("--nproc=40", Some(USERS[0]), "nothing").is_ok_and(|output| output.status.success());
    (!possible).then(|| "no other user: needs root, setpriv and prlimit".to_owned())
}

fn run_well(limit: &str, user: Option<u32>, what: &str) -> Result<(), Failed> {
    let output = run(limit, user, what)?;
    if output.status.success() && output.stderr.is_empty() { Ok(()) } else { Err(said(&output).into()) }
}

fn names_are_resolved_though_no_more_thread_is_to_be_had() -> Result<(), Failed> {
    run_well("--nproc=40", Some(USERS[0]), "another-thread")
}

fn without_a_thread_the_start_is_refused_with_the_reason() -> Result<(), Failed> {
    run_well("--nproc=40", Some(USERS[1]), "any-thread")
}

fn without_a_thread_for_names_a_name_is_not_resolved_until_there_is_one() -> Result<(), Failed> {
    run_well("--nproc=40", Some(USERS[2]), "a-thread-for-names")
}

fn without_a_thread_for_compression_the_delivery_thread_compresses() -> Result<(), Failed> {
    run_well("--nproc=40", Some(USERS[3]), "a-thread-for-compression")
}

fn a_process_without_files_to_open_says_which_limit_it_is() -> Result<(), Failed> {
    run_well("--nofile=64", None, "files")
}

/// Does as told, inside.
pub fn inside(what: Option<&str>) -> ExitCode {
    finish(match what {
        Some("nothing") => Ok(()),
        Some("another-thread") => flush_without_another_thread(),
        Some("any-thread") => start_without_threads(),
        Some("a-thread-for-names") => resolve_without_a_thread(),
        Some("a-thread-for-compression") => compress_without_threads(),
        Some("files") => flush_without_files(),
        _ => Err("what?".into()),
    })
}

/// Threads that do nothing until this is dropped.
struct Idle(Vec<(mpsc::Sender<()>, JoinHandle<bool>)>);

impl Idle {
    /// As many as possible.
    fn all() -> Idle {
        let mut threads = Vec::new();
        loop {
            let (stay, stays) = mpsc::channel();
            match thread::Builder::new().spawn(move || stays.recv().is_ok()) {
                Ok(thread) => threads.push((stay, thread)),
                Err(_) => return Idle(threads),
            }
            assert!(threads.len() < 100, "there is no limit");
        }
    }

    fn end_one(&mut self) {
        let (stay, thread) = self.0.pop().expect("there are some");
        drop(stay);
        thread.join().expect("it does nothing");
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        while !self.0.is_empty() {
            self.end_one();
        }
    }
}

fn start(kinesis: &FakeKinesis, host: &str, log: &Log) -> Result<Plugin, Failed> {
    start_with(kinesis, host, &[], log)
}

fn start_with(
    kinesis: &FakeKinesis,
    host: &str,
    options: &'static [(&str, &str)],
    log: &Log,
) -> Result<Plugin, Failed> {
    let endpoint = format!("http://{host}:{}", kinesis.address().port());
    let property = |name: &str| match name {
        "stream" => Some("logs".to_owned()),
        "region" => Some("us-east-1".to_owned()),
        "endpoint" => Some(endpoint.clone()),
        "retries_on_batch_request" => Some("0".to_owned()),
        _ => options.iter().find(|(option, _)| *option == name).map(|(_, value)| (*value).to_owned()),
    };
    Ok(Plugin::start(&property, Arc::new(log.clone()), &|_| None, Arc::new(|| false))?)
}

fn flush(plugin: &Plugin) -> String {
    format!("{:?}", plugin.flush(&chunks(1).concat(), b"app"))
}

fn flush_without_another_thread() -> Result<(), Failed> {
    let (kinesis, log) = (kinesis(), Log::default());
    let plugin = start(&kinesis, "localhost", &log)?;
    let _idle = Idle::all();
    let answer = flush(&plugin);
    plugin.stop();
    if answer == "Delivered" { Ok(()) } else { Err(format!("{answer}: {:#?}", log.lines()).into()) }
}

fn start_without_threads() -> Result<(), Failed> {
    let (kinesis, log) = (kinesis(), Log::default());
    let mut idle = Idle::all();
    // None at all, and then one, for delivery only.
    let reasons = ["plugin: cannot start: ", "profile: /dev/null cannot be read: no thread is available: "];
    for reason in reasons {
        let Err(failed) = start(&kinesis, "localhost", &log) else { return Err("it started".into()) };
        let said = failed.message().unwrap_or_default();
        assert!(said.contains(&format!("{reason}Resource temporarily unavailable (os error 11)")), "{said}");
        idle.end_one();
    }
    let plugin = start(&kinesis, "localhost", &log)?;
    let answer = flush(&plugin);
    plugin.stop();
    if answer == "Delivered" { Ok(()) } else { Err(format!("{answer}: {:#?}", log.lines()).into()) }
}

fn compress_without_threads() -> Result<(), Failed> {
    const OPTIONS: &[(&str, &str)] = &[("aggregation", "lines"), ("compression", "zstd"), ("compression_threads", "2")];
    let kinesis = kinesis();
    let mut idle = Idle::all();
    // For delivery and for names.
    idle.end_one();
    idle.end_one();
    let deliver = || -> Result<Vec<String>, Failed> {
        let log = Log::default();
        let plugin = start_with(&kinesis, "localhost", OPTIONS, &log)?;
        let answer = format!("{:?}", plugin.flush(&event_of(200_000), b"app"));
        plugin.stop();
        let lines = log.lines();
        match answer == "Delivered" {
            true => Ok(lines.into_iter().filter(|line| line.contains("threads for compression")).collect()),
            false => Err(format!("{answer}: {lines:#?}").into()),
        }
    };
    let said = deliver()?;
    drop(idle);
    assert_eq!(
        (said, deliver()?),
        (
            vec![
                "Warn only 0 of 2 threads for compression could be started: Resource temporarily unavailable (os error 11)"
                    .to_owned()
            ],
            vec![]
        )
    );
    Ok(())
}

/// An event whose text has this many bytes.
fn event_of(bytes: usize) -> Vec<u8> {
    let text = ["the same again "].into_iter().cycle().flat_map(str::chars).take(bytes).collect::<String>();
    rmp_serde::to_vec(&(1, serde_json::json!({ "log": text }))).unwrap_or_default()
}

fn resolve_without_a_thread() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut idle = Idle::all();
    let resolver = Resolver::new(Blocking::start());
    let unresolved = runtime.block_on(resolver.resolve("localhost")).expect_err("there is no thread");
    let line = "cannot resolve localhost: no thread is available: Resource temporarily unavailable (os error 11)";
    assert_eq!(unresolved.to_string(), line);
    idle.end_one();
    assert!(!runtime.block_on(resolver.resolve("localhost"))?.is_empty());
    Ok(())
}

fn flush_without_files() -> Result<(), Failed> {
    for host in ["127.0.0.1", "localhost"] {
        let (kinesis, log) = (kinesis(), Log::default());
        let plugin = start(&kinesis, host, &log)?;
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let answer = flush(&plugin);
        drop(files);
        let afterwards = flush(&plugin);
        plugin.stop();
        let told = |line: &String| {
            line.contains("cannot connect: ")
                && line.contains(host)
                && line.contains("too many open files: this process may have no more than 64 (ulimit -n, LimitNOFILE)")
        };
        if answer != "Retry" || afterwards != "Delivered" || !log.lines().iter().any(told) {
            return Err(format!("{answer}, {afterwards}: {:#?}", log.lines()).into());
        }
    }
    Ok(())
}

fn a_connection_that_is_refused_names_the_address() -> Result<(), Failed> {
    // Nobody listens where somebody just did.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let report = super::stand_in::instance(format!("http://{address}")).flush(&chunks(1))?;
    report.expect("Retry")?;
    report.expect_complaint(&format!("cannot connect: {address}: "))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no thread panicked while it logged").clone()
    }
}

impl LogSink for Log {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn write(&self, level: Level, line: &str) {
        self.0.lock().expect("no thread panicked while it logged").push(format!("{level:?} {line}"));
    }
}
