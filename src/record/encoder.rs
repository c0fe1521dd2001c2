//! Events made records, one after the other.

use rand::rngs::SmallRng;

use crate::chunk::{Event, EventTime};
use crate::compress::{Compressor, SharedCompressor, UNKNOWN_RATIO};
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::msgpack::Reader;
use crate::record::formats::Format;
use crate::record::json;
use crate::record::partition_key::{Key, PartitionKey};
use crate::record::refusal::Refusal;
use crate::record::settings::RecordSettings;
use crate::record::shape::Open;
use crate::record::size::{self, Oversize};
use crate::record::time::TimeWriter;

/// Turns one event after the other into a record.
pub struct Encoder<'a> {
    settings: &'a RecordSettings,
    tag: &'a [u8],
    /// Whether [`Encoder::encode_in_one_pass`] can do what the settings say.
    in_one_pass: bool,
    /// Whether compression and size are left to the caller.
    makes_lines: bool,
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
}

/// What was done to an event to make it a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alterations {
    /// It was cut, and had this many bytes before, partition key included.
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
            makes_lines: false,
            times: TimeWriter::new(&settings.time_format),
            time: Vec::new(),
            shaped: Vec::new(),
            open: Vec::new(),
            compressor: None,
            shared: None,
            ratio: UNKNOWN_RATIO,
            plain: Vec::new(),
        }
    }

    /// The same, with a compressor that others use too, in turns.
    pub fn with_compressor(self, shared: &'a SharedCompressor) -> Self {
        Encoder { shared: Some(shared), ..self }
    }

    /// The same for records that the caller joins to blocks: where the settings compress, what is encoded is neither
    /// compressed nor cut. Both are left to [`Encoder::compress_lines`] and [`Encoder::compress_to_fit`].
    pub fn for_lines(self) -> Self {
        Encoder { makes_lines: self.compresses(), ..self }
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

    /// Most bytes of a record and its partition key.
    pub fn max_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    /// Whether records are compressed.
    pub fn compresses(&self) -> bool {
        self.settings.compression.is_some()
    }

    /// Appends the record that `event` makes to `out` and writes its partition key over `key`. On an error both are
    /// unspecified from where they were.
    ///
    /// # Errors
    ///
    /// When the event cannot become a record.
    #[inline]
    pub fn encode(
        &mut self,
        event: &Event<'_>,
        random: &mut SmallRng,
        key: &mut Key,
        out: &mut Vec<u8>,
    ) -> Result<Alterations, Refusal> {
        self.write_time(event.time);
        let no_partition_key = self.read_key(event.body, random, key);
        let room = self.settings.max_bytes.checked_sub(key.bytes()).ok_or(Refusal::TooLarge)?;
        let start = out.len();
        let (bytes, is_cut) = match self.settings.compression {
            Some(_) if self.makes_lines => {
                self.write(event.body, out)?;
                (out.len() - start, false)
            }
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
        Ok(Alterations { cut_from: is_cut.then_some(bytes + key.bytes()), no_partition_key })
    }

    /// Whether [`Encoder::encode_in_one_pass`] does what the settings want: events as they are, in JSON, uncompressed,
    /// with a random key.
    #[inline]
    pub fn can_in_one_pass(&self) -> bool {
        self.in_one_pass
    }

    /// Fast path of [`Encoder::encode`]: finds the end of `body` by writing it, and returns the key. `None` if the slow
    /// path is needed, always without [`Encoder::can_in_one_pass`]; `body` and `out` are then unspecified.
    #[inline]
    pub fn encode_in_one_pass(
        &mut self,
        body: &mut Reader<'_>,
        random: &mut SmallRng,
        out: &mut Vec<u8>,
    ) -> Option<RandomKey> {
        if !self.in_one_pass {
            return None;
        }
        let start = out.len();
        json::write_in_one_pass(body, out)?;
        if self.settings.newline {
            out.push(b'\n');
        }
        let key = RandomKey::draw(random);
        (out.len() - start + RANDOM_KEY_LENGTH <= self.settings.max_bytes).then_some(key)
    }

    /// Writes the event's time, where the record has it in it.
    #[inline]
    fn write_time(&mut self, time: EventTime) {
        if self.settings.shape.time_key.is_some() || matches!(self.settings.format, Format::OutFile { .. }) {
            self.time.clear();
            self.times.write(time, &mut self.time);
        }
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

    /// Reads the partition key of an event or draws one. Returns whether it had to be drawn although the user wants one
    /// of the event's values.
    #[inline]
    fn read_key(&mut self, body: &[u8], random: &mut SmallRng, key: &mut Key) -> bool {
        let wanted = &self.settings.partition_key;
        if *wanted != PartitionKey::Random {
            let time = self.settings.shape.time_key.as_deref().map(|key| (key, self.time.as_slice()));
            if key.set(|text| wanted.read(body, time, self.tag, text)) {
                return false;
            }
        }
        key.set_random(RandomKey::draw(random));
        *wanted != PartitionKey::Random
    }

    /// Keeps the data in `out` from `start` on within `room` bytes. Returns whether it was cut.
    #[inline]
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

    /// Appends `plain`, compressed into `room` bytes, to `out`. Returns whether it was cut for that.
    ///
    /// # Errors
    ///
    /// When it does not fit and may not be cut, or the compression fails.
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

    /// Appends as many lines of `text` as fit into `room` bytes, compressed together, to `out`, and returns how many.
    /// `ends` has the end of each line.
    ///
    /// # Errors
    ///
    /// When the compression fails.
    pub fn compress_lines(
        &mut self,
        text: &[u8],
        ends: &[usize],
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Refusal> {
        Ok(self.compressor()?.compress_lines(text, ends, room, out)?)
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
