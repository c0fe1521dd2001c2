//! The C boundary. The only module with `unsafe` code.
#![expect(unsafe_code, reason = "this is where it belongs")]

pub mod loan;
