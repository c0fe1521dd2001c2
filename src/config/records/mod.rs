//! The options about the content of a record.

use super::parse;
use super::reader::Options;
use crate::compress::Kind;
use crate::error::Allowed;
use crate::kinesis::limits;
use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::shape::{Selection, Shape};
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;
use crate::record::{Compression, RecordSettings};

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> RecordSettings {
    let format = format(options);
    let shape = shape(options, &format);
    let time_format = time_format(options, &shape, &format);
    let oversize = options.value("oversize", parse::one_of(OVERSIZE));
    let is_text = format.is_text();
    let can_be_cut = is_text || oversize == Oversize::Discard;
    options.reject_unless(can_be_cut, "oversize", "msgpack records cannot be truncated: use discard");
    RecordSettings {
        shape,
        time_format,
        newline: newline(options, &format),
        compression: compression(options),
        max_bytes: options.value("max_record_size", max_record_size).unwrap_or(limits::DEFAULT_RECORD_BYTES),
        oversize: if is_text { oversize } else { Oversize::Discard },
        partition_key: options.optional("partition_key", partition_key).unwrap_or(PartitionKey::Random),
        explicit_hash_key: options.optional("explicit_hash_key", KeyPath::parse),
        merge_maps: options.value("duplicate_keys", parse::one_of(DUPLICATE_KEYS)),
        drop_empty: options.value("drop_empty", parse::boolean),
        format,
    }
}

/// The value of `max_record_size` for the stream's own limit.
pub(super) const STREAMS_OWN: &str = "auto";

/// The value of `partition_key` for none. A key of that name can be written `$none`.
pub(super) const NO_KEY: &str = "none";

/// `None` is the stream's own limit, unknown as yet.
fn max_record_size(text: &str) -> Result<Option<usize>, Allowed> {
    if text.eq_ignore_ascii_case(STREAMS_OWN) {
        return Ok(None);
    }
    parse::size(1..=limits::MAX_RECORD_BYTES)(text).map(Some).map_err(|allowed| format!("{allowed}, or auto").into())
}

/// Where a stream distributes records itself, random keys are left out ([`crate::deliver`]).
fn partition_key(text: &str) -> Result<PartitionKey, Allowed> {
    match text.eq_ignore_ascii_case(NO_KEY) {
        true => Ok(PartitionKey::Random),
        false => PartitionKey::parse(text).map_err(|allowed| format!("{allowed}, or none").into()),
    }
}

const OVERSIZE: &[(&str, Oversize)] = &[("truncate", Oversize::Truncate), ("discard", Oversize::Discard)];

/// Whether maps of one name are merged.
const DUPLICATE_KEYS: &[(&str, bool)] = &[("last", false), ("merge", true)];

/// The options with keys that are added to records, besides `time_key`.
const ADDED_KEYS: [&str; 3] = ["tag_key", "metadata_key", "group_key"];

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

const FORMATS: &[(&str, FormatKind)] = &[
    ("json", FormatKind::Json),
    ("msgpack", FormatKind::Msgpack),
    ("ltsv", FormatKind::Ltsv),
    ("csv", FormatKind::Csv),
    ("tsv", FormatKind::Tsv),
    ("single_value", FormatKind::SingleValue),
    ("out_file", FormatKind::OutFile),
];

/// The options that have an effect with some formats only.
const OF_FORMATS: &[(&str, &[FormatKind])] = &[
    ("format_fields", &[FormatKind::Csv, FormatKind::Tsv]),
    ("message_key", &[FormatKind::SingleValue]),
    ("format_label_delimiter", &[FormatKind::Ltsv]),
    ("format_delimiter", &[FormatKind::Ltsv, FormatKind::Csv, FormatKind::Tsv, FormatKind::OutFile]),
];

fn format_kind(text: &str) -> Result<FormatKind, Allowed> {
    match text.eq_ignore_ascii_case("hash") {
        true => Err("it is Ruby's notation, which nothing else reads: use json".into()),
        false => parse::one_of(FORMATS)(text),
    }
}

fn format(options: &mut Options<'_>) -> Format {
    let kind = options.value("format", format_kind);
    let log_key = options.optional("log_key", KeyPath::parse);
    let fields = options.optional("format_fields", key_paths).unwrap_or_default();
    let message_key = options.value("message_key", |text| KeyPath::parse(text).map(Some));
    let label_delimiter = options.value("format_label_delimiter", delimiter);
    let delimiter = options.optional("format_delimiter", delimiter);

    let formats_one_value = options.is_set("log_key") && kind != FormatKind::Json;
    options.reject_unless(
        !formats_one_value,
        "format",
        "cannot be combined with log_key, which sends a value as it is",
    );
    for (option, kinds) in OF_FORMATS {
        let names = FORMATS.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(name, _)| *name);
        let text = format!("only valid with format {}", parse::listed(names));
        options.reject_unless(kinds.contains(&kind) || options.is_invalid("format"), option, &text);
    }
    if matches!(kind, FormatKind::Csv | FormatKind::Tsv) && !options.is_set("format_fields") {
        options.reject("format", "csv and tsv require format_fields, the comma-separated keys to send");
    }
    if kind == FormatKind::Csv && delimiter.as_deref().is_some_and(|text| text.contains(['"', '\n'])) {
        options.reject("format_delimiter", "csv cannot be parsed if it is a quote or a newline");
    }

    let delimiter = |default: &str| delimiter.unwrap_or_else(|| default.to_owned());
    match (kind, log_key, message_key) {
        (_, Some(path), _) => Format::Value(path),
        (FormatKind::SingleValue, None, Some(path)) => Format::SingleValue(path),
        (FormatKind::Msgpack, ..) => Format::Msgpack,
        (FormatKind::Ltsv, ..) => Format::Ltsv { delimiter: delimiter("\t"), label_delimiter },
        (FormatKind::Csv, ..) => Format::Csv { fields, delimiter: delimiter(",") },
        (FormatKind::Tsv, ..) => Format::Tsv { fields, delimiter: delimiter("\t") },
        (FormatKind::OutFile, ..) => Format::OutFile { delimiter: delimiter("\t") },
        (FormatKind::Json | FormatKind::SingleValue, ..) => Format::Json,
    }
}

fn shape(options: &mut Options<'_>, format: &Format) -> Shape {
    let data_keys = options.optional("data_keys", key_paths);
    let exclude = options.optional("exclude_keys", key_paths).map(|paths| Selection::new(&paths));
    let is_excluded = |path: &KeyPath| exclude.as_ref().is_some_and(|exclude| exclude.holds(path.keys()));
    if data_keys.as_ref().is_some_and(|paths| paths.iter().all(is_excluded)) {
        options.reject("exclude_keys", "excludes all of data_keys, so nothing would be sent");
    }
    let keep = data_keys.map(|paths| Selection::new(&paths));
    let replace_dots = options.optional("replace_dots", |text| match text.contains('.') {
        true => Err("use text without a dot"),
        false => Ok(text.to_owned()),
    });
    let time_key = options.optional("time_key", parse::text);
    let [tag_key, metadata_key, group_key] = ADDED_KEYS.map(|option| options.optional(option, parse::text));
    let mut keys: Vec<&String> = time_key.iter().collect();
    for (option, key) in ADDED_KEYS.into_iter().zip([&tag_key, &metadata_key, &group_key]) {
        let Some(key) = key else { continue };
        if keys.contains(&key) {
            options.reject(option, format!("'{key}' is the key of another option too: use different keys"));
        }
        let is_kept = keep.as_ref().is_none_or(|keep| keep.of(key.as_bytes()).is_some());
        if !is_kept || exclude.as_ref().is_some_and(|exclude| exclude.holds(std::slice::from_ref(key))) {
            options.reject(option, "data_keys or exclude_keys leaves it out, so it would not be sent");
        }
        keys.push(key);
    }
    match format {
        Format::Value(log_key) => {
            for option in ["time_key"].into_iter().chain(ADDED_KEYS) {
                options.reject_unless(false, option, "cannot be combined with log_key, which sends a single value");
            }
            let is_kept = keep.as_ref().is_none_or(|keep| keep.holds(log_key.keys()));
            if !is_kept && replace_dots.is_none() {
                options.reject("log_key", "data_keys excludes it, so nothing would be sent");
            }
            if is_excluded(log_key) && replace_dots.is_none() {
                options.reject("log_key", "exclude_keys excludes it, so nothing would be sent");
            }
        }
        Format::Csv { .. } | Format::Tsv { .. } => {
            let text = "cannot be combined with format csv or tsv, which send format_fields";
            options.reject_unless(false, "data_keys", text);
            options.reject_unless(false, "exclude_keys", text);
        }
        Format::SingleValue(_) => {
            let text = "cannot be combined with format single_value, which sends message_key";
            options.reject_unless(false, "data_keys", text);
            options.reject_unless(false, "exclude_keys", text);
        }
        _ => {}
    }
    Shape { keep, exclude, replace_dots, time_key, tag_key, metadata_key, group_key }
}

/// The time column of Fluentd's `out_file`, where the local time is UTC.
const OUT_FILE_TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";

fn time_format(options: &mut Options<'_>, shape: &Shape, format: &Format) -> TimeFormat {
    let is_out_file = matches!(format, Format::OutFile { .. });
    let has_time = shape.time_key.is_some() || is_out_file || options.is_invalid("format");
    let time_format = options.optional("time_key_format", TimeFormat::parse);
    options.reject_unless(has_time, "time_key_format", "only valid with time_key or format out_file");
    match time_format {
        Some(format) => format,
        None if is_out_file => TimeFormat::parse(OUT_FILE_TIME).unwrap_or_default(),
        None => options.default("time_key_format", TimeFormat::parse),
    }
}

/// JSON and the value of `log_key` end with a newline if the user asks for it; the other text formats unless the user
/// declines it, as in Fluentd.
fn newline(options: &mut Options<'_>, format: &Format) -> bool {
    let append = options.value("append_newline", parse::boolean);
    let chomp = options.value("chomp_record", parse::boolean);
    if append && chomp {
        options.reject("chomp_record", "removes what append_newline adds: set only one of them");
    }
    if append && !format.is_text() {
        options.reject("append_newline", "msgpack is not text: use another format");
    }
    let adds_one = !matches!(format, Format::Json | Format::Value(_) | Format::Msgpack);
    if chomp && !append && !adds_one && !options.is_invalid("format") {
        options.reject("chomp_record", "only valid with format ltsv, csv, tsv, single_value or out_file");
    }
    if append && !chomp && adds_one {
        options.reject("append_newline", "remove it: this format ends each record with a newline anyway");
    }
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
    let is_used = kind.is_some() || options.is_invalid("compression");
    options.reject_unless(is_used, "compression_level", "only valid with compression");
    let level = options.optional("compression_level", |text| kind.map_or(Ok(0), |kind| kind.parse_level(text)));
    kind.map(|kind| Compression { kind, level })
}

fn key_paths(text: &str) -> Result<Vec<KeyPath>, Allowed> {
    let paths: Result<Vec<KeyPath>, _> = text.split(',').map(|path| KeyPath::parse(path.trim())).collect();
    paths.map_err(|allowed| format!("{allowed}; separate several by commas").into())
}

fn delimiter(text: &str) -> Result<String, Allowed> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "TAB" | "\\T" => "\t".to_owned(),
        "SPACE" => " ".to_owned(),
        "COMMA" => ",".to_owned(),
        _ => text.to_owned(),
    })
}

#[cfg(test)]
mod tests;
