//! An event as the bytes to send.
//!
//! [`RecordSettings`] is what the configuration says about that, [`Encoder`] does it: reads the partition key, takes
//! the entries that are sent, writes them in their format, ends them with a newline, compresses them, and keeps the
//! record within its size.

pub mod formats;
pub mod json;
mod json_string;
pub mod partition_key;
pub mod path;
mod repeats;
pub mod shape;
pub mod size;
pub mod time;

use std::fmt;

use rand::rngs::SmallRng;

use crate::chunk::Event;
use crate::compress::{CompressError, Compressor, Kind, SharedCompressor, UNKNOWN_RATIO};
use crate::kinesis::limits;
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::msgpack::{Malformed, Reader};
use crate::record::formats::Format;
use crate::record::json::{KEY_LEVELS, MAX_DEPTH};
use crate::record::partition_key::PartitionKey;
use crate::record::shape::{Open, Shape};
use crate::record::size::Oversize;
use crate::record::time::{TimeFormat, TimeWriter};

/// What records look like.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Which entries are sent, under which keys.
    pub shape: Shape,
    /// How the event's time is written.
    pub time_format: TimeFormat,
    /// How they are written.
    pub format: Format,
    /// Whether a newline ends each record.
    pub newline: bool,
    /// How each record is compressed.
    pub compression: Option<Compression>,
    /// Most bytes of a record, compressed, and its partition key.
    pub max_bytes: usize,
    /// What becomes of a larger one.
    pub oversize: Oversize,
    /// Which partition key a record gets.
    pub partition_key: PartitionKey,
}

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// By which format.
    pub kind: Kind,
    /// How thoroughly, see [`Kind::levels`]; the library's default when `None`.
    pub level: Option<i32>,
}

impl Default for RecordSettings {
    /// Events as they are, in JSON, with random keys.
    fn default() -> Self {
        RecordSettings {
            shape: Shape::default(),
            time_format: TimeFormat::default(),
            format: Format::Json,
            newline: false,
            compression: None,
            max_bytes: limits::DEFAULT_RECORD_BYTES,
            oversize: Oversize::Truncate,
            partition_key: PartitionKey::Random,
        }
    }
}

/// Why an event cannot become a record. No retry cures any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Maps and arrays stand deeper in each other than [`MAX_DEPTH`]; a map or array that is a key counts for
    /// [`KEY_LEVELS`].
    TooDeep,
    /// The record and its partition key are larger than allowed, and cannot or may not be cut.
    TooLarge,
    /// The encoder of the compression fails, for want of memory.
    Compression,
    /// The event has nothing under the key that alone is sent.
    NoLogKey,
    /// The body is no complete msgpack.
    Malformed(Malformed),
}

impl From<Malformed> for Refusal {
    fn from(reason: Malformed) -> Self {
        Refusal::Malformed(reason)
    }
}

impl From<CompressError> for Refusal {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::NoRoom { .. } => Refusal::TooLarge,
            CompressError::Encoder { .. } => Refusal::Compression,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooDeep => {
                write!(f, "it is nested deeper than {MAX_DEPTH} levels (a map or array as a key is {KEY_LEVELS})")
            }
            Refusal::TooLarge => f.write_str("it is larger than max_record_size"),
            Refusal::Compression => f.write_str("it cannot be compressed"),
            Refusal::NoLogKey => f.write_str("it has no value under log_key"),
            Refusal::Malformed(reason) => write!(f, "its msgpack cannot be read: {reason}"),
        }
    }
}

/// One level deeper into maps and arrays, or several, of those that are left.
fn deeper(depth: u32, levels: u32) -> Result<u32, Refusal> {
    depth.checked_sub(levels).ok_or(Refusal::TooDeep)
}

/// Turns one event after the other into a record. The last one's key stays until the next.
pub struct Encoder<'a> {
    settings: &'a RecordSettings,
    tag: &'a [u8],
    /// Whether [`Encoder::encode_in_one_pass`] can do what the settings say.
    in_one_pass: bool,
    times: TimeWriter<'a>,
    time: Vec<u8>,
    shaped: Vec<u8>,
    open: Vec<Open>,
    compressor: Option<Compressor>,
    /// Where the compressor comes from, and where it goes when idle.
    shared: Option<&'a SharedCompressor>,
    /// How blocks of lines shrank so far.
    ratio: f64,
    /// The record before it is compressed.
    plain: Vec<u8>,
    /// The key that the user's configuration gives the last record, unless it has a random one.
    key: String,
    random_key: Option<RandomKey>,
}

/// What was done to an event to make it a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alterations {
    /// It was cut, and had so many bytes before, partition key included.
    pub cut_from: Option<usize>,
    /// It has nothing that could be its partition key, so it got a random one.
    pub no_partition_key: bool,
}

impl<'a> Encoder<'a> {
    /// An encoder of events with `tag`.
    pub fn new(settings: &'a RecordSettings, tag: &'a [u8]) -> Self {
        Encoder {
            settings,
            tag,
            in_one_pass: settings.shape.is_identity()
                && matches!(settings.format, Format::Json)
                && settings.compression.is_none()
                && settings.partition_key == PartitionKey::Random,
            times: TimeWriter::new(&settings.time_format),
            time: Vec::new(),
            shaped: Vec::new(),
            open: Vec::new(),
            compressor: None,
            shared: None,
            ratio: UNKNOWN_RATIO,
            plain: Vec::new(),
            key: String::new(),
            random_key: None,
        }
    }

    /// The same, with a compressor that others use too, in turns.
    pub fn with_compressor(self, shared: &'a SharedCompressor) -> Self {
        Encoder { shared: Some(shared), ..self }
    }

    /// Gives the shared compressor back until there is a record again.
    pub fn pause(&mut self) {
        if let Some(shared) = self.shared
            && let Some(compressor) = self.compressor.take()
        {
            self.ratio = compressor.ratio();
            shared.give_back(compressor);
        }
    }

    /// The partition key of the last record.
    pub fn key(&self) -> &str {
        self.random_key.as_ref().map_or(&self.key, RandomKey::as_str)
    }

    /// The same, if it was drawn at random.
    #[inline]
    pub fn random_key(&self) -> Option<RandomKey> {
        self.random_key
    }

    /// Bytes of the last record's partition key.
    #[inline]
    pub fn key_length(&self) -> usize {
        if self.random_key.is_some() { RANDOM_KEY_LENGTH } else { self.key.len() }
    }

    /// Most bytes of a record and its partition key.
    pub fn max_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    /// Whether records are compressed.
    pub fn compresses(&self) -> bool {
        self.settings.compression.is_some()
    }

    /// Appends the record that `event` makes to `out`. On an error `out` may hold a part of it.
    #[inline]
    pub fn encode(
        &mut self,
        event: &Event<'_>,
        random: &mut SmallRng,
        out: &mut Vec<u8>,
    ) -> Result<Alterations, Refusal> {
        let (no_partition_key, room) = self.begin(event, random)?;
        let start = out.len();
        let (bytes, is_cut) = match self.settings.compression {
            None => {
                self.write(event.body, out)?;
                (out.len() - start, self.cut(out, start, room)?)
            }
            Some(_) => {
                let mut plain = std::mem::take(&mut self.plain);
                plain.clear();
                let packed = self.write(event.body, &mut plain).and_then(|()| self.compress_to_fit(&plain, room, out));
                let bytes = plain.len();
                self.plain = plain;
                (bytes, packed?)
            }
        };
        let cut_from = is_cut.then_some(bytes + self.key_length());
        Ok(Alterations { cut_from, no_partition_key })
    }

    /// Whether the settings want what [`Encoder::encode_in_one_pass`] does: records as the events are, in JSON, uncompressed,
    /// with a random key.
    #[inline]
    pub fn can_in_one_pass(&self) -> bool {
        self.in_one_pass
    }

    /// As [`Encoder::encode`], but the end of the `body` is found by writing it. `None` where that is not enough, and
    /// always where [`Encoder::can_in_one_pass`] says no; then `body` and `out` may be left somewhere in it.
    #[inline]
    pub fn encode_in_one_pass(
        &mut self,
        body: &mut Reader<'_>,
        random: &mut SmallRng,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        if !self.in_one_pass {
            return None;
        }
        let start = out.len();
        json::write_in_one_pass(body, out)?;
        if self.settings.newline {
            out.push(b'\n');
        }
        self.random_key = Some(RandomKey::draw(random));
        (out.len() - start + RANDOM_KEY_LENGTH <= self.settings.max_bytes).then_some(())
    }

    /// As [`Encoder::encode`], but the record is neither compressed nor cut: it is the caller's to do that, with
    /// [`Encoder::compress_lines`] or [`Encoder::compress_to_fit`].
    pub fn encode_whole(
        &mut self,
        event: &Event<'_>,
        random: &mut SmallRng,
        out: &mut Vec<u8>,
    ) -> Result<Alterations, Refusal> {
        let (no_partition_key, _) = self.begin(event, random)?;
        self.write(event.body, out)?;
        Ok(Alterations { cut_from: None, no_partition_key })
    }

    /// Makes time and key of a record; says whether it should have had a key, and how many bytes its data may have.
    #[inline]
    fn begin(&mut self, event: &Event<'_>, random: &mut SmallRng) -> Result<(bool, usize), Refusal> {
        let settings = self.settings;
        if settings.shape.time_key.is_some() || matches!(settings.format, Format::OutFile { .. }) {
            self.time.clear();
            self.times.write(event.time, &mut self.time);
        }
        let no_partition_key = self.draw_key(event.body, random);
        let room = settings.max_bytes.checked_sub(self.key_length()).ok_or(Refusal::TooLarge)?;
        Ok((no_partition_key, room))
    }

    /// Writes the event in its shape and format, with the newline.
    #[inline]
    fn write(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let settings = self.settings;
        let body = if settings.shape.is_identity() {
            body
        } else {
            self.shaped.clear();
            settings.shape.write(body, &self.time, &mut self.open, &mut self.shaped)?;
            &self.shaped
        };
        settings.format.write(body, &self.time, self.tag, out)?;
        if settings.newline {
            out.push(b'\n');
        }
        Ok(())
    }

    /// Reads the partition key of an event or draws one; says whether the event should have had one.
    #[inline]
    fn draw_key(&mut self, body: &[u8], random: &mut SmallRng) -> bool {
        let wanted = &self.settings.partition_key;
        if *wanted != PartitionKey::Random {
            self.key.clear();
            let time = self.settings.shape.time_key.as_deref().map(|key| (key, self.time.as_slice()));
            if wanted.read(body, time, self.tag, &mut self.key) {
                self.random_key = None;
                return false;
            }
        }
        self.random_key = Some(RandomKey::draw(random));
        *wanted != PartitionKey::Random
    }

    /// Keeps the data in `out` from `start` on within `room` bytes; says whether it was cut.
    fn cut(&self, out: &mut Vec<u8>, start: usize, room: usize) -> Result<bool, Refusal> {
        if out.len() - start <= room {
            return Ok(false);
        }
        match self.settings.oversize {
            Oversize::Discard => Err(Refusal::TooLarge),
            Oversize::Truncate => {
                size::truncate(out, start, room, self.settings.newline, self.settings.format.holds_json())?;
                Ok(true)
            }
        }
    }

    /// Appends `plain`, compressed into `room` bytes, to `out`; says whether it was cut for that.
    pub fn compress_to_fit(&mut self, plain: &[u8], room: usize, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        let settings = self.settings;
        let compressor = self.compressor()?;
        let start = out.len();
        match settings.oversize {
            Oversize::Discard => {
                compressor.compress(plain, out)?;
                if out.len() - start > room { Err(Refusal::TooLarge) } else { Ok(false) }
            }
            Oversize::Truncate => {
                let holds_json = settings.format.holds_json();
                let suffix = size::suffix(settings.newline);
                let cut = |end| size::boundary(plain, end, holds_json);
                Ok(compressor.compress_to_fit(plain, room, &cut, suffix, out)? < plain.len())
            }
        }
    }

    /// Appends as many of the lines of `text`, which end where `ends` says, as fit into `room` bytes, compressed
    /// together, to `out`; answers how many these are.
    pub fn compress_lines(
        &mut self,
        text: &[u8],
        ends: &[usize],
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Refusal> {
        Ok(self.compressor()?.compress_lines(text, 0, ends, room, out)?)
    }

    fn compressor(&mut self) -> Result<&mut Compressor, Refusal> {
        let compression = self.settings.compression.ok_or(Refusal::Compression)?;
        match &mut self.compressor {
            Some(compressor) => Ok(compressor),
            none => {
                let compressor = match self.shared.and_then(SharedCompressor::take) {
                    Some(shared) => shared.with_ratio(self.ratio),
                    None => Compressor::new(compression.kind, compression.level)?,
                };
                Ok(none.insert(compressor))
            }
        }
    }
}
