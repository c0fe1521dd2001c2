//! The body of a `PutRecords` request, written as the records come.
//!
//! A body is kept until Kinesis has taken all of it. What failed is cut out of it and sent again ([`Batch::only`]), so
//! no record is encoded twice.

mod cbor;
mod json;
mod wire;

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use crate::kinesis::kpl;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::kinesis::shards::Shard;
use crate::kinesis::stream::Stream;

pub use cbor::Cbor;
pub use json::Json;
pub use wire::{Protocol, Wire};

/// A batch that uses less than this part of its memory gives the rest back: a small request written into the body of a large
/// one, or after it, would hold as much memory while it is in flight.
const LEAST_USE: usize = 4;

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which record of the chunk this is: the index of its event. In a batch of groups, which group; [`Batch::records`]
    /// answers in either case.
    pub record: u32,
    /// Data before base64 plus partition key, in bytes: what Kinesis counts.
    pub bytes: usize,
    /// Whether the key was drawn at random, and so may be drawn again.
    pub random_key: bool,
    /// The entry's place in the body, from its start up to its partition key.
    head: Range<usize>,
    /// The place of its partition key, a string of JSON or CBOR, and of its explicit hash key.
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

/// A batch that is being written, in the protocol `W`.
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
}

impl<W: Wire> BatchBuilder<W> {
    /// An empty batch for `stream`, whose body is written over `body`.
    pub fn new(stream: &Stream, mut body: Vec<u8>) -> Self {
        body.clear();
        W::begin(stream, &mut body);
        Self::after(body)
    }

    fn after(prefix: Vec<u8>) -> Self {
        let head = prefix.len();
        let (wire, entries, groups) = (W::default(), Vec::new(), Vec::new());
        BatchBuilder { wire, body: prefix, prefix_length: head, entries, groups, bytes: 0, head }
    }

    /// Makes room for more records, and for more bytes of the body.
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
        let Group { records, data, key, random_key, holds_key, shard } = group;
        // A batch has 500 records at most.
        let index = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let mut free = self.wire.open_with(data, &mut self.body, self.head);
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        W::write_key(&key, &mut self.body);
        if let Some(shard) = &shard {
            W::write_explicit_hash_key(&shard.explicit_hash_key, &mut self.body, self.head);
        }
        self.end_entry(key_start, index, data_bytes + key.len(), random_key);
        self.groups.push(Grouped { records, holds_key, shard });
        free.clear();
        free
    }

    /// Opens an entry and returns the buffer to append its data to. [`BatchBuilder::close`] makes it a record; an entry
    /// that is not closed is overwritten by the next one.
    #[inline]
    pub fn open(&mut self) -> &mut Vec<u8> {
        self.wire.open(&mut self.body, self.head)
    }

    /// The data of the open entry.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.wire.data(&self.body, self.head)
    }

    /// Gives the open entry its key.
    pub fn close(&mut self, record: u32, key: &str, random_key: bool) {
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        W::write_key(key, &mut self.body);
        self.end_entry(key_start, record, data_bytes + key.len(), random_key);
    }

    /// The same with a key that needs no escapes.
    #[inline]
    pub fn close_with_random_key(&mut self, record: u32, key: RandomKey) {
        let data_bytes = self.wire.close_data(&mut self.body, self.head);
        let key_start = self.body.len();
        W::write_random_key(key, &mut self.body);
        self.end_entry(key_start, record, data_bytes + RANDOM_KEY_LENGTH, true);
    }

    #[inline]
    fn end_entry(&mut self, key_start: usize, record: u32, bytes: usize, random_key: bool) {
        let key = key_start..self.body.len();
        self.bytes += bytes;
        self.entries.push(Entry { record, bytes, random_key, head: self.head..key_start, key });
        W::end_entry(&mut self.body);
        self.head = self.body.len();
    }

    /// Appends an entry of another batch as it is, or with `new_key` in place of its random key.
    fn copy(&mut self, entry: &Entry, from: &Batch, new_key: Option<RandomKey>) {
        self.body.extend_from_slice(from.part(&entry.head));
        let key_start = self.body.len();
        match new_key {
            Some(key) => W::write_random_key(key, &mut self.body),
            None => self.body.extend_from_slice(from.part(&entry.key)),
        }
        self.end_entry(key_start, entry.record, entry.bytes, entry.random_key);
    }

    /// The memory of its body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The batch, complete.
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
    pub fn only(&self, keep: impl FnMut(usize) -> bool, new_key: impl FnMut(usize) -> Option<RandomKey>) -> Batch {
        match self.protocol {
            Protocol::Json => self.only_in::<Json>(keep, new_key),
            Protocol::Cbor => self.only_in::<Cbor>(keep, new_key),
        }
    }

    fn only_in<W: Wire>(
        &self,
        mut keep: impl FnMut(usize) -> bool,
        mut new_key: impl FnMut(usize) -> Option<RandomKey>,
    ) -> Batch {
        let mut kept = BatchBuilder::<W>::after(self.part(&(0..self.prefix_length)).to_vec());
        for (index, entry) in self.entries.iter().enumerate().filter(|(index, _)| keep(*index)) {
            let key = if entry.random_key { new_key(index) } else { None };
            match key {
                Some(key) if self.groups.get(entry.record as usize).is_some_and(|group| group.holds_key) => {
                    let mut data = W::read_data(self.part(&entry.head));
                    kpl::replace_key(&mut data, key.as_str());
                    kept.push(entry.record, &data, key.as_str(), true);
                }
                _ => kept.copy(entry, self, key),
            }
        }
        Batch { groups: Rc::clone(&self.groups), ..kept.finish() }
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.body.get(range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
