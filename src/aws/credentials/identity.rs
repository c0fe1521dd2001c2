//! Where credentials come from, as configured.

use std::time::Duration;

use aws_credential_types::Credentials;
use secrecy::SecretString;

use crate::aws::endpoint::Endpoint;

/// Where credentials come from.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The source of the first credentials.
    pub(crate) source: Source,
    /// A role to assume with them.
    pub(crate) role: Option<Role>,
    /// The STS endpoint, if not the region's.
    pub(crate) sts_endpoint: Option<Endpoint>,
    /// Attempts per request to the instance's metadata service.
    pub(crate) metadata_attempts: u32,
}

impl Identity {
    /// The profile that the configuration names.
    pub(crate) fn profile(&self) -> Option<&str> {
        match &self.source {
            Source::Profile(profile) => Some(profile),
            _ => None,
        }
    }
}

/// The source of the first credentials.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The environment, the default profile, the container or the instance.
    DefaultChain,
    /// Keys from the configuration.
    Keys(Credentials),
    /// A profile, which takes precedence over the environment.
    Profile(String),
    /// A command line for sh that prints credentials.
    Process(SecretString),
}

/// A role to assume.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// Its ARN.
    pub(crate) arn: String,
    /// The external ID that its trust policy requires.
    pub(crate) external_id: Option<SecretString>,
    /// The session name; `None` is a random one.
    pub(crate) session_name: Option<String>,
    /// A JSON policy that restricts the session.
    pub(crate) policy: Option<String>,
    /// Lifetime of its credentials.
    pub(crate) duration: Duration,
}
