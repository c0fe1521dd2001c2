//! Escapes strings for JSON in blocks of 32 bytes, without a branch for each character to escape (AVX-512).
//!
//! A log line has a few quotes, and no branch predictor foresees where. Here all of a block are escaped at once: its
//! bytes are spread over a vector of twice the size, with backslashes in the gaps.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_cmpeq_epi8_mask, _mm256_cmplt_epu8_mask, _mm256_mask_mov_epi8,
    _mm256_movepi8_mask, _mm256_permutexvar_epi8, _mm256_set1_epi8, _mm256_testn_epi8_mask, _mm512_castsi256_si512,
    _mm512_mask_expand_epi8, _mm512_set1_epi8, _pdep_u64, _pext_u64,
};

use fearless_simd::prelude::*;
use fearless_simd::{Avx512, Level, kernel, u8x32, u8x64};

/// What is escaped at a time.
type Block = [u8; 32];

/// The letters that follow the backslash for control characters; 0 where there is none, but a number.
const LETTERS: Block = {
    let mut letters = [0; 32];
    letters.split_at_mut(8).1.split_at_mut(6).0.copy_from_slice(b"btn\0fr");
    letters
};

/// The index of each byte of a block.
const INDICES: Block = {
    let (mut indices, mut index) = ([0; 32], 0);
    while let Some((place, _)) = indices.split_at_mut(index as usize).1.split_first_mut() {
        *place = index;
        index += 1;
    }
    indices
};

/// Writes a JSON string, including quotes, if the processor can and `bytes` are UTF-8 without control characters that
/// JSON has no letter for. Returns whether it did.
// Not inlined, so that the stack frame of what writes values, which calls itself, stays small.
#[inline(never)]
pub(super) fn write(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(simd) = Level::new().as_avx512() else { return false };
    let start = out.len();
    let is_written = match append(simd, bytes, out) {
        Some(is_ascii) => is_ascii || simdutf8::basic::from_utf8(bytes).is_ok(),
        None => false,
    };
    if !is_written {
        out.truncate(start);
    }
    is_written
}

kernel!(
    /// Appends `bytes`, escaped and between quotes, and returns whether they are ASCII. Returns `None` at a control
    /// character that JSON has no letter for; `out` then holds a part.
    fn append(simd: Avx512, bytes: &[u8], out: &mut Vec<u8>) -> Option<bool> {
        // For the quotes, and a last block with nothing to escape.
        out.reserve(bytes.len() + size_of::<u8x64<Avx512>>() + 2);
        out.push(b'"');
        let (blocks, rest) = bytes.as_chunks();
        let mut is_ascii = true;
        for block in blocks {
            is_ascii &= append_block(simd, u8x32::simd_from(simd, *block).into(), size_of::<Block>(), out)?;
        }
        if !rest.is_empty() {
            is_ascii &= append_block(simd, last_block(simd, bytes, rest), rest.len(), out)?;
        }
        out.push(b'"');
        Some(is_ascii)
    }
);

/// A block that begins with `rest`, the end of `bytes`.
#[inline]
#[target_feature(enable = "avx512bw,avx512vbmi,avx512vl")]
fn last_block(simd: Avx512, bytes: &[u8], rest: &[u8]) -> __m256i {
    match bytes.last_chunk::<32>() {
        // Moving bytes within a vector takes less time than copying a few to memory and back.
        Some(last) => {
            let start = _mm256_set1_epi8((size_of::<Block>() - rest.len()) as i8);
            let indices = _mm256_add_epi8(u8x32::simd_from(simd, INDICES).into(), start);
            _mm256_permutexvar_epi8(indices, u8x32::simd_from(simd, *last).into())
        }
        None => {
            let mut block = Block::default();
            block.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            u8x32::simd_from(simd, block).into()
        }
    }
}

/// Appends the first `length` bytes of a block, at least one. Returns whether they are ASCII.
#[inline]
#[target_feature(enable = "avx512bw,avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn append_block(simd: Avx512, mut block: __m256i, length: usize, out: &mut Vec<u8>) -> Option<bool> {
    /// The bits with odd numbers.
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let in_string = u32::MAX >> (size_of::<Block>() - length);
    let control = _mm256_cmplt_epu8_mask(block, _mm256_set1_epi8(0x20)) & in_string;
    if control != 0 {
        let letters = _mm256_permutexvar_epi8(block, u8x32::simd_from(simd, LETTERS).into());
        if _mm256_testn_epi8_mask(letters, letters) & control != 0 {
            return None;
        }
        block = _mm256_mask_mov_epi8(block, control, letters);
    }
    let is = |byte: u8| _mm256_cmpeq_epi8_mask(block, _mm256_set1_epi8(byte.cast_signed()));
    let escaped = (is(b'"') | is(b'\\')) & in_string | control;
    // Of two bits for each byte, the first stands for a backslash and is left out if there is none.
    let is_byte = _pext_u64(ODD, _pdep_u64(u64::from(escaped), !ODD) | ODD);
    let backslashes = _mm512_set1_epi8(b'\\'.cast_signed());
    let spread = _mm512_mask_expand_epi8(backslashes, is_byte, _mm512_castsi256_si512(block));
    // A block of constant size is copied without a call.
    let end = out.len() + length + escaped.count_ones() as usize;
    out.extend_from_slice(&u8x64::simd_from(simd, spread).to_array());
    out.truncate(end);
    Some(_mm256_movepi8_mask(block) & in_string == 0)
}
