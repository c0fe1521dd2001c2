//! Reads options one by one and collects the issues with them.

use std::fmt::Display;

use super::options::{OPTIONS, OptionSpec};
use super::typos;
use crate::error::ConfigIssue;
use crate::redact::one_line;

/// The options as the user set them.
pub(super) struct Options<'a> {
    property: &'a dyn Fn(&str) -> Option<String>,
    issues: Vec<ConfigIssue>,
    /// The options whose values are not valid.
    invalid: Vec<&'static str>,
    read: Vec<&'static str>,
}

impl<'a> Options<'a> {
    pub(super) fn new(property: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Options { property, issues: Vec::new(), invalid: Vec::new(), read: Vec::new() }
    }

    /// The value of an option that has a default.
    pub(super) fn value<T: Default, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        if self.is_set(name) {
            return self.optional(name, parse).unwrap_or_default();
        }
        self.read.push(name);
        self.default(name, parse)
    }

    /// The default of an option, whatever the user set.
    pub(super) fn default<T: Default, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let default = spec(name).and_then(|option| option.default).unwrap_or_default();
        parse(default).unwrap_or_else(|allowed| {
            self.reject_value(name, name, default, &allowed);
            T::default()
        })
    }

    /// The value of an option that may be unset.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (as_written, text) = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.reject_value(name, as_written, &text, &allowed);
                None
            }
        }
    }

    // Not generic: code that is not copied for each type of value.

    /// What the user set, and under which name, unless another name of the option contradicts it.
    fn text(&mut self, name: &'static str) -> Option<(&'static str, String)> {
        self.read.push(name);
        let mut values = self.values(name);
        let (as_written, text) = values.pop()?;
        if let Some((other, other_text)) = values.into_iter().find(|(_, other)| *other != text) {
            let (text, other_text) = (shown(name, &text), shown(name, &other_text));
            self.reject(as_written, format!("{text}, but its other name {other} is set to {other_text}: set only one"));
            self.invalid.push(name);
            return None;
        }
        Some((as_written, text))
    }

    fn reject_value(&mut self, name: &'static str, as_written: &'static str, text: &str, allowed: &dyn Display) {
        self.reject(as_written, format!("{} is not valid: {allowed}", shown(name, text)));
        self.invalid.push(name);
    }

    /// Whether the option's value is not valid: what would follow from it is unknown, and no mistake of its own.
    pub(super) fn is_invalid(&self, name: &str) -> bool {
        self.invalid.contains(&name)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Whether the user set the option to this word, in any case.
    pub(super) fn is_set_to(&self, name: &str, word: &str) -> bool {
        self.values(name).iter().any(|(_, text)| text.eq_ignore_ascii_case(word))
    }

    /// What the user wrote under the option's name and its aliases. An empty value counts as unset, so that an empty
    /// environment variable in the host's configuration does.
    fn values(&self, name: &str) -> Vec<(&'static str, String)> {
        let names = spec(name).into_iter().flat_map(OptionSpec::names);
        names
            .filter_map(|name| Some((name, (self.property)(name)?.trim().to_owned())))
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    /// The options that are set, as the log may show them.
    pub(super) fn summary(&self) -> String {
        let mut summary = Vec::new();
        for option in OPTIONS {
            let values = self.values(option.name).into_iter();
            summary.extend(values.map(|(name, text)| match is_hidden(option.name, &text) {
                true => format!("{name} (not shown)"),
                false => format!("{name} '{text}'"),
            }));
        }
        one_line(&summary.join(", "))
    }

    /// Notes an issue with `option`.
    pub(super) fn reject(&mut self, option: &'static str, text: impl Into<String>) {
        self.issues.push(ConfigIssue::new(option, text));
    }

    /// Notes an issue with `option` if it is set although it has no effect there, unless it has an issue already: one
    /// mistake is one line.
    pub(super) fn reject_unless(&mut self, has_effect: bool, option: &'static str, text: &str) {
        let is_rejected = || self.issues.iter().any(|issue| spec(option).is_some_and(|o| o.is_called(&issue.option)));
        if !has_effect && self.is_set(option) && !is_rejected() {
            self.reject(option, text);
        }
    }

    /// The issues, in the order of the option table.
    pub(super) fn finish(mut self) -> Vec<ConfigIssue> {
        self.issues.extend(typos::issues(self.property));
        debug_assert!(OPTIONS.iter().all(|option| self.read.contains(&option.name)), "an option is never read");
        sort(&mut self.issues);
        self.issues
    }
}

/// Puts issues into the order of the option table.
pub(crate) fn sort(issues: &mut [ConfigIssue]) {
    let position = |name: &str| OPTIONS.iter().position(|option| option.is_called(name));
    issues.sort_by_key(|issue| position(&issue.option).unwrap_or(OPTIONS.len()));
}

/// A value as a message may show it.
fn shown(option: &str, text: &str) -> String {
    if is_hidden(option, text) { "the value (not shown)".to_owned() } else { format!("'{text}'") }
}

/// Whether messages must not show a value; what precedes an `@` may be a password.
fn is_hidden(option: &str, text: &str) -> bool {
    spec(option).is_none_or(|option| option.secret) || text.contains('@')
}

fn spec(name: &str) -> Option<&'static OptionSpec> {
    let found = OPTIONS.iter().find(|option| option.name == name);
    debug_assert!(found.is_some(), "{name} is not in the option table");
    found
}
