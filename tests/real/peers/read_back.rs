//! The other end of the stream: boto3, through `kinesis.py`.

use std::io::Write;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::servers;

/// boto3, pointed at one server.
pub struct Boto3 {
    endpoint: String,
    authority: Option<String>,
}

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub data: Vec<u8>,
    pub partition_key: String,
    pub shard: String,
}

/// A shard, with the range of its hash keys in decimal.
#[derive(Deserialize)]
pub struct Shard {
    pub id: String,
    pub start: String,
    pub end: String,
}

/// An access key, as `aws iam create-access-key` answers.
#[derive(Deserialize)]
pub struct AccessKey {
    pub access_key_id: String,
    pub secret_access_key: String,
}

#[derive(Deserialize)]
struct Arn {
    arn: String,
}

impl Boto3 {
    /// A client that talks to `endpoint` with the keys `test`/`test`, which ministack accepts as the account's owner
    /// and kinesis-local ignores.
    pub fn new(endpoint: String) -> Boto3 {
        Boto3 { endpoint, authority: None }
    }

    /// Trusts certificates signed by the authority in this PEM file.
    pub fn trusting(mut self, authority: String) -> Boto3 {
        self.authority = Some(authority);
        self
    }

    /// Creates a stream, waits until it accepts records, and returns its ARN.
    pub fn create_stream(&self, name: &str, shards: u32) -> Result<String, Failed> {
        Ok(self.one::<Arn>(&["create-stream", name, &shards.to_string()])?.arn)
    }

    /// Creates a user who may do `actions`.
    pub fn create_user(&self, name: &str, actions: &[&str]) -> Result<AccessKey, Failed> {
        self.one(&[&["create-user", name], actions].concat())
    }

    /// Creates a role that may do `actions`, for callers with `external_id`. Returns its ARN.
    pub fn create_role(&self, name: &str, external_id: &str, actions: &[&str]) -> Result<String, Failed> {
        Ok(self.one::<Arn>(&[&["create-role", name, external_id], actions].concat())?.arn)
    }

    /// Creates a role that may do `actions`, for `subject` with a token of `issuer`. Returns its ARN.
    pub fn create_pod_role(&self, name: &str, issuer: &str, subject: &str, action: &str) -> Result<String, Failed> {
        Ok(self.one::<Arn>(&["create-pod-role", name, issuer, subject, action])?.arn)
    }

    /// Puts records without the plugin, each under the partition key `k`.
    pub fn put(&self, stream: &str, records: &[&str]) -> Result<(), Failed> {
        #[derive(Deserialize)]
        struct Answer {
            failed: u32,
        }
        let line = |data: &&str| json!({ "data": base64_simd::STANDARD.encode_to_string(data), "partition_key": "k" });
        let lines: Vec<String> = records.iter().map(|data| line(data).to_string()).collect();
        let answers: Vec<Answer> = self.run(&["put", stream], &lines.join("\n"))?;
        match answers.as_slice() {
            [Answer { failed: 0 }] => Ok(()),
            _ => Err("boto3 could not put the records either".into()),
        }
    }

    /// Everything in the stream, sorted by content, so that a record that arrived twice is listed twice.
    pub fn read(&self, stream: &str) -> Result<Vec<Record>, Failed> {
        #[derive(Deserialize)]
        struct Line {
            data: String,
            partition_key: String,
            shard: String,
        }
        let lines: Vec<Line> = self.run(&["read", stream], "")?;
        let mut records = Vec::with_capacity(lines.len());
        for Line { data, partition_key, shard } in lines {
            records.push(Record { data: base64_simd::STANDARD.decode_to_vec(data)?, partition_key, shard });
        }
        records.sort();
        Ok(records)
    }

    /// The stream's shards.
    pub fn shards(&self, stream: &str) -> Result<Vec<Shard>, Failed> {
        self.run(&["shards", stream], "")
    }

    /// Like [`read`](Self::read), only the data, as text.
    pub fn read_text(&self, stream: &str) -> Result<Vec<String>, Failed> {
        self.read(stream)?.into_iter().map(|record| Ok(String::from_utf8(record.data)?)).collect()
    }

    fn one<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Failed> {
        let mut answers = self.run(arguments, "")?;
        answers.pop().ok_or_else(|| format!("kinesis.py {arguments:?} answered nothing").into())
    }

    fn run<T: DeserializeOwned>(&self, arguments: &[&str], input: &str) -> Result<Vec<T>, Failed> {
        let mut command = Command::new(servers::python());
        command
            .arg(servers::source("kinesis.py"))
            .arg(&self.endpoint)
            .args(arguments)
            .env_clear()
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .envs([("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_CONFIG_FILE", "/dev/null")])
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .envs(self.authority.as_ref().map(|file| ("AWS_CA_BUNDLE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().expect("stdin is piped").write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("kinesis.py {arguments:?}: {}", error.trim_end()).into());
        }
        let lines = String::from_utf8(output.stdout)?;
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}
