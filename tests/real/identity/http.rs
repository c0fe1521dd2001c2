//! A server on loopback for one test: HTTP/1.1, one request per connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    /// A header, empty if missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The fields of the form in the body.
    pub fn form(&self) -> BTreeMap<String, String> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
    }
}

/// The reply.
pub enum Reply {
    /// A status with a body.
    Status(u16, String),
    /// 200 with a header and a body.
    WithHeader(&'static str, String),
    /// Nothing: the connection stays open.
    Silence,
    /// Sends the first bytes once, then the others again and again with a pause in between, for as long as the client
    /// reads, up to a limit.
    Endless(&'static str, &'static str, Duration),
}

/// The most that an endless reply sends: more than any test may load into memory.
const ENDLESS_BYTES: usize = 1 << 30;

/// It serves until the process ends.
#[derive(Clone)]
pub struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Server> {
        Server::on("127.0.0.1:0", answer)
    }

    /// On this host and port.
    pub fn on(address: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let server = Server { url: format!("http://{}", listener.local_addr()?), requests: Arc::default() };
        let (requests, answer) = (Arc::clone(&server.requests), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                // A broken connection is the client's problem.
                thread::spawn(move || serve(connection, &requests, &*answer).ok());
            }
        });
        Ok(server)
    }

    /// Its address, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(connection: TcpStream, requests: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let request = read(&mut reader)?;
    requests.lock().unwrap().push(request.clone());
    let (status, header, body) = match answer(&request) {
        Reply::Status(status, body) => (status, "Connection: close", body),
        Reply::WithHeader(header, body) => (200, header, body),
        Reply::Silence => return reader.read_to_end(&mut Vec::new()).map(drop),
        Reply::Endless(begin, again, pause) => return endless(reader.get_mut(), begin, again, pause),
    };
    let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n{header}\r\n\r\n", body.len());
    reader.get_mut().write_all((head + &body).as_bytes())
}

fn endless(connection: &mut TcpStream, begin: &str, again: &str, pause: Duration) -> io::Result<()> {
    connection.write_all(begin.as_bytes())?;
    let piece = if pause.is_zero() { again.repeat((64 << 10) / again.len()) } else { again.to_owned() };
    for _ in 0..ENDLESS_BYTES / piece.len() {
        connection.write_all(piece.as_bytes())?;
        thread::sleep(pause);
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    request.method = words.next().unwrap_or_default().to_owned();
    request.path = words.next().unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(request)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("a form is well encoded"));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
