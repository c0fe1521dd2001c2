//! The options about where records go.

use std::num::NonZeroUsize;

use super::parse::{self, integer};
use super::reader::Options;
use crate::aws::region::Region;
use crate::deliver::Target;
use crate::error::Allowed;
use crate::kinesis::stream::Stream;
use crate::record::StreamTemplate;

/// Most streams whose state is kept.
const MAX_STREAMS: usize = 1024;

/// Where records go, and the region if an option or the stream's ARN names one. `None` if there is no usable stream.
/// `merges_maps` is what `duplicate_keys` says.
pub(super) fn read(options: &mut Options<'_>, merges_maps: bool) -> Option<(Target, Option<Region>)> {
    let stream = options.optional("stream", Parsed::parse);
    let fallback = options.optional("stream_fallback", Stream::parse_name);
    let max_streams = options.value("max_streams", integer(1..=MAX_STREAMS));
    let target = stream.map(|stream| match stream {
        Parsed::Stream(stream) => Target::Stream(stream),
        Parsed::Template(template) => Target::Template {
            template: template.with_fallback(fallback).with_merged_maps(merges_maps),
            max_streams: NonZeroUsize::new(max_streams).unwrap_or(NonZeroUsize::MIN),
        },
    });
    let stream = target.as_ref().and_then(Target::single);
    for option in ["stream_fallback", "max_streams"] {
        options.reject_unless(stream.is_none(), option, "only valid if stream is a template, such as logs-$TAG");
    }
    let region = options.optional("region", Region::parse);
    if !options.is_set("stream") {
        options.reject("stream", "required: the name or ARN of a Kinesis stream");
    }
    let arn_region = stream.and_then(Stream::region);
    if let (Some(region), Some(arn_region)) = (&region, &arn_region)
        && region != arn_region
    {
        options
            .reject("region", format!("'{region}' is not the region of the stream's ARN, '{arn_region}': remove it"));
    }
    Some((target?, region.or(arn_region)))
}

/// The option `stream`.
enum Parsed {
    Stream(Stream),
    Template(StreamTemplate),
}

impl Parsed {
    fn parse(text: &str) -> Result<Parsed, Allowed> {
        if StreamTemplate::is_template(text) {
            StreamTemplate::parse(text).map(Parsed::Template)
        } else {
            Stream::parse(text).map(Parsed::Stream)
        }
    }
}

/// Whether to find out at startup if records can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What to do if not; `None` does not check.
    pub(crate) on_failure: Option<OnFailure>,
    /// Whether to check an endpoint that is not AWS's too: one that does not know dry runs stores the record.
    pub(crate) custom_endpoint: bool,
}

/// What to do if records cannot be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Warn,
    /// Refuse to start.
    Fail,
}

const CHECKS: &[(&str, Option<OnFailure>)] =
    &[("off", None), ("warn", Some(OnFailure::Warn)), ("fail", Some(OnFailure::Fail))];

pub(super) fn check(options: &mut Options<'_>, target: Option<&Target>) -> Check {
    let on_failure = options.value("check", parse::one_of(CHECKS));
    let custom_endpoint = options.value("check_custom_endpoint", parse::boolean);
    let may_check = on_failure.is_some() || options.is_invalid("check");
    options.reject_unless(may_check, "check_custom_endpoint", "only valid with check warn or fail");
    if on_failure.is_some() && matches!(target, Some(Target::Template { .. })) {
        options.reject("check", "needs the name of one stream: which streams a template names is only known later");
    }
    Check { on_failure, custom_endpoint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::ConfigError;

    fn parse(options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(&testing::property(options))
    }

    #[test]
    fn a_check_needs_one_stream_and_is_off_unless_asked_for() {
        let check = |options: &[(&str, &str)]| parse(options).map(|config| config.check.on_failure);
        assert_eq!(check(&[("stream", "logs")]), Ok(None));
        assert_eq!(check(&[("stream", "logs"), ("check", "WARN")]), Ok(Some(OnFailure::Warn)));
        assert_eq!(check(&[("stream", "logs"), ("check", "fail")]), Ok(Some(OnFailure::Fail)));
        assert_eq!(check(&[("stream", "logs-$TAG")]), Ok(None));
        for (options, expected) in [
            (
                [("stream", "logs-$TAG"), ("check", "warn")],
                "check: needs the name of one stream: which streams a template names is only known later",
            ),
            (
                [("stream", "logs"), ("check_custom_endpoint", "on")],
                "check_custom_endpoint: only valid with check warn or fail",
            ),
            ([("stream", "logs"), ("check", "on")], "check: 'on' is not valid: use off, warn or fail"),
        ] {
            let issues: Vec<String> = check(&options).unwrap_err().issues.iter().map(ToString::to_string).collect();
            assert_eq!(issues, [expected], "{options:?}");
        }
    }
}
