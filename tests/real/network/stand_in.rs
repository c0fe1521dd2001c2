//! The stand-in at the end of every path, and what the tests require of it.

use libtest_mimic::Failed;
use rmpv::Value;

use crate::flush::{Instance, Report};
use testing::chunks::{chunk, map};
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};

pub const KEY: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A stand-in without TLS that checks signatures for the region of [`instance`].
pub fn kinesis() -> FakeKinesis {
    kinesis_in("us-east-1")
}

/// A stand-in without TLS that checks signatures for this region.
pub fn kinesis_in(region: &str) -> FakeKinesis {
    let credentials = vec![Credential::new(KEY, SECRET)];
    FakeKinesis::start(Settings { credentials, region: Some(region.to_owned()), ..Settings::default() })
}

/// An instance that can sign for it and sends to `endpoint`.
pub fn instance(endpoint: String) -> Instance {
    Instance::new(endpoint, "logs").keys(KEY, SECRET).option("retries_on_batch_request", "0")
}

/// Chunks of one record each.
pub fn chunks(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|id| chunk(&[map([("id", Value::from(id))])])).collect()
}

/// Every record arrived once, and nothing was logged above info.
pub fn expect_all(kinesis: &FakeKinesis, report: &Report, records: usize) -> Result<(), Failed> {
    report.expect("Delivered")?;
    report.expect_no_complaint()?;
    let mut stored: Vec<_> = kinesis.records().into_iter().map(|record| record.data).collect();
    let count = stored.len();
    stored.sort();
    stored.dedup();
    if (count, stored.len()) == (records, records) {
        Ok(())
    } else {
        Err(format!("{count} records, {} different ones, of {records}", stored.len()).into())
    }
}

/// Nothing arrived, the flush should be retried, and a line says why.
pub fn expect_refused(kinesis: &FakeKinesis, report: &Report, words: &str) -> Result<(), Failed> {
    report.expect("Retry")?;
    report.expect_complaint(words)?;
    match kinesis.stats().requests {
        0 => Ok(()),
        requests => Err(format!("{requests} requests arrived").into()),
    }
}
