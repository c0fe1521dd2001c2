//! Programs that play Fluent Bit: the built library, opened with `dlopen` and called through its exports.
//!
//! This program exports what a current host does, including coroutines and their event loop, so it is separate from
//! `it`. A process has one plugin and one log, so the tests take turns; those that count the process's resources run
//! in a child.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "calls C functions as the host does, also wrongly")]

mod abi;
mod coroutines;
mod load_unload;
mod stack;
mod unload;

testing::export_host!();
testing::export_event_loop!();
