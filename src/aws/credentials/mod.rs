//! The credentials that requests are signed with.
//!
//! `provider` fetches them; this file caches them. They are renewed in the background, well before they expire, so
//! that no flush waits for it. If they cannot be renewed, they are used until they expire. If Kinesis refuses them,
//! they are dropped, at most once a minute.

pub(crate) mod default_region;
pub mod found;
pub(crate) mod identity;
mod process;
mod profile;
pub(crate) mod provider;
mod sts;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rand::RngExt;
use rand::distr::Alphanumeric;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::aws::blocking::Blocking;
use crate::aws::credentials::identity::Identity;
use crate::aws::region::Region;
use crate::clock::Clock;
use crate::log::{Level, Logger, duration};
use crate::metrics::{Metric, Metrics};
use crate::redact::one_line;
use found::{Attempts, Found, NoCredentials};
use provider::Settings;

/// Longest wait of a flush for credentials, and of the start for region and credentials together.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of a fetch; the user's process is killed then. Long, because that process may talk to several servers,
/// or to a person.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// How long before expiry credentials are renewed, as in AWS's SDK for Python. Instances and containers offer new
/// credentials at least five minutes before the old ones expire.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(900);

/// Credentials that live for less than an hour are renewed when this fraction of their life is left.
const RENEW_PART_OF_LIFE: f64 = 0.25;

/// The renewals of a fleet that started simultaneously are spread over the first third of that time.
const RENEW_SPREAD: f64 = 2.0 / 3.0;

/// The pause after a failure doubles from the shortest to the longest; half of it is random.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Refused credentials are dropped at most this often, so that a wrong secret does not become a flood of STS calls.
const DROP_INTERVAL: Duration = Duration::from_secs(60);

/// How long to use credentials that look expired on arrival because the local clock is wrong.
const MIN_TRUST: Duration = Duration::from_secs(60);

/// Fetches credentials and notes what it tried: `provider::Settings`, or a test's script.
pub type Fetch = Box<dyn Fn(Rc<Attempts>) -> Pin<Box<dyn Future<Output = Result<Found, NoCredentials>>>>>;

/// The credentials of one instance. A local task of the thread's runtime fetches them when they are first needed, and
/// keeps them fresh from then on.
pub struct CredentialsCache {
    shared: Rc<Shared>,
    task: AbortHandle,
}

struct Shared {
    fetch: Fetch,
    clock: Arc<dyn Clock>,
    log: Logger,
    metrics: Metrics,
    random: RefCell<SmallRng>,
    attempts: Rc<Attempts>,
    current: RefCell<Option<Current>>,
    failure: RefCell<Option<Failure>>,
    dropped_at: Cell<Option<Instant>>,
    /// Set by whoever waits, cleared by the task after a fetch.
    wanted: Cell<bool>,
    want: Notify,
    /// Counts completed fetches.
    ended: watch::Sender<u64>,
    /// What the log last called the credentials.
    named: RefCell<String>,
}

struct Current {
    credentials: Credentials,
    fetched_at: Instant,
    usable_until: Option<SystemTime>,
    renew_at: Option<Instant>,
}

struct Failure {
    reason: NoCredentials,
    /// No other fetch before this.
    until: Instant,
    in_a_row: u32,
}

impl CredentialsCache {
    /// A cache of what the configuration asks for; `http` opens all connections, `blocking` reads files.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`] or [`tokio::runtime::LocalRuntime`].
    pub(crate) fn open(
        identity: Identity,
        region: Region,
        http: SharedHttpClient,
        blocking: Blocking,
        clock: Arc<dyn Clock>,
        log: Logger,
        metrics: Metrics,
    ) -> Self {
        let mut random: SmallRng = rand::make_rng();
        let unique: String = (0..12).map(|_| char::from(random.sample(Alphanumeric))).collect();
        let session_name = format!("fluent-bit-kinesis-{unique}");
        let settings = Rc::new(Settings::new(identity, region, http, blocking, session_name));
        let fetch = Box::new(move |attempts: Rc<Attempts>| {
            let settings = Rc::clone(&settings);
            Box::pin(async move { settings.fetch(&attempts).await }) as Pin<Box<_>>
        });
        Self::new(fetch, clock, random, log, metrics)
    }

    /// A cache in front of `fetch`.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`] or [`tokio::runtime::LocalRuntime`].
    pub fn new(fetch: Fetch, clock: Arc<dyn Clock>, random: SmallRng, log: Logger, metrics: Metrics) -> Self {
        let shared = Rc::new(Shared {
            fetch,
            clock,
            log,
            metrics,
            random: RefCell::new(random),
            attempts: Rc::default(),
            current: RefCell::default(),
            failure: RefCell::default(),
            dropped_at: Cell::default(),
            wanted: Cell::default(),
            want: Notify::new(),
            ended: watch::Sender::default(),
            named: RefCell::default(),
        });
        let task = tokio::task::spawn_local(Rc::clone(&shared).keep_fresh()).abort_handle();
        CredentialsCache { shared, task }
    }

    /// Usable credentials. Returns immediately if there are some; otherwise waits up to [`FETCH_TIMEOUT`] for a
    /// fetch, which all callers share.
    ///
    /// # Errors
    /// What was tried, for the log.
    pub(crate) async fn get(&self) -> Result<Credentials, NoCredentials> {
        self.get_within(FETCH_TIMEOUT).await
    }

    /// As [`Self::get`], with another timeout.
    ///
    /// # Errors
    /// What was tried, for the log.
    pub(crate) async fn get_within(&self, limit: Duration) -> Result<Credentials, NoCredentials> {
        let shared = &self.shared;
        let mut ended = shared.ended.subscribe();
        if let Some(credentials) = shared.usable() {
            return Ok(credentials);
        }
        if let Some(failure) = &*shared.failure.borrow()
            && Instant::now() < failure.until
        {
            return Err(failure.reason.clone());
        }
        if !shared.wanted.replace(true) {
            shared.want.notify_one();
        }
        match tokio::time::timeout(limit, ended.changed()).await {
            Ok(_) => shared.usable().ok_or_else(|| shared.last_reason()),
            Err(_) => Err(shared.attempts.summary()),
        }
    }

    /// Drops credentials that Kinesis refused, at most once a minute. Returns whether there will be others than those
    /// used at `used_at`.
    pub(crate) fn forget(&self, used_at: Instant) -> bool {
        let dropped_at = self.shared.dropped_at.get();
        let renewed_at = self.shared.current.borrow().as_ref().map(|current| current.fetched_at);
        if dropped_at.is_some_and(|at| at >= used_at) || renewed_at.is_some_and(|at| at > used_at) {
            return true;
        }
        let now = Instant::now();
        if dropped_at.is_some_and(|at| now.duration_since(at) < DROP_INTERVAL) {
            return false;
        }
        self.shared.dropped_at.set(Some(now));
        self.shared.current.replace(None);
        self.shared.failure.replace(None);
        self.shared.metrics.set_time(Metric::CredentialsFetched, None);
        self.shared.metrics.set_time(Metric::CredentialsExpiry, None);
        true
    }
}

impl Drop for CredentialsCache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// The task: fetches when somebody waits for credentials, and when the current ones are about to expire.
    async fn keep_fresh(self: Rc<Self>) {
        loop {
            let asked = match self.pause() {
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => false,
                    () = self.want.notified() => true,
                },
                None => {
                    self.want.notified().await;
                    true
                }
            };
            if asked && !self.wanted.get() {
                // The previous fetch has served whoever asked.
                continue;
            }
            self.wanted.set(true);
            match self.fetch().await {
                Ok(found) => self.keep(found),
                Err(reason) => self.fail(reason),
            }
            self.wanted.set(false);
            self.ended.send_modify(|count| *count += 1);
        }
    }

    /// A task of its own, so that a panic in it ends here.
    async fn fetch(&self) -> Result<Found, NoCredentials> {
        let mut task = tokio::task::spawn_local((self.fetch)(Rc::clone(&self.attempts)));
        match tokio::time::timeout(FETCH_LIMIT, &mut task).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(panic)) => Err(NoCredentials(format!("a bug in this plugin: {}", one_line(&panic.to_string())))),
            Err(_) => {
                task.abort();
                Err(self.attempts.summary())
            }
        }
    }

    /// How long to wait before the next fetch unless somebody asks for one; `None` is forever.
    fn pause(&self) -> Option<Duration> {
        let renew_at = self.current.borrow().as_ref()?.renew_at?;
        self.usable()?;
        let not_before = self.failure.borrow().as_ref().map_or(renew_at, |failure| failure.until);
        Some(not_before.saturating_duration_since(Instant::now()))
    }

    fn usable(&self) -> Option<Credentials> {
        let current = self.current.borrow();
        let current = current.as_ref()?;
        current.usable_until.is_none_or(|end| self.clock.now() < end).then(|| current.credentials.clone())
    }

    fn keep(&self, found: Found) {
        let now = self.clock.now();
        let life = found.credentials.expiry().map(|expiry| {
            let life = expiry.duration_since(now).unwrap_or_default();
            if life.is_zero() { MIN_TRUST } else { life }
        });
        let early = self.random.borrow_mut().random_range(RENEW_SPREAD..=1.0);
        let renew_in = life.map(|life| life - RENEW_BEFORE_EXPIRY.min(life.mul_f64(RENEW_PART_OF_LIFE)).mul_f64(early));
        self.announce(&found, life);
        self.metrics.set_time(Metric::CredentialsFetched, Some(now));
        self.metrics.set_time(Metric::CredentialsExpiry, found.credentials.expiry());
        self.metrics.publish();
        self.failure.replace(None);
        self.current.replace(Some(Current {
            credentials: found.credentials,
            fetched_at: Instant::now(),
            usable_until: life.map(|life| now + life),
            renew_at: renew_in.map(|time| Instant::now() + time.max(SHORTEST_PAUSE)),
        }));
    }

    /// Logs a line at level info if the identity has changed, or there was a failure since.
    fn announce(&self, found: &Found, life: Option<Duration>) {
        let has_failed = self.failure.borrow().is_some();
        let has_changed = self.named.replace(found.name.clone()) != found.name;
        let level = if has_changed || has_failed { Level::Info } else { Level::Debug };
        self.log.write(level, || {
            let life = life.map_or_else(String::new, |life| format!(", valid for {}", duration(life)));
            format!("signing with access key {} {}{life}", masked(found.credentials.access_key_id()), found.name)
        });
        if let Some(passed_over) = &found.passed_over {
            self.log.write(Level::Debug, || format!("skipped: {passed_over}"));
        }
    }

    fn fail(&self, reason: NoCredentials) {
        self.metrics.add(Metric::CredentialsFailures, 1);
        self.metrics.publish();
        let in_a_row = self.failure.borrow().as_ref().map_or(0, |failure| failure.in_a_row);
        let bound = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(in_a_row)).min(LONGEST_PAUSE);
        let pause = bound.mul_f64(self.random.borrow_mut().random_range(0.5..=1.0));
        let until = self.current.borrow().as_ref().and_then(|current| current.usable_until);
        if let Some(left) = until.and_then(|until| until.duration_since(self.clock.now()).ok()) {
            let left = duration(left);
            self.log.folded(Level::Warn, "not renewed", || {
                format!("{reason}; the current ones remain in use and expire in {left}")
            });
        }
        self.failure.replace(Some(Failure { reason, until: Instant::now() + pause, in_a_row: in_a_row + 1 }));
    }

    fn last_reason(&self) -> NoCredentials {
        let failure = self.failure.borrow();
        failure.as_ref().map_or_else(|| NoCredentials("they were just refused".to_owned()), |f| f.reason.clone())
    }
}

/// The last characters of an access key ID.
fn masked(id: &str) -> String {
    let hidden = id.chars().count().saturating_sub(4).max(4);
    one_line(&format!("…{}", id.chars().skip(hidden).collect::<String>()))
}

#[cfg(test)]
mod tests;
