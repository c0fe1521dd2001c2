//! A cheap test whether a map's keys differ.

use crate::msgpack::ShortString;

/// Remembers keys as bits. What it calls new is new; what is new it nearly always calls so. Comparing each key with those
/// before it instead takes 17,371 instructions for a nested record of 425 bytes, not 7,047.
#[derive(Default)]
pub(super) struct KeyFilter {
    pub(super) bits: [u64; 4],
}

impl KeyFilter {
    #[inline]
    pub(super) fn is_new(&mut self, (head, tail): (u64, u64), length: usize) -> bool {
        let hash = (head ^ tail.rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = 1 << ((hash >> 58) & 63);
        let Some(word) = self.bits.get_mut((hash >> 56) as usize & 3) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// The first and the last eight bytes of a key as numbers; of one that is shorter, twice what it has.
#[inline]
pub(super) fn edges(key: &[u8]) -> (u64, u64) {
    match (key.first_chunk(), key.last_chunk()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => {
            let all = key.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte));
            (all, all)
        }
    }
}

/// The same of a short key, out of the block that was read: 188 instructions less for a nested record.
#[inline]
pub(super) fn short_edges(key: ShortString<'_>) -> (u64, u64) {
    let (head, _) = key.block.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let head = u64::from_le_bytes(*head);
    match key.length.checked_sub(8) {
        Some(start) => {
            let tail = key.block.get(start..).and_then(<[u8]>::first_chunk);
            (head, tail.map_or(0, |tail| u64::from_le_bytes(*tail)))
        }
        None => {
            let all = head & !(u64::MAX << (8 * key.length));
            (all, all)
        }
    }
}
