//! Guards the host's structures of an output, which the host frees once the output has exited.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether the host still has an output's structures.
#[derive(Debug)]
pub(crate) struct Presence(Mutex<bool>);

impl Presence {
    /// They exist until [`Presence::end`].
    pub(crate) fn begin() -> Presence {
        Presence(Mutex::new(true))
    }

    /// Keeps them in existence while the result lives, which must be short. Returns `None` if they are gone.
    pub(crate) fn hold(&self) -> Option<Held<'_>> {
        let there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        there.then_some(Held { _locked: there })
    }

    /// Waits for all holders and admits no new ones.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// See [`Presence::hold`].
pub(crate) struct Held<'a> {
    _locked: MutexGuard<'a, bool>,
}
