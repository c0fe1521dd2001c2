//! Which shard a record goes to. Kinesis hashes the partition key to 128 bits; each open shard owns a range of
//! hashes.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use md5::{Digest, Md5};
use serde::Deserialize;

/// The hash key of a partition key: its MD5 as a big-endian number
/// (<https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html>, read 2026-11).
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// An open shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id, such as `shardId-000000000000`.
    pub id: String,
    /// The first hash key of its range.
    pub start: u128,
    /// The last hash key of its range, inclusive.
    pub end: u128,
    /// An `ExplicitHashKey` that addresses this shard: the middle of its range, in decimal. Being constant, it keeps
    /// records together even if the shard has been split meanwhile.
    pub explicit_hash_key: String,
}

impl Shard {
    fn new(id: String, start: u128, end: u128) -> Shard {
        Shard { id, start, end, explicit_hash_key: start.midpoint(end).to_string() }
    }

    /// The shard's explicit hash key.
    pub(crate) fn middle(&self) -> u128 {
        self.start.midpoint(self.end)
    }
}

/// The open shards of a stream, by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMap {
    shards: Vec<Rc<Shard>>,
}

/// One page of `ListShards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The open shards on it.
    pub shards: Vec<Shard>,
    /// The token for the next page.
    pub next_token: Option<String>,
}

/// Why a reply does not show which shard owns which hash keys.
#[derive(Debug)]
pub enum ShardError {
    /// The reply is not a `ListShards` reply.
    Unreadable(serde_json::Error),
    /// A shard's range is not two numbers.
    NoRange {
        /// Its id.
        id: String,
        /// Its first hash key, as in the reply.
        start: String,
        /// Its last hash key, as in the reply.
        end: String,
    },
    /// The ranges of the shards with these ids overlap.
    Overlap(String, String),
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardError::Unreadable(error) => write!(f, "the reply to ListShards is unreadable: {error}"),
            ShardError::NoRange { id, start, end } => write!(f, "shard {id} has no range: {start} to {end}"),
            ShardError::Overlap(left, right) => write!(f, "the ranges of the shards {left} and {right} overlap"),
        }
    }
}

impl std::error::Error for ShardError {}

impl Page {
    /// Parses a JSON reply (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read
    /// 2026-11). Shards with an ending sequence number are closed and left out.
    ///
    /// # Errors
    ///
    /// It is not such a reply, or an open shard has no range.
    pub fn parse(body: &[u8]) -> Result<Page, ShardError> {
        let reply: ListShardsReply<'_> = serde_json::from_slice(body).map_err(ShardError::Unreadable)?;
        let open = |shard: &ShardEntry<'_>| {
            shard.sequence_number_range.as_ref().is_none_or(|range| range.ending_sequence_number.is_none())
        };
        let shards = reply.shards.into_iter().filter(open).map(ShardEntry::shard).collect::<Result<_, _>>()?;
        Ok(Page { shards, next_token: reply.next_token.filter(|token| !token.is_empty()).map(Cow::into_owned) })
    }
}

impl ShardMap {
    /// Creates a map from the shards of all pages, in any order. Ranges may leave gaps, where no shard is known.
    ///
    /// # Errors
    ///
    /// Ranges overlap, so a record's shard would be ambiguous.
    pub fn new(mut shards: Vec<Shard>) -> Result<ShardMap, ShardError> {
        shards.sort_by_key(|shard| shard.start);
        for (left, right) in shards.iter().zip(shards.iter().skip(1)) {
            if right.start <= left.end {
                return Err(ShardError::Overlap(left.id.clone(), right.id.clone()));
            }
        }
        Ok(ShardMap { shards: shards.into_iter().map(Rc::new).collect() })
    }

    /// The number of shards.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The shard that owns `hash_key`.
    pub fn owner(&self, hash_key: u128) -> Option<&Rc<Shard>> {
        let index = self.shards.partition_point(|shard| shard.end < hash_key);
        self.shards.get(index).filter(|shard| shard.start <= hash_key)
    }

    /// What a reply shows that names the shard `id` for a record with this hash key. A shard never changes its range,
    /// but a stream that was deleted and created again may reuse ids.
    pub fn placement(&self, hash_key: u128, id: &str) -> Placement {
        if self.owner(hash_key).is_some_and(|owner| owner.id == id) {
            Placement::Expected
        } else if self.shards.iter().any(|shard| shard.id == id) {
            Placement::Foreign
        } else {
            Placement::New
        }
    }
}

/// Whether a record is in the shard to which its hash key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is.
    Expected,
    /// Its shard is not in the map, which is outdated.
    New,
    /// It is not: its shard has another range. Either the map is of another stream of the same name, or the stream
    /// ignores keys.
    Foreign,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShardsReply<'a> {
    #[serde(borrow)]
    shards: Vec<ShardEntry<'a>>,
    #[serde(borrow)]
    next_token: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardEntry<'a> {
    #[serde(borrow)]
    shard_id: Cow<'a, str>,
    #[serde(borrow)]
    hash_key_range: HashKeyRange<'a>,
    #[serde(borrow)]
    sequence_number_range: Option<SequenceNumberRange<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HashKeyRange<'a> {
    #[serde(borrow)]
    starting_hash_key: Cow<'a, str>,
    #[serde(borrow)]
    ending_hash_key: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange<'a> {
    #[serde(borrow)]
    ending_sequence_number: Option<Cow<'a, str>>,
}

impl ShardEntry<'_> {
    fn shard(self) -> Result<Shard, ShardError> {
        let HashKeyRange { starting_hash_key, ending_hash_key } = self.hash_key_range;
        let id = self.shard_id.into_owned();
        match (starting_hash_key.parse::<u128>(), ending_hash_key.parse::<u128>()) {
            (Ok(start), Ok(end)) if start <= end => Ok(Shard::new(id, start, end)),
            _ => Err(ShardError::NoRange {
                id,
                start: starting_hash_key.into_owned(),
                end: ending_hash_key.into_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
