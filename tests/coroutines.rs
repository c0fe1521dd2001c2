//! Flushes on coroutines wait side by side on one thread, as the host's own outputs do.
//!
//! The host here has coroutines and an event loop like Fluent Bit's, made of `ucontext(3)` and `epoll(7)`, under its names.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "switches stacks and is called by C functions as the host is")]

#[path = "support/host/mod.rs"]
mod host;

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard};
use std::{mem, ptr, thread};

use host::library::{Definition, Library, built_plugin};
use host::log;
use host::output::{Output, set_environment};
use kinesis::abi::bindings::{FLB_OK, FLB_RETRY, MK_EVENT_CUSTOM, flb_coro, mk_event};

const FLUSHES: usize = 20;

#[test]
fn flushes_of_one_thread_wait_side_by_side() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flushes = (0..FLUSHES).map(|_| host.flush(&output)).collect::<Vec<_>>();
    assert!(flushes.iter().all(|flush| flush.answer().is_none()), "none waits in the thread");
    assert!(host.events() > 0, "the event loop knows of them");
    server.close();
    host.run_until(|| flushes.iter().all(|flush| flush.answer().is_some()));
    assert!(flushes.iter().all(|flush| flush.answer() == Some(FLB_RETRY)));
    assert_eq!(host.events(), 0, "the event loop is left as it was");
    assert_eq!(output.exit(&host.library), FLB_OK);
    host.stop();
}

#[test]
fn a_host_that_was_built_for_valgrind_is_understood() {
    let host = Host::start(Form::ForValgrind);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flush = host.flush(&output);
    assert_eq!(flush.answer(), None);
    server.close();
    host.run_until(|| flush.answer().is_some());
    output.exit(&host.library);
    host.stop();
}

#[test]
fn a_coroutine_of_another_form_waits_in_its_thread() {
    let host = Host::start(Form::Unknown);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    server.close();
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    output.exit(&host.library);
    host.stop();
}

#[test]
fn an_event_loop_that_takes_no_event_makes_the_flush_wait_in_its_thread() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    LOOP.with_borrow_mut(|event_loop| event_loop.as_mut().unwrap().is_broken = true);
    server.close();
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    output.exit(&host.library);
    host.stop();
}

/// A grace that ends, without workers.
#[test]
fn an_exit_does_not_wait_for_flushes_that_the_host_never_continues() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flush = host.flush(&output);
    assert_eq!(flush.answer(), None);
    assert_eq!(output.exit(&host.library), FLB_OK);
    assert_eq!(flush.answer(), None);
    server.close();
    host.stop();
}

/// Lines come from the delivery thread, and the host takes them from its own threads alone.
#[test]
fn what_is_logged_meanwhile_is_written_by_the_flush() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    log::take();
    let flush = host.flush(&output);
    server.close();
    host.run_until(|| flush.answer().is_some());
    let lines = log::take();
    assert!(lines.iter().any(|(_, line)| line.contains("left to Fluent Bit's retry")), "{lines:?}");
    output.exit(&host.library);
    host.stop();
}

/// Accepts connections and says nothing, until it closes them all.
struct Server {
    endpoint: String,
    close: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (close, closed) = mpsc::channel();
        let thread = thread::spawn(move || {
            // Connections wait in the listener's queue; with it they all end.
            closed.recv().ok();
            drop(listener);
        });
        Server { endpoint, close, thread }
    }

    fn close(self) {
        self.close.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// How the host's coroutine looks from outside.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Usual,
    ForValgrind,
    Unknown,
}

struct Host {
    library: Library,
    definition: Definition,
    form: Form,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Host {
    fn start(form: Form) -> Host {
        static ONE: Mutex<()> = Mutex::new(());
        let guard = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        log::collect();
        // SAFETY: the plugin is not running, and the other tests wait.
        unsafe { set_environment() };
        LOOP.set(Some(EventLoop::new()));
        let library = Library::open(&built_plugin().unwrap()).unwrap();
        let definition = library.register(0).unwrap();
        Host { library, definition, form, _one_at_a_time: guard }
    }

    fn output(&self, endpoint: &str) -> Box<Output> {
        let properties = [
            ("stream", "logs"),
            ("region", "eu-west-1"),
            ("endpoint", endpoint),
            ("retries_on_batch_request", "0"),
            ("auto_retry_requests", "off"),
        ];
        let mut output = Output::new("kinesis.0", &properties).unwrap();
        assert_eq!(output.init(&self.library), 1, "{:?}", log::take());
        output
    }

    /// Starts a flush on a coroutine, and comes back when it ends or waits.
    fn flush(&self, output: &Output) -> Box<Coroutine> {
        let coroutine = Coroutine::new(self.form, self.library.flush_ctx, output.context());
        let address = ptr::from_ref(&*coroutine).cast_mut();
        resume(address);
        coroutine
    }

    fn events(&self) -> usize {
        LOOP.with_borrow(|event_loop| event_loop.as_ref().unwrap().events)
    }

    fn run_until(&self, is_done: impl Fn() -> bool) {
        let epoll = LOOP.with_borrow(|event_loop| event_loop.as_ref().unwrap().epoll.as_raw_fd());
        while !is_done() {
            // SAFETY: the structure is plain numbers.
            let mut found: libc::epoll_event = unsafe { mem::zeroed() };
            // SAFETY: room for one event.
            let count = unsafe { libc::epoll_wait(epoll, &mut found, 1, 60_000) };
            assert_eq!(count, 1, "no event for a minute");
            let event = found.u64 as *mut mk_event;
            // SAFETY: the plugin's event, which is in the loop.
            let (kind, handler) = unsafe { ((*event).type_, (*event).handler.unwrap()) };
            assert_eq!(kind, MK_EVENT_CUSTOM);
            // SAFETY: as Fluent Bit calls it.
            unsafe { handler(event.cast()) };
        }
    }

    fn stop(self) {
        self.library.unregister(self.definition);
        LOOP.set(None);
    }
}

type Flush = unsafe extern "C" fn(*mut c_void, *const c_void, usize, *const std::ffi::c_char) -> c_int;

/// A coroutine of the host with a flush on it.
#[repr(C)]
struct Coroutine {
    /// What the plugin sees of it.
    head: [usize; 4],
    contexts_at: usize,
    context: UnsafeContext,
    stack: Vec<u8>,
    flush: Flush,
    instance: *mut c_void,
    answer: Cell<Option<c_int>>,
}

type UnsafeContext = Box<std::cell::UnsafeCell<libc::ucontext_t>>;

const STACK_BYTES: usize = 64 << 10;

impl Coroutine {
    fn new(form: Form, flush: Flush, instance: *mut c_void) -> Box<Coroutine> {
        // SAFETY: plain memory, which getcontext fills.
        let mut context: libc::ucontext_t = unsafe { mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::getcontext(&mut context) };
        let mut stack = vec![0_u8; STACK_BYTES];
        context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        context.uc_stack.ss_size = stack.len();
        let contexts_at = usize::from(form == Form::ForValgrind);
        let context = Box::new(std::cell::UnsafeCell::new(context));
        let mut coroutine =
            Box::new(Coroutine { head: [0; 4], contexts_at, context, stack, flush, instance, answer: Cell::new(None) });
        let callee = coroutine.context.get();
        if form != Form::Unknown {
            *coroutine.head.get_mut(contexts_at + 1).unwrap() = callee as usize;
        }
        // SAFETY: the context was filled and has its stack; the function takes nothing.
        unsafe { libc::makecontext(callee, run_flush, 0) };
        assert_eq!(coroutine.stack.len(), STACK_BYTES);
        coroutine
    }

    fn answer(&self) -> Option<c_int> {
        self.answer.get()
    }
}

/// Starts a coroutine as the host does.
fn resume(coroutine: *mut Coroutine) {
    // SAFETY: it lives, and nothing else uses its head.
    unsafe {
        flb_coro_set(coroutine.cast());
        let caller = co_active();
        let contexts = (&raw mut (*coroutine).head).cast::<usize>().add((*coroutine).contexts_at);
        (*contexts.cast::<flb_coro>()).caller = caller;
        CALLER.set(caller);
        co_switch((*coroutine).context.get().cast());
    }
}

extern "C" fn run_flush() {
    let coroutine = RUNNING.get().cast::<Coroutine>();
    let chunk = b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80";
    // SAFETY: the coroutine lives while it runs, and so does its output.
    unsafe {
        let answer =
            ((*coroutine).flush)((*coroutine).instance, chunk.as_ptr().cast(), chunk.len(), c"app.log".as_ptr());
        assert_eq!(RUNNING.get(), coroutine.cast(), "the host was told which one goes on");
        (*coroutine).answer.set(Some(answer));
        // Never continued.
        co_switch(CALLER.get());
    }
}

struct EventLoop {
    epoll: OwnedFd,
    events: usize,
    is_broken: bool,
}

impl EventLoop {
    fn new() -> EventLoop {
        // SAFETY: makes a descriptor that nobody else knows.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        EventLoop { epoll, events: 0, is_broken: false }
    }
}

thread_local! {
    static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
    static RUNNING: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static ACTIVE: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static CALLER: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static MAIN: Box<std::cell::UnsafeCell<libc::ucontext_t>> =
        // SAFETY: plain memory, which swapcontext fills.
        Box::new(std::cell::UnsafeCell::new(unsafe { mem::zeroed() }));
}

#[unsafe(no_mangle)]
extern "C" fn co_active() -> *mut c_void {
    if ACTIVE.get().is_null() {
        ACTIVE.set(MAIN.with(|main| main.get().cast()));
    }
    ACTIVE.get()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn co_switch(context: *mut c_void) {
    let from = co_active();
    ACTIVE.set(context);
    // SAFETY: both are contexts of this thread.
    unsafe { libc::swapcontext(from.cast(), context.cast()) };
}

#[unsafe(no_mangle)]
extern "C" fn flb_coro_get() -> *mut c_void {
    RUNNING.get()
}

#[unsafe(no_mangle)]
extern "C" fn flb_coro_set(coroutine: *mut c_void) {
    RUNNING.set(coroutine);
}

#[unsafe(no_mangle)]
extern "C" fn flb_engine_evl_get() -> *mut c_void {
    LOOP.with(|event_loop| ptr::from_ref(event_loop).cast_mut().cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mk_event_add(
    _loop: *mut c_void,
    fd: c_int,
    kind: c_int,
    mask: c_uint,
    event: *mut c_void,
) -> c_int {
    LOOP.with_borrow_mut(|event_loop| {
        let event_loop = event_loop.as_mut().unwrap();
        if event_loop.is_broken {
            return -1;
        }
        let event = event.cast::<mk_event>();
        // SAFETY: an event that lives until it is taken out.
        unsafe { ((*event).fd, (*event).type_, (*event).mask, (*event).status) = (fd, kind, mask, 2) };
        let mut wanted = libc::epoll_event { events: libc::EPOLLIN as u32, u64: event as u64 };
        event_loop.events += 1;
        // SAFETY: both descriptors are open.
        unsafe { libc::epoll_ctl(event_loop.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut wanted) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mk_event_del(_loop: *mut c_void, event: *mut mk_event) -> c_int {
    LOOP.with_borrow_mut(|event_loop| {
        let event_loop = event_loop.as_mut().unwrap();
        event_loop.events -= 1;
        // SAFETY: an event that is in the loop.
        let fd = unsafe { (*event).fd };
        // SAFETY: both descriptors are open.
        unsafe { libc::epoll_ctl(event_loop.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) }
    })
}
