//! Whose name requests are signed in.
//!
//! Where credentials come from is AWS's own code (`aws-config`): environment, profiles, web identity (IRSA), ECS and EKS
//! container endpoints, IMDS, and a role assumed on top. Ours is only the cache: credentials are fetched when the first
//! request needs them, again before they expire, and when Kinesis refuses them.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Identity, Role};
use crate::kinesis::endpoint::Region;

/// Longest wait for credentials, so that start and flush end.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Credentials are fetched anew this long before they expire. AWS's SDKs hand out container and instance credentials
/// that live for another five minutes at least.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// Refused credentials are dropped at most this often, so that a wrong secret does not become a flood of STS calls.
const DROP_INTERVAL: Duration = Duration::from_secs(60);

/// The credentials of one instance, fetched when needed.
pub struct CredentialsCache {
    provider: SharedCredentialsProvider,
    origin: String,
    clock: Arc<dyn Clock>,
    current: RefCell<Option<Credentials>>,
    dropped_at: Cell<Option<Instant>>,
    fetching: tokio::sync::Mutex<()>,
}

impl CredentialsCache {
    /// A cache in front of `provider`, which the log knows as `origin`.
    pub fn new(provider: SharedCredentialsProvider, origin: String, clock: Arc<dyn Clock>) -> Self {
        CredentialsCache {
            provider,
            origin,
            clock,
            current: RefCell::new(None),
            dropped_at: Cell::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// Credentials that are still good. Several callers at once cause one fetch. While a renewal fails, credentials that
    /// have not expired go on being used. The error tells what was tried.
    pub async fn get(&self) -> Result<Credentials, String> {
        if let Some(credentials) = self.current_for(RENEW_BEFORE_EXPIRY) {
            return Ok(credentials);
        }
        let _one_fetch_at_a_time = self.fetching.lock().await;
        if let Some(credentials) = self.current_for(RENEW_BEFORE_EXPIRY) {
            return Ok(credentials);
        }
        match self.fetch().await {
            Ok(credentials) => {
                self.current.replace(Some(credentials.clone()));
                Ok(credentials)
            }
            Err(reason) => self.current_for(Duration::ZERO).ok_or(reason),
        }
    }

    /// Forgets credentials that Kinesis refused, at most once a minute. Says whether there will be others than those that
    /// were used at `used_at`.
    pub fn forget(&self, used_at: Instant) -> bool {
        let dropped_at = self.dropped_at.get();
        if dropped_at.is_some_and(|at| at >= used_at) {
            return true;
        }
        let now = Instant::now();
        if dropped_at.is_some_and(|at| now.duration_since(at) < DROP_INTERVAL) {
            return false;
        }
        self.dropped_at.set(Some(now));
        self.current.replace(None);
        true
    }

    fn current_for(&self, remaining: Duration) -> Option<Credentials> {
        let current = self.current.borrow();
        let credentials = current.as_ref()?;
        let lives = credentials.expiry().is_none_or(|expiry| self.clock.now() + remaining < expiry);
        lives.then(|| credentials.clone())
    }

    async fn fetch(&self) -> Result<Credentials, String> {
        match tokio::time::timeout(FETCH_TIMEOUT, self.provider.provide_credentials()).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(format!("no credentials from {}: {}", self.origin, with_causes(&error))),
            Err(_) => {
                Err(format!("no credentials from {}: no answer within {} s", self.origin, FETCH_TIMEOUT.as_secs()))
            }
        }
    }
}

/// What the log calls the provider that the configuration asks for.
pub fn origin(identity: &Identity) -> String {
    let base = match &identity.profile {
        Some(profile) => format!("profile '{profile}'"),
        None => "the default chain (environment, profile, web identity, container, instance)".to_owned(),
    };
    match &identity.role {
        Some(role) => format!("role {} assumed with {base}", role.arn),
        None => base,
    }
}

/// The provider that the configuration asks for: a profile or the default chain, and a role assumed on top.
pub async fn provider(identity: &Identity, region: &Region) -> SharedCredentialsProvider {
    let aws_region = aws_types::region::Region::new(region.as_str().to_owned());
    let base = match &identity.profile {
        Some(profile) => {
            SharedCredentialsProvider::new(ProfileFileCredentialsProvider::builder().profile_name(profile).build())
        }
        None => {
            SharedCredentialsProvider::new(DefaultCredentialsChain::builder().region(aws_region.clone()).build().await)
        }
    };
    match &identity.role {
        Some(role) => SharedCredentialsProvider::new(assume(role, aws_region, base).await),
        None => base,
    }
}

async fn assume(role: &Role, region: aws_types::region::Region, base: SharedCredentialsProvider) -> AssumeRoleProvider {
    let mut sts = aws_config::defaults(BehaviorVersion::latest()).region(region.clone()).no_credentials();
    if let Some(endpoint) = &role.sts_endpoint {
        sts = sts.endpoint_url(endpoint.to_string());
    }
    let sts: SdkConfig = sts.load().await;
    let mut provider = AssumeRoleProvider::builder(&role.arn)
        .configure(&sts)
        .region(region)
        .session_name(format!("fluent-bit-kinesis-{}", std::process::id()));
    if let Some(external_id) = &role.external_id {
        provider = provider.external_id(external_id);
    }
    provider.build_from_provider(base).await
}

/// The region of the environment, the profile or the instance, in this order.
pub async fn default_region(identity: &Identity) -> Option<Region> {
    let mut chain = aws_config::default_provider::region::DefaultRegionChain::builder();
    if let Some(profile) = &identity.profile {
        chain = chain.profile_name(profile);
    }
    let region = tokio::time::timeout(FETCH_TIMEOUT, chain.build().region()).await.ok().flatten()?;
    Region::parse(region.as_ref()).ok()
}

/// An error with its causes, each said once: AWS's errors keep the interesting part at the bottom.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;
    use std::sync::Mutex;
    use std::time::SystemTime;

    #[derive(Debug, Clone, Default)]
    struct Script(Arc<Mutex<Vec<Option<u64>>>>);

    impl Script {
        /// The next answers: credentials that live for so many seconds, or a failure.
        fn answers(&self, answers: &[Option<u64>]) {
            *self.0.lock().unwrap() = answers.iter().rev().copied().collect();
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let mut answers = self.0.lock().unwrap();
            let name = format!("key{}", answers.len());
            future::ProvideCredentials::ready(match answers.pop().flatten() {
                Some(seconds) => {
                    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                    Ok(Credentials::new(name, "secret", None, Some(expiry), "script"))
                }
                None => Err(CredentialsError::provider_error("the metadata service is away")),
            })
        }
    }

    #[derive(Clone, Default)]
    struct SetClock(Arc<Mutex<u64>>);

    impl Clock for SetClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(*self.0.lock().unwrap())
        }
    }

    fn cache() -> (CredentialsCache, Script, SetClock) {
        let (script, clock) = (Script::default(), SetClock::default());
        let provider = SharedCredentialsProvider::new(script.clone());
        (CredentialsCache::new(provider, "a script".to_owned(), Arc::new(clock.clone())), script, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_fetched_once_and_renewed_a_minute_before_they_expire() {
        let (cache, script, clock) = cache();
        script.answers(&[Some(900), Some(1800)]);
        let (one, two) = tokio::join!(cache.get(), cache.get());
        assert_eq!(one.unwrap(), two.unwrap());
        *clock.0.lock().unwrap() = 839;
        cache.get().await.unwrap();
        assert_eq!(script.left(), 1);
        *clock.0.lock().unwrap() = 840;
        assert_eq!(cache.get().await.unwrap().expiry(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1800)));
        assert_eq!(script.left(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn while_renewal_fails_the_old_ones_are_used_until_they_expire() {
        let (cache, script, clock) = cache();
        script.answers(&[Some(900), None, None]);
        cache.get().await.unwrap();
        *clock.0.lock().unwrap() = 899;
        assert!(cache.get().await.is_ok());
        *clock.0.lock().unwrap() = 900;
        let reason = cache.get().await.unwrap_err();
        assert!(reason.contains("the metadata service is away"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_dropped_at_most_once_a_minute() {
        let (cache, script, _) = cache();
        script.answers(&[Some(900), Some(900)]);
        cache.get().await.unwrap();
        let used_at = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.forget(used_at));
        cache.get().await.unwrap();
        assert_eq!(script.left(), 0);
        assert!(cache.forget(used_at), "a request that used the old ones may try the new ones");
        tokio::time::advance(Duration::from_secs(58)).await;
        assert!(!cache.forget(Instant::now()));
        cache.get().await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(cache.forget(Instant::now()));
    }
}
