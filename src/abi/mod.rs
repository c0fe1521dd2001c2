//! The C boundary: the functions Fluent Bit calls, and the functions of Fluent Bit we call.
//!
//! Fluent Bit loads the library with `dlopen` and finds the functions of [`exports`] by name. It may call a flush on
//! a coroutine's stack of 24 KiB that has no guard page, so nothing here formats, parses or allocates much: pointers
//! are checked, panics are caught ([`guard`]), and the work is handed to [`crate::plugin`].

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
pub mod exports;
pub mod guard;
pub mod loan;
pub mod system;

mod coroutine;
mod engine;
mod handoff;
mod host;
mod instances;
mod metrics;
mod presence;
mod probe;
mod registration;
mod sync;
