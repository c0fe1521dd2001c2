//! What a consumer makes of records.

use prost::Message;

use crate::aggregates::{AggregatedRecord, MAGIC, Record};
use crate::fake_kinesis::shard::{Stream, hash_of};
use crate::fake_kinesis::store::StoredRecord;

/// The user records in a Kinesis record. Like the Kinesis Client Library (`AggregatorUtil.deaggregate`), this drops an
/// aggregate if the explicit hash key of one of its records, or else the MD5 of its partition key, is outside the
/// range of the shard that it was read from.
///
/// # Panics
/// It is no valid aggregate.
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]
pub fn user_records(record: &StoredRecord, stream: &Stream) -> Vec<Vec<u8>> {
    let Some(container) = record.data.strip_prefix(&MAGIC) else { return vec![record.data.clone()] };
    let message = AggregatedRecord::decode(&container[..container.len() - 16]).unwrap();
    let range = &stream.shards[record.shard as usize].range;
    let at = |table: &[String], index: u64| table[usize::try_from(index).unwrap()].clone();
    let of_this_shard = |user: &Record| {
        range.contains(&match user.explicit_hash_key_index {
            Some(index) => at(&message.explicit_hash_key_table, index).parse().unwrap(),
            None => hash_of(&at(&message.partition_key_table, user.partition_key_index)),
        })
    };
    if !message.records.iter().all(of_this_shard) {
        return Vec::new();
    }
    message.records.into_iter().map(|user| user.data).collect()
}
