//! Reads option by option and keeps what is wrong with them.

use super::options::{OPTIONS, OptionSpec};
use super::{identity, unknown};
use crate::error::Mistake;
use crate::redact::one_line;

/// Reads options one by one and collects what is wrong with them.
pub(super) struct Options<'a> {
    property: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
    read: Vec<&'static str>,
}

impl<'a> Options<'a> {
    pub(super) fn new(property: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Options { property, mistakes: Vec::new(), read: Vec::new() }
    }

    /// The value of an option that has a default.
    pub(super) fn value<T: Default>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if self.is_set(name) {
            return self.optional(name, parse).unwrap_or_default();
        }
        self.read.push(name);
        self.default(name, parse)
    }

    /// The default of an option, whatever the user set.
    pub(super) fn default<T: Default>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = spec(name).and_then(|option| option.default).unwrap_or_default();
        parse(default).unwrap_or_else(|allowed| {
            self.mistake(name, format!("its default '{default}' is not valid: {allowed}"));
            T::default()
        })
    }

    /// The value of an option that may be unset.
    pub(super) fn optional<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.read.push(name);
        let mut values = self.values(name);
        let (as_written, text) = values.pop()?;
        if let Some((other, other_text)) = values.into_iter().find(|(_, other)| *other != text) {
            let (text, other_text) = (shown(name, &text), shown(name, &other_text));
            let conflict = format!("{text}, but {other}, which means the same, is {other_text}: set one of them");
            self.mistake(as_written, conflict);
            return None;
        }
        match parse(&text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.mistake(as_written, format!("{} is not valid: {allowed}", shown(name, &text)));
                None
            }
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// What the user wrote under the option's name and its aliases. An empty value counts as unset, so that an empty
    /// environment variable in the host's configuration does.
    pub(super) fn values(&self, name: &str) -> Vec<(&'static str, String)> {
        let names = spec(name)
            .into_iter()
            .flat_map(|option| std::iter::once(option.name).chain(option.aliases.iter().copied()));
        names
            .filter_map(|name| Some((name, (self.property)(name)?.trim().to_owned())))
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    /// The options that are set, as the log may show them.
    pub(super) fn told(&self) -> String {
        let values = OPTIONS.iter().flat_map(|option| self.values(option.name));
        let told: Vec<String> = values.map(|(name, text)| format!("{name} {}", shown(name, &text))).collect();
        one_line(&told.join(", "))
    }

    pub(super) fn mistake(&mut self, option: &'static str, text: String) {
        self.mistakes.push(Mistake { option: option.into(), text });
    }

    pub(super) fn mistake_if(&mut self, condition: bool, option: &'static str, text: &str) {
        if condition {
            self.mistake(option, text.to_owned());
        }
    }

    /// An option that is set although it does nothing there is a mistake.
    pub(super) fn meaningless(&mut self, option: &'static str, there: &str) {
        if self.is_set(option) {
            self.mistake(option, format!("it means nothing {there}"));
        }
    }

    /// The mistakes, in the order of the option table.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        self.mistakes.extend(unknown::mistakes(self.property));
        debug_assert!(OPTIONS.iter().all(|option| self.read.contains(&option.name)), "an option is never read");
        let position =
            |name: &str| OPTIONS.iter().position(|option| option.name == name || option.aliases.contains(&name));
        self.mistakes.sort_by_key(|mistake| position(&mistake.option).unwrap_or(OPTIONS.len()));
        self.mistakes
    }
}

/// A value as a message may show it; what stands before an `@` may be a password.
fn shown(option: &str, text: &str) -> String {
    let is_secret = identity::is_secret(option) || text.contains('@');
    if is_secret { "the value (not shown)".to_owned() } else { format!("'{text}'") }
}

fn spec(name: &str) -> Option<&'static OptionSpec> {
    let found = OPTIONS.iter().find(|option| option.name == name);
    debug_assert!(found.is_some(), "{name} is not in the option table");
    found
}
