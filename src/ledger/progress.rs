//! What is known of one chunk.

use std::cell::{Cell, Ref, RefCell};
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::rc::Weak;

use super::journal::Journal;
use super::key::Key;
use crate::record_set::RecordSet;

/// What is known of the records of one chunk. It outlives the flush, and tasks may hold it.
#[derive(Default)]
pub struct Progress {
    settled: RefCell<RecordSet>,
    suspects: RefCell<Suspects>,
    /// The journal that notes it, while it counts.
    journal: RefCell<Weak<Journal>>,
    /// What the journal calls the chunk.
    pub(super) id: u64,
    pub(super) key: Key,
    /// Whether the journal has noted what `id` means.
    pub(super) is_open_in_file: Cell<bool>,
}

/// Records that were refused alone and are not proven to be at fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// The records.
    pub records: RecordSet,
    /// The highest `at` of [`Progress::suspect`]; 0 when all are of an earlier process.
    pub latest: u64,
}

impl Debug for Progress {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Progress").field("settled", &self.settled).finish_non_exhaustive()
    }
}

impl Progress {
    /// One that is noted in a journal, where the chunk is called `id`.
    pub(super) fn noted_in(journal: Weak<Journal>, id: u64, key: Key) -> Progress {
        Progress { journal: RefCell::new(journal), id, key, ..Progress::default() }
    }

    /// The same, with what an earlier process knew.
    pub(super) fn with_known(self, settled: RecordSet, suspects: RecordSet) -> Progress {
        let suspects = RefCell::new(Suspects { records: suspects, latest: 0 });
        Progress { settled: RefCell::new(settled), suspects, ..self }
    }

    /// Notes records that need no sending any more: they are accepted, or refused for good. With a file, it is in there
    /// when this returns.
    pub fn settle(&self, records: impl IntoIterator<Item = u32>) {
        let journal = self.journal.borrow().upgrade();
        let mut fresh = RecordSet::default();
        self.settle_runs(records, |run| {
            if journal.is_some() {
                fresh.insert_run(run);
            }
        });
        if let Some(journal) = journal
            && !fresh.is_empty()
        {
            journal.settled(self, &fresh);
        }
    }

    /// Settles neighbours together. Tells each run of which any was not settled.
    fn settle_runs(&self, records: impl IntoIterator<Item = u32>, mut tell: impl FnMut(Range<u32>)) {
        let (mut settled, mut suspects) = (self.settled.borrow_mut(), self.suspects.borrow_mut());
        let mut settle = |run: &Range<u32>| {
            suspects.records.remove_run(run.clone());
            if settled.insert_run(run.clone()) {
                tell(run.clone());
            }
        };
        let mut run = 0..0;
        records.into_iter().for_each(|record| {
            if record != run.end {
                settle(&run);
                run.start = record;
            }
            run.end = record.saturating_add(1);
        });
        settle(&run);
    }

    /// The records that need no sending any more.
    pub fn settled(&self) -> Ref<'_, RecordSet> {
        self.settled.borrow()
    }

    /// Notes a record that was refused alone; `at` is a counter of the caller's. One that is settled is no suspect.
    pub fn suspect(&self, record: u32, at: u64) {
        if self.settled.borrow().contains(record) {
            return;
        }
        let mut suspects = self.suspects.borrow_mut();
        let is_fresh = suspects.records.insert(record);
        suspects.latest = suspects.latest.max(at);
        drop(suspects);
        let journal = self.journal.borrow().upgrade();
        if is_fresh && let Some(journal) = journal {
            journal.suspected(self, &RecordSet::from_iter([record]));
        }
    }

    /// The records that were refused alone and are not settled.
    pub fn suspects(&self) -> Ref<'_, Suspects> {
        self.suspects.borrow()
    }

    /// Nothing of it counts any more. What a task still learns is not noted.
    pub(super) fn forget(&self) {
        if let Some(journal) = self.journal.take().upgrade() {
            journal.gone(self);
        }
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.settled.borrow().is_empty() && self.suspects.borrow().records.is_empty()
    }

    /// What it takes on the heap, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.settled.borrow().bytes() + self.suspects.borrow().records.bytes()
    }
}
