//! What a consumer makes of a record's data: Amazon's modules unpack aggregates, Python decompresses.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kinesis::compress::{Compressor, Kind};
use kinesis::kinesis::kpl::{Aggregate, write_digests};
use libtest_mimic::{Failed, Trial};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::servers::{node_modules, not_installed, python, source};
use super::tool_trial;

pub fn trials() -> Vec<Trial> {
    vec![
        tool_trial(no_python, python_opens_every_aggregate),
        tool_trial(no_node, node_opens_every_aggregate),
        tool_trial(no_python, python_inflates_gzip_and_zlib),
    ]
}

pub fn no_python() -> Option<String> {
    let lib = python().ancestors().nth(2).and_then(|venv| venv.join("lib").read_dir().ok());
    let mut versions = lib.into_iter().flatten().flatten();
    let installed = versions.any(|version| version.path().join("site-packages/aws_kinesis_agg").exists());
    not_installed("aws_kinesis_agg for Python", installed)
}

pub fn no_node() -> Option<String> {
    let node = Command::new("node").arg("--version").output().is_ok();
    not_installed("aws-kinesis-agg for Node", node && node_modules().join("aws-kinesis-agg").exists())
}

/// A user record, as returned by the modules.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct UserRecord {
    pub partition_key: String,
    pub explicit_hash_key: Option<String>,
    /// In base64.
    pub data: String,
}

fn python_opens_every_aggregate() -> Result<(), Failed> {
    every_aggregate_is_opened(&python(), "consumer.py")
}

fn node_opens_every_aggregate() -> Result<(), Failed> {
    every_aggregate_is_opened(Path::new("node"), "consumer.js")
}

/// Every user record is exact, in order and with its own keys.
fn every_aggregate_is_opened(program: &Path, script: &str) -> Result<(), Failed> {
    let mut random = SmallRng::seed_from_u64(1);
    let (mut aggregate, mut containers, mut expected) = (Aggregate::default(), Vec::new(), Vec::new());
    for count in [1, 2, 3, 10, 127, 128, 129, 1000, 10_000] {
        for keys in [1, 2, 50] {
            // The modules give a record without a hash key the first one, so either all have one or none.
            for hash_keys in [0, 1, keys] {
                let mut records = Vec::new();
                for number in 0..count {
                    let key = format!("key-{}-\u{e9}\u{1f600}", (number * 7) % keys);
                    let hash_key =
                        (hash_keys > 0).then(|| (u128::MAX - (number % hash_keys.max(1)) as u128).to_string());
                    // Occasionally an empty one, and one whose length takes three bytes.
                    let length = match random.random_range(0..200) {
                        0 => 0,
                        1 => random.random_range(16_000..20_000),
                        _ => random.random_range(1..300),
                    };
                    let data: Vec<u8> = (0..length).map(|_| random.random()).collect();
                    aggregate.push(&key, hash_key.as_deref(), &data);
                    let data = base64_simd::STANDARD.encode_to_string(&data);
                    records.push(UserRecord { partition_key: key, explicit_hash_key: hash_key, data });
                }
                let mut container = Vec::new();
                aggregate.finish(&mut container);
                write_digests([container.as_mut_slice()].into_iter());
                containers.push(container);
                expected.push(records);
            }
        }
    }
    let opened: Vec<Vec<UserRecord>> = run(program, script, "deaggregate", &containers)?;
    assert_eq!(opened.len(), expected.len());
    for (opened, expected) in opened.into_iter().zip(expected) {
        let (first, count) = (expected.first().cloned(), expected.len());
        assert!(opened == expected, "{} of {count} user records, the first of them {first:?}", opened.len());
    }
    Ok(())
}

/// An independent reader of header, checksum and length.
fn python_inflates_gzip_and_zlib() -> Result<(), Failed> {
    let mut random = SmallRng::seed_from_u64(2);
    let mut inputs: Vec<Vec<u8>> = vec![Vec::new(), b"foo".to_vec(), b"hello hello hello hello\n".to_vec()];
    for length in [1, 1000, 32_768, 65_536, 1_000_000] {
        inputs.push((0..length).map(|_| random.random()).collect());
        inputs.push((0..length).map(|_| random.random_range(b'a'..b'e')).collect());
    }
    for (kind, command) in [(Kind::Gzip, "gzip"), (Kind::Zlib, "zlib")] {
        for level in [None, Some(0), Some(1), Some(9)] {
            let mut compressor = Compressor::new(kind, level)?;
            let mut compressed = Vec::new();
            for input in &inputs {
                let mut out = Vec::new();
                compressor.compress(input, &mut out)?;
                compressed.push(out);
            }
            let inflated: Vec<String> = run(&python(), "consumer.py", command, &compressed)?;
            let expected: Vec<String> =
                inputs.iter().map(|input| base64_simd::STANDARD.encode_to_string(input)).collect();
            assert!(inflated == expected, "{kind} {level:?}");
        }
    }
    Ok(())
}

/// Passes each of `records` to a script and reads its answers.
pub fn run<T: DeserializeOwned>(
    program: &Path,
    script: &str,
    command: &str,
    records: &[Vec<u8>],
) -> Result<Vec<T>, Failed> {
    let mut child = Command::new(program)
        .arg(source(script))
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    let input: String = records.iter().map(|record| base64_simd::STANDARD.encode_to_string(record) + "\n").collect();
    // The scripts may answer while they read, so a separate thread writes.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{script} {command}: {}", String::from_utf8_lossy(&output.stderr).trim_end()).into());
    }
    writer.join().map_err(|_| "the writer panicked")??;
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
