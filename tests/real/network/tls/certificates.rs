//! Certificates, good and bad, from our own authority.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kinesis::clock::{Clock, SystemClock};
use libtest_mimic::Failed;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority, and the file that makes it trusted.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Result<Authority, Failed> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Authority::named(&format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn named(name: &str) -> Result<Authority, Failed> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), parameters.self_signed(&key)?.pem())?;
        Ok(Authority { issuer: Issuer::new(parameters, key), folder })
    }

    /// Its certificate.
    pub fn file(&self) -> String {
        path(&self.folder, "ca.pem")
    }

    /// A server for `name`.
    pub fn server(&self, name: &str) -> Result<Server, Failed> {
        self.sign(parameters(name)?)
    }

    /// A server whose certificate expired yesterday.
    pub fn expired(&self, name: &str) -> Result<Server, Failed> {
        let mut parameters = parameters(name)?;
        let now = SystemClock.now();
        (parameters.not_before, parameters.not_after) = ((now - 3 * DAY).into(), (now - DAY).into());
        self.sign(parameters)
    }

    /// A server whose certificate becomes valid tomorrow.
    pub fn not_yet_valid(&self, name: &str) -> Result<Server, Failed> {
        let mut parameters = parameters(name)?;
        let now = SystemClock.now();
        (parameters.not_before, parameters.not_after) = ((now + DAY).into(), (now + 3 * DAY).into());
        self.sign(parameters)
    }

    fn sign(&self, parameters: CertificateParams) -> Result<Server, Failed> {
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Server { certificate: certificate.der().clone(), key: key.serialize_der() })
    }
}

/// A self-signed certificate and its file; with `is_authority` as made by `openssl req -x509`.
pub fn self_signed(name: &str, is_authority: bool) -> Result<(Server, TempDir), Failed> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(name)?;
    if is_authority {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = parameters.self_signed(&key)?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("ca.pem"), certificate.pem())?;
    Ok((Server { certificate: certificate.der().clone(), key: key.serialize_der() }, folder))
}

fn parameters(name: &str) -> Result<CertificateParams, Failed> {
    let mut parameters = CertificateParams::new([name.to_owned()])?;
    parameters.distinguished_name.push(DnType::CommonName, "a server of this test");
    Ok(parameters)
}

/// The path of a file in a folder.
pub fn path(folder: &TempDir, file: &str) -> String {
    Path::new(folder.path()).join(file).display().to_string()
}

/// A server's certificate and key.
pub struct Server {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Server {
    /// TLS with this certificate, in only these versions.
    pub fn tls(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ServerConfig>, Failed> {
        self.tls_of_groups(versions, &rustls::crypto::aws_lc_rs::default_provider().kx_groups)
    }

    /// TLS with this certificate, in only these versions and with only these groups, the first preferred.
    pub fn tls_of_groups(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        groups: &[&'static dyn SupportedKxGroup],
    ) -> Result<Arc<ServerConfig>, Failed> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let provider = Arc::new(CryptoProvider { kx_groups: groups.to_vec(), ..provider });
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
        Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![self.certificate.clone()], key)?))
    }
}
