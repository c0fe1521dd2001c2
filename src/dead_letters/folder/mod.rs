//! The files of dead letters in their folder.
//!
//! A file is created by one writer with the first line it has to write, and is never written to by another: outputs,
//! processes and a hot reload share a folder without agreeing on anything. Names begin with the time of creation, so
//! their order is that of age. When the folder is full, the oldest files are removed, except those that a living
//! writer has locked.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::error::{OpenError, Unusable};
use crate::chunk::EventTime;
use crate::clock::Clock;
use crate::record::time::{TimeFormat, TimeWriter};

/// A file takes this part of the folder's bound, so that removing the oldest costs few letters.
const FILES_IN_BOUND: u64 = 8;
/// Most files in a folder: a process that restarts all the time leaves small ones.
const MAX_FILES: usize = 1000;
/// The beginning of a file's name, the time in it, and its end.
const PREFIX: &str = "kinesis-";
const TIME_FORMAT: &str = "%Y%m%dT%H%M%S.%3NZ";
const SUFFIX: &str = ".jsonl";

/// A folder of dead letters, and the file that is being written.
pub(super) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
    /// In the names of this writer's files.
    id: u32,
    /// The number of files created so far.
    created: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    bytes: u64,
}

/// A file of dead letters, as found in the folder.
struct Found {
    name: OsString,
    bytes: u64,
    /// A living writer has it open.
    is_locked: bool,
}

impl Folder {
    /// Checks that files can be written in the folder; creates it if only its last part is missing.
    pub(super) fn open(path: PathBuf, max_bytes: u64, id: u32, clock: Arc<dyn Clock>) -> Result<Folder, OpenError> {
        let folder = Folder { path, max_bytes, clock, id, created: 0, open: None };
        match folder.probe() {
            Ok(()) => Ok(folder),
            Err(reason) => Err(OpenError { path: folder.path, reason }),
        }
    }

    fn probe(&self) -> Result<(), Unusable> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !fs::metadata(&self.path).is_ok_and(|found| found.is_dir()) {
                    return Err(Unusable::NotAFolder);
                }
            }
            created => created.map_err(Unusable::Missing)?,
        }
        let path = self.path.join(format!(".{PREFIX}{:08x}.probe", self.id));
        let written = create(&path).and_then(|mut file| file.write_all(b"\n"));
        let removed = fs::remove_file(&path);
        match written.and(removed) {
            // A full disk is not a mistake in the configuration.
            Err(error) if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(Unusable::Unwritable(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Most bytes of all files.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Most bytes of a file, unless it has a single longer line.
    pub(super) fn file_bytes(&self) -> u64 {
        self.max_bytes / FILES_IN_BOUND
    }

    /// Whether the current file takes so many bytes more.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let has_room = |open: &OpenFile| open.bytes + bytes as u64 <= self.file_bytes() && !is_deleted(&open.file);
        self.open.as_ref().is_some_and(has_room)
    }

    /// Creates the next file, for at least so many bytes. Returns the number of files removed for it.
    pub(super) fn begin(&mut self, bytes: usize) -> io::Result<usize> {
        let removed = self.make_room(self.file_bytes().max(bytes as u64))?;
        self.open = Some(OpenFile { file: self.create()?, bytes: 0 });
        Ok(removed)
    }

    /// Appends whole lines to the current file. After an error none of them is there.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(OpenFile { file, bytes }) = &mut self.open else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            // A line cut short would spoil the next one.
            if file.set_len(*bytes).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        *bytes += lines.len() as u64;
        Ok(())
    }

    /// Ends the current file, if any: it is on the disk when this returns.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(OpenFile { file, .. }) = self.open.take() else { return Ok(()) };
        file.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes the oldest files until there is room for `bytes` more. Returns their number.
    fn make_room(&self, bytes: u64) -> io::Result<usize> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = is_ours(entry.file_name())
                && let Ok(found) = entry.metadata()
                && found.is_file()
            {
                let is_locked = is_locked(&entry.path());
                // It may still grow.
                let bytes = if is_locked { found.len().max(self.file_bytes()) } else { found.len() };
                files.push(Found { name, bytes, is_locked });
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let (mut removed, mut left) = (0, files.len());
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| !file.is_locked) {
            if total.saturating_add(bytes) <= self.max_bytes && left < MAX_FILES {
                break;
            }
            if fs::remove_file(self.path.join(&file.name)).is_ok() {
                (removed, left) = (removed + 1, left - 1);
                total -= file.bytes;
            }
        }
        Ok(removed)
    }

    fn create(&mut self) -> io::Result<File> {
        self.created += 1;
        let name = format!("{PREFIX}{}-{:08x}-{:06}{SUFFIX}", self.time(), self.id, self.created);
        let file = create(&self.path.join(name))?;
        // Where locks are not supported, a file in use may be removed when the folder is full.
        drop(file.try_lock());
        Ok(file)
    }

    /// The time of day, for a name.
    fn time(&self) -> String {
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        let mut text = Vec::new();
        let format = TimeFormat::parse(TIME_FORMAT).unwrap_or_default();
        TimeWriter::new(&format).write(EventTime { seconds, nanoseconds: now.subsec_nanos() }, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Creates a file that only its owner may read: it holds log records.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// The name, if it is one of a file of dead letters.
fn is_ours(name: OsString) -> Option<OsString> {
    let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
    is_ours.then_some(name)
}

/// Whether somebody has removed it, so that what is written to it is lost.
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0)
}

/// Whether a living writer has it open.
fn is_locked(path: &Path) -> bool {
    // Opening a pipe would block otherwise.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests;
