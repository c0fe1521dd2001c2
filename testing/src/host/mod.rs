//! A host of our own: loads the plugin as Fluent Bit does, and has the functions that the plugin looks up.
//!
//! The plugin looks them up in the executable by name. Which there are tells it the host's version, so each program says
//! what it exports, by the macros of [`exports`]; the package's build.rs links it with `-rdynamic`.
//!
//! The structures are the plugin's own description of the interface; that the description is right is shown by the tests
//! with the real Fluent Bit.

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

/// The generated description of the host's interface, the file that the plugin is built with.
#[allow(missing_docs, dead_code, reason = "generated; include/fluent_bit_proxy.h explains each item")]
#[allow(non_camel_case_types, reason = "the host's own names")]
#[allow(clippy::all, reason = "generated")]
pub mod bindings {
    include!("../../../src/host/bindings.rs");
}

use std::sync::{Mutex, MutexGuard};

/// The library has one set of statics for the whole process, and the host's log is one: a test has them for itself.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
