//! Measures what the plugin costs, compared with the minimum for sending the same bytes and with other plugins.
//!
//! ```text
//! cargo run --profile demo --example measure -- end-to-end --plugin kinesis.so
//! FLUENT_BIT=/opt/fluent-bit/bin/fluent-bit cargo run --profile demo --example measure -- fluent-bit --plugin kinesis.so
//! ```
//!
//! `make bench` runs everything. The program is its own server and client, through the commands that it starts.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]
#![allow(unsafe_code, reason = "calls the plugin's and the system's C functions")]
#![allow(unreachable_pub, reason = "a program of several files")]

mod capture;
mod clock;
mod end_to_end;
mod floor;
mod fluent_bit;
mod latency;
mod modes;
mod plugin;
mod probes;
mod processes;
mod sink;
mod table;
mod wire;

use std::error::Error;
use std::process::ExitCode;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

testing::export_host!();

const HELP: &str = "\
Measures the plugin.

usage: measure <command> [options]

";

fn main() -> ExitCode {
    match run(Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Parser) -> Result<(), Box<dyn Error>> {
    match arguments.next()? {
        Some(Value(command)) => match command.to_str() {
            Some("end-to-end") => end_to_end::run(arguments),
            Some("modes") => modes::run(arguments),
            Some("fluent-bit") => fluent_bit::run(arguments),
            Some("latency") => latency::run(arguments),
            Some("plugin") => plugin::run(arguments),
            Some("floor") => floor::run(arguments),
            Some("sink") => sink::run(arguments),
            Some("corpus") => corpus(arguments),
            _ => Err(format!("there is no command {}", command.display()).into()),
        },
        None | Some(Short('h') | Long("help")) => {
            let commands = [
                end_to_end::HELP,
                modes::HELP,
                fluent_bit::HELP,
                latency::HELP,
                plugin::HELP,
                floor::HELP,
                sink::HELP,
                CORPUS_HELP,
            ];
            print!("{HELP}{}", commands.concat());
            Ok(())
        }
        Some(other) => Err(other.unexpected().into()),
    }
}

const CORPUS_HELP: &str = "\
  corpus NAME N   prints N lines of a corpus, access or nested
";

fn corpus(mut arguments: Parser) -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::ValueExt;
    use std::io::Write;

    let (name, count) = (arguments.value()?.string()?, arguments.value()?.parse()?);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in testing::corpora::Corpus::named(&name)?.lines().take(count) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
