//! Why a folder cannot hold dead letters.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why dead letters cannot be kept in a folder, for whoever configured its path.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(super) path: PathBuf,
    pub(super) reason: Unusable,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is something else.
    NotAFolder,
    /// It is not there and cannot be made.
    Missing(io::Error),
    /// No file can be written in it, or there is no thread for that.
    Unwritable(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path.display())?;
        match &self.reason {
            Unusable::NotAFolder => f.write_str("is not a folder"),
            Unusable::Missing(error) => write!(f, "cannot be created: {error}"),
            Unusable::Unwritable(error) => write!(f, "cannot be written to: {error}"),
        }
    }
}

impl Error for OpenError {}
