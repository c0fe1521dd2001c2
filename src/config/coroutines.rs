//! The option `coroutines`.

use super::parse;
use crate::error::Allowed;

/// Whether flushes wait on coroutines of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coroutines {
    /// In known versions.
    #[default]
    Auto,
    /// In newer versions too.
    On,
    /// Never: each flush blocks its thread.
    Off,
}

impl Coroutines {
    /// Reads a value of the option, or of the environment variable.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Coroutines, Allowed> {
        match parse::boolean(text) {
            Ok(true) => Ok(Coroutines::On),
            Ok(false) => Ok(Coroutines::Off),
            Err(_) => {
                parse::one_of(&[("auto", Coroutines::Auto), ("on", Coroutines::On), ("off", Coroutines::Off)])(text)
            }
        }
    }
}
