//! A shard is billed by the bytes of its records, and logs repeat themselves: compressed, they need a fraction of the
//! shards. Kinesis knows nothing of it; whoever reads the stream has to inflate.
//!
//! The limit of a record holds for its compressed bytes, and how many bytes of input make so many compressed ones is
//! known only afterwards. [`Compressor::compress_to_fit`] and [`Compressor::compress_lines`] therefore guess a length,
//! compress, and correct the guess along a straight line through what was measured: as input grows, so does the output,
//! nearly in proportion.

use std::fmt;
use std::io::Cursor;
use std::ops::RangeInclusive;

use flate2::{Compress, FlushCompress, Status};
use zstd::zstd_safe;

/// The level of gzip and zlib when none is asked for: zlib's own default.
const DEFLATE_LEVEL: i32 = 6;
/// A deflate window is 32 KiB, the format's largest.
const DEFLATE_WINDOW_BITS: u8 = 15;
/// Where the header of gzip has the effort that was made, and after it the system that it was made on.
const GZIP_EFFORT: usize = 8;

/// The share of the limit that a guess aims at, and the one with which a search is content.
struct Target {
    aim: f64,
    enough: f64,
    /// Compressions at most.
    rounds: usize,
}

/// Cutting a record is rare, and what is cut away is lost: it may cost a few compressions.
const TRUNCATION: Target = Target { aim: 0.985, enough: 0.97, rounds: 8 };
/// What is left out of a block is the beginning of the next: a block less full costs less than another compression.
const BLOCK: Target = Target { aim: 0.96, enough: 0.85, rounds: 5 };

/// A guess is at most so many times as long as what was measured.
const MOST_GROWTH: f64 = 4.0;

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 1952, without a time in its header: the same input is the same output, at any time.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 8878, one frame that tells its content's size.
    Zstd,
    /// Snappy's raw block, not its framed format.
    Snappy,
}

/// Why something could not be compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressError {
    /// Nothing of the input fits: the suffix alone needs more than the limit.
    NoRoom {
        /// The limit, in bytes.
        limit: usize,
        /// What the suffix alone needs, in bytes.
        needed: usize,
    },
    /// The encoder refused: no memory, or more input than its format can hold.
    Encoder {
        /// Which one.
        kind: Kind,
        /// Its own words.
        reason: String,
    },
}

/// An encoder with its memory, kept from record to record.
///
/// gzip and zlib hold about 300 KiB, snappy up to 32 KiB. zstd adapts its tables to the largest input so far: with an
/// input of 1 MiB about 4 MiB at level 3, 20 MiB at level 19; with 8 MiB 100 MiB at level 22.
pub struct Compressor {
    kind: Kind,
    encoder: Encoder,
    /// Bytes out for each byte in, of the last block of lines.
    ratio: f64,
    work: u64,
}

enum Encoder {
    Deflate(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
    Snappy(Box<snap::raw::Encoder>),
}

impl Kind {
    /// A kind by its name, in any case. The message says what is allowed.
    pub fn parse(text: &str) -> Result<Kind, String> {
        match text.to_ascii_lowercase().as_str() {
            "gzip" => Ok(Kind::Gzip),
            "zlib" => Ok(Kind::Zlib),
            "zstd" => Ok(Kind::Zstd),
            "snappy" => Ok(Kind::Snappy),
            _ => Err("use none, gzip, zlib, zstd or snappy".to_owned()),
        }
    }

    /// The levels it has, from the fastest to the smallest output; snappy has none. 0 stores with gzip and zlib, and
    /// is the default with zstd.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Kind::Gzip | Kind::Zlib => Some(0..=9),
            // Below -7 the output is hardly smaller than the input.
            Kind::Zstd => Some(-7..=22),
            Kind::Snappy => None,
        }
    }

    /// A level as text. The message says what is allowed.
    pub fn parse_level(self, text: &str) -> Result<i32, String> {
        let levels = self.levels().ok_or_else(|| format!("{self} has no levels"))?;
        match text.parse() {
            Ok(level) if levels.contains(&level) => Ok(level),
            _ => Err(format!("use a whole number from {} to {} with {self}", levels.start(), levels.end())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Gzip => "gzip",
            Kind::Zlib => "zlib",
            Kind::Zstd => "zstd",
            Kind::Snappy => "snappy",
        })
    }
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressError::NoRoom { limit, needed } => {
                write!(f, "no room for the mark of truncation: it needs {needed} bytes of {limit}")
            }
            CompressError::Encoder { kind, reason } => write!(f, "{kind}: {reason}"),
        }
    }
}

impl std::error::Error for CompressError {}

impl Compressor {
    /// An encoder of this kind; without a level the library's own default (6 for gzip and zlib, 3 for zstd). A level
    /// outside of [`Kind::levels`] becomes the nearest one.
    pub fn new(kind: Kind, level: Option<i32>) -> Result<Compressor, CompressError> {
        let level = kind.levels().map(|levels| {
            let default = if kind == Kind::Zstd { zstd::DEFAULT_COMPRESSION_LEVEL } else { DEFLATE_LEVEL };
            level.unwrap_or(default).clamp(*levels.start(), *levels.end())
        });
        let level = level.unwrap_or_default();
        let deflate = flate2::Compression::new(level.unsigned_abs());
        let encoder = match kind {
            Kind::Gzip => Encoder::Deflate(Compress::new_gzip(deflate, DEFLATE_WINDOW_BITS)),
            Kind::Zlib => Encoder::Deflate(Compress::new_with_window_bits(deflate, true, DEFLATE_WINDOW_BITS)),
            Kind::Zstd => Encoder::Zstd(zstd::bulk::Compressor::new(level).map_err(|error| refused(kind, error))?),
            Kind::Snappy => Encoder::Snappy(Box::new(snap::raw::Encoder::new())),
        };
        // Before the first block is known, input that does not shrink is expected: then it fits for sure.
        Ok(Compressor { kind, encoder, ratio: 1.0, work: 0 })
    }

    /// Bytes that went through the encoder since it was made, those of guesses that did not fit included.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Appends `input`, compressed, to `out`. On an error `out` is as before.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
        self.work += input.len() as u64;
        let start = out.len();
        let done = match &mut self.encoder {
            Encoder::Deflate(state) => deflate(state, input, out),
            Encoder::Zstd(encoder) => {
                out.reserve(zstd_safe::compress_bound(input.len()));
                let mut end = Cursor::new(&mut *out);
                end.set_position(start as u64);
                encoder.compress_to_buffer(input, &mut end).map(drop).map_err(|error| error.to_string())
            }
            Encoder::Snappy(encoder) => snappy(encoder, input, out),
        };
        if self.kind == Kind::Gzip
            && let Some([effort, system]) = out.get_mut(start + GZIP_EFFORT..start + GZIP_EFFORT + 2)
        {
            // As the C plugin writes them: not told, unknown.
            (*effort, *system) = (0, 0xff);
        }
        done.map_err(|reason| {
            out.truncate(start);
            refused(self.kind, reason)
        })
    }

    /// Appends `input`, compressed into at most `limit` bytes, to `out`; answers how many bytes of `input` it holds.
    ///
    /// When the whole does not fit, it is the longest prefix that was found to fit with `suffix` behind it. `cut(n)` is
    /// the longest permitted prefix of at most `n` bytes, 0 always being one. At most 10 compressions; those of text
    /// of a few KiB and more end up 97 % full. On an error `out` is as before.
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
        let bracket = Bracket { fits: (0, needed), over: Some((input.len(), whole)) };
        let first = bracket.guess(limit, &TRUNCATION);
        self.search(&Search { input, suffix, limit, cut, target: &TRUNCATION }, bracket, first, start, out)
    }

    /// Appends as many whole lines as fit into `limit` bytes, compressed together, to `out`; answers how many lines
    /// these are: 0, and `out` as before, when not even the first one fits.
    ///
    /// The lines lie in `text` from `from` on, and end where `ends` says. The first guess is made with the ratio of the
    /// block before; a block that comes out too large or less than 85 % full is made anew, four times at most. While
    /// lines are alike this compresses each byte once, or twice in the first block.
    pub fn compress_lines(
        &mut self,
        text: &[u8],
        from: usize,
        ends: &[usize],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressError> {
        let end_of = |count: usize| {
            let end = count.checked_sub(1).and_then(|last| ends.get(last)).copied();
            end.unwrap_or_default().saturating_sub(from)
        };
        let lines_within = |length: usize| ends.partition_point(|&end| end.saturating_sub(from) <= length);
        let input = text.get(from..from + end_of(ends.len())).unwrap_or_default();
        if input.is_empty() {
            return Ok(0);
        }
        // One line at least is tried, however long it is.
        let cut = |length: usize| end_of(lines_within(length).max(1));
        let first = (limit as f64 * BLOCK.aim / self.ratio) as usize;
        let (start, bracket) = (out.len(), Bracket { fits: (0, 0), over: None });
        let length = self.search(
            &Search { input, suffix: &[], limit, cut: &cut, target: &BLOCK },
            bracket,
            first.max(surely_fits(limit)),
            start,
            out,
        )?;
        if length == 0 {
            return Ok(0);
        }
        let ratio = (out.len() - start) as f64 / length as f64;
        // A guess that is too long costs more than one that is too short: trust in smaller output grows slowly.
        self.ratio = ratio.max(self.ratio / 2.0);
        Ok(lines_within(length))
    }

    /// Compresses prefixes of the input until one fills the limit well enough. The best so far stands in `out` from
    /// `start` on, each attempt behind it.
    fn search(
        &mut self,
        search: &Search<'_>,
        mut bracket: Bracket,
        first: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressError> {
        let (mut guess, mut in_a_row) = (first, 0_i32);
        let mut with_suffix = Vec::new();
        for round in 1..=search.target.rounds {
            let Some(length) = search.permitted(guess, &bracket) else { break };
            let prefix = search.input.get(..length).unwrap_or_default();
            let attempt = out.len();
            let done = if search.suffix.is_empty() {
                self.compress(prefix, out)
            } else {
                with_suffix.clear();
                with_suffix.extend_from_slice(prefix);
                with_suffix.extend_from_slice(search.suffix);
                self.compress(&with_suffix, out)
            };
            if let Err(error) = done {
                out.truncate(start);
                return Err(error);
            }
            let size = out.len() - attempt;
            if size <= search.limit {
                out.drain(start..attempt);
                bracket.fits = (length, size);
                in_a_row = in_a_row.max(0) + 1;
                if length == search.input.len() || size as f64 >= search.limit as f64 * search.target.enough {
                    break;
                }
            } else {
                out.truncate(attempt);
                bracket.over = Some((length, size));
                in_a_row = in_a_row.min(0) - 1;
            }
            guess = match round + 1 {
                last if last == search.target.rounds && bracket.fits.0 == 0 => {
                    surely_fits(search.limit).saturating_sub(search.suffix.len())
                }
                // Where the input changes its nature, a straight line errs to one side again and again.
                _ if in_a_row.abs() > 1
                    && let Some((over, _)) = bracket.over =>
                {
                    bracket.fits.0.midpoint(over)
                }
                _ => bracket.guess(search.limit, search.target),
            };
        }
        Ok(bracket.fits.0)
    }
}

/// Prefixes of `input` with `suffix` behind them, to be compressed into `limit` bytes.
struct Search<'a> {
    input: &'a [u8],
    suffix: &'a [u8],
    limit: usize,
    cut: &'a dyn Fn(usize) -> usize,
    target: &'a Target,
}

impl Search<'_> {
    /// The permitted length at `guess` or, where that is none to be tried, one not far above.
    fn permitted(&self, guess: usize, bracket: &Bracket) -> Option<usize> {
        // The whole input may be tried as long as it is not known to be too much.
        let largest = bracket.over.map_or(self.input.len(), |(length, _)| length.saturating_sub(1));
        let (mut guess, mut step) = (guess.min(largest), 1);
        loop {
            let length = (self.cut)(guess);
            if length > bracket.fits.0 && length <= largest {
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

/// What was measured: a length that fits and a longer one that does not, each with its compressed size.
struct Bracket {
    fits: (usize, usize),
    over: Option<(usize, usize)>,
}

impl Bracket {
    /// The length at which a straight line through both reaches the aim.
    fn guess(&self, limit: usize, target: &Target) -> usize {
        let aim = limit as f64 * target.aim;
        let (length, size) = (self.fits.0 as f64, self.fits.1 as f64);
        let slope = match self.over {
            Some((over, over_size)) => (over as f64 - length) / (over_size as f64 - size),
            None => length / size,
        };
        let guess = length + (aim - size).max(0.0) * slope;
        // What comes next may be of another nature.
        if self.over.is_none() { guess.min(length * MOST_GROWTH) as usize } else { guess as usize }
    }
}

/// The longest input that fits even when it does not shrink at all: snappy, the most wasteful, needs 32 bytes and 7/6
/// of such input.
fn surely_fits(limit: usize) -> usize {
    limit.saturating_sub(64) / 7 * 6
}

fn refused(kind: Kind, reason: impl fmt::Display) -> CompressError {
    CompressError::Encoder { kind, reason: reason.to_string() }
}

fn deflate(state: &mut Compress, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    state.reset();
    loop {
        let rest = usize::try_from(state.total_in()).ok().and_then(|done| input.get(done..)).unwrap_or_default();
        out.reserve(rest.len() / 4 + 1024);
        match state.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(Status::Ok | Status::BufError) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn snappy(encoder: &mut snap::raw::Encoder, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    out.resize(start + snap::raw::max_compress_len(input.len()), 0);
    let written =
        encoder.compress(input, out.get_mut(start..).unwrap_or_default()).map_err(|error| error.to_string())?;
    out.truncate(start + written);
    Ok(())
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
