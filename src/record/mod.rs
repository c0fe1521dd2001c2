//! An event as the bytes to send.
//!
//! [`RecordSettings`] is what the configuration says about that, [`Encoder`] does it: reads the partition key, takes
//! the entries that are sent, writes them in their format, ends them with a newline, compresses them, and keeps the
//! record within its size.

pub mod formats;
pub mod json;
pub mod path;
pub mod shape;
pub mod size;
pub mod time;

use std::fmt;

use rand::rngs::SmallRng;

use crate::chunk::Event;
use crate::compress::{CompressError, Compressor, Kind};
use crate::kinesis::limits;
use crate::msgpack::Malformed;
use crate::partition::{PartitionKey, RandomKey};
use crate::record::formats::Format;
use crate::record::json::{KEY_LEVELS, MAX_DEPTH};
use crate::record::shape::Shape;
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

/// Turns one event after the other into a record. The last one stays until the next.
pub struct Encoder<'a> {
    settings: &'a RecordSettings,
    tag: &'a [u8],
    times: TimeWriter<'a>,
    time: Vec<u8>,
    shaped: Vec<u8>,
    data: Vec<u8>,
    compressor: Option<Compressor>,
    compressed: Vec<u8>,
    key: String,
    key_is_random: bool,
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
            times: TimeWriter::new(&settings.time_format),
            time: Vec::new(),
            shaped: Vec::new(),
            data: Vec::new(),
            compressor: None,
            compressed: Vec::new(),
            key: String::new(),
            key_is_random: true,
        }
    }

    /// The data of the last record.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The partition key of the last record.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the last record's key was drawn at random.
    pub fn key_is_random(&self) -> bool {
        self.key_is_random
    }

    /// Bytes of the last record as Kinesis counts them: data and partition key.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.key.len()
    }

    /// Makes a record of `event`.
    pub fn encode(&mut self, event: &Event<'_>, random: &mut SmallRng) -> Result<Alterations, Refusal> {
        let settings = self.settings;
        if settings.shape.time_key.is_some() || matches!(settings.format, Format::OutFile { .. }) {
            self.time.clear();
            self.times.write(event.time, &mut self.time);
        }
        let no_partition_key = self.draw_key(event.body, random);

        let body = if settings.shape.is_identity() {
            event.body
        } else {
            self.shaped.clear();
            settings.shape.write(event.body, &self.time, &mut self.shaped)?;
            &self.shaped
        };
        self.data.clear();
        settings.format.write(body, &self.time, self.tag, &mut self.data)?;
        if settings.newline {
            self.data.push(b'\n');
        }
        let room = settings.max_bytes.checked_sub(self.key.len()).ok_or(Refusal::TooLarge)?;
        let bytes = self.bytes();
        let is_cut = match settings.compression {
            Some(compression) => self.compress(compression, room)?,
            None => self.cut(room)?,
        };
        Ok(Alterations { cut_from: is_cut.then_some(bytes), no_partition_key })
    }

    /// Reads the partition key of an event or draws one; says whether the event should have had one.
    fn draw_key(&mut self, body: &[u8], random: &mut SmallRng) -> bool {
        self.key.clear();
        let wanted = &self.settings.partition_key;
        let time = self.settings.shape.time_key.as_deref().map(|key| (key, self.time.as_slice()));
        self.key_is_random = !wanted.read(body, time, self.tag, &mut self.key);
        if self.key_is_random {
            self.key.push_str(RandomKey::draw(random).as_str());
        }
        self.key_is_random && *wanted != PartitionKey::Random
    }

    /// Keeps the data within `room` bytes; says whether it was cut.
    fn cut(&mut self, room: usize) -> Result<bool, Refusal> {
        if self.data.len() <= room {
            return Ok(false);
        }
        match self.settings.oversize {
            Oversize::Discard => Err(Refusal::TooLarge),
            Oversize::Truncate => {
                size::truncate(&mut self.data, room, self.settings.newline, self.settings.format.holds_json())?;
                Ok(true)
            }
        }
    }

    /// Compresses the data into `room` bytes; says whether it was cut for that.
    fn compress(&mut self, compression: Compression, room: usize) -> Result<bool, Refusal> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(compression.kind, compression.level)?),
        };
        self.compressed.clear();
        let (whole, holds_json) = (self.data.len(), self.settings.format.holds_json());
        let held = match self.settings.oversize {
            Oversize::Discard => {
                compressor.compress(&self.data, &mut self.compressed)?;
                whole
            }
            Oversize::Truncate => {
                let cut = |end| size::boundary(&self.data, end, holds_json);
                let suffix = size::suffix(self.settings.newline);
                compressor.compress_to_fit(&self.data, room, &cut, suffix, &mut self.compressed)?
            }
        };
        std::mem::swap(&mut self.data, &mut self.compressed);
        if self.data.len() > room { Err(Refusal::TooLarge) } else { Ok(held < whole) }
    }
}
