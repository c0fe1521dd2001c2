//! The tables of docs/options.md: names, defaults and meanings from the code, grouped by subject; types, examples and
//! what goes together from here, and tried.
//!
//! `UPDATE=1 cargo test --test it documentation::` writes them.

use std::collections::BTreeSet;

use kinesis::config::Config;
use kinesis::config::options::{OPTIONS, OptionSpec};
use testing::sources::{marked, read, with_marked};

/// Options and their values, in the order of a configuration.
type Values = &'static [(&'static str, &'static str)];

struct Entry {
    name: &'static str,
    /// The values of a choice between backticks, or a kind of value.
    kind: &'static str,
    example: &'static str,
    /// It is refused without one of these.
    needs: &'static [Values],
    /// With each of these it is refused.
    not_with: &'static [Values],
}

const fn option(name: &'static str, kind: &'static str, example: &'static str) -> Entry {
    Entry { name, kind, example, needs: &[], not_with: &[] }
}

impl Entry {
    const fn needs(self, needs: &'static [Values]) -> Entry {
        Entry { needs, ..self }
    }

    const fn not_with(self, not_with: &'static [Values]) -> Entry {
        Entry { not_with, ..self }
    }

    fn spec(&self) -> &'static OptionSpec {
        OPTIONS.iter().find(|option| option.name == self.name).unwrap_or_else(|| panic!("no option {}", self.name))
    }
}

const SWITCH: &str = "on or off";
const KEYS: &str = "keys or paths";
const TEMPLATE: Values = &[("stream", "logs-$TAG")];
const KEY: Values = &[("aws_key_id", "AKIAEXAMPLE"), ("aws_sec_key", "wJalrXUtnFEMI")];
const ROLE: Values = &[("role_arn", "arn:aws:iam::111122223333:role/write-logs")];
const KPL: Values = &[("aggregation", "kpl")];
const LINES_IN_ZSTD: Values = &[("aggregation", "lines"), ("compression", "zstd")];
const LTSV: Values = &[("format", "ltsv")];
const SINGLE_VALUE: Values = &[("format", "single_value")];
const OUT_FILE: Values = &[("format", "out_file")];
const PROCESS: Values = &[("process_credentials", "/usr/bin/print-keys")];
const CSV: Values = &[("format", "csv"), ("format_fields", "log")];
const TSV: Values = &[("format", "tsv"), ("format_fields", "log")];

/// Groups by the name of their mark in docs/options.md.
const GROUPS: &[(&str, &[Entry])] = &[
    (
        "destination",
        &[
            option("stream", "name, ARN or template", "logs-$TAG"),
            option("stream_fallback", "name", "logs-other").needs(&[TEMPLATE]),
            option("max_streams", "number", "256").needs(&[TEMPLATE]),
            option("region", "text", "eu-west-1"),
            option("endpoint", "host, host:port or URL", "http://127.0.0.1:4567")
                .not_with(&[&[("use_fips_endpoint", "on")], &[("use_dualstack_endpoint", "on")]]),
            option("use_fips_endpoint", SWITCH, "on").not_with(&[&[("endpoint", "127.0.0.1")]]),
            option("use_dualstack_endpoint", SWITCH, "on").not_with(&[&[("endpoint", "127.0.0.1")]]),
            option("http_proxy", "host:port or URL", "proxy.example.com:3128"),
            option("ca_bundle", "file", "/etc/ssl/private-ca.pem"),
            option("protocol", "`json`, `cbor`", "cbor"),
            option("check", "`off`, `warn`, `fail`", "warn"),
            option("check_custom_endpoint", SWITCH, "on").needs(&[&[("check", "warn")], &[("check", "fail")]]),
        ],
    ),
    (
        "credentials",
        &[
            option("aws_key_id", "text", "AKIAEXAMPLE")
                .needs(&[&[("aws_sec_key", "wJalrXUtnFEMI")]])
                .not_with(&[&[("profile", "logs")], &[("process_credentials", "print-keys")]]),
            option("aws_sec_key", "text", "wJalrXUtnFEMI").needs(&[&[("aws_key_id", "AKIAEXAMPLE")]]),
            option("aws_ses_token", "text", "IQoJb3JpZ2luX2Vj").needs(&[KEY]),
            option("profile", "text", "logs").not_with(&[KEY, &[("process_credentials", "print-keys")]]),
            option("process_credentials", "command", "/usr/bin/print-keys").not_with(&[KEY, &[("profile", "logs")]]),
            option("role_arn", "ARN", "arn:aws:iam::111122223333:role/write-logs"),
            option("external_id", "text", "fleet-7").needs(&[ROLE]),
            option("role_session_name", "text", "fluent-bit").needs(&[ROLE]),
            option("role_policy", "JSON", r#"{"Version":"2012-10-17","Statement":[]}"#).needs(&[ROLE]),
            option("role_duration_seconds", "seconds", "7200").needs(&[ROLE]),
            option("sts_endpoint", "host, host:port or URL", "sts.eu-west-1.amazonaws.com"),
            option("aws_iam_retries", "number", "2").not_with(&[KEY, PROCESS]),
        ],
    ),
    (
        "content",
        &[
            option("log_key", "key or path", "log").not_with(&[
                &[("time_key", "time")],
                &[("tag_key", "tag")],
                &[("metadata_key", "metadata")],
                &[("group_key", "group")],
                &[("format", "msgpack")],
                LTSV,
                CSV,
                TSV,
                SINGLE_VALUE,
                OUT_FILE,
            ]),
            option("data_keys", KEYS, "log, kubernetes->pod_name").not_with(&[CSV, TSV, SINGLE_VALUE]),
            option("exclude_keys", KEYS, "stream, kubernetes->labels").not_with(&[CSV, TSV, SINGLE_VALUE]),
            option("duplicate_keys", "`last`, `merge`", "merge"),
            option("drop_empty", SWITCH, "on"),
            option("replace_dots", "text", "_"),
            option("time_key", "key", "time").not_with(&[&[("log_key", "log")]]),
            option("time_key_format", "format or name", "%Y-%m-%dT%H:%M:%S.%3NZ")
                .needs(&[&[("time_key", "time")], &[("format", "out_file")]]),
            option("tag_key", "key", "tag").not_with(&[&[("log_key", "log")]]),
            option("metadata_key", "key", "metadata").not_with(&[&[("log_key", "log")]]),
            option("group_key", "key", "group").not_with(&[&[("log_key", "log")]]),
        ],
    ),
    (
        "format",
        &[
            option("format", "`json`, `msgpack`, `ltsv`, `csv`, `tsv`, `single_value`, `out_file`", "ltsv")
                .not_with(&[&[("log_key", "log")]]),
            option("format_fields", KEYS, "time, level, log").needs(&[&[("format", "csv")], &[("format", "tsv")]]),
            option("message_key", "key or path", "log").needs(&[&[("format", "single_value")]]),
            option("format_delimiter", "text, `TAB`, `SPACE`, `COMMA`", "SPACE").needs(&[LTSV, CSV, TSV, OUT_FILE]),
            option("format_label_delimiter", "text", "=").needs(&[&[("format", "ltsv")]]),
            option("append_newline", SWITCH, "on").not_with(&[
                &[("format", "msgpack")],
                LTSV,
                CSV,
                TSV,
                SINGLE_VALUE,
                OUT_FILE,
            ]),
            option("chomp_record", SWITCH, "on").needs(&[LTSV, CSV, TSV, SINGLE_VALUE, OUT_FILE]),
            option("compression", "`none`, `gzip`, `zlib`, `zstd`, `snappy`", "zstd"),
            option("compression_level", "number", "3").needs(&[
                &[("compression", "gzip")],
                &[("compression", "zlib")],
                &[("compression", "zstd")],
            ]),
            option("compression_threads", "number", "2").needs(&[LINES_IN_ZSTD]).not_with(&[KPL]),
            option("max_record_size", "size, or `auto`", "10M"),
            option("oversize", "`truncate`, `discard`", "discard"),
        ],
    ),
    (
        "keys",
        &[
            option("partition_key", "key, path, `$TAG`, `constant:…` or `none`", "kubernetes->pod_name"),
            option("explicit_hash_key", "key or path", "hash").not_with(&[
                KPL,
                &[("aggregation", "lines")],
                &[("partition_key", "none")],
            ]),
            option("aggregation", "`off`, `kpl`, `lines`", "kpl").not_with(&[&[("explicit_hash_key", "hash")]]),
            option("simple_aggregation", SWITCH, "on").not_with(&[KPL]),
            option("aggregation_max_size", "size", "512K").needs(&[KPL]),
            option("aggregation_max_count", "number", "1000").needs(&[KPL]),
            option("shard_map", SWITCH, "on").needs(&[KPL]),
            option("record_distribution", "`detect`, `user`, `auto`", "auto")
                .needs(&[KPL, &[("partition_key", "none")]]),
        ],
    ),
    (
        "delivery",
        &[
            option("batch_request_max_count", "number", "100"),
            option("batch_request_max_size", "size", "1M"),
            option("concurrency", "number", "8"),
            option("retries_on_batch_request", "number", "16"),
            option("reset_backoff_if_success", SWITCH, "off"),
            option("auto_retry_requests", SWITCH, "off"),
            option("http_request_timeout", "time", "10"),
            option("flush_timeout", "time", "2m"),
            option("coroutines", "`auto`, `on`, `off`", "off"),
        ],
    ),
    (
        "state",
        &[
            option("ledger_path", "file", "/var/lib/fluent-bit/kinesis.ledger"),
            option("ledger_max_bytes", "size", "4M"),
            option("dead_letter_path", "folder", "/var/lib/fluent-bit/dead-letters"),
            option("dead_letter_max_bytes", "size", "1G").needs(&[&[("dead_letter_path", "/var/lib/fluent-bit")]]),
            option("slow_flush_log_threshold", "time", "1m"),
            option("stats_interval", "time", "5m"),
        ],
    ),
];

fn entries() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|(_, entries)| *entries)
}

/// `format csv` for a choice, else the option's name.
fn shown(values: Values) -> String {
    let (name, value) = values[0];
    // A template is what the value shows.
    let is_choice =
        name == "stream" || entries().any(|entry| entry.name == name && entry.kind.contains(&format!("`{value}`")));
    if is_choice { format!("`{name} {value}`") } else { format!("`{name}`") }
}

fn table(entries: &[Entry]) -> String {
    let mut table = "| option | default | meaning |\n|---|---|---|\n".to_owned();
    for entry in entries {
        let spec = entry.spec();
        let aliases: Vec<String> = spec.aliases.iter().map(|alias| format!(" (`{alias}`)")).collect();
        let default = spec.default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let listed = |what: &str, all: &[Values], word: &str| {
            let all: Vec<String> = all.iter().map(|values| shown(values)).collect();
            if all.is_empty() { String::new() } else { format!(" **{what}** {}.", all.join(word)) }
        };
        table += &format!(
            "| `{}`{} | {default} | {}<br>*{}*, such as `{}`.{}{} |\n",
            spec.name,
            aliases.concat(),
            spec.doc,
            entry.kind.replace('`', ""),
            entry.example,
            listed("Needs", entry.needs, " or "),
            listed("Not with", entry.not_with, ", "),
        );
    }
    table
}

/// The document with the current tables between its marks.
pub fn with_options(document: &str) -> String {
    let mut current = document.to_owned();
    for (name, entries) in GROUPS {
        current = with_marked(&current, &format!("options {name}"), &table(entries)).unwrap_or(current);
    }
    current
}

#[test]
fn the_option_tables_are_those_of_the_code() {
    let options = read("docs/options.md");
    for (name, _) in GROUPS {
        assert!(marked(&options, &format!("options {name}")).is_some(), "docs/options.md has no group {name}");
    }
    let is_current = options == with_options(&options);
    assert!(is_current, "docs/options.md is not current: UPDATE=1 cargo test --test it documentation::");
}

#[test]
fn each_option_is_in_one_group() {
    let grouped: Vec<&str> = entries().map(|entry| entry.name).collect();
    let named: BTreeSet<&str> = grouped.iter().copied().collect();
    assert_eq!(grouped.len(), named.len(), "an option is in two groups");
    let missing: Vec<&str> = OPTIONS.iter().map(|option| option.name).filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "add these to a group in tests/it/options.rs: {missing:?}");
}

/// What the parser says to these options; the last of equal names counts.
fn issues(options: &[(&str, &str)]) -> Vec<String> {
    let property = |name: &str| {
        let set = options.iter().rev().find(|(option, _)| *option == name);
        set.map(|(_, value)| (*value).to_owned()).or_else(|| (name == "stream").then(|| "logs".to_owned()))
    };
    match Config::parse(&property) {
        Ok(_) => Vec::new(),
        Err(error) => error.issues.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn each_example_starts_with_what_it_needs_and_not_without() {
    for entry in entries() {
        let example = [(entry.name, entry.example)];
        let alternatives = if entry.needs.is_empty() { &[&[] as Values] } else { entry.needs };
        for needs in alternatives {
            assert_eq!(issues(&[&example, *needs].concat()), Vec::<String>::new(), "{} {}", entry.name, entry.example);
        }
        assert!(entry.needs.is_empty() || !issues(&example).is_empty(), "{} needs none of these", entry.name);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for entry in entries() {
        for conflict in entry.not_with {
            assert_eq!(issues(conflict), Vec::<String>::new(), "{conflict:?} does not start by itself");
            let needs = entry.needs.first().copied().unwrap_or_default();
            let both = [&[(entry.name, entry.example)], needs, *conflict].concat();
            assert!(!issues(&both).is_empty(), "{} goes with {conflict:?}", entry.name);
        }
    }
}
