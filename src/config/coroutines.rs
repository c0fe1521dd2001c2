//! The option that says whether coroutines of the host are used.

use super::parse;

/// Whether flushes wait on coroutines of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coroutines {
    /// In versions that are known.
    #[default]
    Auto,
    /// In newer ones too.
    On,
    /// Never: each flush keeps its thread.
    Off,
}

impl Coroutines {
    /// Reads a value of the option, or of the environment.
    pub fn parse(text: &str) -> Result<Coroutines, String> {
        match (text.to_ascii_lowercase().as_str(), parse::boolean(text)) {
            ("auto", _) => Ok(Coroutines::Auto),
            (_, Ok(true)) => Ok(Coroutines::On),
            (_, Ok(false)) => Ok(Coroutines::Off),
            _ => Err("use auto, on or off".to_owned()),
        }
    }
}
