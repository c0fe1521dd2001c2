//! One configured output: its start, its flushes and its stop.
//!
//! Fluent Bit calls on small coroutine stacks and on several threads. None of its threads delivers: they hand their
//! chunk to the instance's one delivery thread, which owns all mutable state, and wait. While they wait they write
//! the lines that the delivery thread logs.

mod check;
mod heartbeat;
mod log_relay;
mod shutdown_watch;
mod startup;
mod thread;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::ThreadId;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::SystemClock;
use crate::config::{Config, Coroutines};
use crate::deliver::Delivery;
use crate::environment;
use crate::error::ConfigError;
use crate::host::borrowed_chunk::{Callers, with_chunk};
use crate::host::coroutine::BlockReason;
use crate::kinesis::client::Transport;
use crate::log::{Level, LineQueue, LogSink, Logger, duration};
use crate::metrics::{Exporter, Metrics};
use crate::outcome::Outcome;
use heartbeat::Heartbeat;
use startup::cannot_start;
use thread::DeliveryThread;

pub use shutdown_watch::HostStops;
pub use thread::STACK_BYTES;

/// How long the delivery thread may be unresponsive. Everything it waits for has shorter limits; beyond these, it is
/// stuck in a file or a library, which have none.
#[derive(Clone, Copy)]
struct Timeouts {
    /// At startup.
    start: Duration,
    /// During a flush, once the host is shutting down.
    flush: Duration,
    /// At shutdown.
    stop: Duration,
}

const TIMEOUTS: Timeouts =
    Timeouts { start: Duration::from_secs(20), flush: Duration::from_secs(10), stop: Duration::from_secs(10) };

/// One configured output.
pub struct Plugin {
    log: Arc<dyn LogSink>,
    thread: DeliveryThread,
    callers: Callers,
    heartbeat: Arc<Heartbeat>,
    host_stops: HostStops,
    timeouts: Timeouts,
    /// The engine's thread: without workers, flushes run on it too.
    engine: ThreadId,
    /// Whether the host may reload its configuration, until the warning about that has been logged.
    may_reload: AtomicBool,
    /// Whether the warning about blocking the engine has been logged.
    is_warned_of_blocking: AtomicBool,
    /// Whether the warning about an unknown host has been logged.
    is_warned: AtomicBool,
}

impl Plugin {
    /// Reads the configuration through `property`, which returns an option's value by name or `None` if it is unset,
    /// and starts the delivery thread. `exporter` creates the exporter of an output's metrics, given its stream, if
    /// the host has a place for them. Takes at most 20 seconds, and usually no longer than fetching credentials may.
    ///
    /// # Errors
    /// All issues with the configuration, or why the delivery thread cannot start.
    pub fn start(
        property: &dyn Fn(&str) -> Option<String>,
        log: Arc<dyn LogSink>,
        exporter: &dyn Fn(&str) -> Option<Box<dyn Exporter>>,
        host_stops: HostStops,
    ) -> Result<Plugin, ConfigError> {
        let config = Config::parse(property).map_err(|error| startup::and_ca_bundle(error, property))?;
        let coroutines = startup::coroutines(config.coroutines, &environment::variable)?;
        let exporter = exporter(config.target.as_str());
        Self::start_with(log, coroutines, host_stops, TIMEOUTS, move |logger| async move {
            startup::open(config, Arc::new(SystemClock), logger, Metrics::new(exporter)).await
        })
    }

    /// Starts a delivery thread with what `open` creates on it.
    fn start_with<T: Transport, F>(
        log: Arc<dyn LogSink>,
        coroutines: Coroutines,
        host_stops: HostStops,
        timeouts: Timeouts,
        open: impl FnOnce(Logger) -> F + Send + 'static,
    ) -> Result<Plugin, ConfigError>
    where
        F: Future<Output = Result<Rc<Delivery<T>>, ConfigError>>,
    {
        let heartbeat = Arc::new(Heartbeat::default());
        let (thread, started) =
            DeliveryThread::spawn(open, Arc::clone(&host_stops), Arc::clone(&heartbeat), Arc::clone(&log))
                .map_err(|error| cannot_start(error.to_string()))?;
        let plugin = Plugin {
            log,
            thread,
            callers: Callers::new(coroutines),
            heartbeat,
            host_stops,
            timeouts,
            engine: std::thread::current().id(),
            may_reload: AtomicBool::new(false),
            is_warned_of_blocking: AtomicBool::new(false),
            is_warned: AtomicBool::new(false),
        };
        match started.recv_timeout(timeouts.start) {
            Ok(Ok(lines)) => {
                plugin.write(lines);
                Ok(plugin)
            }
            Ok(Err(error)) => {
                plugin.stop();
                Err(error)
            }
            Err(RecvTimeoutError::Disconnected) => {
                plugin.stop();
                Err(cannot_start("the delivery thread ended"))
            }
            // If the thread ever continues, nobody is listening and it ends. It holds nothing of the host's.
            Err(RecvTimeoutError::Timeout) => {
                Err(cannot_start(format!("a file or a library has not responded for {}", duration(timeouts.start))))
            }
        }
    }

    /// Notes that the host may reload its configuration. Call this before the first flush.
    pub(crate) fn may_reload(&self) {
        self.may_reload.store(true, Ordering::Relaxed);
    }

    /// Hands the chunk to the delivery thread and waits for the outcome, writing the lines it logs in the meantime.
    /// On a coroutine of the host, the host's thread does other work while this waits.
    pub fn flush(&self, chunk: &[u8], tag: &[u8]) -> Outcome {
        self.warn_of_reload();
        let outcome = with_chunk(
            &self.callers,
            chunk,
            tag,
            |borrowed| {
                if let Some(reason) = borrowed.block_reason() {
                    self.warn_of_blocking(reason);
                }
                self.thread.flush(borrowed);
            },
            |line| self.log.write(line.level, &line.text),
            &|| self.heartbeat.silence() > self.timeouts.flush && (self.host_stops)(),
        );
        outcome.unwrap_or(Outcome::Retry)
    }

    fn warn_of_blocking(&self, reason: BlockReason) {
        let unknown = match reason {
            BlockReason::UnknownVersion => {
                "this Fluent Bit is newer than the versions this plugin knows, so each flush blocks its thread: see the option coroutines"
            }
            BlockReason::UnknownLayout => {
                "coroutines or events of this Fluent Bit differ from those this plugin knows, so each flush blocks its thread"
            }
            BlockReason::Configured | BlockReason::NoCoroutine | BlockReason::NoDescriptor => "",
        };
        if !unknown.is_empty() && !self.is_warned.swap(true, Ordering::Relaxed) {
            self.log.write(Level::Warn, unknown);
        }
        if self.is_on_engine() && !self.is_warned_of_blocking.swap(true, Ordering::Relaxed) {
            self.log.write(Level::Warn, "every flush blocks Fluent Bit's engine: set workers to 1 or more");
        }
    }

    /// Every version that says whether it may reload starts the workers of such an output twice and stops them once.
    fn warn_of_reload(&self) {
        if self.may_reload.load(Ordering::Relaxed)
            && !self.is_on_engine()
            && self.may_reload.swap(false, Ordering::Relaxed)
        {
            self.log.write(
                Level::Warn,
                "a hot reload may crash Fluent Bit, because this output has workers: leave out workers or hot_reload",
            );
        }
    }

    /// Whether this is the thread that started the plugin. Without workers the host also flushes on it.
    fn is_on_engine(&self) -> bool {
        self.engine == std::thread::current().id()
    }

    /// Stops the delivery thread and waits until it has ended. Unconfirmed chunks, and every later flush, are
    /// answered [`Outcome::Retry`].
    pub fn stop(&self) {
        let Some(running) = self.thread.stop() else { return };
        match running.ended.recv_timeout(self.timeouts.stop) {
            Ok(lines) => {
                self.write(lines);
                drop(running.handle.join());
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.log.write(Level::Error, "the delivery thread failed because of a bug in this plugin");
                drop(running.handle.join());
            }
            Err(RecvTimeoutError::Timeout) => {
                let text = "the delivery thread is stuck in a file or a library: Fluent Bit continues without it";
                self.log.write(Level::Error, text);
                // It holds nothing of the host's any more, and its code stays mapped (build.rs). But if it is stuck
                // while reading a chunk, wait: the host would free the chunk.
                while !self.callers.reclaim() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        // Every chunk has been returned, so blocked callers are about to return; wait for them before the host
        // unloads us.
        let deadline = Instant::now() + self.timeouts.stop;
        while self.callers.any_blocked() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Suspended coroutines need no wait: the host resumes them on this thread, or never.
        self.callers.abandon_coroutines();
    }

    fn write(&self, mut lines: LineQueue) {
        while let Some(line) = lines.pop() {
            self.log.write(line.level, &line.text);
        }
    }
}

#[cfg(test)]
mod tests;
