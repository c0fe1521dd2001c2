//! What the user configured, checked.

mod identity;
pub mod options;
mod parse;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ConfigError, Mistake};
use crate::kinesis::endpoint::{Endpoint, Region};
use crate::kinesis::limits;
use options::{OPTIONS, OptionSpec};

pub use identity::{Hidden, Identity, Role, Source};
pub use stream::Stream;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub stream: Stream,
    /// The region, when the configuration or the stream's ARN names one.
    pub region: Option<Region>,
    /// The endpoint, when it is not the region's.
    pub endpoint: Option<Endpoint>,
    /// Whose name requests are signed in.
    pub identity: Identity,
    /// How records are sent.
    pub delivery: Delivery,
    /// Longest time of one request.
    pub request_timeout: Option<Duration>,
    /// Bound of the ledger, in bytes.
    pub ledger_max_bytes: usize,
    /// Where the ledger is kept over a restart.
    pub ledger_path: Option<PathBuf>,
}

/// How records are sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Most records of one request.
    pub max_request_records: usize,
    /// Most bytes of one request, data and partition keys.
    pub max_request_bytes: usize,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// How often what failed is sent again within one flush.
    pub retries: usize,
    /// Whether an accepted record resets the backoff.
    pub reset_backoff_on_success: bool,
    /// Whether a network failure is followed by one more try at once.
    pub immediate_retry: bool,
}

impl Config {
    /// Reads all options through `property` (the value of an option by its name, `None` when unset) and reports every
    /// mistake at once.
    pub fn parse(property: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut options = Options { property, mistakes: Vec::new(), read: Vec::new() };

        let stream = options.optional("stream", Stream::parse);
        let region = options.optional("region", Region::parse);
        let endpoint = options.optional("endpoint", Endpoint::parse);
        let identity = identity::read(&mut options);
        let max_request_records =
            options.value("batch_request_max_count", parse::integer(1..=limits::MAX_REQUEST_RECORDS));
        let max_request_bytes = options.value("batch_request_max_size", parse::size(1..=limits::MAX_REQUEST_BYTES));
        let concurrency = match options.value("concurrency", parse::integer(0..=64)) {
            0 => options.default("concurrency", parse::integer(1..=64)),
            concurrency => concurrency,
        };
        let retries = options.value("retries_on_batch_request", parse::integer(0..=100));
        let reset_backoff_on_success = options.value("reset_backoff_if_success", parse::boolean);
        let immediate_retry = options.value("auto_retry_requests", parse::boolean);
        let request_timeout = options.value("http_request_timeout", parse::duration);
        let ledger_max_bytes = options.value("ledger_max_bytes", parse::size(4 << 10..=64 << 20));
        let ledger_path = options.optional("ledger_path", |text| Ok(PathBuf::from(text)));

        if !options.is_set("stream") {
            options.mistake("stream", "it is required: the name of a Kinesis stream, or its ARN".to_owned());
        }
        let arn_region = stream.as_ref().and_then(Stream::region);
        if let (Some(region), Some(arn_region)) = (&region, &arn_region)
            && region != arn_region
        {
            let text = format!("'{region}' is not the region of the stream's ARN, '{arn_region}': leave it unset");
            options.mistake("region", text);
        }

        let mistakes = options.finish();
        let Some(stream) = stream.filter(|_| mistakes.is_empty()) else { return Err(ConfigError { mistakes }) };
        Ok(Config {
            stream,
            region: region.or(arn_region),
            endpoint,
            identity,
            delivery: Delivery {
                max_request_records,
                max_request_bytes,
                concurrency,
                retries,
                reset_backoff_on_success,
                immediate_retry,
            },
            request_timeout: Some(request_timeout).filter(|time| !time.is_zero()),
            ledger_max_bytes,
            ledger_path,
        })
    }
}

fn any_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Reads options one by one and collects what is wrong with them.
struct Options<'a> {
    property: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
    read: Vec<&'static str>,
}

impl Options<'_> {
    /// The value of an option that has a default.
    fn value<T: Default>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if self.is_set(name) {
            return self.optional(name, parse).unwrap_or_default();
        }
        self.read.push(name);
        self.default(name, parse)
    }

    /// The default of an option, whatever the user set.
    fn default<T: Default>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = spec(name).and_then(|option| option.default).unwrap_or_default();
        parse(default).unwrap_or_else(|allowed| {
            self.mistake(name, format!("its default '{default}' is not valid: {allowed}"));
            T::default()
        })
    }

    /// The value of an option that may be unset.
    fn optional<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
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

    fn is_set(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// What the user wrote under the option's name and its aliases. An empty value counts as unset, so that an empty
    /// environment variable in the host's configuration does.
    fn values(&self, name: &str) -> Vec<(&'static str, String)> {
        let names = spec(name)
            .into_iter()
            .flat_map(|option| std::iter::once(option.name).chain(option.aliases.iter().copied()));
        names
            .filter_map(|name| Some((name, (self.property)(name)?.trim().to_owned())))
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    fn mistake(&mut self, option: &'static str, text: String) {
        self.mistakes.push(Mistake { option, text });
    }

    /// The mistakes, in the order of the option table.
    fn finish(mut self) -> Vec<Mistake> {
        debug_assert!(OPTIONS.iter().all(|option| self.read.contains(&option.name)), "an option is never read");
        let position = |name| OPTIONS.iter().position(|option| option.name == name || option.aliases.contains(&name));
        self.mistakes.sort_by_key(|mistake| position(mistake.option));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(&|name| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn mistakes(options: &[(&str, &str)]) -> Vec<String> {
        parse(options).unwrap_err().mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stream_alone_is_enough() {
        let config = parse(&[("stream", "logs")]).unwrap();
        assert_eq!(config.delivery.max_request_records, 500);
        assert_eq!(config.delivery.max_request_bytes, 5 << 20);
        assert_eq!(config.delivery.concurrency, 8);
        assert_eq!(config.delivery.retries, 8);
        assert!(config.delivery.immediate_retry && config.delivery.reset_backoff_on_success);
        assert_eq!(config.request_timeout, Some(Duration::from_secs(30)));
        assert!(config.region.is_none() && config.endpoint.is_none() && config.identity.role.is_none());
    }

    #[test]
    fn every_mistake_is_listed_with_option_value_and_what_is_allowed() {
        assert_eq!(
            mistakes(&[
                ("region", "Moon 1"),
                ("batch_request_max_count", "501"),
                ("concurrency", "many"),
                ("http_request_timeout", "soon"),
                ("external_id", "x1"),
                ("role_arn", ""),
            ]),
            [
                "stream: it is required: the name of a Kinesis stream, or its ARN",
                "region: 'Moon 1' is not valid: use a region's name, such as us-east-1",
                "external_id: it means nothing without role_arn",
                "batch_request_max_count: '501' is not valid: use a whole number from 1 to 500",
                "concurrency: 'many' is not valid: use a whole number from 0 to 64",
                "http_request_timeout: 'soon' is not valid: use seconds, or a time such as 500ms, 1.5s or 2m, up to 24h",
            ]
        );
    }

    #[test]
    fn a_mistake_names_the_option_as_the_user_wrote_it() {
        assert_eq!(
            mistakes(&[("stream_name", "a b")]),
            ["stream_name: 'a b' is not valid: use a stream's name (1 to 128 of a-z A-Z 0-9 _ . -) or its ARN"]
        );
    }

    #[test]
    fn an_option_and_its_alias_must_agree() {
        assert!(parse(&[("stream", "a"), ("stream_name", "a")]).is_ok());
        assert_eq!(
            mistakes(&[("stream", "a"), ("stream_name", "b")]),
            ["stream_name: 'b', but stream, which means the same, is 'a': set one of them"]
        );
    }

    #[test]
    fn an_arn_brings_its_region_and_contradicts_another() {
        let arn = ("stream", "arn:aws-cn:kinesis:cn-north-1:111122223333:stream/logs");
        assert_eq!(parse(&[arn]).unwrap().region.unwrap().as_str(), "cn-north-1");
        assert_eq!(
            mistakes(&[arn, ("region", "eu-west-1")]),
            ["region: 'eu-west-1' is not the region of the stream's ARN, 'cn-north-1': leave it unset"]
        );
    }

    #[test]
    fn a_concurrency_of_zero_means_the_default_as_in_the_go_plugin() {
        assert_eq!(parse(&[("stream", "a"), ("experimental_concurrency", "0")]).unwrap().delivery.concurrency, 8);
    }

    #[test]
    fn a_timeout_of_zero_means_none() {
        assert_eq!(parse(&[("stream", "a"), ("http_request_timeout", "0")]).unwrap().request_timeout, None);
    }

    #[test]
    fn no_two_options_share_a_name_and_each_is_explained_in_a_sentence() {
        let mut names: Vec<&str> =
            OPTIONS.iter().flat_map(|o| std::iter::once(o.name).chain(o.aliases.iter().copied())).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for option in OPTIONS {
            assert!(option.doc.ends_with('.') && !option.doc.contains('|'), "{}", option.name);
        }
    }
}
