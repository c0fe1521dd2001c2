//! What tests, examples and benches share: a Kinesis and a host of our own, chunks, log lines, and the project's
//! files.
//!
//! It does not depend on the plugin, so changes of `src/` do not rebuild it.

#![allow(missing_docs, reason = "names and tests say it; only what surprises is explained")]

pub mod accepted;
pub mod aggregates;
pub mod chunks;
pub mod consumer;
pub mod corpora;
pub mod fake_kinesis;
pub mod host;
pub mod programs;
pub mod sources;

/// Asks a configuration for a property, as the plugin asks its host: these options, and a stream where none is among them.
pub fn property(options: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let find = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    move |name: &str| find(name).or_else(|| (name == "stream").then(|| "logs".to_owned()))
}
