//! Which shard a record goes to. Kinesis hashes the partition key to 128 bits, and every open shard owns a range of them.

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
    /// The last hash key of its range.
    pub end: u128,
    /// An `ExplicitHashKey` for what has to go to this shard: the middle of its range, in decimal. It is always the
    /// same, so that what follows one another stays together when the shard has been split meanwhile.
    pub explicit_hash_key: String,
}

impl Shard {
    fn new(id: String, start: u128, end: u128) -> Shard {
        Shard { id, start, end, explicit_hash_key: start.midpoint(end).to_string() }
    }

    /// Its explicit hash key.
    fn middle(&self) -> u128 {
        self.start.midpoint(self.end)
    }
}

/// The open shards of a stream, by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMap {
    shards: Vec<Rc<Shard>>,
}

/// One reply of `ListShards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The open shards in it.
    pub shards: Vec<Shard>,
    /// With what to ask for the next page.
    pub next_token: Option<String>,
}

/// Why a reply does not show which shard owns which hash keys.
#[derive(Debug)]
pub enum ShardError {
    /// The reply is not what `ListShards` answers.
    Unreadable(serde_json::Error),
    /// A shard has no range of hash keys, but these two words.
    NoRange {
        /// Its id.
        id: String,
        /// Its first hash key, as the reply has it.
        start: String,
        /// Its last hash key, as the reply has it.
        end: String,
    },
    /// The ranges of the shards with these two ids overlap.
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
    /// Reads the JSON of a reply (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read
    /// 2026-11). A shard with a last sequence number is closed and left out.
    ///
    /// # Errors
    ///
    /// When it is no such reply, or an open shard in it has no range.
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
    /// A map of the shards of all pages, in any order. Ranges may leave gaps; no shard is known there.
    ///
    /// # Errors
    ///
    /// When ranges overlap: nobody could say where a record goes.
    pub fn new(mut shards: Vec<Shard>) -> Result<ShardMap, ShardError> {
        shards.sort_by_key(|shard| shard.start);
        for (left, right) in shards.iter().zip(shards.iter().skip(1)) {
            if right.start <= left.end {
                return Err(ShardError::Overlap(left.id.clone(), right.id.clone()));
            }
        }
        Ok(ShardMap { shards: shards.into_iter().map(Rc::new).collect() })
    }

    /// How many shards are in it.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether no shard is known.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The shard that owns `hash_key`.
    pub fn owner(&self, hash_key: u128) -> Option<&Rc<Shard>> {
        let index = self.shards.partition_point(|shard| shard.end < hash_key);
        self.shards.get(index).filter(|shard| shard.start <= hash_key)
    }

    /// Whether `id` is an open shard of this map; a reply that names another one shows that the map is old.
    pub fn holds(&self, id: &str) -> bool {
        self.shards.iter().any(|shard| shard.id == id)
    }

    /// Whether a record that was made for `shard`, or for none in particular, may have gone to the one called `id`, as
    /// far as this map knows. A shard never changes its range, but one of a stream that was created again may have the id of
    /// an older one.
    pub fn agrees(&self, shard: Option<&Shard>, id: &str) -> bool {
        match shard {
            None => self.holds(id),
            Some(shard) => self.owner(shard.middle()).is_some_and(|now| now.id == id),
        }
    }
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
