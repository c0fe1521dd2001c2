//! The limits of one `PutRecords` call.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html> and
//! <https://docs.aws.amazon.com/streams/latest/dev/large-records.html>, read 2026-11.

use super::error::ServiceError;
use super::wire::{PutRecords, Record};

/// Most records in one call.
pub const MAX_RECORDS: usize = 500;
/// Largest record by default: data before base64 plus partition key, in bytes.
pub const DEFAULT_RECORD_SIZE: usize = 1024 * 1024;
/// Largest total of data and partition keys in a call that every endpoint accepts, in bytes.
pub const DEFAULT_REQUEST_SIZE: usize = 5 * 1024 * 1024;
/// The same since 2025-10, where it has been rolled out.
pub const LARGE_REQUEST_SIZE: usize = 10 * 1024 * 1024;
/// Longest partition key, in Unicode characters.
pub const MAX_KEY_CHARACTERS: usize = 256;
/// Largest HTTP body that is read; beyond it the front end answers 413.
pub const MAX_BODY: usize = 32 * 1024 * 1024;

/// Most violations listed in one message.
const MAX_LISTED: usize = 10;

/// Checks everything that does not depend on the stream, except that one that distributes records itself needs no keys.
pub fn check_request(request: &PutRecords, needs_keys: bool) -> Result<(), ServiceError> {
    let mut violations = Violations::default();
    match &request.records {
        None => violations.add("records", "Member must not be null"),
        Some(records) if records.is_empty() => {
            violations.add("records", "Member must have length greater than or equal to 1");
        }
        Some(records) if records.len() > MAX_RECORDS => {
            violations.add("records", "Member must have length less than or equal to 500");
        }
        Some(records) => {
            for (index, record) in records.iter().enumerate() {
                check_record(index + 1, record, needs_keys, &mut violations);
            }
        }
    }
    check_stream(request, &mut violations);
    violations.into_result()
}

/// Checks sizes, which depend on the stream and the account.
pub fn check_sizes(records: &[Record], max_record: usize, max_request: usize) -> Result<(), ServiceError> {
    let mut violations = Violations::default();
    let mut total = 0;
    for (index, record) in records.iter().enumerate() {
        let size = record.data().len() + record.partition_key().len();
        total += size;
        if size > max_record {
            violations.add(
                &format!("records.{}.member.data", index + 1),
                &format!("Member must have length less than or equal to {max_record}"),
            );
        }
    }
    violations.into_result()?;
    if total > max_request {
        let megabytes = max_request / (1024 * 1024);
        return Err(ServiceError::client(
            "InvalidArgumentException",
            format!("Records size exceeds {megabytes} MB limit"),
        ));
    }
    Ok(())
}

/// The hash key as a number, which must be below 2^128.
pub fn explicit_hash_key(text: &str) -> Result<u128, ServiceError> {
    text.parse().map_err(|_| {
        ServiceError::client(
            "InvalidArgumentException",
            format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
            ),
        )
    })
}

fn check_record(number: usize, record: &Record, needs_keys: bool, violations: &mut Violations) {
    if record.data.is_none() {
        violations.add(&format!("records.{number}.member.data"), "Member must not be null");
    }
    let key_path = || format!("records.{number}.member.partitionKey");
    match record.partition_key.as_deref() {
        None if needs_keys => violations.add(&key_path(), "Member must not be null"),
        None => {}
        Some("") => violations.add(&key_path(), "Member must have length greater than or equal to 1"),
        // Counting characters is needed only if there are more bytes than characters allowed.
        Some(key) if key.len() > MAX_KEY_CHARACTERS && key.chars().count() > MAX_KEY_CHARACTERS => {
            violations.add(&key_path(), "Member must have length less than or equal to 256");
        }
        Some(_) => {}
    }
    if record.explicit_hash_key.as_deref().is_some_and(|key| !is_hash_key(key)) {
        violations.add(
            &format!("records.{number}.member.explicitHashKey"),
            r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})",
        );
    }
}

fn check_stream(request: &PutRecords, violations: &mut Violations) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match request.stream_name.as_deref() {
        None => {}
        Some("") => violations.add("streamName", "Member must have length greater than or equal to 1"),
        Some(name) if name.len() > 128 => {
            violations.add("streamName", "Member must have length less than or equal to 128");
        }
        Some(name) if !name.bytes().all(allowed) => {
            violations.add("streamName", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
        }
        Some(_) => {}
    }
    if request.stream_arn.as_deref().is_some_and(|arn| stream_of_arn(arn).is_none()) {
        violations.add(
            "streamARN",
            r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:stream/\S+",
        );
    }
}

/// The account and the name in a stream's ARN.
pub fn stream_of_arn(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let name = resource.strip_prefix("stream/")?;
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let known = scheme == "arn" && partition.starts_with("aws") && service == "kinesis" && digits;
    (known && !name.is_empty() && !name.contains(char::is_whitespace)).then_some((account, name))
}

fn is_hash_key(text: &str) -> bool {
    let digits = !text.is_empty() && text.len() <= 39 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// The violated constraints of one request; AWS reports them together.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, path: &str, constraint: &str) {
        self.0.push(format!("Value at '{path}' failed to satisfy constraint: {constraint}"));
    }

    fn into_result(mut self) -> Result<(), ServiceError> {
        self.0.truncate(MAX_LISTED);
        let plural = match self.0.len() {
            0 => return Ok(()),
            1 => "",
            _ => "s",
        };
        let message = format!("{} validation error{plural} detected: {}", self.0.len(), self.0.join("; "));
        Err(ServiceError::client("ValidationException", message))
    }
}
