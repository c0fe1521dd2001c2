//! The line that shows how far a run is: on a terminal drawn again and again, elsewhere written now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far a run is.
pub(crate) struct Bar {
    bar: ProgressBar,
    is_terminal: bool,
    written: Instant,
}

impl Bar {
    /// At nothing of `total` records, if that is known.
    pub(crate) fn new(total: Option<u64>) -> Bar {
        let template = match total {
            Some(_) => "{percent:>3}% {bar:10} {human_pos} of {human_len}, {wide_msg}",
            None => "{human_pos} records, {wide_msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stdout_with_hz(10));
        bar.set_style(style.progress_chars("━━╌"));
        Bar { bar, is_terminal: io::stdout().is_terminal(), written: Instant::now() }
    }

    /// At so many records, with more about them.
    pub(crate) fn show(&mut self, records: u64, more: &str) -> io::Result<()> {
        self.bar.set_position(records);
        let message = match self.bar.length() {
            Some(total) if records > 0 && records < total => {
                // From the whole run so far: the last moment's rate jumps.
                let left = self.bar.elapsed().mul_f64((total - records) as f64 / records as f64);
                format!("{:.0} s left, {more}", left.as_secs_f64().ceil())
            }
            _ => more.to_owned(),
        };
        if self.is_terminal {
            self.bar.set_message(message);
        } else if self.written.elapsed() >= LINE_EVERY {
            self.written = Instant::now();
            let total = self.bar.length().map_or_else(String::new, |total| format!(" of {}", HumanCount(total)));
            writeln!(io::stdout(), "{}{total} records, {message}", HumanCount(records))?;
        }
        Ok(())
    }

    /// Writes a line above it.
    #[allow(dead_code, reason = "not each program that has a bar writes lines")]
    pub(crate) fn print(&self, line: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(io::stdout(), "{line}"))
    }

    /// Takes the line off the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
