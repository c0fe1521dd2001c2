//! Which servers are trusted. Why one is not: `reason.rs`.
//!
//! TLS 1.2 and 1.3 with rustls; verification cannot be turned off.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, NamedGroup, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::aws::files::{Unread, read_now};
use crate::environment::variable;

/// Largest file of certificates, in bytes. All authorities of a system together take a quarter of a MiB.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// How TLS is started: with the same trust, by either of two ClientHellos: `hello.rs` chooses.
#[derive(Clone)]
pub struct Tls {
    /// Prefers X25519MLKEM768 and brings X25519's key share too, so neither costs another round trip.
    pub(crate) long: Arc<ClientConfig>,
    /// Without post-quantum key exchange: it fits into one packet.
    pub(crate) short: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the system's certificates (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`) and those of the PEM file
    /// `ca_bundle`. Reads files on the calling thread, which a file system that does not respond blocks.
    ///
    /// # Errors
    /// When `ca_bundle` cannot be read or holds no certificate, and, if `needed`, when there is nothing to trust.
    pub fn new(ca_bundle: Option<&Path>, needed: bool) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        let (certificates_of_system, reasons) = of_system();
        roots.add_parsable_certificates(certificates_of_system);
        if let Some(path) = ca_bundle {
            add_bundle(&mut roots, path)?;
        }
        if needed && roots.is_empty() {
            let reasons: String = reasons.iter().map(|reason| format!(": {reason}")).collect();
            return Err(format!(
                "no trusted certificates found: install the system's (package ca-certificates) or set ca_bundle{reasons}"
            ));
        }
        Tls::trusting(roots)
    }

    /// Trusts nobody, for connections without TLS.
    ///
    /// # Errors
    /// When the provider of cryptography supports no version of TLS.
    pub(crate) fn nobody() -> Result<Tls, String> {
        Tls::trusting(RootCertStore::empty())
    }

    fn trusting(roots: RootCertStore) -> Result<Tls, String> {
        let roots = Arc::new(roots);
        let mut classical = provider();
        classical.kx_groups.retain(|group| !is_post_quantum(group.name()));
        Ok(Tls { long: client_config(provider(), &roots)?, short: client_config(classical, &roots)? })
    }
}

/// Finds out whether a file can be a `ca_bundle`.
///
/// # Errors
/// Why not.
pub(crate) fn check_bundle(path: &Path) -> Result<(), String> {
    add_bundle(&mut RootCertStore::empty(), path)
}

fn add_bundle(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    // One unusable certificate does not spoil the bundle.
    match roots.add_parsable_certificates(certificates(path)?) {
        (0, _) => Err(format!("{} holds no certificate in PEM", path.display())),
        _ => Ok(()),
    }
}

fn client_config(provider: CryptoProvider, roots: &Arc<RootCertStore>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider);
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| error.to_string())?;
    if roots.is_empty() {
        return Ok(Arc::new(versions.with_root_certificates(Arc::clone(roots)).with_no_client_auth()));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider).build();
    let verifier = Arc::new(Verifier(verifier.map_err(|error| error.to_string())?));
    Ok(Arc::new(versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// The one that rustls's feature `prefer-post-quantum` puts first.
fn is_post_quantum(group: NamedGroup) -> bool {
    group == NamedGroup::X25519MLKEM768
}

/// The system's certificates, and why some may be missing.
fn of_system() -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let unusable: Vec<String> = unusable_file().into_iter().chain(too_large_in_folders()).collect();
    if !unusable.is_empty() {
        return (Vec::new(), unusable);
    }
    let system = rustls_native_certs::load_native_certs();
    (system.certs, system.errors.iter().map(ToString::to_string).collect())
}

/// Why `SSL_CERT_FILE` cannot be used: it would be read to its end, if it has one.
fn unusable_file() -> Option<String> {
    let path = PathBuf::from(variable("SSL_CERT_FILE")?);
    read_now(&path, MAX_FILE_BYTES).err().map(|unread| unread.to_string())
}

/// The same of the files in `SSL_CERT_DIR`.
fn too_large_in_folders() -> Option<String> {
    let folders = variable("SSL_CERT_DIR")?;
    let entries = folders.split(':').filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut files = entries.map(|entry| entry.path());
    let is_too_large =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > MAX_FILE_BYTES);
    files.find(is_too_large).map(|path| format!("{} is larger than {} KiB", path.display(), MAX_FILE_BYTES >> 10))
}

/// The cryptography of connections: AWS-LC's, except where ring's AES-GCM is faster.
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if has_wide_aes_but_no_avx512() {
        provider.cipher_suites = ring::ALL_CIPHER_SUITES.to_vec();
    }
    // AES-128 before AES-256, which costs a quarter more; most servers choose by themselves. The sort is stable.
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    provider
}

/// Whether AES can be done on 256 bits at once and not on 512. AWS-LC uses wide AES instructions with AVX-512 alone,
/// ring with AVX2 too: 7.9 instead of 2.7 GB/s (measured 2026-11).
fn has_wide_aes_but_no_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && !is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unread = |error: &dyn fmt::Display| format!("{} cannot be read: {error}", path.display());
    let text = read_now(path, MAX_FILE_BYTES).map_err(|reason| match reason {
        Unread::Absent(_, error) => unread(&error),
        Unread::Unusable(reason) => reason,
    })?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|error| unread(&error))
}

/// rustls's own verifier, except that self-signed certificates get an error of their own: they too have an unknown
/// issuer, but the remedy differs.
#[derive(Debug)]
struct Verifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match &error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) if is_self_signed(end_entity) => {
                CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
            }
            _ => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// In place of rustls's error for an unknown authority.
#[derive(Debug)]
pub(crate) struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is self-signed")
    }
}

impl Error for SelfSigned {}
