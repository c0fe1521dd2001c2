//! The aggregate format of Amazon's Kinesis Producer Library: many user records in one Kinesis record.
//!
//! A shard takes 1,000 records per second of any size, and `PutRecords` bills each in units of 25 KB, so many small
//! records are better sent as one. Every consumer built on the Kinesis Client Library unpacks this format
//! (<https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>, read 2026-11).
//!
//! An aggregate is four magic bytes, a protobuf message with a table of keys followed by the records, and the
//! message's MD5. Table and records grow in separate buffers, so the size is known before each record is added. The MD5
//! is written last, of several aggregates at once ([`write_digests`]).

use std::collections::HashMap;

use bytes::BufMut;
use md5::{Digest, Md5};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, uint64};

use crate::digest::md5::{DIGEST_LENGTH, LANES, digests};

/// How an aggregate begins.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

// The fields of AggregatedRecord.
const PARTITION_KEYS: u32 = 1;
const HASH_KEYS: u32 = 2;
const RECORDS: u32 = 3;

// The fields of Record. Tags exist too, but nothing writes them.
const PARTITION_KEY_INDEX: u32 = 1;
const HASH_KEY_INDEX: u32 = 2;
const DATA: u32 = 3;

/// User records that will become one Kinesis record. Buffers are reused for the next aggregate.
#[derive(Debug)]
pub struct Aggregate {
    partition_keys: Table,
    hash_keys: Table,
    /// The records, encoded.
    records: Vec<u8>,
    count: usize,
    /// Where the data of the last record begins in `records`. It extends to the end.
    last_data: usize,
}

impl Default for Aggregate {
    fn default() -> Self {
        Aggregate {
            partition_keys: Table::new(PARTITION_KEYS),
            hash_keys: Table::new(HASH_KEYS),
            records: Vec::new(),
            count: 0,
            last_data: 0,
        }
    }
}

impl Aggregate {
    /// Adds a record.
    ///
    /// The Kinesis Client Library drops a whole aggregate if one of its records hashes to a shard other than the one
    /// it was read from. An explicit hash key counts instead of the partition key's MD5, so records of different keys
    /// that all carry the aggregate's explicit hash key survive a split or merge of shards in flight. It costs at
    /// most 41 bytes for the first record and two for each other.
    pub fn push(&mut self, partition_key: &str, explicit_hash_key: Option<&str>, data: &[u8]) {
        let key = self.partition_keys.index(partition_key);
        let hash_key = explicit_hash_key.map(|text| self.hash_keys.index(text));
        encode_key(RECORDS, WireType::LengthDelimited, &mut self.records);
        encode_varint(record_size(key, hash_key, data.len()) as u64, &mut self.records);
        uint64::encode(PARTITION_KEY_INDEX, &key, &mut self.records);
        if let Some(index) = hash_key {
            uint64::encode(HASH_KEY_INDEX, &index, &mut self.records);
        }
        encode_bytes_head(DATA, data.len(), &mut self.records);
        self.last_data = self.records.len();
        self.records.put_slice(data);
        self.count += 1;
    }

    /// The number of bytes that [`Aggregate::finish`] would write now; 20 if empty.
    pub fn size(&self) -> usize {
        MAGIC.len()
            + self.partition_keys.encoded.len()
            + self.hash_keys.encoded.len()
            + self.records.len()
            + DIGEST_LENGTH
    }

    /// The number of bytes that [`Aggregate::finish`] would write after adding a record of `data_len` bytes.
    pub fn size_with(&self, partition_key: &str, explicit_hash_key: Option<&str>, data_len: usize) -> usize {
        let (key, key_size) = self.partition_keys.would_be(partition_key);
        let (hash_key, hash_key_size) = match explicit_hash_key.map(|text| self.hash_keys.would_be(text)) {
            Some((index, size)) => (Some(index), size),
            None => (None, 0),
        };
        self.size() + key_size + hash_key_size + bytes_size(RECORDS, record_size(key, hash_key, data_len))
    }

    /// The data of the only record, if there is just one. It is sent without the container, which would only cost.
    pub fn only_data(&self) -> Option<&[u8]> {
        if self.count == 1 { self.records.get(self.last_data..) } else { None }
    }

    /// Appends the aggregate to `out`, with room for its MD5 ([`write_digests`]), and starts a new one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.size());
        out.put_slice(&MAGIC);
        out.put_slice(&self.partition_keys.encoded);
        out.put_slice(&self.hash_keys.encoded);
        out.put_slice(&self.records);
        out.put_slice(&[0; DIGEST_LENGTH]);
        self.clear();
    }

    /// Removes all records.
    pub fn clear(&mut self) {
        self.partition_keys.clear();
        self.hash_keys.clear();
        self.records.clear();
        self.count = 0;
    }
}

/// Writes the MD5 of up to `LANES` aggregates, all at once.
pub fn write_digests<'a>(aggregates: impl Iterator<Item = &'a mut [u8]>) {
    let parts = aggregates.take(LANES).filter_map(|aggregate| aggregate.split_last_chunk_mut());
    let (messages, places): (Vec<_>, Vec<_>) =
        parts.map(|(message, place)| (message.get(MAGIC.len()..).unwrap_or_default(), place)).unzip();
    for (place, digest) in places.into_iter().zip(digests(&messages)) {
        *place = digest;
    }
}

/// Replaces an aggregate's first partition key by another of the same length. A consumer drops an aggregate sent
/// under a key that its records do not have, if the keys belong to different shards. If the lengths differ, nothing
/// changes.
pub fn replace_key(container: &mut [u8], key: &str) {
    let mut head = MAGIC.to_vec();
    encode_bytes_head(PARTITION_KEYS, key.len(), &mut head);
    let Some((message, md5)) = container.split_last_chunk_mut::<DIGEST_LENGTH>() else { return };
    if !message.starts_with(&head) {
        return;
    }
    if let Some(place) = message.get_mut(head.len()..head.len() + key.len()) {
        place.copy_from_slice(key.as_bytes());
    }
    md5.copy_from_slice(&Md5::digest(message.get(MAGIC.len()..).unwrap_or_default()));
}

/// Texts that records refer to by index, in the order first used.
#[derive(Debug)]
struct Table {
    field: u32,
    encoded: Vec<u8>,
    indexes: HashMap<Box<str>, u64>,
    first: String,
}

impl Table {
    fn new(field: u32) -> Table {
        Table { field, encoded: Vec::new(), indexes: HashMap::new(), first: String::new() }
    }

    fn next(&self) -> u64 {
        self.indexes.len() as u64
    }

    /// Usually there is only one text.
    fn is_first(&self, text: &str) -> bool {
        !self.encoded.is_empty() && self.first == text
    }

    /// The index of `text`, which is added if it is new.
    fn index(&mut self, text: &str) -> u64 {
        if self.is_first(text) {
            return 0;
        }
        if let Some(&index) = self.indexes.get(text) {
            return index;
        }
        let index = self.next();
        if index == 0 {
            self.first.push_str(text);
        }
        self.indexes.insert(text.into(), index);
        encode_bytes_head(self.field, text.len(), &mut self.encoded);
        self.encoded.put_slice(text.as_bytes());
        index
    }

    /// The index that `text` has or would get, and the bytes that the table would grow by.
    fn would_be(&self, text: &str) -> (u64, usize) {
        if self.is_first(text) {
            return (0, 0);
        }
        match self.indexes.get(text) {
            Some(&index) => (index, 0),
            None => (self.next(), bytes_size(self.field, text.len())),
        }
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.indexes.clear();
        self.first.clear();
    }
}

/// The size of a record without its field header.
fn record_size(key: u64, hash_key: Option<u64>, data_len: usize) -> usize {
    uint64::encoded_len(PARTITION_KEY_INDEX, &key)
        + hash_key.map_or(0, |index| uint64::encoded_len(HASH_KEY_INDEX, &index))
        + bytes_size(DATA, data_len)
}

/// The size of a field with `length` bytes of content.
fn bytes_size(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

fn encode_bytes_head(field: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

#[cfg(test)]
pub(crate) mod tests;
