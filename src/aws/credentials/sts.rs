//! Roles, assumed at AWS's Security Token Service.
//!
//! By AWS's client rather than its ready-made providers: those hide the session's ARN, which the log shows, and the
//! one for web identity takes no endpoint.

use std::fmt;
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::IdentityCache;
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::AssumedRoleUser;
use secrecy::ExposeSecret;

use super::found::Found;
use super::identity::Role;
use crate::aws::connect::reason;
use crate::aws::endpoint::Endpoint;
use crate::redact::{REQUEST_ID, one_line, with_request_id};

/// The Security Token Service.
pub(super) struct Sts<'a> {
    /// How its clients are configured, but for credentials.
    pub(super) config: ConfigLoader,
    /// Its endpoint, if not the region's.
    pub(super) endpoint: Option<&'a Endpoint>,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StsError {
    /// STS refused, or there is no answer.
    Failed(String),
    /// The answer has none.
    WithoutCredentials,
    /// The credentials expire at a time that is none.
    ImpossibleDate,
}

impl fmt::Display for StsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StsError::Failed(reason) => reason,
            StsError::WithoutCredentials => "STS answered without credentials",
            StsError::ImpossibleDate => "STS answered with an impossible date",
        })
    }
}

impl std::error::Error for StsError {}

impl Sts<'_> {
    /// A client that signs with `credentials`, or does not sign.
    async fn client(self, credentials: Option<Credentials>) -> Client {
        let loader = match credentials {
            Some(credentials) => self.config.credentials_provider(credentials),
            None => self.config.no_credentials(),
        };
        let shared = loader.load().await;
        let mut config = aws_sdk_sts::config::Builder::from(&shared).identity_cache(IdentityCache::no_cache());
        if let Some(endpoint) = self.endpoint {
            config = config.endpoint_url(endpoint.to_string());
        }
        Client::from_conf(config.build())
    }

    /// Assumes `role` with the credentials of `base`.
    pub(super) async fn assume_role(self, role: &Role, session_name: &str, base: &Found) -> Result<Found, StsError> {
        let request = self.client(Some(base.credentials.clone())).await.assume_role();
        let answer = request
            .role_arn(&role.arn)
            .role_session_name(session_name)
            .set_external_id(role.external_id.as_ref().map(|id| id.expose_secret().to_owned()))
            .set_policy(role.policy.clone())
            .duration_seconds(seconds(role.duration))
            .send()
            .await
            .map_err(|error| StsError::Failed(reason(&error)))?;
        let (credentials, principal) = session(answer.credentials, answer.assumed_role_user)?;
        let name = format!("of {principal}, assumed with credentials {}", base.name);
        Ok(Found { credentials, name, passed_over: base.passed_over.clone() })
    }

    /// Exchanges the token of a web identity, such as that of a Kubernetes service account, for the credentials of a
    /// role.
    pub(super) async fn assume_role_with_web_identity(
        self,
        role_arn: &str,
        session_name: &str,
        token: &str,
    ) -> Result<Found, StsError> {
        let request = self.client(None).await.assume_role_with_web_identity();
        let answer = request
            .role_arn(role_arn)
            .role_session_name(session_name)
            .web_identity_token(token)
            .send()
            .await
            .map_err(|error| StsError::Failed(reason(&error)))?;
        let (credentials, principal) = session(answer.credentials, answer.assumed_role_user)?;
        let name = format!("of {principal}, assumed with web identity");
        Ok(Found { credentials, name, passed_over: None })
    }
}

fn session(
    credentials: Option<aws_sdk_sts::types::Credentials>,
    user: Option<AssumedRoleUser>,
) -> Result<(Credentials, String), StsError> {
    let credentials = credentials.ok_or(StsError::WithoutCredentials)?;
    let expiry = credentials.expiration.try_into().map_err(|_| StsError::ImpossibleDate)?;
    let (id, secret, token) = (credentials.access_key_id, credentials.secret_access_key, credentials.session_token);
    let principal = user.map_or("a role".to_owned(), |user| one_line(&user.arn));
    Ok((Credentials::new(id, secret, Some(token), Some(expiry), "STS"), principal))
}

/// The reason that STS gives, or why it gave none.
fn reason<E: std::error::Error + ProvideErrorMetadata + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let status = error.raw_response().map(|response| format!("HTTP {}: ", response.status().as_u16()));
    let text = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => status.unwrap_or_default() + &reason::of_call(error),
    };
    with_request_id(text, error.raw_response().and_then(|response| response.headers().get(REQUEST_ID)))
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
