//! Turns an event into the bytes to send.
//!
//! [`RecordSettings`] says how; [`Encoder`] does it: reads the partition key, selects entries, formats them, ends the
//! record with a newline, compresses it, and keeps it within its size limit.

mod encoder;
pub(crate) mod formats;
mod in_one_pass;
pub mod json;
pub(crate) mod partition_key;
pub(crate) mod path;
mod refusal;
mod schema;
mod settings;
pub(crate) mod shape;
pub(crate) mod size;
mod stream_template;
mod text;
pub(crate) mod time;

pub use encoder::{Alterations, Encoder};
pub use partition_key::Key;
pub use refusal::Refusal;
pub use schema::{Rules, Schemas};
pub use settings::{Compression, RecordSettings};
pub use stream_template::StreamTemplate;
