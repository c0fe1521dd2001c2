//! The environment's variables, passed in so that tests have their own.

/// The value of a variable of this process; `None` when it is unset, empty or not text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
