//! What goes wrong with a single record.

use crate::chunk::NotAnEvent;
use crate::record::{Alterations, Refusal};

/// Something about an event that its owner may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordIssue {
    /// An event that cannot become a record, and is never sent.
    Refused(Refusal),
    /// Bytes that are no event, and are never sent.
    NotAnEvent(NotAnEvent),
    /// A record that is sent, but not as the event was.
    Altered(Alterations),
}
