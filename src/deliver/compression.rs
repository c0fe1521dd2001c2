//! The threads that compress blocks of lines, which costs more than all the rest of delivery.
//!
//! They know nothing of the host, nor of records: a block comes with all that it takes, and goes back when it is done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, oneshot};

use crate::compress::Compressor;
use crate::log::{Level, Logger};
use crate::pack::BlockJob;
use crate::record::Compression;

/// Stack of such a thread, in bytes: as much as the delivery thread has, which compresses too.
const STACK_BYTES: usize = 2 << 20;

/// Flushes that may have blocks compressed at a time, for each thread: it finds another when it is done with one.
const PLACES_PER_THREAD: usize = 2;

type Work = Box<dyn FnOnce(&mut Option<Compressor>) + Send>;

/// Threads that compress, of one output. Dropping it waits for them.
pub(crate) struct CompressionThreads {
    compression: Compression,
    /// `None` while it is dropped.
    work: Option<Sender<Work>>,
    handles: Vec<JoinHandle<()>>,
    /// Bounds the text that is compressed or waits for that.
    places: Semaphore,
}

impl CompressionThreads {
    /// Starts so many threads, or as many as there may be. If there may be none, says so and returns `None`.
    pub(crate) fn start(count: usize, compression: Compression, log: &Logger) -> Option<CompressionThreads> {
        let (work, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut handles = Vec::new();
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let builder = thread::Builder::new().name("kinesis-compress".to_owned()).stack_size(STACK_BYTES);
            match builder.spawn(move || serve(&queue)) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    let started = handles.len();
                    log.write(Level::Warn, || {
                        format!("only {started} of {count} threads for compression could be started: {error}")
                    });
                    break;
                }
            }
        }
        let places = Semaphore::new(PLACES_PER_THREAD * handles.len());
        (!handles.is_empty()).then_some(CompressionThreads { compression, work: Some(work), handles, places })
    }

    /// How many flushes may have blocks compressed at a time.
    pub(crate) fn places(&self) -> usize {
        PLACES_PER_THREAD * self.handles.len()
    }

    /// Waits for a place to have blocks compressed. First come, first served.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.places.acquire().await
    }

    /// Compresses a block. Returns `None` if the threads have ended.
    pub(crate) async fn compress(&self, mut block: BlockJob) -> Option<BlockJob> {
        let Compression { kind, level } = self.compression;
        self.run(move |compressor| {
            if compressor.is_none() {
                *compressor = Compressor::new(kind, level).ok();
            }
            // Without memory for an encoder the packer tries, record by record.
            if let Some(compressor) = compressor {
                block.run(compressor);
            }
            block
        })
        .await
    }

    /// Runs a call on one of the threads. If it panics, the caller does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Option<Compressor>) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let work: Work = Box::new(move |compressor| {
            if answer.is_closed() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| call(compressor)));
            if result.is_err() {
                // What was left half done is not used again.
                *compressor = None;
            }
            // Nobody may be waiting any more.
            drop(answer.send(result));
        });
        self.work.as_ref()?.send(work).ok()?;
        // As if this thread had done it: whoever contains its panics contains this one.
        Some(answered.await.ok()?.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl Drop for CompressionThreads {
    fn drop(&mut self) {
        self.work = None;
        // Each is done with its block at most: nobody waits for the others.
        self.handles.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// The body of a thread.
fn serve(queue: &Mutex<Receiver<Work>>) {
    let mut compressor = None;
    loop {
        let work = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = work else { return };
        work(&mut compressor);
    }
}
