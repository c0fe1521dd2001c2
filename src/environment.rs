//! Environment variables, passed in so that tests can supply their own.

/// The value of a variable, trimmed; `None` if it is unset, empty or not text.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
