//! What packing a batch needs besides the batch.

use rand::rngs::SmallRng;

use super::events::SelectedEvents;
use super::issue::RecordIssue;
use super::settings::Limits;
use crate::chunk::{Event, NotAnEvent};
use crate::record::partition_key::Key;
use crate::record::{Alterations, Encoder};

/// The chunk's events, and how they become records.
pub(super) struct PackContext<'c, 'a> {
    pub(super) events: &'c mut SelectedEvents<'a>,
    pub(super) encoder: &'c mut Encoder<'a>,
    pub(super) random: &'c mut SmallRng,
    /// Told what happens to a record, by its index.
    pub(super) report: &'c mut dyn FnMut(u32, RecordIssue),
    pub(super) limits: Limits,
}

impl PackContext<'_, '_> {
    /// Appends the record of the next event that can be sent to `out`, writes its key over `key`, and returns its index.
    #[inline]
    pub(super) fn next_record(&mut self, key: &mut Key, out: &mut Vec<u8>) -> Option<u32> {
        let start = out.len();
        loop {
            if self.encoder.can_in_one_pass()
                && let Some((index, random_key)) =
                    self.events.pass(|body| self.encoder.encode_in_one_pass(body, self.random, out))
            {
                key.set_random(random_key);
                return Some(index);
            }
            out.truncate(start);
            let (index, event) = self.events.next()?;
            if self.encode(index, event, key, out) {
                return Some(index);
            }
            out.truncate(start);
        }
    }

    /// Appends the record of an event to `out`, if it can be sent. Reports what is not sent, or not as it came.
    fn encode(&mut self, index: u32, event: Result<Event<'_>, NotAnEvent>, key: &mut Key, out: &mut Vec<u8>) -> bool {
        let encoded = event
            .map_err(RecordIssue::NotAnEvent)
            .and_then(|event| self.encoder.encode(&event, self.random, key, out).map_err(RecordIssue::Refused));
        match encoded {
            Ok(alterations) => {
                if alterations != Alterations::default() {
                    (self.report)(index, RecordIssue::Altered(alterations));
                }
                true
            }
            Err(issue) => {
                (self.report)(index, issue);
                false
            }
        }
    }
}
