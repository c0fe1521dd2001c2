//! How long a connection lives: its age, whether it was used, and that it is counted while it is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy::connect::CaptureConnection;
use tokio::time::Instant;

/// What is known of a connection for as long as anything of it exists.
#[derive(Clone)]
pub(super) struct Life {
    opened: Instant,
    max_age: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    is_used: AtomicBool,
    /// Counts it while it is open.
    open: Arc<AtomicUsize>,
}

impl Life {
    /// Begins the life of a connection that is about to be opened.
    pub(super) fn begin(max_age: Duration, open: &Arc<AtomicUsize>) -> Life {
        open.fetch_add(1, Ordering::Relaxed);
        let shared = Shared { is_used: AtomicBool::new(false), open: Arc::clone(open) };
        Life { opened: Instant::now(), max_age, shared: Arc::new(shared) }
    }

    fn is_over(&self) -> bool {
        self.opened.elapsed() >= self.max_age
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes that an exchange has ended, and keeps an old connection from being reused. Returns whether this was the first
/// exchange on it.
pub(crate) fn exchanged(connection: &CaptureConnection) -> bool {
    let connected = connection.connection_metadata();
    let Some(connected) = connected.as_ref() else { return true };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    let Some(life) = extras.get::<Life>() else { return true };
    if life.is_over() {
        connected.poison();
    }
    !life.shared.is_used.swap(true, Ordering::Relaxed)
}
