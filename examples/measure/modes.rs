//! The cost of sending several records as one, compared with sending each by itself.

use std::error::Error;
use std::path::PathBuf;

use lexopt::prelude::{Long, ValueExt};

use crate::processes::{PluginRun, Protocol};
use crate::table::{Table, median, number};
use testing::corpora::Corpus;
use testing::host::library::built_plugin;

pub const HELP: &str = "\
  modes        the cost of aggregation beside none
    --plugin PATH      the library (the one built along with this program)
    --corpus NAME      access or nested only
    --protocol NAME    json or cbor (json)
    --records N        of each run (1000000 access lines, 500000 nested records)
    --rounds N         how often; medians are shown (5)
";

/// The first is the baseline.
const MODES: [&[&str]; 5] = [
    &[],
    &["aggregation=kpl", "record_distribution=user"],
    &["aggregation=lines"],
    &["aggregation=lines", "compression=zstd", "compression_level=1"],
    &["aggregation=lines", "compression=zstd"],
];

/// Prints the table. All modes alternate within each round, so that other load on the machine affects all of them.
pub fn run(mut arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let (mut plugin, mut corpora, mut protocol) = (None, Corpus::ALL.to_vec(), Protocol::Json);
    let (mut records, mut rounds) = (None, 5_usize);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Long("corpus") => corpora = vec![Corpus::named(&arguments.value()?.string()?)?],
            Long("protocol") => {
                protocol = if arguments.value()? == "cbor" { Protocol::Cbor } else { Protocol::Json };
            }
            Long("records") => records = Some(arguments.value()?.parse()?),
            Long("rounds") => rounds = arguments.value()?.parse()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    let plugin = plugin.map_or_else(built_plugin, Ok)?.canonicalize()?;
    let directory = tempfile::tempdir()?;
    println!("\nAggregation beside none; {}, medians of {rounds} rounds, no latency", protocol.name());
    println!("CPU: user and system seconds per million records. Ratio: the median of the rounds' ratios.\n");
    let mut table = Table::new(2, ["corpus", "properties", "CPU", "ratio", "requests", "Kinesis records", "MB sent"]);
    for corpus in corpora {
        let records = records.unwrap_or(corpus.records());
        let mut costs = vec![Vec::new(); MODES.len()];
        let mut counts = Vec::new();
        for _ in 0..rounds {
            counts.clear();
            for (mode, costs) in MODES.iter().zip(&mut costs) {
                let properties: Vec<String> = mode.iter().map(|property| (*property).to_owned()).collect();
                let (plugin, properties) = (plugin.as_path(), properties.as_slice());
                let run = PluginRun { plugin, corpus, records, protocol, latency_ms: 0, properties, capture: None };
                let (cost, counted) = run.cost(directory.path())?;
                costs.push(cost.cpu_seconds / cost.records as f64 * 1e6);
                counts.push(counted);
            }
        }
        let least = costs.first().cloned().unwrap_or_default();
        for ((mode, costs), counts) in MODES.iter().zip(&costs).zip(&counts) {
            table.row([
                corpus.name().to_owned(),
                mode.join(" "),
                number(median(costs.iter().copied()), 3),
                number(median(costs.iter().zip(&least).map(|(cost, least)| cost / least)), 2),
                counts.requests.to_string(),
                counts.records.to_string(),
                number(counts.body_bytes as f64 / 1e6, 1),
            ]);
        }
    }
    table.print();
    Ok(())
}
