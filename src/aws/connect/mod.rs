//! Connections: direct or through a proxy, plain or TLS, each of a limited age.

pub mod proxy;
pub mod resolver;
pub mod tls;

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Extensions, HeaderValue, Uri};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::BufReader;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::aws::connect::proxy::{Proxies, Proxy};
use crate::aws::connect::resolver::{Resolver, Unresolved};
use crate::aws::shortage;
use crate::error::with_causes;
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
    tls: Arc<rustls::ClientConfig>,
    proxies: Arc<Proxies>,
    connect_timeout: Duration,
    max_age: Duration,
}

impl Connector {
    /// A connector with these trusted certificates, proxies and names.
    pub fn new(tls: Arc<rustls::ClientConfig>, proxies: Proxies, resolver: Resolver) -> Connector {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Connector { tcp, tls, proxies: Arc::new(proxies), connect_timeout: CONNECT_TIMEOUT, max_age: MAX_AGE }
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

    async fn open(self, to: Uri) -> Result<OpenConnection, ConnectError> {
        let mut direct = DirectConnector { tcp: self.tcp.clone(), tls: Arc::clone(&self.tls) };
        let age = Age { opened: Instant::now(), max: self.max_age };
        let Some(proxy) = self.proxy(&to) else {
            let stream = direct.call(to.clone()).await;
            let stream = stream.map_err(|error| ConnectError(direct_reason(&to, error.as_ref())))?;
            return Ok(OpenConnection { stream, asks_proxy: false, age });
        };
        let failed = |place, error: &(dyn Error + 'static)| ConnectError(format!("{place} {proxy}: {}", reason(error)));
        if to.scheme() == Some(&Scheme::HTTP) {
            let stream = direct.call(proxy.uri().clone()).await;
            let stream = stream.map_err(|error| failed("the proxy", error.as_ref()))?;
            return Ok(OpenConnection { stream, asks_proxy: true, age });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
        if let Some(authorization) = proxy.authorization() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let stream = tunnel.call(to.clone()).await.map_err(|error| failed("the proxy", &error))?;
        let stream =
            secure(stream, &to, Arc::clone(&self.tls)).await.map_err(|error| failed("through the proxy", &error))?;
        Ok(OpenConnection { stream, asks_proxy: false, age })
    }
}

/// Connects to a server or a proxy, over TLS when its URL says so.
struct DirectConnector {
    tcp: HttpConnector<Resolver>,
    tls: Arc<rustls::ClientConfig>,
}

impl Service<Uri> for DirectConnector {
    type Response = Box<dyn Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, tls) = (self.tcp.call(to.clone()), Arc::clone(&self.tls));
        Box::pin(async move {
            let stream = connecting.await?;
            match to.scheme() {
                Some(scheme) if *scheme == Scheme::HTTPS => Ok(secure(stream, &to, tls).await?),
                _ => Ok(Box::new(stream) as Box<dyn Stream>),
            }
        })
    }
}

/// Starts TLS on `stream` with the server of a URL.
async fn secure(
    stream: impl Stream + 'static,
    to: &Uri,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Stream>, io::Error> {
    let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = BufReader::with_capacity(TLS_READ_BYTES, TokioIo::new(stream));
    let limit_writes = |session: &mut rustls::ClientConnection| session.set_buffer_limit(Some(TLS_WRITE_BYTES));
    Ok(Box::new(TokioIo::new(TlsConnector::from(tls).connect_with(name, stream, limit_writes).await?)))
}

impl Service<Uri> for Connector {
    type Response = OpenConnection;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<OpenConnection, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (limit, place, open) = (self.connect_timeout, place(&to), self.clone().open(to));
        Box::pin(async move {
            match tokio::time::timeout(limit, open).await {
                Ok(opened) => opened,
                Err(_) => Err(ConnectError(format!("no connection to {place} within {}", duration(limit)))),
            }
        })
    }
}

/// Why there is no connection to `to`, with its name, which an error of the resolver already has.
fn direct_reason(to: &Uri, error: &(dyn Error + 'static)) -> String {
    match tls::find::<Unresolved>(error) {
        Some(unresolved) => unresolved.to_string(),
        None => format!("{}: {}", place(to), reason(error)),
    }
}

fn reason(error: &(dyn Error + 'static)) -> String {
    let known = tls::certificate_refusal(error).or_else(|| shortage::among(error));
    known.unwrap_or_else(|| with_causes(error))
}

/// Host and port, without user, password and path.
pub(crate) fn place(uri: &Uri) -> String {
    let usual = if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 };
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual))
}

/// Why there is no connection. Contains no secret.
#[derive(Debug)]
pub struct ConnectError(String);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConnectError {}

/// Keeps an old connection from being reused.
pub(crate) fn retire_if_old(connection: &CaptureConnection) {
    let connected = connection.connection_metadata();
    let Some(connected) = connected.as_ref() else { return };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    if extras.get::<Age>().is_some_and(Age::is_over) {
        connected.poison();
    }
}

#[derive(Clone, Copy)]
struct Age {
    opened: Instant,
    max: Duration,
}

impl Age {
    fn is_over(&self) -> bool {
        self.opened.elapsed() >= self.max
    }
}

/// An open connection.
pub struct OpenConnection {
    stream: Box<dyn Stream>,
    /// The other end is a proxy, so requests name the server that they are for.
    asks_proxy: bool,
    age: Age,
}

trait Stream: Read + Write + Unpin + Send {}

impl<S: Read + Write + Unpin + Send> Stream for S {}

impl Connection for OpenConnection {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.asks_proxy).extra(self.age)
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
