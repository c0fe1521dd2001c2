//! The options about what is sent.

use super::parse;
use super::reader::Options;
use crate::compress::Kind;
use crate::kinesis::limits;
use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::shape::{Selection, Shape};
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;
use crate::record::{Compression, RecordSettings};

/// Reads them; what is wrong, or makes no sense with something else, is told to `options`.
pub(super) fn read(options: &mut Options<'_>) -> RecordSettings {
    let format = format(options);
    let shape = shape(options, &format);
    let is_out_file = matches!(format, Format::OutFile { .. });
    let time_format = match options.optional("time_key_format", TimeFormat::parse) {
        Some(format) => format,
        None if is_out_file => TimeFormat::parse(OUT_FILE_TIME).unwrap_or_default(),
        None => options.default("time_key_format", TimeFormat::parse),
    };
    if shape.time_key.is_none() && !is_out_file {
        options.meaningless("time_key_format", "without time_key");
    }
    let oversize = options.value("oversize", oversize);
    let is_text = format.is_text();
    if !is_text {
        let truncates = options.is_set("oversize") && oversize == Oversize::Truncate;
        options.mistake_if(truncates, "oversize", "msgpack cannot be cut: use discard");
    }
    RecordSettings {
        shape,
        time_format,
        newline: newline(options, &format),
        compression: compression(options),
        max_bytes: options.value("max_record_size", parse::size(1..=limits::MAX_RECORD_BYTES)),
        oversize: if is_text { oversize } else { Oversize::Discard },
        partition_key: options.optional("partition_key", PartitionKey::parse).unwrap_or(PartitionKey::Random),
        format,
    }
}

/// The time column of Fluentd's `out_file`, where the local time is UTC.
const OUT_FILE_TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";

/// The values of the option `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FormatKind {
    #[default]
    Json,
    Msgpack,
    Ltsv,
    Csv,
    Tsv,
    SingleValue,
    OutFile,
}

fn format_kind(text: &str) -> Result<FormatKind, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(FormatKind::Json),
        "msgpack" => Ok(FormatKind::Msgpack),
        "ltsv" => Ok(FormatKind::Ltsv),
        "csv" => Ok(FormatKind::Csv),
        "tsv" => Ok(FormatKind::Tsv),
        "single_value" => Ok(FormatKind::SingleValue),
        "out_file" => Ok(FormatKind::OutFile),
        "hash" => Err("it is how Ruby prints a hash, which nothing else reads: use json".to_owned()),
        _ => Err("use json, msgpack, ltsv, csv, tsv, single_value or out_file".to_owned()),
    }
}

fn format(options: &mut Options<'_>) -> Format {
    let kind = options.value("format", format_kind);
    let log_key = options.optional("log_key", KeyPath::parse);
    let fields = options.optional("format_fields", key_paths);
    let message_key = options.value("message_key", |text| KeyPath::parse(text).map(Some));
    let label_delimiter = options.value("format_label_delimiter", delimiter);
    let delimiter = options.optional("format_delimiter", delimiter);

    if options.is_set("log_key") && options.is_set("format") && kind != FormatKind::Json {
        options.meaningless("format", "with log_key, which sends one value as it is");
    }
    match kind {
        FormatKind::Csv | FormatKind::Tsv if !options.is_set("format_fields") => {
            options
                .mistake("format", "csv and tsv need format_fields, the keys to send, separated by commas".to_owned());
        }
        FormatKind::Csv | FormatKind::Tsv => {}
        _ => options.meaningless("format_fields", "but with format csv or tsv"),
    }
    if kind != FormatKind::SingleValue {
        options.meaningless("message_key", "but with format single_value");
    }
    if kind != FormatKind::Ltsv {
        options.meaningless("format_label_delimiter", "but with format ltsv");
    }
    if !matches!(kind, FormatKind::Ltsv | FormatKind::Csv | FormatKind::Tsv | FormatKind::OutFile) {
        options.meaningless("format_delimiter", "but with format ltsv, csv, tsv or out_file");
    }
    if kind == FormatKind::Csv && delimiter.as_deref().is_some_and(|text| text.contains(['"', '\n'])) {
        options.mistake("format_delimiter", "csv cannot be read when it is a quote or a newline".to_owned());
    }

    let fields = fields.unwrap_or_default();
    let between = |default: &str| delimiter.clone().unwrap_or_else(|| default.to_owned());
    match (kind, log_key, message_key) {
        (_, Some(path), _) => Format::Value(path),
        (FormatKind::SingleValue, None, Some(path)) => Format::SingleValue(path),
        (FormatKind::Msgpack, ..) => Format::Msgpack,
        (FormatKind::Ltsv, ..) => Format::Ltsv { delimiter: between("\t"), label_delimiter },
        (FormatKind::Csv, ..) => Format::Csv { fields, delimiter: between(",") },
        (FormatKind::Tsv, ..) => Format::Tsv { fields, delimiter: between("\t") },
        (FormatKind::OutFile, ..) => Format::OutFile { delimiter: between("\t") },
        (FormatKind::Json | FormatKind::SingleValue, ..) => Format::Json,
    }
}

fn shape(options: &mut Options<'_>, format: &Format) -> Shape {
    let keep = options.optional("data_keys", key_paths).map(|paths| Selection::new(&paths));
    let replace_dots = options.optional("replace_dots", |text| match text.contains('.') {
        true => Err("use something without a dot".to_owned()),
        false => Ok(text.to_owned()),
    });
    let time_key = options.optional("time_key", |text| Ok(text.to_owned()));
    match format {
        Format::Value(log_key) => {
            options.meaningless("time_key", "with log_key, which sends one value alone");
            let is_kept = keep.as_ref().is_none_or(|keep| keep.keeps(log_key.keys()));
            let sends_nothing = !is_kept && replace_dots.is_none();
            options.mistake_if(sends_nothing, "log_key", "data_keys does not keep it, so nothing would be sent");
        }
        Format::Csv { .. } | Format::Tsv { .. } => {
            options.meaningless("data_keys", "with format csv or tsv: format_fields chooses");
        }
        Format::SingleValue(_) => options.meaningless("data_keys", "with format single_value: message_key chooses"),
        _ => {}
    }
    Shape { keep, replace_dots, time_key }
}

/// JSON and the value of `log_key` end in a newline when the user asks for it, the other formats of text unless the user does
/// not want it, as Fluentd's.
fn newline(options: &mut Options<'_>, format: &Format) -> bool {
    let append = options.value("append_newline", parse::boolean);
    let chomp = options.value("chomp_record", parse::boolean);
    options.mistake_if(append && chomp, "chomp_record", "append_newline adds what this removes: set one of them");
    options.mistake_if(append && !format.is_text(), "append_newline", "msgpack is no text: use another format");
    match format {
        Format::Json | Format::Value(_) => append,
        Format::Msgpack => false,
        _ => !chomp,
    }
}

fn compression(options: &mut Options<'_>) -> Option<Compression> {
    let kind = options.value("compression", |text| match text.eq_ignore_ascii_case("none") {
        true => Ok(None),
        false => Kind::parse(text).map(Some),
    });
    if kind.is_none() {
        options.meaningless("compression_level", "without compression");
    }
    let level = options.optional("compression_level", |text| kind.map_or(Ok(0), |kind| kind.parse_level(text)));
    kind.map(|kind| Compression { kind, level })
}

fn key_paths(text: &str) -> Result<Vec<KeyPath>, String> {
    let paths: Result<Vec<KeyPath>, String> = text.split(',').map(|path| KeyPath::parse(path.trim())).collect();
    paths.map_err(|allowed| format!("separated by commas, {allowed}"))
}

fn delimiter(text: &str) -> Result<String, String> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "TAB" | "\\T" => "\t".to_owned(),
        "SPACE" => " ".to_owned(),
        "COMMA" => ",".to_owned(),
        _ => text.to_owned(),
    })
}

fn oversize(text: &str) -> Result<Oversize, String> {
    match text.to_ascii_lowercase().as_str() {
        "truncate" => Ok(Oversize::Truncate),
        "discard" => Ok(Oversize::Discard),
        _ => Err("use truncate or discard".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The mistakes of a configuration with a stream and these options.
    fn mistakes(options: &[(&str, &str)]) -> Vec<String> {
        let options = [options, &[("stream", "logs")]].concat();
        let property = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        match Config::parse(&property) {
            Ok(_) => Vec::new(),
            Err(error) => error.mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn values_that_are_none_are_refused_with_those_that_are() {
        for (option, value, allowed) in [
            ("format", "xml", "use json, msgpack, ltsv, csv, tsv, single_value or out_file"),
            ("format", "hash", "it is how Ruby prints a hash, which nothing else reads: use json"),
            ("compression", "lz4", "use none, gzip, zlib, zstd or snappy"),
            ("oversize", "split", "use truncate or discard"),
            ("max_record_size", "11M", "use a size from 1 to 10485760 bytes, such as 512k or 1M"),
            ("replace_dots", "..", "use something without a dot"),
            (
                "partition_key",
                "a->",
                "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app'], or $TAG",
            ),
            ("log_key", "$a[0]", "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']"),
            ("append_newline", "maybe", "use on or off"),
        ] {
            assert_eq!(mistakes(&[(option, value)]), [format!("{option}: '{value}' is not valid: {allowed}")]);
        }
        assert_eq!(
            mistakes(&[("time_key", "t"), ("time_key_format", "%Q")]),
            [
                "time_key_format: '%Q' is not valid: '%Q' is none of strftime's conversions: use those, or %3N, %6N, %9N, %L, %f for fractions"
            ]
        );
        assert_eq!(
            mistakes(&[("compression", "zstd"), ("compression_level", "23")]),
            ["compression_level: '23' is not valid: use a whole number from -7 to 22 with zstd"]
        );
        assert_eq!(
            mistakes(&[("data_keys", "a,,b")]),
            [
                "data_keys: 'a,,b' is not valid: separated by commas, use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']"
            ]
        );
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused() {
        let csv = [("format", "csv"), ("format_fields", "a")];
        for (options, mistake) in [
            (
                &[("log_key", "a"), ("time_key", "t")][..],
                "time_key: it means nothing with log_key, which sends one value alone",
            ),
            (
                &[("log_key", "a"), ("format", "ltsv")],
                "format: it means nothing with log_key, which sends one value as it is",
            ),
            (
                &[("log_key", "a"), ("data_keys", "b,c")],
                "log_key: data_keys does not keep it, so nothing would be sent",
            ),
            (&[("time_key_format", "%s")], "time_key_format: it means nothing without time_key"),
            (&[("format", "csv")], "format: csv and tsv need format_fields, the keys to send, separated by commas"),
            (&[("format", "tsv")], "format: csv and tsv need format_fields, the keys to send, separated by commas"),
            (&[("format_fields", "a")], "format_fields: it means nothing but with format csv or tsv"),
            (
                &[csv[0], csv[1], ("data_keys", "a")],
                "data_keys: it means nothing with format csv or tsv: format_fields chooses",
            ),
            (
                &[csv[0], csv[1], ("format_delimiter", "\"")],
                "format_delimiter: csv cannot be read when it is a quote or a newline",
            ),
            (&[("message_key", "a")], "message_key: it means nothing but with format single_value"),
            (
                &[("format", "single_value"), ("data_keys", "a")],
                "data_keys: it means nothing with format single_value: message_key chooses",
            ),
            (&[("format_label_delimiter", "=")], "format_label_delimiter: it means nothing but with format ltsv"),
            (
                &[("format_delimiter", "=")],
                "format_delimiter: it means nothing but with format ltsv, csv, tsv or out_file",
            ),
            (
                &[("append_newline", "on"), ("chomp_record", "on")],
                "chomp_record: append_newline adds what this removes: set one of them",
            ),
            (
                &[("format", "msgpack"), ("append_newline", "on")],
                "append_newline: msgpack is no text: use another format",
            ),
            (&[("format", "msgpack"), ("oversize", "truncate")], "oversize: msgpack cannot be cut: use discard"),
            (&[("compression_level", "3")], "compression_level: it means nothing without compression"),
            (
                &[("compression", "snappy"), ("compression_level", "3")],
                "compression_level: '3' is not valid: snappy has no levels",
            ),
        ] {
            assert_eq!(mistakes(options), [mistake], "{options:?}");
        }
    }

    #[test]
    fn what_does_make_sense_together_is_not() {
        for options in [
            &[("log_key", "a->b"), ("data_keys", "a"), ("format", "json"), ("append_newline", "on")][..],
            &[("log_key", "a-b"), ("data_keys", "a.b"), ("replace_dots", "-")],
            &[("format", "out_file"), ("time_key_format", "%s"), ("time_key", "t"), ("data_keys", "a")],
            &[("format", "msgpack"), ("oversize", "discard"), ("append_newline", "off"), ("chomp_record", "on")],
            &[("compression", "None"), ("chomp_record", "true"), ("partition_key", "log")],
            &[("compression", "ZSTD"), ("compression_level", "-1"), ("max_record_size", "10M")],
        ] {
            assert_eq!(mistakes(options), Vec::<String>::new(), "{options:?}");
        }
    }
}
