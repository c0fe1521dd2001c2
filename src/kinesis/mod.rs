//! Kinesis: its limits, requests and replies, and what a reply means.

pub mod client;
pub mod kpl;
pub(crate) mod limits;
pub(crate) mod list_shards;
pub mod random_key;
pub mod reply;
pub mod request;
pub mod shards;
pub mod stream;
pub mod verdict;
