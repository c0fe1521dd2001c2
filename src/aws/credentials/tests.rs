//! The credentials cache, in virtual time, with scripted answers.

use std::collections::VecDeque;

use rand::SeedableRng;
use tokio::task::LocalSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::log::tests::TestLog;
use crate::metrics::Metrics;

/// A clock that follows tokio's.
struct RunningClock(Instant);

impl Clock for RunningClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.elapsed()
    }
}

/// One scripted answer.
#[derive(Clone, Copy)]
enum Answer {
    /// Credentials that expire at this second.
    Until(u64),
    /// Credentials that never expire.
    ForEver,
    Fails,
    /// Takes this many seconds and fails.
    FailsAfter(u64),
    Panics,
}
use Answer::{Fails, FailsAfter, ForEver, Panics, Until};

#[derive(Clone, Default)]
struct Script {
    answers: Rc<RefCell<VecDeque<Answer>>>,
    /// The second of each fetch.
    fetches: Rc<RefCell<Vec<u64>>>,
}

impl Script {
    fn fetch(&self, start: Instant) -> Fetch {
        let script = self.clone();
        Box::new(move |attempts| {
            script.fetches.borrow_mut().push(start.elapsed().as_secs());
            let answer = script.answers.borrow_mut().pop_front().unwrap_or(Fails);
            let number = script.fetches.borrow().len();
            Box::pin(async move {
                attempts.begin("script");
                let expiry = match answer {
                    Until(second) => Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second)),
                    ForEver => None,
                    Panics => panic!("injected into a fetch"),
                    Fails => return Err(NoCredentials("script: it is away".to_owned())),
                    FailsAfter(seconds) => {
                        sleep(Duration::from_secs(seconds)).await;
                        return Err(NoCredentials("script: too late".to_owned()));
                    }
                };
                let credentials = Credentials::new(format!("AKIAEXAMPLE{number}"), "secret", None, expiry, "script");
                Ok(Found { credentials, name: "from script".to_owned(), passed_over: None })
            })
        })
    }

    fn fetches(&self) -> usize {
        self.fetches.borrow().len()
    }
}

async fn with_cache(answers: &[Answer], test: impl AsyncFnOnce(&CredentialsCache, &Script, &TestLog)) {
    let (script, log, start) = (Script::default(), TestLog::default(), Instant::now());
    script.answers.borrow_mut().extend(answers);
    LocalSet::new()
        .run_until(async {
            let random = SmallRng::seed_from_u64(1);
            let clock = Arc::new(RunningClock(start));
            let cache = CredentialsCache::new(script.fetch(start), clock, random, log.logger(), Metrics::default());
            test(&cache, &script, &log).await;
        })
        .await;
}

async fn key(cache: &CredentialsCache) -> String {
    cache.get().await.unwrap().access_key_id().to_owned()
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_cause_one_fetch() {
    with_cache(&[ForEver, ForEver], async |cache, script, _| {
        assert_eq!(tokio::join!(key(cache), key(cache)), ("AKIAEXAMPLE1".to_owned(), "AKIAEXAMPLE1".to_owned()));
        sleep(Duration::from_secs(100_000)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE1");
        assert_eq!(script.fetches(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_before_they_expire_without_a_caller() {
    with_cache(&[Until(3600), Until(7200), Until(90_000)], async |cache, script, _| {
        key(cache).await;
        sleep(Duration::from_secs(7000)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE3");
        let fetches = script.fetches.borrow().clone();
        assert!((2700..=3000).contains(&fetches[1]), "ten to fifteen minutes before: {fetches:?}");
        assert!((6300..=6600).contains(&fetches[2]), "{fetches:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_started_together_does_not_renew_together() {
    let mut seconds = Vec::new();
    for seed in 0..300 {
        let (script, start) = (Script::default(), Instant::now());
        script.answers.borrow_mut().extend([Until(3600), ForEver]);
        LocalSet::new()
            .run_until(async {
                let clock = Arc::new(RunningClock(start));
                let random = SmallRng::seed_from_u64(seed);
                let cache = CredentialsCache::new(
                    script.fetch(start),
                    clock,
                    random,
                    TestLog::default().logger(),
                    Metrics::default(),
                );
                cache.get().await.unwrap();
                sleep(Duration::from_secs(3600)).await;
            })
            .await;
        seconds.push(script.fetches.borrow()[1]);
    }
    let in_a_minute = |from: u64| seconds.iter().filter(|&&second| (from..from + 60).contains(&second)).count();
    assert!((2700..3000).step_by(60).all(|from| (30..100).contains(&in_a_minute(from))), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_a_renewal_that_hangs() {
    with_cache(&[Until(3600), FailsAfter(300)], async |cache, script, _| {
        key(cache).await;
        sleep(Duration::from_secs(3050)).await;
        assert_eq!(script.fetches(), 2);
        let asked = Instant::now();
        assert_eq!(key(cache).await, "AKIAEXAMPLE1");
        assert_eq!(asked.elapsed(), Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_renewal_fails_the_old_ones_are_used_until_they_expire_and_the_log_says_so() {
    with_cache(&[Until(3600)], async |cache, script, log| {
        key(cache).await;
        sleep(Duration::from_secs(3599)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE1");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(cache.get().await.unwrap_err().to_string(), "no credentials: script: it is away");
        let tries = script.fetches();
        assert!((20..80).contains(&tries), "{tries} in ten to fifteen minutes, not faster than every half minute");
        let lines = log.lines();
        assert_eq!(lines[0], "Info signing with access key …PLE1 from script, valid for 1 h");
        assert!(lines[1].starts_with("Warn no credentials: script: it is away; the current ones remain"), "{lines:?}");
        // Without a caller, nothing is fetched.
        sleep(Duration::from_secs(7200)).await;
        assert!(script.fetches() <= tries + 1);
        script.answers.borrow_mut().push_back(Until(90_000));
        key(cache).await;
        assert!(log.lines().last().unwrap().starts_with("Info signing with"), "{:?}", log.lines());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_credentials_waits_five_seconds_and_hears_who_does_not_answer() {
    with_cache(&[FailsAfter(30), ForEver], async |cache, script, _| {
        let asked = Instant::now();
        assert_eq!(cache.get().await.unwrap_err().to_string(), "no credentials: script: no answer yet");
        assert_eq!(asked.elapsed(), Duration::from_secs(5));
        assert!(cache.get().await.is_err());
        assert_eq!(script.fetches(), 1, "the first one is still under way");
        sleep(Duration::from_secs(25)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_answered_from_memory_for_a_moment_so_that_no_service_is_flooded() {
    with_cache(&[], async |cache, script, _| {
        for _ in 0..1000 {
            assert!(cache.get().await.is_err());
            advance(Duration::from_millis(100)).await;
        }
        assert!((4..12).contains(&script.fetches()), "{} fetches in 100 s", script.fetches());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_dropped_at_most_once_a_minute() {
    with_cache(&[ForEver, ForEver, ForEver], async |cache, script, _| {
        key(cache).await;
        let used_at = Instant::now();
        advance(Duration::from_secs(1)).await;
        assert!(cache.forget(used_at));
        assert_eq!(key(cache).await, "AKIAEXAMPLE2");
        assert!(cache.forget(used_at), "a request that used the old ones may try the new ones");
        advance(Duration::from_secs(58)).await;
        assert!(!cache.forget(Instant::now()));
        assert_eq!(key(cache).await, "AKIAEXAMPLE2");
        advance(Duration::from_secs(2)).await;
        assert!(cache.forget(Instant::now()));
        assert_eq!(key(cache).await, "AKIAEXAMPLE3");
        assert_eq!(script.fetches(), 3);
    })
    .await;
}

/// A reply about expired credentials may arrive after they were renewed.
#[tokio::test(start_paused = true)]
async fn credentials_that_were_renewed_since_the_refused_request_are_not_dropped() {
    with_cache(&[Until(3600), ForEver], async |cache, script, _| {
        key(cache).await;
        sleep(Duration::from_secs(2000)).await;
        let used_at = Instant::now();
        sleep(Duration::from_secs(1500)).await;
        assert!(cache.forget(used_at), "there are others");
        assert_eq!(key(cache).await, "AKIAEXAMPLE2");
        assert_eq!(script.fetches(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_fetch_is_a_reason_and_the_next_fetch_comes() {
    with_cache(&[Panics, ForEver], async |cache, _, _| {
        let reason = cache.get().await.unwrap_err().to_string();
        assert!(reason.contains("a bug in this plugin") && reason.contains("injected into a fetch"), "{reason}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_far_ahead_does_not_make_new_credentials_useless() {
    with_cache(&[ForEver, Until(3600), Until(3600)], async |cache, _, _| {
        key(cache).await;
        sleep(Duration::from_secs(9000)).await;
        cache.forget(Instant::now());
        assert_eq!(key(cache).await, "AKIAEXAMPLE2", "expired by this clock, and Kinesis may think otherwise");
        sleep(Duration::from_secs(59)).await;
        assert_eq!(key(cache).await, "AKIAEXAMPLE3");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_days_of_hour_long_credentials_with_outages_leave_no_gap() {
    let (script, start) = (Script::default(), Instant::now());
    let answers = script.clone();
    LocalSet::new()
        .run_until(async {
            let clock = Arc::new(RunningClock(start));
            // An outage of eight minutes in every hour.
            let fetch: Fetch = Box::new(move |attempts| {
                let second = start.elapsed().as_secs();
                let answer = if second % 3600 < 480 && second > 480 { Fails } else { Until(second + 3600) };
                answers.answers.borrow_mut().push_back(answer);
                answers.fetch(start)(attempts)
            });
            let cache = CredentialsCache::new(
                fetch,
                clock,
                SmallRng::seed_from_u64(3),
                TestLog::default().logger(),
                Metrics::default(),
            );
            for _ in 0..2_400 {
                cache.get().await.unwrap();
                sleep(Duration::from_secs(3600)).await;
            }
        })
        .await;
    assert!(script.fetches() > 2_400);
}
