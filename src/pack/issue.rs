//! What can be wrong with a single record.

use crate::chunk::NotAnEvent;
use crate::record::{Alterations, Refusal};

/// Something about an event that the user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordIssue {
    /// An event that cannot become a record and is not sent.
    Refused(Refusal),
    /// An event without entries, which the user does not want to send.
    Dropped,
    /// Bytes that are not an event and are not sent.
    NotAnEvent(NotAnEvent),
    /// A record that is sent, but changed.
    Altered(Alterations),
}
