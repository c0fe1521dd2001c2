//! The option table: the one source of every option's name, default and meaning.
//!
//! It feeds the parser ([`super::Config::parse`]), the host's config map (so that `fluent-bit -o kinesis -h` prints
//! help and unknown keys are refused where the host can) and the table in docs/options.md, which a test compares.

/// One option as the user sees it.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name; matched in any case.
    pub name: &'static str,
    /// Other names it goes by, from the plugins this one replaces.
    pub aliases: &'static [&'static str],
    /// The value it has when unset, parsed like a user's; `None` where unset has a meaning of its own.
    pub default: Option<&'static str>,
    /// A sentence or two for the help and docs/options.md.
    pub doc: &'static str,
}

/// All options, in the order of the documentation.
pub static OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "stream",
        aliases: &["stream_name"],
        default: None,
        doc: "Name of the Kinesis stream, or its ARN, whose region is then the default region. Required.",
    },
    OptionSpec {
        name: "region",
        aliases: &[],
        default: None,
        doc: "AWS region. Unset: that of the stream's ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile, the instance's.",
    },
    OptionSpec {
        name: "endpoint",
        aliases: &[],
        default: None,
        doc: "Kinesis endpoint as host, host:port or URL; https unless it says http://. Unset: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, the profile's endpoint_url, the region's.",
    },
    OptionSpec {
        name: "use_fips_endpoint",
        aliases: &[],
        default: None,
        doc: "Use the region's FIPS endpoint. Unset: AWS_USE_FIPS_ENDPOINT, the profile, off. Not with an endpoint.",
    },
    OptionSpec {
        name: "use_dualstack_endpoint",
        aliases: &[],
        default: None,
        doc: "Use the region's endpoint that has IPv6 too. Unset: AWS_USE_DUALSTACK_ENDPOINT, the profile, off. Not with an endpoint.",
    },
    OptionSpec {
        name: "http_proxy",
        aliases: &[],
        default: None,
        doc: "HTTP proxy as host:port or URL, with user:password@ where it wants them. Unset: HTTPS_PROXY, or HTTP_PROXY for an http:// endpoint. What NO_PROXY lists, loopback and metadata services are reached without it.",
    },
    OptionSpec {
        name: "ca_bundle",
        aliases: &[],
        default: None,
        doc: "PEM file of certificates to trust beside the system's, read at the start. Unset: AWS_CA_BUNDLE.",
    },
    OptionSpec {
        name: "protocol",
        aliases: &[],
        default: Some("json"),
        doc: "Form of requests: json, or cbor as AWS's SDK for Java uses it, which needs less CPU and a quarter fewer bytes.",
    },
    OptionSpec { name: "aws_key_id", aliases: &[], default: None, doc: "Access key id, with aws_sec_key." },
    OptionSpec { name: "aws_sec_key", aliases: &[], default: None, doc: "Secret access key of aws_key_id." },
    OptionSpec {
        name: "aws_ses_token",
        aliases: &[],
        default: None,
        doc: "Session token of aws_key_id, if it has one.",
    },
    OptionSpec {
        name: "profile",
        aliases: &[],
        default: None,
        doc: "Profile of the AWS configuration files; named here it outranks keys from the environment.",
    },
    OptionSpec {
        name: "process_credentials",
        aliases: &["process"],
        default: None,
        doc: "Command line for sh that prints credentials, as credential_process of a profile does.",
    },
    OptionSpec {
        name: "role_arn",
        aliases: &["role"],
        default: None,
        doc: "ARN of a role to assume with the credentials that the rest of the configuration yields.",
    },
    OptionSpec { name: "external_id", aliases: &[], default: None, doc: "External id for role_arn." },
    OptionSpec {
        name: "role_session_name",
        aliases: &[],
        default: None,
        doc: "Name of the session of role_arn, which CloudTrail shows. Unset: fluent-bit-kinesis- and a random word.",
    },
    OptionSpec {
        name: "role_policy",
        aliases: &["policy"],
        default: None,
        doc: "Policy in JSON that narrows what the session of role_arn may do.",
    },
    OptionSpec {
        name: "role_duration_seconds",
        aliases: &["duration_seconds"],
        default: Some("3600"),
        doc: "How long credentials of role_arn live, 900 to 43200; the role must allow it.",
    },
    OptionSpec {
        name: "sts_endpoint",
        aliases: &["sts_endpoint_url"],
        default: None,
        doc: "STS endpoint for role_arn and web identity as host, host:port or URL. Unset: the region's.",
    },
    OptionSpec {
        name: "aws_iam_retries",
        aliases: &[],
        default: Some("5"),
        doc: "Attempts at each request to the metadata service of the EC2 instance, 1 to 100.",
    },
    OptionSpec {
        name: "log_key",
        aliases: &["data_key"],
        default: None,
        doc: "Send the value under this key alone: text as it is, anything else as JSON. A record without it is refused.",
    },
    OptionSpec {
        name: "data_keys",
        aliases: &[],
        default: None,
        doc: "Send only the entries under these keys or paths, separated by commas.",
    },
    OptionSpec {
        name: "replace_dots",
        aliases: &[],
        default: None,
        doc: "Put this in the place of every dot of every key, at any depth, before log_key is looked for.",
    },
    OptionSpec {
        name: "time_key",
        aliases: &[],
        default: None,
        doc: "Add the event's time under this key, in the place of one that is there.",
    },
    OptionSpec {
        name: "time_key_format",
        aliases: &[],
        default: Some("%Y-%m-%dT%H:%M:%S"),
        doc: "The time's form, by strftime in UTC; fractions are %3N, %6N, %9N (and %1N to %8N), %L (nine digits), %f (six).",
    },
    OptionSpec { name: "append_newline", aliases: &[], default: Some("off"), doc: "End each record with a newline." },
    OptionSpec {
        name: "chomp_record",
        aliases: &[],
        default: Some("off"),
        doc: "Leave out the newline that ltsv, csv, tsv, single_value and out_file end a record with.",
    },
    OptionSpec {
        name: "format",
        aliases: &[],
        default: Some("json"),
        doc: "Form of a record: json, msgpack, ltsv, csv, tsv, single_value or out_file.",
    },
    OptionSpec {
        name: "format_fields",
        aliases: &[],
        default: None,
        doc: "Keys or paths whose values csv and tsv send, separated by commas.",
    },
    OptionSpec {
        name: "message_key",
        aliases: &[],
        default: Some("message"),
        doc: "Key or path whose value single_value sends.",
    },
    OptionSpec {
        name: "format_delimiter",
        aliases: &[],
        default: None,
        doc: "What stands between values: text, TAB, SPACE or COMMA. Unset: a comma for csv, a tab for ltsv, tsv and out_file.",
    },
    OptionSpec {
        name: "format_label_delimiter",
        aliases: &[],
        default: Some(":"),
        doc: "What stands between a label of ltsv and its value.",
    },
    OptionSpec {
        name: "partition_key",
        aliases: &[],
        default: None,
        doc: "Key or path of the value that is the partition key, or $TAG. Unset, or where it is missing: a random key.",
    },
    OptionSpec {
        name: "aggregation",
        aliases: &[],
        default: Some("off"),
        doc: "Send several records as one: kpl (or true) in the container of Amazon's producer library, lines one behind the other, each ended by a newline.",
    },
    OptionSpec {
        name: "simple_aggregation",
        aliases: &[],
        default: Some("off"),
        doc: "The same as aggregation lines.",
    },
    OptionSpec {
        name: "aggregation_max_size",
        aliases: &[],
        default: Some("256K"),
        doc: "Most bytes of a container of aggregation kpl; it is never larger than max_record_size allows.",
    },
    OptionSpec {
        name: "aggregation_max_count",
        aliases: &[],
        default: None,
        doc: "Most records in a container of aggregation kpl. Unset: as many as fit.",
    },
    OptionSpec {
        name: "shard_map",
        aliases: &[],
        default: Some("off"),
        doc: "Let records of different partition keys share a container of aggregation kpl when they belong to the same shard. Needs the permission kinesis:ListShards.",
    },
    OptionSpec {
        name: "compression",
        aliases: &[],
        default: Some("none"),
        doc: "Compress each record, or with aggregation lines all that are sent as one: none, gzip, zlib, zstd or snappy (a raw block).",
    },
    OptionSpec {
        name: "compression_level",
        aliases: &[],
        default: None,
        doc: "How thoroughly: 0 to 9 with gzip and zlib, -7 to 22 with zstd. Unset: the library's default, 6 and 3.",
    },
    OptionSpec {
        name: "max_record_size",
        aliases: &[],
        default: Some("1M"),
        doc: "Most bytes of a record, compressed, with its key; up to 10M where the stream's MaxRecordSizeInKiB allows it.",
    },
    OptionSpec {
        name: "oversize",
        aliases: &[],
        default: Some("truncate"),
        doc: "What becomes of a larger record: truncate cuts it and adds [Truncated...], discard refuses it, as always with msgpack.",
    },
    OptionSpec {
        name: "batch_request_max_count",
        aliases: &[],
        default: Some("500"),
        doc: "Most records of one PutRecords request, 1 to 500.",
    },
    OptionSpec {
        name: "batch_request_max_size",
        aliases: &[],
        default: Some("5M"),
        doc: "Most bytes of one PutRecords request, data and partition keys, up to 10M.",
    },
    OptionSpec {
        name: "concurrency",
        aliases: &["experimental_concurrency"],
        default: Some("256"),
        doc: "Most PutRecords requests in flight at once, 1 to 256; 0 means the default. Delivery starts with 8, adds one for each accepted request, and halves the number when Kinesis throttles. OK is never answered early.",
    },
    OptionSpec {
        name: "retries_on_batch_request",
        aliases: &["experimental_concurrency_retries"],
        default: Some("8"),
        doc: "How often failed records are sent again within one flush, 0 to 100; 0 leaves it to Fluent Bit.",
    },
    OptionSpec {
        name: "reset_backoff_if_success",
        aliases: &[],
        default: Some("on"),
        doc: "Start the backoff anew when at least one record of a request was accepted.",
    },
    OptionSpec {
        name: "auto_retry_requests",
        aliases: &[],
        default: Some("on"),
        doc: "Send a request again at once, one time, when the network failed, before backing off.",
    },
    OptionSpec {
        name: "http_request_timeout",
        aliases: &[],
        default: Some("30"),
        doc: "Longest time of one request, in seconds or like 500ms, 1.5s, 2m; 0 means none.",
    },
    OptionSpec {
        name: "flush_timeout",
        aliases: &[],
        default: Some("300"),
        doc: "Longest time of one flush, in seconds or like 500ms, 1.5s, 2m; 0 means no limit. What is not delivered by then is left to Fluent Bit's retry.",
    },
    OptionSpec {
        name: "slow_flush_log_threshold",
        aliases: &[],
        default: Some("20"),
        doc: "A flush that lasts longer is warned of, in seconds or like 500ms, 1.5s, 2m; 0 means never.",
    },
    OptionSpec {
        name: "stats_interval",
        aliases: &[],
        default: Some("0"),
        doc: "Write all counts into the log so often, in seconds or like 500ms, 1.5s, 2m; 0 means at the end alone.",
    },
    OptionSpec {
        name: "ledger_max_bytes",
        aliases: &[],
        default: Some("1M"),
        doc: "Memory for what Kinesis already has of chunks that Fluent Bit will retry, 4k to 64M. The oldest chunks are forgotten first, and any that does not come again within an hour.",
    },
    OptionSpec {
        name: "ledger_path",
        aliases: &[],
        default: None,
        doc: "File that keeps the ledger over restarts, reloads, kills and crashes; each output needs its own. Unset: none.",
    },
    OptionSpec {
        name: "coroutines",
        aliases: &[],
        default: Some("auto"),
        doc: "Whether flushes wait side by side on Fluent Bit's coroutines: auto (in versions this plugin knows), on (in newer ones too) or off (each flush keeps its thread). Unset: KINESIS_COROUTINES, auto.",
    },
];
