//! As much of AWS's Security Token Service as assuming a role requires.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use libtest_mimic::Failed;

/// A server on loopback that gives one set of temporary credentials to everyone; it serves until the process ends.
pub struct Sts {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

pub const ROLE_KEY: &str = "ASIAEXAMPLE";
pub const ROLE_SECRET: &str = "secret of the role";
pub const ROLE_TOKEN: &str = "token of the role";

impl Sts {
    pub fn start() -> Result<Sts, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A broken connection is the client's problem.
                answer(connection, &seen).ok();
            }
        });
        Ok(Sts { endpoint, requests })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The form that each request carried.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(connection: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    seen.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
    let reply = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:name</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/write-logs/name</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{ROLE_KEY}</AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>\
         <SessionToken>{ROLE_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
    reader.get_mut().write_all((head + &reply).as_bytes())
}
