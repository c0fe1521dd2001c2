//! Log lines on their way to the host.
//!
//! Fluent Bit's log works only on threads that Fluent Bit made: called on any other thread it writes to stderr, past
//! `log_file`. So the delivery thread queues its lines here, and the thread that waits for the flush writes them
//! ([`crate::plugin`]).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Severity, with the host's numbers (`flb_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is not delivered, or an operator has to act.
    Error = 1,
    /// Something is odd, and delivery goes on.
    Warn = 2,
    /// State changes.
    Info = 3,
    /// One request, explained.
    Debug = 4,
}

/// Where finished lines go: the host's log, or a test's list.
pub trait LogSink: Send + Sync {
    /// Whether a line of this level would be written; asked before a costly line is made.
    fn enabled(&self, level: Level) -> bool;
    /// Writes one line, without the host's prefix and without a newline.
    fn write(&self, level: Level, line: &str);
}

/// A line that waits to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its severity.
    pub level: Level,
    /// Its text, without prefix and newline.
    pub text: Cow<'static, str>,
}

/// How long lines of one cause are folded into one.
const FOLD_INTERVAL: Duration = Duration::from_secs(30);

/// The delivery thread's end of the log.
#[derive(Clone)]
pub struct Logger {
    inner: Rc<Inner>,
}

struct Inner {
    sink: Arc<dyn LogSink>,
    write: Box<dyn Fn(Line)>,
    folds: RefCell<HashMap<&'static str, Fold>>,
}

struct Fold {
    written_at: Instant,
    left_out: u64,
}

impl Logger {
    /// A log that asks `sink` which levels it takes and gives finished lines to `write`.
    pub fn new(sink: Arc<dyn LogSink>, write: impl Fn(Line) + 'static) -> Self {
        Logger { inner: Rc::new(Inner { sink, write: Box::new(write), folds: RefCell::default() }) }
    }

    /// Writes a line; `text` is asked for only when the level is.
    pub fn write<T: Into<Cow<'static, str>>>(&self, level: Level, text: impl FnOnce() -> T) {
        if self.inner.sink.enabled(level) {
            (self.inner.write)(Line { level, text: text().into() });
        }
    }

    /// Writes a line of something that may happen a thousand times: one line per `cause` in 30 seconds, the next one with
    /// the number of those left out.
    pub fn folded(&self, level: Level, cause: &'static str, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut folds = self.inner.folds.borrow_mut();
        let left_out = match folds.get_mut(cause) {
            Some(fold) if now.duration_since(fold.written_at) < FOLD_INTERVAL => {
                fold.left_out += 1;
                return;
            }
            fold => fold.map_or(0, |fold| fold.left_out),
        };
        folds.insert(cause, Fold { written_at: now, left_out: 0 });
        drop(folds);
        self.write(level, || match left_out {
            0 => text(),
            count => format!("{} ({count} more like this since the last such line)", text()),
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A log whose lines a test can read.
    #[derive(Clone, Default)]
    pub(crate) struct TestLog(Rc<RefCell<Vec<String>>>);

    struct Everything;

    impl LogSink for Everything {
        fn enabled(&self, level: Level) -> bool {
            level <= Level::Info
        }

        fn write(&self, _: Level, _: &str) {}
    }

    impl TestLog {
        pub(crate) fn logger(&self) -> Logger {
            let lines = self.0.clone();
            Logger::new(Arc::new(Everything), move |line| {
                lines.borrow_mut().push(format!("{:?} {}", line.level, line.text));
            })
        }

        pub(crate) fn lines(&self) -> Vec<String> {
            self.0.borrow().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_becomes_one_line_per_cause_and_interval_with_a_count() {
        let log = TestLog::default();
        let logger = log.logger();
        for round in 0..100 {
            logger.folded(Level::Warn, "throttled", || format!("throttled in round {round}"));
            logger.folded(Level::Warn, "reset", || "reset".to_owned());
        }
        tokio::time::advance(FOLD_INTERVAL).await;
        logger.folded(Level::Warn, "throttled", || "throttled again".to_owned());
        assert_eq!(
            log.lines(),
            [
                "Warn throttled in round 0",
                "Warn reset",
                "Warn throttled again (99 more like this since the last such line)"
            ]
        );
    }

    #[test]
    fn a_line_below_the_level_is_not_even_made() {
        let log = TestLog::default();
        log.logger().write(Level::Debug, || -> String { unreachable!() });
        assert!(log.lines().is_empty());
    }
}
