//! How long a flush of a small chunk takes in Fluent Bit, and what wakes and calls it costs, for this plugin and
//! `kinesis_streams` in turns.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::{Long, Short, ValueExt};

use crate::fluent_bit::Output;
use crate::probes::{Event, Kind, Probes};
use crate::processes::Sink;
use crate::table::{Table, median, number};
use testing::corpora::Corpus;
use testing::host::library::built_plugin;
use testing::host::output::ENVIRONMENT;

pub const HELP: &str = "\
  latency      time, waits and system calls of a flush of a small chunk in Fluent Bit; needs root and tracefs
    FLUENT_BIT         the executable (required)
    --plugin PATH      the library (the one built along with this program)
    -p KEY=VALUE       a property of our output; may be repeated
    --flushes N        of each size by each output (300)
    --idle N           seconds before the flushes that find no connection; 0 leaves them out (65)
";

const OUTPUTS: [Output; 4] = [Output::Null, Output::C, Output::Json, Output::Cbor];

/// Records of a chunk.
const SIZES: [usize; 3] = [1, 10, 100];

/// From the callback of the output being called on a new coroutine to its answer, in every version since 1.9.
const FUNCTIONS: [(&str, &str); 2] =
    [("flush", "flb_output_flush_id_get"), ("answer", "flb_output_flush_prepare_destroy")];

/// How often Fluent Bit looks for chunks, in seconds.
const INTERVAL: &str = "0.02";

/// From one chunk to the next: the interval, a flush, and time to be idle.
const PAUSE: Duration = Duration::from_millis(40);

/// The flushes before the first that counts.
const WARM_UP: usize = 5;

/// The flushes whose system calls are counted.
const COUNTED: usize = 100;

/// How many Fluent Bits of each output are left idle.
const IDLE_HOSTS: usize = 5;

struct Options {
    fluent_bit: PathBuf,
    plugin: PathBuf,
    properties: Vec<String>,
    flushes: usize,
    idle: Duration,
}

/// A running Fluent Bit that reads lines from a socket.
struct Host {
    output: Output,
    child: Child,
    input: TcpStream,
}

/// The microseconds of one flush.
struct Sample {
    output: Output,
    records: usize,
    microseconds: f64,
}

/// Prints the tables.
pub fn run(arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let options = options(arguments)?;
    let directory = tempfile::tempdir()?;
    let home = directory.path();
    let mut probes = Probes::new(&options.fluent_bit, &FUNCTIONS)?;
    let sink = Sink::start(home, 0, None)?;
    one_after_another(&options, home, &sink, &mut probes)?;
    if !options.idle.is_zero() {
        after_a_pause(&options, home, &sink, &mut probes)?;
    }
    Ok(())
}

/// Flushes of each size, over connections that are open.
fn one_after_another(options: &Options, home: &Path, sink: &Sink, probes: &mut Probes) -> Result<(), Box<dyn Error>> {
    println!("\nA flush in Fluent Bit, one at a time, the outputs in turns: microseconds from the call to the answer");
    println!("Waits (of any thread) and system calls: for each flush of one record, less those with null.\n");
    let mut hosts = options.hosts(home, sink, 1)?;
    flushes(&mut hosts, probes, WARM_UP, &SIZES)?;
    probes.start(&threads(&hosts)?, false)?;
    flushes(&mut hosts, probes, options.flushes, &SIZES)?;
    let samples = samples(&hosts, &probes.stop()?)?;
    let waits = |hosts: &[Host]| hosts.iter().map(Host::waits).collect::<Result<Vec<_>, _>>();
    let before = waits(&hosts)?;
    probes.start(&threads(&hosts)?, true)?;
    flushes(&mut hosts, probes, COUNTED, &[1])?;
    let calls = calls(&hosts, &probes.stop()?)?;
    let waits =
        waits(&hosts)?.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect::<Vec<_>>();
    print(&samples, &waits, &calls);
    Ok(())
}

/// One flush each before and after a pause in which connections are closed.
fn after_a_pause(options: &Options, home: &Path, sink: &Sink, probes: &mut Probes) -> Result<(), Box<dyn Error>> {
    let mut hosts = options.hosts(home, sink, IDLE_HOSTS)?;
    let mut flush = || {
        probes.start(&threads(&hosts)?, false)?;
        flushes(&mut hosts, probes, 1, &[1])?;
        samples(&hosts, &probes.stop()?)
    };
    let first = flush()?;
    sleep(options.idle);
    print_idle(&first, &flush()?, options.idle);
    Ok(())
}

fn options(mut arguments: lexopt::Parser) -> Result<Options, Box<dyn Error>> {
    let fluent_bit = std::env::var_os("FLUENT_BIT").filter(|value| !value.is_empty());
    let mut plugin = None;
    let mut options = Options {
        fluent_bit: fluent_bit.ok_or("FLUENT_BIT names no executable")?.into(),
        plugin: PathBuf::new(),
        properties: Vec::new(),
        flushes: 300,
        idle: Duration::from_secs(65),
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Short('p') => options.properties.push(arguments.value()?.string()?),
            Long("flushes") => options.flushes = arguments.value()?.parse()?,
            Long("idle") => options.idle = Duration::from_secs(arguments.value()?.parse()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    options.plugin = plugin.map_or_else(built_plugin, Ok)?.canonicalize()?;
    Ok(options)
}

impl Options {
    /// Starts so many Fluent Bits with each output. All run at the same time, so that other load disturbs them alike.
    fn hosts(&self, home: &Path, sink: &Sink, copies: usize) -> Result<Vec<Host>, Box<dyn Error>> {
        let outputs = OUTPUTS.iter().cycle().take(OUTPUTS.len() * copies);
        outputs.enumerate().map(|(number, output)| self.host(home, sink, *output, number)).collect()
    }

    fn host(&self, home: &Path, sink: &Sink, output: Output, number: usize) -> Result<Host, Box<dyn Error>> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let configuration = home.join(format!("{number}.conf"));
        fs::write(
            &configuration,
            format!(
                "[SERVICE]\n    Flush {INTERVAL}\n    Log_Level warn\n[INPUT]\n    Name tcp\n    Tag app.log\n    \
                 Listen 127.0.0.1\n    Port {port}\n    Format none\n{}",
                output.section("localhost", sink, &self.properties)
            ),
        )?;
        let mut command = Command::new(&self.fluent_bit);
        if matches!(output, Output::Json | Output::Cbor) {
            command.arg("-e").arg(&self.plugin);
        }
        sink.trusted_by(command.arg("-c").arg(configuration).envs(ENVIRONMENT));
        let log = File::create(home.join(format!("{number}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        let input = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(input) => break input,
                Err(error) if Instant::now() > deadline => return Err(format!("{}: {error}", output.name()).into()),
                Err(_) => sleep(PAUSE),
            }
        };
        input.set_nodelay(true)?;
        Ok(Host { output, child, input })
    }
}

impl Host {
    fn threads(&self) -> Result<Vec<u32>, Box<dyn Error>> {
        fs::read_dir(format!("/proc/{}/task", self.child.id()))?
            .map(|thread| Ok(thread?.file_name().to_string_lossy().parse()?))
            .collect()
    }

    /// How many times its threads have waited.
    fn waits(&self) -> Result<u64, Box<dyn Error>> {
        let threads = self.threads()?.into_iter();
        // A thread that has ended meanwhile has no file.
        let states =
            threads.filter_map(|id| fs::read_to_string(format!("/proc/{}/task/{id}/status", self.child.id())).ok());
        let waits = states.filter_map(|state| {
            state.split("\nvoluntary_ctxt_switches:").nth(1)?.lines().next()?.trim().parse::<u64>().ok()
        });
        Ok(waits.sum())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing is left to send. If this fails, it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn threads(hosts: &[Host]) -> Result<Vec<u32>, Box<dyn Error>> {
    Ok(hosts.iter().map(Host::threads).collect::<Result<Vec<_>, _>>()?.concat())
}

/// Makes each host flush so many chunks of each size, one after another.
fn flushes(hosts: &mut [Host], probes: &mut Probes, count: usize, sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    let lines = Corpus::Access.lines().take(100).map(|line| format!("{line}\n")).collect::<Vec<_>>();
    for _ in 0..count {
        for &records in sizes {
            let chunk = lines.iter().take(records).map(String::as_str).collect::<String>();
            for (number, host) in hosts.iter_mut().enumerate() {
                probes.mark(&format!("{number} {records}"))?;
                host.input.write_all(chunk.as_bytes())?;
                sleep(PAUSE);
            }
        }
    }
    Ok(())
}

/// The flushes in what was traced. A chunk that took two flushes, or met another's, is left out.
fn samples(hosts: &[Host], events: &[Event]) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut samples: Vec<Sample> = Vec::new();
    // What was marked last, and when its flush began.
    let (mut current, mut begun) = (None, None);
    for event in events {
        match &event.kind {
            Kind::Mark(text) => {
                let (number, records) = text.split_once(' ').ok_or("a mark of somebody else's")?;
                let host = hosts.get(number.parse::<usize>()?).ok_or("a mark of somebody else's")?;
                (current, begun) = (Some((host.output, records.parse()?)), None);
            }
            Kind::Call(name) if name == "flush" && begun.is_none() => begun = Some((event.thread, event.seconds)),
            Kind::Call(name) => {
                let ended = current.zip(begun).filter(|(_, (thread, _))| name == "answer" && *thread == event.thread);
                if let Some(((output, records), (_, seconds))) = ended {
                    samples.push(Sample { output, records, microseconds: (event.seconds - seconds) * 1e6 });
                }
                current = None;
            }
            Kind::SystemCall => {}
        }
    }
    Ok(samples)
}

/// The system calls of each host.
fn calls(hosts: &[Host], events: &[Event]) -> Result<Vec<u64>, Box<dyn Error>> {
    let threads = hosts.iter().map(Host::threads).collect::<Result<Vec<_>, _>>()?;
    let calls = |threads: &Vec<u32>| {
        let calls = events.iter().filter(|event| matches!(event.kind, Kind::SystemCall));
        calls.filter(|event| threads.contains(&event.thread)).count() as u64
    };
    Ok(threads.iter().map(calls).collect())
}

/// The value below which this part of the numbers is; NaN if there are none.
fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get((numbers.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

fn of(samples: &[Sample], output: Output, records: usize) -> Vec<f64> {
    let samples = samples.iter().filter(|sample| (sample.output, sample.records) == (output, records));
    samples.map(|sample| sample.microseconds).collect()
}

fn print(samples: &[Sample], waits: &[u64], calls: &[u64]) {
    let mut table = Table::new(2, ["records", "output", "p50", "to C", "p90", "p99", "flushes", "waits", "calls"]);
    for records in SIZES {
        for (place, output) in OUTPUTS.into_iter().enumerate() {
            let numbers = of(samples, output, records);
            let p50 = median(numbers.iter().copied());
            // For each flush, less those of null in the same time.
            let each = |counts: &[u64]| match (counts.get(place), counts.first()) {
                (Some(all), Some(null)) if records == 1 => each_of(*all, *null),
                _ => "-".to_owned(),
            };
            table.row([
                records.to_string(),
                output.name().to_owned(),
                microseconds(p50),
                number(p50 / median(of(samples, Output::C, records)), 2),
                microseconds(quantile(numbers.clone(), 0.90)),
                microseconds(quantile(numbers.clone(), 0.99)),
                numbers.len().to_string(),
                each(waits),
                each(calls),
            ]);
        }
    }
    table.print();
}

fn microseconds(time: f64) -> String {
    number(time, 0)
}

fn each_of(all: u64, null: u64) -> String {
    number((all as f64 - null as f64) / COUNTED as f64, 1)
}

fn print_idle(first: &[Sample], later: &[Sample], idle: Duration) {
    println!("\nThe first flush of one record, and the first after {} s without any\n", idle.as_secs());
    let mut table = Table::new(1, ["output", "first", "later", "to C", "slowest", "flushes"]);
    for output in OUTPUTS {
        let later_ones = of(later, output, 1);
        let p50 = median(later_ones.iter().copied());
        table.row([
            output.name().to_owned(),
            microseconds(median(of(first, output, 1))),
            microseconds(p50),
            number(p50 / median(of(later, Output::C, 1)), 2),
            microseconds(later_ones.iter().copied().fold(f64::NAN, f64::max)),
            later_ones.len().to_string(),
        ]);
    }
    table.print();
}
