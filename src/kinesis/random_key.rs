//! Random partition keys, which spread records evenly over the shards.

use rand::RngExt;
use rand::rngs::SmallRng;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of a random key. 62^6 keys (35 bits) spread evenly over any number of shards, and every byte is billed.
pub const RANDOM_KEY_LENGTH: usize = 6;

/// A key that spreads records evenly over the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RandomKey([u8; RANDOM_KEY_LENGTH]);

impl RandomKey {
    /// Draws a key.
    #[inline]
    pub fn draw(random: &mut SmallRng) -> Self {
        // A fixed-point fraction: multiplying by 62 yields its base-62 digits one by one.
        let mut fraction: u64 = random.random();
        RandomKey(std::array::from_fn(|_| {
            let product = u128::from(fraction) * 62;
            fraction = product as u64;
            ALPHABET.get((product >> 64) as usize).copied().unwrap_or(b'0')
        }))
    }

    /// The key as bytes: letters and digits, which need no escaping in JSON.
    #[inline]
    pub fn as_bytes(&self) -> &[u8; RANDOM_KEY_LENGTH] {
        &self.0
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn random_keys_are_short_alphanumeric_and_do_not_repeat() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut keys: Vec<RandomKey> = (0..100_000).map(|_| RandomKey::draw(&mut random)).collect();
        assert!(keys.iter().all(|k| k.as_str().len() == RANDOM_KEY_LENGTH));
        assert!(keys.iter().all(|k| k.as_str().bytes().all(|b| b.is_ascii_alphanumeric())));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 100_000);
    }
}
