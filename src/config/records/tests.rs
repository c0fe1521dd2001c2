//! Options that are refused, alone and together.

use crate::config::Config;

/// The issues of a configuration with a stream and these options.
fn issues(options: &[(&str, &str)]) -> Vec<String> {
    match Config::parse(&testing::property(options)) {
        Ok(_) => Vec::new(),
        Err(error) => error.issues.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn values_that_are_none_are_refused_with_those_that_are() {
    for (option, value, allowed) in [
        ("format", "xml", "use json, msgpack, ltsv, csv, tsv, single_value or out_file"),
        ("format", "hash", "it is Ruby's notation, which nothing else reads: use json"),
        ("compression", "lz4", "use none, gzip, zlib, zstd or snappy"),
        ("oversize", "split", "use truncate or discard"),
        ("max_record_size", "11M", "use a size from 1 to 10485760 bytes, such as 512k or 1M, or auto"),
        ("replace_dots", "..", "use text without a dot"),
        (
            "partition_key",
            "a->",
            "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app'], or $TAG, or constant: and a text, or none",
        ),
        ("log_key", "$a[0]", "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']"),
        ("partition_key", "constant:", "constant: takes 1 to 256 characters, or none"),
        (
            "partition_key",
            "$tag",
            "use $TAG for the tag, or the key without $ for the value of a key of that name, or none",
        ),
        ("explicit_hash_key", "->", "use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']"),
        ("duplicate_keys", "first", "use last or merge"),
        ("drop_empty", "never", "use on or off"),
        ("append_newline", "maybe", "use on or off"),
    ] {
        assert_eq!(issues(&[(option, value)]), [format!("{option}: '{value}' is not valid: {allowed}")]);
    }
    assert_eq!(
        issues(&[("time_key", "t"), ("time_key_format", "%Q")]),
        [
            "time_key_format: '%Q' is not valid: '%Q' is not a strftime conversion: use those, or %3N, %6N, %9N, %L, %f for fractions"
        ]
    );
    assert_eq!(
        issues(&[("compression", "zstd"), ("compression_level", "23")]),
        ["compression_level: '23' is not valid: use a whole number from -7 to 22 with zstd"]
    );
    assert_eq!(
        issues(&[("data_keys", "a,,b")]),
        [
            "data_keys: 'a,,b' is not valid: use a key, a path such as kubernetes->pod_name, or $kubernetes['labels']['app']; separate several by commas"
        ]
    );
}

#[test]
fn options_that_make_no_sense_together_are_refused() {
    let csv = [("format", "csv"), ("format_fields", "a")];
    for (options, issue) in [
        (
            &[("log_key", "a"), ("time_key", "t")][..],
            "time_key: cannot be combined with log_key, which sends a single value",
        ),
        (
            &[("log_key", "a"), ("format", "ltsv")],
            "format: cannot be combined with log_key, which sends a value as it is",
        ),
        (&[("log_key", "a"), ("data_keys", "b,c")], "log_key: data_keys excludes it, so nothing would be sent"),
        (
            &[("log_key", "a->b"), ("exclude_keys", "c,a")],
            "log_key: exclude_keys excludes it, so nothing would be sent",
        ),
        (
            &[("data_keys", "a->b, c"), ("exclude_keys", "a,c")],
            "exclude_keys: excludes all of data_keys, so nothing would be sent",
        ),
        (
            &[csv[0], csv[1], ("exclude_keys", "a")],
            "exclude_keys: cannot be combined with format csv or tsv, which send format_fields",
        ),
        (
            &[("format", "single_value"), ("exclude_keys", "a")],
            "exclude_keys: cannot be combined with format single_value, which sends message_key",
        ),
        (&[("chomp_record", "on")], "chomp_record: only valid with format ltsv, csv, tsv, single_value or out_file"),
        (
            &[("chomp_record", "on"), ("log_key", "log")],
            "chomp_record: only valid with format ltsv, csv, tsv, single_value or out_file",
        ),
        (
            &[("chomp_record", "on"), ("format", "msgpack")],
            "chomp_record: only valid with format ltsv, csv, tsv, single_value or out_file",
        ),
        (
            &[("append_newline", "on"), ("format", "ltsv")],
            "append_newline: remove it: this format ends each record with a newline anyway",
        ),
        (&[("time_key_format", "%s")], "time_key_format: only valid with time_key or format out_file"),
        (&[("format", "csv")], "format: csv and tsv require format_fields, the comma-separated keys to send"),
        (&[("format", "tsv")], "format: csv and tsv require format_fields, the comma-separated keys to send"),
        (&[("format_fields", "a")], "format_fields: only valid with format csv or tsv"),
        (
            &[csv[0], csv[1], ("data_keys", "a")],
            "data_keys: cannot be combined with format csv or tsv, which send format_fields",
        ),
        (
            &[csv[0], csv[1], ("format_delimiter", "\"")],
            "format_delimiter: csv cannot be parsed if it is a quote or a newline",
        ),
        (&[("message_key", "a")], "message_key: only valid with format single_value"),
        (
            &[("format", "single_value"), ("data_keys", "a")],
            "data_keys: cannot be combined with format single_value, which sends message_key",
        ),
        (&[("format_label_delimiter", "=")], "format_label_delimiter: only valid with format ltsv"),
        (&[("format_delimiter", "=")], "format_delimiter: only valid with format ltsv, csv, tsv or out_file"),
        (
            &[("append_newline", "on"), ("chomp_record", "on")],
            "chomp_record: removes what append_newline adds: set only one of them",
        ),
        (&[("format", "msgpack"), ("append_newline", "on")], "append_newline: msgpack is not text: use another format"),
        (
            &[("format", "msgpack"), ("oversize", "truncate")],
            "oversize: msgpack records cannot be truncated: use discard",
        ),
        (&[("compression_level", "3")], "compression_level: only valid with compression"),
        (
            &[("compression", "snappy"), ("compression_level", "3")],
            "compression_level: '3' is not valid: snappy has no levels",
        ),
    ] {
        assert_eq!(issues(options), [issue], "{options:?}");
    }
}

#[test]
fn what_does_make_sense_together_is_not() {
    for options in [
        &[("log_key", "a->b"), ("data_keys", "a"), ("format", "json"), ("append_newline", "on")][..],
        &[("log_key", "a-b"), ("data_keys", "a.b"), ("replace_dots", "-")],
        &[("format", "out_file"), ("time_key_format", "%s"), ("time_key", "t"), ("data_keys", "a")],
        &[("format", "msgpack"), ("oversize", "discard"), ("append_newline", "off"), ("chomp_record", "off")],
        &[("format", "csv"), ("format_fields", "a"), ("chomp_record", "true"), ("partition_key", "log")],
        &[("data_keys", "k,log"), ("exclude_keys", "k->labels"), ("drop_empty", "on"), ("duplicate_keys", "Merge")],
        &[("log_key", "k"), ("exclude_keys", "k->labels"), ("partition_key", "constant:all of one")],
        &[("time_key", "t"), ("time_key_format", "epoch_ms"), ("explicit_hash_key", "a->b")],
        &[("compression", "ZSTD"), ("compression_level", "-1"), ("max_record_size", "10M")],
    ] {
        assert_eq!(issues(options), Vec::<String>::new(), "{options:?}");
    }
}
