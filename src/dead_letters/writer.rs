//! The thread that writes dead letters: it encodes them and waits for the disk, so that delivery does neither.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::UnboundedSender;

use super::folder::Folder;
use super::letter::{Letter, LineWriter};

/// The JSON encoder recurses: as much as the delivery thread has.
const STACK_BYTES: usize = 2 << 20;

/// Lines are written together up to this size.
const BATCH_BYTES: usize = 1 << 20;

/// What became of letters.
#[derive(Debug)]
pub(super) enum Event {
    /// So many are in a file.
    Written(u64),
    /// So many could not be written.
    Lost(u64, io::Error),
    /// One line is longer than all files may be together.
    TooLong,
    /// So many of the oldest files were removed.
    Removed(usize),
    /// A complete file may not survive a loss of power.
    NotSynced(io::Error),
}

/// Starts the thread. It ends after the last letter, when their sender is gone.
pub(super) fn spawn(
    folder: Folder,
    letters: Receiver<Letter>,
    queued: Arc<AtomicUsize>,
    events: UnboundedSender<Event>,
) -> io::Result<JoinHandle<()>> {
    let writer = Writer { folder, letters, queued, events, lines: LineWriter::new() };
    thread::Builder::new().name("kinesis-letters".to_owned()).stack_size(STACK_BYTES).spawn(move || writer.run())
}

struct Writer {
    folder: Folder,
    letters: Receiver<Letter>,
    /// Memory of the letters in the queue, in bytes.
    queued: Arc<AtomicUsize>,
    events: UnboundedSender<Event>,
    lines: LineWriter,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Ok(letter) = self.letters.recv() {
            let mut next = Some(letter);
            while let Some(letter) = next {
                self.add(&letter, &mut batch);
                next = self.letters.try_recv().ok();
            }
            self.write(&mut batch);
        }
        self.finish();
    }

    /// Adds a letter's line to a batch, which is written first if it would become too large.
    fn add(&mut self, letter: &Letter, batch: &mut Vec<u8>) {
        let before = batch.len();
        self.lines.write(letter, batch);
        self.queued.fetch_sub(letter.bytes(), Ordering::Relaxed);
        if batch.len() as u64 > self.folder.file_bytes().min(BATCH_BYTES as u64) {
            let mut line = batch.split_off(before);
            self.write(batch);
            std::mem::swap(batch, &mut line);
        }
    }

    fn write(&mut self, batch: &mut Vec<u8>) {
        if batch.is_empty() {
            return;
        }
        if batch.len() as u64 > self.folder.max_bytes() {
            self.tell(Event::TooLong);
        } else {
            let lines = memchr::memchr_iter(b'\n', batch).count() as u64;
            let written = self.write_lines(batch);
            self.tell(match written {
                Ok(()) => Event::Written(lines),
                Err(error) => Event::Lost(lines, error),
            });
        }
        batch.clear();
        batch.shrink_to(BATCH_BYTES);
    }

    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.folder.has_room(lines.len()) {
            self.finish();
            let removed = self.folder.begin(lines.len())?;
            if removed > 0 {
                self.tell(Event::Removed(removed));
            }
        }
        self.folder.append(lines)
    }

    fn finish(&mut self) {
        if let Err(error) = self.folder.finish() {
            self.tell(Event::NotSynced(error));
        }
    }

    /// The output may have ended.
    fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }
}
