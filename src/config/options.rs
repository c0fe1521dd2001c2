//! The option table: the one source of every option's name, default and meaning.
//!
//! It feeds the parser ([`super::Config::parse`]), the host's config map (so that `fluent-bit -o kinesis -h` prints
//! help and unknown keys are refused where the host can) and the table in README.md, which a test compares.

/// One option as the user sees it.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name; matched in any case.
    pub name: &'static str,
    /// Other names it goes by, from the plugins this one replaces.
    pub aliases: &'static [&'static str],
    /// The value it has when unset, parsed like a user's; `None` where unset has a meaning of its own.
    pub default: Option<&'static str>,
    /// A sentence or two for the help and the README.
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
        doc: "Kinesis endpoint as host, host:port or URL; https unless it says http://. Unset: the region's.",
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
        default: Some("8"),
        doc: "PutRecords requests in flight at once, 1 to 64; 0 means the default. OK is never answered early.",
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
        name: "ledger_max_bytes",
        aliases: &[],
        default: Some("1M"),
        doc: "Memory for what Kinesis already has of chunks that Fluent Bit will retry, 4k to 64M; the oldest go first.",
    },
    OptionSpec {
        name: "ledger_path",
        aliases: &[],
        default: None,
        doc: "File that keeps the ledger over a clean restart or reload; one file per output. Unset: none.",
    },
];
