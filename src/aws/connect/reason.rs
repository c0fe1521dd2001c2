//! Why there is no connection, or why one broke, in our words: those of rustls and hyper are for programmers.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use chrono::DateTime;
use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use crate::aws::connect::resolver::Unresolved;
use crate::aws::connect::tls::SelfSigned;
use crate::aws::shortage;
use crate::error::{chain, find, with_causes};

/// How many names of a certificate a log line shows.
const NAMES_SHOWN: usize = 5;

/// What to correct when a proxy is at fault.
pub(crate) const CORRECT_PROXY: &str = "correct http_proxy, HTTPS_PROXY or HTTP_PROXY";

/// Why there is no connection. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// What happened.
    pub(crate) text: String,
    /// What fixes it, if no retry does.
    pub(crate) remedy: Option<Remedy>,
}

/// What fixes a failure that no retry fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// What an operator can do.
    Advice(&'static str),
    /// A name that exists.
    OtherName,
}

impl ConnectError {
    /// A failure that may pass.
    pub(crate) fn passing(text: impl Into<String>) -> ConnectError {
        ConnectError { text: text.into(), remedy: None }
    }

    fn curable(text: impl Into<String>, advice: &'static str) -> ConnectError {
        ConnectError { text: text.into(), remedy: Some(Remedy::Advice(advice)) }
    }

    /// With words before it that say where it happened.
    pub(crate) fn at(self, place: impl fmt::Display) -> ConnectError {
        ConnectError { text: format!("{place}: {}", self.text), ..self }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.remedy {
            Some(Remedy::Advice(advice)) => write!(f, "; {advice}"),
            Some(Remedy::OtherName) => f.write_str("; check the region, the endpoint and this machine's DNS"),
            None => Ok(()),
        }
    }
}

impl Error for ConnectError {}

/// Host and port, without user, password and path.
pub(crate) fn place(uri: &Uri) -> String {
    let usual = if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 };
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual))
}

/// Why a server could not be connected to.
pub(crate) fn of(error: &(dyn Error + 'static)) -> ConnectError {
    if let Some(unresolved) = find::<Unresolved>(error) {
        let remedy = unresolved.is_unknown().then_some(Remedy::OtherName);
        return ConnectError { text: unresolved.to_string(), remedy };
    }
    match find::<rustls::Error>(error) {
        Some(tls) => of_tls(tls),
        None => ConnectError::passing(of_system(error).unwrap_or_else(|| with_causes(error))),
    }
}

/// Why a proxy could not be connected to, or opens no tunnel to a host.
pub(crate) fn of_proxy(error: &(dyn Error + 'static), to: &Uri) -> ConnectError {
    // hyper-util does not export the type.
    let tunnel = with_causes(error);
    let says = |words: &str| tunnel == format!("tunnel error: {words}");
    if says("proxy authorization required") {
        return unauthorized_at_proxy();
    }
    if says("unsuccessful") {
        return ConnectError::passing(format!("it did not connect to {}: see its log", place(to)));
    }
    if says("unexpected end of file") {
        return ConnectError::passing("it closed the connection");
    }
    if says("proxy response headers too long") {
        return ConnectError::curable("it is not an HTTP proxy", CORRECT_PROXY);
    }
    let reason = of(error);
    match (reason.remedy, find::<rustls::Error>(error)) {
        (Some(Remedy::OtherName), _) => ConnectError { remedy: Some(Remedy::Advice(CORRECT_PROXY)), ..reason },
        (_, Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))) => {
            ConnectError::curable("it does not speak TLS", "if that is meant, write http:// before its name")
        }
        _ => reason,
    }
}

/// A proxy's answer with status 407.
pub(crate) fn unauthorized_at_proxy() -> ConnectError {
    let advice = "correct them in http_proxy, HTTPS_PROXY or HTTP_PROXY";
    ConnectError::curable("HTTP 407: it requires a user and a password, or refuses those given", advice)
}

/// Why a call of AWS's library failed, in our words where there was no connection.
pub(crate) fn of_call(error: &(dyn Error + 'static)) -> String {
    find::<ConnectError>(error).map_or_else(|| with_causes(error), ToString::to_string)
}

/// Whether it shows that the server has answered the start of TLS.
pub(crate) fn is_answer_to_tls(error: &(dyn Error + 'static)) -> bool {
    use rustls::Error::{InvalidCertificate, InvalidMessage as Message};
    matches!(find(error), Some(InvalidCertificate(_) | Message(InvalidMessage::InvalidContentType)))
}

/// Why a connection broke on which a request was sent, or may have been.
pub(crate) fn broken(error: &(dyn Error + 'static)) -> String {
    if let Some(text) = of_system(error) {
        return text;
    }
    let closed = "the connection was closed";
    match (find::<io::Error>(error), find::<hyper::Error>(error)) {
        (Some(error), _) if error.kind() == ErrorKind::UnexpectedEof => closed.to_owned(),
        (_, Some(error)) if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            closed.to_owned()
        }
        (_, Some(error)) if error.is_parse() => "the answer is not HTTP".to_owned(),
        _ => with_causes(error),
    }
}

/// What the operating system says, without its number.
fn of_system(error: &(dyn Error + 'static)) -> Option<String> {
    let of_system = |error: &&io::Error| error.raw_os_error().is_some();
    let error = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).find(of_system)?;
    let text = match error.kind() {
        ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            "the connection was closed".to_owned()
        }
        _ => error.to_string().split(" (os error ").take(1).collect(),
    };
    Some(shortage::of(error).unwrap_or(text))
}

fn of_tls(error: &rustls::Error) -> ConnectError {
    match error {
        rustls::Error::InvalidCertificate(refusal) => of_certificate(refusal),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => ConnectError::curable(
            "the server does not speak TLS",
            "if that is meant, write http:// before the endpoint",
        ),
        rustls::Error::AlertReceived(alert) => {
            ConnectError::passing(format!("the server ended TLS with the alert '{}'", words(*alert)))
        }
        rustls::Error::PeerIncompatible(_) => {
            ConnectError::curable("the server supports neither TLS 1.2 nor 1.3, or no secure cipher", "update it")
        }
        rustls::Error::NoCertificatesPresented => {
            ConnectError::curable("the server sent no certificate", "give it one")
        }
        _ => ConnectError::passing("the server violates the TLS protocol"),
    }
}

/// An alert's name in words: "handshake failure".
fn words(alert: AlertDescription) -> String {
    let mut words = String::new();
    for c in alert.as_str().unwrap_or("unknown").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// What is wrong with a server's certificate, and the remedy.
fn of_certificate(refusal: &CertificateError) -> ConnectError {
    use CertificateError as Refusal;
    let (text, advice) = match refusal {
        Refusal::UnknownIssuer => {
            ("the certificate's authority is not trusted here".to_owned(), "if it is yours, name its file in ca_bundle")
        }
        Refusal::BadSignature | Refusal::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "the certificate's authority has the name of a trusted one, but another key".to_owned(),
            "name its new file in ca_bundle",
        ),
        Refusal::ExpiredContext { time, not_after } => (
            format!("the certificate expired on {}; it is {} here", day(*not_after), day(*time)),
            "renew it, or set this machine's clock",
        ),
        Refusal::NotValidYetContext { time, not_before } => (
            format!("the certificate is not valid before {}; it is {} here", day(*not_before), day(*time)),
            "set this machine's clock",
        ),
        Refusal::NotValidForNameContext { expected, presented } => {
            let names = presented.iter().take(NAMES_SHOWN).map(|name| name_alone(name)).collect::<Vec<_>>().join(", ");
            let more = if presented.len() > NAMES_SHOWN { " and others" } else { "" };
            let names = if names.is_empty() { "no name at all".to_owned() } else { names };
            let text = format!("the certificate is not for {}, but for {names}{more}", expected.to_str());
            (text, "use a name from the certificate")
        }
        Refusal::Other(OtherError(other)) if other.is::<SelfSigned>() => {
            (other.to_string(), "if you trust it, name its file in ca_bundle")
        }
        Refusal::Other(OtherError(other)) => match other.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => (
                "the certificate is an authority's own (CA:TRUE), which no server may use".to_owned(),
                "sign another one with it",
            ),
            Some(webpki::Error::UnsupportedCertVersion) => {
                ("the certificate is refused: it is not of version 3 of X.509".to_owned(), "replace it")
            }
            _ => ("the certificate is refused: it violates a rule of X.509".to_owned(), "replace it"),
        },
        other => (format!("the certificate is refused: {}", flaw(other)), "replace it"),
    };
    ConnectError::curable(text, advice)
}

/// The rest of what may be wrong with a certificate.
fn flaw(refusal: &CertificateError) -> &'static str {
    use CertificateError as Refusal;
    match refusal {
        Refusal::Expired => "it has expired",
        Refusal::NotValidYet => "it is not valid yet",
        Refusal::NotValidForName => "it is for another name",
        Refusal::Revoked => "it has been revoked",
        Refusal::BadEncoding => "it is damaged",
        Refusal::InvalidPurpose | Refusal::InvalidPurposeContext { .. } => "it is not for servers (extended key usage)",
        Refusal::UnhandledCriticalExtension => "it has an unknown critical extension",
        Refusal::UnsupportedSignatureAlgorithmContext { .. } => {
            "it is signed with an unsupported or insecure algorithm"
        }
        _ => "it cannot be verified",
    }
}

/// A name without rustls's notation for its kind, as in `DnsName("localhost")`.
fn name_alone(name: &str) -> &str {
    name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")")).unwrap_or(name)
}

fn day(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or("an unknown day".to_owned(), |time| time.format("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusal: CertificateError) -> String {
        of(&io::Error::other(rustls::Error::InvalidCertificate(refusal))).to_string()
    }

    #[test]
    fn no_words_of_a_library_reach_the_log() {
        use CertificateError as Refusal;
        let other = |error| Refusal::Other(OtherError(std::sync::Arc::new(error)));
        let renewed = Refusal::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![6, 8, 42],
            public_key_algorithm_id: vec![6, 8, 42],
        };
        let unsafe_signature = Refusal::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![6, 8, 42],
            supported_algorithms: Vec::new(),
        };
        assert_eq!(
            refused(renewed),
            "the certificate's authority has the name of a trusted one, but another key; name its new file in ca_bundle"
        );
        for refusal in [
            unsafe_signature,
            Refusal::Revoked,
            Refusal::BadEncoding,
            Refusal::InvalidPurpose,
            Refusal::ApplicationVerificationFailure,
            other(webpki::Error::UnsupportedCertVersion),
            other(webpki::Error::PathLenConstraintViolated),
        ] {
            let text = refused(refusal);
            let is_plain = |c: char| c.is_ascii_lowercase() || " ',:;.()13TLSX509".contains(c);
            assert!(text.starts_with("the certificate is refused: it ") && text.chars().all(is_plain), "{text}");
        }
        for (error, text) in [
            (
                rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
                "the server ended TLS with the alert 'handshake failure'",
            ),
            (
                rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "the server supports neither TLS 1.2 nor 1.3, or no secure cipher; update it",
            ),
            (rustls::Error::NoCertificatesPresented, "the server sent no certificate; give it one"),
            (rustls::Error::DecryptError, "the server violates the TLS protocol"),
        ] {
            assert_eq!(of(&error).to_string(), text);
        }
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_from_one_that_is_not_found_now() {
        for (reason, remedy) in [
            ("Name or service not known", Some(Remedy::OtherName)),
            ("No address associated with hostname", Some(Remedy::OtherName)),
            ("Temporary failure in name resolution", None),
            ("no answer within 9 s", None),
        ] {
            let text = format!("cannot resolve kinesis.example: {reason}");
            assert_eq!(of(&Unresolved::new("kinesis.example", reason)), ConnectError { text, remedy });
        }
        let proxy = of_proxy(&Unresolved::new("proxy", "Name or service not known"), &Uri::from_static("https://a"));
        assert_eq!(
            proxy.at("the proxy http://proxy").to_string(),
            "the proxy http://proxy: cannot resolve proxy: Name or service not known; correct http_proxy, HTTPS_PROXY or HTTP_PROXY"
        );
    }

    #[test]
    fn what_the_system_says_is_told_without_its_number() {
        let refused = io::Error::other(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert_eq!(of(&refused), ConnectError::passing("Connection refused"));
        assert_eq!(broken(&io::Error::from_raw_os_error(libc::ECONNRESET)), "the connection was reset");
        assert_eq!(broken(&io::Error::from(ErrorKind::UnexpectedEof)), "the connection was closed");
    }
}
