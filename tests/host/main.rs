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

/// A chunk that compression threads get to see.
fn chunk_of_a_block() -> Vec<u8> {
    let mut chunk = testing::host::chunk::Chunk::default();
    (0..1000).for_each(|_| chunk.push(1_760_000_000, "log", &[b'x'; 100]));
    chunk.bytes
}

testing::export_host!();
testing::export_event_loop!();
