//! A set of record indexes in a chunk.

use std::iter;
use std::ops::Range;

/// A set of record indexes, one bit each.
#[derive(Clone, Debug, Default)]
pub struct RecordSet {
    words: Vec<u64>,
}

impl RecordSet {
    /// Adds a record. Returns whether it was missing.
    pub fn insert(&mut self, record: u32) -> bool {
        let (word, bit) = Self::place(record);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Adds consecutive records. Returns whether any was missing.
    pub fn insert_run(&mut self, run: Range<u32>) -> bool {
        let end = run.end.div_ceil(64) as usize;
        if run.start < run.end && end > self.words.len() {
            self.words.resize(end, 0);
        }
        let mut missing = 0;
        for (word, bits) in self.words_of(run) {
            missing |= bits & !*word;
            *word |= bits;
        }
        missing != 0
    }

    /// Removes consecutive records.
    pub fn remove_run(&mut self, run: Range<u32>) {
        self.words_of(run).for_each(|(word, bits)| *word &= !bits);
    }

    /// The words that overlap the run, and the run's bits in each.
    fn words_of(&mut self, run: Range<u32>) -> impl Iterator<Item = (&mut u64, u64)> {
        let first = run.start / 64;
        let words = self.words.iter_mut().skip(first as usize);
        (first..run.end.div_ceil(64)).zip(words).map(move |(index, word)| {
            let from = run.start.saturating_sub(index * 64);
            let end = (run.end - index * 64).min(64);
            (word, (u64::MAX << from) & (u64::MAX >> (64 - end)))
        })
    }

    /// Whether a record is in the set.
    #[inline]
    pub fn contains(&self, record: u32) -> bool {
        let (word, bit) = Self::place(record);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(64).zip(&self.words).flat_map(|(first, &word): (u32, _)| {
            let mut left = word;
            iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
            })
        })
    }

    /// The records as maximal runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> {
        let mut from = 0;
        iter::from_fn(move || {
            let start = self.first_from(from, true)?;
            from = self.first_from(start, false).unwrap_or(64 * self.words.len() as u32);
            Some(start..from)
        })
    }

    /// The first record from `record` on that is in the set (or is not). Returns `None` after the last word.
    fn first_from(&self, record: u32, is_in: bool) -> Option<u32> {
        let first = record / 64;
        let mut wanted = u64::MAX << (record % 64);
        for (index, &word) in (first..).zip(self.words.get(first as usize..)?) {
            let found = wanted & if is_in { word } else { !word };
            if found != 0 {
                return Some(index * 64 + found.trailing_zeros());
            }
            wanted = u64::MAX;
        }
        None
    }

    /// Memory on the heap, in bytes.
    pub fn bytes(&self) -> usize {
        8 * self.words.capacity()
    }

    #[inline]
    fn place(record: u32) -> (usize, u64) {
        ((record / 64) as usize, 1 << (record % 64))
    }
}

/// Sets are equal if they have the same records, whatever was removed.
impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RecordSet {}

impl FromIterator<u32> for RecordSet {
    fn from_iter<I: IntoIterator<Item = u32>>(records: I) -> Self {
        let mut set = RecordSet::default();
        set.extend(records);
        set
    }
}

impl Extend<u32> for RecordSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, records: I) {
        for record in records {
            self.insert(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_set_is_empty_before_anything_is_in_it_and_after_all_was_taken_out() {
        let mut set = RecordSet::default();
        assert!(set.is_empty());
        set.insert(70);
        assert!(!set.is_empty());
        set.remove_run(70..71);
        assert!(set.is_empty());
    }

    #[test]
    fn sets_of_different_records_are_different() {
        let set = |record: u32| RecordSet::from_iter([record]);
        assert_ne!(set(1), set(2));
        assert_ne!(set(1), set(65));
        assert_ne!(set(1), RecordSet::default());
    }

    #[test]
    fn a_set_takes_a_bit_for_each_record_up_to_its_last() {
        assert_eq!(RecordSet::default().bytes(), 0);
        let bytes = RecordSet::from_iter([80_000]).bytes();
        assert!((10_000..25_000).contains(&bytes), "{bytes}");
    }

    /// Finds the runs of a set record by record.
    fn runs(records: &BTreeSet<u32>) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for &record in records {
            match runs.last_mut() {
                Some(run) if run.end == record => run.end += 1,
                _ => runs.push(record..record + 1),
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn a_run_is_the_same_as_each_of_its_records(
            steps in proptest::collection::vec((any::<bool>(), 0u32..400, 0u32..200), 0..30),
        ) {
            let (mut set, mut expected) = (RecordSet::default(), BTreeSet::new());
            for (inserts, start, length) in steps {
                let run = start..start + length;
                if inserts {
                    let is_new = run.clone().fold(false, |is_new, record| expected.insert(record) | is_new);
                    prop_assert_eq!(set.insert_run(run), is_new);
                } else {
                    expected.retain(|record| !run.contains(record));
                    set.remove_run(run);
                }
            }
            prop_assert!(set.iter().eq(expected.iter().copied()));
            prop_assert_eq!(set.runs().collect::<Vec<_>>(), runs(&expected));
        }

        #[test]
        fn a_record_set_holds_what_was_inserted_and_not_removed(
            steps in proptest::collection::vec((any::<bool>(), 0u32..2000), 0..600),
        ) {
            let (mut set, mut expected) = (RecordSet::default(), BTreeSet::new());
            for (inserts, record) in steps {
                if inserts {
                    prop_assert_eq!(set.insert(record), expected.insert(record));
                } else {
                    prop_assert_eq!(set.contains(record), expected.remove(&record));
                    set.remove_run(record..record + 1);
                }
            }
            prop_assert_eq!(set.len(), expected.len());
            prop_assert_eq!(set.is_empty(), expected.is_empty());
            prop_assert!((0..2100).all(|record| set.contains(record) == expected.contains(&record)));
            prop_assert!(set.iter().eq(expected.iter().copied()));
            prop_assert_eq!(&set, &expected.into_iter().collect());
        }
    }
}
