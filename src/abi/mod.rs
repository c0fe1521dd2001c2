//! The C boundary: the functions that Fluent Bit calls.
//!
//! Fluent Bit loads the library with `dlopen` and finds the functions of [`exports`] by name. It may call a flush on
//! a coroutine's stack of 24 KiB that has no guard page, so nothing here formats, parses or allocates much: pointers
//! are checked, panics are caught ([`guard`]), and the work is handed to [`crate::plugin`].

#![expect(unsafe_code, reason = "this is where it belongs")]

pub mod exports;

mod instances;
mod registration;
