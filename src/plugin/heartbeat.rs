//! Shows whether the delivery thread is still responding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Beats while the delivery thread works.
#[derive(Default)]
pub(super) struct Heartbeat {
    beats: AtomicU64,
    /// The last count seen, and since when it has not changed.
    seen: Mutex<Option<(u64, Instant)>>,
}

impl Heartbeat {
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How long there has been no beat, as far as observed.
    pub(super) fn silence(&self) -> Duration {
        let (beats, now) = (self.beats.load(Ordering::Relaxed), Instant::now());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take_if(|(last, _)| *last != beats);
        let (_, since) = *seen.get_or_insert((beats, now));
        now.duration_since(since)
    }
}
