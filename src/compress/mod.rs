//! Compresses records and blocks of lines.
//!
//! Shards are billed by bytes, and logs are repetitive: compressed, they need a fraction of the shards. Kinesis does
//! not know about it; consumers must decompress.
//!
//! The record limit applies to the compressed bytes, and how much input fits is known only afterwards. So
//! [`Compressor::compress_to_fit`] and [`Compressor::compress_lines`] guess a length, compress, and correct the guess
//! along a straight line through the measurements: the output grows nearly in proportion to the input.

mod fit;

use std::cell::RefCell;
use std::fmt;
use std::io::Cursor;
use std::ops::RangeInclusive;

use flate2::{Compress, FlushCompress, Status};
use zstd::zstd_safe::{self, CParameter};

use crate::error::Allowed;

/// The level of gzip and zlib when none is asked for: zlib's own default.
const DEFLATE_LEVEL: i32 = 6;
/// A deflate window of 32 KiB, the largest possible.
const DEFLATE_WINDOW_BITS: u8 = 15;
/// From this level zstd would use windows of 8 to 128 MiB, and tables to match.
const ZSTD_HIGH_LEVEL: i32 = 17;
/// Use a window of 2 MiB instead, about the size of a chunk.
const ZSTD_WINDOW_LOG: u32 = 21;
/// Before the first block, assume that the input does not shrink, so that it surely fits.
pub const UNKNOWN_RATIO: f64 = 1.0;
/// From this level zstd would use tables of 16 to 64 MiB for a chunk.
const ZSTD_LEVEL_OF_LARGE_TABLES: i32 = 10;
/// Use tables of 2^20 entries (4 MiB) instead: at least the last half mebibyte is searched as thoroughly, and the
/// output is only 0.1 to 0.2 % larger.
const ZSTD_TABLE_LOG: u32 = 20;
/// The offset of the effort in gzip's header; the operating system follows.
const GZIP_EFFORT: usize = 8;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 1952, without a timestamp, so that equal input yields equal output.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 8878, one frame that states its content size.
    Zstd,
    /// Snappy's raw format, not its framed one.
    Snappy,
}

/// Why data could not be compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressError {
    /// Nothing fits: the suffix alone exceeds the limit.
    NoRoom {
        /// The limit, in bytes.
        limit: usize,
        /// What the suffix alone needs, in bytes.
        needed: usize,
    },
    /// The encoder failed: out of memory, or more input than the format allows.
    Encoder {
        /// The format.
        kind: Kind,
        /// The encoder's message.
        reason: String,
    },
}

/// An encoder with its memory, reused for every record.
///
/// gzip and zlib use about 300 KiB, snappy 32 KiB. zstd's memory grows with the largest input so far: to 2 MiB at
/// level 3, and to at most 11 MiB at any level (tests/real/memory.rs measures it).
pub struct Compressor {
    kind: Kind,
    encoder: Encoder,
    /// Compression ratio (output to input) of the last block of lines.
    ratio: f64,
    #[cfg(test)]
    work: u64,
}

enum Encoder {
    Deflate(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
    Snappy(Box<snap::raw::Encoder>),
}

/// One compressor for all users of the same settings, one at a time. Each takes it and gives it back when idle, so
/// that no encoder's memory is held while waiting.
#[derive(Default)]
pub struct SharedCompressor(RefCell<Option<Compressor>>);

impl SharedCompressor {
    /// Takes the compressor, unless it is in use or does not exist yet.
    pub fn take(&self) -> Option<Compressor> {
        self.0.take()
    }

    /// Gives it back. If two are given back, the later one is kept.
    pub fn give_back(&self, compressor: Compressor) {
        self.0.replace(Some(compressor));
    }
}

impl Kind {
    /// Parses a name, in any case.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Kind, Allowed> {
        match text.to_ascii_lowercase().as_str() {
            "gzip" => Ok(Kind::Gzip),
            "zlib" => Ok(Kind::Zlib),
            "zstd" => Ok(Kind::Zstd),
            "snappy" => Ok(Kind::Snappy),
            _ => Err("use none, gzip, zlib, zstd or snappy".into()),
        }
    }

    /// The levels, from the fastest to the smallest output; snappy has none. Level 0 means "store" for gzip and zlib,
    /// and "default" for zstd.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Kind::Gzip | Kind::Zlib => Some(0..=9),
            // Below -7 the output is barely smaller than the input.
            Kind::Zstd => Some(-7..=22),
            Kind::Snappy => None,
        }
    }

    /// Parses a level.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse_level(self, text: &str) -> Result<i32, Allowed> {
        let levels = self.levels().ok_or_else(|| format!("{self} has no levels"))?;
        match text.parse() {
            Ok(level) if levels.contains(&level) => Ok(level),
            _ => Err(format!("use a whole number from {} to {} with {self}", levels.start(), levels.end()).into()),
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
                write!(f, "no room for the truncation mark: it needs {needed} of {limit} bytes")
            }
            CompressError::Encoder { kind, reason } => write!(f, "{kind}: {reason}"),
        }
    }
}

impl std::error::Error for CompressError {}

impl Compressor {
    /// Creates an encoder. Without a level, the library's default applies (6 for gzip and zlib, 3 for zstd). A level
    /// outside [`Kind::levels`] is clamped.
    ///
    /// # Errors
    /// When the encoder cannot be made, for lack of memory.
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
            Kind::Zstd => Encoder::Zstd(zstd_encoder(level).map_err(|error| refused(kind, error))?),
            Kind::Snappy => Encoder::Snappy(Box::new(snap::raw::Encoder::new())),
        };
        Ok(Compressor {
            kind,
            encoder,
            ratio: UNKNOWN_RATIO,
            #[cfg(test)]
            work: 0,
        })
    }

    /// Compression ratio (output to input) of the last block of lines.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Sets the ratio from which the length of the next block of lines is guessed.
    pub fn set_ratio(&mut self, ratio: f64) {
        self.ratio = ratio;
    }

    /// Bytes passed through the encoder so far, including guesses that did not fit.
    #[cfg(test)]
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Compresses `input` and appends it to `out`.
    ///
    /// # Errors
    /// When the encoder fails. Then `out` is as before.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
        #[cfg(test)]
        {
            self.work += input.len() as u64;
        }
        let start = out.len();
        let done = match &mut self.encoder {
            Encoder::Deflate(state) => deflate(self.kind, state, input, out),
            Encoder::Zstd(encoder) => {
                out.reserve(zstd_safe::compress_bound(input.len()));
                let mut end = Cursor::new(&mut *out);
                end.set_position(start as u64);
                encoder.compress_to_buffer(input, &mut end).map(drop).map_err(|error| refused(self.kind, error))
            }
            Encoder::Snappy(encoder) => snappy(encoder, input, out),
        };
        if self.kind == Kind::Gzip
            && let Some([effort, system]) = out.get_mut(start + GZIP_EFFORT..start + GZIP_EFFORT + 2)
        {
            // As the C plugin writes them: unspecified effort, unknown system.
            (*effort, *system) = (0, 0xff);
        }
        done.inspect_err(|_| out.truncate(start))
    }
}

fn refused(kind: Kind, reason: impl fmt::Display) -> CompressError {
    CompressError::Encoder { kind, reason: reason.to_string() }
}

fn zstd_encoder(level: i32) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut encoder = zstd::bulk::Compressor::new(level)?;
    if level >= ZSTD_LEVEL_OF_LARGE_TABLES {
        encoder.set_parameter(CParameter::HashLog(ZSTD_TABLE_LOG))?;
        encoder.set_parameter(CParameter::ChainLog(ZSTD_TABLE_LOG))?;
    }
    if level >= ZSTD_HIGH_LEVEL {
        encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    }
    Ok(encoder)
}

fn deflate(kind: Kind, state: &mut Compress, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    state.reset();
    // Room for everything at once: where the encoder has to pause changes what it writes.
    out.reserve(input.len() + input.len() / 8 + input.len() / 64 + 64);
    loop {
        let rest = usize::try_from(state.total_in()).ok().and_then(|done| input.get(done..)).unwrap_or_default();
        out.reserve(1024);
        match state.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(Status::Ok) => {}
            // It never asks for more room than it has; a loop without progress would be worse than an error.
            Ok(Status::BufError) => return Err(refused(kind, "no progress")),
            Err(error) => return Err(refused(kind, error)),
        }
    }
}

fn snappy(encoder: &mut snap::raw::Encoder, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let start = out.len();
    out.resize(start + snap::raw::max_compress_len(input.len()), 0);
    let written = encoder
        .compress(input, out.get_mut(start..).unwrap_or_default())
        .map_err(|error| refused(Kind::Snappy, error))?;
    out.truncate(start + written);
    Ok(())
}

#[cfg(test)]
mod tests;
