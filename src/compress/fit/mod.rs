//! Compresses as much input as fits into a limit.

use super::{CompressError, Compressor};

/// When to stop searching for a length.
struct Target {
    /// The fraction of the limit to aim for.
    aim: f64,
    /// The fraction of the limit that is enough.
    enough: f64,
    /// Most compressions.
    rounds: usize,
}

/// Cutting is rare and loses data, so it may cost several compressions.
const TRUNCATION: Target = Target { aim: 0.985, enough: 0.97, rounds: 8 };
/// What does not fit starts the next block, so a less full block costs less than another compression.
const BLOCK: Target = Target { aim: 0.96, enough: 0.85, rounds: 5 };

/// A guess is at most this many times as long as what was measured.
const MOST_GROWTH: usize = 4;

impl Compressor {
    /// Compresses `input` into at most `limit` bytes and appends it to `out`. Returns how many bytes of `input` fit.
    ///
    /// If not all of it fits, takes the longest prefix found to fit together with `suffix`. `cut(n)` returns the
    /// longest permitted prefix of at most `n` bytes; 0 is always permitted. Makes at most 10 compressions; text of a
    /// few KiB or more fills at least 97 % of the limit.
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

    /// Compresses as many whole lines together as fit into `limit` bytes and appends them to `out`. Returns the
    /// number of lines; if it is 0, not even the first line fits and `out` is unchanged.
    ///
    /// The lines of `text` end at `ends`. The first guess uses the ratio of the previous block; a block that is too
    /// large or less than 85 % full is made again, at most four times. While lines are alike, each byte is compressed
    /// about once (twice in the first block); with very different lines in each block, up to four times. Lines that
    /// surely fit are compressed once.
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
        // Try at least one line, however long.
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
            // Too long a guess costs more than too short a one, so the ratio falls only slowly.
            self.ratio = ((out.len() - start) as f64 / length as f64).max(self.ratio / 2.0);
        }
        Ok(lines_within(length))
    }

    /// Compresses prefixes of the input, starting with `guess`, until one is good enough. The best one is kept in
    /// `out` from `start`, and each attempt is made after it.
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

/// A search for the longest prefix of `input` that, together with `suffix`, compresses into `limit` bytes.
struct Search<'a> {
    input: &'a [u8],
    suffix: &'a [u8],
    limit: usize,
    cut: &'a dyn Fn(usize) -> usize,
    target: &'a Target,
    /// The longest prefix found to fit, and its compressed size.
    fits: (usize, usize),
    /// The shortest prefix found not to fit, and its compressed size.
    over: Option<(usize, usize)>,
    /// How many of the last attempts fitted in a row; negative if they did not.
    in_a_row: i32,
}

impl Search<'_> {
    /// Records the result of an attempt. Returns whether it fits.
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

    /// The length to try next: where a straight line through the measurements reaches the aim.
    fn guess(&self) -> usize {
        let aim = self.limit as f64 * self.target.aim;
        let (length, size) = (self.fits.0 as f64, self.fits.1 as f64);
        match self.over {
            // If the input changes its nature, a line keeps erring on the same side, so bisect.
            Some((over, _)) if self.in_a_row.abs() > 1 => self.fits.0.midpoint(over),
            Some((over, over_size)) => {
                let slope = (over as f64 - length) / (over_size as f64 - size);
                (length + (aim - size).max(0.0) * slope) as usize
            }
            None => ((aim / size * length) as usize).min(self.fits.0.saturating_mul(MOST_GROWTH)),
        }
    }

    /// The permitted length at `guess` or, if that is not worth trying, one slightly above.
    fn permitted(&self, guess: usize) -> Option<usize> {
        // The whole input may be tried unless it is known not to fit.
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

/// The longest input that fits even if incompressible. Snappy, the most wasteful format, needs 32 bytes plus 7/6 of
/// the input.
fn surely_fits(limit: usize) -> usize {
    limit.saturating_sub(64) / 7 * 6
}

#[cfg(test)]
mod tests;
