//! Counts by a key with many values, which have no series in the host: the log names the largest.

use std::collections::BTreeMap;

/// Most keys counted separately.
const MAX_KEYS: usize = 64;
/// Most keys that the log names.
const NAMED: usize = 8;

/// Counts by key, plus one for those without a key or beyond [`MAX_KEYS`].
pub(super) struct TopCounts<K> {
    counts: BTreeMap<K, u64>,
    others: u64,
}

impl<K> Default for TopCounts<K> {
    fn default() -> Self {
        TopCounts { counts: BTreeMap::new(), others: 0 }
    }
}

impl<K: Ord> TopCounts<K> {
    pub(super) fn add(&mut self, key: Option<K>, amount: u64) {
        let known = self.counts.len();
        let count = match key {
            Some(key) if known < MAX_KEYS || self.counts.contains_key(&key) => self.counts.entry(key).or_default(),
            _ => &mut self.others,
        };
        *count += amount;
    }

    /// The number of keys counted separately.
    pub(super) fn keys(&self) -> usize {
        self.counts.len()
    }

    /// The largest counts, each with its key as `name` gives it; empty if there are none.
    pub(super) fn text(&self, name: impl Fn(&K) -> String) -> String {
        let mut counts: Vec<(&K, u64)> = self.counts.iter().map(|(key, count)| (key, *count)).collect();
        // Stable: equal counts stay in the order of their keys.
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let others = self.others + counts.iter().skip(NAMED).map(|(_, count)| count).sum::<u64>();
        let named = counts.iter().take(NAMED).map(|(key, count)| format!("{} {count}", name(key)));
        let others = (others > 0).then(|| format!("others {others}"));
        named.chain(others).collect::<Vec<_>>().join(", ")
    }
}
