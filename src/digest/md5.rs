//! MD5 of several messages side by side.
//!
//! Each step of MD5 waits for the one before it, so a processor that can do four things at once does one. Here each
//! lane of a vector holds the state of another message (RFC 1321, <https://www.rfc-editor.org/rfc/rfc1321>, read
//! 2026-11). The crate `md-5` finishes the longest message and is what the tests compare with.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u32x8};
use md5::block_api::compress;

use super::{Block, Padded};

/// How many messages are hashed side by side.
pub(crate) const LANES: usize = 8;

/// The length of a digest, in bytes.
pub(crate) const DIGEST_LENGTH: usize = 16;

const INITIAL_STATE: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The whole part of `2^32 × |sin(n)|` for n from 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// The digests of up to [`LANES`] messages, in their order; further messages are ignored. A missing message counts as
/// an empty one.
pub(crate) fn digests(messages: &[&[u8]]) -> [[u8; DIGEST_LENGTH]; LANES] {
    digests_with(Level::new(), messages)
}

/// The same with the vectors of this level of processor.
fn digests_with(level: Level, messages: &[&[u8]]) -> [[u8; DIGEST_LENGTH]; LANES] {
    let padded: [Padded<'_>; LANES] =
        std::array::from_fn(|lane| Padded::new(messages.get(lane).copied().unwrap_or_default(), u64::to_le_bytes));
    let mut counts = padded.each_ref().map(Padded::blocks);
    counts.sort_unstable();
    let [.., second_longest, _] = counts;

    let [a, b, c, d] = dispatch!(level, simd => hash(simd, &padded, second_longest));
    let mut digests = [[0; DIGEST_LENGTH]; LANES];
    for (((((digest, message), a), b), c), d) in digests.iter_mut().zip(&padded).zip(a).zip(b).zip(c).zip(d) {
        *digest = finish([a, b, c, d], message, second_longest);
    }
    digests
}

/// The digest of a message of which `done` blocks led to this state.
fn finish(mut state: [u32; 4], message: &Padded<'_>, done: usize) -> [u8; DIGEST_LENGTH] {
    message.rest(done).into_iter().for_each(|blocks| compress(&mut state, blocks));
    let mut digest = [0; DIGEST_LENGTH];
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
    digest
}

/// The states after the first `blocks` blocks of each message, or after all that it has.
#[inline(always)]
fn hash<S: Simd>(simd: S, messages: &[Padded<'_>; LANES], blocks: usize) -> [[u32; LANES]; 4] {
    let mut state = INITIAL_STATE.map(|word| u32x8::splat(simd, word));
    for index in 0..blocks {
        let (mut row, mut unfinished) = ([&[0; 64]; LANES], [0; LANES]);
        for ((block, unfinished), message) in row.iter_mut().zip(&mut unfinished).zip(messages) {
            if let Some(next) = message.block(index) {
                (*block, *unfinished) = (next, u32::MAX);
            }
        }
        let [a, b, c, d, e, f, g, h] = words(simd, row, 0);
        let [i, j, k, l, m, n, o, p] = words(simd, row, 8);
        let words = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
        let mut next = state;
        round::<S, 7, 12, 17, 22>(&mut next, &words, 0, (0, 1), |x, y, z| z ^ (x & (y ^ z)));
        round::<S, 5, 9, 14, 20>(&mut next, &words, 16, (1, 5), |x, y, z| y ^ (z & (x ^ y)));
        round::<S, 4, 11, 16, 23>(&mut next, &words, 32, (5, 3), |x, y, z| x ^ y ^ z);
        round::<S, 6, 10, 15, 21>(&mut next, &words, 48, (0, 7), |x, y, z| y ^ (x | !z));
        for (state, change) in state.iter_mut().zip(next) {
            *state += change & u32x8::load_array(simd, unfinished);
        }
    }
    state.map(u32x8::to_array)
}

/// Eight words of the blocks, from the word `start` on; the lanes of a word are those of the blocks.
#[inline(always)]
fn words<S: Simd>(simd: S, [a, b, c, d, e, f, g, h]: [&Block; LANES], start: usize) -> [u32x8<S>; LANES] {
    transposed([
        load(simd, a, start),
        load(simd, b, start),
        load(simd, c, start),
        load(simd, d, start),
        load(simd, e, start),
        load(simd, f, start),
        load(simd, g, start),
        load(simd, h, start),
    ])
}

#[inline(always)]
fn load<S: Simd>(simd: S, block: &Block, start: usize) -> u32x8<S> {
    let (words, _) = block.as_chunks();
    u32x8::from_fn(simd, |word| words.get(start + word).copied().map_or(0, u32::from_le_bytes))
}

/// Rows become columns: three times, each row is dealt out among two.
#[inline(always)]
fn transposed<S: Simd>(mut rows: [u32x8<S>; LANES]) -> [u32x8<S>; LANES] {
    for _ in 0..3 {
        let [a, b, c, d, e, f, g, h] = rows;
        let [(a, b), (c, d), (e, f), (g, h)] = [a.interleave(e), b.interleave(f), c.interleave(g), d.interleave(h)];
        rows = [a, b, c, d, e, f, g, h];
    }
    rows
}

/// Sixteen steps, unrolled. They use the words in the order `first`, `first + stride`, ….
#[inline(always)]
fn round<S: Simd, const R1: u32, const R2: u32, const R3: u32, const R4: u32>(
    state: &mut [u32x8<S>; 4],
    words: &[u32x8<S>; 16],
    sine: usize,
    (first, stride): (usize, usize),
    mix: impl Fn(u32x8<S>, u32x8<S>, u32x8<S>) -> u32x8<S>,
) {
    let [zero, ..] = *words;
    let input = |step: usize| {
        let word = words.get((first + stride * step) % 16).copied().unwrap_or(zero);
        word + SINES.get(sine + step).copied().unwrap_or_default()
    };
    four_steps::<S, R1, R2, R3, R4>(state, [input(0), input(1), input(2), input(3)], &mix);
    four_steps::<S, R1, R2, R3, R4>(state, [input(4), input(5), input(6), input(7)], &mix);
    four_steps::<S, R1, R2, R3, R4>(state, [input(8), input(9), input(10), input(11)], &mix);
    four_steps::<S, R1, R2, R3, R4>(state, [input(12), input(13), input(14), input(15)], &mix);
}

#[inline(always)]
fn four_steps<S: Simd, const R1: u32, const R2: u32, const R3: u32, const R4: u32>(
    [a, b, c, d]: &mut [u32x8<S>; 4],
    [w1, w2, w3, w4]: [u32x8<S>; 4],
    mix: &impl Fn(u32x8<S>, u32x8<S>, u32x8<S>) -> u32x8<S>,
) {
    *a = *b + rotated::<S, R1>(*a + mix(*b, *c, *d) + w1);
    *d = *a + rotated::<S, R2>(*d + mix(*a, *b, *c) + w2);
    *c = *d + rotated::<S, R3>(*c + mix(*d, *a, *b) + w3);
    *b = *c + rotated::<S, R4>(*b + mix(*c, *d, *a) + w4);
}

#[inline(always)]
fn rotated<S: Simd, const BITS: u32>(lanes: u32x8<S>) -> u32x8<S> {
    (lanes << BITS) | (lanes >> (32 - BITS))
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    /// What this processor has, the least that any has, and the level between.
    fn levels() -> Vec<Level> {
        let all = [Level::baseline(), Level::new()].into_iter();
        #[cfg(target_arch = "x86_64")]
        let all = all.chain(Level::new().as_avx2().map(Level::Avx2));
        all.collect()
    }

    fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Around the lengths at which the padding takes another block, and far apart.
        let length = prop_oneof![0..130usize, 0..20_000usize];
        prop::collection::vec(length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)), 0..=LANES)
    }

    proptest! {
        #[test]
        fn digests_are_those_of_one_message_after_another(messages in messages()) {
            let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let one_by_one: Vec<[u8; DIGEST_LENGTH]> = all.iter().map(|message| Md5::digest(message).into()).collect();
            for level in levels() {
                prop_assert_eq!(&digests_with(level, &all)[..all.len()], &one_by_one, "{:?}", level);
            }
        }
    }

    #[test]
    fn every_length_of_padding_is_right_in_every_lane() {
        let bytes: Vec<u8> = (0..200).collect();
        for length in 0..=bytes.len() - LANES {
            let all: [&[u8]; LANES] = std::array::from_fn(|lane| &bytes[lane..lane + length]);
            assert_eq!(digests(&all), all.map(|message| <[u8; DIGEST_LENGTH]>::from(Md5::digest(message))), "{length}");
        }
    }
}
