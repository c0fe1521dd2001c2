//! The plugin without Fluent Bit, one flush at a time, compared with the floor.

use std::error::Error;
use std::path::{Path, PathBuf};

use lexopt::prelude::{Long, Short, ValueExt};

use crate::plugin::Cost;
use crate::processes::{PluginRun, Protocol, floor, has_cbor};
use crate::table::{Table, median, number};
use testing::corpora::Corpus;
use testing::host::library::built_plugin;

pub const HELP: &str = "\
  end-to-end   the plugin's cost beside the floor's
    --plugin PATH      the library (the one built along with this program)
    -p KEY=VALUE       a property of the output; may be repeated
    --corpus NAME      access or nested only
    --protocol NAME    json or cbor only
    --records N        of each run (1000000 access lines, 500000 nested records)
    --rounds N         how often; medians are shown (5)
    --brief            no runs with latency, no series of record counts
";

/// Latencies of the sink, and the fraction of the records that is enough to see their effect.
const LATENCIES: [(u32, u64); 2] = [(50, 4), (200, 8)];

/// Numbers of records whose cost is shown, as fractions of the corpus's own number.
const SERIES: [u64; 3] = [1_000, 100_000, 10_000_000];

struct Options {
    plugin: PathBuf,
    properties: Vec<String>,
    corpora: Vec<Corpus>,
    protocols: Vec<Protocol>,
    records: Option<u64>,
    rounds: usize,
    is_brief: bool,
}

/// Prints the tables.
pub fn run(arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let mut options = options(arguments)?;
    let directory = tempfile::tempdir()?;
    let home = directory.path();
    if options.protocols.contains(&Protocol::Cbor) && !has_cbor(&options.plugin, home)? {
        println!("protocol cbor: not there, the plugin sends JSON");
        options.protocols.retain(|protocol| *protocol == Protocol::Json);
    }
    beside_the_floor(&options, home)?;
    if !options.is_brief {
        with_latency(&options, home)?;
        by_number(&options, home)?;
    }
    Ok(())
}

fn options(mut arguments: lexopt::Parser) -> Result<Options, Box<dyn Error>> {
    let mut plugin = None;
    let mut options = Options {
        plugin: PathBuf::new(),
        properties: Vec::new(),
        corpora: Corpus::ALL.to_vec(),
        protocols: vec![Protocol::Json, Protocol::Cbor],
        records: None,
        rounds: 5,
        is_brief: false,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Short('p') => options.properties.push(arguments.value()?.string()?),
            Long("corpus") => options.corpora = vec![Corpus::named(&arguments.value()?.string()?)?],
            Long("protocol") => match arguments.value()?.to_str() {
                Some("json") => options.protocols = vec![Protocol::Json],
                Some("cbor") => options.protocols = vec![Protocol::Cbor],
                _ => return Err("--protocol: json or cbor".into()),
            },
            Long("records") => options.records = Some(arguments.value()?.parse()?),
            Long("rounds") => options.rounds = arguments.value()?.parse()?,
            Long("brief") => options.is_brief = true,
            _ => return Err(argument.unexpected().into()),
        }
    }
    // A name without a slash would be searched for among the system's libraries.
    options.plugin = plugin.map_or_else(built_plugin, Ok)?.canonicalize()?;
    Ok(options)
}

impl Options {
    fn records(&self, corpus: Corpus) -> u64 {
        self.records.unwrap_or(corpus.records())
    }

    fn run(&self, corpus: Corpus, protocol: Protocol) -> PluginRun<'_> {
        PluginRun {
            plugin: &self.plugin,
            corpus,
            records: self.records(corpus),
            protocol,
            latency_ms: 0,
            properties: &self.properties,
            capture: None,
        }
    }
}

fn cpu_per_million(cost: &Cost) -> f64 {
    cost.cpu_seconds / cost.records as f64 * 1e6
}

fn megabytes_per_second(cost: &Cost, corpus: Corpus) -> f64 {
    cost.records as f64 * corpus.line_bytes() as f64 / cost.seconds / 1e6
}

/// Alternates floor and plugin, so that other load on the machine affects both.
fn beside_the_floor(options: &Options, home: &Path) -> Result<(), Box<dyn Error>> {
    println!("\nThe plugin beside the floor; medians of {} rounds, no latency", options.rounds);
    println!("CPU: user and system seconds per million records. Floor: SHA-256 and TLS of the very same bodies.");
    println!("MB/s: bytes of lines by the clock. RSS: peak over what was before the library was loaded.");
    println!("Waits: how often a thread of the process waited, for each request.\n");
    let mut table = Table::new(
        2,
        ["corpus", "protocol", "records", "CPU", "floor CPU", "ratio", "MB/s", "RSS MiB", "requests", "waits"],
    );
    for &corpus in &options.corpora {
        let captures = options.protocols.iter().map(|protocol| {
            let file = home.join(format!("{}.{}", corpus.name(), protocol.name()));
            let records = options.records(corpus).min(corpus.records() / 8);
            PluginRun { capture: Some(&file), records, ..options.run(corpus, *protocol) }.cost(home)?;
            Ok((*protocol, file))
        });
        let captures = captures.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            for (protocol, bodies) in &captures {
                let least = floor(home, bodies, options.records(corpus))?;
                let (cost, counts) = options.run(corpus, *protocol).cost(home)?;
                rounds.push((*protocol, least, cost, counts));
            }
        }
        for &protocol in &options.protocols {
            let of = |value: &dyn Fn(&Cost, &Cost) -> f64| {
                let rounds = rounds.iter().filter(|round| round.0 == protocol);
                median(rounds.map(|(_, least, cost, _)| value(least, cost)))
            };
            let requests = rounds.iter().rfind(|round| round.0 == protocol).map_or(0, |round| round.3.requests);
            table.row([
                corpus.name().to_owned(),
                protocol.name().to_owned(),
                options.records(corpus).to_string(),
                number(of(&|_, cost| cpu_per_million(cost)), 3),
                number(of(&|least, _| cpu_per_million(least)), 3),
                number(of(&|least, cost| cpu_per_million(cost) / cpu_per_million(least)), 2),
                number(of(&|_, cost| megabytes_per_second(cost, corpus)), 0),
                number(of(&|_, cost| cost.resident_kib as f64 / 1024.0), 1),
                requests.to_string(),
                number(of(&|_, cost| cost.waits as f64) / requests as f64, 2),
            ]);
        }
    }
    table.print();
    Ok(())
}

/// Distant endpoints: the cost stays the same, and time is lost only by waiting.
fn with_latency(options: &Options, home: &Path) -> Result<(), Box<dyn Error>> {
    println!("\nThe plugin with a distant sink; one flush at a time, one round\n");
    let mut table = Table::new(
        2,
        [
            "corpus",
            "protocol",
            "latency ms",
            "records",
            "CPU",
            "MB/s",
            "seconds",
            "records/s",
            "connections",
            "RSS MiB",
        ],
    );
    for &corpus in &options.corpora {
        for &protocol in &options.protocols {
            for (latency_ms, part) in LATENCIES {
                let records = options.records(corpus) / part;
                let run = PluginRun { latency_ms, records, ..options.run(corpus, protocol) };
                let (cost, counts) = run.cost(home)?;
                table.row([
                    corpus.name().to_owned(),
                    protocol.name().to_owned(),
                    latency_ms.to_string(),
                    records.to_string(),
                    number(cpu_per_million(&cost), 3),
                    number(megabytes_per_second(&cost, corpus), 1),
                    number(cost.seconds, 2),
                    number(records as f64 / cost.seconds, 0),
                    counts.connections.to_string(),
                    number(cost.resident_kib as f64 / 1024.0, 1),
                ]);
            }
        }
    }
    table.print();
    Ok(())
}

/// Only the cost grows with the number of records.
fn by_number(options: &Options, home: &Path) -> Result<(), Box<dyn Error>> {
    println!("\nThe same cost for every record: access lines, one round\n");
    let mut table = Table::new(1, ["protocol", "records", "CPU seconds", "microseconds each", "RSS MiB"]);
    for &protocol in &options.protocols {
        for records in [1].into_iter().chain(SERIES) {
            let (cost, _) = PluginRun { records, ..options.run(Corpus::Access, protocol) }.cost(home)?;
            table.row([
                protocol.name().to_owned(),
                records.to_string(),
                number(cost.cpu_seconds, 3),
                number(cost.cpu_seconds / records as f64 * 1e6, 3),
                number(cost.resident_kib as f64 / 1024.0, 1),
            ]);
        }
    }
    table.print();
    Ok(())
}
