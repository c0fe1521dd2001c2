//! Errors for people to read.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

/// What a value may be, for the user who wrote something else: "use on or off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Cow<'static, str>);

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigIssue {
    /// The option as the user would write it.
    pub option: Cow<'static, str>,
    /// What is wrong, with the value (secrets masked) and what is allowed.
    pub text: String,
}

/// All problems with the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// The issues, in the order of the option table. Never empty in a returned error.
    pub issues: Vec<ConfigIssue>,
}

impl From<&'static str> for Allowed {
    fn from(text: &'static str) -> Allowed {
        Allowed(Cow::Borrowed(text))
    }
}

impl From<String> for Allowed {
    fn from(text: String) -> Allowed {
        Allowed(Cow::Owned(text))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Allowed {}

impl ConfigIssue {
    /// Creates an issue with `option`.
    pub(crate) fn new(option: impl Into<Cow<'static, str>>, text: impl Into<String>) -> ConfigIssue {
        ConfigIssue { option: option.into(), text: text.into() }
    }
}

impl From<ConfigIssue> for ConfigError {
    fn from(issue: ConfigIssue) -> ConfigError {
        ConfigError { issues: vec![issue] }
    }
}

impl fmt::Display for ConfigIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.text)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            issue.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

/// An error and its causes, including those that an [`io::Error`] carries without naming them as its source.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&current| {
        let carried = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| current.source())
    })
}

/// The first of them that is of this type.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The texts of an error and of its causes, without repetition: AWS's errors keep the informative part at the bottom.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
