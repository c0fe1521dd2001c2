//! Kinesis: its limits, requests and replies, and what a reply means.

pub mod client;
pub(crate) mod control;
pub mod kpl;
pub(crate) mod limits;
pub mod random_key;
pub mod reply;
pub mod request;
pub mod shards;
pub mod stream;
pub mod verdict;
