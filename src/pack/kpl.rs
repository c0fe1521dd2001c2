//! Records in aggregates of the Kinesis Producer Library, one open for each partition key.

use std::collections::VecDeque;

use super::group::Group;
use super::open::OpenByKey;
use crate::aggregate::Aggregate;
use crate::record::Encoder;

/// The aggregates that are open.
pub(super) struct Kpl {
    max_bytes: usize,
    max_records: usize,
    open: OpenByKey<OpenAggregate>,
}

#[derive(Default)]
struct OpenAggregate {
    aggregate: Aggregate,
    records: Vec<u32>,
    /// The key of all of its records. Those without a key take that of the first one: a consumer drops an aggregate in
    /// which a key is of another shard.
    key: String,
    random_key: bool,
}

impl Kpl {
    pub(super) fn new(max_bytes: usize, max_records: usize) -> Self {
        Kpl { max_bytes, max_records, open: OpenByKey::default() }
    }

    /// How many records are in open aggregates.
    pub(super) fn len(&self) -> usize {
        self.open.iter().map(|open| open.records.len()).sum()
    }

    /// Puts the record that `encoder` made last into an aggregate. One that is too large for any goes alone, behind
    /// those before it.
    pub(super) fn add(&mut self, index: u32, data: &[u8], encoder: &Encoder<'_>, ready: &mut VecDeque<Group>) {
        let (key, random_key) = (encoder.key(), encoder.random_key().is_some());
        let limit = self.max_bytes.min(encoder.max_bytes().saturating_sub(key.len()));
        let name = if random_key { "" } else { key };
        if let Some(mut oldest) = self.open.make_room(name) {
            oldest.close(ready);
        }
        let max_records = self.max_records;
        self.open.with(name, |open| {
            let is_full = open.records.len() >= max_records || open.size_with(data) > limit;
            if is_full || open.records.is_empty() {
                open.close(ready);
                open.key.push_str(key);
                open.random_key = random_key;
            }
            if open.size_with(data) > limit {
                let (key, records) = (std::mem::take(&mut open.key), vec![index]);
                ready.push_back(Group { records, data: data.to_vec(), key, random_key, holds_key: false });
            } else {
                open.aggregate.push(&open.key, None, data);
                open.records.push(index);
            }
        });
    }

    /// Completes all of them.
    pub(super) fn close(&mut self, ready: &mut VecDeque<Group>) {
        self.open.take_all().for_each(|mut open| open.close(ready));
    }
}

impl OpenAggregate {
    fn size_with(&self, data: &[u8]) -> usize {
        self.aggregate.size_with(&self.key, None, data.len())
    }

    /// Makes a group of its records, and starts over.
    fn close(&mut self, ready: &mut VecDeque<Group>) {
        let (key, random_key) = (std::mem::take(&mut self.key), self.random_key);
        let mut data = Vec::new();
        match self.aggregate.only_data() {
            _ if self.records.is_empty() => return,
            Some(only) => {
                data.extend_from_slice(only);
                self.aggregate.clear();
            }
            None => self.aggregate.finish(&mut data),
        }
        let records = std::mem::take(&mut self.records);
        let holds_key = records.len() > 1;
        ready.push_back(Group { records, data, key, random_key, holds_key });
    }
}
