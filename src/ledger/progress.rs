//! The progress of one chunk, also noted in the ledger's file if there is one.

use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::rc::{Rc, Weak};

use super::journal::Journal;
use super::key::Key;
use super::known::{Known, RefusedAlone};
use crate::record_set::RecordSet;

/// What is known of the records of one chunk. It may outlive the flush, as tasks may hold it.
#[derive(Debug, Default)]
pub struct Progress {
    known: Rc<Known>,
    /// Where changes are noted, until the chunk is forgotten.
    journal: RefCell<Weak<Journal>>,
}

impl Progress {
    /// The progress of a chunk in the journal.
    pub(super) fn noted_in(journal: &Rc<Journal>, known: Rc<Known>) -> Progress {
        Progress { known, journal: RefCell::new(Rc::downgrade(journal)) }
    }

    /// Marks records that need not be sent again: accepted by Kinesis, or refused for good. They are in the file when
    /// this returns.
    pub fn mark_done(&self, records: impl IntoIterator<Item = u32>) {
        let journal = self.journal.borrow().upgrade();
        let mut new = RecordSet::default();
        self.mark_runs_done(records, |run| {
            if journal.is_some() {
                new.insert_run(run);
            }
        });
        if let Some(journal) = journal
            && !new.is_empty()
        {
            journal.note_done(&self.known, &new);
        }
    }

    /// Marks adjacent records together, which is much faster. Calls `new` with each run that was not fully done.
    fn mark_runs_done(&self, records: impl IntoIterator<Item = u32>, mut new: impl FnMut(Range<u32>)) {
        let (mut done, mut refused_alone) = (self.known.done.borrow_mut(), self.known.refused_alone.borrow_mut());
        let mut mark = |run: &Range<u32>| {
            refused_alone.records.remove_run(run.clone());
            if done.insert_run(run.clone()) {
                new(run.clone());
            }
        };
        let mut run = 0..0;
        records.into_iter().for_each(|record| {
            if record != run.end {
                mark(&run);
                run.start = record;
            }
            run.end = record.saturating_add(1);
        });
        mark(&run);
    }

    /// The records that need not be sent again.
    pub(crate) fn done(&self) -> Ref<'_, RecordSet> {
        self.known.done.borrow()
    }

    /// Marks a record as refused alone, unless it is done; `at` is a counter of the caller's.
    pub(crate) fn mark_refused_alone(&self, record: u32, at: u64) {
        if self.done().contains(record) {
            return;
        }
        let mut refused_alone = self.known.refused_alone.borrow_mut();
        let is_new = refused_alone.records.insert(record);
        refused_alone.latest = refused_alone.latest.max(at);
        drop(refused_alone);
        let journal = self.journal.borrow().upgrade();
        if is_new && let Some(journal) = journal {
            journal.note_refused_alone(&self.known, &RecordSet::from_iter([record]));
        }
    }

    /// The records that were refused alone and are not done.
    pub(crate) fn refused_alone(&self) -> Ref<'_, RefusedAlone> {
        self.known.refused_alone.borrow()
    }

    /// Makes the file forget the chunk. What tasks still learn is not noted any more.
    pub(super) fn forget(&self) {
        if let Some(journal) = self.journal.take().upgrade() {
            journal.note_gone(&self.known);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Approximate memory on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.known.bytes()
    }

    pub(super) fn key(&self) -> Key {
        self.known.key
    }

    pub(super) fn id(&self) -> u64 {
        self.known.id
    }
}
