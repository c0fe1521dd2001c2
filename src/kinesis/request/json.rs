//! A `PutRecords` body in JSON.

use std::borrow::Cow;

use crate::kinesis::random_key::RandomKey;
use crate::kinesis::request::wire::{Protocol, Wire, between};
use crate::kinesis::stream::Stream;

const STREAM_ARN: &[u8] = b"{\"StreamARN\":";
const STREAM_NAME: &[u8] = b"{\"StreamName\":";
const RECORDS: &[u8] = b",\"Records\":[";
const DATA: &[u8] = b"{\"Data\":\"";
const END_OF_DATA: u8 = b'"';
const PARTITION_KEY: &[u8] = b",\"PartitionKey\":";
/// The same for a random key, which takes the place of the zeros.
const RANDOM_KEY: [u8; 24] = *b",\"PartitionKey\":\"000000\"";
const RANDOM_KEY_START: usize = PARTITION_KEY.len() + 1;
const EXPLICIT_HASH_KEY: &[u8] = b",\"ExplicitHashKey\":";
/// The comma after the last entry is removed at the end.
const END_OF_ENTRY: &[u8] = b"},";
const END: &[u8] = b"]}";

/// Writes JSON.
#[derive(Debug, Default)]
pub struct Json {
    /// The data of the open entry, before base64.
    data: Vec<u8>,
}

impl Wire for Json {
    const PROTOCOL: Protocol = Protocol::Json;

    fn begin(stream: &Stream, body: &mut Vec<u8>) {
        body.extend_from_slice(if stream.is_arn() { STREAM_ARN } else { STREAM_NAME });
        json_escape_simd::escape_into(stream.as_str(), body);
        body.extend_from_slice(RECORDS);
    }

    #[inline]
    fn open<'b>(&'b mut self, _: &'b mut Vec<u8>, _: usize) -> &'b mut Vec<u8> {
        self.data.clear();
        &mut self.data
    }

    #[inline]
    fn data<'b>(&'b self, _: &'b [u8], _: usize) -> &'b [u8] {
        &self.data
    }

    fn open_with(&mut self, data: Vec<u8>, _: &mut Vec<u8>, _: usize) -> Vec<u8> {
        std::mem::replace(&mut self.data, data)
    }

    #[inline]
    fn close_data(&mut self, body: &mut Vec<u8>, _: usize) -> usize {
        body.extend_from_slice(DATA);
        base64_simd::STANDARD.encode_append(&self.data, body);
        body.push(END_OF_DATA);
        self.data.len()
    }

    fn write_key(key: &str, body: &mut Vec<u8>) {
        body.extend_from_slice(PARTITION_KEY);
        json_escape_simd::escape_into(key, body);
    }

    #[inline]
    fn write_random_key(key: RandomKey, body: &mut Vec<u8>) {
        let mut text = RANDOM_KEY;
        if let Some(place) = text.get_mut(RANDOM_KEY_START..).and_then(<[u8]>::first_chunk_mut) {
            *place = *key.as_bytes();
        }
        body.extend_from_slice(&text);
    }

    fn write_explicit_hash_key(digits: &str, body: &mut Vec<u8>) {
        body.extend_from_slice(EXPLICIT_HASH_KEY);
        json_escape_simd::escape_into(digits, body);
    }

    fn count_members(_: &mut [u8], _: usize, _: u8) {}

    #[inline]
    fn end_entry(body: &mut Vec<u8>) {
        body.extend_from_slice(END_OF_ENTRY);
    }

    fn end(body: &mut Vec<u8>) {
        body.pop_if(|last| *last == b',');
        body.extend_from_slice(END);
    }

    fn read_data(head: &[u8]) -> Vec<u8> {
        base64_simd::STANDARD.decode_to_vec(between(head, DATA, &[END_OF_DATA])).unwrap_or_default()
    }

    fn read_key(key: &[u8]) -> Option<Cow<'_, str>> {
        let mut texts = serde_json::Deserializer::from_slice(key.strip_prefix(PARTITION_KEY)?).into_iter();
        texts.next()?.ok().map(Cow::Owned)
    }
}
