//! Calls into Fluent Bit: its functions, found by name, its log, metrics and coroutines; and the handoff of a chunk
//! from one of its threads to ours.
//!
//! Flushes run on coroutine stacks of 24 KiB without a guard page, so nothing here formats, parses or allocates much:
//! pointers are checked, panics are caught ([`guard`]), and the work is handed over (`borrowed_chunk`).

#![expect(unsafe_code, reason = "this is where it belongs")]

#[allow(missing_docs, reason = "generated; include/fluent_bit_proxy.h explains each item")]
#[allow(non_camel_case_types, reason = "the host's own names")]
#[allow(
    clippy::indexing_slicing,
    clippy::no_effect,
    clippy::unnecessary_operation,
    reason = "bindgen's layout checks, evaluated while compiling"
)]
pub mod bindings;
pub mod guard;

pub(crate) mod borrowed_chunk;
pub(crate) mod coroutine;
pub(crate) mod engine;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod presence;
pub(crate) mod symbols;

mod handoff;
mod probe;
mod sync;
mod timer;
