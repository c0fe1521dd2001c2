//! Everything that can share a process and needs only what cargo builds.
//!
//! The plugin runs in examples/host if it needs an environment. Tests with outside parts are in `real`, those that
//! play a host in `host`; tests/README.md says where the test of a claim is.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(unsafe_code, reason = "calls the plugin's C functions as no host should, and shares cells under loom")]
#![allow(unreachable_pub, reason = "nothing of a test is reached from outside")]

mod aggregation;
mod cases;
mod charts;
mod configurations;
mod corpus;
mod corrupted;
mod dashboard;
mod documentation;
mod end_to_end;
mod fake_kinesis;
mod fleet;
mod handoff;
mod inputs;
mod invariants;
mod layers;
mod limits;
mod metrics;
mod migration;
mod numbers;
mod options;
mod prose;
mod readme;
mod third_party;
mod troubleshooting;
mod window;

// What handoff.rs, a file of the plugin, expects in its crate.
use kinesis::{log, outcome};

testing::export_host!();
