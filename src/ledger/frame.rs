//! The format of a ledger's file: a header, then frames, each written at once.
//!
//! ```text
//! header  "fluent-bit-kinesis ledger 2\n"  seed: 8  length: 4  destination  checksum: 8
//! frame   length: 4  checksum of it: 4  note, in CBOR  checksum: 8
//! ```
//!
//! Numbers are little-endian. A checksum covers the position in the file too, so that no frame can be taken for another. A
//! file whose end is missing ends within a frame, and everything before that counts. Any other flaw makes the whole file
//! unusable: the damaged part may have said that a chunk is done, and an entry that outlives its chunk can be a loss.

use std::collections::BTreeMap;

use minicbor::{Decoder, Encoder};
use twox_hash::XxHash3_128;

use super::key::Key;
use crate::record_set::RecordSet;

const NAME: &[u8] = b"fluent-bit-kinesis ledger ";
const VERSION: &[u8] = b"2\n";

const OPEN: u8 = 0;
const SETTLED: u8 = 1;
const SUSPECTED: u8 = 2;
const GONE: u8 = 3;
const BEGUN: u8 = 4;

/// A note in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note<'a> {
    /// What follows about `id` is about this chunk.
    Open { id: u64, key: Key },
    /// Records need no sending any more.
    Settled { id: u64, records: &'a RecordSet },
    /// Records were refused alone.
    Suspected { id: u64, records: &'a RecordSet },
    /// Nothing of this chunk counts any more.
    Gone { id: u64 },
    /// This many chunks have begun.
    Begun { id: u64 },
}

/// What a file knows of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) settled: RecordSet,
    pub(super) suspects: RecordSet,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing, or nothing but zeros, as after a power failure.
    Empty,
    /// It is not a ledger of any version.
    Foreign,
    /// A ledger that cannot be used, and why.
    Unusable(String),
    /// A ledger.
    Ledger(Read),
}

/// A ledger, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) seed: u64,
    pub(super) chunks: BTreeMap<u64, Known>,
    /// The highest id that was ever used in it.
    pub(super) last_id: u64,
    /// Bytes of a frame whose end is missing.
    pub(super) torn: usize,
}

fn checksum(seed: u64, place: u64, parts: &[&[u8]]) -> u64 {
    let mut hasher = XxHash3_128::with_seed(seed);
    hasher.write(&place.to_le_bytes());
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish_128() as u64
}

/// Writes the header.
pub(super) fn write_header(out: &mut Vec<u8>, seed: u64, destination: &str) {
    out.extend_from_slice(NAME);
    out.extend_from_slice(VERSION);
    out.extend_from_slice(&seed.to_le_bytes());
    out.extend_from_slice(&(destination.len() as u32).to_le_bytes());
    out.extend_from_slice(destination.as_bytes());
    let sum = checksum(seed, 0, &[out.as_slice()]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Writes a frame that will stand at `place` of the file; `scratch` is memory to use again.
pub(super) fn write_frame(out: &mut Vec<u8>, scratch: &mut Vec<u8>, seed: u64, place: u64, note: &Note<'_>) {
    scratch.clear();
    // Writing to memory cannot fail.
    let written = write_note(&mut Encoder::new(&mut *scratch), note);
    debug_assert!(written.is_ok());
    let length = (scratch.len() as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&(checksum(seed, place, &[&length]) as u32).to_le_bytes());
    out.extend_from_slice(scratch);
    out.extend_from_slice(&checksum(seed, place, &[scratch]).to_le_bytes());
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_note(out: &mut Encoder<&mut Vec<u8>>, note: &Note<'_>) -> Written {
    match note {
        Note::Open { id, key } => {
            out.u8(OPEN)?.u64(*id)?.u64(key.length)?.bytes(&key.hash.to_le_bytes())?;
        }
        Note::Settled { id, records } => write_records(out.u8(SETTLED)?.u64(*id)?, records)?,
        Note::Suspected { id, records } => write_records(out.u8(SUSPECTED)?.u64(*id)?, records)?,
        Note::Gone { id } => {
            out.u8(GONE)?.u64(*id)?;
        }
        Note::Begun { id } => {
            out.u8(BEGUN)?.u64(*id)?;
        }
    }
    Ok(())
}

/// As runs: how many records are passed over, how many follow.
fn write_records(out: &mut Encoder<&mut Vec<u8>>, records: &RecordSet) -> Written {
    let mut records = records.iter().peekable();
    let mut end = 0;
    while let Some(first) = records.next() {
        let mut next = first + 1;
        while records.next_if_eq(&next).is_some() {
            next += 1;
        }
        out.u32(first - end)?.u32(next - first)?;
        end = next;
    }
    Ok(())
}

/// Reads a file. It is a ledger only when it is of `destination`.
pub(super) fn read(bytes: &[u8], destination: &str) -> Content {
    if bytes.iter().all(|&byte| byte == 0) {
        return Content::Empty;
    }
    let Some(rest) = bytes.strip_prefix(NAME) else {
        return if NAME.starts_with(bytes) { damaged() } else { Content::Foreign };
    };
    let Some(rest) = rest.strip_prefix(VERSION) else {
        return Content::Unusable("it is from another version of this plugin".to_owned());
    };
    let Some((seed, written_to, rest)) = read_header(bytes, rest) else { return damaged() };
    if written_to != destination.as_bytes() {
        return Content::Unusable(format!("it belongs to {}", String::from_utf8_lossy(written_to)));
    }
    match read_frames(bytes, rest, seed) {
        Some(read) => Content::Ledger(read),
        None => damaged(),
    }
}

fn damaged() -> Content {
    Content::Unusable("it is damaged".to_owned())
}

fn read_header<'a>(bytes: &'a [u8], rest: &'a [u8]) -> Option<(u64, &'a [u8], &'a [u8])> {
    let (seed, rest) = rest.split_first_chunk()?;
    let seed = u64::from_le_bytes(*seed);
    let (length, rest) = rest.split_first_chunk()?;
    let (destination, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let covered = bytes.get(..bytes.len() - rest.len())?;
    let (sum, rest) = rest.split_first_chunk()?;
    (u64::from_le_bytes(*sum) == checksum(seed, 0, &[covered])).then_some((seed, destination, rest))
}

/// `None` when it is damaged.
fn read_frames(bytes: &[u8], mut rest: &[u8], seed: u64) -> Option<Read> {
    let mut read = Read { seed, ..Read::default() };
    loop {
        let place = (bytes.len() - rest.len()) as u64;
        read.torn = rest.len();
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Some(read) };
        let Some((sum, after)) = after.split_first_chunk() else { return Some(read) };
        if u32::from_le_bytes(*sum) != checksum(seed, place, &[length]) as u32 {
            return None;
        }
        let Some((note, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Some(read);
        };
        let Some((sum, after)) = after.split_first_chunk() else { return Some(read) };
        if u64::from_le_bytes(*sum) != checksum(seed, place, &[note]) {
            return None;
        }
        read.note(note)?;
        rest = after;
    }
}

impl Read {
    /// Applies a note; `None` when it makes no sense.
    fn note(&mut self, note: &[u8]) -> Option<()> {
        let mut decoder = Decoder::new(note);
        let kind = decoder.u8().ok()?;
        let id = decoder.u64().ok()?;
        self.last_id = self.last_id.max(id);
        match kind {
            OPEN => {
                let length = decoder.u64().ok()?;
                let hash = u128::from_le_bytes(decoder.bytes().ok()?.try_into().ok()?);
                let known = Known { key: Key { length, hash }, ..Known::default() };
                self.chunks.insert(id, known).is_none().then_some(())
            }
            SETTLED => {
                let known = self.chunks.get_mut(&id)?;
                read_records(&mut decoder, known.key.length, |record| {
                    known.settled.insert(record);
                    known.suspects.remove(record);
                })
            }
            SUSPECTED => {
                let known = self.chunks.get_mut(&id)?;
                read_records(&mut decoder, known.key.length, |record| {
                    if !known.settled.contains(record) {
                        known.suspects.insert(record);
                    }
                })
            }
            GONE => self.chunks.remove(&id).map(drop),
            BEGUN => Some(()),
            _ => None,
        }
    }
}

/// `None` when they are not the records of a chunk of this length, each of which takes a byte at least.
fn read_records(decoder: &mut Decoder<'_>, chunk_length: u64, mut each: impl FnMut(u32)) -> Option<()> {
    let mut end = 0_u32;
    while decoder.position() < decoder.input().len() {
        let first = end.checked_add(decoder.u32().ok()?)?;
        end = first.checked_add(decoder.u32().ok()?)?;
        if u64::from(end) > chunk_length {
            return None;
        }
        (first..end).for_each(&mut each);
    }
    Some(())
}
