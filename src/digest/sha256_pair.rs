//! The SHA-256 of two messages, whose steps alternate.
//!
//! An instruction for two rounds of SHA-256 keeps the processor busy for half of the time that the next one waits for
//! it. Here the next one is the other message's. Between the rounds, the message schedule makes 64 words of each
//! block's 16. Only this is done here (FIPS 180-4, <https://csrc.nist.gov/pubs/fips/180-4/upd1/final>, read 2026-11);
//! the crate `sha2` finishes the longer message and is what the tests compare with.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi32, _mm_ror_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_srli_epi32, _mm_ternarylogic_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi64,
};

use fearless_simd::prelude::*;
use fearless_simd::{Avx512, kernel, u8x16, u32x4};
use sha2::block_api::compress256;

use super::{Block, Digest, Padded};

/// The words a to h.
type State = [u32; 8];

/// The first 32 bits of the fractional parts of the square roots of the first eight primes.
const INITIAL_STATE: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes, by four rounds and by sixteen.
#[rustfmt::skip]
const ROOTS: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5], [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3], [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc], [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7], [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13], [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3], [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5], [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];

/// How the message schedule is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Schedule {
    /// By the instructions for it, which on Intel's processors hold up those for the rounds.
    ByInstructions,
    /// In vectors that hold words of both messages.
    InVectors,
}

impl Schedule {
    /// The one that takes less time on this processor (docs/decisions/0034-cryptography.md).
    pub(super) fn quicker() -> Self {
        if is_amd() { Schedule::ByInstructions } else { Schedule::InVectors }
    }
}

/// Whether this is a processor of AMD. No other has SSE4a.
pub(super) fn is_amd() -> bool {
    is_x86_feature_detected!("sse4a")
}

/// The digests of two messages.
pub(super) fn digests(simd: Avx512, schedule: Schedule, one: &[u8], other: &[u8]) -> [Digest; 2] {
    let [one, other] = [one, other].map(|message| Padded::new(message, u64::to_be_bytes));
    let shared = one.whole.len().min(other.whole.len());
    let compress = match schedule {
        Schedule::ByInstructions => compress_by_instructions,
        Schedule::InVectors => compress_in_vectors,
    };
    let [first, second] = compress(simd, quarters(one.whole), quarters(other.whole));
    [finish(first, &one, shared), finish(second, &other, shared)]
}

/// A block by four words. Vectors of more bytes would slow down the instructions for SHA-256, which are older.
type Quarters = [[u8; 16]; 4];

fn quarters(blocks: &[Block]) -> &[Quarters] {
    blocks.as_flattened().as_chunks().0.as_chunks().0
}

/// The digest of a message of which `done` blocks led to this state.
fn finish(mut state: State, message: &Padded<'_>, done: usize) -> Digest {
    message.rest(done).into_iter().for_each(|blocks| compress256(&mut state, blocks));
    let mut digest = Digest::default();
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    digest
}

kernel!(
    /// The states after as many blocks of each message as both have.
    fn compress_by_instructions(simd: Avx512, one: &[Quarters], other: &[Quarters]) -> [State; 2] {
        let [scheduled @ .., last] = ROOTS;
        let (mut first, mut second) = (Halves::new(INITIAL_STATE), Halves::new(INITIAL_STATE));
        for (one, other) in one.iter().zip(other) {
            let (first_before, second_before) = (first, second);
            let (mut one, mut other) = (words(simd, one), words(simd, other));
            for roots in scheduled.as_flattened() {
                first.four_rounds(one[0], roots);
                second.four_rounds(other[0], roots);
                (one, other) = (advanced(one), advanced(other));
            }
            for ((roots, one), other) in last.iter().zip(one).zip(other) {
                first.four_rounds(one, roots);
                second.four_rounds(other, roots);
            }
            first.add(first_before);
            second.add(second_before);
        }
        [first.state(simd), second.state(simd)]
    }
);

kernel!(
    /// The same, with words of both messages in each vector.
    fn compress_in_vectors(simd: Avx512, one: &[Quarters], other: &[Quarters]) -> [State; 2] {
        let [scheduled @ .., last] = ROOTS;
        let (mut first, mut second) = (Halves::new(INITIAL_STATE), Halves::new(INITIAL_STATE));
        for (one, other) in one.iter().zip(other) {
            let (first_before, second_before) = (first, second);
            let mut words = interleaved(words(simd, one), words(simd, other));
            for [a, b, c, d] in &scheduled {
                words = four_rounds_and_next_words(&mut first, &mut second, words, a);
                words = four_rounds_and_next_words(&mut first, &mut second, words, b);
                words = four_rounds_and_next_words(&mut first, &mut second, words, c);
                words = four_rounds_and_next_words(&mut first, &mut second, words, d);
            }
            for (&words, roots) in words.as_chunks().0.iter().zip(&last) {
                four_rounds_of_both(&mut first, &mut second, words, roots);
            }
            first.add(first_before);
            second.add(second_before);
        }
        [first.state(simd), second.state(simd)]
    }
);

/// A state as the instructions take it, with its first words on top.
#[derive(Clone, Copy)]
struct Halves {
    abef: __m128i,
    cdgh: __m128i,
}

impl Halves {
    #[inline]
    #[target_feature(enable = "sse2")]
    fn new(state: State) -> Self {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Halves { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
    }

    fn state(self, simd: Avx512) -> State {
        let [f, e, b, a] = u32x4::simd_from(simd, self.abef).to_array();
        let [h, g, d, c] = u32x4::simd_from(simd, self.cdgh).to_array();
        [a, b, c, d, e, f, g, h]
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn four_rounds(&mut self, words: __m128i, &[a, b, c, d]: &[u32; 4]) {
        let [a, b, c, d] = [a, b, c, d].map(u32::cast_signed);
        let words = _mm_add_epi32(words, _mm_set_epi32(d, c, b, a));
        self.rounds_of_sums(words, _mm_shuffle_epi32(words, 0b11_10));
    }

    /// Two rounds with the first two of `early`, then two with those of `late`: sums of words and roots.
    #[inline]
    #[target_feature(enable = "sha")]
    fn rounds_of_sums(&mut self, early: __m128i, late: __m128i) {
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, early);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, late);
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn add(&mut self, other: Halves) {
        self.abef = _mm_add_epi32(self.abef, other.abef);
        self.cdgh = _mm_add_epi32(self.cdgh, other.cdgh);
    }
}

/// Sixteen words of the message schedule: those of the next rounds.
type Words = [__m128i; 4];

/// The words of a block, which are big-endian.
#[inline]
#[target_feature(enable = "ssse3")]
fn words(simd: Avx512, block: &Quarters) -> Words {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    block.map(|four| _mm_shuffle_epi8(u8x16::simd_from(simd, four).into(), order))
}

/// Replaces the first four words by the four after the last.
#[inline]
#[target_feature(enable = "sha,ssse3")]
fn advanced([first, second, third, last]: Words) -> Words {
    let next = _mm_add_epi32(_mm_sha256msg1_epu32(first, second), _mm_alignr_epi8(last, third, 4));
    [second, third, last, _mm_sha256msg2_epu32(next, last)]
}

/// Sixteen words of two message schedules: in each vector two of the one message, then the same two of the other.
type WordsOfBoth = [__m128i; 8];

#[inline]
#[target_feature(enable = "sse2")]
fn interleaved([a, b, c, d]: Words, [e, f, g, h]: Words) -> WordsOfBoth {
    let (low, high) = (|one, other| _mm_unpacklo_epi64(one, other), |one, other| _mm_unpackhi_epi64(one, other));
    [low(a, e), high(a, e), low(b, f), high(b, f), low(c, g), high(c, g), low(d, h), high(d, h)]
}

/// Four rounds of both messages.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds_of_both(first: &mut Halves, second: &mut Halves, [early, late]: [__m128i; 2], &[a, b, c, d]: &[u32; 4]) {
    let [a, b, c, d] = [a, b, c, d].map(u32::cast_signed);
    let (early, late) =
        (_mm_add_epi32(early, _mm_set_epi32(b, a, b, a)), _mm_add_epi32(late, _mm_set_epi32(d, c, d, c)));
    first.rounds_of_sums(early, late);
    second.rounds_of_sums(_mm_unpackhi_epi64(early, early), _mm_unpackhi_epi64(late, late));
}

/// Four rounds of both messages, and the words for sixteen rounds later.
#[inline]
#[target_feature(enable = "sha,sse4.1,avx512f,avx512vl")]
fn four_rounds_and_next_words(
    first: &mut Halves,
    second: &mut Halves,
    words: WordsOfBoth,
    roots: &[u32; 4],
) -> WordsOfBoth {
    let [early, late, ..] = words;
    four_rounds_of_both(first, second, [early, late], roots);
    advanced_of_both(advanced_of_both(words))
}

/// Replaces the first two words of both by the two after the last.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn advanced_of_both([first, second, third, fourth, fifth, sixth, seventh, last]: WordsOfBoth) -> WordsOfBoth {
    // The second and third word, and the tenth and eleventh, each pair in reverse.
    let (early, late) = (_mm_blend_epi32(second, first, 0b10_10), _mm_blend_epi32(sixth, fifth, 0b10_10));
    let sums = _mm_add_epi32(sigma::<7, 18, 3>(early), late);
    let next = _mm_add_epi32(first, _mm_shuffle_epi32(sums, 0b10_11_00_01));
    [second, third, fourth, fifth, sixth, seventh, last, _mm_add_epi32(next, sigma::<17, 19, 10>(last))]
}

/// The functions σ of the standard: each word rotated by `R1`, rotated by `R2` and shifted by `R3`, added without carry.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sigma<const R1: i32, const R2: i32, const R3: i32>(words: __m128i) -> __m128i {
    const XOR: i32 = 0b1001_0110;
    _mm_ternarylogic_epi32::<XOR>(_mm_ror_epi32(words, R1), _mm_ror_epi32(words, R2), _mm_srli_epi32(words, R3))
}
