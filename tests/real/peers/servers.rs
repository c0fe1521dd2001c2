//! Starts and stops the servers. Each test has its own, so tests share nothing.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use testing::sources::root;

/// How long a server may take to listen; about a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server by somebody else.
pub trait Peer: Sized {
    /// What must be installed first.
    fn missing() -> Option<String>;
    /// Starts one, and waits until it answers.
    fn start() -> Result<Self, Failed>;
    /// Its process.
    fn server(&self) -> &Server;
}

/// A running server; killed on drop.
pub struct Server {
    process: Child,
    folder: TempDir,
}

/// kinesis-local: strict about the wire format, blind to signatures. It always listens on every interface.
pub struct KinesisLocal {
    server: Server,
    plain_port: u16,
    tls_port: u16,
}

/// ministack with `AUTH=true`: checks signatures, session tokens and policies like AWS.
pub struct Ministack {
    server: Server,
    port: u16,
}

impl Peer for KinesisLocal {
    fn missing() -> Option<String> {
        let node = Command::new("node").arg("--version").output().is_ok();
        not_installed("kinesis-local", node && Self::program().exists() && python().exists())
    }

    fn start() -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let certificate = folder.path().join("server.json");
        write_certificates(&folder.path().join("ca.pem"), &certificate)?;
        let [plain_port, tls_port] = free_ports()?;
        let mut command = Command::new("node");
        command
            .arg(Self::program())
            .env("KINESIS_MOCK_PLAIN_PORT", plain_port.to_string())
            .env("KINESIS_MOCK_TLS_PORT", tls_port.to_string())
            .env("KINESIS_MOCK_CERT_PATH", certificate)
            .env("CREATE_STREAM_DURATION", "10ms");
        let server = Server::start(command, folder, &[plain_port, tls_port])?;
        Ok(KinesisLocal { server, plain_port, tls_port })
    }

    fn server(&self) -> &Server {
        &self.server
    }
}

impl KinesisLocal {
    pub fn plain_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.plain_port)
    }

    pub fn tls_endpoint(&self) -> String {
        format!("https://localhost:{}", self.tls_port)
    }

    /// The PEM file of the authority that signed the server's certificate.
    pub fn authority(&self) -> String {
        self.server.folder.path().join("ca.pem").display().to_string()
    }

    fn program() -> PathBuf {
        node_modules().join("kinesis-local/main.js")
    }
}

impl Peer for Ministack {
    fn missing() -> Option<String> {
        not_installed("ministack", Self::program().exists())
    }

    fn start() -> Result<Self, Failed> {
        Self::start_with(&[("AUTH", "true")])
    }

    fn server(&self) -> &Server {
        &self.server
    }
}

/// ministack by default: accepts any signature and speaks CBOR, which it does not with `AUTH=true`.
pub struct OpenMinistack(Ministack);

impl Peer for OpenMinistack {
    fn missing() -> Option<String> {
        Ministack::missing()
    }

    fn start() -> Result<Self, Failed> {
        Ministack::start_with(&[]).map(OpenMinistack)
    }

    fn server(&self) -> &Server {
        &self.0.server
    }
}

impl OpenMinistack {
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

impl Ministack {
    fn start_with(environment: &[(&str, &str)]) -> Result<Self, Failed> {
        let [port] = free_ports()?;
        let mut command = Command::new(Self::program());
        command
            .env("LOG_LEVEL", "WARNING")
            .envs(environment.iter().copied())
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string());
        let server = Server::start(command, tempfile::tempdir()?, &[port])?;
        Ok(Ministack { server, port })
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn program() -> PathBuf {
        root().join(".venv/bin/ministack")
    }
}

impl Server {
    /// Starts it in `folder`, with its log there, and waits until it listens on all of `ports`.
    fn start(mut command: Command, folder: TempDir, ports: &[u16]) -> Result<Server, Failed> {
        let log = File::create(folder.path().join("log"))?;
        let process = command
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Server { process, folder };
        match server.wait_for(ports) {
            Ok(()) => Ok(server),
            Err(failed) => Err(server.explain(&failed)),
        }
    }

    fn wait_for(&mut self, ports: &[u16]) -> Result<(), Failed> {
        let start = Instant::now();
        while !ports.iter().all(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the server ended before it listened: {status}").into());
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(format!("the server does not listen on {ports:?} after {START_TIMEOUT:?}").into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// `failed` with the last lines of the server's log.
    pub fn explain(&self, failed: &Failed) -> Failed {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{}\nthe server's last lines:\n{last}", failed.message().unwrap_or("failed")).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not SIGTERM: kinesis-local would first wait minutes for idle keep-alive connections.
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            println!("server {} is still running: {error}", self.process.id());
        }
    }
}

/// Where Node's modules are.
pub fn node_modules() -> PathBuf {
    root().join("node_modules")
}

/// The Python installation with boto3.
pub fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// A file of this test's sources.
pub fn source(name: &str) -> PathBuf {
    root().join("tests/real/peers").join(name)
}

/// The message for a missing peer.
pub fn not_installed(peer: &str, installed: bool) -> Option<String> {
    (!installed).then(|| format!("{peer} is not installed: run `make peers`"))
}

/// Ports that nobody listens on, each returned once. They are below the kernel's range for outgoing connections
/// (32768 and up), where a port could be taken again before the server binds it.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Failed> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = [0; N];
    for port in &mut ports {
        let candidates = (0..1000).map(|_| std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed));
        *port = candidates
            .map(|number| 20_000 + (number % 12_000) as u16)
            .find(|&port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
            .ok_or("no free port from 20000 to 31999")?;
    }
    Ok(ports)
}

/// Creates an authority and a certificate for `localhost` signed by it, in the format of kinesis-local.
fn write_certificates(authority_file: &Path, server_file: &Path) -> Result<(), Failed> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority of the peer tests");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &authority)?;
    fs::write(authority_file, authority.pem())?;
    let server = json!({ "server": { "key": key.serialize_pem(), "cert": certificate.pem() } });
    Ok(fs::write(server_file, server.to_string())?)
}
