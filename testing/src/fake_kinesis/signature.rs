//! Who sent a request: Signature Version 4, checked by signing the request again.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SessionTokenMode, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::request::Parts;

use super::error::ServiceError;

/// A known caller.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The access key's id.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// The token of temporary credentials, which a request must carry exactly.
    pub session_token: Option<String>,
    /// The token is known but expired.
    pub expired: bool,
}

impl Credential {
    /// Creates a permanent key.
    pub fn new(access_key: &str, secret_key: &str) -> Credential {
        Credential {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            session_token: None,
            expired: false,
        }
    }

    /// The same key as temporary credentials.
    pub fn with_session_token(self, token: &str) -> Credential {
        Credential { session_token: Some(token.to_owned()), ..self }
    }
}

/// The tolerance for a request's date, in minutes.
const TOLERANCE_MINUTES: i64 = 5;

/// The header `Authorization`, which every request must have.
pub fn authorization(head: &Parts) -> Result<&str, ServiceError> {
    header(head, "authorization").ok_or_else(ServiceError::missing_token)
}

/// A request whose token has expired.
pub fn expired_token() -> ServiceError {
    ServiceError::client("ExpiredTokenException", "The security token included in the request is expired")
}

/// Checks that the request was signed by one of `credentials` at about `now`.
pub fn verify(
    credentials: &[Credential],
    region: Option<&str>,
    now: DateTime<Utc>,
    head: &Parts,
    body: &[u8],
) -> Result<(), ServiceError> {
    let claim = Claim::parse(authorization(head)?)?;
    let date = header(head, "x-amz-date").or_else(|| header(head, "date")).unwrap_or_default();
    let unknown = || {
        ServiceError::client("UnrecognizedClientException", "The security token included in the request is invalid.")
    };
    let known = credentials.iter().find(|known| known.access_key == claim.access_key).ok_or_else(unknown)?;
    if header(head, "x-amz-security-token") != known.session_token.as_deref() {
        return Err(unknown());
    }
    if known.expired {
        return Err(expired_token());
    }
    let signed_at = check_date(date, now)?;
    claim.check_scope(date, region)?;
    match claim.expected_signature(known, signed_at, head, body) {
        Some(expected) if expected == claim.signature => Ok(()),
        _ => Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        )),
    }
}

/// What the header `Authorization` says.
struct Claim<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(text: &'a str) -> Result<Claim<'a>, ServiceError> {
        let incomplete = |message: String| ServiceError::client("IncompleteSignatureException", message);
        let parameters = text
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .ok_or_else(|| incomplete(format!("Unsupported AWS 'algorithm': '{text}'.")))?;
        let parameter = |name: &str| {
            let mut pairs = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or_else(|| {
                incomplete(format!("Authorization header requires '{name}' parameter. Authorization={text}"))
            })
        };
        let scope = parameter("Credential")?;
        let mut parts = scope.rsplitn(5, '/');
        let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(access_key)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{scope}'"
            )));
        };
        Ok(Claim {
            access_key,
            date,
            region,
            service,
            signed_headers: parameter("SignedHeaders")?.split(';').collect(),
            signature: parameter("Signature")?,
        })
    }

    fn check_scope(&self, date: &str, region: Option<&str>) -> Result<(), ServiceError> {
        if self.service != "kinesis" {
            return Err(invalid("Credential should be scoped to correct service: 'kinesis'."));
        }
        if region.is_some_and(|region| region != self.region) {
            return Err(invalid("Credential should be scoped to a valid region."));
        }
        let day = date.get(..8).unwrap_or(date);
        if day != self.date {
            return Err(invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{date}'.",
                self.date
            )));
        }
        Ok(())
    }

    /// The signature that `known` would have made, or `None` if the request cannot have been signed.
    fn expected_signature(
        &self,
        known: &Credential,
        signed_at: DateTime<Utc>,
        head: &Parts,
        body: &[u8],
    ) -> Option<String> {
        if !self.signed_headers.contains(&"host") {
            return None;
        }
        let identity =
            Credentials::new(&known.access_key, &known.secret_key, known.session_token.clone(), None, "fake-kinesis")
                .into();
        let mut settings = SigningSettings::default();
        // Exactly the headers that the caller signed.
        settings.excluded_headers = None;
        if !self.signed_headers.contains(&"x-amz-security-token") {
            settings.session_token_mode = SessionTokenMode::Exclude;
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(signed_at))
            .settings(settings)
            .build()
            .ok()?
            .into();
        let signed = self.signed_headers.iter();
        let headers = signed.flat_map(|name| head.headers.get_all(*name).iter().map(move |value| (*name, value)));
        let headers: Option<Vec<_>> = headers.map(|(name, value)| Some((name, value.to_str().ok()?))).collect();
        let uri = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = SignableRequest::new(head.method.as_str(), uri, headers?.into_iter(), SignableBody::Bytes(body));
        Some(sign(request.ok()?, &parameters).ok()?.signature().to_owned())
    }
}

fn check_date(date: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, ServiceError> {
    const FORMAT: &str = "%Y%m%dT%H%M%SZ";
    let signed_at = NaiveDateTime::parse_from_str(date, FORMAT)
        .map_err(|_| {
            ServiceError::client(
                "IncompleteSignatureException",
                format!(
                    "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
                ),
            )
        })?
        .and_utc();
    let text = |time: DateTime<Utc>| time.format(FORMAT).to_string();
    let tolerance = TimeDelta::minutes(TOLERANCE_MINUTES);
    if signed_at < now - tolerance {
        return Err(invalid(format!(
            "Signature expired: {date} is now earlier than {} ({} - {TOLERANCE_MINUTES} min.)",
            text(now - tolerance),
            text(now)
        )));
    }
    if signed_at > now + tolerance {
        return Err(invalid(format!(
            "Signature not yet current: {date} is still later than {} ({} + {TOLERANCE_MINUTES} min.)",
            text(now + tolerance),
            text(now)
        )));
    }
    Ok(signed_at)
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::client("InvalidSignatureException", message)
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}
