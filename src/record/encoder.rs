//! Turns events into records, one by one.

use rand::rngs::SmallRng;

use crate::chunk::{Event, EventTime};
use crate::compress::{Compressor, SharedCompressor, UNKNOWN_RATIO};
use crate::kinesis::random_key::{RANDOM_KEY_LENGTH, RandomKey};
use crate::msgpack::Reader;
use crate::record::formats::{Format, Known};
use crate::record::in_one_pass::InOnePass;
use crate::record::json;
use crate::record::partition_key::{Key, PartitionKey, hash_key};
use crate::record::refusal::Refusal;
use crate::record::schema::{Rules, Schemas};
use crate::record::settings::RecordSettings;
use crate::record::shape::{Added, Open, hex_ids, merge, writer};
use crate::record::size::{self, Oversize};
use crate::record::time::TimeEntry;

/// Turns events into records, one by one.
pub struct Encoder<'a> {
    settings: &'a RecordSettings,
    tag: &'a [u8],
    in_one_pass: InOnePass<'a>,
    /// Whether the caller compresses and limits the size.
    makes_lines: bool,
    time: TimeEntry<'a>,
    /// The tag as msgpack, if records contain it.
    tag_value: Vec<u8>,
    /// The event's metadata with ids as text, if records contain it.
    metadata_value: Vec<u8>,
    merged: Vec<u8>,
    shaped: Vec<u8>,
    open: Vec<Open>,
    known: Known,
    /// The schemas of events that change.
    schemas: Schemas,
    compressor: Option<Compressor>,
    /// Where the compressor comes from, and where it returns when idle.
    shared: Option<&'a SharedCompressor>,
    /// The compression ratio of blocks of lines so far.
    ratio: f64,
    /// The record before compression.
    plain: Vec<u8>,
}

/// How a record differs from its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alterations {
    /// If it was cut, its size before, in bytes, including the partition key.
    pub cut_from: Option<usize>,
    /// The event has no value under `partition_key`, so the record got a random key.
    pub no_partition_key: bool,
    /// The event has no value under `explicit_hash_key` that is a hash key.
    pub no_hash_key: bool,
    /// The event had an entry of its own under `tag_key`, `metadata_key` or `group_key`.
    pub key_replaced: bool,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder for events with `tag`.
    pub fn new(settings: &'a RecordSettings, tag: &'a [u8]) -> Self {
        let time_key = settings.shape.time_key.as_deref().map(|key| settings.shape.name(key));
        Encoder {
            settings,
            tag,
            in_one_pass: InOnePass::of(settings),
            makes_lines: false,
            time: TimeEntry::new(time_key.as_deref(), &settings.time_format),
            tag_value: tag_value(settings, tag),
            metadata_value: Vec::new(),
            merged: Vec::new(),
            shaped: Vec::new(),
            open: Vec::new(),
            known: Known::default(),
            schemas: Schemas::default(),
            compressor: None,
            shared: None,
            ratio: UNKNOWN_RATIO,
            plain: Vec::new(),
        }
    }

    /// Shares a compressor with other encoders, one at a time.
    pub fn with_compressor(self, shared: &'a SharedCompressor) -> Self {
        Encoder { shared: Some(shared), ..self }
    }

    /// For records that the caller joins into blocks. If the settings compress, records are neither compressed nor
    /// cut here; the caller uses [`Encoder::compress_lines`] and [`Encoder::compress_to_fit`].
    pub fn for_lines(self) -> Self {
        Encoder { makes_lines: self.compresses(), ..self }
    }

    /// Returns the shared compressor until the next record.
    pub fn pause(&mut self) {
        if let Some(shared) = self.shared
            && let Some(compressor) = self.compressor.take()
        {
            self.ratio = compressor.ratio();
            shared.give_back(compressor);
        }
    }

    /// The compression ratio of the last block of lines.
    pub(crate) fn ratio(&self) -> f64 {
        self.compressor.as_ref().map_or(self.ratio, Compressor::ratio)
    }

    /// Notes the compression ratio of a block of lines that another thread compressed.
    pub(crate) fn set_ratio(&mut self, ratio: f64) {
        self.ratio = ratio;
        if let Some(compressor) = &mut self.compressor {
            compressor.set_ratio(ratio);
        }
    }

    /// Most bytes of a record, including its partition key.
    pub fn max_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    /// Whether records are compressed.
    pub fn compresses(&self) -> bool {
        self.settings.compression.is_some()
    }

    /// Appends the record of `event` to `out` and overwrites `key` with its partition key. On an error, what was
    /// written to either is unspecified.
    ///
    /// # Errors
    ///
    /// The event cannot become a record.
    #[inline]
    pub fn encode(
        &mut self,
        event: &Event<'_>,
        random: &mut SmallRng,
        key: &mut Key,
        out: &mut Vec<u8>,
    ) -> Result<Alterations, Refusal> {
        if !self.settings.merge_maps {
            return self.encode_merged(event, random, key, out);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        let encoded = merge::write(event.body, &mut merged)
            .and_then(|()| self.encode_merged(&Event { body: &merged, ..*event }, random, key, out));
        self.merged = merged;
        encoded
    }

    #[inline]
    fn encode_merged(
        &mut self,
        event: &Event<'_>,
        random: &mut SmallRng,
        key: &mut Key,
        out: &mut Vec<u8>,
    ) -> Result<Alterations, Refusal> {
        self.write_time(event.time);
        let no_partition_key = self.read_key(event.body, random, key);
        let no_hash_key = self
            .settings
            .explicit_hash_key
            .as_ref()
            .is_some_and(|path| !key.set_hash_key(|digits| hash_key::read(path, event.body, digits)));
        let room = self.settings.max_bytes.checked_sub(key.bytes()).ok_or(Refusal::TooLarge)?;
        let start = out.len();
        let (key_replaced, bytes, is_cut) = match self.settings.compression {
            Some(_) if self.makes_lines => (self.write(event, out)?, out.len() - start, false),
            None => (self.write(event, out)?, out.len() - start, self.cut(out, start, room)?),
            Some(_) => {
                let mut plain = std::mem::take(&mut self.plain);
                plain.clear();
                let packed = self
                    .write(event, &mut plain)
                    .and_then(|replaced| Ok((replaced, plain.len(), self.compress_to_fit(&plain, room, out)?)));
                self.plain = plain;
                packed?
            }
        };
        let cut_from = is_cut.then_some(bytes + key.bytes());
        Ok(Alterations { cut_from, no_partition_key, no_hash_key, key_replaced })
    }

    /// Fast path of [`Encoder::encode`]: finds the end of `body` while encoding it. Returns `None` if the slow path is
    /// needed; `body`, `key` and `out` are then unspecified.
    #[inline]
    pub fn encode_in_one_pass(
        &mut self,
        time: EventTime,
        body: &mut Reader<'_>,
        random: &mut SmallRng,
        key: &mut Key,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match self.in_one_pass {
            InOnePass::Nothing => None,
            InOnePass::Unchanged => {
                let start = out.len();
                self.known.schemas.write(body, out, |body, out| json::write_in_one_pass(body, out).ok_or(())).ok()?;
                key.set_random(RandomKey::draw(random));
                self.end_in_one_pass(start, RANDOM_KEY_LENGTH, out)
            }
            InOnePass::BySchema(rules) => self.encode_by_schema(rules, time, body, random, key, out),
        }
    }

    #[inline(never)]
    fn encode_by_schema(
        &mut self,
        rules: Rules<'_>,
        event_time: EventTime,
        body: &mut Reader<'_>,
        random: &mut SmallRng,
        key: &mut Key,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Encoder { settings, time, schemas, tag, .. } = self;
        let (start, wanted, time_key) = (out.len(), &settings.partition_key, settings.shape.time_key.as_deref());
        let value = schemas.write_shaped(body, out, rules, |out| {
            if time_key.is_some() {
                time.set(event_time);
                time.append_to(out);
            }
        })?;
        if *wanted == PartitionKey::Random {
            key.set_random(RandomKey::draw(random));
        } else {
            let time = time_key.map(|key| (key, time.text()));
            key.set(|text| wanted.read(|_| Some(value), time, tag, text)).then_some(())?;
        }
        self.end_in_one_pass(start, key.bytes(), out)
    }

    /// Ends a record with a newline, if it fits then.
    #[inline]
    fn end_in_one_pass(&self, start: usize, key_bytes: usize, out: &mut Vec<u8>) -> Option<()> {
        if self.settings.newline {
            out.push(b'\n');
        }
        (out.len() - start + key_bytes <= self.settings.max_bytes).then_some(())
    }

    /// Writes the event's time, if the record contains it.
    #[inline]
    fn write_time(&mut self, time: EventTime) {
        if self.settings.shape.time_key.is_some() || matches!(self.settings.format, Format::OutFile { .. }) {
            self.time.set(time);
        }
    }

    /// Writes the event in its shape and format, with the newline. Returns whether an added entry, other than the time,
    /// replaced one of its own.
    #[inline]
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        let settings = self.settings;
        let (body, is_empty, key_replaced) = if settings.shape.is_identity() {
            (event.body, settings.drop_empty && Reader::new(event.body).map() == Some(0), false)
        } else {
            let shape = &settings.shape;
            self.metadata_value.clear();
            if shape.metadata_key.is_some() {
                hex_ids::write(event.metadata, &mut self.metadata_value)?;
            }
            let mut added = [Added::default(); 4];
            let mut count = 0;
            for (key, value, always) in [
                (&shape.tag_key, &*self.tag_value, false),
                (&shape.metadata_key, &*self.metadata_value, false),
                (&shape.group_key, event.group, false),
                (&shape.time_key, self.time.value(), true),
            ] {
                if let (Some(key), false, Some(place)) = (key, value.is_empty(), added.get_mut(count)) {
                    *place = Added { key, value, always };
                    count += 1;
                }
            }
            self.shaped.clear();
            let added = added.get(..count).unwrap_or_default();
            let shaped = shape.write(event.body, added, &mut self.open, &mut self.shaped)?;
            (&*self.shaped, shaped.kept == 0, shaped.replaced)
        };
        if is_empty && settings.drop_empty {
            return Err(Refusal::Empty);
        }
        settings.format.write(body, self.time.text(), self.tag, &mut self.known, out)?;
        if settings.newline {
            out.push(b'\n');
        }
        Ok(key_replaced)
    }

    /// Reads an event's partition key or draws one. Returns whether one had to be drawn because the event has no
    /// value under `partition_key`.
    #[inline]
    fn read_key(&mut self, body: &[u8], random: &mut SmallRng, key: &mut Key) -> bool {
        let wanted = &self.settings.partition_key;
        if *wanted != PartitionKey::Random {
            let time = self.settings.shape.time_key.as_deref().map(|key| (key, self.time.text()));
            if key.set(|text| wanted.read(|path| path.find(body), time, self.tag, text)) {
                return false;
            }
        }
        key.set_random(RandomKey::draw(random));
        *wanted != PartitionKey::Random
    }

    /// Cuts the data in `out` after `start` to `room` bytes. Returns whether anything was cut.
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

    /// Compresses `plain` into at most `room` bytes and appends it to `out`. Returns whether it had to be cut.
    ///
    /// # Errors
    ///
    /// It does not fit and may not be cut, or compression fails.
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

    /// Compresses as many lines of `text` together as fit into `room` bytes and appends them to `out`. Returns their
    /// number. `ends` holds the end of each line.
    ///
    /// # Errors
    ///
    /// Compression fails.
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
                    Some(shared) => shared,
                    None => Compressor::new(compression.kind, compression.level)?,
                };
                let compressor = none.insert(compressor);
                compressor.set_ratio(self.ratio);
                Ok(compressor)
            }
        }
    }
}

/// The tag as msgpack, if records contain it.
fn tag_value(settings: &RecordSettings, tag: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    if settings.shape.tag_key.is_some() {
        writer::write_string(tag, &mut value);
    }
    value
}
