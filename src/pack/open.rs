//! What is open for each partition key.

use std::collections::HashMap;

/// Most keys that something is open for at once: where nearly each record has a key of its own, nothing is gained by
/// keeping more of them apart.
pub(super) const MAX_OPEN: usize = 256;

/// Something for each partition key, and for the records without one under the empty key, which no user's key is.
#[derive(Default)]
pub(super) struct OpenByKey<T> {
    slots: HashMap<Box<str>, Slot<T>>,
    uses: u64,
}

#[derive(Default)]
struct Slot<T> {
    last_use: u64,
    open: T,
}

impl<T: Default> OpenByKey<T> {
    /// Makes room for `key`: takes out what was not used for the longest time, when there is no room.
    pub(super) fn make_room(&mut self, key: &str) -> Option<T> {
        if self.slots.len() < MAX_OPEN || self.slots.contains_key(key) {
            return None;
        }
        let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.last_use).map(|(key, _)| key.clone())?;
        self.slots.remove(&oldest).map(|slot| slot.open)
    }

    /// Uses what is open for `key`, or something new.
    pub(super) fn with<R>(&mut self, key: &str, work: impl FnOnce(&mut T) -> R) -> R {
        self.uses += 1;
        if let Some(slot) = self.slots.get_mut(key) {
            slot.last_use = self.uses;
            return work(&mut slot.open);
        }
        let slot = self.slots.entry(key.into()).or_default();
        slot.last_use = self.uses;
        work(&mut slot.open)
    }

    /// Takes out everything, what was not used for the longest time first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let mut slots: Vec<Slot<T>> = self.slots.drain().map(|(_, slot)| slot).collect();
        slots.sort_by_key(|slot| slot.last_use);
        slots.into_iter().map(|slot| slot.open)
    }
}
