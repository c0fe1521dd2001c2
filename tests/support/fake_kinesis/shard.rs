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
            sequences: (0..shards.max(1)).map(|_| 0).collect(),
        }
    }

    /// The same stream with another limit on data plus partition key, in bytes, as `UpdateMaxRecordSize` sets it.
    pub fn with_max_record_size(self, bytes: usize) -> Stream {
        Stream { max_record_size: bytes, ..self }
    }

    /// The shard whose part of the range holds `hash`.
    pub fn shard_of(&self, hash: u128) -> u32 {
        shard_of(hash, self.sequences.len())
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

/// Shard `n` of `count` begins at `n * floor(2^128 / count)`; the last one takes the remainder too.
fn shard_of(hash: u128, count: usize) -> u32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if count <= 1 {
        return 0;
    }
    // floor(2^128 / count), from 2^128 - 1, which is the largest number there is.
    let whole = u128::MAX / u128::from(count);
    let width = match u128::MAX % u128::from(count) == u128::from(count) - 1 {
        true => whole + 1,
        false => whole,
    };
    u32::try_from(hash / width).unwrap_or(u32::MAX).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_shards_divide_the_range_by_the_first_two_bits() {
        assert_eq!(shard_of(0, 4), 0);
        assert_eq!(shard_of((1 << 126) - 1, 4), 0);
        assert_eq!(shard_of(1 << 126, 4), 1);
        assert_eq!(shard_of(u128::MAX, 4), 3);
    }

    #[test]
    fn the_last_of_three_shards_takes_the_remainder() {
        assert_eq!(shard_of(u128::MAX / 3 - 1, 3), 0);
        assert_eq!(shard_of(u128::MAX / 3, 3), 1);
        assert_eq!(shard_of(u128::MAX, 3), 2);
    }
}
