//! The file of a ledger. Progress is written to it before anything else is sent.
//!
//! Each note is appended by one `write`, without syncing: the system's cache outlives the process. At startup, at
//! shutdown and when it has grown, the file is rewritten under another name and renamed. Only the rewrite at shutdown
//! is synced to disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{OpenError, SaveError, UNWRITTEN, Unopened};
use super::frame::{self, Content, Note, Read};
use super::key::Key;
use super::known::Known;
use crate::log::{Level, Logger};
use crate::record_set::RecordSet;

/// How far a file may grow beyond twice its size at the last rewrite, in bytes.
const GROWTH: u64 = 1 << 20;

/// A larger file cannot be one of ours.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The pause after a failed write.
const PAUSE: Duration = Duration::from_secs(10);

/// How many times to try opening a file that another process keeps replacing.
const OPENINGS: usize = 5;

/// A ledger's file.
pub(super) struct Journal {
    path: PathBuf,
    /// Where it is rewritten. The name contains the seed, so it cannot be another ledger's file.
    temporary: PathBuf,
    /// Where the records go, so that the file is not used for another stream.
    destination: String,
    pub(super) seed: u64,
    log: Logger,
    state: RefCell<State>,
}

struct State {
    /// Locked while open.
    file: File,
    length: u64,
    /// Rewritten when longer than this, in bytes.
    bound: u64,
    /// The chunks that still count, by id.
    live: BTreeMap<u64, Rc<Known>>,
    last_id: u64,
    /// When to try again after a failed write. The file is empty until then.
    retry_at: Option<Instant>,
    /// The frames to write next.
    frames: Vec<u8>,
}

impl Journal {
    /// Opens or creates the file, locks and rewrites it. Also returns the chunks in it, oldest first. `new_seed` is
    /// for a new file.
    ///
    /// # Errors
    ///
    /// The path cannot be used; the text is for the person who configured it.
    pub(super) fn open(
        path: PathBuf,
        destination: String,
        new_seed: u64,
        log: Logger,
    ) -> Result<(Rc<Self>, Vec<Rc<Known>>), OpenError> {
        let opened = open_locked(&path, &log).and_then(|(file, bytes)| {
            let read = read(&bytes, &path, &destination, new_seed, &log)?;
            Ok((file, read))
        });
        let (file, read) = opened.map_err(|reason| OpenError { path: path.clone(), reason })?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{:016x}.new", read.seed));
        let state = State {
            file,
            length: 0,
            bound: 0,
            live: BTreeMap::new(),
            last_id: read.last_id,
            retry_at: None,
            frames: Vec::new(),
        };
        let (temporary, seed, state) = (temporary.into(), read.seed, RefCell::new(state));
        let journal = Rc::new(Journal { path, temporary, destination, seed, log, state });
        let chunk = |(id, frame::Chunk { key, done, refused_alone })| {
            journal.add(Known::new(id, key).with_records(done, refused_alone))
        };
        let chunks = read.chunks.into_iter().map(chunk).collect();
        let written = journal.rewrite(&mut journal.state.borrow_mut(), false);
        match written {
            // A full disk is not a configuration error.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                journal.failed(&mut journal.state.borrow_mut(), &error);
            }
            Err(error) => {
                let path = journal.path.clone();
                return Err(OpenError { path, reason: Unopened::Unwritable(error) });
            }
            Ok(()) => {}
        }
        Ok((journal, chunks))
    }

    /// The highest id that any chunk has had.
    pub(super) fn last_id(&self) -> u64 {
        self.state.borrow().last_id
    }

    /// Starts tracking a chunk of which nothing is known.
    pub(super) fn chunk(&self, id: u64, key: Key) -> Rc<Known> {
        self.add(Known::new(id, key))
    }

    fn add(&self, known: Known) -> Rc<Known> {
        let known = Rc::new(known);
        let mut state = self.state.borrow_mut();
        state.last_id = state.last_id.max(known.id);
        state.live.insert(known.id, Rc::clone(&known));
        known
    }

    /// Notes records that `known` marks as done.
    pub(super) fn note_done(&self, known: &Known, records: &RecordSet) {
        self.append(known, &Note::Done { id: known.id, records });
    }

    /// Notes records that `known` marks as refused alone.
    pub(super) fn note_refused_alone(&self, known: &Known, records: &RecordSet) {
        self.append(known, &Note::RefusedAlone { id: known.id, records });
    }

    /// Notes that a chunk is forgotten.
    pub(super) fn note_gone(&self, known: &Known) {
        self.state.borrow_mut().live.remove(&known.id);
        if known.is_named_in_file.get() {
            self.append(known, &Note::Gone { id: known.id });
        }
    }

    fn append(&self, known: &Known, note: &Note<'_>) {
        let state = &mut *self.state.borrow_mut();
        let is_due = match state.retry_at {
            Some(at) if Instant::now() < at => return,
            Some(_) => true,
            None => {
                state.frames.clear();
                if !known.is_named_in_file.replace(true) {
                    state.push(self.seed, &Note::Open { id: known.id, key: known.key });
                }
                state.push(self.seed, note);
                if let Err(error) = state.file.write_all(&state.frames) {
                    return self.failed(state, &error);
                }
                state.length += state.frames.len() as u64;
                state.length > state.bound
            }
        };
        if is_due && let Err(error) = self.rewrite(state, false) {
            self.failed(state, &error);
        }
    }

    /// Rewrites the file at shutdown and syncs it to disk.
    ///
    /// # Errors
    ///
    /// It cannot be written; the text is a line for the log.
    pub(super) fn save(&self) -> Result<(), SaveError> {
        let state = &mut *self.state.borrow_mut();
        let saved = match self.rewrite(state, true) {
            // What was appended is still there.
            Err(_) if state.retry_at.is_none() => state.file.sync_all(),
            saved => saved,
        };
        saved.map_err(|error| SaveError { path: self.path.clone(), error })
    }

    /// Replaces the file by one with only what still counts; `lasting` syncs it to disk.
    fn rewrite(&self, state: &mut State, lasting: bool) -> io::Result<()> {
        state.frames.clear();
        state.length = 0;
        frame::write_header(&mut state.frames, self.seed, &self.destination);
        state.push(self.seed, &Note::Begun { id: state.last_id });
        let live: Vec<Rc<Known>> = state.live.values().map(Rc::clone).collect();
        for known in live.iter().filter(|known| !known.is_empty()) {
            let id = known.id;
            state.push(self.seed, &Note::Open { id, key: known.key });
            state.push(self.seed, &Note::Done { id, records: &known.done.borrow() });
            state.push(self.seed, &Note::RefusedAlone { id, records: &known.refused_alone.borrow().records });
        }
        let file = replace(&self.path, &self.temporary, &state.frames, lasting)?;
        state.file = file;
        state.length = state.frames.len() as u64;
        state.bound = 2 * state.length + GROWTH;
        state.retry_at = None;
        state.frames.shrink_to(4096);
        live.iter().for_each(|known| known.is_named_in_file.set(!known.is_empty()));
        Ok(())
    }

    /// Empties the file and warns. Otherwise it would miss chunks that are done from now on.
    fn failed(&self, state: &mut State, error: &io::Error) {
        state.retry_at = Some(Instant::now() + PAUSE);
        let emptied = state.file.set_len(0).or_else(|_| fs::remove_file(&self.path));
        let also = emptied.err().map_or(String::new(), |error| [", ", &error.to_string()].concat());
        let path = self.path.display();
        self.log.folded(Level::Warn, "ledger file", || {
            format!("the ledger file {path} cannot be written: {error}{also}{UNWRITTEN}")
        });
    }
}

impl State {
    /// Adds a frame to those to write next.
    fn push(&mut self, seed: u64, note: &Note<'_>) {
        let place = self.length + self.frames.len() as u64;
        frame::write_frame(&mut self.frames, seed, place, note);
    }
}

/// Reads the file's content, and logs what of it cannot be used.
fn read(bytes: &[u8], path: &Path, destination: &str, new_seed: u64, log: &Logger) -> Result<Read, Unopened> {
    let new = || Read { seed: new_seed, ..Read::default() };
    let path = path.display();
    let content = match frame::read(bytes, destination) {
        Content::Ledger(_) if bytes.len() as u64 > MAX_FILE_BYTES => Content::Unusable("it is too large".to_owned()),
        content => content,
    };
    let read = match content {
        Content::Ledger(read) => read,
        Content::Empty => new(),
        Content::Foreign => return Err(Unopened::Foreign),
        Content::Unusable(why) => {
            log.write(Level::Warn, || {
                format!("the ledger file {path} is ignored: {why}; chunks awaiting retry will be sent whole")
            });
            new()
        }
    };
    if read.torn > 0 {
        let torn = read.torn;
        log.write(Level::Info, || {
            format!("the last note in the ledger file {path} is truncated after {torn} bytes, as after a crash; everything before it is used")
        });
    }
    Ok(read)
}

/// Opens and locks a file; creates it if there is none.
fn open_locked(path: &Path, log: &Logger) -> Result<(File, Vec<u8>), Unopened> {
    let mut options = OpenOptions::new();
    // Opening a pipe would block otherwise.
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
    for _ in 0..OPENINGS {
        let mut file = options.open(path).map_err(Unopened::Unusable)?;
        let opened = file.metadata().map_err(Unopened::Unusable)?;
        if !opened.is_file() {
            return Err(Unopened::NotAFile);
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unopened::InUse),
            Err(TryLockError::Error(error)) => log.write(Level::Warn, || {
                format!("the ledger file {} cannot be locked: {error}; no other output may use it", path.display())
            }),
        }
        // The previous holder of the lock may have replaced the file.
        let is_in_place = |there: fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
        if fs::metadata(path).is_ok_and(is_in_place) {
            let mut bytes = Vec::new();
            let limit = MAX_FILE_BYTES + 1;
            (&mut file).take(limit).read_to_end(&mut bytes).map_err(Unopened::Unusable)?;
            return Ok((file, bytes));
        }
    }
    Err(Unopened::InUse)
}

/// Replaces the file at `path` atomically. Returns the new file, locked.
fn replace(path: &Path, temporary: &Path, bytes: &[u8], lasting: bool) -> io::Result<File> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let written = file.write_all(bytes).and_then(|()| if lasting { file.sync_all() } else { Ok(()) });
    // If locking is unsupported, the log already said so when the file was opened.
    drop(file.try_lock());
    if let Err(error) = written.and_then(|()| fs::rename(temporary, path)) {
        drop(fs::remove_file(temporary));
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
