//! Where a record goes: the open shards divide the MD5 range, initially in equal parts.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>

use std::ops::RangeInclusive;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::limits;

/// An existing stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) name: Arc<str>,
    pub(super) max_record_size: usize,
    /// All shards it ever had, by number.
    pub shards: Vec<Shard>,
    /// Whether it distributes records itself, whatever their keys (`RecordDistributionStrategy` AUTO).
    pub auto: bool,
    /// The number of records that it has distributed itself.
    distributed: u64,
}

/// A part of a stream.
#[derive(Clone, Debug)]
pub struct Shard {
    /// The hash keys that belong to it.
    pub range: RangeInclusive<u128>,
    /// The shards it came from: one for a split, two for a merge.
    pub parents: Vec<u32>,
    /// Whether it was split or merged, and so takes no more records.
    pub closed: bool,
    /// How many sequence numbers it has issued.
    pub sequences: u64,
}

impl Shard {
    fn new(range: RangeInclusive<u128>, parents: Vec<u32>) -> Shard {
        Shard { range, parents, closed: false, sequences: 0 }
    }
}

impl Stream {
    /// Creates a stream with this many shards (at least one) and records of up to 1 MiB. Shard `n` of `count` begins
    /// at `n * floor(2^128 / count)`; the last one also takes the remainder.
    pub fn new(name: &str, shards: u32) -> Stream {
        let count = u128::from(shards.max(1));
        // floor(2^128 / count), computed from 2^128 - 1, the largest u128.
        let width = match u128::MAX % count == count - 1 {
            true if count == 1 => u128::MAX,
            true => u128::MAX / count + 1,
            false => u128::MAX / count,
        };
        let end = |number: u128| if number == count - 1 { u128::MAX } else { (number + 1) * width - 1 };
        let shards = (0..count).map(|number| Shard::new(number * width..=end(number), Vec::new())).collect();
        Stream {
            name: Arc::from(name),
            max_record_size: limits::DEFAULT_RECORD_SIZE,
            shards,
            auto: false,
            distributed: 0,
        }
    }

    /// Sets the limit on data plus partition key, in bytes, like `UpdateMaxRecordSize`.
    pub fn with_max_record_size(self, bytes: usize) -> Stream {
        Stream { max_record_size: bytes, ..self }
    }

    /// Lets it distribute records itself.
    pub fn with_auto(self) -> Stream {
        Stream { auto: true, ..self }
    }

    /// An open shard of the stream's own choice.
    pub(super) fn any_shard(&mut self) -> u32 {
        self.distributed += 1;
        self.shard_of(hash_of(&self.distributed.to_string()))
    }

    /// The open shard whose range contains `hash`.
    pub fn shard_of(&self, hash: u128) -> u32 {
        let place = self.shards.iter().position(|shard| !shard.closed && shard.range.contains(&hash));
        place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
    }

    /// The numbers of the open shards, by range.
    pub fn open_shards(&self) -> Vec<u32> {
        let mut open: Vec<_> = (0..).zip(&self.shards).filter(|(_, shard)| !shard.closed).collect();
        open.sort_by_key(|(_, shard)| *shard.range.start());
        open.into_iter().map(|(number, _)| number).collect()
    }

    /// Splits an open shard into halves.
    pub fn split(&mut self, number: u32) {
        let Some(shard) = self.shards.get_mut(number as usize).filter(|shard| !shard.closed) else { return };
        let (start, end) = (*shard.range.start(), *shard.range.end());
        let middle = start.midpoint(end);
        shard.closed = true;
        self.shards.push(Shard::new(start..=middle, vec![number]));
        self.shards.push(Shard::new(middle + 1..=end, vec![number]));
    }

    /// Merges an open shard with the one after it.
    pub fn merge(&mut self, number: u32) {
        let open = self.open_shards();
        let Some([left, right]) = open.windows(2).find_map(|pair| pair.first_chunk().filter(|pair| pair[0] == number))
        else {
            return;
        };
        let mut range = 0..=u128::MAX;
        for (number, shard) in (0..).zip(&mut self.shards) {
            if number == *left {
                shard.closed = true;
                range = *shard.range.start()..=*range.end();
            }
            if number == *right {
                shard.closed = true;
                range = *range.start()..=*shard.range.end();
            }
        }
        self.shards.push(Shard::new(range, vec![*left, *right]));
    }

    /// The next sequence number of a shard: 56 digits, increasing.
    pub(super) fn next_sequence(&mut self, shard: u32) -> String {
        let count = self.shards.get_mut(shard as usize).map_or(0, |shard| {
            shard.sequences += 1;
            shard.sequences
        });
        sequence_number(shard, count)
    }
}

/// A sequence number of a shard.
pub(super) fn sequence_number(shard: u32, count: u64) -> String {
    format!("496590338271490256608559692{shard:05}{count:024}")
}

/// The hash of a partition key.
pub fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// The id of a shard as replies name it.
pub fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}
