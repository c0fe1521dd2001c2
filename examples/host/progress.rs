//! Shows progress while running, from the plugin's metrics.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use testing::host::metrics;

/// Clears the line of the cursor.
const CLEAR: &str = "\x1b[2K";

/// Shows the progress since `begin` until the other end of `end` is dropped: on a terminal as one line that is
/// rewritten, else as a line now and then.
pub(crate) fn show(begin: Instant, end: &Receiver<()>) -> io::Result<()> {
    let mut stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let interval = if is_terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
    let mut before = (begin, 0.0);
    while end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let (now, shown) = (Instant::now(), Shown::now());
        let bytes = shown.total("bytes_received_total");
        let rate = (bytes - before.1) / now.duration_since(before.0).as_secs_f64() / 1e6;
        before = (now, bytes);
        let line = format!(
            "{:5.1} s  {:.0} records delivered  {rate:.1} MB/s  {:.0} requests in flight  {:.0} records sent again",
            begin.elapsed().as_secs_f64(),
            shown.total("records_delivered_total"),
            shown.total("requests_in_flight"),
            shown.total("records_retried_total"),
        );
        match is_terminal {
            // The cursor stays at the beginning of the line, so that a log line overwrites it.
            true => write!(stdout, "{CLEAR}{line}\r")?,
            false => writeln!(stdout, "{line}")?,
        }
        stdout.flush()?;
    }
    if is_terminal { write!(stdout, "{CLEAR}") } else { Ok(()) }
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
