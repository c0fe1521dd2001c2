//! A host of our own: loads the plugin as Fluent Bit does, and exports the functions that the plugin looks up.
//!
//! The structures are the plugin's own description of the interface ([`kinesis::host::bindings`]); that the description
//! is right is shown by the tests with the real Fluent Bit.

#![allow(unsafe_code, reason = "plays the C side of the boundary")]
#![allow(dead_code, unreachable_pub, reason = "each program that includes this module uses a part of it")]

pub mod access_log;
pub mod chunk;
pub mod elf;
pub mod library;
pub mod log;
pub mod metrics;
pub mod output;
pub mod since_2_2;
