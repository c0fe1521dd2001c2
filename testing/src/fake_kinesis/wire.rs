//! Requests and replies in both formats: JSON, with data in base64, and CBOR, with raw data.
//!
//! Both have the same members. AWS's Java clients send CBOR; its maps and arrays may have indefinite length.

use std::fmt;
use std::ops::Deref;

use serde::de::{self, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ServiceError;
use super::shard;

/// The format of a request, and hence of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`
    Json,
    /// `application/x-amz-cbor-1.1`
    Cbor,
}

impl Wire {
    /// The format for this content type.
    pub fn of(content_type: &str) -> Option<Wire> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        [Wire::Json, Wire::Cbor].into_iter().find(|wire| wire.content_type() == essence)
    }

    /// The content type of requests and replies.
    pub fn content_type(self) -> &'static str {
        match self {
            Wire::Json => "application/x-amz-json-1.1",
            Wire::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a request.
    pub fn decode(self, body: &[u8]) -> Result<PutRecords, ServiceError> {
        match self {
            Wire::Json => serde_json::from_slice(body).map_err(|error| {
                let text = error.is_data().then(|| without_position(&error.to_string()));
                ServiceError::serialization(text)
            }),
            Wire::Cbor => {
                let mut rest = body;
                let request = ciborium::from_reader(&mut rest).map_err(|error| match error {
                    ciborium::de::Error::Semantic(_, text) => ServiceError::serialization(Some(text)),
                    _ => ServiceError::serialization(None),
                })?;
                match rest {
                    [] => Ok(request),
                    _ => Err(ServiceError::serialization(None)),
                }
            }
        }
    }

    /// Writes a reply or an error.
    #[expect(clippy::expect_used, reason = "writing to memory does not fail")]
    pub fn encode(self, value: &impl Serialize) -> Vec<u8> {
        match self {
            Wire::Json => serde_json::to_vec(value).expect("a reply is valid JSON"),
            Wire::Cbor => {
                let mut body = Vec::new();
                ciborium::into_writer(value, &mut body).expect("a reply is valid CBOR");
                body
            }
        }
    }
}

/// The body of a `PutRecords` request; [`super::limits`] checks which members are required.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecords {
    /// The stream by name.
    pub stream_name: Option<String>,
    /// The stream by ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The records.
    pub records: Option<Vec<Record>>,
    /// Whether to store nothing.
    pub dry_run: Option<bool>,
}

/// One record of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// The payload.
    pub data: Option<Blob>,
    /// Decides the shard.
    pub partition_key: Option<String>,
    /// Decides the shard instead of the partition key's hash.
    pub explicit_hash_key: Option<String>,
}

impl Record {
    /// The payload; empty if missing.
    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// The partition key; empty if missing.
    pub fn partition_key(&self) -> &str {
        self.partition_key.as_deref().unwrap_or_default()
    }
}

/// Bytes: base64 in JSON, a byte string in CBOR.
#[derive(Debug)]
pub struct Blob(Vec<u8>);

impl Blob {
    /// The bytes themselves.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;

        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a blob")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                let bytes = base64_simd::STANDARD.decode_to_vec(text);
                bytes.map(Blob).map_err(|_| E::custom(base64_error(text)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }

        match deserializer.is_human_readable() {
            true => deserializer.deserialize_str(BlobVisitor),
            false => deserializer.deserialize_byte_buf(BlobVisitor),
        }
    }
}

/// What AWS says about invalid base64. It repeats the data, so no client may log this message.
fn base64_error(text: &str) -> String {
    let alphabet = |c: &char| c.is_ascii_alphanumeric() || "+/=".contains(*c);
    let detail = if !text.len().is_multiple_of(4) {
        format!("Base64 encoded length is expected a multiple of 4 bytes but found: {}", text.len())
    } else if let Some(other) = text.chars().find(|c| !alphabet(c)) {
        format!("Invalid Base64 character: '{other}'")
    } else {
        // "dectected" is AWS's spelling.
        "Invalid last non-pad Base64 character dectected".to_owned()
    };
    format!("'{text}' can not be converted to a Blob: {detail}")
}

/// A message of serde_json without its " at line 1 column 2", which the service does not include.
fn without_position(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message).to_owned()
}

/// The body of a reply to `PutRecords`.
pub struct Reply {
    /// One per record, in the request's order.
    pub entries: Vec<Entry>,
    /// The member `EncryptionType`.
    pub encryption_type: Option<&'static str>,
    /// Accepted records carry null for `ErrorCode` and `ErrorMessage`.
    pub null_error_codes: bool,
    /// In CBOR: maps and arrays have definite length.
    pub definite: bool,
}

/// The result for one record.
pub enum Entry {
    /// It is in the stream.
    Accepted {
        /// 56 digits.
        sequence_number: String,
        /// The shard's number.
        shard: u32,
    },
    /// It is not stored.
    Refused {
        /// `ProvisionedThroughputExceededException` or `InternalFailure`.
        code: &'static str,
        /// A text for people.
        message: String,
    },
}

impl Reply {
    /// How many records were refused.
    pub fn failed(&self) -> usize {
        let refused = |entry: &&Entry| matches!(entry, Entry::Refused { .. });
        self.entries.iter().filter(refused).count()
    }

    fn length(&self, known: usize) -> Option<usize> {
        self.definite.then_some(known)
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = 2 + usize::from(self.encryption_type.is_some());
        let mut map = serializer.serialize_map(self.length(members))?;
        map.serialize_entry("FailedRecordCount", &self.failed())?;
        map.serialize_entry("Records", &Entries(self))?;
        if let Some(encryption_type) = self.encryption_type {
            map.serialize_entry("EncryptionType", encryption_type)?;
        }
        map.end()
    }
}

struct Entries<'a>(&'a Reply);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entries(reply) = self;
        let mut list = serializer.serialize_seq(reply.length(reply.entries.len()))?;
        for entry in &reply.entries {
            list.serialize_element(&EntryOf(reply, entry))?;
        }
        list.end()
    }
}

struct EntryOf<'a>(&'a Reply, &'a Entry);

impl Serialize for EntryOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let EntryOf(reply, entry) = self;
        match entry {
            Entry::Accepted { sequence_number, shard } => {
                let members = if reply.null_error_codes { 4 } else { 2 };
                let mut map = serializer.serialize_map(reply.length(members))?;
                map.serialize_entry("SequenceNumber", sequence_number)?;
                map.serialize_entry("ShardId", &shard::shard_id(*shard))?;
                if reply.null_error_codes {
                    map.serialize_entry("ErrorCode", &None::<&str>)?;
                    map.serialize_entry("ErrorMessage", &None::<&str>)?;
                }
                map.end()
            }
            Entry::Refused { code, message } => {
                let mut map = serializer.serialize_map(reply.length(2))?;
                map.serialize_entry("ErrorCode", code)?;
                map.serialize_entry("ErrorMessage", message)?;
                map.end()
            }
        }
    }
}

impl Serialize for ServiceError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + usize::from(self.message.is_some())))?;
        map.serialize_entry("__type", &self.code)?;
        if let Some(message) = &self.message {
            map.serialize_entry(self.message_member(), message)?;
        }
        map.end()
    }
}
