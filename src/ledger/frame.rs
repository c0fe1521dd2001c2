//! The format of a ledger's file: a header, then frames.
//!
//! ```text
//! header  "fluent-bit-kinesis ledger 2\n"  seed: 8  length: 4  destination  checksum: 8
//! frame   length: 4  checksum of it: 4  note, in CBOR  checksum: 8
//! ```
//!
//! Numbers are little-endian. A checksum also covers the position in the file, so no frame can be mistaken for
//! another. If the file is truncated, all whole frames count. Any other damage makes the file unusable: the damaged
//! part may have said that a chunk is done, and an entry that outlives its chunk could cost the records of another.

use std::collections::BTreeMap;
use std::ops::Range;

use minicbor::{Decoder, Encoder};
use twox_hash::XxHash3_128;

use super::key::Key;
use crate::record_set::RecordSet;

const NAME: &[u8] = b"fluent-bit-kinesis ledger ";
const VERSION: &[u8] = b"2\n";

const OPEN: u8 = 0;
const DONE: u8 = 1;
const REFUSED_ALONE: u8 = 2;
const GONE: u8 = 3;
const BEGUN: u8 = 4;

/// A note in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note<'a> {
    /// From here on, `id` means this chunk.
    Open { id: u64, key: Key },
    /// These records need not be sent again.
    Done { id: u64, records: &'a RecordSet },
    /// These records were refused alone.
    RefusedAlone { id: u64, records: &'a RecordSet },
    /// The chunk is forgotten.
    Gone { id: u64 },
    /// This many chunks have begun.
    Begun { id: u64 },
}

/// A chunk in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) key: Key,
    pub(super) done: RecordSet,
    pub(super) refused_alone: RecordSet,
}

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Empty or all zeros, as after a power failure.
    Empty,
    /// Not a ledger of any version.
    Foreign,
    /// A ledger that cannot be used, and why.
    Unusable(String),
    /// A ledger.
    Ledger(Read),
}

/// The content of a ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) seed: u64,
    pub(super) chunks: BTreeMap<u64, Chunk>,
    /// The highest id ever used in it.
    pub(super) last_id: u64,
    /// The size in bytes of a truncated last frame.
    pub(super) torn: usize,
}

fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot_with_seed(seed, bytes) as u64
}

/// The checksum of a part of the file at `place`.
fn checksum_at(place: u64, seed: u64, part: &[u8]) -> u64 {
    checksum(seed, &[&place.to_le_bytes(), part].concat())
}

/// Writes the header.
pub(super) fn write_header(out: &mut Vec<u8>, seed: u64, destination: &str) {
    out.extend_from_slice(NAME);
    out.extend_from_slice(VERSION);
    out.extend_from_slice(&seed.to_le_bytes());
    out.extend_from_slice(&(destination.len() as u32).to_le_bytes());
    out.extend_from_slice(destination.as_bytes());
    let sum = checksum_at(0, seed, out);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Writes a frame for the position `place` of the file.
pub(super) fn write_frame(out: &mut Vec<u8>, seed: u64, place: u64, note: &Note<'_>) {
    let start = out.len();
    // The checksum covers the position. It takes as many bytes as the frame's beginning, which then replaces it.
    out.extend_from_slice(&place.to_le_bytes());
    // Writing to memory cannot fail.
    let written = write_note(&mut Encoder::new(&mut *out), note);
    debug_assert!(written.is_ok());
    let (_, covered) = out.split_at_mut(start);
    let sum = checksum(seed, covered);
    if let Some((beginning, note)) = covered.split_first_chunk_mut() {
        *beginning = frame_beginning(seed, place, note.len() as u32);
    }
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The length of a note, and the checksum of that length.
fn frame_beginning(seed: u64, place: u64, length: u32) -> [u8; 8] {
    let sum = checksum_at(place, seed, &length.to_le_bytes());
    (u64::from(length) | sum << 32).to_le_bytes()
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_note(out: &mut Encoder<&mut Vec<u8>>, note: &Note<'_>) -> Written {
    match note {
        Note::Open { id, key } => {
            out.u8(OPEN)?.u64(*id)?.u64(key.length)?.bytes(&key.hash.to_le_bytes())?;
        }
        Note::Done { id, records } => write_records(out.u8(DONE)?.u64(*id)?, records)?,
        Note::RefusedAlone { id, records } => write_records(out.u8(REFUSED_ALONE)?.u64(*id)?, records)?,
        Note::Gone { id } => {
            out.u8(GONE)?.u64(*id)?;
        }
        Note::Begun { id } => {
            out.u8(BEGUN)?.u64(*id)?;
        }
    }
    Ok(())
}

/// Run-length encoded: the number of records skipped, then the number included.
fn write_records(out: &mut Encoder<&mut Vec<u8>>, records: &RecordSet) -> Written {
    let mut end = 0;
    for run in records.runs() {
        out.u32(run.start - end)?.u32(run.end - run.start)?;
        end = run.end;
    }
    Ok(())
}

/// Reads a file. It is a ledger only if it belongs to `destination`.
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
    (u64::from_le_bytes(*sum) == checksum_at(0, seed, covered)).then_some((seed, destination, rest))
}

/// Returns `None` if the file is damaged.
fn read_frames(bytes: &[u8], mut rest: &[u8], seed: u64) -> Option<Read> {
    let mut read = Read { seed, ..Read::default() };
    loop {
        let place = (bytes.len() - rest.len()) as u64;
        read.torn = rest.len();
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Some(read) };
        let Some((sum, after)) = after.split_first_chunk() else { return Some(read) };
        if u32::from_le_bytes(*sum) != checksum_at(place, seed, length) as u32 {
            return None;
        }
        let Some((note, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Some(read);
        };
        let Some((sum, after)) = after.split_first_chunk() else { return Some(read) };
        if u64::from_le_bytes(*sum) != checksum_at(place, seed, note) {
            return None;
        }
        read.note(note)?;
        rest = after;
    }
}

impl Read {
    /// Applies a note. Returns `None` if it is invalid.
    fn note(&mut self, note: &[u8]) -> Option<()> {
        let mut decoder = Decoder::new(note);
        let kind = decoder.u8().ok()?;
        let id = decoder.u64().ok()?;
        self.last_id = self.last_id.max(id);
        match kind {
            OPEN => {
                let length = decoder.u64().ok()?;
                let hash = u128::from_le_bytes(decoder.bytes().ok()?.try_into().ok()?);
                let chunk = Chunk { key: Key { length, hash }, ..Chunk::default() };
                self.chunks.insert(id, chunk).is_none().then_some(())
            }
            DONE => {
                let chunk = self.chunks.get_mut(&id)?;
                read_records(&mut decoder, chunk.key.length, |run| {
                    chunk.done.insert_run(run.clone());
                    chunk.refused_alone.remove_run(run);
                })
            }
            REFUSED_ALONE => {
                let chunk = self.chunks.get_mut(&id)?;
                let refused_alone = &mut chunk.refused_alone;
                read_records(&mut decoder, chunk.key.length, |run| {
                    refused_alone.extend(run.filter(|&record| !chunk.done.contains(record)));
                })
            }
            GONE => self.chunks.remove(&id).map(drop),
            BEGUN => Some(()),
            _ => None,
        }
    }
}

/// Reads runs. Returns `None` if a chunk of this length cannot have these records; each takes at least a byte.
fn read_records(decoder: &mut Decoder<'_>, chunk_length: u64, mut each: impl FnMut(Range<u32>)) -> Option<()> {
    let mut end = 0_u32;
    while decoder.position() < decoder.input().len() {
        let first = end.checked_add(decoder.u32().ok()?)?;
        end = first.checked_add(decoder.u32().ok()?)?;
        if u64::from(end) > chunk_length {
            return None;
        }
        each(first..end);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next version must be able to read existing files.
    #[test]
    fn the_bytes_of_a_file_are_what_they_always_were() {
        let records: RecordSet = [0, 1, 2, 7, 64, 65, 1000].into_iter().chain(300..500).collect();
        let notes = [
            Note::Begun { id: 300 },
            Note::Open { id: 301, key: Key { length: 5000, hash: 0x0123_4567_89ab_cdef_0011_2233_4455_6677 } },
            Note::Done { id: 301, records: &records },
            Note::RefusedAlone { id: 301, records: &RecordSet::from_iter([3]) },
            Note::Gone { id: 301 },
        ];
        let mut file = Vec::new();
        write_header(&mut file, 7, "stream logs");
        for note in &notes {
            let place = file.len() as u64;
            write_frame(&mut file, 7, place, note);
        }
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = [
            "666c75656e742d6269742d6b696e65736973206c656467657220320a07000000000000000b00000073747265616d206c6f67",
            "73a0ba549e2eb3670604000000d20dd2fe0419012c2bee06f4207a6f18180000004f84970f0019012d191388507766554433",
            "221100efcdab89674523018595117e45869b33130000002ffe5a9f0119012d0003040118380218ea18c81901f401b4cb1533",
            "54339727060000007dc972b50219012d0301026a1c835c4e201c04000000a85828670319012dd4d831545afa0ab5",
        ];
        assert_eq!(hex, expected.concat());
    }
}
