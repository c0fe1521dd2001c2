//! Every kind of credentials, from servers on loopback that behave as AWS's: the first fetch, renewal, an outage, what is
//! corrected meanwhile, and refusals, which the log explains without a secret.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program that tests: it may assert, print and ask for the time, and nothing of it is reached from outside"
)]

mod addresses;
mod child;
mod chunk;
mod container;
mod endless;
mod environment;
mod files;
mod http;
mod instance;
mod issuer;
mod life;
mod options;
mod process;
mod sso;
mod sts;
mod web_identity;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    // The environment belongs to a whole process: each test's plugin runs in one of its own, which is this program again.
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(child::CHILD) => return child::run(),
        Some(addresses::INSIDE) => return addresses::run(&arguments.next().unwrap_or_default()),
        Some(process::PRINT) => return process::print(&arguments.next().unwrap_or_default()),
        _ => {}
    }
    let trials = [
        addresses::trials(),
        container::trials(),
        endless::trials(),
        environment::trials(),
        files::trials(),
        instance::trials(),
        options::trials(),
        process::trials(),
        sso::trials(),
        sts::trials(),
        web_identity::trials(),
    ];
    let mut arguments = Arguments::from_args();
    // They wait for credentials to expire, and do little else.
    arguments.test_threads.get_or_insert(16);
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A test, named by the path of its function.
fn trial<T: Fn() -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    Trial::test(std::any::type_name::<T>().trim_start_matches("identity::"), test)
}
