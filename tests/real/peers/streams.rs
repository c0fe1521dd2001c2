//! Streams by template, metadata and dead letters: with kinesis-local, and signed with ministack.

use std::fs;

use libtest_mimic::{Failed, Trial};
use rmpv::Value;
use serde_json::json;

use super::read_back::{AccessKey, Boto3};
use super::servers::{KinesisLocal, Ministack};
use super::trial;
use crate::flush::Instance;
use testing::chunks::{chunk, map};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(each_record_is_in_the_stream_that_it_names),
        trial(a_missing_stream_holds_up_only_its_own_records),
        trial(requests_to_each_stream_are_signed),
        trial(metadata_and_tag_arrive_with_the_record),
        trial(a_record_that_the_server_refuses_is_kept_as_a_dead_letter),
    ]
}

fn each_record_is_in_the_stream_that_it_names(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    for stream in ["logs-a", "logs-b", "others"] {
        boto3.create_stream(stream, 1)?;
    }
    let report = plugin(server, "logs-$team").option("stream_fallback", "others").flush(&[chunk(&of_teams())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_sorted(&boto3)?;
    assert_eq!(boto3.read_text("others")?, [r#"{"n":4}"#, r#"{"team":"no name of a stream!","n":5}"#]);
    Ok(())
}

fn a_missing_stream_holds_up_only_its_own_records(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs-a", 1)?;
    let report = plugin(server, "logs-$team").flush(&[chunk(&[of_team("a", 1), of_team("missing", 2)])])?;
    report.expect("Retry")?;
    report.expect_complaint("logs-missing")?;
    assert_eq!(boto3.read_text("logs-a")?, [r#"{"team":"a","n":1}"#]);
    Ok(())
}

fn requests_to_each_stream_are_signed(server: &Ministack) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.endpoint());
    for stream in ["logs-a", "logs-b", "others"] {
        boto3.create_stream(stream, 1)?;
    }
    let AccessKey { access_key_id, secret_access_key } = boto3.create_user("shipper", &["kinesis:PutRecords"])?;
    let report = Instance::new(server.endpoint(), "logs-$team")
        .keys(&access_key_id, &secret_access_key)
        .option("stream_fallback", "others")
        .flush(&[chunk(&of_teams())])?;
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    expect_sorted(&boto3)
}

fn metadata_and_tag_arrive_with_the_record(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 1)?;
    let time = Value::Ext(0, [1_767_323_045_u32.to_be_bytes(), [0; 4]].concat());
    let metadata = map([("severity_text", "WARN".into())]);
    let event = Value::Array(vec![Value::Array(vec![time, metadata]), map([("n", 1.into())])]);
    let mut chunk = Vec::new();
    rmpv::encode::write_value(&mut chunk, &event)?;
    let report = plugin(server, "logs").option("metadata_key", "meta").option("tag_key", "tag").flush(&[chunk])?;
    report.expect("Delivered")?;
    let records = boto3.read_text("logs")?;
    let record: serde_json::Value = serde_json::from_str(records.first().ok_or("no record arrived")?)?;
    assert_eq!(record["meta"], json!({ "severity_text": "WARN" }));
    assert!(record["tag"].is_string(), "{record}");
    Ok(())
}

fn a_record_that_the_server_refuses_is_kept_as_a_dead_letter(server: &KinesisLocal) -> Result<(), Failed> {
    let boto3 = Boto3::new(server.plain_endpoint());
    boto3.create_stream("logs", 1)?;
    let folder = tempfile::tempdir()?;
    let large = map([("log", "x".repeat(1500 * 1024).into())]);
    let report = plugin(server, "logs")
        .option("max_record_size", "2M")
        .option("dead_letter_path", &folder.path().display().to_string())
        .flush(&[chunk(&[map([("n", 1.into())]), large])])?;
    report.expect("Delivered")?;
    assert_eq!(boto3.read_text("logs")?, [r#"{"n":1}"#]);
    let mut letters = String::new();
    for file in fs::read_dir(folder.path())? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            letters.push_str(&fs::read_to_string(path)?);
        }
    }
    let letters: Vec<serde_json::Value> = letters.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [letter] = letters.as_slice() else { return Err(format!("{} letters", letters.len()).into()) };
    assert_eq!(letter["stream"], "logs");
    assert_eq!(letter["record"]["log"].as_str().map(str::len), Some(1500 * 1024));
    Ok(())
}

fn plugin(server: &KinesisLocal, stream: &str) -> Instance {
    Instance::new(server.plain_endpoint(), stream).keys("AKIAIOSFODNN7EXAMPLE", "a secret that nobody checks")
}

fn of_team(team: &str, n: i32) -> Value {
    map([("team", team.into()), ("n", n.into())])
}

/// Records of two teams, one of none, and one of a team whose name no stream can have.
fn of_teams() -> Vec<Value> {
    vec![of_team("a", 1), of_team("b", 2), of_team("a", 3), map([("n", 4.into())]), of_team("no name of a stream!", 5)]
}

/// The records of [`of_teams`] that name a stream are in it.
fn expect_sorted(boto3: &Boto3) -> Result<(), Failed> {
    assert_eq!(boto3.read_text("logs-a")?, [r#"{"team":"a","n":1}"#, r#"{"team":"a","n":3}"#]);
    assert_eq!(boto3.read_text("logs-b")?, [r#"{"team":"b","n":2}"#]);
    Ok(())
}
