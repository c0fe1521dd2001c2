//! The plugin in Fluent Bit, compared with `kinesis_streams` and a Go plugin, each minus the cost of Fluent Bit
//! alone.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lexopt::prelude::{Long, Short, ValueExt};

use crate::clock::{Usage, wait};
use crate::processes::{Sink, has_cbor};
use crate::sink::Counts;
use crate::table::{Table, median, number};
use testing::corpora::Corpus;
use testing::host::library::built_plugin;
use testing::host::output::ENVIRONMENT;

pub const HELP: &str = "\
  fluent-bit   tail to output to sink in Fluent Bit, for each plugin there is
    FLUENT_BIT         the executable (required)
    GO_KINESIS_SO      a Go plugin that registers as kinesis
    --plugin PATH      the library (the one built along with this program)
    -p KEY=VALUE       a property of our output; may be repeated
    --corpus NAME      access or nested only
    --records N        of each run (1000000 access lines, 500000 nested records)
    --rounds N         how often; medians are shown (3)
    --latency-ms N     every reply waits this long (0)
";

/// The output that Fluent Bit writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Null,
    C,
    Go,
    Json,
    Cbor,
}

impl Output {
    pub fn name(self) -> &'static str {
        match self {
            Output::Null => "null",
            Output::C => "C kinesis_streams",
            Output::Go => "Go kinesis",
            Output::Json => "this, json",
            Output::Cbor => "this, cbor",
        }
    }

    /// Its section of a configuration: everything goes to the sink, whose machine has this name.
    pub fn section(self, name: &str, sink: &Sink, properties: &[String]) -> String {
        let (port, ca_file) = (sink.port, sink.ca_file.display());
        let kinesis = "    Stream logs\n    Region us-east-1\n    Workers 1\n    Retry_Limit no_limits\n";
        let output = match self {
            Output::Null => "    Name null\n".to_owned(),
            Output::C => format!(
                "    Name kinesis_streams\n{kinesis}    Endpoint {name}\n    Port {port}\n    tls.ca_file {ca_file}\n"
            ),
            Output::Go => format!("    Name kinesis\n{kinesis}    Endpoint https://{name}:{port}\n"),
            Output::Json | Output::Cbor => {
                let protocol = if self == Output::Cbor { "    Protocol cbor\n" } else { "" };
                let more = properties.iter().map(|property| format!("    {}\n", property.replacen('=', " ", 1)));
                let more = more.collect::<String>();
                format!("    Name kinesis\n{kinesis}    Endpoint https://{name}:{port}\n{protocol}{more}")
            }
        };
        format!("[OUTPUT]\n    Match *\n{output}")
    }
}

struct Options {
    fluent_bit: PathBuf,
    plugin: PathBuf,
    go_plugin: Option<PathBuf>,
    properties: Vec<String>,
    corpora: Vec<Corpus>,
    records: Option<u64>,
    rounds: usize,
    latency_ms: u32,
}

/// One run: its cost and what arrived; `None` if the round is void.
type Run = (Output, Usage, Counts);

/// Prints the tables.
pub fn run(arguments: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let options = options(arguments)?;
    let directory = tempfile::tempdir()?;
    let home = directory.path();
    let mut outputs = vec![Output::Null, Output::C, Output::Json];
    match has_cbor(&options.plugin, home)? {
        true => outputs.push(Output::Cbor),
        false => println!("protocol cbor: not there, the plugin sends JSON"),
    }
    match &options.go_plugin {
        Some(_) => outputs.push(Output::Go),
        None => println!("Go plugin: not there, GO_KINESIS_SO names none"),
    }
    println!("\nIn Fluent Bit: tail to output to sink, one worker, {} ms latency", options.latency_ms);
    println!("Medians of {} rounds. CPU: the process's seconds; added: less the same run with null.", options.rounds);
    println!(
        "Sending: seconds from the first request to the last reply. RSS: peak over null's, tail's backlog and all.\n"
    );
    for &corpus in &options.corpora {
        let records = options.records.unwrap_or(corpus.records());
        write_files(home, corpus, records)?;
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            let mut runs = Vec::new();
            for &output in &outputs {
                let (usage, counts) = options.measure(home, corpus, output)?;
                let is_void = output != Output::Null && counts.records != records || !usage.is_success;
                if is_void {
                    let (name, arrived) = (output.name(), counts.records);
                    println!("void: {name}, {}, round {round}: {arrived} of {records} arrived", corpus.name());
                    let log = std::fs::read_to_string(home.join("fluent-bit.log"))?;
                    log.lines().filter(|line| line.contains("error]")).take(3).for_each(|line| println!("  {line}"));
                } else {
                    runs.push((output, usage, counts));
                }
            }
            rounds.push(runs);
        }
        print(corpus, records, &outputs, &rounds);
    }
    Ok(())
}

fn options(mut arguments: lexopt::Parser) -> Result<Options, Box<dyn Error>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut plugin = None;
    let mut options = Options {
        fluent_bit: variable("FLUENT_BIT").ok_or("FLUENT_BIT names no executable")?,
        plugin: PathBuf::new(),
        go_plugin: variable("GO_KINESIS_SO"),
        properties: Vec::new(),
        corpora: Corpus::ALL.to_vec(),
        records: None,
        rounds: 3,
        latency_ms: 0,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Short('p') => options.properties.push(arguments.value()?.string()?),
            Long("corpus") => options.corpora = vec![Corpus::named(&arguments.value()?.string()?)?],
            Long("records") => options.records = Some(arguments.value()?.parse()?),
            Long("rounds") => options.rounds = arguments.value()?.parse()?,
            Long("latency-ms") => options.latency_ms = arguments.value()?.parse()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    options.plugin = plugin.map_or_else(built_plugin, Ok)?.canonicalize()?;
    Ok(options)
}

/// The log and the parsers.
fn write_files(home: &Path, corpus: Corpus, records: u64) -> Result<(), Box<dyn Error>> {
    let mut log = BufWriter::new(File::create(home.join("input.log"))?);
    for line in corpus.lines().take(usize::try_from(records)?) {
        writeln!(log, "{line}")?;
    }
    log.flush()?;
    std::fs::write(home.join("parsers.conf"), "[PARSER]\n    Name json\n    Format json\n")?;
    Ok(())
}

impl Options {
    /// One run of Fluent Bit over the log.
    fn measure(&self, home: &Path, corpus: Corpus, output: Output) -> Result<(Usage, Counts), Box<dyn Error>> {
        let sink = Sink::start(home, self.latency_ms, None)?;
        std::fs::write(home.join("main.conf"), self.configuration(&sink, corpus, output))?;
        let mut command = Command::new(&self.fluent_bit);
        match output {
            Output::Json | Output::Cbor => _ = command.arg("-e").arg(&self.plugin),
            Output::Go => _ = command.arg("-e").arg(self.go_plugin.as_deref().unwrap_or(Path::new(""))),
            Output::Null | Output::C => {}
        }
        sink.trusted_by(command.args(["-c", "main.conf"]).current_dir(home).envs(ENVIRONMENT));
        let log = File::create(home.join("fluent-bit.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let usage = wait(command.spawn()?)?;
        let counts = sink.stop()?;
        Ok((usage, counts))
    }

    fn configuration(&self, sink: &Sink, corpus: Corpus, output: Output) -> String {
        let parser = match corpus {
            Corpus::Access => "",
            Corpus::Nested => "    Parser json\n",
        };
        let service = "[SERVICE]\n    Flush 1\n    Grace 120\n    Log_Level warn\n    Parsers_File parsers.conf\n";
        let input = format!(
            "[INPUT]\n    Name tail\n    Tag app.log\n    Path input.log\n    Read_from_Head on\n    Exit_On_Eof on\n    \
             Mem_Buf_Limit 4G\n{parser}"
        );
        format!("{service}{input}{}", output.section("127.0.0.1", sink, &self.properties))
    }
}

fn print(corpus: Corpus, records: u64, outputs: &[Output], rounds: &[Vec<Run>]) {
    println!("{}, {records} records of {} bytes", corpus.name(), corpus.line_bytes());
    let usage = |round: &Vec<Run>, output: Output| round.iter().find(|run| run.0 == output).map(|run| (run.1, run.2));
    let added = |round: &Vec<Run>, output: Output| {
        Some(usage(round, output)?.0.cpu_seconds - usage(round, Output::Null)?.0.cpu_seconds)
    };
    let mut table = Table::new(
        1,
        ["output", "CPU", "added", "per million", "to C", "to Go", "sending", "requests", "RSS MiB", "rounds"],
    );
    for &output in outputs {
        let of = |value: &dyn Fn(&Vec<Run>) -> Option<f64>| median(rounds.iter().filter_map(value));
        let to = |other: Output| match output {
            Output::Null => "-".to_owned(),
            _ => number(of(&|round| Some(added(round, output)? / added(round, other)?)), 3),
        };
        let added_seconds = of(&|round| added(round, output));
        let count = |value: &dyn Fn(&Counts) -> f64| of(&|round| Some(value(&usage(round, output)?.1)));
        let resident = |round: &Vec<Run>, output| Some(usage(round, output)?.0.resident_kib as f64 / 1024.0);
        table.row([
            output.name().to_owned(),
            number(of(&|round| Some(usage(round, output)?.0.cpu_seconds)), 2),
            number(added_seconds, 2),
            number(added_seconds / records as f64 * 1e6, 3),
            to(Output::C),
            to(Output::Go),
            number(count(&|counts| counts.seconds), 2),
            number(count(&|counts| counts.requests as f64), 0),
            number(of(&|round| Some(resident(round, output)? - resident(round, Output::Null)?)), 1),
            rounds.iter().filter(|round| usage(round, output).is_some()).count().to_string(),
        ]);
    }
    table.print();
    println!();
}
