//! What is claimed of hostile input: of chunks, of records and of replies. Each target panics when a claim fails.
//!
//! The fuzzer's programs call these functions, and so does a test of the plugin that replays the corpus.

pub mod chunk;
pub mod json;
pub mod reply;
