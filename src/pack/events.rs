//! Selects the events of a chunk to pack.

use super::route::Run;
use crate::chunk::{Event, EventTime, Events, NotAnEvent};
use crate::msgpack::Reader;
use crate::record_set::RecordSet;

/// Events with their indexes.
#[derive(Clone)]
pub(super) struct SelectedEvents<'a> {
    events: Events<'a>,
    /// Records that need not be sent again.
    done: RecordSet,
    /// If set, the only records to pack.
    only: Option<RecordSet>,
    next: u32,
    /// What follows `events`, if they are not the whole chunk.
    runs: std::slice::Iter<'a, Run<'a>>,
}

impl<'a> SelectedEvents<'a> {
    /// Selects all events of `chunk` except those that are `done`.
    pub(super) fn all_but(done: RecordSet, chunk: &'a [u8]) -> Self {
        SelectedEvents { events: Events::new(chunk), done, only: None, next: 0, runs: [].iter() }
    }

    /// Selects only these records, done or not.
    pub(super) fn select(&mut self, records: RecordSet) {
        self.done = RecordSet::default();
        self.only = Some(records);
    }

    /// Selects among the records of these runs of the chunk only.
    pub(super) fn within(&mut self, runs: &'a [Run<'a>]) {
        self.runs = runs.iter();
        self.events = Events::new(&[]);
    }

    /// Goes on to the next run.
    fn advance(&mut self) -> Option<()> {
        let run = self.runs.next()?;
        (self.events, self.next) = (run.events(), run.first);
        Some(())
    }

    /// The number of events in the whole chunk, selected or not.
    pub(super) fn count_all(&self) -> usize {
        self.next as usize + self.events.clone().count()
    }

    #[inline]
    fn is_selected(&self, record: u32) -> bool {
        !self.done.contains(record) && self.only.as_ref().is_none_or(|only| only.contains(record))
    }

    /// Like [`Events::pass`], for the next selected event. Also returns its index.
    #[inline]
    pub(super) fn pass<T>(&mut self, read: impl FnOnce(EventTime, &mut Reader<'a>) -> Option<T>) -> Option<(u32, T)> {
        if self.events.is_at_end() {
            self.advance()?;
        }
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
            let Some(event) = self.events.next() else {
                self.advance()?;
                continue;
            };
            let record = self.next;
            self.next += 1;
            if self.is_selected(record) {
                return Some((record, event));
            }
        }
    }
}
