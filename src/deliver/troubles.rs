//! Troubles that last: each begins with the line of what failed, and ends with a line of its own.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{Level, Logger, duration};
use crate::metrics::Metrics;

/// Throttling has ended when nothing was throttled for so long: as long as its lines are folded at first.
const QUIET: Duration = Duration::from_secs(30);

/// What is not as it should be.
#[derive(Default)]
pub(super) struct Troubles {
    throttling: Cell<Option<Throttling>>,
    /// Since when no request got a reply.
    silent_since: Cell<Option<Instant>>,
}

#[derive(Clone, Copy)]
struct Throttling {
    since: Instant,
    last: Instant,
    records: u64,
}

impl Troubles {
    /// Notes how many records of a request were throttled, and tells when that has ended.
    pub(super) fn throttled(&self, records: u64, metrics: &Metrics, log: &Logger) {
        let now = Instant::now();
        match self.throttling.get() {
            Some(throttling) if records == 0 => {
                if now.duration_since(throttling.last) < QUIET {
                    return;
                }
                self.throttling.set(None);
                let Throttling { since, last, records } = throttling;
                let lasted = duration(last.duration_since(since));
                let shards = metrics.shards();
                log.folded(Level::Info, "throttling has ended", || {
                    let shards = if shards.is_empty() { shards } else { format!("; since the start by {shards}") };
                    format!("throttling has ended: {records} records were throttled in {lasted}{shards}")
                });
            }
            known if records > 0 => {
                let Throttling { since, records: before, .. } =
                    known.unwrap_or(Throttling { since: now, last: now, records: 0 });
                self.throttling.set(Some(Throttling { since, last: now, records: before + records }));
            }
            _ => {}
        }
    }

    /// Notes that a request got no reply, and that trying once more at once did not help.
    pub(super) fn silent(&self) {
        self.silent_since.set(self.silent_since.get().or_else(|| Some(Instant::now())));
    }

    /// Tells that replies come again.
    pub(super) fn answered(&self, log: &Logger) {
        if let Some(since) = self.silent_since.take() {
            log.folded(Level::Info, "answers again", || {
                format!("Kinesis answers again, after {}", duration(since.elapsed()))
            });
        }
    }
}
