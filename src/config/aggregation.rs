//! The options about several records in one.

use super::parse;
use super::reader::Options;
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

fn mode(text: &str) -> Result<Mode, String> {
    match (text.to_ascii_lowercase().as_str(), parse::boolean(text)) {
        // AWS's Go plugin knows no other kind and calls it true.
        ("kpl", _) | (_, Ok(true)) => Ok(Mode::Kpl),
        ("lines", _) => Ok(Mode::Lines),
        (_, Ok(false)) => Ok(Mode::Off),
        _ => Err("use off, kpl or lines".to_owned()),
    }
}

/// Reads them, and ends each record in a newline where records are lines.
pub(super) fn read(options: &mut Options<'_>, record: &mut RecordSettings) -> Option<Aggregation> {
    let mut mode = options.value("aggregation", mode);
    if options.value("simple_aggregation", parse::boolean) {
        let differs = options.is_set("aggregation") && mode != Mode::Lines;
        options.mistake_if(differs, "simple_aggregation", "it means aggregation lines: set one of them");
        mode = Mode::Lines;
    }
    let max_bytes = options.value("aggregation_max_size", parse::size(64..=limits::MAX_RECORD_BYTES));
    let max_records = options.optional("aggregation_max_count", parse::integer(1..=MOST_RECORDS));
    let by_shard = options.value("shard_map", parse::boolean);
    if mode != Mode::Kpl {
        options.meaningless("aggregation_max_size", "but with aggregation kpl");
        options.meaningless("aggregation_max_count", "but with aggregation kpl");
        options.meaningless("shard_map", "but with aggregation kpl");
    } else if options.is_set("aggregation_max_size") {
        let text = "it is more than max_record_size, which an aggregate has to fit into";
        options.mistake_if(max_bytes > record.max_bytes, "aggregation_max_size", text);
    }
    match mode {
        Mode::Off => None,
        Mode::Kpl => Some(Aggregation::Kpl { max_bytes, max_records: max_records.unwrap_or(MOST_RECORDS), by_shard }),
        Mode::Lines => {
            const ENDED: &str = "with aggregation lines, where a newline ends each record";
            if !record.newline {
                options.meaningless("append_newline", ENDED);
                options.meaningless("chomp_record", ENDED);
            }
            let is_binary = !record.format.is_text();
            options.mistake_if(is_binary, "aggregation", "msgpack has no lines: use kpl, or another format");
            record.newline = true;
            Some(Aggregation::Lines)
        }
    }
}

/// More than any chunk has.
const MOST_RECORDS: usize = 1 << 30;

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
        Some(Aggregation::Kpl { max_bytes: 256 << 10, max_records: MOST_RECORDS, by_shard: false });

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
        let ended = "it means nothing with aggregation lines, where a newline ends each record";
        for (options, expected) in [
            (&[("aggregation", "zip")][..], "aggregation: 'zip' is not valid: use off, kpl or lines".to_owned()),
            (
                &[("aggregation", "kpl"), ("simple_aggregation", "on")],
                "simple_aggregation: it means aggregation lines: set one of them".to_owned(),
            ),
            (
                &[("aggregation", "off"), ("simple_aggregation", "on")],
                "simple_aggregation: it means aggregation lines: set one of them".to_owned(),
            ),
            (
                &[("aggregation_max_size", "64k")],
                "aggregation_max_size: it means nothing but with aggregation kpl".to_owned(),
            ),
            (
                &[("aggregation", "lines"), ("aggregation_max_count", "9")],
                "aggregation_max_count: it means nothing but with aggregation kpl".to_owned(),
            ),
            (&[("shard_map", "on")], "shard_map: it means nothing but with aggregation kpl".to_owned()),
            (
                &[("simple_aggregation", "on"), ("shard_map", "off")],
                "shard_map: it means nothing but with aggregation kpl".to_owned(),
            ),
            (
                &[("aggregation", "kpl"), ("aggregation_max_size", "2M")],
                "aggregation_max_size: it is more than max_record_size, which an aggregate has to fit into".to_owned(),
            ),
            (&[("aggregation", "lines"), ("append_newline", "off")], format!("append_newline: {ended}")),
            (&[("aggregation", "lines"), ("chomp_record", "on"), ("format", "ltsv")], format!("chomp_record: {ended}")),
            (
                &[("aggregation", "lines"), ("format", "msgpack")],
                "aggregation: msgpack has no lines: use kpl, or another format".to_owned(),
            ),
        ] {
            let mistakes: Vec<String> = parse(options).unwrap_err().mistakes.iter().map(ToString::to_string).collect();
            assert_eq!(mistakes, [expected], "{options:?}");
        }
        assert!(parse(&[("aggregation", "kpl"), ("max_record_size", "100k")]).is_ok(), "the default gives way");
    }
}
