//! The options about the files that an output writes: the ledger's and dead letters.

use std::path::PathBuf;

use super::parse;
use super::reader::Options;
use crate::dead_letters::Place;

/// What is remembered of chunks in retry.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    /// Bound of its memory, in bytes.
    pub(crate) max_bytes: usize,
    /// The file that preserves it across restarts.
    pub(crate) path: Option<PathBuf>,
}

/// Reads the options about the ledger.
pub(super) fn ledger(options: &mut Options<'_>) -> LedgerSettings {
    LedgerSettings {
        max_bytes: options.value("ledger_max_bytes", parse::size(4 << 10..=64 << 20)),
        path: options.optional("ledger_path", parse::path),
    }
}

/// Reads the options about records that are refused.
pub(super) fn dead_letters(options: &mut Options<'_>) -> Option<Place> {
    let path = options.optional("dead_letter_path", parse::path);
    let max_bytes = options.value("dead_letter_max_bytes", parse::size(1 << 20..=1 << 40));
    let is_used = options.is_set("dead_letter_path");
    options.reject_unless(is_used, "dead_letter_max_bytes", "only valid with dead_letter_path");
    Some(Place { path: path?, max_bytes: max_bytes as u64 })
}
