//! A server between plugin and stand-in that terminates TLS with any certificate, and closes connections at any
//! moment.

use std::future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::Failed;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// When a relay closes, without notice, a connection that the client would reuse.
#[derive(Clone, Copy)]
pub enum Ending {
    Never,
    /// This long after the last reply.
    Idle(Duration),
    /// When the first byte of the next request arrives, which is not forwarded.
    AtNextRequest,
}

/// A running relay; dropping it closes its connections and waits for its thread.
pub struct Relay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _thread: Served,
}

impl Relay {
    /// Relays plain connections to `target` without closing them.
    pub fn plain(target: SocketAddr) -> Result<Relay, Failed> {
        Relay::start("127.0.0.1:0", target, None, Ending::Never)
    }

    /// Terminates TLS in front of `target`.
    pub fn with_tls(target: SocketAddr, tls: Arc<ServerConfig>) -> Result<Relay, Failed> {
        Relay::start("127.0.0.1:0", target, Some(tls), Ending::Never)
    }

    pub fn start(
        bind: &str,
        target: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        ending: Ending,
    ) -> Result<Relay, Failed> {
        let listener = StdListener::bind(bind)?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        let tls = tls.map(TlsAcceptor::from);
        let _thread = serve(listener, move |client| {
            accepted.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            async move {
                match tls {
                    // A failed handshake is what the test is about, and the client reports it.
                    Some(tls) => relay(tls.accept(client).await?, target, ending).await,
                    None => relay(client, target, ending).await,
                }
            }
        })?;
        Ok(Relay { address, connections, _thread })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The relay's URL under some name for its address.
    pub fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.address.port())
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Relays a connection to `target` until either end closes it.
pub async fn relay_forever<I: AsyncRead + AsyncWrite>(client: I, target: SocketAddr) -> std::io::Result<()> {
    relay(client, target, Ending::Never).await
}

async fn relay<I: AsyncRead + AsyncWrite>(client: I, target: SocketAddr, ending: Ending) -> std::io::Result<()> {
    let (mut from_server, mut to_server) = TcpStream::connect(target).await?.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut request, mut reply) = ([0; 16 << 10], [0; 16 << 10]);
    let mut replied = false;
    loop {
        let idle = async {
            match ending {
                Ending::Idle(time) if replied => tokio::time::sleep(time).await,
                _ => future::pending().await,
            }
        };
        tokio::select! {
            length = from_client.read(&mut request) => {
                let length = length?;
                if length == 0 || (replied && matches!(ending, Ending::AtNextRequest)) {
                    return Ok(());
                }
                to_server.write_all(&request[..length]).await?;
            }
            length = from_server.read(&mut reply) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                to_client.write_all(&reply[..length]).await?;
                to_client.flush().await?;
                replied = true;
            }
            () = idle => return Ok(()),
        }
    }
}

/// A thread that serves; stopped on drop.
#[must_use = "it ends when this is dropped"]
pub struct Served {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves each connection in a task, on a separate thread.
pub fn serve<F, C>(listener: StdListener, connection: F) -> Result<Served, Failed>
where
    F: Fn(TcpStream) -> C + Send + 'static,
    C: Future<Output = std::io::Result<()>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let accept = async move {
        let listener = TcpListener::from_std(listener).expect("a socket that listens");
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            // A broken connection is the client's problem.
            drop(tokio::spawn(connection(client)));
        }
    };
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept => {}
                _ = stopped => {}
            }
        });
    });
    Ok(Served { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}
