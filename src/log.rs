//! Log lines on their way to the host.
//!
//! Fluent Bit's log works only on threads that Fluent Bit made: called on any other thread it writes to stderr, past
//! `log_file`. So the delivery thread queues its lines here, and the thread that waits for the flush writes them
//! ([`crate::plugin`]).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Severity, with the host's numbers (`flb_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is not delivered, or an operator must act.
    Error = 1,
    /// Something is unusual, but delivery continues.
    Warn = 2,
    /// State changes.
    Info = 3,
    /// Details of single requests.
    Debug = 4,
}

/// Where finished lines go: the host's log, or a test's list.
pub trait LogSink: Send + Sync {
    /// Whether a line of this level would be written, so that others need not be built.
    fn enabled(&self, level: Level) -> bool;
    /// Writes one line, without the host's prefix and without a newline.
    fn write(&self, level: Level, line: &str);
}

/// A line waiting to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its severity.
    pub level: Level,
    /// Its text, without prefix and newline.
    pub text: Cow<'static, str>,
}

/// Lines waiting for a thread of the host to write them. If there are too many, the oldest are dropped, and a line
/// says how many.
#[derive(Debug, Default)]
pub struct LineQueue {
    lines: VecDeque<Line>,
    dropped: u64,
    /// That line, built in advance: the thread that takes it has little stack.
    notice: Option<Line>,
}

impl LineQueue {
    /// Maximum number of lines.
    pub const CAPACITY: usize = 200;

    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        if self.lines.len() >= Self::CAPACITY {
            self.lines.pop_front();
            self.dropped += 1;
            let text =
                format!("{} log lines are missing here: no Fluent Bit thread was free to write them", self.dropped);
            self.notice = Some(Line { level: Level::Warn, text: text.into() });
        }
        self.lines.push_back(line);
    }

    /// Takes the oldest line, or first the one that says how many were dropped.
    pub fn pop(&mut self) -> Option<Line> {
        let notice = self.notice.take();
        if notice.is_some() {
            self.dropped = 0;
        }
        notice.or_else(|| self.lines.pop_front())
    }

    /// Whether there are no lines.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// A duration for people to read: 500 ms, 1.5 s, 30 s, 5 min, 1 h 20 min, 3 d 4 h.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if (0.0005..0.9995).contains(&seconds) {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 9.95 {
        return format!("{} s", format!("{seconds:.1}").trim_end_matches(".0"));
    }
    if seconds < 119.5 {
        return format!("{seconds:.0} s");
    }
    let minutes = time.as_secs().saturating_add(30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, _) if hours >= 48 && hours % 24 == 0 => format!("{} d", hours / 24),
        (hours, _) if hours >= 48 => format!("{} d {} h", hours / 24, hours % 24),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// The first interval during which lines of one cause are folded into one. It doubles with each line while the cause
/// lasts.
const FOLD_INTERVAL: Duration = Duration::from_secs(30);
/// A cause that has not occurred for this long counts as new.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// The longest interval: shorter for errors, because whoever fixes one watches for the next line.
fn longest_interval(level: Level) -> Duration {
    Duration::from_secs(if level == Level::Error { 300 } else { 3600 })
}

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
    /// How long to suppress further lines.
    interval: Duration,
    occurred_at: Instant,
    left_out: u64,
}

impl Logger {
    /// Creates a log that asks `sink` which levels are enabled and passes finished lines to `write`.
    pub fn new(sink: Arc<dyn LogSink>, write: impl Fn(Line) + 'static) -> Self {
        Logger { inner: Rc::new(Inner { sink, write: Box::new(write), folds: RefCell::default() }) }
    }

    /// A log that no line is written to.
    pub fn silent() -> Self {
        struct Silence;

        impl LogSink for Silence {
            fn enabled(&self, _: Level) -> bool {
                false
            }

            fn write(&self, _: Level, _: &str) {}
        }

        Logger::new(Arc::new(Silence), |_| {})
    }

    /// Writes a line. `text` is called only if the level is enabled.
    pub fn write<T: Into<Cow<'static, str>>>(&self, level: Level, text: impl FnOnce() -> T) {
        if self.inner.sink.enabled(level) {
            (self.inner.write)(Line { level, text: text().into() });
        }
    }

    /// Writes a line about something that may occur thousands of times: at first one line per `cause` in 30 seconds,
    /// then fewer and fewer, down to one per hour, or per five minutes for errors. Each says how many were left out
    /// before it.
    pub fn folded(&self, level: Level, cause: &'static str, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut folds = self.inner.folds.borrow_mut();
        let (interval, left_out) = match folds.get_mut(cause) {
            Some(fold) if now.duration_since(fold.occurred_at) >= FORGET_AFTER => (FOLD_INTERVAL, fold.left_out),
            Some(fold) if now.duration_since(fold.written_at) < fold.interval => {
                fold.occurred_at = now;
                fold.left_out += 1;
                return;
            }
            Some(fold) => ((fold.interval * 2).min(longest_interval(level)), fold.left_out),
            None => (FOLD_INTERVAL, 0),
        };
        folds.insert(cause, Fold { written_at: now, interval, occurred_at: now, left_out: 0 });
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

    /// The number of lines written when something occurs every `period` seconds for 24 hours.
    async fn lines_of_a_day(level: Level, period: u64) -> usize {
        let log = TestLog::default();
        let logger = log.logger();
        for _ in (0..24 * 3600).step_by(period as usize) {
            logger.folded(level, "cause", || "text".to_owned());
            tokio::time::advance(Duration::from_secs(period)).await;
        }
        log.lines().len()
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_a_day_has_thirty_lines_at_most_however_often_it_occurs() {
        for period in [1, 40, 61, 1800, 3599, 3600] {
            let lines = lines_of_a_day(Level::Warn, period).await;
            assert!((16..=30).contains(&lines), "every {period} s: {lines} lines");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_lasts_has_a_line_in_five_minutes() {
        assert_eq!(lines_of_a_day(Level::Error, 1).await, 291);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_hour_lines_are_as_at_first() {
        let log = TestLog::default();
        let logger = log.logger();
        let occur = |times: usize| (0..times).for_each(|_| logger.folded(Level::Warn, "cause", || "text".to_owned()));
        for wait in [0, 30, 60, 3599, 3600, 30] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            occur(3);
        }
        let more = |count: usize| format!("Warn text ({count} more like this since the last such line)");
        let first = "Warn text".to_owned();
        assert_eq!(log.lines(), [first, more(2), more(2), more(2), more(2), more(2)]);
    }

    #[test]
    fn a_time_is_written_as_people_write_it() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (500, "500 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (9960, "10 s"),
            (90_000, "90 s"),
            (300_000, "5 min"),
            (3_599_999, "1 h"),
            (4_800_000, "1 h 20 min"),
            (7_380_000, "2 h 3 min"),
            (172_800_000, "2 d"),
            (97_599_702_000, "1129 d 15 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_line_below_the_level_is_not_even_made() {
        let log = TestLog::default();
        log.logger().write(Level::Debug, || -> String { unreachable!() });
        assert!(log.lines().is_empty());
    }
}
