//! An event as the bytes to send.
//!
//! [`RecordSettings`] is what the configuration says about that, [`Encoder`] does it: reads the partition key, takes
//! the entries that are sent, writes them in their format, ends them with a newline, compresses them, and keeps the
//! record within its size.

mod encoder;
pub(crate) mod formats;
pub mod json;
pub(crate) mod partition_key;
pub(crate) mod path;
mod refusal;
mod settings;
pub(crate) mod shape;
pub(crate) mod size;
pub(crate) mod time;

pub use encoder::{Alterations, Encoder};
pub use partition_key::Key;
pub use refusal::Refusal;
pub use settings::{Compression, RecordSettings};
