//! The options about the ledger.

use std::path::PathBuf;

use super::parse;
use super::reader::Options;

/// What is remembered of chunks in retry.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    /// Bound of its memory, in bytes.
    pub(crate) max_bytes: usize,
    /// The file that preserves it across restarts.
    pub(crate) path: Option<PathBuf>,
}

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> LedgerSettings {
    LedgerSettings {
        max_bytes: options.value("ledger_max_bytes", parse::size(4 << 10..=64 << 20)),
        path: options.optional("ledger_path", parse::path),
    }
}
