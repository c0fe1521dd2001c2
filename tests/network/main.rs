//! The way to Kinesis: endpoints, proxies, certificates, connections that end, names with several addresses,
//! replies without end, and a machine that is short of something.
//!
//! Between plugin and stand-in stand relays and proxies of our own ([`relay`], [`proxy_server`]), with certificates of our
//! own ([`certificates`]). A test whose tool is missing (botocore, namespaces, IPv6) is reported as ignored, with the
//! reason.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program that tests: it may assert and print, and nothing of it is reached from outside"
)]

mod certificates;
#[path = "../support/chunks.rs"]
mod chunks;
mod connections;
mod endpoints;
#[path = "../support/fake_kinesis/mod.rs"]
mod fake_kinesis;
#[path = "../support/flush.rs"]
mod flush;
mod limits;
mod metadata;
mod namespaces;
mod proxies;
mod proxy_server;
mod relay;
mod replies;
mod shortages;
mod stand_in;
#[path = "../fluent_bit/sts.rs"]
mod sts;
mod trust;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    // The plugin reads credentials and proxies from the environment, and the environment belongs to a whole process: each
    // flush runs in a process of its own, which is this program again.
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(flush::CHILD) => return flush::child(),
        Some(shortages::INSIDE) => return shortages::inside(arguments.next().as_deref()),
        Some(namespaces::INSIDE) => return namespaces::inside(arguments.next().as_deref()),
        _ => {}
    }
    let trials = [
        trust::trials(),
        proxies::trials(),
        endpoints::trials(),
        connections::trials(),
        namespaces::trials(),
        replies::trials(),
        limits::trials(),
        shortages::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

/// A test, named by the path of the function.
fn trial<T: Fn() -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    Trial::test(name_of(&test), test)
}

/// A test that reports itself as ignored when it names something that is missing.
fn trial_with<T>(missing: fn() -> Option<String>, test: T) -> Trial
where
    T: Fn() -> Result<(), Failed> + Send + 'static,
{
    Trial::ignorable_test(name_of(&test), move || match missing() {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test().map(|()| Completion::Completed),
    })
}

fn name_of<T>(_: &T) -> &'static str {
    std::any::type_name::<T>().trim_start_matches("network::")
}
