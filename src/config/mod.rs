//! What the user configured, checked.

mod aggregation;
mod coroutines;
mod delivery;
mod destination;
mod files;
mod identity;
mod network;
pub mod options;
mod parse;
mod reader;
mod records;
mod requests;
mod typos;

use std::time::Duration;

use crate::aws::credentials::identity::Identity;
use crate::aws::network::Network;
use crate::aws::region::Region;
use crate::dead_letters::Place;
use crate::deliver::{self, Target};
use crate::error::ConfigError;
use crate::pack::RequestSettings;
use reader::Options;

pub(crate) use coroutines::Coroutines;
pub(crate) use destination::{Check, OnFailure};
pub(crate) use files::LedgerSettings;
pub(crate) use reader::sort;

/// A configuration without issues.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub target: Target,
    /// The region, if the configuration or the stream's ARN names one.
    pub(crate) region: Option<Region>,
    /// Whether to find out at startup if records can be put.
    pub(crate) check: Check,
    /// How AWS is reached.
    pub(crate) network: Network,
    /// Where credentials come from.
    pub(crate) identity: Identity,
    /// What requests and the records in them look like.
    pub requests: RequestSettings,
    /// How they are sent.
    pub(crate) delivery: deliver::Settings,
    /// Timeout of one request.
    pub(crate) request_timeout: Option<Duration>,
    /// What is remembered of chunks in retry.
    pub(crate) ledger: LedgerSettings,
    /// Where refused records are kept, if anywhere.
    pub(crate) dead_letters: Option<Place>,
    /// Whether flushes wait on coroutines of the host; `None` leaves it to the environment.
    pub(crate) coroutines: Option<Coroutines>,
    /// The options that the user set, for the log: on one line, without secrets.
    pub(crate) set_options: String,
}

impl Config {
    /// Reads all options through `property`, which returns the value of an option by its name, or `None` if it is
    /// unset.
    ///
    /// # Errors
    /// Every issue at once.
    pub fn parse(property: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut options = Options::new(property);
        let network = network::read(&mut options);
        let identity = identity::read(&mut options);
        let requests = requests::read(&mut options);
        let destination = destination::read(&mut options, requests.record.merge_maps);
        let check = destination::check(&mut options, destination.as_ref().map(|(target, _)| target));
        let (delivery, request_timeout) = delivery::read(&mut options, &requests);
        let ledger = files::ledger(&mut options);
        let dead_letters = files::dead_letters(&mut options);
        let coroutines = options.optional("coroutines", Coroutines::parse);
        let set_options = options.summary();
        let issues = options.finish();
        match destination {
            Some((target, region)) if issues.is_empty() => Ok(Config {
                target,
                region,
                check,
                network,
                identity,
                requests,
                delivery,
                request_timeout,
                ledger,
                dead_letters,
                coroutines,
                set_options,
            }),
            _ => Err(ConfigError { issues }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::options::OPTIONS;
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(&|name| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn issues(options: &[(&str, &str)]) -> Vec<String> {
        parse(options).unwrap_err().issues.iter().map(ToString::to_string).collect()
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
    fn every_issue_is_listed_with_option_value_and_what_is_allowed() {
        assert_eq!(
            issues(&[
                ("region", "Moon 1"),
                ("batch_request_max_count", "501"),
                ("concurrency", "many"),
                ("http_request_timeout", "soon"),
                ("external_id", "x1"),
                ("role_arn", ""),
            ]),
            [
                "stream: required: the name or ARN of a Kinesis stream",
                "region: 'Moon 1' is not valid: use a region's name, such as us-east-1",
                "external_id: only valid with role_arn",
                "batch_request_max_count: '501' is not valid: use a whole number from 1 to 500",
                "concurrency: 'many' is not valid: use a whole number from 0 to 256",
                "http_request_timeout: 'soon' is not valid: use seconds, or a time such as 500ms, 1.5s or 2m, up to 24h",
            ]
        );
    }

    #[test]
    fn one_mistake_is_one_line() {
        for option in OPTIONS {
            // Valid for those alone that take any text.
            let mut options = vec![(option.name, "%q->")];
            options.extend(Some(("stream", "logs")).filter(|_| option.name != "stream"));
            let lines = parse(&options).map_or_else(|error| error.issues, |_| Vec::new());
            assert!(lines.len() <= 1, "{lines:?}");
        }
    }

    #[test]
    fn what_depends_on_an_invalid_value_is_no_second_mistake() {
        for (wrong, dependent) in [
            (("format", "jsn"), ("format_fields", "a")),
            (("format", "jsn"), ("time_key_format", "%s")),
            (("format", "jsn"), ("chomp_record", "on")),
            (("compression", "gz"), ("compression_level", "3")),
            (("aggregation", "zip"), ("aggregation_max_size", "64k")),
            (("aggregation", "zip"), ("record_distribution", "auto")),
            (("check", "maybe"), ("check_custom_endpoint", "on")),
            (("external_id", "!"), ("external_id", "!")),
        ] {
            let lines = issues(&[("stream", "logs"), wrong, dependent]);
            assert!(lines.len() == 1 && lines[0].starts_with(wrong.0), "{lines:?}");
        }
        let together =
            [("stream", "a"), ("aggregation", "kpl"), ("aggregation_max_size", "2M"), ("max_record_size", "x")];
        assert_eq!(issues(&together).len(), 1);
    }

    #[test]
    fn the_line_with_the_options_hides_secrets() {
        let options =
            [("stream", "logs"), ("aws_key_id", "A"), ("aws_sec_key", "s3cr3t"), ("http_proxy", "http://u:p@h")];
        let summary = parse(&options).unwrap().set_options;
        assert_eq!(summary, "stream 'logs', http_proxy (not shown), aws_key_id (not shown), aws_sec_key (not shown)");
    }

    #[test]
    fn an_issue_names_the_option_as_the_user_wrote_it() {
        assert_eq!(
            issues(&[("stream_name", "a b")]),
            ["stream_name: 'a b' is not valid: use a stream's name (1 to 128 of a-z A-Z 0-9 _ . -) or its ARN"]
        );
    }

    #[test]
    fn an_option_and_its_alias_must_agree() {
        assert!(parse(&[("stream", "a"), ("stream_name", "a")]).is_ok());
        assert_eq!(
            issues(&[("stream", "a"), ("stream_name", "b")]),
            ["stream_name: 'b', but its other name stream is set to 'a': set only one"]
        );
    }

    #[test]
    fn an_arn_brings_its_region_and_contradicts_another() {
        let arn = ("stream", "arn:aws-cn:kinesis:cn-north-1:111122223333:stream/logs");
        assert_eq!(parse(&[arn]).unwrap().region.unwrap().as_str(), "cn-north-1");
        assert_eq!(
            issues(&[arn, ("region", "eu-west-1")]),
            ["region: 'eu-west-1' is not the region of the stream's ARN, 'cn-north-1': remove it"]
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
    fn refused_records_are_kept_where_a_path_is_set_up_to_a_bound() {
        let stream = ("stream", "a");
        let path = ("dead_letter_path", "letters");
        let kept = |options: &[(&str, &str)]| {
            parse(options).unwrap().dead_letters.map(|place| (place.path.display().to_string(), place.max_bytes))
        };
        assert_eq!(kept(&[stream]), None);
        assert_eq!(kept(&[stream, path]), Some(("letters".to_owned(), 100 << 20)));
        assert_eq!(kept(&[stream, path, ("dead_letter_max_bytes", "2G")]), Some(("letters".to_owned(), 2 << 30)));
        assert_eq!(
            issues(&[stream, ("dead_letter_max_bytes", "2G")]),
            ["dead_letter_max_bytes: only valid with dead_letter_path"]
        );
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
