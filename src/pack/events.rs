//! The events of a chunk that are packed.

use crate::chunk::{Event, Events, NotAnEvent};
use crate::msgpack::Reader;
use crate::record_set::RecordSet;

/// Events with their indexes.
#[derive(Clone)]
pub(super) struct SelectedEvents<'a> {
    events: Events<'a>,
    /// Records that need no sending any more.
    done: RecordSet,
    /// The only ones to pack, if not all others.
    only: Option<RecordSet>,
    next: u32,
}

impl<'a> SelectedEvents<'a> {
    /// All events of `chunk`, but those that are `done`.
    pub(super) fn all_but(done: RecordSet, chunk: &'a [u8]) -> Self {
        SelectedEvents { events: Events::new(chunk), done, only: None, next: 0 }
    }

    /// Selects only these, whatever was done.
    pub(super) fn select(&mut self, records: RecordSet) {
        self.done = RecordSet::default();
        self.only = Some(records);
    }

    /// How many events the chunk has, whether they are selected or not.
    pub(super) fn count_all(&self) -> usize {
        self.next as usize + self.events.clone().count()
    }

    #[inline]
    fn is_selected(&self, record: u32) -> bool {
        !self.done.contains(record) && self.only.as_ref().is_none_or(|only| only.contains(record))
    }

    /// [`Events::pass`] over a selected event, with its index.
    #[inline]
    pub(super) fn pass<T>(&mut self, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<(u32, T)> {
        let record = self.next;
        if !self.is_selected(record) {
            return None;
        }
        let read = self.events.pass(read)?;
        self.next += 1;
        Some((record, read))
    }
}

impl<'a> Iterator for SelectedEvents<'a> {
    type Item = (u32, Result<Event<'a>, NotAnEvent>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let event = self.events.next()?;
            let record = self.next;
            self.next += 1;
            if self.is_selected(record) {
                return Some((record, event));
            }
        }
    }
}
