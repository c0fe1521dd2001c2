//! Why a ledger's file cannot be opened or saved.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a ledger's file cannot be opened, for whoever configured its path.
#[derive(Debug)]
pub struct OpenError {
    pub(super) path: PathBuf,
    pub(super) reason: Unopened,
}

/// What is wrong with the path.
#[derive(Debug)]
pub(super) enum Unopened {
    /// It cannot be opened or read.
    Unusable(io::Error),
    /// It is a pipe or a device.
    NotAFile,
    /// Another output has locked it.
    InUse,
    /// Its content is something else.
    Foreign,
    /// It cannot be rewritten.
    Unwritable(io::Error),
}

/// Why a ledger's file is not on the disk at the end; its text is a line for the log.
#[derive(Debug)]
pub struct SaveError {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path.display())?;
        match &self.reason {
            Unopened::Unusable(error) => write!(f, "cannot be used: {error}"),
            Unopened::NotAFile => f.write_str("cannot be used: it is not a file"),
            Unopened::InUse => f.write_str("is in use by another output: each output needs its own"),
            Unopened::Foreign => f.write_str("is not a ledger and was left unchanged"),
            Unopened::Unwritable(error) => write!(f, "cannot be written: {error}"),
        }
    }
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SaveError { path, error } = self;
        write!(f, "the ledger file {} cannot be written: {error}{UNWRITTEN}", path.display())
    }
}

/// What follows from a file that is not written.
pub(super) const UNWRITTEN: &str = "; chunks will be sent whole if Fluent Bit ends before it can be written";

impl Error for OpenError {}

impl Error for SaveError {}
