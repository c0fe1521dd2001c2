//! What the user configured.

pub mod options;
