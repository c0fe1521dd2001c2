//! kinesis-local: the wire format, TLS, ARNs and per-record answers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use rmpv::Value;

use super::read_back::Boto3;
use super::servers::KinesisLocal;
use super::trial;
use crate::flush::Instance;
use testing::chunks::{chunk, map};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(what_boto3_puts_is_read_back),
        trial(records_arrive_once_and_byte_exact),
        trial(records_in_cbor_arrive_byte_exact_beside_those_in_json),
        trial(records_arrive_over_tls_when_the_authority_is_trusted),
        trial(an_unknown_authority_is_refused_and_named_in_the_log),
        trial(a_stream_is_found_by_its_arn),
        trial(a_null_error_code_is_success),
        trial(a_record_over_the_limit_is_cut_or_discarded_alone),
        trial(a_record_that_the_stream_does_not_take_is_refused_alone),
        trial(records_arrive_as_the_options_shape_them_under_their_keys),
        trial(compressed_records_are_read_by_other_peoples_decoders),
        trial(a_chunk_of_several_requests_arrives_once_on_all_shards),
        trial(a_missing_stream_is_named_in_the_log_and_retried),
    ]
}

/// Only the harness: if this fails too, the plugin is not to blame.
fn what_boto3_puts_is_read_back(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 2)?;
    boto3.put("logs", &["one", "two", "two"])?;
    assert_eq!(boto3.read_text("logs")?, ["one", "two", "two"]);
    Ok(())
}

fn records_arrive_once_and_byte_exact(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 2)?;
    let report = plugin(server.plain_endpoint(), "logs").flush(&[chunk(&log_lines())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    assert_eq!(boto3.read_text("logs")?, log_lines_as_json());
    Ok(())
}

fn records_in_cbor_arrive_byte_exact_beside_those_in_json(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 2)?;
    let instance = plugin(server.plain_endpoint(), "logs").option("protocol", "cbor").option("max_record_size", "2M");
    // One that the stream refuses: its answer is among those of the others.
    let records = [log_lines(), vec![large(1500 * 1024)]].concat();
    let report = instance.flush(&[chunk(&records)])?;
    report.expect("Delivered")?;
    report.expect_complaint("Kinesis refused a record")?;
    assert_eq!(boto3.read_text("logs")?, log_lines_as_json());
    Ok(())
}

fn records_arrive_over_tls_when_the_authority_is_trusted(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.tls_endpoint()).trusting(server.authority());
    boto3.create_stream("logs", 2)?;
    let instance = plugin(server.tls_endpoint(), "logs").environment("SSL_CERT_FILE", &server.authority());
    let report = instance.flush(&[chunk(&log_lines())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    assert_eq!(boto3.read_text("logs")?, log_lines_as_json());
    Ok(())
}

fn an_unknown_authority_is_refused_and_named_in_the_log(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 1)?;
    let report = plugin(server.tls_endpoint(), "logs").flush(&[chunk(&log_lines())])?;
    report.expect("Retry")?;
    report.expect_complaint("certificate")?;
    assert_eq!(boto3.read_text("logs")?, [""; 0]);
    Ok(())
}

fn a_stream_is_found_by_its_arn(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    let arn = boto3.create_stream("logs", 1)?;
    plugin(server.plain_endpoint(), &arn).flush(&[chunk(&log_lines())])?.expect("Delivered")?;
    assert_eq!(boto3.read_text("logs")?, log_lines_as_json());
    Ok(())
}

/// AWS omits the keys; a reader that only checks for their presence would resend every record forever.
fn a_null_error_code_is_success(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 1)?;
    let answer = put_by_hand(&server.plain_endpoint(), "logs")?;
    assert!(answer.contains(r#""ErrorCode":null"#), "the server's answers have changed: {answer}");
    let report = plugin(server.plain_endpoint(), "logs").flush(&[chunk(&[map([("n", 1.into())])])])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    assert_eq!(boto3.read_text("logs")?, ["by hand", r#"{"n":1}"#]);
    Ok(())
}

/// A stream takes records of up to 1 MiB by default: larger ones are cut or left out, and neither holds up the
/// others.
fn a_record_over_the_limit_is_cut_or_discarded_alone(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    const LIMIT: usize = 1024 * 1024;
    // The partition key counts too: six bytes when it is random.
    for (oversize, expected, complaint) in [
        ("truncate", &[7, 7, 7, LIMIT - 256, LIMIT - 6][..], "was truncated to max_record_size"),
        ("discard", &[7, 7, 7, LIMIT - 256], "larger than max_record_size"),
    ] {
        boto3.create_stream(oversize, 1)?;
        let records = [small(1), large(LIMIT + 1), small(2), large(LIMIT - 256), small(3)];
        let instance = plugin(server.plain_endpoint(), oversize).option("oversize", oversize);
        let report = instance.flush(&[chunk(&records)])?;
        report.expect("Delivered")?;
        report.expect_complaint(complaint)?;
        let mut sizes: Vec<usize> = boto3.read(oversize)?.iter().map(|record| record.data.len()).collect();
        sizes.sort();
        assert_eq!(sizes, expected, "{oversize}");
    }
    Ok(())
}

/// If `max_record_size` exceeds what the stream takes, the server says which record it refuses.
fn a_record_that_the_stream_does_not_take_is_refused_alone(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 1)?;
    let records = [small(1), large(1500 * 1024), small(2)];
    let instance = plugin(server.plain_endpoint(), "logs").option("max_record_size", "2M");
    let report = instance.flush(&[chunk(&records)])?;
    report.expect("Delivered")?;
    report.expect_complaint("Kinesis refused a record")?;
    assert_eq!(boto3.read_text("logs")?, [r#"{"n":1}"#, r#"{"n":2}"#]);
    Ok(())
}

fn small(n: i32) -> Value {
    map([("n", n.into())])
}

/// A record whose JSON, `{"log":"xx…"}`, has this many bytes.
fn large(bytes: usize) -> Value {
    map([("log", "x".repeat(bytes - 10).into())])
}

fn records_arrive_as_the_options_shape_them_under_their_keys(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 2)?;
    let pod = |name: &str| map([("pod.name", name.into()), ("ip", "10.0.0.1".into())]);
    let event = |line: &str, name: &str| map([("log", line.into()), ("k8s", pod(name)), ("noise", 1.into())]);
    let report = plugin(server.plain_endpoint(), "logs")
        .option("partition_key", "k8s->pod.name")
        .option("data_keys", "log, k8s->pod.name")
        .option("replace_dots", "_")
        .option("time_key", "t")
        .option("time_key_format", "%s")
        .option("append_newline", "on")
        .flush(&[chunk(&[event("one", "grüße-☕"), event("two", "b")])])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    let mut records: Vec<(String, String)> = boto3
        .read("logs")?
        .into_iter()
        .map(|record| (record.partition_key, String::from_utf8_lossy(&record.data).into_owned()))
        .collect();
    records.sort();
    let (time, _) = records[0].1.rsplit_once("\"t\":\"").expect("the time");
    assert_eq!(time, r#"{"log":"two","k8s":{"pod_name":"b"},"#);
    assert_eq!(records.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "grüße-☕"]);
    assert!(records.iter().all(|(_, data)| data.ends_with("\"}\n")), "{records:?}");
    Ok(())
}

fn compressed_records_are_read_by_other_peoples_decoders(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    for (kind, module) in [("gzip", "gzip"), ("zlib", "zlib")] {
        boto3.create_stream(kind, 1)?;
        let instance = plugin(server.plain_endpoint(), kind).option("compression", kind);
        instance.flush(&[chunk(&log_lines())])?.expect("Delivered")?;
        let mut lines = Vec::new();
        for record in boto3.read(kind)? {
            lines.push(inflate(module, &record.data)?);
        }
        lines.sort();
        assert_eq!(lines, log_lines_as_json(), "{kind}");
    }
    Ok(())
}

/// What Python's standard library makes of compressed data.
fn inflate(module: &str, data: &[u8]) -> Result<String, Failed> {
    let program =
        format!("import sys, {module}; sys.stdout.buffer.write({module}.decompress(sys.stdin.buffer.read()))");
    let mut python =
        Command::new("python3").args(["-c", &program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    python.stdin.take().expect("stdin is piped").write_all(data)?;
    let output = python.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("{module} does not read it: {}", output.status).into()),
    }
}

fn a_chunk_of_several_requests_arrives_once_on_all_shards(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 4)?;
    let bodies: Vec<Value> = (10_000..11_200).map(|n| map([("n", n.into())])).collect();
    plugin(server.plain_endpoint(), "logs").flush(&[chunk(&bodies)])?.expect("Delivered")?;
    let expected: Vec<String> = (10_000..11_200).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    assert_eq!(boto3.read_text("logs")?, expected);
    let shards: BTreeSet<String> = boto3.read("logs")?.into_iter().map(|record| record.shard).collect();
    assert_eq!(shards.len(), 4, "random partition keys spread the records: {shards:?}");
    Ok(())
}

fn a_missing_stream_is_named_in_the_log_and_retried(server: &KinesisLocal) -> Result<(), Failed> {
    let report = plugin(server.plain_endpoint(), "no-such-stream").flush(&[chunk(&log_lines())])?;
    report.expect("Retry")?;
    report.expect_complaint("ResourceNotFoundException")?;
    report.expect_complaint("no-such-stream")
}

/// kinesis-local requires a signature but does not check it.
fn plugin(endpoint: String, stream: &str) -> Instance {
    Instance::new(endpoint, stream).keys("AKIAIOSFODNN7EXAMPLE", "a secret that nobody checks")
}

/// Records with everything that JSON, base64 and HTTP might distort, one of them twice: equal records are two
/// records.
pub fn log_lines() -> Vec<Value> {
    let nested = map([("list", Value::Array(vec![1.into(), "two".into(), Value::Nil])), ("empty", map([]))]);
    vec![
        map([("log", "10.0.0.1 - - \"GET /a?b=c%20d HTTP/1.1\" 200 \\ \t\n".into())]),
        map([("log", "grüße ☕ 😀 \u{2028} \u{7f} \u{0}".into())]),
        map([("n", (-7).into()), ("max", u64::MAX.into()), ("ratio", 0.25.into()), ("ok", true.into())]),
        map([("nested", nested)]),
        map([("same", "twice".into())]),
        map([("same", "twice".into())]),
    ]
}

/// [`log_lines`] as they must arrive, sorted.
pub fn log_lines_as_json() -> [&'static str; 6] {
    [
        r#"{"log":"10.0.0.1 - - \"GET /a?b=c%20d HTTP/1.1\" 200 \\ \t\n"}"#,
        "{\"log\":\"grüße ☕ 😀 \u{2028} \u{7f} \\u0000\"}",
        r#"{"n":-7,"max":18446744073709551615,"ratio":0.25,"ok":true}"#,
        r#"{"nested":{"list":[1,"two",null],"empty":{}}}"#,
        r#"{"same":"twice"}"#,
        r#"{"same":"twice"}"#,
    ]
}

/// A literal `PutRecords` request, to see the server's own answer.
fn put_by_hand(endpoint: &str, stream: &str) -> Result<String, Failed> {
    let host = endpoint.trim_start_matches("http://");
    let data = base64_simd::STANDARD.encode_to_string("by hand");
    let body = format!(r#"{{"StreamName":"{stream}","Records":[{{"Data":"{data}","PartitionKey":"k"}}]}}"#);
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: Kinesis_20131202.PutRecords\r\nx-amz-date: 20260102T030405Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260102/us-east-1/kinesis/aws4_request, \
         SignedHeaders=host, Signature=00\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(host)?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
