//! The plugin alone: loaded like Fluent Bit does, fed one chunk after another, with its processor time counted.

use std::error::Error;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use lexopt::prelude::{Long, Short, ValueExt};
use serde::{Deserialize, Serialize};

use crate::clock::{processor_seconds, waits};
use testing::corpora::Corpus;
use testing::host::library::{Library, built_plugin};
use testing::host::output::Output;

pub const HELP: &str = "\
  plugin   flushes chunks through the plugin
    --plugin PATH   the library (the one built along with this program)
    -p KEY=VALUE    a property of the output; may be repeated
    --corpus NAME   access or nested (access)
    --records N     how many records (the corpus's own number)
    --flushes N     how many chunks are flushed at a time (1)
";

/// Bytes per chunk, as Fluent Bit cuts them.
const CHUNK_BYTES: usize = 2_000_000;
/// Distinct chunks, used in rotation: more than the processor's caches hold.
const CHUNKS: usize = 16;

/// The cost of flushing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub records: u64,
    /// User and system time of the whole process, from before the first flush until the plugin has stopped.
    pub cpu_seconds: f64,
    pub seconds: f64,
    /// How many times a thread blocked meanwhile.
    pub waits: u64,
    /// Peak resident memory minus what was used before the library was loaded, in KiB.
    pub resident_kib: u64,
}

struct Chunk {
    bytes: Vec<u8>,
    /// Where each event ends.
    ends: Vec<usize>,
}

/// Runs the plugin and prints the [`Cost`] as JSON.
pub fn run(mut arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let (mut plugin, mut properties, mut corpus, mut records) = (None, Vec::new(), Corpus::Access, None);
    let mut flushes = 1;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Short('p') => properties.push(arguments.value()?.string()?),
            Long("corpus") => corpus = Corpus::named(&arguments.value()?.string()?)?,
            Long("records") => records = Some(arguments.value()?.parse()?),
            Long("flushes") => flushes = arguments.value()?.parse()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    // A name without a slash would be searched for among the system's libraries.
    let plugin = plugin.map_or_else(built_plugin, Ok)?.canonicalize()?;
    let pairs = properties.iter().map(|property| property.split_once('=').ok_or("-p: expected KEY=VALUE"));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let cost = flush(&plugin, &pairs, corpus, records.unwrap_or(corpus.records()), flushes)?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

fn flush(
    plugin: &Path,
    properties: &[(&str, &str)],
    corpus: Corpus,
    records: u64,
    flushes: usize,
) -> Result<Cost, Box<dyn Error>> {
    let chunks = chunks(corpus, records)?;
    let before = resident_kib("VmRSS")?;
    let library = Library::open(plugin)?;
    let definition = library.register(0)?;
    let mut output = Output::new("kinesis.0", properties)?;
    if output.init(&library) <= 0 {
        return Err("the plugin refused its configuration".into());
    }
    let (cpu_before, waits_before, begin) = (processor_seconds()?, waits()?, Instant::now());
    let worker = Worker { library: &library, output: &output };
    let (worker, chunks) = (&worker, &Mutex::new(rotation(&chunks, records)));
    let answers: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..flushes).map(|_| scope.spawn(|| worker.flush_all(chunks))).collect();
        workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for answer in answers {
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) => return Err(format!("a flush was answered {answer}").into()),
            Err(_) => return Err("a worker panicked".into()),
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    output.exit(&library);
    let (cpu_seconds, waits) = (processor_seconds()? - cpu_before, waits()? - waits_before);
    let resident_kib = resident_kib("VmHWM")?.saturating_sub(before);
    library.unregister(definition);
    Ok(Cost { records, cpu_seconds, seconds, waits, resident_kib })
}

/// What the threads that flush share; on the thread of `FLBPluginInit` the plugin would warn about a host without
/// workers.
struct Worker<'a> {
    library: &'a Library,
    output: &'a Output,
}

// SAFETY: the plugin lets any thread flush, and nothing else is done with the output meanwhile.
unsafe impl Sync for Worker<'_> {}

impl Worker<'_> {
    /// Flushes one of the `chunks` after another until there are no more. Returns the first answer that is not "done".
    fn flush_all<'c>(&self, chunks: &Mutex<impl Iterator<Item = &'c [u8]>>) -> Option<c_int> {
        loop {
            let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let answer = self.output.flush(self.library, next?, c"app.log");
            if answer != 1 {
                return Some(answer);
            }
        }
    }
}

/// `records` of the chunks, in rotation.
fn rotation(chunks: &[Chunk], records: u64) -> impl Iterator<Item = &[u8]> {
    let mut left = records as usize;
    chunks.iter().cycle().map_while(move |chunk| {
        let last = left.min(chunk.ends.len()).checked_sub(1)?;
        left -= last + 1;
        chunk.ends.get(last).and_then(|end| chunk.bytes.get(..*end))
    })
}

/// As much of the corpus as needed, in chunks.
fn chunks(corpus: Corpus, records: u64) -> Result<Vec<Chunk>, Box<dyn Error>> {
    let mut lines = corpus.lines().take(usize::try_from(records)?).peekable();
    let mut chunks = Vec::new();
    while chunks.len() < CHUNKS && lines.peek().is_some() {
        let mut chunk = Chunk { bytes: Vec::with_capacity(CHUNK_BYTES + 4096), ends: Vec::new() };
        while chunk.bytes.len() < CHUNK_BYTES
            && let Some(line) = lines.next()
        {
            corpus.write_event(&line, &mut chunk.bytes)?;
            chunk.ends.push(chunk.bytes.len());
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// A line of this process's status, in KiB.
fn resident_kib(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.ok_or("no resident memory in /proc/self/status")?.trim().trim_end_matches(" kB").parse()?)
}
