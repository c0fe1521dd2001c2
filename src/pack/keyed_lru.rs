//! A value for each recently used partition key.

use lru::LruCache;

/// Most keys at a time. If nearly every record has its own key, keeping more groups open gains nothing.
pub(super) const MAX_OPEN: usize = 256;

/// A value per partition key. Records without a key use the empty key, which no user's key is.
pub(super) struct KeyedLru<T>(LruCache<Box<str>, T>);

impl<T> Default for KeyedLru<T> {
    fn default() -> Self {
        // A bounded cache would drop open groups.
        KeyedLru(LruCache::unbounded())
    }
}

impl<T: Default> KeyedLru<T> {
    /// Makes room for `key`: removes and returns the least recently used value if full.
    pub(super) fn make_room(&mut self, key: &str) -> Option<T> {
        if self.0.len() < MAX_OPEN || self.0.contains(key) {
            return None;
        }
        self.0.pop_lru().map(|(_, oldest)| oldest)
    }

    /// Calls `work` with the value of `key`, creating it if needed.
    pub(super) fn with<R>(&mut self, key: &str, work: impl FnOnce(&mut T) -> R) -> R {
        match self.0.get_mut(key) {
            Some(open) => work(open),
            None => work(self.0.get_or_insert_mut(key.into(), T::default)),
        }
    }

    /// Removes all values, least recently used first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.0.pop_lru()).map(|(_, open)| open)
    }
}
