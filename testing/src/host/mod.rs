//! A host of our own: loads the plugin like Fluent Bit does, and has the functions that the plugin looks up.
//!
//! The plugin looks them up in the executable by name and infers the host's version from those it finds. So each
//! program chooses what to export, by the macros of [`exports`]; the package's build.rs links it with `-rdynamic`.
//!
//! The structures are the plugin's own description of the interface; the tests with the real Fluent Bit show that it
//! is right.

pub mod access_log;
pub mod chunk;
pub mod elf;
pub mod event_loop;
pub mod exports;
pub mod library;
pub mod log;
pub mod metrics;
pub mod output;
pub mod vectors;

/// The generated description of the host's interface; the plugin is built with the same file.
#[allow(missing_docs, dead_code, reason = "generated; include/fluent_bit_proxy.h explains each item")]
#[allow(non_camel_case_types, reason = "the host's own names")]
#[allow(clippy::all, reason = "generated")]
pub mod bindings {
    include!("../../../src/host/bindings.rs");
}

use std::sync::{Mutex, MutexGuard};

/// The library's statics and the host's log are one per process, so a test locks them for itself.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
