//! Packs records into aggregates of the Kinesis Producer Library, one open per partition key or per shard.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::PackContext;
use super::keyed_lru::KeyedLru;
use super::ready::Ready;
use crate::kinesis::kpl::Aggregate;
use crate::kinesis::request::Group;
use crate::kinesis::shards::{Shard, ShardMap, hash_key};
use crate::record::partition_key::Key;

/// The open aggregates.
pub(super) struct Kpl {
    max_bytes: usize,
    max_records: usize,
    /// Those with a single key each.
    by_key: KeyedLru<OpenAggregate>,
    shards: Rc<ShardMap>,
    /// Those of one shard each, by the start of its hash range. Each contains at least one record of this chunk, so
    /// the number of shards does not matter for memory.
    by_shard: BTreeMap<u128, OpenAggregate>,
}

#[derive(Default)]
struct OpenAggregate {
    aggregate: Aggregate,
    records: Vec<u32>,
    /// How many records the one before it had.
    expected: usize,
    /// The key of its first record, under which it is sent. Without a shard, all its records have this key, and
    /// records without a key take it: a consumer drops an aggregate that contains a key of another shard.
    key: String,
    random_key: bool,
    /// The shard of all its records. Each record then carries the shard's explicit hash key.
    shard: Option<Rc<Shard>>,
}

/// A record to put into an aggregate.
struct Record<'a> {
    index: u32,
    key: &'a str,
    random_key: bool,
    data: &'a [u8],
}

/// The maximum size of an aggregate.
struct Most {
    records: usize,
    bytes: usize,
    /// Includes the key.
    bytes_with_key: usize,
}

impl Kpl {
    pub(super) fn new(max_bytes: usize, max_records: usize) -> Self {
        let (by_key, by_shard) = (KeyedLru::default(), BTreeMap::new());
        Kpl { max_bytes, max_records, by_key, shards: Rc::default(), by_shard }
    }

    /// Lets records share an aggregate if they belong to the same one of these shards.
    pub(super) fn set_shards(&mut self, shards: Rc<ShardMap>) {
        self.shards = shards;
    }

    /// Puts a record into an aggregate. If it is too large for one, it goes alone, after the records before it.
    pub(super) fn add(&mut self, index: u32, data: &[u8], key: &Key, context: &PackContext<'_, '_>, ready: &mut Ready) {
        let record = Record { index, key: key.as_str(), random_key: key.random().is_some(), data };
        let most = Most {
            records: self.max_records.min(context.limits.group_records),
            bytes: self.max_bytes,
            bytes_with_key: context.encoder.max_bytes().min(context.limits.group_bytes),
        };
        if let Some(shard) = self.shard_of(&record) {
            let open = self.by_shard.entry(shard.start).or_default();
            return open.add(&record, Some(shard), &most, ready);
        }
        let name = (!record.random_key).then_some(record.key);
        if let Some(mut oldest) = self.by_key.make_room(name) {
            oldest.close(ready);
        }
        self.by_key.with(name, |open| open.add(&record, None, &most, ready));
    }

    /// The shard of a record, if known. A record without a key may go to any.
    fn shard_of(&self, record: &Record<'_>) -> Option<Rc<Shard>> {
        if record.random_key || self.shards.is_empty() {
            return None;
        }
        self.shards.owner(hash_key(record.key)).cloned()
    }

    /// Completes all aggregates.
    pub(super) fn close(&mut self, ready: &mut Ready) {
        let by_shard = std::mem::take(&mut self.by_shard).into_values();
        self.by_key.take_all().chain(by_shard).for_each(|mut open| open.close(ready));
    }
}

impl OpenAggregate {
    fn add(&mut self, record: &Record<'_>, shard: Option<Rc<Shard>>, most: &Most, ready: &mut Ready) {
        let mut fits = self.records.len() < most.records && self.fits(record, most);
        if !fits || self.records.is_empty() {
            self.close(ready);
            self.key.push_str(record.key);
            self.random_key = record.random_key;
            self.shard = shard;
            self.records.reserve(self.expected);
            fits = self.fits(record, most);
        }
        if fits {
            let hash_key = self.shard.as_ref().map(|shard| shard.explicit_hash_key.as_str());
            let key = if hash_key.is_some() { record.key } else { &self.key };
            self.aggregate.push(key, hash_key, record.data);
            self.records.push(record.index);
        } else {
            let key = std::mem::take(&mut self.key);
            let (records, mut data, shard) = (vec![record.index], ready.buffer(), self.shard.take());
            data.extend_from_slice(record.data);
            ready.push(Group { records, data, key, random_key: record.random_key, is_aggregate: false, shard });
        }
    }

    fn fits(&self, record: &Record<'_>, most: &Most) -> bool {
        let hash_key = self.shard.as_ref().map(|shard| shard.explicit_hash_key.as_str());
        let key = if hash_key.is_some() { record.key } else { &self.key };
        let size = self.aggregate.size_with(key, hash_key, record.data.len());
        size <= most.bytes.min(most.bytes_with_key.saturating_sub(self.key.len()))
    }

    /// Completes the aggregate and starts a new one.
    fn close(&mut self, ready: &mut Ready) {
        let (key, random_key, shard) = (std::mem::take(&mut self.key), self.random_key, self.shard.take());
        if self.records.is_empty() {
            return;
        }
        let mut data = ready.buffer();
        match self.aggregate.only_data() {
            Some(only) => {
                data.extend_from_slice(only);
                self.aggregate.clear();
            }
            None => self.aggregate.finish(&mut data),
        }
        let records = std::mem::take(&mut self.records);
        self.expected = records.len();
        let is_aggregate = records.len() > 1;
        ready.push(Group { records, data, key, random_key, is_aggregate, shard });
    }
}
