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
        name: "profile",
        aliases: &[],
        default: None,
        doc: "Profile of the AWS configuration files; named here it outranks keys from the environment.",
    },
    OptionSpec {
        name: "role_arn",
        aliases: &["role"],
        default: None,
        doc: "ARN of a role to assume with the credentials that the rest of the configuration yields.",
    },
    OptionSpec { name: "external_id", aliases: &[], default: None, doc: "External id for role_arn." },
    OptionSpec {
        name: "sts_endpoint",
        aliases: &["sts_endpoint_url"],
        default: None,
        doc: "STS endpoint for role_arn as host, host:port or URL. Unset: the region's.",
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
