//! Asks about a stream: its shards, its configuration, and whether records could be put.

mod ask;
pub(crate) mod describe;
pub(crate) mod dry_run;
pub(crate) mod list_shards;
