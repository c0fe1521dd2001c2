//! An HTTP proxy: CONNECT tunnels, requests with absolute URLs, basic authorization.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::relay::{Served, serve};

/// A running proxy. It knows some servers by `host:port` and refuses to connect to any other.
pub struct ProxyServer {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _thread: Served,
}

/// Who may use it, and for what.
struct Rules {
    servers: HashMap<String, SocketAddr>,
    /// `user:password`.
    user: Option<String>,
}

impl ProxyServer {
    /// A proxy that requires `user` (`user:password`), if any.
    pub fn start(servers: &[(&str, SocketAddr)], user: Option<&str>) -> Result<ProxyServer, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let rules = Arc::new(Rules {
            servers: servers.iter().map(|(name, server)| ((*name).to_owned(), *server)).collect(),
            user: user.map(str::to_owned),
        });
        let seen = Arc::clone(&heads);
        let _thread = serve(listener, move |client| pass(client, Arc::clone(&rules), Arc::clone(&seen)))?;
        Ok(ProxyServer { address, heads, _thread })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL; `user` is `user:password@` or nothing.
    pub fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    /// The first line of each connection's first request.
    pub fn asked(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

/// Answers, and reads the rest of the request: unread bytes at a close would reset the connection.
async fn refuse(mut client: TcpStream, status: &str) -> io::Result<()> {
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(drop)
}

async fn pass(mut client: TcpStream, rules: Arc<Rules>, heads: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    heads.lock().unwrap().push(text.clone());
    let expected = rules.user.as_ref().map(|user| format!("Basic {}", base64_simd::STANDARD.encode_to_string(user)));
    let shown = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    if shown != expected {
        return refuse(client, "407 Who are you").await;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let (is_tunnel, name) = match words.as_slice() {
        ["CONNECT", name, ..] => (true, *name),
        [_, url, ..] => (false, url.trim_start_matches("http://").split('/').next().unwrap_or_default()),
        _ => (false, ""),
    };
    let Some(server) = rules.servers.get(name) else {
        return refuse(client, "403 No").await;
    };
    let mut server = TcpStream::connect(server).await?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Here you are\r\n\r\n").await?;
    } else {
        server.write_all(&head).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
