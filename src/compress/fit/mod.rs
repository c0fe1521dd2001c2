//! As much input as fits, compressed, into a limit.

use super::{CompressError, Compressor};

/// What a search for a length is content with.
struct Target {
    /// The share of the limit that a guess aims at.
    aim: f64,
    /// The share of the limit that is enough.
    enough: f64,
    /// Compressions at most.
    rounds: usize,
}

/// Cutting a record is rare, and what is cut away is lost: it may cost a few compressions.
const TRUNCATION: Target = Target { aim: 0.985, enough: 0.97, rounds: 8 };
/// What is left out of a block is the beginning of the next: a block less full costs less than another compression.
const BLOCK: Target = Target { aim: 0.96, enough: 0.85, rounds: 5 };

/// A guess is at most this many times as long as what was measured.
const MOST_GROWTH: usize = 4;

impl Compressor {
    /// Appends `input`, compressed into at most `limit` bytes, to `out`; answers how many bytes of `input` it holds.
    ///
    /// When the whole does not fit, it is the longest prefix that was found to fit together with `suffix`. `cut(n)` is
    /// the longest permitted prefix of at most `n` bytes, 0 always being one. At most 10 compressions; those of text
    /// of a few KiB and more end up 97 % full.
    ///
    /// # Errors
    /// When `suffix` alone does not fit, or the encoder fails. Then `out` is as before.
    pub fn compress_to_fit(
        &mut self,
        input: &[u8],
        limit: usize,
        cut: &dyn Fn(usize) -> usize,
        suffix: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressError> {
        let start = out.len();
        self.compress(input, out)?;
        let whole = out.len() - start;
        if whole <= limit {
            return Ok(input.len());
        }
        out.truncate(start);
        self.compress(suffix, out)?;
        let needed = out.len() - start;
        if needed > limit {
            out.truncate(start);
            return Err(CompressError::NoRoom { limit, needed });
        }
        let (fits, over) = ((0, needed), Some((input.len(), whole)));
        let search = Search { input, suffix, limit, cut, target: &TRUNCATION, fits, over, in_a_row: 0 };
        self.search(search.guess(), search, start, out)
    }

    /// Appends as many whole lines as fit into `limit` bytes, compressed together, to `out`; answers how many lines
    /// these are: 0, and `out` as before, when not even the first one fits.
    ///
    /// The lines of `text` end where `ends` says. The first guess is made with the ratio of the block before; a block that comes out too large or less than 85 % full is made again, four times at most. While
    /// lines are alike this compresses each byte about once, and twice in the first block; where each block has lines of
    /// different natures, up to four times. Lines that would fit as they are, are compressed once.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn compress_lines(
        &mut self,
        text: &[u8],
        ends: &[usize],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressError> {
        let end_of = |count: usize| {
            let end = count.checked_sub(1).and_then(|last| ends.get(last)).copied();
            end.unwrap_or_default()
        };
        let lines_within = |length: usize| ends.partition_point(|&end| end <= length);
        let input = text.get(..end_of(ends.len())).unwrap_or_default();
        if input.is_empty() {
            return Ok(0);
        }
        // One line at least is tried, however long it is.
        let cut = |length: usize| end_of(lines_within(length).max(1));
        let first = (limit as f64 * BLOCK.aim / self.ratio) as usize;
        let (start, target) = (out.len(), &BLOCK);
        let search = Search { input, suffix: &[], limit, cut: &cut, target, fits: (0, 0), over: None, in_a_row: 0 };
        let length = self.search(first, search, start, out)?;
        if length == 0 {
            return Ok(0);
        }
        // A few short lines are mostly header.
        if length >= limit / 4 {
            // A guess that is too long costs more than one that is too short: trust in smaller output grows slowly.
            self.ratio = ((out.len() - start) as f64 / length as f64).max(self.ratio / 2.0);
        }
        Ok(lines_within(length))
    }

    /// Compresses prefixes of the input until one is good enough, beginning with `guess`. The best so far is in
    /// `out` from `start` on, each attempt after it.
    fn search(
        &mut self,
        mut guess: usize,
        mut search: Search<'_>,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressError> {
        for round in 1..=search.target.rounds {
            let Some(length) = search.permitted(guess) else { break };
            let attempt = out.len();
            if let Err(error) = self.compress_both(search.input.get(..length).unwrap_or_default(), search.suffix, out) {
                out.truncate(start);
                return Err(error);
            }
            let size = out.len() - attempt;
            if search.learn(length, size) {
                out.drain(start..attempt);
            } else {
                out.truncate(attempt);
            }
            if search.is_content() {
                break;
            }
            let last_chance = search.fits.0 == 0 && round + 1 == search.target.rounds;
            guess = if last_chance { surely_fits(search.limit) } else { search.guess() };
        }
        Ok(search.fits.0)
    }

    fn compress_both(&mut self, prefix: &[u8], suffix: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
        if suffix.is_empty() { self.compress(prefix, out) } else { self.compress(&[prefix, suffix].concat(), out) }
    }
}

/// The search for the longest prefix of `input` that compresses, together with `suffix`, into `limit` bytes.
struct Search<'a> {
    input: &'a [u8],
    suffix: &'a [u8],
    limit: usize,
    cut: &'a dyn Fn(usize) -> usize,
    target: &'a Target,
    /// The longest prefix that was found to fit, and its compressed size.
    fits: (usize, usize),
    /// The shortest that was found not to fit.
    over: Option<(usize, usize)>,
    /// How many of the last attempts fitted or, below zero, did not.
    in_a_row: i32,
}

impl Search<'_> {
    /// Takes note of what an attempt came to; whether it fits.
    fn learn(&mut self, length: usize, size: usize) -> bool {
        let fits = size <= self.limit;
        if fits {
            self.fits = (length, size);
            self.in_a_row = self.in_a_row.max(0) + 1;
        } else {
            self.over = Some((length, size));
            self.in_a_row = self.in_a_row.min(0) - 1;
        }
        fits
    }

    fn is_content(&self) -> bool {
        let (length, size) = self.fits;
        length == self.input.len() || size as f64 >= self.limit as f64 * self.target.enough
    }

    /// The length to try next: where a straight line through what was measured reaches the aim.
    fn guess(&self) -> usize {
        let aim = self.limit as f64 * self.target.aim;
        let (length, size) = (self.fits.0 as f64, self.fits.1 as f64);
        match self.over {
            // Where the input changes its nature, a line errs to the same side again and again.
            Some((over, _)) if self.in_a_row.abs() > 1 => self.fits.0.midpoint(over),
            Some((over, over_size)) => {
                let slope = (over as f64 - length) / (over_size as f64 - size);
                (length + (aim - size).max(0.0) * slope) as usize
            }
            None => ((aim / size * length) as usize).min(self.fits.0.saturating_mul(MOST_GROWTH)),
        }
    }

    /// The permitted length at `guess` or, where that is none to be tried, one not far above.
    fn permitted(&self, guess: usize) -> Option<usize> {
        // The whole input may be tried as long as it is not known to be too much.
        let largest = self.over.map_or(self.input.len(), |(length, _)| length.saturating_sub(1));
        let (mut guess, mut step) = (guess.min(largest), 1);
        loop {
            let length = (self.cut)(guess);
            if length > self.fits.0 && length <= largest {
                return Some(length);
            }
            if guess >= largest {
                return None;
            }
            guess = guess.saturating_add(step).min(largest);
            step *= 2;
        }
    }
}

/// The longest input that fits even when it does not shrink at all: snappy, the most wasteful, needs 32 bytes and 7/6
/// of such input.
fn surely_fits(limit: usize) -> usize {
    limit.saturating_sub(64) / 7 * 6
}

#[cfg(test)]
mod tests;
