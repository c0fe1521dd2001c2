//! The file of a ledger: what is settled is in it before anything else is sent.
//!
//! Notes are appended, one write each, without waiting for the disk: the system's cache outlives the process. The file is
//! rewritten under another name and renamed when it has grown, at the start and at the end; only the end waits for the disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::frame::{self, Content, Note, Read};
use super::key::Key;
use super::progress::Progress;
use crate::log::{Level, Logger};
use crate::record_set::RecordSet;

/// How far a file may grow beyond twice its size at the last rewrite.
const GROWTH: u64 = 1 << 20;

/// A larger file is not one of ours.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The pause after a failed write.
const PAUSE: Duration = Duration::from_secs(10);

/// How often to open a file that another process keeps replacing.
const OPENINGS: usize = 5;

/// A ledger's file.
pub(super) struct Journal {
    path: PathBuf,
    /// Where it is rewritten. Named after the seed, so that it cannot be another ledger's file.
    beside: PathBuf,
    /// Where the records went, so that the file is not used for another stream.
    destination: String,
    pub(super) seed: u64,
    log: Logger,
    state: RefCell<State>,
    this: Weak<Journal>,
}

struct State {
    /// Locked for as long as it is open.
    file: File,
    length: u64,
    /// From this length on it is rewritten.
    bound: u64,
    /// The chunks that count.
    live: BTreeMap<u64, Rc<Progress>>,
    last_id: u64,
    /// Set when a write failed: the file is empty, and this is when to try again.
    retry_at: Option<Instant>,
    frames: Vec<u8>,
}

impl Journal {
    /// Opens or makes the file, locks it, and writes it anew. Returns the chunks that it knows, the oldest first, too.
    /// The error is for whoever configured the path. Of a file that was made here, the seed is `new_seed`.
    pub(super) fn open(
        path: PathBuf,
        destination: String,
        new_seed: u64,
        log: Logger,
    ) -> Result<(Rc<Self>, Vec<Rc<Progress>>), String> {
        let (file, bytes) = open_locked(&path, &log).map_err(|why| format!("{} {why}", path.display()))?;
        let new = || Read { seed: new_seed, ..Read::default() };
        let read = match content(&bytes, &destination) {
            Content::Ledger(read) => read,
            Content::Empty => new(),
            Content::Foreign => return Err(format!("{} is not a ledger, and is left as it is", path.display())),
            Content::Unusable(why) => {
                log.write(Level::Warn, || {
                    let path = path.display();
                    format!("the ledger file {path} is not used: {why}; chunks that were in retry are sent whole")
                });
                new()
            }
        };
        if read.torn > 0 {
            log.write(Level::Info, || {
                let (path, torn) = (path.display(), read.torn);
                format!("the last note in the ledger file {path} is cut off after {torn} bytes, as after a crash; all before it is used")
            });
        }
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{:016x}.new", read.seed));
        let state = State {
            file,
            length: 0,
            bound: 0,
            live: BTreeMap::new(),
            last_id: read.last_id,
            retry_at: None,
            frames: Vec::new(),
        };
        let journal = Rc::new_cyclic(|this| Journal {
            path,
            beside: beside.into(),
            destination,
            seed: read.seed,
            log,
            state: RefCell::new(state),
            this: Weak::clone(this),
        });
        let chunk = |(id, known): (u64, frame::Known)| {
            let progress = Progress::noted_in(Weak::clone(&journal.this), id, known.key);
            journal.add(progress.with_known(known.settled, known.suspects))
        };
        let chunks = read.chunks.into_iter().map(chunk).collect();
        let written = journal.write_anew(&mut journal.state.borrow_mut(), false);
        match written {
            // A full disk is not a mistake in the configuration.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                journal.failed(&mut journal.state.borrow_mut(), &error);
            }
            Err(error) => return Err(format!("{} cannot be written: {error}", journal.path.display())),
            Ok(()) => {}
        }
        Ok((journal, chunks))
    }

    /// The highest number that a chunk ever had.
    pub(super) fn last_id(&self) -> u64 {
        self.state.borrow().last_id
    }

    /// A chunk of which nothing is known.
    pub(super) fn chunk(&self, id: u64, key: Key) -> Rc<Progress> {
        self.add(Progress::noted_in(Weak::clone(&self.this), id, key))
    }

    fn add(&self, progress: Progress) -> Rc<Progress> {
        let progress = Rc::new(progress);
        let mut state = self.state.borrow_mut();
        state.last_id = state.last_id.max(progress.id);
        state.live.insert(progress.id, Rc::clone(&progress));
        progress
    }

    /// Notes what `progress` knows already.
    pub(super) fn settled(&self, progress: &Progress, records: &RecordSet) {
        self.append(progress, &Note::Settled { id: progress.id, records });
    }

    /// The same, of suspects.
    pub(super) fn suspected(&self, progress: &Progress, records: &RecordSet) {
        self.append(progress, &Note::Suspected { id: progress.id, records });
    }

    /// Notes that nothing of a chunk counts any more.
    pub(super) fn gone(&self, progress: &Progress) {
        self.state.borrow_mut().live.remove(&progress.id);
        if progress.is_open_in_file.get() {
            self.append(progress, &Note::Gone { id: progress.id });
        }
    }

    fn append(&self, progress: &Progress, note: &Note<'_>) {
        let state = &mut *self.state.borrow_mut();
        let is_due = match state.retry_at {
            Some(at) if Instant::now() < at => return,
            Some(_) => true,
            None => {
                state.frames.clear();
                if !progress.is_open_in_file.replace(true) {
                    state.push(self.seed, &Note::Open { id: progress.id, key: progress.key });
                }
                state.push(self.seed, note);
                if let Err(error) = state.file.write_all(&state.frames) {
                    return self.failed(state, &error);
                }
                state.length += state.frames.len() as u64;
                state.length > state.bound
            }
        };
        if is_due && let Err(error) = self.write_anew(state, false) {
            self.failed(state, &error);
        }
    }

    /// Rewrites the file at the end, and waits until it is on the disk.
    pub(super) fn save(&self) -> Result<(), String> {
        let state = &mut *self.state.borrow_mut();
        let saved = match self.write_anew(state, true) {
            // What was appended is there all the same.
            Err(_) if state.retry_at.is_none() => state.file.sync_all(),
            saved => saved,
        };
        saved.map_err(|error| self.cannot_be_written(&error, ""))
    }

    /// Writes the file anew; `lasting` waits until it is on the disk.
    fn write_anew(&self, state: &mut State, lasting: bool) -> io::Result<()> {
        state.frames.clear();
        state.length = 0;
        frame::write_header(&mut state.frames, self.seed, &self.destination);
        state.push(self.seed, &Note::Begun { id: state.last_id });
        let live: Vec<Rc<Progress>> = state.live.values().map(Rc::clone).collect();
        for progress in &live {
            if !progress.is_empty() {
                let id = progress.id;
                state.push(self.seed, &Note::Open { id, key: progress.key });
                state.push(self.seed, &Note::Settled { id, records: &progress.settled() });
                state.push(self.seed, &Note::Suspected { id, records: &progress.suspects().records });
            }
        }
        let file = replace(&self.path, &self.beside, &state.frames, lasting)?;
        state.file = file;
        state.length = state.frames.len() as u64;
        state.bound = 2 * state.length + GROWTH;
        state.retry_at = None;
        state.frames.shrink_to(4096);
        live.iter().for_each(|progress| progress.is_open_in_file.set(!progress.is_empty()));
        Ok(())
    }

    /// Empties the file and warns: otherwise it could miss that a chunk is done.
    fn failed(&self, state: &mut State, error: &io::Error) {
        state.retry_at = Some(Instant::now() + PAUSE);
        let emptied = state.file.set_len(0).or_else(|_| fs::remove_file(&self.path));
        let also = emptied.err().map_or(String::new(), |error| [", ", &error.to_string()].concat());
        self.log.folded(Level::Warn, "ledger file", || self.cannot_be_written(error, &also));
    }

    fn cannot_be_written(&self, error: &io::Error, also: &str) -> String {
        let path = self.path.display();
        format!(
            "the ledger file {path} cannot be written: {error}{also}; chunks are sent whole if Fluent Bit ends before it is written"
        )
    }
}

impl State {
    /// Adds a frame to those that are written next.
    fn push(&mut self, seed: u64, note: &Note<'_>) {
        let place = self.length + self.frames.len() as u64;
        frame::write_frame(&mut self.frames, seed, place, note);
    }
}

fn content(bytes: &[u8], destination: &str) -> Content {
    match frame::read(bytes, destination) {
        Content::Ledger(_) if bytes.len() as u64 > MAX_FILE_BYTES => Content::Unusable("it is too large".to_owned()),
        content => content,
    }
}

/// Opens a file and locks it; makes it when there is none.
fn open_locked(path: &Path, log: &Logger) -> Result<(File, Vec<u8>), String> {
    let unusable = |error: io::Error| format!("cannot be used: {error}");
    let mut options = OpenOptions::new();
    // Non-blocking, in case it is a pipe.
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
    for _ in 0..OPENINGS {
        let mut file = options.open(path).map_err(unusable)?;
        let opened = file.metadata().map_err(unusable)?;
        if !opened.is_file() {
            return Err("cannot be used: it is not a file".to_owned());
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err("is used by another output: each needs its own".to_owned()),
            Err(TryLockError::Error(error)) => log.write(Level::Warn, || {
                format!("the ledger file {} cannot be locked: {error}; no other output may use it", path.display())
            }),
        }
        // The previous holder of the lock may have replaced the file.
        let is_in_place = |there: fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
        if fs::metadata(path).is_ok_and(is_in_place) {
            let mut bytes = Vec::new();
            let limit = MAX_FILE_BYTES + 1;
            (&mut file).take(limit).read_to_end(&mut bytes).map_err(unusable)?;
            return Ok((file, bytes));
        }
    }
    Err("is used by another output: each needs its own".to_owned())
}

/// Replaces the file at `path`, whole or not at all, and returns the new one, locked.
fn replace(path: &Path, beside: &Path, bytes: &[u8], lasting: bool) -> io::Result<File> {
    match fs::remove_file(beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let written = file.write_all(bytes).and_then(|()| if lasting { file.sync_all() } else { Ok(()) });
    // Where there are no locks, the log said so when the file was opened.
    drop(file.try_lock());
    if let Err(error) = written.and_then(|()| fs::rename(beside, path)) {
        drop(fs::remove_file(beside));
        return Err(error);
    }
    if lasting && let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
