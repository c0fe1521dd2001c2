//! What Kinesis already has of the chunks that Fluent Bit will bring again.
//!
//! Fluent Bit retries whole chunks and gives them no id. So a chunk that is answered "retry" is remembered by its digest,
//! with one bit for each of its records that needs no sending any more. When the same bytes come again under the same
//! tag, only the others are sent. Chunks that are equal to the last byte may take each other's entry: as each entry is
//! used once, every record is still stored as often as it was handed over.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// What an entry takes beside its bits and its tag, in bytes, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// A set of record indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    words: Vec<u64>,
}

impl RecordSet {
    /// Adds a record.
    pub fn insert(&mut self, record: u32) {
        let (word, bit) = Self::place(record);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether a record is in it.
    pub fn contains(&self, record: u32) -> bool {
        let (word, bit) = Self::place(record);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    fn place(record: u32) -> (usize, u64) {
        ((record / 64) as usize, 1 << (record % 64))
    }
}

impl FromIterator<u32> for RecordSet {
    fn from_iter<I: IntoIterator<Item = u32>>(records: I) -> Self {
        let mut set = RecordSet::default();
        records.into_iter().for_each(|record| set.insert(record));
        set
    }
}

/// The chunks of one instance that are in retry.
#[derive(Debug)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    max_bytes: usize,
    file: Option<File>,
}

/// Where a ledger is kept over a restart.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Where the records went, so that nobody takes the file for another stream's.
    destination: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    tag: Vec<u8>,
    chunk_length: usize,
    digest: [u8; 16],
    settled: RecordSet,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD + self.tag.len() + 8 * self.settled.words.len()
    }
}

impl Ledger {
    /// An empty ledger of at most `max_bytes`; the oldest entries go first.
    pub fn new(max_bytes: usize) -> Self {
        Ledger { entries: VecDeque::new(), max_bytes, file: None }
    }

    /// A ledger that is kept in a file. Starts with what [`save`](Self::save) wrote there for the same `destination`; the
    /// result says why the file is of no use. What was read is removed: used twice it would lose records.
    pub fn with_file(max_bytes: usize, path: PathBuf, destination: String) -> (Self, Result<(), String>) {
        let file = File { path, destination };
        let read = file.read();
        let mut ledger = Ledger { file: Some(file), ..Self::new(max_bytes) };
        let loaded = read.map(|entries| ledger.entries = entries);
        (ledger, loaded)
    }

    /// How many chunks are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no chunk is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it takes, in bytes, roughly.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(Entry::bytes).sum()
    }

    /// Takes out what is known of a chunk. The chunk is read only when an entry has its tag and its length.
    pub fn take(&mut self, tag: &[u8], chunk: &[u8]) -> Option<RecordSet> {
        let alike = |entry: &Entry| entry.chunk_length == chunk.len() && entry.tag == tag;
        if !self.entries.iter().any(alike) {
            return None;
        }
        let digest = chunk_digest(tag, chunk);
        let position = self.entries.iter().position(|entry| alike(entry) && entry.digest == digest)?;
        self.entries.remove(position).map(|entry| entry.settled)
    }

    /// Remembers the records of a chunk that need no sending any more.
    pub fn keep(&mut self, tag: &[u8], chunk: &[u8], settled: RecordSet) {
        if settled.is_empty() {
            return;
        }
        let digest = chunk_digest(tag, chunk);
        self.entries.push_back(Entry { tag: tag.to_vec(), chunk_length: chunk.len(), digest, settled });
        let mut bytes = self.bytes();
        while bytes > self.max_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }

    /// Writes the ledger to its file, if it has one, whole or not at all. An empty ledger leaves no file.
    pub fn save(&self) -> Result<(), String> {
        match &self.file {
            Some(file) => file.write(&self.entries).map_err(|error| file.error("cannot be written", error)),
            None => Ok(()),
        }
    }
}

const HEADER: &[u8] = b"fluent-bit-kinesis ledger 1\n";

impl File {
    fn error(&self, what: &str, why: impl Display) -> String {
        format!("the ledger file {} {what}: {why}", self.path.display())
    }

    fn write(&self, entries: &VecDeque<Entry>) -> io::Result<()> {
        if entries.is_empty() {
            return self.remove();
        }
        let content = serde_json::to_vec(&(&self.destination, entries))?;
        let beside = self.path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(HEADER)?;
        file.write_all(digest(&SHA256, &content).as_ref())?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }

    fn read(&self) -> Result<VecDeque<Entry>, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
            Err(error) => return Err(self.error("cannot be read", error)),
        };
        let (destination, entries) = parse(&bytes).ok_or_else(|| self.error("is not used", "it is damaged"))?;
        if destination != self.destination {
            return Err(self.error("is not used", format!("it is of {destination}")));
        }
        // Before the entries are used: a file that stays would be read again at the next start.
        self.remove().map_err(|error| self.error("is not used, because it cannot be removed", error))?;
        Ok(entries)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(String, VecDeque<Entry>)> {
    let (checksum, content) = bytes.strip_prefix(HEADER)?.split_first_chunk::<32>()?;
    if digest(&SHA256, content).as_ref() != checksum {
        return None;
    }
    serde_json::from_slice(content).ok()
}

/// Half of a SHA-256: nobody finds two chunks with the same one, by chance or on purpose.
fn chunk_digest(tag: &[u8], chunk: &[u8]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(&tag.len().to_le_bytes());
    context.update(tag);
    context.update(chunk);
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn set(records: &[u32]) -> RecordSet {
        records.iter().copied().collect()
    }

    fn ledger() -> Ledger {
        Ledger::new(1 << 20)
    }

    #[test]
    fn an_entry_is_found_by_tag_and_bytes_and_used_once() {
        let mut ledger = ledger();
        ledger.keep(b"app", b"chunk", set(&[1, 70]));
        assert_eq!(ledger.take(b"app", b"other"), None);
        assert_eq!(ledger.take(b"web", b"chunk"), None);
        assert_eq!(ledger.take(b"app", b"chunk"), Some(set(&[1, 70])));
        assert_eq!(ledger.take(b"app", b"chunk"), None);
    }

    #[test]
    fn tag_and_chunk_are_not_mixed_up() {
        let mut ledger = ledger();
        ledger.keep(b"ap", b"pchunk", set(&[1]));
        ledger.entries[0].tag = b"app".to_vec();
        ledger.entries[0].chunk_length = 5;
        assert_eq!(ledger.take(b"app", b"chunk"), None);
    }

    #[test]
    fn chunks_with_the_same_bytes_each_have_their_entry() {
        let mut ledger = ledger();
        ledger.keep(b"app", b"chunk", set(&[1]));
        ledger.keep(b"app", b"chunk", set(&[2]));
        let taken = [ledger.take(b"app", b"chunk"), ledger.take(b"app", b"chunk"), ledger.take(b"app", b"chunk")];
        assert_eq!(taken, [Some(set(&[1])), Some(set(&[2])), None]);
    }

    #[test]
    fn a_chunk_of_which_nothing_is_settled_needs_no_entry() {
        let mut ledger = ledger();
        ledger.keep(b"app", b"chunk", set(&[]));
        assert!(ledger.is_empty());
    }

    #[test]
    fn the_bound_holds_and_the_oldest_go_first() {
        let mut ledger = Ledger::new(10_000);
        for number in 0..1000_u32 {
            ledger.keep(b"app", &number.to_le_bytes(), set(&[number]));
            assert!(ledger.bytes() <= 10_000);
        }
        assert!(ledger.len() > 30);
        assert!(ledger.take(b"app", &0_u32.to_le_bytes()).is_none());
        assert!(ledger.take(b"app", &999_u32.to_le_bytes()).is_some());
    }

    fn in_file(path: &Path, destination: &str) -> (Ledger, Result<(), String>) {
        Ledger::with_file(1 << 20, path.to_owned(), destination.to_owned())
    }

    #[test]
    fn a_ledger_is_read_back_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut written, _) = in_file(&path, "logs");
        written.keep(b"app", b"chunk", set(&[0, 500]));
        written.keep(b"\xff", b"", set(&[3]));
        written.save().unwrap();
        let (mut read, loaded) = in_file(&path, "logs");
        assert_eq!(loaded, Ok(()));
        assert_eq!(read.take(b"app", b"chunk"), Some(set(&[0, 500])));
        assert_eq!(read.take(b"\xff", b""), Some(set(&[3])));
        let (again, loaded) = in_file(&path, "logs");
        assert_eq!(loaded, Ok(()));
        assert!(again.is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_ledger_removes_an_older_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        fs::write(&path, "old").unwrap();
        in_file(&path, "logs").0.save().unwrap();
        assert!(!path.exists());
        in_file(&path, "logs").0.save().unwrap();
    }

    #[test]
    fn a_damaged_or_foreign_file_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut written, _) = in_file(&path, "logs");
        written.keep(b"app", b"chunk", set(&[0]));
        written.save().unwrap();
        let reason = in_file(&path, "other").1.unwrap_err();
        assert!(reason.ends_with("ledger is not used: it is of logs"), "{reason}");
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            fs::write(&path, &whole[..position]).unwrap();
            assert!(in_file(&path, "logs").1.is_err(), "cut at {position}");
            let mut flipped = whole.clone();
            flipped[position] ^= 1;
            fs::write(&path, &flipped).unwrap();
            let (ledger, loaded) = in_file(&path, "logs");
            assert!(loaded.is_err() && ledger.is_empty(), "flipped at {position}");
        }
    }

    proptest! {
        #[test]
        fn a_record_set_holds_what_was_inserted(records in proptest::collection::hash_set(0u32..5000, 0..300)) {
            let set = set(&records.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), records.len());
            prop_assert!((0..5100).all(|record| set.contains(record) == records.contains(&record)));
        }
    }
}
