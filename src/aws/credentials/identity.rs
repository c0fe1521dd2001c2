//! Whose name requests are signed in, as it was configured.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;

use crate::aws::endpoint::Endpoint;

/// Where credentials come from.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The first credentials.
    pub source: Source,
    /// A role to assume with them.
    pub role: Option<Role>,
    /// Where roles are asked for, when it is not the region's STS.
    pub sts_endpoint: Option<Endpoint>,
    /// Attempts at each request to the instance's metadata.
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

/// The first credentials.
#[derive(Clone, Debug)]
pub enum Source {
    /// What the environment, the default profile, the container or the instance yields.
    DefaultChain,
    /// Keys from the configuration.
    Keys(Credentials),
    /// A profile that outranks the environment.
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
    /// What its trust policy asks for.
    pub external_id: Option<Hidden>,
    /// The name of the session; `None` is a random one.
    pub session_name: Option<String>,
    /// A policy that narrows the session, in JSON.
    pub policy: Option<String>,
    /// How long its credentials live.
    pub duration: Duration,
}
