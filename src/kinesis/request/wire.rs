//! The parts of a `PutRecords` body that JSON and CBOR write differently.

use std::borrow::Cow;

use crate::kinesis::random_key::RandomKey;
use crate::kinesis::stream::Stream;

/// The wire format of requests and replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// JSON, with records in base64.
    #[default]
    Json,
    /// CBOR, the default of AWS's SDK for Java for Kinesis
    /// (<https://github.com/aws/aws-sdk-java-v2/pull/5670>, read 2026-11), with records as byte strings.
    Cbor,
}

impl Protocol {
    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Protocol::Json => "application/x-amz-json-1.1",
            Protocol::Cbor => "application/x-amz-cbor-1.1",
        }
    }
}

/// Writes a body part by part. Callers are generic over it, so the hot loop has no branch on the protocol.
///
/// An entry starts at `head` in the body: data, then usually a key, and possibly an explicit hash key.
pub trait Wire: Default {
    /// Which protocol this is.
    const PROTOCOL: Protocol;

    /// Writes everything before the first entry.
    fn begin(stream: &Stream, body: &mut Vec<u8>);

    /// Opens an entry and returns the buffer for its data. Overwrites an entry that was never closed.
    fn open<'b>(&'b mut self, body: &'b mut Vec<u8>, head: usize) -> &'b mut Vec<u8>;

    /// The data of the open entry.
    fn data<'b>(&'b self, body: &'b [u8], head: usize) -> &'b [u8];

    /// Opens an entry with this data. Returns an unused buffer.
    fn open_with(&mut self, data: Vec<u8>, body: &mut Vec<u8>, head: usize) -> Vec<u8>;

    /// Completes the data of the open entry. Returns its length in bytes.
    fn close_data(&mut self, body: &mut Vec<u8>, head: usize) -> usize;

    /// Writes a partition key.
    fn write_key(key: &str, body: &mut Vec<u8>);

    /// Writes a partition key that needs no escaping.
    fn write_random_key(key: RandomKey, body: &mut Vec<u8>);

    /// Writes an explicit hash key, in decimal.
    fn write_explicit_hash_key(digits: &str, body: &mut Vec<u8>);

    /// Notes how many members the entry at `head` has, if not data and key.
    fn count_members(body: &mut [u8], head: usize, members: u8);

    /// Writes the end of an entry.
    fn end_entry(body: &mut Vec<u8>);

    /// Writes the end of the body, after its last entry.
    fn end(body: &mut Vec<u8>);

    /// Decodes the data of an entry from the bytes before its key.
    fn read_data(head: &[u8]) -> Vec<u8>;

    /// Decodes a partition key, if `key` begins with one.
    fn read_key(key: &[u8]) -> Option<Cow<'_, str>>;
}

/// What is between the first and the last part of `bytes`.
pub(super) fn between<'b>(bytes: &'b [u8], first: &[u8], last: &[u8]) -> &'b [u8] {
    bytes.get(first.len()..bytes.len().saturating_sub(last.len())).unwrap_or_default()
}
