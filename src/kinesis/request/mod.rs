//! Builds the body of a `PutRecords` request, record by record.
//!
//! A body is kept until Kinesis has accepted all of it. What failed is cut out and sent again ([`Batch::only`]), so
//! no record is encoded twice.

mod cbor;
mod entry;
mod json;
mod wire;

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use crate::kinesis::kpl;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::shards::{Shard, hash_key};
use crate::kinesis::stream::Stream;

pub use cbor::Cbor;
pub use entry::Entry;
pub use json::Json;
pub use wire::{Protocol, Wire};

/// A batch that uses less than this fraction of its memory returns the rest: a small request built in the memory of a
/// large one would otherwise hold all of it while in flight.
const LEAST_USE: usize = 4;

/// Records of the chunk that share one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The indexes of the records in it, in order.
    pub records: Vec<u32>,
    /// Their joint data.
    pub data: Vec<u8>,
    /// The partition key.
    pub key: String,
    /// Whether the key is random.
    pub random_key: bool,
    /// Whether `data` is an aggregate that contains the partition key.
    pub is_aggregate: bool,
    /// The shard it is addressed to by explicit hash key, whatever the partition key.
    pub shard: Option<Rc<Shard>>,
}

/// What a batch remembers of a group.
#[derive(Debug)]
struct Grouped {
    records: Vec<u32>,
    is_aggregate: bool,
    shard: Option<Rc<Shard>>,
}

/// A batch being written, in the protocol `W`.
#[derive(Debug)]
pub struct BatchBuilder<W> {
    wire: W,
    body: Vec<u8>,
    prefix_length: usize,
    entries: Vec<Entry>,
    groups: Vec<Grouped>,
    bytes: usize,
    /// Where the open entry starts in the body.
    head: usize,
    /// Whether random keys are not written.
    omits_random_keys: bool,
}

impl<W: Wire> BatchBuilder<W> {
    /// Creates an empty batch for `stream`, reusing the memory of `body`.
    pub fn new(stream: &Stream, mut body: Vec<u8>) -> Self {
        body.clear();
        W::begin(stream, &mut body);
        Self::after(body)
    }

    fn after(prefix: Vec<u8>) -> Self {
        let head = prefix.len();
        BatchBuilder {
            wire: W::default(),
            body: prefix,
            prefix_length: head,
            entries: Vec::new(),
            groups: Vec::new(),
            bytes: 0,
            head,
            omits_random_keys: false,
        }
    }

    /// Does not write random keys, for a stream that ignores them. They are still counted, so that a batch keeps its
    /// limits if it gets keys later ([`Batch::with_keys`]).
    pub fn omit_random_keys(mut self, omits: bool) -> Self {
        self.omits_random_keys = omits;
        self
    }

    /// Reserves room for more records and more bytes of body.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.entries.reserve(records);
        self.body.reserve(bytes);
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Data before base64 plus partition keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record. The caller ([`crate::pack`]) enforces limits.
    pub fn push(&mut self, record: u32, data: &[u8], key: &str, random_key: bool) {
        self.open().extend_from_slice(data);
        self.close(record, key, random_key);
    }

    /// Appends a group of the chunk's records; then all entries of the batch must be groups. Returns a buffer for the
    /// next group's data.
    pub fn push_group(&mut self, group: Group) -> Vec<u8> {
        let Group { records, data, key, random_key, is_aggregate, shard } = group;
        // A batch has at most 500 records.
        let index = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let mut free = self.wire.open_with(data, &mut self.body, self.head);
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        if self.omits_random_keys && random_key && !is_aggregate {
            W::count_members(&mut self.body, self.head, 1);
        } else {
            W::write_key(&key, &mut self.body);
        }
        if let Some(shard) = &shard {
            W::write_explicit_hash_key(&shard.explicit_hash_key, &mut self.body);
            W::count_members(&mut self.body, self.head, 3);
        }
        self.end_entry(key_start, index, data_bytes + key.len(), random_key);
        self.groups.push(Grouped { records, is_aggregate, shard });
        free.clear();
        free
    }

    /// Opens an entry and returns the buffer for its data. [`BatchBuilder::close`] completes it; an entry that is
    /// never closed is overwritten by the next.
    #[inline]
    pub fn open(&mut self) -> &mut Vec<u8> {
        self.wire.open(&mut self.body, self.head)
    }

    /// The data of the open entry.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.wire.data(&self.body, self.head)
    }

    /// Completes the open entry with its key.
    pub fn close(&mut self, record: u32, key: &str, random_key: bool) {
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        W::write_key(key, &mut self.body);
        self.end_entry(key_start, record, data_bytes + key.len(), random_key);
    }

    /// Completes the open entry with its key and an explicit hash key in decimal. The key is never drawn again: the
    /// hash key alone decides on the shard.
    pub fn close_with_hash_key(&mut self, record: u32, key: &str, digits: &str) {
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        W::write_key(key, &mut self.body);
        W::write_explicit_hash_key(digits, &mut self.body);
        W::count_members(&mut self.body, self.head, 3);
        self.end_entry(key_start, record, data_bytes + key.len(), false);
    }

    /// Completes the open entry with a random key, which needs no escaping.
    #[inline]
    pub fn close_with_random_key(&mut self, record: u32, key: RandomKey) {
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        if self.omits_random_keys {
            W::count_members(&mut self.body, self.head, 1);
        } else {
            W::write_random_key(key, &mut self.body);
        }
        self.end_entry(key_start, record, data_bytes + RANDOM_KEY_LENGTH, true);
    }

    #[inline]
    fn end_entry(&mut self, key_start: usize, record: u32, bytes: usize, random_key: bool) {
        self.bytes += bytes;
        self.entries.push(Entry::new(record, [self.head, key_start, self.body.len()], bytes, random_key));
        W::end_entry(&mut self.body);
        self.head = self.body.len();
    }

    /// Copies an entry from another batch, with `new_key` in place of its random key if given.
    fn copy(&mut self, entry: &Entry, from: &Batch, new_key: Option<RandomKey>) {
        self.body.extend_from_slice(from.part(entry.head()));
        let key_start = self.body.len();
        match new_key {
            Some(key) => {
                W::write_random_key(key, &mut self.body);
                W::count_members(&mut self.body, self.head, 2);
            }
            None => self.body.extend_from_slice(from.part(entry.key())),
        }
        self.end_entry(key_start, entry.record, entry.bytes(), entry.random_key);
    }

    /// Returns the memory of the body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Completes the batch.
    pub fn finish(mut self) -> Batch {
        self.body.truncate(self.head);
        W::end(&mut self.body);
        let BatchBuilder { mut body, prefix_length, mut entries, groups, bytes, .. } = self;
        shrink(&mut body);
        shrink(&mut entries);
        Batch { protocol: W::PROTOCOL, body: body.into(), prefix_length, entries, groups: groups.into(), bytes }
    }
}

fn shrink<T>(items: &mut Vec<T>) {
    if items.capacity() / LEAST_USE > items.len() {
        items.shrink_to_fit();
    }
}

/// Records to send: a request's body and what it contains.
#[derive(Clone, Debug)]
pub struct Batch {
    protocol: Protocol,
    body: Bytes,
    prefix_length: usize,
    entries: Vec<Entry>,
    /// The groups that the entries stand for, if they are groups.
    groups: Rc<[Grouped]>,
    bytes: usize,
}

impl Batch {
    /// The entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The indexes of the chunk's records in one of the entries.
    #[inline]
    pub fn records<'a>(&'a self, entry: &'a Entry) -> &'a [u32] {
        match self.groups.get(entry.record as usize) {
            Some(group) => &group.records,
            None => std::slice::from_ref(&entry.record),
        }
    }

    /// The shard that one of the entries is addressed to, if any.
    pub fn shard(&self, entry: &Entry) -> Option<&Shard> {
        self.groups.get(entry.record as usize)?.shard.as_deref()
    }

    /// The number of the chunk's records in it.
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

    /// The request's body; cloning is free.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The memory of the body, or `None` while a request or another batch still uses it.
    pub fn into_body(self) -> Option<Vec<u8>> {
        let mut body = self.body.try_into_mut().ok()?;
        // Growing would otherwise copy the old content.
        body.clear();
        Some(body.into())
    }

    /// A batch of the entries for which `keep` is true, by index. `new_key` may replace the random key of an entry.
    /// Entries without a key get none.
    pub fn only(&self, keep: impl FnMut(usize) -> bool, mut new_key: impl FnMut(usize) -> Option<RandomKey>) -> Batch {
        self.copy(keep, |index, entry| if entry.random_key && entry.has_key() { new_key(index) } else { None })
    }

    /// Whether an entry has no key.
    pub fn lacks_keys(&self) -> bool {
        !self.entries.iter().all(Entry::has_key)
    }

    /// The same batch with a key for each entry that has none.
    pub fn with_keys(&self, mut new_key: impl FnMut() -> RandomKey) -> Batch {
        self.copy(|_| true, |_, entry| (!entry.has_key()).then(&mut new_key))
    }

    /// The number that decides the shard of an entry, where keys decide.
    pub fn hash_key(&self, entry: &Entry) -> Option<u128> {
        if let Some(shard) = self.shard(entry) {
            return Some(shard.middle());
        }
        let key = self.part(entry.key());
        let key = match self.protocol {
            Protocol::Json => Json::read_key(key),
            Protocol::Cbor => Cbor::read_key(key),
        };
        key.map(|key| hash_key(&key))
    }

    /// Whether its entries are groups.
    pub fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether an entry is an aggregate, which a consumer drops if it is in a shard to which its keys do not belong.
    pub fn is_aggregate(&self, entry: &Entry) -> bool {
        self.groups.get(entry.record as usize).is_some_and(|group| group.is_aggregate)
    }

    fn copy(&self, keep: impl FnMut(usize) -> bool, new_key: impl FnMut(usize, &Entry) -> Option<RandomKey>) -> Batch {
        match self.protocol {
            Protocol::Json => self.copy_in::<Json>(keep, new_key),
            Protocol::Cbor => self.copy_in::<Cbor>(keep, new_key),
        }
    }

    fn copy_in<W: Wire>(
        &self,
        mut keep: impl FnMut(usize) -> bool,
        mut new_key: impl FnMut(usize, &Entry) -> Option<RandomKey>,
    ) -> Batch {
        let mut kept = BatchBuilder::<W>::after(self.part(0..self.prefix_length).to_vec());
        for (index, entry) in self.entries.iter().enumerate().filter(|(index, _)| keep(*index)) {
            match new_key(index, entry) {
                Some(key) if self.is_aggregate(entry) => {
                    let mut data = W::read_data(self.part(entry.head()));
                    kpl::replace_key(&mut data, key.as_str());
                    kept.push(entry.record, &data, key.as_str(), true);
                }
                key => kept.copy(entry, self, key),
            }
        }
        Batch { groups: Rc::clone(&self.groups), ..kept.finish() }
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.body.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
