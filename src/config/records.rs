//! The options about what is sent.

use super::parse;
use super::reader::Options;
use crate::kinesis::limits;
use crate::partition::PartitionKey;
use crate::record::RecordSettings;
use crate::record::formats::Format;
use crate::record::path::KeyPath;
use crate::record::shape::{Selection, Shape};
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;

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
        max_bytes: options.value("max_record_size", parse::size(1..=limits::MAX_RECORD_BYTES)),
        oversize: if is_text { oversize } else { Oversize::Discard },
        partition_key: options.optional("partition_key", PartitionKey::parse).unwrap_or(PartitionKey::Random),
        format,
    }
}

/// The time column of Fluentd's `out_file`, where the local time is UTC.
const OUT_FILE_TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";

/// The values of `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Json,
    Msgpack,
    Ltsv,
    Csv,
    Tsv,
    SingleValue,
    OutFile,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(Kind::Json),
        "msgpack" => Ok(Kind::Msgpack),
        "ltsv" => Ok(Kind::Ltsv),
        "csv" => Ok(Kind::Csv),
        "tsv" => Ok(Kind::Tsv),
        "single_value" => Ok(Kind::SingleValue),
        "out_file" => Ok(Kind::OutFile),
        "hash" => Err("it is how Ruby prints a hash, which nothing else reads: use json".to_owned()),
        _ => Err("use json, msgpack, ltsv, csv, tsv, single_value or out_file".to_owned()),
    }
}

fn format(options: &mut Options<'_>) -> Format {
    let kind = options.value("format", kind);
    let log_key = options.optional("log_key", KeyPath::parse);
    let fields = options.optional("format_fields", key_paths);
    let message_key = options.value("message_key", |text| KeyPath::parse(text).map(Some));
    let label_delimiter = options.value("format_label_delimiter", delimiter);
    let delimiter = options.optional("format_delimiter", delimiter);

    if options.is_set("log_key") && options.is_set("format") && kind != Kind::Json {
        options.meaningless("format", "with log_key, which sends one value as it is");
    }
    match kind {
        Kind::Csv | Kind::Tsv if !options.is_set("format_fields") => {
            options
                .mistake("format", "csv and tsv need format_fields, the keys to send, separated by commas".to_owned());
        }
        Kind::Csv | Kind::Tsv => {}
        _ => options.meaningless("format_fields", "but with format csv or tsv"),
    }
    if kind != Kind::SingleValue {
        options.meaningless("message_key", "but with format single_value");
    }
    if kind != Kind::Ltsv {
        options.meaningless("format_label_delimiter", "but with format ltsv");
    }
    if !matches!(kind, Kind::Ltsv | Kind::Csv | Kind::Tsv | Kind::OutFile) {
        options.meaningless("format_delimiter", "but with format ltsv, csv, tsv or out_file");
    }
    if kind == Kind::Csv && delimiter.as_deref().is_some_and(|text| text.contains(['"', '\n'])) {
        options.mistake("format_delimiter", "csv cannot be read when it is a quote or a newline".to_owned());
    }

    let fields = fields.unwrap_or_default();
    let between = |default: &str| delimiter.clone().unwrap_or_else(|| default.to_owned());
    match (kind, log_key, message_key) {
        (_, Some(path), _) => Format::Value(path),
        (Kind::SingleValue, None, Some(path)) => Format::SingleValue(path),
        (Kind::Msgpack, ..) => Format::Msgpack,
        (Kind::Ltsv, ..) => Format::Ltsv { delimiter: between("\t"), label_delimiter },
        (Kind::Csv, ..) => Format::Csv { fields, delimiter: between(",") },
        (Kind::Tsv, ..) => Format::Tsv { fields, delimiter: between("\t") },
        (Kind::OutFile, ..) => Format::OutFile { delimiter: between("\t") },
        (Kind::Json | Kind::SingleValue, ..) => Format::Json,
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
