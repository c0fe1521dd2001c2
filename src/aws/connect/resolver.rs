//! Looks up host names as other programs on the machine do: through the C library, with its files and caches.
//!
//! Callers that ask for the same name share one look-up, so an unresponsive name server takes one thread per name,
//! not per request.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::oneshot;
use tower_service::Service;

use crate::aws::blocking::{Blocking, Unanswered};
use crate::aws::shortage::{self, explained};

/// Longest wait for a name: a little less than for a connection, so that the log shows which of them it was. The C
/// library asks a second server after five seconds.
const LIMIT: Duration = Duration::from_secs(9);

type Answer = Result<Vec<SocketAddr>, Unresolved>;

/// Looks up names. Clones share look-ups under way.
#[derive(Clone)]
pub struct Resolver {
    blocking: Blocking,
    waiting: Arc<Mutex<Waiting>>,
    answers: Arc<Mutex<Answers>>,
}

/// The last addresses of each name, for the log. An output knows few names.
type Answers = HashMap<String, Vec<IpAddr>>;

/// Most addresses of a name to show.
const SHOWN: usize = 4;

/// Who waits for which name.
type Waiting = HashMap<String, Vec<oneshot::Sender<Answer>>>;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    name: String,
    reason: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}: {}", self.name, self.reason)
    }
}

impl Error for Unresolved {}

impl Unresolved {
    pub(crate) fn new(name: &str, reason: impl Into<String>) -> Unresolved {
        Unresolved { name: name.to_owned(), reason: reason.into() }
    }

    /// Whether the name server says that there is no such name, so that asking again will not help.
    pub(crate) fn is_unknown(&self) -> bool {
        // The C library's texts for EAI_NONAME and EAI_NODATA.
        ["Name or service not known", "No address associated with hostname"].contains(&&*self.reason)
    }
}

impl Resolver {
    /// Looks up names on threads of `blocking`.
    pub fn new(blocking: Blocking) -> Resolver {
        Resolver { blocking, waiting: Arc::default(), answers: Arc::default() }
    }

    /// The addresses of a name, with port 0.
    ///
    /// # Errors
    /// When there are none, or no reply within nine seconds.
    pub async fn resolve(&self, name: &str) -> Answer {
        let failed = |reason: Unanswered| Unresolved::new(name, reason.to_string());
        let answered = self.join(name).map_err(failed)?;
        match tokio::time::timeout(LIMIT, answered).await {
            Ok(Ok(answer)) => answer.inspect(|addresses| self.note(name, addresses)),
            Ok(Err(_)) => Err(failed(Unanswered::Ended)),
            Err(_) => Err(failed(match self.blocking.denied() {
                None => Unanswered::Late(LIMIT),
                denied => Unanswered::Busy(LIMIT, denied),
            })),
        }
    }

    fn note(&self, name: &str, addresses: &[SocketAddr]) {
        let addresses = addresses.iter().map(SocketAddr::ip).take(SHOWN).collect();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses);
    }

    /// The addresses that a name had last, some of them if there are many; none for what is an address itself.
    pub(crate) fn last_answer(&self, name: &str) -> Vec<String> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(name).into_iter().flatten().map(IpAddr::to_string).collect()
    }

    /// Joins those who wait for the name; the first of them starts the look-up.
    fn join(&self, name: &str) -> Result<oneshot::Receiver<Answer>, Unanswered> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if let Some(others) = waiting.get_mut(name) {
            others.retain(|other| !other.is_closed());
            others.push(sender);
            return Ok(receiver);
        }
        let (all, wanted) = (Arc::clone(&self.waiting), name.to_owned());
        self.blocking.submit(Box::new(move || {
            let answer = look_up(&wanted);
            let waiting = lock(&all).remove(&wanted).unwrap_or_default();
            // Some may have stopped waiting.
            waiting.into_iter().for_each(|waiter| drop(waiter.send(answer.clone())));
        }))?;
        waiting.insert(name.to_owned(), vec![sender]);
        Ok(receiver)
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_up(name: &str) -> Answer {
    (name, 0).to_socket_addrs().map(Iterator::collect).map_err(|error| {
        // When out of files, the C library reports a temporary failure.
        let shortage = File::open("/dev/null").err().and_then(|error| shortage::of(&error));
        let reason = shortage.unwrap_or_else(|| explained(&error));
        Unresolved::new(name, reason.strip_prefix("failed to lookup address information: ").unwrap_or(&reason))
    })
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { resolver.resolve(name.as_str()).await.map(Vec::into_iter) })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// AWS's library resolves names itself where it must check that an address is local.
impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let addresses = self.resolve(name).await.map_err(ResolveDnsError::new)?;
            Ok(addresses.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>())
        })
    }
}
