//! Shows progress while running, from the plugin's metrics.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use testing::host::metrics;

use crate::bar::Bar;

const INTERVAL: Duration = Duration::from_millis(200);

/// Shows the progress, of `total` records if that is known, until the other end of `end` is dropped.
pub(crate) fn show(total: Option<u64>, end: &Receiver<()>) -> io::Result<()> {
    let mut bar = Bar::new(total);
    let (mut before, mut at) = (Shown::now(), Instant::now());
    while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let (now, seconds) = (Shown::now(), at.elapsed().as_secs_f64());
        let since = |name| now.total(name) - before.total(name);
        let more = format!(
            "{:.1} MB/s, {:.0} in flight, {} sent again",
            since("bytes_sent_total") / seconds / 1e6,
            // The time that requests took together, in each second: the moment's number says little, for they are short.
            (since("request_duration_seconds_sum") / seconds).max(now.total("requests_in_flight")),
            HumanCount(now.total("records_retried_total") as u64),
        );
        bar.show(now.total("records_delivered_total") as u64, &more)?;
        (before, at) = (now, Instant::now());
    }
    bar.clear();
    Ok(())
}

/// The plugin's metrics at one moment.
pub(crate) struct Shown(BTreeMap<String, f64>);

impl Shown {
    pub(crate) fn now() -> Shown {
        Shown(metrics::shown())
    }

    /// The sum over all series of a metric, named without its prefix.
    pub(crate) fn total(&self, name: &str) -> f64 {
        let begin = format!("{}{name}{{", kinesis::metrics::PREFIX);
        self.0.iter().filter(|(series, _)| series.starts_with(&begin)).map(|(_, value)| value).sum()
    }
}
