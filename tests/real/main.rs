//! Tests with outside parts: Fluent Bit, other Kinesis servers, Prometheus, valgrind, linters, Linux namespaces.
//!
//! A test whose part is missing is reported as ignored, by name and with a reason, which the standard harness cannot
//! do. The tests are in groups, which run one after another:
//!
//! ```text
//! cargo test --test real                           all of them
//! cargo test --test real network                   one group
//! cargo test --test real network::trust::          some tests of a group
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that tests: it may assert, print and ask for the time"
)]
#![allow(unsafe_code, reason = "plays the C side of the boundary")]
#![allow(unreachable_pub, reason = "nothing of a test is reached from outside")]

mod dashboard;
mod deploy;
mod fluent_bit;
mod flush;
mod generated;
mod identity;
mod images;
mod library_file;
mod memory;
mod network;
mod packages;
mod peers;
mod root_fs;
mod silent_dns;
mod sts;
mod valgrind;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

testing::export_host!();

/// A name, how many tests run in parallel (default: one per processor), and the tests.
type Group = (&'static str, Option<usize>, fn() -> Vec<Trial>);

const GROUPS: [Group; 13] = [
    ("generated", None, generated::trials),
    ("library_file", None, library_file::trials),
    ("deploy", None, deploy::trials),
    ("packages", None, packages::trials),
    ("images", None, images::trials),
    ("network", None, network::trials),
    ("silent_dns", None, silent_dns::trials),
    // They mostly wait for credentials to expire.
    ("identity", Some(8), identity::trials),
    ("peers", None, peers::trials),
    ("dashboard", None, dashboard::trials),
    ("memory", None, memory::trials),
    // Its programs are slow enough one at a time.
    ("valgrind", Some(1), valgrind::trials),
    ("fluent_bit", None, fluent_bit::trials),
];

fn main() -> ExitCode {
    if let Some(code) = child() {
        return code;
    }
    let arguments = Arguments::from_args();
    let mut code = ExitCode::SUCCESS;
    for (name, threads, trials) in GROUPS {
        let Some(arguments) = of_group(&arguments, name) else { continue };
        let trials = trials();
        let is_wanted = |trial: &Trial| arguments.filter.as_ref().is_none_or(|filter| trial.name().contains(filter));
        if trials.iter().any(is_wanted) {
            println!("\n{name}:");
            let arguments = Arguments { test_threads: arguments.test_threads.or(threads), ..arguments };
            if libtest_mimic::run(&arguments, trials).has_failed() {
                code = ExitCode::FAILURE;
            }
        }
    }
    if env::var_os("UPDATE").is_some() {
        fluent_bit::update();
    }
    code
}

/// The remaining arguments for a group: a filter that begins with a group's name applies only to that group.
fn of_group(arguments: &Arguments, group: &str) -> Option<Arguments> {
    let mut own = arguments.clone();
    if let Some(filter) = &arguments.filter {
        let (first, rest) = filter.split_once("::").unwrap_or((filter, ""));
        if first == group {
            own.filter = Some(rest.to_owned()).filter(|rest| !rest.is_empty());
        } else if GROUPS.iter().any(|(name, ..)| *name == first) {
            return None;
        }
    }
    Some(own)
}

/// The end of a test that ran in a process of its own: its parent shows what it printed.
fn finish(done: Result<(), Failed>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            println!("{}", failed.message().unwrap_or("failed"));
            ExitCode::FAILURE
        }
    }
}

/// The plugin's environment and memory are per process. Tests that set or measure them run this program again, with a
/// first argument that says what it should do.
fn child() -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    let (role, what) = (arguments.next().unwrap_or_default(), arguments.next());
    match role.as_str() {
        flush::CHILD => Some(flush::child()),
        identity::child::CHILD => Some(identity::child::run()),
        identity::addresses::INSIDE => Some(identity::addresses::run(&what.unwrap_or_default())),
        identity::process::PRINT => Some(identity::process::print(&what.unwrap_or_default())),
        network::shortages::INSIDE => Some(network::shortages::inside(what.as_deref())),
        network::namespaces::INSIDE => Some(network::namespaces::inside(what.as_deref())),
        silent_dns::INSIDE => Some(silent_dns::inside()),
        dashboard::HOST => Some(dashboard::host(&what.unwrap_or_default()).unwrap()),
        _ => memory::child(),
    }
}
