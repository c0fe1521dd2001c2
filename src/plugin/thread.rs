//! The delivery thread of an output.

use std::future::pending;
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet, spawn_local};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::heartbeat::Heartbeat;
use super::log_relay::{Listening, LogRelay};
use super::shutdown_watch::{CHECK_INTERVAL, HostStops, SHUTDOWN_GRACE, ShutdownWatch};
use super::startup::cannot_start;
use crate::deliver::Delivery;
use crate::error::ConfigError;
use crate::host::borrowed_chunk::BorrowedChunk;
use crate::kinesis::client::Transport;
use crate::log::{Level, LineQueue, LogSink, Logger};
use crate::metrics::{Metric, RefusalReason};
use crate::outcome::Outcome;

/// Stack of the delivery thread, in bytes.
pub const STACK_BYTES: usize = 2 << 20;

/// The thread, as seen by the host's threads.
pub(super) struct DeliveryThread {
    jobs: UnboundedSender<Job>,
    running: Mutex<Option<Running>>,
}

/// What remains of it after the request to stop.
pub(super) struct Running {
    pub(super) handle: JoinHandle<()>,
    /// At the end, receives the lines that no thread of the host has written.
    pub(super) ended: mpsc::Receiver<LineQueue>,
}

/// Whether the thread started: the lines it logged, or the error.
type Started = Result<LineQueue, ConfigError>;

enum Job {
    Flush(BorrowedChunk),
    Stop,
}

impl DeliveryThread {
    /// Starts a thread that delivers with what `open` creates on it.
    pub(super) fn spawn<T: Transport, F>(
        open: impl FnOnce(Logger) -> F + Send + 'static,
        host_stops: HostStops,
        heartbeat: Arc<Heartbeat>,
        log: Arc<dyn LogSink>,
    ) -> io::Result<(DeliveryThread, mpsc::Receiver<Started>)>
    where
        F: Future<Output = Result<Rc<Delivery<T>>, ConfigError>>,
    {
        let (jobs, take) = unbounded_channel();
        let (ready, started) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let handle = thread::Builder::new()
            .name("kinesis-deliver".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || drop(end.send(run(open, host_stops, heartbeat, take, ready, log))))?;
        let running = Mutex::new(Some(Running { handle, ended }));
        Ok((DeliveryThread { jobs, running }, started))
    }

    /// Hands over a chunk. If the thread has ended, the chunk is dropped, which returns it.
    pub(super) fn flush(&self, chunk: BorrowedChunk) {
        drop(self.jobs.send(Job::Flush(chunk)));
    }

    /// Asks the thread to stop; `None` if it was already asked.
    pub(super) fn stop(&self) -> Option<Running> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        drop(self.jobs.send(Job::Stop));
        Some(running)
    }
}

/// The body of the thread. Returns the lines that no thread of the host has written.
fn run<T: Transport, F>(
    open: impl FnOnce(Logger) -> F,
    host_stops: HostStops,
    heartbeat: Arc<Heartbeat>,
    jobs: UnboundedReceiver<Job>,
    ready: mpsc::Sender<Started>,
    sink: Arc<dyn LogSink>,
) -> LineQueue
where
    F: Future<Output = Result<Rc<Delivery<T>>, ConfigError>>,
{
    let relay = Rc::new(LogRelay::default());
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(ready.send(Err(cannot_start(error.to_string()))));
            return LineQueue::default();
        }
    };
    let to_relay = Rc::clone(&relay);
    let log = Logger::new(sink, move |line| to_relay.relay(line));
    runtime.block_on(async {
        match open(log.clone()).await {
            Ok(delivery) => {
                drop(ready.send(Ok(relay.take())));
                let serve = serve(Rc::clone(&delivery), host_stops, heartbeat, jobs, Rc::clone(&relay), log.clone());
                // A task, because each wake of what the runtime blocks on is a system call.
                if let Err(Ok(panic)) = spawn_local(serve).await.map_err(JoinError::try_into_panic) {
                    resume_unwind(panic);
                }
                delivery.close_dead_letters(Instant::now() + SHUTDOWN_GRACE).await;
                close(&delivery, &log);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    // Drops the last owner of the threads for blocking calls, which waits for them.
    drop(runtime);
    relay.take()
}

/// Delivers the chunks handed over, several concurrently, until asked to stop.
async fn serve<T: Transport>(
    delivery: Rc<Delivery<T>>,
    host_stops: HostStops,
    heartbeat: Arc<Heartbeat>,
    mut jobs: UnboundedReceiver<Job>,
    relay: Rc<LogRelay>,
    log: Logger,
) {
    let mut flushes = JoinSet::new();
    // Ends with this function, or when it is dropped.
    let mut background = JoinSet::new();
    let keeper = Rc::clone(&delivery);
    background.spawn_local(async move { keeper.watch().await });
    let watcher = Rc::clone(&delivery);
    background.spawn_local(async move { watcher.watch_dead_letters().await });
    let mut shutdown_watch = ShutdownWatch::default();
    // Only during flushes, so that nothing wakes an idle thread.
    let mut checks = None;
    let mut stats = delivery.stats_interval().map(every);
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(Job::Flush(chunk)) = job else { break };
                heartbeat.beat();
                checks.get_or_insert_with(|| every(CHECK_INTERVAL));
                let listening = relay.listen(chunk.log_sender());
                flushes.spawn_local(flush(Rc::clone(&delivery), chunk, listening, log.clone()));
            }
            Some(_) = flushes.join_next() => {
                checks.take_if(|_| flushes.is_empty());
            }
            () = tick(&mut checks) => {
                heartbeat.beat();
                delivery.metrics().publish();
                if host_stops() && shutdown_watch.check(delivery.progress()) {
                    log.write(Level::Warn, || {
                        "Fluent Bit is shutting down and Kinesis accepts nothing: chunks on disk are kept for the next start"
                    });
                    delivery.shut_down(Instant::now());
                }
            }
            () = tick(&mut stats) => log.write(Level::Info, || delivery.metrics().line()),
        }
    }
    let deadline = Instant::now() + SHUTDOWN_GRACE;
    delivery.shut_down(deadline);
    // Slightly longer than requests may take, so that each flush can report what it got done.
    let all_done = async { while flushes.join_next().await.is_some() {} };
    drop(tokio::time::timeout_at(deadline + SHUTDOWN_GRACE, all_done).await);
}

/// Ticks after each `period`, the first time in one period from now.
fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits for the next tick, or forever if there is no interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

/// Delivers one chunk and returns it.
async fn flush<T: Transport>(delivery: Rc<Delivery<T>>, chunk: BorrowedChunk, _listening: Listening, log: Logger) {
    let (chunk, metrics) = (Rc::new(chunk), delivery.metrics().clone());
    // A separate task, so that a panic in it ends here.
    let delivered = spawn_local(chunk.read(async move |chunk: &[u8], tag: &[u8]| delivery.deliver(chunk, tag).await));
    chunk.set_outcome(delivered.await.unwrap_or_else(|error| {
        log.write(Level::Error, || format!("a flush failed because of a bug in this plugin: {error}"));
        Outcome::Retry
    }));
    drop(chunk);
    // After the answer, which the host waits for.
    metrics.publish();
}

/// Logs a summary and saves what the next start needs.
fn close<T: Transport>(delivery: &Delivery<T>, log: &Logger) {
    let count = |metric| delivery.metrics().get(metric);
    log.write(Level::Info, || {
        format!(
            "stopped: {} records accepted, {} refused, {} possibly sent twice; counted on each retry: {} left for Fluent Bit to retry, {} kept from being sent twice",
            count(Metric::RecordsDelivered),
            delivery.metrics().total::<RefusalReason>(),
            count(Metric::RecordsAmbiguous),
            count(Metric::RecordsLeft),
            count(Metric::RecordsDeduplicated),
        )
    });
    log.write(Level::Info, || delivery.metrics().line());
    if let Err(error) = delivery.ledger().save() {
        log.write(Level::Warn, || error.to_string());
    }
}
