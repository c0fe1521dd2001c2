//! Whose name requests are signed in.
//!
//! Where credentials come from is in [`provider`]; what is here keeps them. They are renewed in the background, well before
//! they expire, so that no flush waits for that; while nobody can renew them they are used until they do expire. Kinesis
//! may refuse them at any time: then they are dropped, at most once a minute.

pub mod identity;
mod process;
mod profile;
pub mod provider;
mod sts;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rand::RngExt;
use rand::distr::Alphanumeric;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::connect::proxy::Proxies;
use crate::aws::connect::resolver::Resolver;
use crate::aws::connect::tls;
use crate::aws::credentials::identity::Identity;
use crate::aws::region::Region;
use crate::aws::sdk_http::http_client;
use crate::aws::shared_config::SharedFiles;
use crate::clock::Clock;
use crate::log::{Level, Logger, duration};
use crate::metrics::{Metric, Metrics};
use crate::redact::one_line;
use provider::{Attempts, Found, Settings};

/// Longest wait of a flush for credentials, and of the start for region and credentials together.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A fetch that lasts longer is given up, and a process of the user's ended. It is long because such a process may talk to
/// several servers, or to a person.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// How long before they expire credentials are renewed, as AWS's SDK for Python does. Credentials of an instance or a
/// container are there anew five minutes before at least.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(900);

/// Credentials that live shorter than an hour are renewed when this part of their life is left.
const RENEW_PART_OF_LIFE: f64 = 0.25;

/// The renewal of a fleet that started at once is spread over the first third of that time.
const RENEW_SPREAD: f64 = 2.0 / 3.0;

/// Pauses after a failure double from the one to the other; half of each is drawn.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Refused credentials are dropped at most this often, so that a wrong secret does not become a flood of STS calls.
const DROP_INTERVAL: Duration = Duration::from_secs(60);

/// Credentials that are expired as soon as they come, by a clock that is wrong, are used for so long all the same.
const TRUST_OF_NEW: Duration = Duration::from_secs(60);

/// Something that fetches credentials and notes what it tried: [`provider::Settings`], or a test's script.
pub type Fetch = Box<dyn Fn(Rc<Attempts>) -> Pin<Box<dyn Future<Output = Result<Found, String>>>>>;

/// The credentials of one instance. A task on the thread's [`tokio::task::LocalSet`] fetches them when they are first asked
/// for, and keeps them fresh from then on.
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
    /// Set by who waits, cleared by the task when it has tried.
    wanted: Cell<bool>,
    want: Notify,
    /// Counts fetches that ended.
    ended: watch::Sender<u64>,
    /// What the log was last told.
    named: RefCell<String>,
}

struct Current {
    credentials: Credentials,
    fetched_at: Instant,
    usable_until: Option<SystemTime>,
    renew_at: Option<Instant>,
}

struct Failure {
    reason: String,
    /// No other fetch before this.
    until: Instant,
    in_a_row: u32,
}

impl CredentialsCache {
    /// A cache in front of what the configuration asks for; `http` opens all connections, `blocking` reads files.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`].
    pub fn open(
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
    /// Outside of a [`tokio::task::LocalSet`].
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

    /// Credentials that are good. Returns at once while there are some; else waits up to 5 seconds for a fetch, one for all
    /// callers. The error tells what was tried.
    pub async fn get(&self) -> Result<Credentials, String> {
        self.get_within(FETCH_TIMEOUT).await
    }

    /// As [`Self::get`], with another patience.
    pub async fn get_within(&self, patience: Duration) -> Result<Credentials, String> {
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
        match tokio::time::timeout(patience, ended.changed()).await {
            Ok(_) => shared.usable().ok_or_else(|| shared.last_reason()),
            Err(_) => Err(shared.attempts.told()),
        }
    }

    /// Forgets credentials that Kinesis refused, at most once a minute. Says whether there will be others than those that
    /// were used at `used_at`.
    pub fn forget(&self, used_at: Instant) -> bool {
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
    /// The task: fetches when somebody waits for credentials, and when those that are there are about to expire.
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
                // Whoever asked was served by the fetch before.
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
    async fn fetch(&self) -> Result<Found, String> {
        let mut task = tokio::task::spawn_local((self.fetch)(Rc::clone(&self.attempts)));
        match tokio::time::timeout(FETCH_LIMIT, &mut task).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(panic)) => Err(format!("no credentials: a bug in this plugin: {}", one_line(&panic.to_string()))),
            Err(_) => {
                task.abort();
                Err(self.attempts.told())
            }
        }
    }

    /// How long nothing has to be fetched unless somebody waits for it; `None` is for ever.
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
            if life.is_zero() { TRUST_OF_NEW } else { life }
        });
        let early = self.random.borrow_mut().random_range(RENEW_SPREAD..=1.0);
        let renew_in = life.map(|life| life - RENEW_BEFORE_EXPIRY.min(life.mul_f64(RENEW_PART_OF_LIFE)).mul_f64(early));
        self.tell(&found, life);
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

    /// One line when the identity is another than before, or when it was missed meanwhile.
    fn tell(&self, found: &Found, life: Option<Duration>) {
        let was_missed = self.failure.borrow().is_some();
        let is_other = self.named.replace(found.name.clone()) != found.name;
        let level = if is_other || was_missed { Level::Info } else { Level::Debug };
        self.log.write(level, || {
            let life = life.map_or_else(String::new, |life| format!(", valid for {}", duration(life)));
            format!("signing with access key {} {}{life}", masked(found.credentials.access_key_id()), found.name)
        });
        if let Some(passed_over) = &found.passed_over {
            self.log.write(Level::Debug, || format!("passed over: {passed_over}"));
        }
    }

    fn fail(&self, reason: String) {
        self.metrics.add(Metric::CredentialsFailures, 1);
        self.metrics.publish();
        let in_a_row = self.failure.borrow().as_ref().map_or(0, |failure| failure.in_a_row);
        let bound = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(in_a_row)).min(LONGEST_PAUSE);
        let pause = bound.mul_f64(self.random.borrow_mut().random_range(0.5..=1.0));
        let until = self.current.borrow().as_ref().and_then(|current| current.usable_until);
        if let Some(left) = until.and_then(|until| until.duration_since(self.clock.now()).ok()) {
            let left = duration(left);
            self.log.folded(Level::Warn, "not renewed", || {
                format!("{reason}; those that are there go on being used and expire in {left}")
            });
        }
        self.failure.replace(Some(Failure { reason, until: Instant::now() + pause, in_a_row: in_a_row + 1 }));
    }

    fn last_reason(&self) -> String {
        let failure = self.failure.borrow();
        failure.as_ref().map_or_else(|| "no credentials: they were just refused".to_owned(), |f| f.reason.clone())
    }
}

/// The end of an access key's id.
fn masked(id: &str) -> String {
    let hidden = id.chars().count().saturating_sub(4).max(4);
    one_line(&format!("…{}", id.chars().skip(hidden).collect::<String>()))
}

/// The region of the environment, the profile or the instance, in this order.
pub async fn default_region(identity: &Identity, files: &SharedFiles, blocking: &Blocking) -> Option<Region> {
    // The instance's metadata is served without TLS and without a proxy, and aws-config brings no HTTP of its own.
    let connector = Connector::new(tls::nobody().ok()?, Proxies::default(), Resolver::new(blocking.clone()));
    let provider = ProviderConfig::default().with_http_client(http_client(connector));
    let mut profile = ProfileFileRegionProvider::builder().profile_files(files.contents());
    if let Some(name) = identity.profile() {
        profile = profile.profile_name(name);
    }
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
        .or_else(ImdsRegionProvider::builder().configure(&provider).build());
    let region = tokio::time::timeout(FETCH_TIMEOUT, chain.region()).await.ok().flatten()?;
    Region::parse(region.as_ref()).ok()
}

#[cfg(test)]
mod tests;
