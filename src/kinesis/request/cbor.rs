//! A `PutRecords` body in CBOR. Maps and arrays whose length is known last have indefinite length (RFC 8949, 3.2.2).

use std::borrow::Cow;

use minicbor::Decoder;

use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::request::wire::{Protocol, Wire, between};
use crate::kinesis::stream::Stream;

const STREAM_ARN: &[u8] = b"\xbf\x69StreamARN";
const STREAM_NAME: &[u8] = b"\xbf\x6aStreamName";
const RECORDS: &[u8] = b"\x67Records\x9f";
/// A map of two, and the first key. The value is a byte string with a four-byte length.
const DATA: &[u8] = b"\xa2\x64Data\x5a\0\0\0\0";
const PARTITION_KEY: &[u8] = b"\x6cPartitionKey";
/// The first byte of a map of less than 24 members, without their number.
const SHORT_MAP: u8 = 0xa0;
const EXPLICIT_HASH_KEY: &[u8] = b"\x6fExplicitHashKey";
const END: &[u8] = b"\xff\xff";
/// The first byte of a text of less than 24 bytes, without its length.
const SHORT_TEXT: u8 = 0x60;

/// Writes CBOR.
#[derive(Debug, Default)]
pub struct Cbor;

impl Wire for Cbor {
    const PROTOCOL: Protocol = Protocol::Cbor;

    fn begin(stream: &Stream, body: &mut Vec<u8>) {
        body.extend_from_slice(if stream.is_arn() { STREAM_ARN } else { STREAM_NAME });
        write_text(stream.as_str(), body);
        body.extend_from_slice(RECORDS);
    }

    #[inline]
    fn open<'b>(&'b mut self, body: &'b mut Vec<u8>, head: usize) -> &'b mut Vec<u8> {
        body.truncate(head);
        body.extend_from_slice(DATA);
        body
    }

    #[inline]
    fn data<'b>(&'b self, body: &'b [u8], head: usize) -> &'b [u8] {
        body.get(head + DATA.len()..).unwrap_or_default()
    }

    fn open_with(&mut self, data: Vec<u8>, body: &mut Vec<u8>, head: usize) -> Vec<u8> {
        self.open(body, head).extend_from_slice(&data);
        data
    }

    #[inline]
    fn close_data(&mut self, body: &mut Vec<u8>, head: usize) -> usize {
        let length = self.data(body, head).len();
        let end = head + DATA.len();
        if let Some(place) = body.get_mut(end - 4..end) {
            // Kinesis takes 10 MiB, and Fluent Bit's chunks have 2 MB.
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        length
    }

    fn write_key(key: &str, body: &mut Vec<u8>) {
        body.extend_from_slice(PARTITION_KEY);
        write_text(key, body);
    }

    #[inline]
    fn write_random_key(key: RandomKey, body: &mut Vec<u8>) {
        body.extend_from_slice(PARTITION_KEY);
        body.push(SHORT_TEXT | RANDOM_KEY_LENGTH as u8);
        body.extend_from_slice(key.as_bytes());
    }

    fn write_explicit_hash_key(digits: &str, body: &mut Vec<u8>) {
        body.extend_from_slice(EXPLICIT_HASH_KEY);
        write_text(digits, body);
    }

    fn count_members(body: &mut [u8], head: usize, members: u8) {
        if let Some(first) = body.get_mut(head) {
            *first = SHORT_MAP | members;
        }
    }

    #[inline]
    fn end_entry(_: &mut Vec<u8>) {}

    fn end(body: &mut Vec<u8>) {
        body.extend_from_slice(END);
    }

    fn read_data(head: &[u8]) -> Vec<u8> {
        between(head, DATA, &[]).to_vec()
    }

    fn read_key(key: &[u8]) -> Option<Cow<'_, str>> {
        Decoder::new(key.strip_prefix(PARTITION_KEY)?).str().ok().map(Cow::Borrowed)
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Keys and names have at most 1 KiB, and writing to a Vec cannot fail.
    match u16::try_from(text.len()).map(u16::to_be_bytes) {
        Ok([0, length @ 0..=23]) => out.push(SHORT_TEXT | length),
        Ok([0, length]) => out.extend_from_slice(&[0x78, length]),
        Ok([high, low]) => out.extend_from_slice(&[0x79, high, low]),
        Err(_) => return write_text("", out),
    }
    out.extend_from_slice(text.as_bytes());
}
