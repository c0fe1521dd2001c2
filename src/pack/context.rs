//! What packing needs besides the batch.

use rand::rngs::SmallRng;

use super::events::SelectedEvents;
use super::issue::RecordIssue;
use super::settings::Limits;
use crate::record::partition_key::Key;
use crate::record::{Alterations, Encoder, Refusal};

/// The chunk's events, and what turns them into records.
pub(super) struct PackContext<'c, 'a> {
    pub(super) events: &'c mut SelectedEvents<'a>,
    pub(super) encoder: &'c mut Encoder<'a>,
    pub(super) random: &'c mut SmallRng,
    /// Called with what is wrong with a record, and the record's index.
    pub(super) report: &'c mut dyn FnMut(u32, RecordIssue),
    pub(super) limits: Limits,
}

impl PackContext<'_, '_> {
    /// Appends the next record that can be sent to `out`, overwrites `key` with its key, and returns its index.
    #[inline]
    pub(super) fn next_record(&mut self, key: &mut Key, out: &mut Vec<u8>) -> Option<u32> {
        let start = out.len();
        let passed = self.events.pass(|time, body| self.encoder.encode_in_one_pass(time, body, self.random, key, out));
        if let Some((index, ())) = passed {
            return Some(index);
        }
        out.truncate(start);
        self.next_event(key, out)
    }

    /// The same for any record. Out of line, so that it costs those of one pass nothing.
    #[inline(never)]
    fn next_event(&mut self, key: &mut Key, out: &mut Vec<u8>) -> Option<u32> {
        let start = out.len();
        loop {
            let (index, event) = self.events.next()?;
            let issue = match &event {
                Ok(event) => match self.encoder.encode(event, self.random, key, out) {
                    Ok(alterations) => {
                        if alterations != Alterations::default() {
                            (self.report)(index, RecordIssue::Altered(alterations));
                        }
                        return Some(index);
                    }
                    Err(Refusal::Empty) => RecordIssue::Dropped,
                    Err(refusal) => RecordIssue::Refused(refusal),
                },
                Err(not_an_event) => RecordIssue::NotAnEvent(*not_an_event),
            };
            out.truncate(start);
            (self.report)(index, issue);
        }
    }
}
