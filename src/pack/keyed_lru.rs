//! Something for each of the partition keys that were used last.

use lru::LruCache;

/// Most keys at a time: where nearly each record has a key of its own, nothing is gained by keeping more of them apart.
pub(super) const MAX_OPEN: usize = 256;

/// Something for each partition key, and for the records without one under the empty key, which no user's key is.
pub(super) struct KeyedLru<T>(LruCache<Box<str>, T>);

impl<T> Default for KeyedLru<T> {
    fn default() -> Self {
        // With a bound of its own it would drop what is open.
        KeyedLru(LruCache::unbounded())
    }
}

impl<T: Default> KeyedLru<T> {
    /// Makes room for `key`: takes out what was not used for the longest time, when there is no room.
    pub(super) fn make_room(&mut self, key: &str) -> Option<T> {
        if self.0.len() < MAX_OPEN || self.0.contains(key) {
            return None;
        }
        self.0.pop_lru().map(|(_, oldest)| oldest)
    }

    /// Uses what is open for `key`, or something new.
    pub(super) fn with<R>(&mut self, key: &str, work: impl FnOnce(&mut T) -> R) -> R {
        match self.0.get_mut(key) {
            Some(open) => work(open),
            None => work(self.0.get_or_insert_mut(key.into(), T::default)),
        }
    }

    /// Takes out everything, what was not used for the longest time first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.0.pop_lru()).map(|(_, open)| open)
    }
}
