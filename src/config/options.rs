//! The option table: the one source of every option's name, default and meaning.
//!
//! It feeds the parser ([`super::Config::parse`]), the host's config map (so that `fluent-bit -o kinesis -h` prints
//! help and unknown keys are refused where the host can) and the table in docs/options.md, which a test compares.

/// One option, as the user sees it.
#[derive(Debug)]
pub struct OptionSpec {
    /// The name, in any case.
    pub name: &'static str,
    /// The names used by the plugins that this one replaces.
    pub aliases: &'static [&'static str],
    /// The default, parsed like a user's value; `None` if being unset has a meaning of its own.
    pub default: Option<&'static str>,
    /// Whether messages must not show the value.
    pub secret: bool,
    /// Help text for the host and docs/options.md, a sentence or two.
    pub doc: &'static str,
}

impl OptionSpec {
    const fn new(name: &'static str, doc: &'static str) -> OptionSpec {
        OptionSpec { name, aliases: &[], default: None, secret: false, doc }
    }

    const fn aliases(self, aliases: &'static [&'static str]) -> OptionSpec {
        OptionSpec { aliases, ..self }
    }

    const fn default(self, default: &'static str) -> OptionSpec {
        OptionSpec { default: Some(default), ..self }
    }

    const fn secret(self) -> OptionSpec {
        OptionSpec { secret: true, ..self }
    }

    /// Whether `name` is the name or an alias.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// The name, then the aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// What the host's help says of one of the names.
    pub fn help(&self, name: &str) -> String {
        if name == self.name { self.doc.to_owned() } else { format!("Same as {}.", self.name) }
    }
}

/// All options, in the order of the documentation.
pub static OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "stream",
        "Name or ARN of the Kinesis stream, or a template such as logs-$TAG, $TAG[1] or $kubernetes['namespace_name']-logs, which gives each record its stream. An ARN also sets the default region. Required.",
    )
    .aliases(&["stream_name"]),
    OptionSpec::new(
        "stream_fallback",
        "If stream is a template: the stream of records for which it gives no valid name. If unset, those records are refused.",
    ),
    OptionSpec::new(
        "max_streams",
        "If stream is a template: how many streams to keep state for, 1 to 1024. Beyond this, the least recently used one starts anew.",
    )
    .default("64"),
    OptionSpec::new(
        "region",
        "AWS region. If unset: the region of the stream's ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile or the instance, in that order.",
    ),
    OptionSpec::new(
        "endpoint",
        "Kinesis endpoint as host, host:port or URL; HTTPS unless the URL starts with http://. If unset: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, the profile's endpoint_url or the region's endpoint, in that order.",
    ),
    OptionSpec::new(
        "use_fips_endpoint",
        "Use the region's FIPS endpoint. If unset: AWS_USE_FIPS_ENDPOINT, then the profile, then off. Cannot be combined with endpoint.",
    ),
    OptionSpec::new(
        "use_dualstack_endpoint",
        "Use the region's dual-stack (IPv4 and IPv6) endpoint. If unset: AWS_USE_DUALSTACK_ENDPOINT, then the profile, then off. Cannot be combined with endpoint.",
    ),
    OptionSpec::new(
        "http_proxy",
        "HTTP proxy as host:port or URL, with user:password@ if it requires authentication. If unset: HTTPS_PROXY, or HTTP_PROXY for an http:// endpoint. Hosts in NO_PROXY, loopback addresses and metadata services bypass the proxy.",
    ),
    OptionSpec::new(
        "ca_bundle",
        "PEM file of certificates to trust in addition to the system's, read at startup. If unset: AWS_CA_BUNDLE.",
    ),
    OptionSpec::new(
        "check",
        "Check at startup, by a PutRecords request with DryRun, whether records can be put: off, warn (log what is wrong) or fail (refuse to start).",
    )
    .default("off"),
    OptionSpec::new(
        "check_custom_endpoint",
        "Let check also ask an endpoint that is not AWS's. One that does not know DryRun stores the record {}.",
    )
    .default("off"),
    OptionSpec::new(
        "protocol",
        "Encoding of requests: json, or cbor (as used by the AWS SDK for Java), which takes less CPU and a quarter fewer bytes.",
    )
    .default("json"),
    // Secret, because a secret key may have been put here by mistake.
    OptionSpec::new("aws_key_id", "Access key ID. Requires aws_sec_key.").secret(),
    OptionSpec::new("aws_sec_key", "Secret access key that belongs to aws_key_id.").secret(),
    OptionSpec::new("aws_ses_token", "Session token that belongs to aws_key_id, for temporary credentials.").secret(),
    OptionSpec::new(
        "profile",
        "Profile in the AWS configuration files. Takes precedence over keys in the environment.",
    ),
    OptionSpec::new(
        "process_credentials",
        "Command, run by sh, that prints credentials in the format of a profile's credential_process.",
    )
    .aliases(&["process"])
    .secret(),
    OptionSpec::new("role_arn", "ARN of a role to assume, using the credentials configured otherwise.").aliases(&["role"]),
    OptionSpec::new("external_id", "External ID to pass when assuming role_arn.").secret(),
    OptionSpec::new(
        "role_session_name",
        "Session name for role_arn, as shown in CloudTrail. If unset: fluent-bit-kinesis- followed by random characters.",
    ),
    OptionSpec::new("role_policy", "JSON policy that restricts what the session of role_arn may do.")
        .aliases(&["policy"])
        .secret(),
    OptionSpec::new(
        "role_duration_seconds",
        "Lifetime of the credentials of role_arn, 900 to 43200. The role must allow it.",
    )
    .aliases(&["duration_seconds"])
    .default("3600"),
    OptionSpec::new(
        "sts_endpoint",
        "STS endpoint for role_arn, a profile's role and web identity, as host, host:port or URL. If unset: the region's endpoint. For a profile's role, AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL outrank it.",
    )
    .aliases(&["sts_endpoint_url"]),
    OptionSpec::new("aws_iam_retries", "Attempts per request to the EC2 instance metadata service, 1 to 100.")
        .default("5"),
    OptionSpec::new(
        "log_key",
        "Send only the value under this key: strings as they are, anything else as JSON. Records without the key are refused.",
    )
    .aliases(&["data_key"]),
    OptionSpec::new("data_keys", "Comma-separated keys or paths. Only these entries of a record are sent."),
    OptionSpec::new(
        "exclude_keys",
        "Comma-separated keys or paths. These entries of a record are not sent, even if data_keys names them.",
    ),
    OptionSpec::new(
        "duplicate_keys",
        "Which of two maps under the same key to send: last (the last one) or merge (the entries of both). Of other values, always the last.",
    )
    .default("last"),
    OptionSpec::new(
        "drop_empty",
        "Do not send records without entries, such as those of which data_keys and exclude_keys leave nothing.",
    )
    .default("off"),
    OptionSpec::new(
        "replace_dots",
        "Replace every dot in every key, at any depth, with this text. Applied before log_key is looked up.",
    ),
    OptionSpec::new("time_key", "Add the event's time under this key, replacing any existing value."),
    OptionSpec::new(
        "time_key_format",
        "Format of the time, as for strftime, in UTC. Fractions of a second: %1N to %9N (as many digits), %L (nine digits), %f (six digits). Or a name: epoch, epoch_ms, epoch_us or epoch_ns for a number, iso8601 for 2026-11-28T21:00:00.123456Z.",
    )
    .default("%Y-%m-%dT%H:%M:%S"),
    OptionSpec::new("tag_key", "Add the event's tag under this key, replacing any existing value."),
    OptionSpec::new(
        "metadata_key",
        "Add the event's metadata, such as severity and trace of OpenTelemetry logs, under this key, replacing any existing value. Left out where there is none.",
    ),
    OptionSpec::new(
        "group_key",
        "Add what the events of a group share, such as resource and scope of OpenTelemetry logs, under this key, replacing any existing value. Left out where there is none.",
    ),
    OptionSpec::new("append_newline", "End each record with a newline.").default("off"),
    OptionSpec::new(
        "chomp_record",
        "Omit the newline that the formats ltsv, csv, tsv, single_value and out_file add to each record. Only valid with these.",
    )
    .default("off"),
    OptionSpec::new("format", "Format of a record: json, msgpack, ltsv, csv, tsv, single_value or out_file.")
        .default("json"),
    OptionSpec::new("format_fields", "Comma-separated keys or paths whose values make up a record in csv or tsv."),
    OptionSpec::new("message_key", "Key or path of the value that the format single_value sends.").default("message"),
    OptionSpec::new(
        "format_delimiter",
        "Separator between values: any text, TAB, SPACE or COMMA. If unset: a comma for csv; a tab for ltsv, tsv and out_file.",
    ),
    OptionSpec::new("format_label_delimiter", "Separator between label and value in the format ltsv.").default(":"),
    OptionSpec::new(
        "partition_key",
        "Key or path of the value to use as partition key, $TAG for the tag, or constant: followed by a text for all records. If unset, or if a record lacks the value: a random key. none sends no key where the stream distributes records itself.",
    ),
    OptionSpec::new(
        "explicit_hash_key",
        "Key or path of the value to use as explicit hash key, a decimal number from 0 to 2^128-1, which decides on the shard. Cannot be combined with aggregation.",
    ),
    OptionSpec::new(
        "aggregation",
        "Pack several records into one: off, kpl (or true) for the format of the Kinesis Producer Library, lines to join records with newlines.",
    )
    .default("off"),
    OptionSpec::new("simple_aggregation", "Same as aggregation lines.").default("off"),
    OptionSpec::new(
        "aggregation_max_size",
        "Maximum size of an aggregated record with aggregation kpl. Also limited by max_record_size.",
    )
    .default("50000"),
    OptionSpec::new(
        "aggregation_max_count",
        "Maximum number of records per aggregated record with aggregation kpl. If unset: limited by size only.",
    ),
    OptionSpec::new(
        "shard_map",
        "With aggregation kpl, pack records with different partition keys together if they map to the same shard. Takes effect once the shards are listed, within 30 seconds of the start. Requires the permission kinesis:ListShards.",
    )
    .default("off"),
    OptionSpec::new(
        "record_distribution",
        "Who distributes records over the shards: user (partition keys), auto (the stream itself, whatever the keys, so that consumers drop aggregates) or detect (find out, which requires the permissions kinesis:DescribeStreamSummary and kinesis:ListShards).",
    )
    .default("detect"),
    OptionSpec::new(
        "compression",
        "Compress each record, or each block of lines with aggregation lines: none, gzip, zlib, zstd or snappy (raw format).",
    )
    .default("none"),
    OptionSpec::new(
        "compression_level",
        "Compression level: 0 to 9 for gzip and zlib, -7 to 22 for zstd. If unset: 6 for gzip and zlib, 3 for zstd.",
    ),
    OptionSpec::new(
        "compression_threads",
        "How many threads compress blocks of lines, 0 to 4; with 0 the thread that also sends them does it. Only with aggregation lines and compression.",
    )
    .default("0"),
    OptionSpec::new(
        "max_record_size",
        "Maximum size of a record after compression, including its partition key. Up to 10M if the stream's MaxRecordSizeInKiB allows it; auto reads that limit, which requires the permission kinesis:DescribeStreamSummary.",
    )
    .default("1M"),
    OptionSpec::new(
        "oversize",
        "How to handle records that are too large: truncate (cut and append [Truncated...]) or discard. msgpack records are always discarded.",
    )
    .default("truncate"),
    OptionSpec::new("batch_request_max_count", "Maximum number of records per PutRecords request, 1 to 500.")
        .default("500"),
    OptionSpec::new(
        "batch_request_max_size",
        "Maximum size of a PutRecords request, counting data and partition keys. Up to 10M. 256K by default with aggregation kpl.",
    )
    .default("5M"),
    OptionSpec::new(
        "concurrency",
        "Maximum number of concurrent PutRecords requests, 1 to 256; 0 selects the default. Starts at 8, grows with each accepted request while that adds no delay, and is halved when a request has to be sent again. A chunk is never confirmed before Kinesis has accepted its records.",
    )
    .aliases(&["experimental_concurrency"])
    .default("256"),
    OptionSpec::new(
        "retries_on_batch_request",
        "Maximum number of retries of failed records within a flush, 0 to 100. 0 leaves all retries to Fluent Bit.",
    )
    .aliases(&["experimental_concurrency_retries"])
    .default("8"),
    OptionSpec::new(
        "reset_backoff_if_success",
        "Reset the backoff when at least one record of a request is accepted.",
    )
    .default("on"),
    OptionSpec::new(
        "auto_retry_requests",
        "Retry a request once without delay after a network failure, before backing off.",
    )
    .default("on"),
    OptionSpec::new("http_request_timeout", "Timeout of a request, in seconds or as in 500ms, 1.5s or 2m. 0 disables it.")
        .default("30"),
    OptionSpec::new(
        "flush_timeout",
        "Time limit of a flush, in seconds or as in 500ms, 1.5s or 2m. 0 disables it. Fluent Bit retries records not delivered by then.",
    )
    .default("300"),
    OptionSpec::new(
        "slow_flush_log_threshold",
        "Log a warning for flushes that take longer than this, in seconds or as in 500ms, 1.5s or 2m. 0 disables it.",
    )
    .default("20"),
    OptionSpec::new(
        "stats_interval",
        "Interval at which to log all counters, in seconds or as in 500ms, 1.5s or 2m. 0 logs them only at shutdown.",
    )
    .default("0"),
    OptionSpec::new(
        "ledger_max_bytes",
        "Memory for remembering which records of a chunk in retry Kinesis has already accepted, 4k to 64M. When full, the oldest chunks are forgotten; so are chunks not retried within an hour.",
    )
    .default("1M"),
    OptionSpec::new(
        "ledger_path",
        "File that preserves the ledger across restarts, reloads, kills and crashes. Each output needs its own. If unset: memory only.",
    ),
    OptionSpec::new(
        "dead_letter_path",
        "Folder for records that are refused for good, as lines of JSON in files that no other output writes to. If unset: they are counted and logged, and lost.",
    ),
    OptionSpec::new(
        "dead_letter_max_bytes",
        "Maximum total size of the files in dead_letter_path, 1M to 1024G. When it is reached, the oldest files are removed.",
    )
    .default("100M"),
    OptionSpec::new(
        "coroutines",
        "Whether flushes wait on Fluent Bit's coroutines and share a thread: auto (in versions this plugin knows), on (in newer versions too) or off (each flush blocks its thread). If unset: KINESIS_COROUTINES, then auto.",
    )
    .default("auto"),
];
