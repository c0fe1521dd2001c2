//! System calls that may never return: names are looked up and files are read on threads of our own.
//!
//! The delivery thread waits for a result for a limited time and then continues without it; a hanging thread delays
//! nothing else. One thread is started with the output, so that a later shortage of threads does no harm. tokio's
//! pool would start one per call, panic if it cannot, and make calls wait for one another.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::log::duration;

/// Up to this many calls run concurrently; if all of them hang, others wait.
const MAX_THREADS: usize = 4;

/// Up to this many of them are calls of [`Blocking::run`], so that a stuck mount leaves threads for name look-ups.
const MAX_RUNS: usize = 2;

/// Stack of such a thread, in bytes: modules of the C library's resolver may need some.
const STACK_BYTES: usize = 1 << 20;

/// All threads but the first end after this long without work.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How long the exit waits for hanging calls. A thread that hangs longer uses nothing of ours but code, which stays
/// mapped (build.rs).
const EXIT_GRACE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one instance. Dropping the last clone waits for them.
#[derive(Clone)]
pub struct Blocking {
    threads: Arc<Threads>,
}

struct Threads {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    handles: Vec<JoinHandle<()>>,
    running: usize,
    idle: usize,
    is_closed: bool,
    /// Calls of [`Blocking::run`] that have not returned.
    runs: usize,
    /// Why the last attempt to start a thread failed.
    denied: Option<String>,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There is no thread for it.
    NoThread(String),
    /// It did not return within this time.
    Late(Duration),
    /// Too many calls are hanging already.
    Hanging,
    /// All threads were busy for this long; and why no more could be started, if so.
    Busy(Duration, Option<String>),
    /// The instance ends, or the call panicked.
    Ended,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::NoThread(reason) => write!(f, "no thread is available: {reason}"),
            Unanswered::Late(limit) => write!(f, "no answer within {}", duration(*limit)),
            Unanswered::Hanging => f.write_str("other calls are already hanging"),
            Unanswered::Busy(limit, None) => write!(f, "other calls hung for {}", duration(*limit)),
            Unanswered::Busy(limit, Some(denied)) => {
                write!(f, "other calls hung for {}, and no thread is available: {denied}", duration(*limit))
            }
            Unanswered::Ended => f.write_str("the call was abandoned"),
        }
    }
}

impl Blocking {
    /// Starts the first thread. If that fails, each call tries again.
    pub fn start() -> Blocking {
        let shared = Arc::new(Shared::default());
        shared.start_thread(&mut shared.lock());
        Blocking { threads: Arc::new(Threads { shared }) }
    }

    /// The result of `call`. A call that has not begun within `limit` never does.
    ///
    /// # Errors
    /// When there is no result within `limit`, or no thread.
    pub async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let run = Run::begin(&self.threads.shared).ok_or(Unanswered::Hanging)?;
        let (answer, answered) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        self.submit(Box::new(move || {
            begins.store(true, Ordering::Relaxed);
            // Dropped in reverse order, also by a panic: the call has been freed when its answer is seen.
            let answer = answer;
            let run = run;
            if !answer.is_closed() {
                let result = call();
                drop(run);
                // Nobody may be waiting any more.
                drop(answer.send(result));
            }
        }))?;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Unanswered::Ended),
            Err(_) if begun.load(Ordering::Relaxed) => Err(Unanswered::Late(limit)),
            Err(_) => Err(Unanswered::Busy(limit, self.denied())),
        }
    }

    /// Runs a call that delivers its own result.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn submit(&self, job: Job) -> Result<(), Unanswered> {
        let shared = &self.threads.shared;
        let mut queue = shared.lock();
        if queue.idle <= queue.jobs.len() && queue.running < MAX_THREADS {
            shared.start_thread(&mut queue);
        }
        if queue.running == 0 {
            let reason = queue.denied.clone().unwrap_or_default();
            // Dropping the job may take the lock.
            drop(queue);
            drop(job);
            return Err(Unanswered::NoThread(reason));
        }
        queue.jobs.push_back(job);
        drop(queue);
        shared.changed.notify_one();
        Ok(())
    }

    /// Why the last attempt to start a thread failed, if it did.
    pub fn denied(&self) -> Option<String> {
        self.threads.shared.lock().denied.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(self: &Arc<Self>, queue: &mut Queue) {
        queue.handles.retain(|handle| !handle.is_finished());
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name("kinesis-blocking".to_owned()).stack_size(STACK_BYTES);
        match builder.spawn(move || shared.work()) {
            Ok(handle) => {
                queue.running += 1;
                queue.handles.push(handle);
                queue.denied = None;
            }
            Err(error) => queue.denied = Some(error.to_string()),
        }
    }

    /// The body of a thread: runs calls until there are no more.
    fn work(self: Arc<Self>) {
        let _running = Running(&self);
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            let (woken, waited) = self.changed.wait_timeout(queue, IDLE_TIME).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() && queue.running > 1 {
                return None;
            }
        }
    }
}

/// A call of [`Blocking::run`], until it has returned or was abandoned before it began.
struct Run(Arc<Shared>);

impl Run {
    /// `None` when too many are hanging already.
    fn begin(shared: &Arc<Shared>) -> Option<Run> {
        let mut queue = shared.lock();
        (queue.runs < MAX_RUNS).then(|| queue.runs += 1)?;
        Some(Run(Arc::clone(shared)))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.lock().runs -= 1;
    }
}

/// A running thread. A call that panics ends it.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        // Dropping them tells their callers that they were abandoned.
        let (jobs, mut handles) = (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.handles));
        drop(queue);
        drop(jobs);
        self.shared.changed.notify_all();
        let deadline = Instant::now() + EXIT_GRACE;
        while !handles.is_empty() && Instant::now() < deadline {
            let (ended, others): (Vec<_>, Vec<_>) = handles.into_iter().partition(JoinHandle::is_finished);
            // The hook has reported a panic.
            ended.into_iter().for_each(|handle| drop(handle.join()));
            handles = others;
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    /// A call that hangs until the sender goes.
    fn hang(release: mpsc::Receiver<()>) -> impl FnOnce() + Send {
        move || assert!(release.recv().is_err(), "nothing is sent")
    }

    #[tokio::test]
    async fn calls_that_hang_hold_up_no_other_until_every_thread_has_one() {
        let blocking = Blocking::start();
        let mut releases = Vec::new();
        for _ in 0..MAX_THREADS {
            assert_eq!(blocking.run(LONG, || 7).await, Ok(7));
            let (sender, receiver) = mpsc::channel();
            releases.push(sender);
            blocking.submit(Box::new(hang(receiver))).unwrap();
        }
        assert_eq!(blocking.run(LIMIT, || 7).await, Err(Unanswered::Busy(LIMIT, None)));
        assert_eq!(blocking.threads.shared.lock().running, MAX_THREADS, "and no more");
        releases.pop();
        assert_eq!(blocking.run(LONG, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn files_that_hang_leave_threads_for_names() {
        let blocking = Blocking::start();
        let mut releases = Vec::new();
        for _ in 0..MAX_RUNS {
            let (sender, receiver) = mpsc::channel();
            releases.push(sender);
            assert_eq!(blocking.run(LIMIT, hang(receiver)).await, Err(Unanswered::Late(LIMIT)));
        }
        assert_eq!(blocking.run(LONG, || 7).await, Err(Unanswered::Hanging));
        let (answer, answered) = oneshot::channel();
        blocking.submit(Box::new(move || answer.send(7).unwrap())).unwrap();
        assert_eq!(answered.await, Ok(7));
        releases.clear();
        while blocking.run(LONG, || 7).await != Ok(7) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_one_that_was_given_up() {
        let blocking = Blocking::start();
        for _ in 0..3 {
            assert_eq!(blocking.run(LONG, || panic!("injected into a call")).await, Err::<(), _>(Unanswered::Ended));
        }
        assert_eq!(blocking.run(LONG, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn the_exit_waits_for_hanging_calls_but_not_forever() {
        let blocking = Blocking::start();
        let (release, receiver) = mpsc::channel::<()>();
        assert_eq!(blocking.run(LIMIT, hang(receiver)).await, Err(Unanswered::Late(LIMIT)));
        let shared = Arc::clone(&blocking.threads.shared);
        let begin = Instant::now();
        drop(blocking);
        assert!(begin.elapsed() >= EXIT_GRACE);
        assert_eq!(shared.lock().running, 1);
        drop(release);
    }

    #[tokio::test]
    async fn after_the_exit_no_thread_is_left() {
        let blocking = Blocking::start();
        assert_eq!(blocking.run(LONG, || 7).await, Ok(7));
        let shared = Arc::clone(&blocking.threads.shared);
        drop(blocking);
        assert_eq!(shared.lock().running, 0);
    }
}
