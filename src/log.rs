//! Log lines on their way to the host.
//!
//! Fluent Bit's log works only on threads that Fluent Bit made: called on any other thread it writes to stderr, past
//! `log_file`. So the delivery thread queues its lines here, and the thread that waits for the flush writes them
//! ([`crate::plugin`]).

use std::borrow::Cow;

/// Severity, with the host's numbers (`flb_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is not delivered, or an operator has to act.
    Error = 1,
    /// Something is odd, and delivery goes on.
    Warn = 2,
    /// State changes.
    Info = 3,
    /// One request, explained.
    Debug = 4,
}

/// Where finished lines go: the host's log, or a test's list.
pub trait LogSink: Send + Sync {
    /// Whether a line of this level would be written; asked before a costly line is made.
    fn enabled(&self, level: Level) -> bool;
    /// Writes one line, without the host's prefix and without a newline.
    fn write(&self, level: Level, line: &str);
}

/// A line that waits to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its severity.
    pub level: Level,
    /// Its text, without prefix and newline.
    pub text: Cow<'static, str>,
}
