//! A Kinesis Data Streams service on loopback, for tests and demonstrations.
//!
//! It answers `PutRecords`, `ListShards` and `DescribeStreamSummary` like the real service, in JSON and CBOR, over TLS or plain HTTP/1.1, with
//! the real limits and the real wording of errors. It checks signatures, keeps what it accepted, and on request fails
//! in every way that a network and a service can. The modules, in the order in which a request meets them:
//!
//! 1. [`tls`] and [`server`] — connections, routes, and the [`reply`] on its way back;
//! 2. [`faults`] — what goes wrong with this request;
//! 3. [`signature`] — who sent it;
//! 4. [`wire`] — the body as records, the answer as a body;
//! 5. [`limits`] — what the service accepts, [`error`] and [`answer`] — how it says no;
//! 6. [`service`], [`list_shards`] and [`describe`] — the operations themselves, [`shard`] — where a record goes;
//! 7. [`store`] — what arrived; [`admin`] — the same over HTTP, for the program.
mod admin;
mod answer;
mod describe;
pub mod error;
pub mod faults;
pub mod limits;
mod list_shards;
mod reply;
mod server;
mod service;
pub mod shard;
pub mod signature;
pub mod store;
mod tls;
pub mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use faults::{Fault, Faults};
pub use shard::Stream;
pub use signature::Credential;
pub use store::{Keep, RequestLine, Stats, StoredRecord};

use service::Service;

/// The account that owns all streams of the stand-in.
pub const ACCOUNT: &str = "123456789012";

/// How the stand-in starts. `Default` is a plain server with one stream `logs` of four shards, which accepts any
/// signature and keeps every record.
pub struct Settings {
    /// Port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// TLS with a certificate from our own authority; otherwise plain HTTP.
    pub tls: bool,
    /// Where the authority's certificate is written (PEM); `None` for a temporary file.
    pub ca_file: Option<PathBuf>,
    /// The streams that exist.
    pub streams: Vec<Stream>,
    /// Who may call. If empty, an `Authorization` header is required but not checked.
    pub credentials: Vec<Credential>,
    /// The only region that a signature may be scoped to; `None` allows any.
    pub region: Option<String>,
    /// Seconds by which the service's clock is ahead of this machine's; negative is behind.
    pub clock_ahead: i64,
    /// Largest total of data and partition keys in a request, in bytes.
    pub max_request_size: usize,
    /// The faults from the start.
    pub faults: Faults,
    /// What to keep of the records.
    pub keep: Keep,
    /// Accepted records carry `"ErrorCode":null,"ErrorMessage":null`, as in some implementations.
    pub null_error_codes: bool,
    /// Replies state the stream's encryption, `NONE` or `KMS`; `None` omits the member.
    pub encryption_type: Option<&'static str>,
    /// CBOR replies have maps and arrays of definite length. The real service uses indefinite length: a captured
    /// `PutRecord` reply of 104 bytes is exactly one byte longer than with definite lengths.
    pub definite_cbor: bool,
    /// Nobody may call `ListShards`.
    pub denies_list_shards: bool,
    /// Most shards in a reply to `ListShards`.
    pub most_listed_shards: usize,
    /// Nobody may call `DescribeStreamSummary`.
    pub denies_description: bool,
    /// Records of dry runs are stored, as by services that do not know the member.
    pub ignores_dry_run: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port: 0,
            tls: false,
            ca_file: None,
            streams: vec![Stream::new("logs", 4)],
            credentials: Vec::new(),
            region: None,
            clock_ahead: 0,
            max_request_size: limits::DEFAULT_REQUEST_SIZE,
            faults: Faults::default(),
            keep: Keep::Records,
            null_error_codes: false,
            encryption_type: None,
            definite_cbor: false,
            denies_list_shards: false,
            most_listed_shards: 10_000,
            denies_description: false,
            ignores_dry_run: false,
        }
    }
}

/// A running stand-in with its own thread. Dropping it closes all connections and waits for the thread.
pub struct FakeKinesis {
    address: SocketAddr,
    identity: Option<tls::Identity>,
    service: Arc<Mutex<Service>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeKinesis {
    /// Starts a stand-in for a test.
    ///
    /// # Panics
    /// It cannot start, so the test cannot continue.
    #[allow(clippy::panic, reason = "for tests")]
    pub fn start(settings: Settings) -> FakeKinesis {
        FakeKinesis::try_start(settings).unwrap_or_else(|error| panic!("the stand-in does not start: {error}"))
    }

    /// Starts a stand-in.
    ///
    /// # Errors
    /// The port is in use or the authority's certificate cannot be written.
    pub fn try_start(settings: Settings) -> io::Result<FakeKinesis> {
        let identity = match settings.tls {
            true => Some(tls::Identity::new(settings.ca_file.as_deref())?),
            false => None,
        };
        let listener = std::net::TcpListener::bind(("127.0.0.1", settings.port))
            .map_err(|error| about(&format!("port {}", settings.port), &error))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = identity.as_ref().map(tls::Identity::acceptor).transpose()?;
        let service = Arc::new(Mutex::new(Service::new(settings)));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&service);
        let thread = std::thread::Builder::new()
            .name("fake-kinesis".to_owned())
            .spawn(move || runtime.block_on(server::run(listener, tls, served, stopped)))?;
        Ok(FakeKinesis { address, identity, service, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL to send requests to, without a trailing slash.
    pub fn endpoint(&self) -> String {
        match self.identity {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file with the authority that signed the server's certificate.
    ///
    /// # Panics
    /// The stand-in was started without TLS.
    #[allow(clippy::expect_used, reason = "for tests")]
    pub fn ca_file(&self) -> &Path {
        self.identity.as_ref().expect("started without TLS").ca_file()
    }

    /// All records accepted so far, in order of arrival (hence also per shard). Empty with [`Keep::Counts`].
    pub fn records(&self) -> Vec<StoredRecord> {
        self.service().store.records().to_vec()
    }

    /// One line per `PutRecords` call so far, in order of arrival. Empty with [`Keep::Counts`].
    pub fn requests(&self) -> Vec<RequestLine> {
        self.service().store.requests().to_vec()
    }

    /// The current counters.
    pub fn stats(&self) -> Stats {
        self.service().store.stats()
    }

    /// The most requests in flight at a time since the last call.
    pub fn take_most_in_flight(&self) -> usize {
        self.service().store.take_most_in_flight()
    }

    /// Replaces the fault probabilities and restarts their random numbers; the script stays.
    pub fn set_faults(&self, faults: Faults) {
        self.service().faults.set(faults);
    }

    /// Appends faults for the next requests, one each. They take precedence over the probabilities.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.service().faults.script(faults);
    }

    /// Creates a stream, or replaces the one of that name.
    pub fn add_stream(&self, stream: Stream) {
        self.service().add_stream(stream);
    }

    /// Splits or merges shards of a stream.
    pub fn reshard(&self, stream: &str, change: impl FnOnce(&mut Stream)) {
        self.service().change_stream(stream, change);
    }

    /// A stream in its current state, including closed shards.
    pub fn stream(&self, name: &str) -> Option<Stream> {
        self.service().stream(name)
    }

    /// Forbids or allows `ListShards`.
    pub fn deny_list_shards(&self, denied: bool) {
        self.service().settings.denies_list_shards = denied;
    }

    /// Makes a stream distribute records itself, or by their keys, as `UpdateStreamRecordDistributionStrategy` does.
    pub fn set_auto(&self, stream: &str, auto: bool) {
        self.service().change_stream(stream, |stream| stream.auto = auto);
    }

    /// Makes every request's token expired, or valid again.
    pub fn expire_token(&self, expired: bool) {
        self.service().token_expired = expired;
    }

    /// Replaces the known credentials.
    pub fn set_credentials(&self, credentials: Vec<Credential>) {
        self.service().settings.credentials = credentials;
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.service)
    }
}

impl Drop for FakeKinesis {
    fn drop(&mut self) {
        // The thread waits for this end of the channel to be dropped.
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// The same error with its subject.
fn about(subject: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{subject}: {error}"))
}

fn lock(service: &Mutex<Service>) -> MutexGuard<'_, Service> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}
