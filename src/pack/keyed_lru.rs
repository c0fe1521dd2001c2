//! A value for each recently used partition key.

use lru::LruCache;

/// Most keys at a time. If nearly every record has its own key, keeping more groups open gains nothing.
pub(super) const MAX_OPEN: usize = 256;

/// A value per partition key, and one for records without a key.
pub(super) struct KeyedLru<T> {
    by_key: LruCache<Box<str>, T>,
    /// Not in `by_key` under an empty key: glibc compares empty strings at invalid addresses with masked loads, which
    /// cost AVX-512 processors hundreds of cycles each.
    keyless: Option<T>,
}

impl<T> Default for KeyedLru<T> {
    fn default() -> Self {
        // A bounded cache would drop open groups.
        KeyedLru { by_key: LruCache::unbounded(), keyless: None }
    }
}

impl<T: Default> KeyedLru<T> {
    /// Makes room for `key`: removes and returns the least recently used value if full.
    pub(super) fn make_room(&mut self, key: Option<&str>) -> Option<T> {
        if self.by_key.len() < MAX_OPEN || self.by_key.contains(key?) {
            return None;
        }
        self.by_key.pop_lru().map(|(_, oldest)| oldest)
    }

    /// Calls `work` with the value of `key`, creating it if needed.
    pub(super) fn with<R>(&mut self, key: Option<&str>, work: impl FnOnce(&mut T) -> R) -> R {
        let Some(key) = key else { return work(self.keyless.get_or_insert_default()) };
        match self.by_key.get_mut(key) {
            Some(open) => work(open),
            None => work(self.by_key.get_or_insert_mut(key.into(), T::default)),
        }
    }

    /// Removes all values, least recently used first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        let keyless = self.keyless.take();
        std::iter::from_fn(|| self.by_key.pop_lru()).map(|(_, open)| open).chain(keyless)
    }
}
