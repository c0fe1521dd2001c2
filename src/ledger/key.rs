//! What identifies a chunk.

use twox_hash::XxHash3_128;

/// A chunk's length and a hash of its tag and bytes. The hash has a random seed, so nobody can construct collisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) length: u64,
    pub(super) hash: u128,
}

impl Key {
    pub(super) fn of(seed: u64, tag: &[u8], chunk: &[u8]) -> Key {
        let mut hasher = XxHash3_128::with_seed(seed);
        hasher.write(&(tag.len() as u64).to_le_bytes());
        hasher.write(tag);
        hasher.write(chunk);
        Key { length: chunk.len() as u64, hash: hasher.finish_128() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_chunk_and_seed_all_count_and_are_not_mixed_up() {
        let keys = [
            Key::of(1, b"app", b"chunk"),
            Key::of(1, b"app", b"chunK"),
            Key::of(1, b"web", b"chunk"),
            Key::of(1, b"ap", b"pchunk"),
            Key::of(2, b"app", b"chunk"),
        ];
        for (position, key) in keys.iter().enumerate() {
            assert!(!keys[..position].iter().any(|other| other.hash == key.hash), "{position}");
        }
        assert_eq!(keys[0], Key::of(1, b"app", b"chunk"));
    }
}
