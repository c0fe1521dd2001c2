//! Configurations of the plugins that this one replaces: the examples in their documentation start it unchanged, or
//! are refused with advice.
//!
//! An example is an output's options in the order of its documentation; `Name`, `Match` and other options of Fluent
//! Bit itself are omitted.

use kinesis::config::Config;

type Options<'a> = &'a [(&'a str, &'a str)];

/// The result of starting with these options: empty on success.
fn issues(options: Options<'_>) -> Vec<String> {
    let property = |name: &str| {
        // The host matches names in any case.
        let option = options.iter().find(|(option, _)| option.eq_ignore_ascii_case(name));
        option.map(|(_, value)| (*value).to_owned())
    };
    match Config::parse(&property) {
        Ok(_) => Vec::new(),
        Err(error) => error.issues.iter().map(ToString::to_string).collect(),
    }
}

fn starts(options: Options<'_>) {
    assert_eq!(issues(options), Vec::<String>::new(), "{options:?}");
}

const GO: Options<'_> = &[("region", "us-west-2"), ("stream", "my-kinesis-stream-name")];

/// <https://github.com/aws/amazon-kinesis-streams-for-fluent-bit>, README.md, read 2026-11.
mod go_plugin {
    use super::*;

    #[test]
    fn the_command_line_starts() {
        starts(&[("region", "us-west-2"), ("stream", "test-stream")]);
    }

    #[test]
    fn the_example_starts() {
        starts(&[GO, &[("partition_key", "container_id"), ("append_newline", "true"), ("replace_dots", "_")]].concat());
    }

    #[test]
    fn the_example_of_compression_starts() {
        starts(&[GO, &[("compression", "zlib"), ("append_newline", "true")]].concat());
    }

    #[test]
    fn the_example_of_aggregation_starts() {
        starts(&[GO, &[("aggregation", "true"), ("append_newline", "true")]].concat());
    }

    #[test]
    fn every_other_option_starts_with_the_values_its_document_gives() {
        for option in [
            ("partition_key", "kubernetes->pod_name"),
            ("data_keys", "log"),
            ("data_keys", "log,source"),
            ("log_key", "log"),
            ("role_arn", "arn:aws:iam::111122223333:role/cross-account"),
            ("endpoint", "https://kinesis.us-west-2.amazonaws.com"),
            ("append_newline", "TRUE"),
            ("time_key", "time"),
            ("experimental_concurrency", "0"),
            ("experimental_concurrency", "4"),
            ("experimental_concurrency", "10"),
            ("experimental_concurrency_retries", "4"),
            ("compression", "gzip"),
            ("compression", "none"),
            ("replace_dots", "_"),
            ("http_request_timeout", "0"),
        ] {
            starts(&[GO, &[option]].concat());
        }
        starts(&[GO, &[("time_key", "t"), ("time_key_format", "%Y-%m-%dT%H:%M:%S%z")]].concat());
        let role = ("role_arn", "arn:aws:iam::111122223333:role/cross-account");
        starts(&[GO, &[role, ("sts_endpoint", "https://sts.us-west-2.amazonaws.com")]].concat());
    }

    #[test]
    fn what_it_refuses_too_is_refused() {
        // A limit above 10 is fine here; an unknown compression is not.
        assert_eq!(
            issues(&[GO, &[("compression", "lzma")]].concat()),
            ["compression: 'lzma' is not valid: use none, gzip, zlib, zstd or snappy"]
        );
    }
}

/// <https://docs.fluentbit.io/manual/data-pipeline/outputs/kinesis>, read 2026-11.
mod c_plugin {
    use super::*;

    const C: Options<'_> = &[("region", "us-east-1"), ("stream", "my-stream")];

    #[test]
    fn the_examples_start() {
        starts(C);
        starts(&[("region", "us-west-2"), ("stream", "test-stream")]);
    }

    #[test]
    fn every_other_option_starts_with_the_values_its_document_gives() {
        let role = ("role_arn", "arn:aws:iam::111122223333:role/cross-account");
        for options in [
            &[("time_key", "time"), ("time_key_format", "%Y-%m-%dT%H:%M:%S.%3N")][..],
            &[("time_key", "time"), ("time_key_format", "%Y-%m-%dT%H:%M:%S.%9N")],
            &[("time_key", "time"), ("time_key_format", "%Y-%m-%dT%H:%M:%S.%L")],
            &[("log_key", "log")],
            &[role, ("external_id", "some-id")],
            &[role, ("sts_endpoint", "sts.us-east-1.amazonaws.com")],
            &[("endpoint", "kinesis.us-east-1.amazonaws.com")],
            &[("auto_retry_requests", "true")],
            &[("profile", "default")],
            &[("compression", "gzip")],
            &[("compression", "zstd")],
            &[("compression", "snappy")],
        ] {
            starts(&[C, options].concat());
        }
    }

    #[test]
    fn joined_records_start() {
        starts(&[C, &[("simple_aggregation", "true")]].concat());
        starts(&[C, &[("simple_aggregation", "true"), ("compression", "gzip"), ("log_key", "log")]].concat());
    }

    #[test]
    fn log_key_with_time_key_is_refused_as_it_is_there() {
        assert_eq!(
            issues(&[C, &[("log_key", "log"), ("time_key", "time")]].concat()),
            ["time_key: cannot be combined with log_key, which sends a single value"]
        );
    }
}

/// <https://kube-logging.dev/docs/configuration/plugins/outputs/kinesis_stream/>, read 2026-11; its sections are options here.
mod logging_operator {
    use super::*;

    const OPERATOR: Options<'_> = &[("stream_name", "example-stream-name"), ("region", "us-east-1")];

    #[test]
    fn the_example_starts() {
        starts(&[OPERATOR, &[("format", "json")]].concat());
    }

    #[test]
    fn case_55_what_the_operator_renders_starts_as_options() {
        let role = [
            ("role_arn", "arn:aws:iam::111122223333:role/write-logs"),
            ("role_session_name", "test"),
            ("process", "echo {}"),
            ("format", "json"),
        ];
        starts(&[OPERATOR, &role].concat());
    }

    #[test]
    fn every_other_option_starts_with_the_values_its_document_gives() {
        for options in [
            &[("partition_key", "key")][..],
            &[("aws_key_id", "AKIAIOSFODNN7EXAMPLE"), ("aws_sec_key", "secret"), ("aws_ses_token", "token")],
            &[("aws_iam_retries", "5")],
            &[("retries_on_batch_request", "8")],
            &[("reset_backoff_if_success", "true")],
            &[("batch_request_max_count", "500")],
            &[("batch_request_max_size", "5242880")],
            &[("slow_flush_log_threshold", "20.0")],
            &[
                ("role_arn", "arn:aws:iam::111122223333:role/write-logs"),
                ("policy", r#"{"Version":"2012-10-17"}"#),
                ("duration_seconds", "3600"),
                ("external_id", "fleet-7"),
            ],
            &[("format", "ltsv")],
            &[("format", "msgpack")],
            &[("format", "single_value"), ("message_key", "log")],
            &[("format", "out_file")],
        ] {
            starts(&[OPERATOR, options].concat());
        }
    }

    #[test]
    fn what_cannot_be_had_here_is_refused_with_what_can() {
        assert_eq!(
            issues(&[OPERATOR, &[("format", "hash"), ("add_newline", "false")]].concat()),
            [
                "format: 'hash' is not valid: it is Ruby's notation, which nothing else reads: use json",
                "add_newline: not an option of this plugin: use append_newline or chomp_record"
            ]
        );
        // csv's fields are an option here, which the operator never renders.
        assert_eq!(
            issues(&[OPERATOR, &[("format", "csv")]].concat()),
            ["format: csv and tsv require format_fields, the comma-separated keys to send"]
        );
    }

    #[test]
    fn case_9_placeholders_in_a_streams_name_are_refused_with_what_takes_their_place() {
        let template = "Fluent Bit replaces ${X} by an environment variable, and has not done so here; use $TAG for the tag, and $key for a value";
        let name = "use a stream's name (1 to 128 of a-z A-Z 0-9 _ . -) or its ARN";
        for (text, allowed) in [
            ("stream-placeholder-${tag}", template),
            ("stream-placeholder-${$.key.nested}", template),
            ("stream-placeholder-%Y%m%d", name),
        ] {
            let refused = issues(&[("stream_name", text), ("region", "us-east-1")]);
            assert_eq!(refused, [format!("stream_name: '{text}' is not valid: {allowed}")]);
        }
        let taken = "stream-placeholder-$TAG-$key['nested']";
        assert_eq!(issues(&[("stream_name", taken), ("region", "us-east-1")]), [""; 0]);
    }
}
