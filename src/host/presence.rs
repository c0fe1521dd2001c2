//! Guards the host's objects of an output: once it has left, the host destroys them, and no thread may use them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether an output's structures in the host are there.
#[derive(Debug)]
pub(crate) struct Presence(Mutex<bool>);

impl Presence {
    /// They are there until [`Presence::end`].
    pub(crate) fn begin() -> Presence {
        Presence(Mutex::new(true))
    }

    /// Keeps them there as long as the result lives, which must be short; `None` when they are gone.
    pub(crate) fn hold(&self) -> Option<Held<'_>> {
        let there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        there.then_some(Held { _locked: there })
    }

    /// From now on they are gone.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// See [`Presence::hold`].
pub(crate) struct Held<'a> {
    _locked: MutexGuard<'a, bool>,
}
