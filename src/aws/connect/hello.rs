//! Which ClientHello a connection starts TLS with.
//!
//! The post-quantum key share makes it longer than a packet. Some middleboxes read no more than the first packet, then
//! close the connection or wait for the rest for ever. So a handshake that gets no answer makes the next one start with
//! a short ClientHello, for an hour. Whoever can break handshakes can cause that; who only records traffic cannot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::Instant;

use crate::aws::connect::tls::Tls;

/// How long connections start with a short ClientHello once a long one got no answer.
const SHORT_FOR: Duration = Duration::from_secs(3600);

/// The two ClientHellos, and what became of the long one.
pub(crate) struct Hellos {
    tls: Tls,
    long_failed_at: Mutex<Option<Instant>>,
}

/// One connection's ClientHello.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) config: Arc<ClientConfig>,
    is_short: bool,
    is_unanswered: Arc<AtomicBool>,
}

impl Hellos {
    pub(crate) fn new(tls: Tls) -> Hellos {
        Hellos { tls, long_failed_at: Mutex::new(None) }
    }

    /// The one to start with now.
    pub(crate) fn next(&self) -> Hello {
        let failed_at = *self.long_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = failed_at.is_some_and(|at| at.elapsed() < SHORT_FOR);
        let config = if is_short { &self.tls.short } else { &self.tls.long };
        Hello { config: Arc::clone(config), is_short, is_unanswered: Arc::default() }
    }

    /// Learns from a connection that failed. Returns whether the next starts with a short one because of it.
    pub(crate) fn failed(&self, hello: &Hello) -> bool {
        if !hello.is_unanswered.load(Ordering::Relaxed) {
            return false;
        }
        // What fails with both is something else, and the long one has its turn again.
        let failed_at = (!hello.is_short).then(Instant::now);
        *self.long_failed_at.lock().unwrap_or_else(PoisonError::into_inner) = failed_at;
        failed_at.is_some()
    }
}

impl Hello {
    /// It is about to be sent.
    pub(crate) fn starts(&self) {
        self.is_unanswered.store(true, Ordering::Relaxed);
    }

    /// The server has answered, be it with a certificate that is not trusted.
    pub(crate) fn is_answered(&self) {
        self.is_unanswered.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hellos() -> Hellos {
        Hellos::new(Tls::nobody().unwrap())
    }

    fn unanswered(hellos: &Hellos) -> bool {
        let hello = hellos.next();
        hello.starts();
        hellos.failed(&hello)
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_long_one_is_followed_by_short_ones_for_an_hour() {
        let hellos = hellos();
        assert!(!hellos.next().is_short);
        assert!(unanswered(&hellos));
        tokio::time::advance(SHORT_FOR - Duration::from_secs(1)).await;
        assert!(hellos.next().is_short);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!hellos.next().is_short);
    }

    #[tokio::test(start_paused = true)]
    async fn they_take_turns_while_neither_is_answered() {
        let hellos = hellos();
        let turns: Vec<bool> = (0..4).map(|_| unanswered(&hellos)).collect();
        assert_eq!(turns, [true, false, true, false]);
    }

    #[tokio::test]
    async fn a_failure_before_tls_or_after_the_answer_changes_nothing() {
        let hellos = hellos();
        let hello = hellos.next();
        assert!(!hellos.failed(&hello));
        hello.starts();
        hello.is_answered();
        assert!(!hellos.failed(&hello));
        assert!(!hellos.next().is_short);
    }
}
