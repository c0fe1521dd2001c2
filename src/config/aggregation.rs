//! The options about packing several records into one.

use super::reader::Options;
use super::{parse, records};
use crate::error::Allowed;
use crate::kinesis::limits;
use crate::pack::Aggregation;
use crate::record::RecordSettings;

/// The values of the option `aggregation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Off,
    Kpl,
    Lines,
}

fn mode(text: &str) -> Result<Mode, Allowed> {
    match parse::boolean(text) {
        // AWS's Go plugin has only this kind and calls it true.
        Ok(true) => Ok(Mode::Kpl),
        Ok(false) => Ok(Mode::Off),
        Err(_) => parse::one_of(&[("off", Mode::Off), ("kpl", Mode::Kpl), ("lines", Mode::Lines)])(text),
    }
}

/// Reads the options. Aggregated lines need a newline after each record, which is set in `record`.
pub(super) fn read(options: &mut Options<'_>, record: &mut RecordSettings) -> Option<Aggregation> {
    let mut mode = options.value("aggregation", mode);
    if options.value("simple_aggregation", parse::boolean) {
        if options.is_set("aggregation") && mode != Mode::Lines {
            options
                .reject("simple_aggregation", "means aggregation lines, but aggregation differs: set only one of them");
        }
        mode = Mode::Lines;
    }
    let max_bytes = options.value("aggregation_max_size", parse::size(64..=limits::MAX_RECORD_BYTES));
    let max_records = options.optional("aggregation_max_count", parse::integer(1..=UNLIMITED));
    let by_shard = options.value("shard_map", parse::boolean);
    for option in ["aggregation_max_size", "aggregation_max_count", "shard_map"] {
        let is_used = mode == Mode::Kpl || options.is_invalid("aggregation");
        options.reject_unless(is_used, option, "only valid with aggregation kpl");
    }
    let has_hash_keys = record.explicit_hash_key.is_some() && mode != Mode::Off;
    options.reject_unless(
        !has_hash_keys,
        "explicit_hash_key",
        "cannot be combined with aggregation, which sends records of several hash keys together",
    );
    match mode {
        Mode::Off => None,
        Mode::Kpl => {
            let fits = max_bytes <= record.max_bytes
                || options.is_set_to("max_record_size", records::STREAMS_OWN)
                || options.is_invalid("max_record_size");
            options.reject_unless(fits, "aggregation_max_size", "exceeds max_record_size, which limits aggregates too");
            Some(Aggregation::Kpl { max_bytes, max_records: max_records.unwrap_or(UNLIMITED), by_shard })
        }
        Mode::Lines => {
            for option in ["append_newline", "chomp_record"] {
                options.reject_unless(record.newline, option, "aggregation lines ends each record with a newline");
            }
            if !record.format.is_text() {
                options.reject("aggregation", "msgpack has no lines: use kpl or another format");
            }
            record.newline = true;
            Some(Aggregation::Lines)
        }
    }
}

/// More records than any chunk has.
const UNLIMITED: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::ConfigError;

    fn parse(options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let options = [options, &[("stream", "logs")]].concat();
        Config::parse(&|name| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    const KPL: Option<Aggregation> =
        Some(Aggregation::Kpl { max_bytes: 50_000, max_records: UNLIMITED, by_shard: false });

    #[test]
    fn each_predecessors_way_to_say_it_is_understood() {
        for (option, value, expected) in [
            ("aggregation", "off", None),
            ("aggregation", "false", None),
            ("aggregation", "KPL", KPL),
            ("aggregation", "true", KPL),
            ("aggregation", "on", KPL),
            ("aggregation", "Lines", Some(Aggregation::Lines)),
            ("simple_aggregation", "true", Some(Aggregation::Lines)),
            ("simple_aggregation", "off", None),
        ] {
            assert_eq!(parse(&[(option, value)]).unwrap().requests.aggregation, expected, "{option} {value}");
        }
        let limits = [("aggregation", "kpl"), ("aggregation_max_size", "50k"), ("aggregation_max_count", "100")];
        let expected = Aggregation::Kpl { max_bytes: 50 << 10, max_records: 100, by_shard: false };
        assert_eq!(parse(&limits).unwrap().requests.aggregation, Some(expected));
        let by_shard = parse(&[("aggregation", "kpl"), ("shard_map", "on")]).unwrap().requests.aggregation;
        assert!(matches!(by_shard, Some(Aggregation::Kpl { by_shard: true, .. })));
    }

    #[test]
    fn lines_end_in_a_newline_whatever_the_format() {
        for options in [
            &[("aggregation", "lines")][..],
            &[("aggregation", "lines"), ("append_newline", "on")],
            &[("simple_aggregation", "on"), ("aggregation", "lines"), ("log_key", "log")],
            &[("aggregation", "lines"), ("format", "ltsv"), ("append_newline", "off"), ("chomp_record", "off")],
        ] {
            assert!(parse(options).unwrap().requests.record.newline, "{options:?}");
        }
        assert!(!parse(&[("aggregation", "kpl")]).unwrap().requests.record.newline);
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        let together = "cannot be combined with aggregation, which sends records of several hash keys together";
        let ended = "aggregation lines ends each record with a newline";
        for (options, expected) in [
            (&[("aggregation", "zip")][..], "aggregation: 'zip' is not valid: use off, kpl or lines".to_owned()),
            (
                &[("aggregation", "kpl"), ("simple_aggregation", "on")],
                "simple_aggregation: means aggregation lines, but aggregation differs: set only one of them".to_owned(),
            ),
            (
                &[("aggregation", "off"), ("simple_aggregation", "on")],
                "simple_aggregation: means aggregation lines, but aggregation differs: set only one of them".to_owned(),
            ),
            (&[("aggregation_max_size", "64k")], "aggregation_max_size: only valid with aggregation kpl".to_owned()),
            (
                &[("aggregation", "lines"), ("aggregation_max_count", "9")],
                "aggregation_max_count: only valid with aggregation kpl".to_owned(),
            ),
            (&[("shard_map", "on")], "shard_map: only valid with aggregation kpl".to_owned()),
            (
                &[("simple_aggregation", "on"), ("shard_map", "off")],
                "shard_map: only valid with aggregation kpl".to_owned(),
            ),
            (
                &[("aggregation", "kpl"), ("aggregation_max_size", "2M")],
                "aggregation_max_size: exceeds max_record_size, which limits aggregates too".to_owned(),
            ),
            (
                &[("aggregation", "kpl"), ("shard_map", "on"), ("explicit_hash_key", "h")],
                format!("explicit_hash_key: {together}"),
            ),
            (&[("simple_aggregation", "on"), ("explicit_hash_key", "h")], format!("explicit_hash_key: {together}")),
            (&[("aggregation", "lines"), ("append_newline", "off")], format!("append_newline: {ended}")),
            (&[("aggregation", "lines"), ("chomp_record", "on"), ("format", "ltsv")], format!("chomp_record: {ended}")),
            (
                &[("aggregation", "lines"), ("format", "msgpack")],
                "aggregation: msgpack has no lines: use kpl or another format".to_owned(),
            ),
        ] {
            let issues: Vec<String> = parse(options).unwrap_err().issues.iter().map(ToString::to_string).collect();
            assert_eq!(issues, [expected], "{options:?}");
        }
        assert!(parse(&[("aggregation", "kpl"), ("max_record_size", "100k")]).is_ok(), "the default gives way");
    }
}
