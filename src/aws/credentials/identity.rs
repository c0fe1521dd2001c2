//! Where credentials come from, as configured.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;

use crate::aws::endpoint::Endpoint;

/// Where credentials come from.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The source of the first credentials.
    pub source: Source,
    /// A role to assume with them.
    pub role: Option<Role>,
    /// The STS endpoint, if not the region's.
    pub sts_endpoint: Option<Endpoint>,
    /// Attempts per request to the instance's metadata service.
    pub metadata_attempts: u32,
}

impl Identity {
    /// The profile that the configuration names.
    pub fn profile(&self) -> Option<&str> {
        match &self.source {
            Source::Profile(profile) => Some(profile),
            _ => None,
        }
    }
}

/// The source of the first credentials.
#[derive(Clone, Debug)]
pub enum Source {
    /// The environment, the default profile, the container or the instance.
    DefaultChain,
    /// Keys from the configuration.
    Keys(Credentials),
    /// A profile, which takes precedence over the environment.
    Profile(String),
    /// A command line for sh that prints credentials.
    Process(Hidden),
}

/// Text that stands in no message.
#[derive(Clone)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// A role to assume.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The external ID that its trust policy requires.
    pub external_id: Option<Hidden>,
    /// The session name; `None` is a random one.
    pub session_name: Option<String>,
    /// A JSON policy that restricts the session.
    pub policy: Option<String>,
    /// Lifetime of its credentials.
    pub duration: Duration,
}
