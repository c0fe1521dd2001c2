//! What the two protocols have in common: the places of a `PutRecords` body that each writes in its own way.

use crate::kinesis::random_key::RandomKey;
use crate::kinesis::stream::Stream;

/// How requests and replies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// JSON, with records in base64.
    #[default]
    Json,
    /// CBOR, as AWS's SDK for Java speaks it to Kinesis by default
    /// (<https://github.com/aws/aws-sdk-java-v2/pull/5670>, read 2026-11): records as they are.
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

/// Writes a body part by part. Callers are generic over it, so that the hot loop contains one protocol and no branch.
///
/// An entry starts at `head` in the body: its data, its key, perhaps an explicit hash key.
pub trait Wire: Default {
    /// Which protocol this is.
    const PROTOCOL: Protocol;

    /// Writes everything before the first entry.
    fn begin(stream: &Stream, body: &mut Vec<u8>);

    /// Opens an entry and returns the buffer to append its data to. It overwrites an
    /// entry that was never closed.
    fn open<'b>(&'b mut self, body: &'b mut Vec<u8>, head: usize) -> &'b mut Vec<u8>;

    /// The data of the open entry.
    fn data<'b>(&'b self, body: &'b [u8], head: usize) -> &'b [u8];

    /// Opens an entry with this data. Returns a buffer that is free.
    fn open_with(&mut self, data: Vec<u8>, body: &mut Vec<u8>, head: usize) -> Vec<u8>;

    /// Completes the data of the open entry, up to where its key begins. Returns its length in bytes.
    fn close_data(&mut self, body: &mut Vec<u8>, head: usize) -> usize;

    /// Writes a partition key.
    fn write_key(key: &str, body: &mut Vec<u8>);

    /// Writes a partition key that needs no escapes.
    fn write_random_key(key: RandomKey, body: &mut Vec<u8>);

    /// Gives the entry whose key the body ends with an explicit hash key, in decimal.
    fn write_explicit_hash_key(digits: &str, body: &mut Vec<u8>, head: usize);

    /// Writes the end of an entry.
    fn end_entry(body: &mut Vec<u8>);

    /// Writes the end of the body, after its last entry.
    fn end(body: &mut Vec<u8>);

    /// The data of an entry, read from what is written before its key.
    fn read_data(head: &[u8]) -> Vec<u8>;
}

/// What is between the first and the last part of `bytes`.
pub(super) fn between<'b>(bytes: &'b [u8], first: &[u8], last: &[u8]) -> &'b [u8] {
    bytes.get(first.len()..bytes.len().saturating_sub(last.len())).unwrap_or_default()
}
