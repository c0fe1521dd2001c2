//! The C boundary. The only module with `unsafe` code.
