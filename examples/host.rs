//! Loads the plugin like Fluent Bit and sends it log lines: a demonstration, a load generator and a debugging aid
//! that needs no Fluent Bit.
//!
//! ```text
//! cargo run --release --example host -- -p stream=logs -p region=eu-west-1 access.log
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]
#![allow(unsafe_code, reason = "calls the plugin's C functions")]

#[path = "host/bar.rs"]
mod bar;
#[path = "host/progress.rs"]
mod progress;

use std::collections::HashSet;
use std::error::Error;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value, ValueExt};

use testing::host::access_log::AccessLog;
use testing::host::chunk::{Chunk, Chunks};
use testing::host::library::{Library, built_plugin};
use testing::host::metrics;
use testing::host::output::Output;
use testing::programs;

testing::export_host!();

const HELP: &str = "\
Loads the plugin as Fluent Bit does and sends it the lines of FILE, or of standard input.

usage: host [options] [FILE|-]

  --plugin PATH        the library to load; by default the one that cargo built along with this program
  -p KEY=VALUE         a property of the output, as in Fluent Bit's configuration; may be repeated
  --tag TAG            the chunks' tag (app.log)
  --log-key KEY        the key that holds the line (log)
  --lines N            make N lines of a seeded access log instead of reading a file
  --repeat N           read FILE N times (1)
  --chunk-bytes N      size of a chunk (2000000)
  --workers N          threads that flush at once; 0 flushes on the thread that initialized the plugin (1)
  --progress           show how far it is: one line written anew on a terminal, else a line every five seconds
  --done FILE          keep the numbers of delivered chunks in FILE, and leave out those that are in it already: as
                       the chunks that Fluent Bit keeps on disk, this outlives a kill
  --metrics            print the metrics that the plugin shows its host, at the end, in Prometheus's form
  --retries N          how often a chunk is brought again when the plugin answers \"retry\" (20)
";

struct Options {
    plugin: PathBuf,
    properties: Vec<(String, String)>,
    tag: CString,
    log_key: String,
    lines: Option<usize>,
    repeat: usize,
    chunk_bytes: usize,
    workers: usize,
    retries: u32,
    metrics: bool,
    progress: bool,
    done: Option<PathBuf>,
    file: Option<String>,
}

fn main() -> ExitCode {
    drive(Parser::from_env())
}

/// Runs the program with its arguments.
pub(crate) fn drive(arguments: Parser) -> ExitCode {
    programs::run("host", HELP, options(arguments), run)
}

/// The options, or `None` if help is requested.
fn options(mut arguments: Parser) -> Result<Option<Options>, Box<dyn Error>> {
    let mut plugin = None;
    let mut options = Options {
        plugin: PathBuf::new(),
        properties: Vec::new(),
        tag: c"app.log".to_owned(),
        log_key: "log".to_owned(),
        lines: None,
        repeat: 1,
        chunk_bytes: 2_000_000,
        workers: 1,
        retries: 20,
        metrics: false,
        progress: false,
        done: None,
        file: None,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Short('p') => {
                let property = arguments.value()?.string()?;
                let (key, value) = property.split_once('=').ok_or(format!("-p {property}: expected KEY=VALUE"))?;
                options.properties.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            Long("plugin") => plugin = Some(arguments.value()?.into()),
            Long("tag") => options.tag = CString::new(arguments.value()?.string()?)?,
            Long("log-key") => options.log_key = arguments.value()?.string()?,
            Long("lines") => options.lines = Some(arguments.value()?.parse()?),
            Long("repeat") => options.repeat = arguments.value()?.parse()?,
            Long("chunk-bytes") => options.chunk_bytes = arguments.value()?.parse()?,
            Long("workers") => options.workers = arguments.value()?.parse()?,
            Long("retries") => options.retries = arguments.value()?.parse()?,
            Long("metrics") => options.metrics = true,
            Long("progress") => options.progress = true,
            Long("done") => options.done = Some(arguments.value()?.into()),
            Value(file) if options.file.is_none() => options.file = Some(file.string()?).filter(|file| file != "-"),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if options.repeat > 1 && options.file.is_none() {
        return Err("--repeat needs a FILE".into());
    }
    options.plugin = plugin.map_or_else(built_plugin, Ok)?;
    Ok(Some(options))
}

/// Drives the plugin from loading to unloading. Returns whether every chunk was delivered.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let lines = lines(options)?;
    let library = Library::open(&options.plugin)?;
    let definition = library.register(0)?;
    let properties = options.properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>();
    let mut output = Output::new("kinesis.0", &properties)?;
    if output.init(&library) <= 0 {
        return Err("the plugin refused its configuration".into());
    }
    // SAFETY: one of the library's functions; the argument says that hot reload is off.
    unsafe { (library.output_pre_run)(0) };

    let tally = Tally::default();
    let done = Done::open(options.done.as_ref())?;
    let total = options.lines.map(|lines| lines as u64);
    let begin = Instant::now();
    let chunks = Chunks { lines, key: options.log_key.clone(), bytes: options.chunk_bytes };
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        if options.progress {
            scope.spawn(move || progress::show(total, &end));
        }
        // Moved in, so that the progress display ends with this.
        let _ended = ended;
        flush_all(chunks, options, &Context { library: &library, output: &output, tally: &tally, done: &done })
    })?;
    let seconds = begin.elapsed().as_secs_f64();

    // SAFETY: as above.
    unsafe { (library.output_pre_exit)(0) };
    output.exit(&library);
    metrics::free();
    library.unregister(definition);
    drop(library);

    tally.print(seconds);
    if options.metrics {
        print!("{}", metrics::exposition());
        metrics::offences().iter().for_each(|offence| println!("offence: {offence}"));
    }
    Ok(tally.chunks.load(Ordering::Relaxed) == tally.delivered.load(Ordering::Relaxed))
}

type Lines = Box<dyn Iterator<Item = io::Result<Vec<u8>>>>;

/// The lines of the input, one at a time.
fn lines(options: &Options) -> Result<Lines, Box<dyn Error>> {
    if let Some(count) = options.lines {
        return Ok(Box::new(AccessLog::new(1).take(count).map(|line| Ok(line.into_bytes()))));
    }
    match options.file.as_deref() {
        None => Ok(Box::new(BufReader::new(io::stdin()).split(b'\n'))),
        Some(file) => {
            let open = |file: &str| File::open(file).map(|file| BufReader::new(file).split(b'\n'));
            // Open once in advance, so that a wrong name is a usage error.
            open(file).map_err(|error| format!("{file}: {error}"))?;
            let file = file.to_owned();
            Ok(Box::new((0..options.repeat).flat_map(move |_| -> Lines {
                match open(&file) {
                    Ok(lines) => Box::new(lines),
                    Err(error) => Box::new(std::iter::once(Err(error))),
                }
            })))
        }
    }
}

/// Flushes the chunks on the worker threads, with at most one chunk waiting for each.
fn flush_all(
    chunks: impl Iterator<Item = io::Result<Chunk>>,
    options: &Options,
    context: &Context<'_>,
) -> Result<(), Box<dyn Error>> {
    let chunks = chunks.enumerate().filter(|(number, _)| !context.done.before.contains(number));
    if options.workers == 0 {
        for (number, chunk) in chunks {
            context.deliver(number, &chunk?, options);
        }
        return Ok(());
    }
    let (sender, receiver) = mpsc::sync_channel::<(usize, Chunk)>(options.workers);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        for _ in 0..options.workers {
            scope.spawn(|| {
                let next = || receiver.lock().ok().and_then(|receiver| receiver.recv().ok());
                while let Some((number, chunk)) = next() {
                    context.deliver(number, &chunk, options);
                }
            });
        }
        // Moved in, so that the workers end when the input does.
        let sender = sender;
        for (number, chunk) in chunks {
            sender.send((number, chunk?))?;
        }
        Ok(())
    })
}

/// The instance, shared by the worker threads.
struct Context<'a> {
    library: &'a Library,
    output: &'a Output,
    tally: &'a Tally,
    done: &'a Done,
}

// SAFETY: the plugin allows any number of threads to flush one instance concurrently, and nothing else is done with
// it.
unsafe impl Sync for Context<'_> {}

impl Context<'_> {
    /// Flushes a chunk, and again after a pause while the plugin asks for a retry.
    fn deliver(&self, number: usize, chunk: &Chunk, options: &Options) {
        let tally = self.tally;
        tally.chunks.fetch_add(1, Ordering::Relaxed);
        tally.records.fetch_add(chunk.records, Ordering::Relaxed);
        tally.bytes.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
        let mut pause = Duration::from_millis(50);
        for attempt in 0..=options.retries {
            if attempt > 0 {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            match self.output.flush(self.library, &chunk.bytes, &options.tag) {
                1 => {
                    tally.delivered.fetch_add(1, Ordering::Relaxed);
                    self.done.note(number);
                    return;
                }
                2 => tally.retries.fetch_add(1, Ordering::Relaxed),
                _ => {
                    tally.errors.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            };
        }
    }
}

/// The chunks that are delivered, by number, in this run and in those before it.
struct Done {
    before: HashSet<usize>,
    file: Option<Mutex<File>>,
}

impl Done {
    fn open(path: Option<&PathBuf>) -> io::Result<Done> {
        let Some(path) = path else { return Ok(Done { before: HashSet::new(), file: None }) };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let before = fs::read_to_string(path)?.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Done { before, file: Some(Mutex::new(file)) })
    }

    fn note(&self, number: usize) {
        let Some(Ok(mut file)) = self.file.as_ref().map(Mutex::lock) else { return };
        if let Err(error) = file.write_all(format!("{number}\n").as_bytes()) {
            eprintln!("host: --done: {error}");
        }
    }
}

#[derive(Default)]
struct Tally {
    chunks: AtomicUsize,
    records: AtomicUsize,
    bytes: AtomicUsize,
    delivered: AtomicUsize,
    retries: AtomicUsize,
    errors: AtomicUsize,
}

impl Tally {
    fn print(&self, seconds: f64) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        println!("chunks         {}", count(&self.chunks));
        println!("records        {}", count(&self.records));
        println!("answered ok    {}", count(&self.delivered));
        println!("answered retry {}", count(&self.retries));
        println!("answered error {}", count(&self.errors));
        let shown = progress::Shown::now();
        println!("delivered      {:.0}", shown.total("records_delivered_total"));
        println!("sent again     {:.0}", shown.total("records_retried_total"));
        println!("throttled      {:.0}", shown.total("records_throttled_total"));
        println!("requests       {:.0}", shown.total("requests_total"));
        println!("seconds        {seconds:.3}");
        println!("records/s      {:.0}", count(&self.records) as f64 / seconds);
        println!("MB/s           {:.1}", count(&self.bytes) as f64 / seconds / 1e6);
        println!("peak RSS       {}", peak_memory().unwrap_or_else(|| "unknown".to_owned()));
    }
}

/// The peak memory of the process, as the kernel reports it: "12345 kB".
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
