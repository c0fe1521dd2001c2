//! The stand-in tested by itself, with raw HTTP requests: it is the measure for everything else.
#![allow(unreachable_pub, reason = "a test is no library")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

mod client;
#[path = "../support/mod.rs"]
mod support;

mod connection;
mod faults;
mod limits;
mod list_shards;
mod look_inside;
mod signature;
mod wire;
