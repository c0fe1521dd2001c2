//! One configured output: its delivery thread, and the hand-over to it.
//!
//! Fluent Bit calls on small coroutine stacks and on several threads. None of its threads delivers: they lend their
//! chunk to the instance's one delivery thread, which owns everything that changes, and wait. While they wait they write
//! the lines that the delivery thread logs.

mod log_relay;

use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::aws::blocking::Blocking;
use crate::aws::credentials::{self, CredentialsCache};
use crate::aws::sdk_http::http_client;
use crate::aws::shared_config::SharedFiles;
use crate::aws::user_agent::user_agent;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Coroutines};
use crate::deliver::{Delivery, Deps, Destination};
use crate::environment;
use crate::error::{ConfigError, Mistake};
use crate::host::loan::{KeepsThread, Lenders, Loan, lend};
use crate::kinesis::client::{Client, Requests, Transport};
use crate::ledger::Ledger;
use crate::log::{Level, LineQueue, LogSink, Logger, duration};
use crate::metrics::{Exporter, Metric, Metrics};
use crate::outcome::Outcome;
use log_relay::{LineRouter, Listening};

/// Stack of the delivery thread, in bytes.
pub const STACK_BYTES: usize = 2 << 20;

/// How long replies are waited for when the host leaves, and any sign of life when it is about to; Fluent Bit's `grace` is
/// 5 s by default.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);

/// How often the host is shown the metrics, and asked whether it is about to leave, while flushes are under way.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the delivery thread may be silent. What it waits for has shorter limits of its own; beyond these it is stuck in
/// a file or a library, which have none.
#[derive(Clone, Copy)]
struct Patience {
    /// At the start.
    start: Duration,
    /// During a flush of a host that is about to end.
    work: Duration,
    /// At a stop.
    stop: Duration,
}

const PATIENCE: Patience =
    Patience { start: Duration::from_secs(20), work: Duration::from_secs(10), stop: Duration::from_secs(10) };

/// Tells whether the host is about to end, on any thread.
pub type HostStops = Arc<dyn Fn() -> bool + Send + Sync>;

/// One instance of the plugin, as the host configured it.
pub struct Plugin {
    log: Arc<dyn LogSink>,
    jobs: UnboundedSender<Job>,
    thread: Mutex<Option<DeliveryThread>>,
    lenders: Lenders,
    pulse: Arc<Pulse>,
    host_stops: HostStops,
    patience: Patience,
    /// The engine's thread, until a flush on it was warned of.
    engine: Mutex<Option<ThreadId>>,
    /// Whether the log says that the host is not known.
    is_warned: AtomicBool,
}

struct DeliveryThread {
    handle: JoinHandle<()>,
    /// At the end, the lines that no thread of the host has written.
    ended: mpsc::Receiver<LineQueue>,
}

/// The delivery thread's sign of life.
#[derive(Default)]
struct Pulse {
    beats: AtomicU64,
    /// What was seen last, and since when.
    seen: Mutex<Option<(u64, Instant)>>,
}

impl Pulse {
    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How long there was none, as far as anybody looked.
    fn silence(&self) -> Duration {
        let (beats, now) = (self.beats.load(Ordering::Relaxed), Instant::now());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take_if(|(last, _)| *last != beats);
        let (_, since) = *seen.get_or_insert((beats, now));
        now.duration_since(since)
    }
}

enum Job {
    Flush(Loan),
    Stop,
}

impl Plugin {
    /// Reads the configuration through `property` (the value of an option by its name, `None` when unset) and starts
    /// the delivery thread. All mistakes are reported at once. Takes at most as long as fetching credentials may.
    /// `exporter` makes what shows the metrics of an output to a stream, where the host has a place for them.
    pub fn start(
        property: &dyn Fn(&str) -> Option<String>,
        log: Arc<dyn LogSink>,
        exporter: &dyn Fn(&str) -> Option<Box<dyn Exporter>>,
        host_stops: HostStops,
    ) -> Result<Plugin, ConfigError> {
        let config = Config::parse(property)?;
        let coroutines = match (config.coroutines, environment::variable(COROUTINES)) {
            (None, Some(text)) => Coroutines::parse(&text).map_err(|allowed| ConfigError {
                mistakes: vec![Mistake { option: COROUTINES.into(), text: allowed }],
            })?,
            (coroutines, _) => coroutines.unwrap_or_default(),
        };
        let exporter = exporter(config.stream.as_str());
        Self::start_with(log, coroutines, host_stops, PATIENCE, move |logger| async move {
            open(config, Arc::new(SystemClock), logger, Metrics::new(exporter)).await
        })
    }

    /// Starts a delivery thread around what `open` makes there.
    fn start_with<T: Transport, F>(
        log: Arc<dyn LogSink>,
        coroutines: Coroutines,
        host_stops: HostStops,
        patience: Patience,
        open: impl FnOnce(Logger) -> F + Send + 'static,
    ) -> Result<Plugin, ConfigError>
    where
        F: Future<Output = Result<Rc<Delivery<T>>, ConfigError>>,
    {
        let (jobs, take) = unbounded_channel();
        let (ready, started) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let pulse = Arc::new(Pulse::default());
        let (sink, beats, stops) = (Arc::clone(&log), Arc::clone(&pulse), Arc::clone(&host_stops));
        let handle = thread::Builder::new()
            .name("kinesis-deliver".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || drop(end.send(run(open, &stops, &beats, take, ready, sink))))
            .map_err(|error| cannot_start(error.to_string()))?;
        let plugin = Plugin {
            log,
            jobs,
            thread: Mutex::new(Some(DeliveryThread { handle, ended })),
            lenders: Lenders::new(coroutines),
            pulse,
            host_stops,
            patience,
            engine: Mutex::new(Some(thread::current().id())),
            is_warned: AtomicBool::new(false),
        };
        match started.recv_timeout(patience.start) {
            Ok(Ok(lines)) => {
                plugin.write(lines);
                Ok(plugin)
            }
            Ok(Err(mistakes)) => {
                plugin.stop();
                Err(mistakes)
            }
            Err(RecvTimeoutError::Disconnected) => {
                plugin.stop();
                Err(cannot_start("the delivery thread ended".to_owned()))
            }
            // Should the thread ever go on, it finds nobody and ends. It holds nothing of the host's.
            Err(RecvTimeoutError::Timeout) => {
                Err(cannot_start(format!("a file or a library has not responded for {}", duration(patience.start))))
            }
        }
    }

    /// Hands the chunk to the delivery thread and waits for its answer, writing the lines it logs meanwhile. On a coroutine
    /// of the host, its thread goes on meanwhile.
    pub fn flush(&self, chunk: &[u8], tag: &[u8]) -> Outcome {
        let outcome = lend(
            &self.lenders,
            chunk,
            tag,
            |loan| {
                if let Some(why) = loan.keeps_thread() {
                    self.warn_of_threads(why);
                }
                // A job that cannot be sent is dropped, which gives the loan back.
                drop(self.jobs.send(Job::Flush(loan)));
            },
            |line| self.log.write(line.level, &line.text),
            &|| self.pulse.silence() > self.patience.work && (self.host_stops)(),
        );
        outcome.unwrap_or(Outcome::Retry)
    }

    fn warn_of_threads(&self, why: KeepsThread) {
        let unknown = match why {
            KeepsThread::UnknownVersion => {
                "this Fluent Bit is newer than the versions this plugin knows, so each flush keeps its thread: see the option coroutines"
            }
            KeepsThread::UnknownForm => {
                "coroutines or events of this Fluent Bit differ from those this plugin knows, so each flush keeps its thread"
            }
            KeepsThread::AsConfigured | KeepsThread::NoCoroutine | KeepsThread::NoDescriptor => "",
        };
        if !unknown.is_empty() && !self.is_warned.swap(true, Ordering::Relaxed) {
            self.log.write(Level::Warn, unknown);
        }
        // Without workers the host flushes on the thread that started the plugin, where everything else of it waits too.
        let Ok(mut engine) = self.engine.try_lock() else { return };
        if *engine == Some(thread::current().id()) {
            *engine = None;
            self.log.write(Level::Warn, "every flush stops Fluent Bit's engine: set workers to 1 or more");
        }
    }

    /// Stops the delivery thread and waits until it is gone. What is not yet confirmed, and every later flush, is answered
    /// [`Outcome::Retry`].
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(self.jobs.send(Job::Stop));
        match thread.ended.recv_timeout(self.patience.stop) {
            Ok(lines) => {
                self.write(lines);
                drop(thread.handle.join());
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.log.write(Level::Error, "the delivery thread ended with a bug in this plugin");
                drop(thread.handle.join());
            }
            Err(RecvTimeoutError::Timeout) => {
                let text = "the delivery thread is stuck in a file or a library: Fluent Bit goes on without it";
                self.log.write(Level::Error, text);
                // It holds nothing of the host's any more, and its code stays mapped (build.rs). But wait for a thread that is
                // stuck while it reads a chunk: the host would free the chunk.
                while !self.lenders.take_back() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        // The loans are back, so callers are about to leave; none may be inside when the host unloads the library.
        let deadline = Instant::now() + self.patience.stop;
        while self.lenders.keep_threads() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        // Flushes on coroutines have left, or are never continued: the thread that would do that is in this call.
        self.lenders.let_go();
    }

    fn write(&self, mut lines: LineQueue) {
        while let Some(line) = lines.pop() {
            self.log.write(line.level, &line.text);
        }
    }
}

/// The environment variable that decides when the option is not set.
const COROUTINES: &str = "KINESIS_COROUTINES";

fn cannot_start(reason: String) -> ConfigError {
    ConfigError { mistakes: vec![Mistake { option: "plugin".into(), text: format!("it cannot start: {reason}") }] }
}

/// The delivery thread. Returns the lines that nobody was there to write.
fn run<T: Transport, F>(
    open: impl FnOnce(Logger) -> F,
    host_stops: &HostStops,
    pulse: &Pulse,
    jobs: UnboundedReceiver<Job>,
    ready: mpsc::Sender<Result<LineQueue, ConfigError>>,
    sink: Arc<dyn LogSink>,
) -> LineQueue
where
    F: Future<Output = Result<Rc<Delivery<T>>, ConfigError>>,
{
    let router = Rc::new(LineRouter::default());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(ready.send(Err(cannot_start(error.to_string()))));
            return LineQueue::default();
        }
    };
    let to_router = Rc::clone(&router);
    let log = Logger::new(sink, move |line| to_router.route(line));
    LocalSet::new().block_on(&runtime, async {
        match open(log.clone()).await {
            Ok(delivery) => {
                drop(ready.send(Ok(router.take())));
                serve(Rc::clone(&delivery), host_stops, pulse, jobs, &router, &log).await;
                close(&delivery, &log);
            }
            Err(mistakes) => drop(ready.send(Err(mistakes))),
        }
    });
    // This drops the last holder of the threads for calls that hang, which waits for them.
    drop(runtime);
    router.take()
}

/// Delivers what is handed over, several flushes at once, until told to stop.
async fn serve<T: Transport>(
    delivery: Rc<Delivery<T>>,
    host_stops: &HostStops,
    pulse: &Pulse,
    mut jobs: UnboundedReceiver<Job>,
    router: &Rc<LineRouter>,
    log: &Logger,
) {
    let mut flushes = JoinSet::new();
    // Ends with this function, or when it is dropped.
    let mut background = JoinSet::new();
    let keeper = Rc::clone(&delivery);
    background.spawn_local(async move { keeper.keep_shards().await });
    let mut last_moments = LastMoments::default();
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stats = delivery.stats_interval().map(|period| interval_at(Instant::now() + period, period));
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(Job::Flush(loan)) = job else { break };
                let listening = router.listen(loan.teller());
                flushes.spawn_local(flush(Rc::clone(&delivery), loan, listening, log.clone()));
            }
            Some(_) = flushes.join_next() => {}
            _ = checks.tick(), if !flushes.is_empty() => {
                pulse.beat();
                delivery.metrics().publish();
                if host_stops() {
                    last_moments.look(&delivery, log);
                }
            }
            () = tick(&mut stats) => log.write(Level::Info, || delivery.metrics().line()),
        }
    }
    let deadline = Instant::now() + LEAVING_PATIENCE;
    delivery.leave(deadline);
    // A little longer than the requests may take, so that each flush can say what it got done.
    let all_done = async { while flushes.join_next().await.is_some() {} };
    drop(tokio::time::timeout_at(deadline + LEAVING_PATIENCE, all_done).await);
}

/// Ends with the next tick, or never when there is none.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

/// What Kinesis did since the host was told to end. A flush that lasts beyond the host's `grace` holds up its exit for as long
/// as it lasts.
#[derive(Default)]
struct LastMoments {
    progress: u64,
    /// How long flushes have waited since Kinesis last accepted anything.
    waited: Duration,
    over: bool,
}

impl LastMoments {
    /// To be called every [`CHECK_INTERVAL`] while flushes are under way. Leaves them and all later ones to the next start
    /// when Kinesis has accepted nothing for a while.
    fn look<T: Transport>(&mut self, delivery: &Delivery<T>, log: &Logger) {
        if self.progress != delivery.progress() {
            self.progress = delivery.progress();
            self.waited = Duration::ZERO;
        }
        self.waited += CHECK_INTERVAL;
        if self.waited > LEAVING_PATIENCE && !self.over {
            self.over = true;
            log.write(
                Level::Warn,
                || "Fluent Bit is about to end, and Kinesis takes nothing: chunks on disk are left to the next start",
            );
            delivery.leave(Instant::now());
        }
    }
}

/// Delivers one chunk and gives it back.
async fn flush<T: Transport>(delivery: Rc<Delivery<T>>, loan: Loan, _listening: Listening, log: Logger) {
    let loan = Rc::new(loan);
    // A task of its own, so that a panic in it ends here.
    let delivered = tokio::task::spawn_local(
        loan.deliver(async move |chunk: &[u8], tag: &[u8]| delivery.deliver(chunk, tag).await),
    );
    loan.settle(delivered.await.unwrap_or_else(|error| {
        log.write(Level::Error, || format!("a flush ended with a bug in this plugin: {error}"));
        Outcome::Retry
    }));
}

/// Connects a configuration to Kinesis. Missing credentials are not an error: they may come.
async fn open(
    config: Config,
    clock: Arc<dyn Clock>,
    log: Logger,
    metrics: Metrics,
) -> Result<Rc<Delivery<Client>>, ConfigError> {
    let deadline = Instant::now() + credentials::FETCH_TIMEOUT;
    let mistake = |option: &'static str, text| ConfigError { mistakes: vec![Mistake { option: option.into(), text }] };
    let blocking = Blocking::start();
    let files = SharedFiles::read(&blocking).await.map_err(|reason| mistake("profile", reason))?;
    let region = match config.region {
        Some(region) => region,
        None => credentials::default_region(&config.identity, &files, &blocking).await.ok_or_else(|| {
            mistake(
                "region",
                "it is not set, and neither the stream's ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile nor the instance tells it".to_owned(),
            )
        })?,
    };
    let (endpoint, connector) = config
        .network
        .resolve(config.identity.profile(), &files, &blocking, &region, &environment::variable)
        .await
        .map_err(|mistake| ConfigError { mistakes: vec![mistake] })?;
    let endpoints = [Some(endpoint.clone()), config.identity.sts_endpoint.clone()].into_iter().flatten();
    let way = connector.proxy(endpoint.uri()).map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    let http = http_client(connector.clone());
    let cache = CredentialsCache::open(
        config.identity,
        region.clone(),
        http,
        blocking,
        Arc::clone(&clock),
        log.clone(),
        metrics.clone(),
    );
    let destination = format!("stream {} in {region} at {endpoint}", config.stream.as_str());
    let agent = user_agent(&environment::variable);
    let requests = Requests::new(&endpoint, region, config.requests.protocol, agent)
        .with_proxy_authorization(connector.proxy_authorization(endpoint.uri()));
    let client = Client::new(connector, cache, clock, requests, config.request_timeout);
    log.write(Level::Info, || format!("version {}: {destination}{way}", env!("CARGO_PKG_VERSION")));
    log.write(Level::Info, || format!("options: {}; all others as by default", config.set_options));
    for warning in endpoints.filter_map(|endpoint| endpoint.warning()) {
        log.write(Level::Warn, || warning);
    }
    if environment::variable("SEND_FAILURE_TIMEOUT").is_some() {
        log.write(Level::Warn, || "SEND_FAILURE_TIMEOUT is set and does nothing: this plugin never ends Fluent Bit");
    }
    if let Err(reason) = client.credentials(deadline.saturating_duration_since(Instant::now())).await {
        log.write(Level::Warn, || format!("{reason}; starting anyway, flushes will be retried until there are some"));
    }
    let mut random: SmallRng = rand::make_rng();
    let ledger = match config.ledger_path {
        None => Ledger::new(config.ledger_max_bytes).with_seed(random.random()),
        Some(path) => Ledger::open(config.ledger_max_bytes, path, destination.clone(), random.random(), log.clone())
            .map_err(|text| mistake("ledger_path", text))?,
    };
    let deps = Deps { transport: client, ledger, random, log, metrics };
    let destination = Destination { stream: config.stream, name: destination };
    Ok(Delivery::new(deps, destination, config.requests, config.delivery))
}

/// Says what was done and keeps what the next start needs.
fn close<T: Transport>(delivery: &Delivery<T>, log: &Logger) {
    let count = |metric| delivery.metrics().get(metric);
    log.write(Level::Info, || {
        format!(
            "leaving: {} records accepted, {} refused, {} left to retries, {} of them spared from being sent twice, {} perhaps sent twice",
            count(Metric::RecordsDelivered),
            count(Metric::RecordsRefused),
            count(Metric::RecordsLeft),
            count(Metric::RecordsDeduplicated),
            count(Metric::RecordsAmbiguous),
        )
    });
    log.write(Level::Info, || delivery.metrics().line());
    if let Err(reason) = delivery.ledger().save() {
        log.write(Level::Warn, || reason);
    }
}

#[cfg(test)]
mod tests;
