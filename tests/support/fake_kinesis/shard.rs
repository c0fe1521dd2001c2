//! Where a record goes: the stream's shards divide the range of MD5 into equal parts.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>

use std::sync::Arc;

use md5::{Digest, Md5};

use super::limits;

/// A stream that exists.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) name: Arc<str>,
    pub(super) max_record_size: usize,
    /// How many sequence numbers each shard has given out.
    sequences: Vec<u64>,
}

impl Stream {
    /// A stream of that many shards (at least one) with records of up to 1 MiB.
    pub fn new(name: &str, shards: u32) -> Stream {
        Stream {
            name: Arc::from(name),
            max_record_size: limits::DEFAULT_RECORD_SIZE,
            sequences: vec![0; shards.max(1) as usize],
        }
    }

    /// The same stream with another limit on data plus partition key, in bytes, as `UpdateMaxRecordSize` sets it.
    pub fn with_max_record_size(self, bytes: usize) -> Stream {
        Stream { max_record_size: bytes, ..self }
    }

    /// The shard whose part of the range holds `hash`. Shard `n` of `count` begins at `n * floor(2^128 / count)`; the
    /// last one takes the remainder too.
    pub fn shard_of(&self, hash: u128) -> u32 {
        let last = u32::try_from(self.sequences.len() - 1).unwrap_or(u32::MAX);
        if last == 0 {
            return 0;
        }
        let count = u128::from(last) + 1;
        // floor(2^128 / count), from 2^128 - 1, which is the largest number there is.
        let width = match u128::MAX % count == count - 1 {
            true => u128::MAX / count + 1,
            false => u128::MAX / count,
        };
        u32::try_from(hash / width).unwrap_or(last).min(last)
    }

    /// The next sequence number of a shard: 56 digits, growing.
    pub(super) fn next_sequence(&mut self, shard: u32) -> String {
        let count = self.sequences.get_mut(shard as usize).map_or(0, |sequence| {
            *sequence += 1;
            *sequence
        });
        format!("496590338271490256608559692{shard:05}{count:024}")
    }
}

/// The hash of a partition key.
pub fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// The id of a shard as replies name it.
pub fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}
