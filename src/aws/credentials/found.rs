//! Credentials, and the places where they were sought.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

use aws_credential_types::Credentials;

use crate::redact::one_line;

/// Credentials, and what the log calls them.
#[derive(Clone, Debug)]
pub struct Found {
    /// The credentials.
    pub credentials: Credentials,
    /// Principal and place as far as they are known, to follow the word "credentials": "from profile 'x'".
    pub name: String,
    /// The places before it that had none, with their reasons.
    pub passed_over: Option<String>,
}

/// Why there are no credentials: each place that was tried with its reason, as a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCredentials(pub(super) String);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no credentials: {}", self.0)
    }
}

impl Error for NoCredentials {}

/// The places that one fetch has tried, for the log.
#[derive(Debug, Default)]
pub struct Attempts {
    failed: RefCell<Vec<String>>,
    trying: RefCell<Option<String>>,
}

impl Attempts {
    /// `place` is being asked.
    pub fn begin(&self, place: &str) {
        self.trying.replace(Some(place.to_owned()));
    }

    /// The place being asked has none.
    pub fn fail(&self, reason: &str) {
        if let Some(place) = self.trying.take() {
            self.failed.borrow_mut().push(format!("{place}: {}", one_line(reason)));
        }
    }

    /// The place being asked had credentials, or another fetch begins. Returns each place that had none, with its
    /// reason.
    pub fn clear(&self) -> Option<String> {
        self.trying.replace(None);
        Some(self.failed.take().join("; ")).filter(|reasons| !reasons.is_empty())
    }

    /// Each place with its reason, as a line.
    pub fn summary(&self) -> NoCredentials {
        let mut reasons = self.failed.borrow().clone();
        reasons.extend(self.trying.borrow().as_ref().map(|place| format!("{place}: no answer yet")));
        if reasons.is_empty() {
            NoCredentials("there was no time".to_owned())
        } else {
            NoCredentials(reasons.join("; "))
        }
    }
}
