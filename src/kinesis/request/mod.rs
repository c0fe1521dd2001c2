//! The body of a `PutRecords` request, written as the records come.
//!
//! A body is kept until Kinesis has taken all of it. What failed is cut out of it and sent again ([`Batch::only`]), so
//! no record is encoded twice.

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use crate::kinesis::kpl;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::shards::Shard;
use crate::kinesis::stream::Stream;

/// A batch that uses less than this part of its memory gives the rest back: a small request written into the body of a large
/// one, or after it, would hold as much memory while it is in flight.
const LEAST_USE: usize = 4;

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

mod json {
    pub(super) const STREAM_ARN: &[u8] = b"{\"StreamARN\":";
    pub(super) const STREAM_NAME: &[u8] = b"{\"StreamName\":";
    pub(super) const RECORDS: &[u8] = b",\"Records\":[";
    pub(super) const DATA: &[u8] = b"{\"Data\":\"";
    pub(super) const PARTITION_KEY: &[u8] = b"\",\"PartitionKey\":";
    pub(super) const EXPLICIT_HASH_KEY: &[u8] = b",\"ExplicitHashKey\":";
    /// The last entry's comma is taken back.
    pub(super) const END_OF_ENTRY: &[u8] = b"},";
    pub(super) const END: &[u8] = b"]}";
}

/// Maps and arrays whose lengths are known last are open-ended (RFC 8949, 3.2.2).
mod cbor {
    pub(super) const STREAM_ARN: &[u8] = b"\xbf\x69StreamARN";
    pub(super) const STREAM_NAME: &[u8] = b"\xbf\x6aStreamName";
    pub(super) const RECORDS: &[u8] = b"\x67Records\x9f";
    /// A map of two, and the first key; the value is a byte string with a length of four bytes.
    pub(super) const DATA: &[u8] = b"\xa2\x64Data\x5a\0\0\0\0";
    pub(super) const PARTITION_KEY: &[u8] = b"\x6cPartitionKey";
    /// What a record's first byte is when this follows: a map of three.
    pub(super) const MAP_OF_THREE: u8 = 0xa3;
    pub(super) const EXPLICIT_HASH_KEY: &[u8] = b"\x6fExplicitHashKey";
    pub(super) const END: &[u8] = b"\xff\xff";

    /// The first byte of a text of less than 24 bytes, without its length.
    pub(super) const SHORT_TEXT: u8 = 0x60;

    pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
        // Keys and names have 1 KiB at most, and a Vec takes everything.
        match u16::try_from(text.len()).map(u16::to_be_bytes) {
            Ok([0, length @ 0..=23]) => out.push(SHORT_TEXT | length),
            Ok([0, length]) => out.extend_from_slice(&[0x78, length]),
            Ok([high, low]) => out.extend_from_slice(&[0x79, high, low]),
            Err(_) => return write_text("", out),
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which record of the chunk this is: the index of its event. In a batch of groups, which group; [`Batch::records`]
    /// tells in either case.
    pub record: u32,
    /// Data before base64 plus partition key, in bytes: what Kinesis counts.
    pub bytes: usize,
    /// Whether the key was drawn at random, and so may be drawn anew.
    pub random_key: bool,
    /// Where the entry stands in the body, from its start up to its partition key.
    head: Range<usize>,
    /// Where its partition key stands, a string of JSON or CBOR, with its explicit hash key behind it.
    key: Range<usize>,
}

/// Records of the chunk that share one of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The records in it, by the index of their events, in order.
    pub records: Vec<u32>,
    /// What becomes of them, together.
    pub data: Vec<u8>,
    /// The partition key.
    pub key: String,
    /// Whether the key was drawn at random.
    pub random_key: bool,
    /// Whether `data` is an aggregate that has the partition key inside.
    pub holds_key: bool,
    /// The shard that it is sent to by its explicit hash key, whatever the partition key.
    pub shard: Option<Rc<Shard>>,
}

/// What a batch remembers of a group.
#[derive(Debug)]
struct Grouped {
    records: Vec<u32>,
    holds_key: bool,
    shard: Option<Rc<Shard>>,
}

/// A batch that is being written.
#[derive(Debug)]
pub struct BatchBuilder {
    protocol: Protocol,
    body: Vec<u8>,
    prefix_length: usize,
    entries: Vec<Entry>,
    groups: Vec<Grouped>,
    bytes: usize,
    /// Where the entry that is open starts in the body.
    head: usize,
    /// Its data when it is yet to become base64.
    data: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch for `stream`, whose body is written over `body`.
    pub fn new(stream: &Stream, protocol: Protocol, mut body: Vec<u8>) -> Self {
        body.clear();
        let stream_name = stream.as_str();
        match protocol {
            Protocol::Json => {
                body.extend_from_slice(if stream.is_arn() { json::STREAM_ARN } else { json::STREAM_NAME });
                json_escape_simd::escape_into(stream_name, &mut body);
                body.extend_from_slice(json::RECORDS);
            }
            Protocol::Cbor => {
                body.extend_from_slice(if stream.is_arn() { cbor::STREAM_ARN } else { cbor::STREAM_NAME });
                cbor::write_text(stream_name, &mut body);
                body.extend_from_slice(cbor::RECORDS);
            }
        }
        Self::behind(body, protocol)
    }

    fn behind(prefix: Vec<u8>, protocol: Protocol) -> Self {
        let (prefix_length, entries, groups, data) = (prefix.len(), Vec::new(), Vec::new(), Vec::new());
        BatchBuilder { protocol, prefix_length, body: prefix, entries, groups, bytes: 0, head: prefix_length, data }
    }

    /// Makes room for so many records more, and so many bytes of the body.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.entries.reserve(records);
        self.body.reserve(bytes);
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Data before base64 plus partition keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record. Limits are the caller's ([`crate::pack`]).
    pub fn push(&mut self, record: u32, data: &[u8], key: &str, random_key: bool) {
        self.open().extend_from_slice(data);
        self.close(record, key, random_key);
    }

    /// Appends a record that several records of the chunk share; then all records of the batch have to be such. Returns
    /// a buffer for the data of the next group.
    pub fn push_group(&mut self, group: Group) -> Vec<u8> {
        let Group { records, mut data, key, random_key, holds_key, shard } = group;
        // A batch has 500 records at most.
        let index = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        match self.protocol {
            Protocol::Json => std::mem::swap(&mut self.data, &mut data),
            Protocol::Cbor => self.open().extend_from_slice(&data),
        }
        self.close(index, &key, random_key);
        if let Some(shard) = &shard {
            self.add_explicit_hash_key(&shard.explicit_hash_key);
        }
        self.groups.push(Grouped { records, holds_key, shard });
        data.clear();
        data
    }

    /// Gives the last entry an explicit hash key, in decimal.
    fn add_explicit_hash_key(&mut self, digits: &str) {
        let Some(entry) = self.entries.last_mut() else { return };
        self.body.truncate(entry.key.end);
        match self.protocol {
            Protocol::Json => {
                self.body.extend_from_slice(json::EXPLICIT_HASH_KEY);
                json_escape_simd::escape_into(digits, &mut self.body);
            }
            Protocol::Cbor => {
                if let Some(first) = self.body.get_mut(entry.head.start) {
                    *first = cbor::MAP_OF_THREE;
                }
                self.body.extend_from_slice(cbor::EXPLICIT_HASH_KEY);
                cbor::write_text(digits, &mut self.body);
            }
        }
        entry.key.end = self.body.len();
        self.end_of_entry();
    }

    /// Writes what ends an entry.
    fn end_of_entry(&mut self) {
        if self.protocol == Protocol::Json {
            self.body.extend_from_slice(json::END_OF_ENTRY);
        }
        self.head = self.body.len();
    }

    /// Opens an entry and returns the place to append its data to. [`BatchBuilder::close`] makes it a record; an entry
    /// that is not closed is forgotten with the next one.
    #[inline]
    pub fn open(&mut self) -> &mut Vec<u8> {
        match self.protocol {
            Protocol::Json => {
                self.data.clear();
                &mut self.data
            }
            Protocol::Cbor => {
                self.body.truncate(self.head);
                self.body.extend_from_slice(cbor::DATA);
                &mut self.body
            }
        }
    }

    /// The data of the entry that is open.
    pub fn data(&self) -> &[u8] {
        match self.protocol {
            Protocol::Json => &self.data,
            Protocol::Cbor => self.body.get(self.head + cbor::DATA.len()..).unwrap_or_default(),
        }
    }

    /// Gives the open entry its key.
    pub fn close(&mut self, record: u32, key: &str, random_key: bool) {
        let data_bytes = self.close_data();
        self.end_entry(record, data_bytes, key, random_key);
    }

    /// The same with a key that needs no escapes.
    #[inline]
    pub fn close_with_random_key(&mut self, record: u32, key: RandomKey) {
        let bytes = self.close_data() + RANDOM_KEY_LENGTH;
        let key_start = self.body.len();
        match self.protocol {
            Protocol::Json => {
                self.body.push(b'"');
                self.body.extend_from_slice(key.as_bytes());
                self.body.push(b'"');
            }
            Protocol::Cbor => {
                self.body.push(cbor::SHORT_TEXT | RANDOM_KEY_LENGTH as u8);
                self.body.extend_from_slice(key.as_bytes());
            }
        }
        self.end_entry_behind_key(key_start, record, bytes, true);
    }

    /// Completes the data of the open entry, up to where its key begins, and tells how many bytes Kinesis counts.
    #[inline]
    fn close_data(&mut self) -> usize {
        let data_bytes = self.data().len();
        match self.protocol {
            Protocol::Json => {
                self.body.extend_from_slice(json::DATA);
                base64_simd::STANDARD.encode_append(&self.data, &mut self.body);
                self.body.extend_from_slice(json::PARTITION_KEY);
            }
            Protocol::Cbor => {
                let length_end = self.head + cbor::DATA.len();
                if let Some(length) = self.body.get_mut(length_end - 4..length_end) {
                    // Kinesis takes 10 MiB, Fluent Bit's chunks have 2 MB.
                    length.copy_from_slice(&u32::try_from(data_bytes).unwrap_or(u32::MAX).to_be_bytes());
                }
                self.body.extend_from_slice(cbor::PARTITION_KEY);
            }
        }
        data_bytes
    }

    fn end_entry(&mut self, record: u32, data_bytes: usize, key: &str, random_key: bool) {
        let key_start = self.body.len();
        match self.protocol {
            Protocol::Json => json_escape_simd::escape_into(key, &mut self.body),
            Protocol::Cbor => cbor::write_text(key, &mut self.body),
        }
        self.end_entry_behind_key(key_start, record, data_bytes + key.len(), random_key);
    }

    fn end_entry_behind_key(&mut self, key_start: usize, record: u32, bytes: usize, random_key: bool) {
        let key = key_start..self.body.len();
        self.bytes += bytes;
        self.entries.push(Entry { record, bytes, random_key, head: self.head..key_start, key });
        self.end_of_entry();
    }

    /// The memory of its body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The batch, complete.
    pub fn finish(mut self) -> Batch {
        self.body.truncate(self.head);
        match self.protocol {
            Protocol::Json => {
                self.body.pop_if(|last| *last == b',');
                self.body.extend_from_slice(json::END);
            }
            Protocol::Cbor => self.body.extend_from_slice(cbor::END),
        }
        let BatchBuilder { protocol, mut body, prefix_length, mut entries, groups, bytes, .. } = self;
        shrink(&mut body);
        shrink(&mut entries);
        Batch { protocol, body: body.into(), prefix_length, entries, groups: groups.into(), bytes }
    }
}

fn shrink<T>(items: &mut Vec<T>) {
    if items.capacity() / LEAST_USE > items.len() {
        items.shrink_to_fit();
    }
}

/// Records on their way to Kinesis: a request's body and what is in it.
#[derive(Clone, Debug)]
pub struct Batch {
    protocol: Protocol,
    body: Bytes,
    prefix_length: usize,
    entries: Vec<Entry>,
    /// What the entries stand for, when they stand for several records of the chunk each.
    groups: Rc<[Grouped]>,
    bytes: usize,
}

impl Batch {
    /// The records in it, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Which records of the chunk one of its entries stands for: the indexes of their events.
    #[inline]
    pub fn records<'a>(&'a self, entry: &'a Entry) -> &'a [u32] {
        match self.groups.get(entry.record as usize) {
            Some(group) => &group.records,
            None => std::slice::from_ref(&entry.record),
        }
    }

    /// The shard that one of its entries was made for, if for any.
    pub fn shard(&self, entry: &Entry) -> Option<&Shard> {
        self.groups.get(entry.record as usize)?.shard.as_deref()
    }

    /// How many records of the chunk are in it.
    pub fn record_count(&self) -> usize {
        if self.groups.is_empty() {
            return self.entries.len();
        }
        self.entries.iter().map(|entry| self.records(entry).len()).sum()
    }

    /// Data before base64 plus partition keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The request's body; cloning it copies nothing.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The memory of its body; `None` while a request or another batch still has it.
    pub fn into_body(self) -> Option<Vec<u8>> {
        let mut body = self.body.try_into_mut().ok()?;
        // What is in it would be copied onto itself.
        body.clear();
        Some(body.into())
    }

    /// A batch of those entries for which `keep` says so, by their index in this batch. `new_key` may give an entry
    /// with a random key another one.
    pub fn only(
        &self,
        mut keep: impl FnMut(usize) -> bool,
        mut new_key: impl FnMut(usize) -> Option<RandomKey>,
    ) -> Batch {
        let part = |range: Range<usize>| self.body.get(range).unwrap_or_default();
        let mut kept = BatchBuilder::behind(part(0..self.prefix_length).to_vec(), self.protocol);
        for (index, entry) in self.entries.iter().enumerate() {
            if !keep(index) {
                continue;
            }
            let key = if entry.random_key { new_key(index) } else { None };
            if let Some(key) = key
                && self.groups.get(entry.record as usize).is_some_and(|group| group.holds_key)
            {
                let mut data = self.data(entry);
                kpl::replace_key(&mut data, key.as_str());
                kept.push(entry.record, &data, key.as_str(), true);
                continue;
            }
            kept.body.extend_from_slice(part(entry.head.clone()));
            match key {
                Some(key) => kept.end_entry(entry.record, entry.bytes - RANDOM_KEY_LENGTH, key.as_str(), true),
                None => {
                    let key_start = kept.body.len();
                    kept.body.extend_from_slice(part(entry.key.clone()));
                    kept.end_entry_behind_key(key_start, entry.record, entry.bytes, entry.random_key);
                }
            }
        }
        Batch { groups: Rc::clone(&self.groups), ..kept.finish() }
    }

    /// The data of an entry.
    fn data(&self, entry: &Entry) -> Vec<u8> {
        let head = self.body.get(entry.head.clone()).unwrap_or_default();
        let between = |start: &[u8], end: &[u8]| {
            let data = head.get(start.len()..head.len().saturating_sub(end.len()));
            data.unwrap_or_default()
        };
        match self.protocol {
            Protocol::Json => {
                base64_simd::STANDARD.decode_to_vec(between(json::DATA, json::PARTITION_KEY)).unwrap_or_default()
            }
            Protocol::Cbor => between(cbor::DATA, cbor::PARTITION_KEY).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
