//! Connections: direct or through a proxy, plain or TLS, each of a limited age.

pub(crate) mod hello;
pub(crate) mod life;
pub mod proxy;
pub(crate) mod reason;
pub mod resolver;
pub mod tls;

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::BufReader;
use tower_service::Service;

use crate::aws::connect::hello::{Hello, Hellos};
use crate::aws::connect::life::Life;
use crate::aws::connect::proxy::{Proxies, Proxy};
use crate::aws::connect::reason::{ConnectError, place};
use crate::aws::connect::resolver::{Resolver, Unresolved};
use crate::aws::connect::tls::Tls;
use crate::error::find;
use crate::log::duration;

/// Longest time to establish a connection: TCP, the proxy's answer and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection idle for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection older than this is not reused, so that changes in DNS take effect.
const MAX_AGE: Duration = Duration::from_secs(120);

/// Bytes per read from the socket for TLS: most replies fit. rustls alone reads 4 KiB per system call.
const TLS_READ_BYTES: usize = 32 << 10;
/// Bytes per write to the socket for TLS: most requests fit. rustls's default is 64 KiB.
const TLS_WRITE_BYTES: usize = 128 << 10;

/// The pool of one instance's connections.
pub(crate) type Pool = Client<Connector, Full<Bytes>>;

/// A pool that opens connections as needed.
///
/// If the server has closed an idle connection, a request that could not start on it moves to another.
pub(crate) fn pool(connector: Connector) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .retry_canceled_requests(true)
        .build(connector)
}

/// Opens connections. A name with several addresses is tried side by side (RFC 8305), so that IPv6 without a route
/// costs 300 ms.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector<Resolver>,
    /// The one in `tcp`.
    resolver: Resolver,
    hellos: Arc<Hellos>,
    proxies: Arc<Proxies>,
    connect_timeout: Duration,
    max_age: Duration,
    open: Arc<AtomicUsize>,
}

impl Connector {
    /// A connector with these trusted certificates, proxies and names.
    pub fn new(tls: Tls, proxies: Proxies, resolver: Resolver) -> Connector {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let (hellos, proxies) = (Arc::new(Hellos::new(tls)), Arc::new(proxies));
        let (connect_timeout, max_age, open) = (CONNECT_TIMEOUT, MAX_AGE, Arc::default());
        Connector { tcp, resolver, hellos, proxies, connect_timeout, max_age, open }
            .with_connect_timeout(CONNECT_TIMEOUT)
    }

    /// With another time limit for establishing a connection.
    pub(crate) fn with_connect_timeout(mut self, limit: Duration) -> Connector {
        // The addresses of a name share it.
        self.tcp.set_connect_timeout(Some(limit));
        Connector { connect_timeout: limit, ..self }
    }

    /// The time limit for establishing a connection.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// With another age up to which connections are reused.
    pub fn with_max_age(self, max_age: Duration) -> Connector {
        Connector { max_age, ..self }
    }

    /// With a count of its own of open connections.
    pub(crate) fn with_own_count(self) -> Connector {
        Connector { open: Arc::default(), ..self }
    }

    /// How many of its connections are open or being opened.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The proxy for connections to a URL.
    pub(crate) fn proxy(&self, to: &Uri) -> Option<&Proxy> {
        self.proxies.proxy_for(to)
    }

    /// The value of `Proxy-Authorization` in requests to a URL: none over TLS, where it is sent when the tunnel is
    /// opened.
    pub(crate) fn proxy_authorization(&self, to: &Uri) -> Option<HeaderValue> {
        let proxy = self.proxy(to).filter(|_| to.scheme() == Some(&Scheme::HTTP))?;
        proxy.authorization().cloned()
    }

    /// Why there is no connection to `to`, with its name, which an error of the resolver already has.
    fn direct_reason(&self, to: &Uri, error: &(dyn Error + 'static)) -> ConnectError {
        let reason = reason::of(error);
        if find::<Unresolved>(error).is_some() { reason } else { reason.at(self.tried(to)) }
    }

    /// Host and port, and the addresses that the host's name led to: `kinesis.example:443 (10.0.0.7, 10.0.1.7)`.
    pub(crate) fn tried(&self, to: &Uri) -> String {
        let addresses = to.host().map_or_else(Vec::new, |name| self.resolver.last_answer(name));
        match addresses.as_slice() {
            [] => place(to),
            addresses => format!("{} ({})", place(to), addresses.join(", ")),
        }
    }

    async fn open(self, to: Uri, hello: Hello) -> Result<MaybeHttpsStream<OpenConnection>, ConnectError> {
        let hello = &hello;
        let life = Life::begin(self.max_age, &self.open);
        let Some(proxy) = self.proxy(&to) else {
            let opened = Https::over(self.tcp.clone(), hello, false, life).call(to.clone()).await;
            return opened.map_err(|error| self.direct_reason(&to, error.as_ref()));
        };
        let not_reached = |error: BoxError| reason::of_proxy(error.as_ref(), &to).at(format_args!("the proxy {proxy}"));
        let asks_proxy = to.scheme() == Some(&Scheme::HTTP);
        let mut to_proxy = Https::over(self.tcp.clone(), hello, asks_proxy, life.clone());
        if asks_proxy {
            return to_proxy.call(proxy.uri().clone()).await.map_err(not_reached);
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
        if let Some(authorization) = proxy.authorization() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let opened = Https::over(tunnel, hello, false, life).call(to.clone()).await;
        opened.map_err(|error| match error.downcast::<NotConnected>() {
            Ok(not_connected) => not_reached(not_connected.0),
            Err(error) => reason::of(error.as_ref()).at(format_args!("through the proxy {proxy}")),
        })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
type Opening<S, E> = Pin<Box<dyn Future<Output = Result<S, E>> + Send>>;

/// TLS where a URL asks for it, by hyper-rustls, which is given what it reads from in large pieces and whose session is
/// told to write in large pieces.
struct Https<C> {
    connector: HttpsConnector<Buffered<C>>,
    hello: Hello,
}

impl<C> Https<C> {
    fn over(inner: C, hello: &Hello, asks_proxy: bool, life: Life) -> Https<C> {
        let buffered = Buffered { inner, hello: hello.clone(), asks_proxy, life };
        Https { connector: (buffered, Arc::clone(&hello.config)).into(), hello: hello.clone() }
    }
}

impl<C> Service<Uri> for Https<C>
where
    C: Service<Uri, Response: Stream + 'static, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = MaybeHttpsStream<OpenConnection>;
    type Error = BoxError;
    type Future = Opening<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (opening, hello) = (self.connector.call(to), self.hello.clone());
        Box::pin(async move {
            let opened = opening.await;
            if opened.as_ref().err().is_none_or(|error| reason::is_answer_to_tls(error.as_ref())) {
                hello.is_answered();
            }
            let mut stream = opened?;
            if let MaybeHttpsStream::Https(tls) = &mut stream {
                tls.inner_mut().get_mut().1.set_buffer_limit(Some(TLS_WRITE_BYTES));
            }
            Ok(stream)
        })
    }
}

/// Opens what TLS runs on, with a buffer if there will be TLS.
struct Buffered<C> {
    inner: C,
    hello: Hello,
    asks_proxy: bool,
    life: Life,
}

impl<C> Service<Uri> for Buffered<C>
where
    C: Service<Uri, Response: Stream + 'static, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = OpenConnection;
    type Error = NotConnected;
    type Future = Opening<OpenConnection, NotConnected>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        self.inner.poll_ready(context).map_err(|error| NotConnected(error.into()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let is_https = to.scheme() == Some(&Scheme::HTTPS);
        let (opening, hello, asks_proxy, life) =
            (self.inner.call(to), self.hello.clone(), self.asks_proxy, self.life.clone());
        Box::pin(async move {
            let stream = opening.await.map_err(|error| NotConnected(error.into()))?;
            if !is_https {
                return Ok(OpenConnection { stream: Box::new(stream), asks_proxy, life });
            }
            hello.starts();
            let stream = TokioIo::new(BufReader::with_capacity(TLS_READ_BYTES, TokioIo::new(stream)));
            Ok(OpenConnection { stream: Box::new(stream), asks_proxy, life })
        })
    }
}

/// Why TLS could not begin: there is nothing for it to run on.
#[derive(Debug)]
struct NotConnected(BoxError);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotConnected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<OpenConnection>;
    type Error = ConnectError;
    type Future = Opening<Self::Response, ConnectError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (limit, hellos, hello) = (self.connect_timeout, Arc::clone(&self.hellos), self.hellos.next());
        let (connector, place) = (self.clone(), to.clone());
        let open = self.clone().open(to, hello.clone());
        Box::pin(async move {
            let late = |_| {
                let place = connector.tried(&place);
                Err(ConnectError::passing(format!("no connection to {place} within {}", duration(limit))))
            };
            let opened = tokio::time::timeout(limit, open).await.unwrap_or_else(late);
            opened.map_err(|mut error| {
                if hellos.failed(&hello) {
                    error.text.push_str("; the next try starts TLS with a shorter ClientHello");
                }
                error
            })
        })
    }
}

/// What an open connection runs on.
pub struct OpenConnection {
    stream: Box<dyn Stream>,
    /// The other end is a proxy, so requests name the server that they are for.
    asks_proxy: bool,
    life: Life,
}

trait Stream: Read + Write + Unpin + Send {}

impl<S: Read + Write + Unpin + Send> Stream for S {}

impl Connection for OpenConnection {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.asks_proxy).extra(self.life.clone())
    }
}

impl Read for OpenConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for OpenConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}
