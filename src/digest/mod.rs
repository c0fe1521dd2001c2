//! Hashes of several messages side by side: SHA-256, which signs a request's body, and MD5, which ends an aggregate.
//!
//! Each step of a hash waits for the one before it, so a processor that works on one message is idle for most of the
//! time (docs/decisions/0034-cryptography.md).

pub(crate) mod md5;
pub(crate) mod sha256;
#[cfg(target_arch = "x86_64")]
mod sha256_pair;

/// A SHA-256.
pub(crate) type Digest = [u8; 32];

/// What both hashes take in one step.
type Block = [u8; 64];

/// The bytes that hold a message's length, at the end of its last block.
const LENGTH_BYTES: usize = 8;

/// A message and its padding.
struct Padded<'a> {
    whole: &'a [Block],
    /// The end of the message, a one bit, and the length in bits: one block or two.
    last: [Block; 2],
    last_blocks: usize,
}

impl<'a> Padded<'a> {
    /// `encode` writes the length.
    fn new(message: &'a [u8], encode: fn(u64) -> [u8; LENGTH_BYTES]) -> Self {
        let (whole, rest) = message.as_chunks();
        let mut last = [[0; 64]; 2];
        let last_blocks = if rest.len() < size_of::<Block>() - LENGTH_BYTES { 1 } else { 2 };
        let padding = last.as_flattened_mut();
        padding.iter_mut().zip(rest.iter().chain(&[0x80])).for_each(|(byte, of_message)| *byte = *of_message);
        let bits = encode((message.len() as u64).wrapping_mul(8));
        let length = padding.iter_mut().take(last_blocks * size_of::<Block>()).rev();
        length.zip(bits.iter().rev()).for_each(|(byte, of_length)| *byte = *of_length);
        Padded { whole, last, last_blocks }
    }

    fn blocks(&self) -> usize {
        self.whole.len() + self.last_blocks
    }

    fn block(&self, index: usize) -> Option<&Block> {
        self.whole
            .get(index)
            .or_else(|| self.last.iter().take(self.last_blocks).nth(index.checked_sub(self.whole.len())?))
    }

    /// The blocks from `start` on: the whole ones, and those with padding.
    fn rest(&self, start: usize) -> [&[Block]; 2] {
        let padding = start.saturating_sub(self.whole.len())..self.last_blocks;
        [self.whole.get(start..), self.last.get(padding)].map(Option::unwrap_or_default)
    }
}
