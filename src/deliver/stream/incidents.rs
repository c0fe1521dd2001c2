//! Incidents that last: throttling, and missing replies. The log reports the failure that starts one, and when it
//! ends.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{Level, Logger, duration};
use crate::metrics::Metrics;

/// Throttling counts as over after this long without a throttled record. Equals the log's first fold interval.
const QUIET: Duration = Duration::from_secs(30);

/// A silence that is shorter is not worth a line at its end: other requests get their replies meanwhile.
const SILENCE: Duration = Duration::from_secs(1);

/// The incidents in progress.
pub(super) struct Incidents {
    log: Logger,
    metrics: Metrics,
    throttling: Cell<Option<Throttling>>,
    /// When requests stopped getting replies.
    silent_since: Cell<Option<Instant>>,
}

#[derive(Clone, Copy)]
struct Throttling {
    since: Instant,
    last: Instant,
    records: u64,
}

impl Incidents {
    pub(super) fn new(log: Logger, metrics: Metrics) -> Incidents {
        Incidents { log, metrics, throttling: Cell::default(), silent_since: Cell::default() }
    }

    /// Notes how many records of a request were throttled (possibly none).
    pub(super) fn throttled(&self, records: u64) {
        let now = Instant::now();
        match self.throttling.get() {
            Some(Throttling { last, .. }) if records == 0 && now.duration_since(last) < QUIET => {}
            Some(throttling) if records == 0 => {
                self.throttling.set(None);
                self.report_end(throttling);
            }
            known if records > 0 => {
                let begun = Throttling { since: now, last: now, records: 0 };
                let Throttling { since, records: before, .. } = known.unwrap_or(begun);
                self.throttling.set(Some(Throttling { since, last: now, records: before + records }));
            }
            _ => {}
        }
    }

    fn report_end(&self, Throttling { since, last, records }: Throttling) {
        self.log.folded(Level::Info, "throttling has ended", || {
            let lasted = duration(last.duration_since(since));
            let shards = self.metrics.shards();
            let shards = if shards.is_empty() { shards } else { format!("; since startup by {shards}") };
            format!("throttling has ended: {records} records were throttled in {lasted}{shards}")
        });
    }

    /// Notes that a request got no reply, even if it is retried immediately.
    pub(super) fn no_reply(&self) {
        self.silent_since.set(self.silent_since.get().or_else(|| Some(Instant::now())));
    }

    /// Notes that a request got a reply.
    pub(super) fn reply(&self) {
        if let Some(since) = self.silent_since.take().filter(|since| since.elapsed() >= SILENCE) {
            self.log.folded(Level::Info, "answers again", || {
                format!("Kinesis is answering again after {}", duration(since.elapsed()))
            });
        }
    }
}
