//! Our own certificate authority, and a server certificate signed by it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::about;

/// The server's certificate, and the file that makes it trusted.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    ca_file: PathBuf,
    /// Removed with the file on drop.
    _directory: Option<TempDir>,
}

impl Identity {
    /// Generates keys and certificates for localhost, 127.0.0.1 and ::1, and writes the authority's certificate as
    /// PEM.
    pub fn new(ca_file: Option<&Path>) -> io::Result<Identity> {
        let authority = Authority::new().map_err(io::Error::other)?;
        let (chain, key) = authority.sign_server().map_err(io::Error::other)?;
        let (ca_file, directory) = match ca_file {
            Some(path) => (path.to_owned(), None),
            None => {
                let directory = tempfile::tempdir()?;
                (directory.path().join("ca.pem"), Some(directory))
            }
        };
        std::fs::write(&ca_file, &authority.pem).map_err(|error| about(&ca_file.display().to_string(), &error))?;
        Ok(Identity { chain, key, ca_file, _directory: directory })
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// A server for TLS 1.2 and 1.3 that speaks HTTP/1.1.
    pub fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(self.chain.clone(), key))
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Authority, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "fake Kinesis authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(parameters, key), pem })
    }

    fn sign_server(&self) -> Result<(Vec<CertificateDer<'static>>, Vec<u8>), rcgen::Error> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name.push(DnType::CommonName, "fake Kinesis");
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok((vec![certificate.der().clone()], key.serialize_der()))
    }
}
