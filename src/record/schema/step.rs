//! What stands between two values of a record.

use crate::msgpack::{Reader, Token};

/// Most bytes of a step in either form. Larger ones are not worth it.
pub(super) const MOST_STEP_BYTES: usize = 256;
/// Most steps of all schemas. Each takes less than 200 bytes, and what its keys have beyond [`BLOCK`].
pub(super) const MOST_STEPS: usize = 256;
/// Maps with more entries or below this level are values.
pub(super) const MOST_ENTRIES: u32 = 128;
pub(super) const MOST_LEVELS: u32 = 16;

/// What stands before a value.
pub(super) struct Step {
    pub(super) msgpack: Literal,
    /// The bits that count of a block of msgpack.
    pub(super) mask: [u8; BLOCK],
    pub(super) json: Literal,
    /// The levels left for the value.
    pub(super) depth: u32,
    /// Whether the value is left out.
    pub(super) is_omitted: bool,
    /// Whether the value must not contain a map, because its keys would matter.
    pub(super) is_flat: bool,
    /// Whether the value is the partition key.
    pub(super) is_key: bool,
    /// The number of maps that end after the value, at the end of a record; 0 before.
    pub(super) ends: usize,
    /// The step to try if this is not what comes next.
    pub(super) otherwise: Option<usize>,
}

/// The ends of all maps.
const ENDS: [u8; MOST_LEVELS as usize] = [b'}'; MOST_LEVELS as usize];

impl Step {
    /// What follows its msgpack, if that comes next.
    #[inline]
    pub(super) fn after<'v>(&self, reader: Reader<'v>) -> Option<Reader<'v>> {
        let bytes = reader.rest();
        match (bytes.first_chunk(), bytes.get(self.msgpack.length..)) {
            (Some(found), Some(after)) if self.msgpack.rest.is_empty() => {
                if self.begins(found) {
                    return Some(Reader::new(after));
                }
                cold_path();
                None
            }
            _ => self.after_any_length(reader),
        }
    }

    /// The same for long msgpack, and at the end of a chunk.
    #[cold]
    #[inline(never)]
    fn after_any_length<'v>(&self, reader: Reader<'v>) -> Option<Reader<'v>> {
        let Literal { block, length, rest } = &self.msgpack;
        let bytes = reader.rest().strip_prefix(block.get(..*length)?)?;
        Some(Reader::new(bytes.strip_prefix(&**rest)?))
    }

    /// Whether its value may be the next one.
    #[inline]
    pub(super) fn takes(&self, value: Reader<'_>) -> bool {
        !self.is_flat || is_flat(value)
    }

    /// Ends the maps that end after its value.
    #[inline]
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        // The last value of most records is in no map within the record.
        if self.ends == 1 {
            return out.push(b'}');
        }
        end_maps(self.ends, out);
    }

    /// The same with `more` entries at the end of the record.
    pub(super) fn end_with(&self, more: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        end_maps(self.ends - 1, out);
        more(out);
        out.push(b'}');
    }

    #[inline]
    fn begins(&self, found: &[u8; BLOCK]) -> bool {
        let bytes = self.msgpack.block.iter().zip(&self.mask).zip(found);
        bytes.fold(0, |differences, ((known, mask), found)| differences | ((known ^ found) & mask)) == 0
    }

    pub(super) fn is_same(&self, other: &Step) -> bool {
        self.msgpack == other.msgpack && self.json == other.json && self.ends == other.ends
    }
}

/// Makes the compiler branch to where this is called, as `std::hint::cold_path` does from Rust 1.95 on. Without it, the
/// compiler selects the next position by the result of the comparison, and the processor cannot read on before it has
/// compared: a nested record takes a sixth longer.
#[cold]
#[inline(never)]
fn cold_path() {}

#[inline]
fn end_maps(count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count;
    out.extend_from_slice(&ENDS);
    out.truncate(end);
}

/// Whether the next value contains no map.
#[inline]
fn is_flat(value: Reader<'_>) -> bool {
    let is_map_or_array = matches!(value.rest(), [0x80..=0x9f | 0xdc..=0xdf, ..]);
    !is_map_or_array || has_no_map(value)
}

#[cold]
#[inline(never)]
fn has_no_map(mut value: Reader<'_>) -> bool {
    let mut left = 1_u64;
    while left > 0 {
        left -= 1;
        match value.token() {
            Ok(Token::Array(entries)) => left += u64::from(entries),
            Ok(Token::Map(_)) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

/// Bytes that are known. Most are few, so that comparing and copying a block of constant size beats a call.
#[derive(PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) block: [u8; BLOCK],
    /// How many bytes of the block count.
    pub(super) length: usize,
    /// What follows them.
    pub(super) rest: Box<[u8]>,
}

pub(super) const BLOCK: usize = 32;

impl Literal {
    /// Returns `None` for too many bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Literal> {
        let (first, rest) = bytes.split_at(bytes.len().min(BLOCK));
        let mut block = [0; BLOCK];
        block.get_mut(..first.len())?.copy_from_slice(first);
        (bytes.len() <= MOST_STEP_BYTES).then(|| Literal { block, length: first.len(), rest: rest.into() })
    }

    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.length;
        out.extend_from_slice(&self.block);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}
