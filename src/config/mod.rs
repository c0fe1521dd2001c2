//! What the user configured, checked.

mod aggregation;
mod coroutines;
mod identity;
mod network;
pub mod options;
mod parse;
mod reader;
mod records;
mod unknown;

use std::path::PathBuf;
use std::time::Duration;

use crate::aws::credentials::identity::Identity;
use crate::aws::region::Region;
use crate::deliver;
use crate::error::ConfigError;
use crate::kinesis::limits;
use crate::kinesis::request::Protocol;
use crate::kinesis::stream::Stream;
use crate::pack::RequestSettings;
use reader::Options;

pub use coroutines::Coroutines;
pub use network::Network;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub stream: Stream,
    /// The region, when the configuration or the stream's ARN names one.
    pub region: Option<Region>,
    /// How AWS is reached.
    pub network: Network,
    /// Whose name requests are signed in.
    pub identity: Identity,
    /// What requests and the records in them look like.
    pub requests: RequestSettings,
    /// How they are sent.
    pub delivery: deliver::Settings,
    /// Longest time of one request.
    pub request_timeout: Option<Duration>,
    /// Bound of the ledger, in bytes.
    pub ledger_max_bytes: usize,
    /// Where the ledger is kept over a restart.
    pub ledger_path: Option<PathBuf>,
    /// Whether flushes wait on coroutines of the host, if the user says so.
    pub coroutines: Option<Coroutines>,
    /// The options that the user set, for the log: on one line, without secrets.
    pub set_options: String,
}

impl Config {
    /// Reads all options through `property` (the value of an option by its name, `None` when unset) and reports every
    /// mistake at once.
    pub fn parse(property: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut options = Options::new(property);

        let stream = options.optional("stream", Stream::parse);
        let region = options.optional("region", Region::parse);
        let network = Network::read(&mut options);
        let identity = identity::read(&mut options);
        let mut record = records::read(&mut options);
        let requests = RequestSettings {
            protocol: options.value("protocol", protocol),
            max_records: options.value("batch_request_max_count", parse::integer(1..=limits::MAX_REQUEST_RECORDS)),
            max_bytes: options.value("batch_request_max_size", parse::size(1..=limits::MAX_REQUEST_BYTES)),
            aggregation: aggregation::read(&mut options, &mut record),
            record,
        };
        let concurrency = match options.value("concurrency", parse::integer(0..=256)) {
            0 => options.default("concurrency", parse::integer(1..=256)),
            concurrency => concurrency,
        };
        let retries = options.value("retries_on_batch_request", parse::integer(0..=100));
        let reset_backoff_on_success = options.value("reset_backoff_if_success", parse::boolean);
        let immediate_retry = options.value("auto_retry_requests", parse::boolean);
        let request_timeout = options.value("http_request_timeout", parse::duration);
        let flush_timeout = options.value("flush_timeout", parse::duration);
        let slow_flush = options.value("slow_flush_log_threshold", parse::duration);
        let stats_interval = options.value("stats_interval", parse::duration);
        let ledger_max_bytes = options.value("ledger_max_bytes", parse::size(4 << 10..=64 << 20));
        let ledger_path = options.optional("ledger_path", |text| Ok(PathBuf::from(text)));
        let coroutines = options.optional("coroutines", Coroutines::parse);

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

        let set_options = options.told();
        let mistakes = options.finish();
        let Some(stream) = stream.filter(|_| mistakes.is_empty()) else { return Err(ConfigError { mistakes }) };
        Ok(Config {
            stream,
            region: region.or(arn_region),
            network,
            identity,
            requests,
            delivery: deliver::Settings {
                concurrency,
                retries,
                reset_backoff_on_success,
                immediate_retry,
                flush_timeout: Some(flush_timeout).filter(|time| !time.is_zero()),
                slow_flush: Some(slow_flush).filter(|time| !time.is_zero()),
                stats_interval: Some(stats_interval).filter(|time| !time.is_zero()),
            },
            request_timeout: Some(request_timeout).filter(|time| !time.is_zero()),
            ledger_max_bytes,
            ledger_path,
            coroutines,
            set_options,
        })
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(Protocol::Json),
        "cbor" => Ok(Protocol::Cbor),
        _ => Err("use json or cbor".to_owned()),
    }
}

fn any_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::options::OPTIONS;
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
        assert_eq!((config.requests.max_records, config.requests.max_bytes), (500, 5 << 20));
        assert_eq!(config.delivery.concurrency, 256);
        assert_eq!(config.delivery.retries, 8);
        assert!(config.delivery.immediate_retry && config.delivery.reset_backoff_on_success);
        assert_eq!(config.request_timeout, Some(Duration::from_secs(30)));
        assert!(config.region.is_none() && config.network.endpoint.is_none() && config.identity.role.is_none());
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
                "concurrency: 'many' is not valid: use a whole number from 0 to 256",
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
        assert_eq!(parse(&[("stream", "a"), ("experimental_concurrency", "0")]).unwrap().delivery.concurrency, 256);
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
