//! What several tests share.

pub mod host;
