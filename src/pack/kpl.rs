//! Records in aggregates of the Kinesis Producer Library, one open for each partition key, or for each shard.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::PackContext;
use super::keyed_lru::KeyedLru;
use super::ready::Ready;
use crate::kinesis::kpl::Aggregate;
use crate::kinesis::request::Group;
use crate::kinesis::shards::{Shard, ShardMap, hash_key};
use crate::record::partition_key::Key;

/// The aggregates that are open.
pub(super) struct Kpl {
    max_bytes: usize,
    max_records: usize,
    /// Those of one key each.
    by_key: KeyedLru<OpenAggregate>,
    shards: Rc<ShardMap>,
    /// Those of all keys of a shard, by the start of its range. Each has records of this chunk in it, so that many shards
    /// need no more memory than few.
    by_shard: BTreeMap<u128, OpenAggregate>,
}

#[derive(Default)]
struct OpenAggregate {
    aggregate: Aggregate,
    records: Vec<u32>,
    /// The key that it is sent under, that of its first record. Without a shard it is the key of all of its records, and
    /// those without a key take it: a consumer drops an aggregate in which a key is of another shard.
    key: String,
    random_key: bool,
    /// The shard of all of its records, whose explicit hash key each of them has.
    shard: Option<Rc<Shard>>,
}

/// A record that is to be put into an aggregate.
struct Record<'a> {
    index: u32,
    key: &'a str,
    random_key: bool,
    data: &'a [u8],
}

/// How large an aggregate may be.
struct Most {
    records: usize,
    bytes: usize,
    /// The key included.
    bytes_with_key: usize,
}

impl Kpl {
    pub(super) fn new(max_bytes: usize, max_records: usize) -> Self {
        let (by_key, by_shard) = (KeyedLru::default(), BTreeMap::new());
        Kpl { max_bytes, max_records, by_key, shards: Rc::default(), by_shard }
    }

    /// Lets records share an aggregate when they belong to the same of these shards.
    pub(super) fn set_shards(&mut self, shards: Rc<ShardMap>) {
        self.shards = shards;
    }

    /// Puts a record into an aggregate. One that is too large for any goes alone, after those before it.
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
        let name = if record.random_key { "" } else { record.key };
        if let Some(mut oldest) = self.by_key.make_room(name) {
            oldest.close(ready);
        }
        self.by_key.with(name, |open| open.add(&record, None, &most, ready));
    }

    /// The shard of a record, where the map has one. A record without a key may go to any.
    fn shard_of(&self, record: &Record<'_>) -> Option<Rc<Shard>> {
        if record.random_key || self.shards.is_empty() {
            return None;
        }
        self.shards.owner(hash_key(record.key)).cloned()
    }

    /// Completes all of them.
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
            ready.push(Group { records, data, key, random_key: record.random_key, holds_key: false, shard });
        }
    }

    fn fits(&self, record: &Record<'_>, most: &Most) -> bool {
        let hash_key = self.shard.as_ref().map(|shard| shard.explicit_hash_key.as_str());
        let key = if hash_key.is_some() { record.key } else { &self.key };
        let size = self.aggregate.size_with(key, hash_key, record.data.len());
        size <= most.bytes.min(most.bytes_with_key.saturating_sub(self.key.len()))
    }

    /// Makes a group of its records, and starts over.
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
        let holds_key = records.len() > 1;
        ready.push(Group { records, data, key, random_key, holds_key, shard });
    }
}
