//! A host with coroutines and an event loop like Fluent Bit's, built on `ucontext(3)` and `epoll(7)`.
//!
//! [`export_event_loop`](crate::export_event_loop) puts them under the host's names.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{c_int, c_uint, c_void};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::MutexGuard;
use std::sync::mpsc;
use std::{mem, ptr, thread};

use super::bindings::{MK_EVENT_CUSTOM, flb_config, flb_coro, flb_output_flush, mk_event};

use super::library::{Definition, Library, built_plugin};
use super::log;
use super::output::{Output, set_environment};
use super::vectors;

/// Accepts connections and sends nothing, until it closes them all.
pub struct Server {
    pub endpoint: String,
    close: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (close, closed) = mpsc::channel();
        let thread = thread::spawn(move || {
            // Connections wait in the listener's queue and end with it.
            closed.recv().ok();
            drop(listener);
        });
        Server { endpoint, close, thread }
    }

    pub fn close(self) {
        self.close.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// The layout of the host's structures.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Usual,
    /// Coroutines have an extra word at the beginning.
    ForValgrind,
    /// Coroutines have a different layout.
    Unknown,
    /// Events have an extra word before their handler.
    LongerEvents,
    /// The owner of a coroutine has a different layout.
    LongerFlush,
}

pub struct Host {
    pub library: Library,
    definition: Definition,
    form: Form,
    /// The beginning of the host's configuration.
    pub config: Box<UnsafeCell<flb_config>>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Host {
    pub fn start(form: Form) -> Host {
        let guard = super::one_at_a_time();
        log::collect();
        // SAFETY: the plugin is not running, and the other tests wait.
        unsafe { set_environment() };
        LOOP.set(Some(EventLoop::new(form)));
        let config = flb_config {
            channel_fd: 3,
            channel_type: 0,
            channel_mask: 1,
            channel_status: 2,
            channel_rest: [0; 7],
            support_mode: 0,
            is_ingestion_active: 1,
            is_shutting_down: 0,
            is_running: 1,
        };
        let library = Library::open(&built_plugin().unwrap()).unwrap();
        let definition = library.register(0).unwrap();
        Host { library, definition, form, config: Box::new(UnsafeCell::new(config)), _one_at_a_time: guard }
    }

    pub fn output(&self, endpoint: &str) -> Box<Output> {
        self.output_with(endpoint, &[])
    }

    /// Like [`Host::output`], with more properties.
    pub fn output_with(&self, endpoint: &str, more: &[(&str, &str)]) -> Box<Output> {
        let properties = [
            ("stream", "logs"),
            ("region", "eu-west-1"),
            ("endpoint", endpoint),
            ("retries_on_batch_request", "0"),
            ("auto_retry_requests", "off"),
        ];
        let mut output = Output::new("kinesis.0", &[&properties, more].concat()).unwrap();
        assert_eq!(output.init(&self.library), 1, "{:?}", log::take());
        output
    }

    /// Starts a flush of a chunk of one event, its own, on a coroutine. Returns when it ends or waits.
    pub fn flush(&self, output: &Output) -> Box<Coroutine> {
        self.flush_lent(output, Lent::Own(EVENT.to_vec()))
    }

    /// Like [`Host::flush`]; the bytes are a chunk's, and a tag's with its NUL.
    pub fn flush_chunk(&self, output: &Output, chunk: *const [u8], tag: *const [u8]) -> Box<Coroutine> {
        self.flush_lent(output, Lent::Others(chunk, tag))
    }

    fn flush_lent(&self, output: &Output, lent: Lent) -> Box<Coroutine> {
        let mut coroutine = Coroutine::new(self.form, self.library.flush_ctx, output.context(), lent);
        coroutine.belongs_to.config = self.config.get();
        coroutine.belongs_to.instance = ptr::from_ref(output).cast_mut().cast();
        let address = ptr::from_ref(&*coroutine).cast_mut();
        resume(address);
        coroutine
    }

    pub fn events(&self) -> usize {
        LOOP.with_borrow(|event_loop| event_loop.as_ref().unwrap().events)
    }

    pub fn run_until(&self, is_done: impl Fn() -> bool) {
        let epoll = LOOP.with_borrow(|event_loop| event_loop.as_ref().unwrap().epoll.as_raw_fd());
        while !is_done() {
            // SAFETY: the structure is plain numbers.
            let mut found: libc::epoll_event = unsafe { mem::zeroed() };
            // SAFETY: room for one event.
            let count = unsafe { libc::epoll_wait(epoll, &mut found, 1, 60_000) };
            assert_eq!(count, 1, "no event for a minute");
            let event = found.u64 as *mut mk_event;
            // An extra member before the handler moves it by a word.
            let moved = usize::from(self.form == Form::LongerEvents);
            // SAFETY: the plugin's event, which is in the loop, and followed by room.
            let (kind, handler) =
                unsafe { ((*event).type_, (*event.cast::<usize>().add(moved).cast::<mk_event>()).handler) };
            let handler = handler.unwrap();
            assert_eq!(kind, MK_EVENT_CUSTOM);
            // SAFETY: as Fluent Bit calls it.
            vectors::preserving(|| unsafe { handler(event.cast()) });
        }
    }

    pub fn stop(self) {
        self.library.unregister(self.definition);
        LOOP.set(None);
    }
}

type Flush = unsafe extern "C" fn(*mut c_void, *const c_void, usize, *const std::ffi::c_char) -> c_int;

/// A coroutine of the host that runs a flush.
#[repr(C)]
pub struct Coroutine {
    /// The part that the plugin sees.
    head: [usize; 4],
    contexts_at: usize,
    context: UnsafeContext,
    stack: Vec<u8>,
    flush: Flush,
    instance: *mut c_void,
    lent: Lent,
    belongs_to: flb_output_flush,
    answer: Cell<Option<c_int>>,
}

/// What a flush lends to the plugin.
enum Lent {
    /// A chunk that lives as long as the coroutine.
    Own(Vec<u8>),
    /// A chunk and a tag that others may free meanwhile.
    Others(*const [u8], *const [u8]),
}

type UnsafeContext = Box<UnsafeCell<libc::ucontext_t>>;

const STACK_BYTES: usize = 64 << 10;

impl Coroutine {
    fn new(form: Form, flush: Flush, instance: *mut c_void, lent: Lent) -> Box<Coroutine> {
        // SAFETY: plain memory, which getcontext fills.
        let mut context: libc::ucontext_t = unsafe { mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::getcontext(&mut context) };
        let mut stack = vec![0_u8; STACK_BYTES];
        context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        context.uc_stack.ss_size = stack.len();
        let contexts_at = usize::from(form == Form::ForValgrind);
        let context = Box::new(UnsafeCell::new(context));
        let belongs_to = flb_output_flush {
            id: 0,
            buffer: ptr::null(),
            task: ptr::null_mut(),
            config: ptr::null(),
            instance: ptr::null_mut(),
            coroutine: ptr::null_mut(),
        };
        let answer = Cell::new(None);
        let mut coroutine = Box::new(Coroutine {
            head: [0; 4],
            contexts_at,
            context,
            stack,
            flush,
            instance,
            lent,
            belongs_to,
            answer,
        });
        let callee = coroutine.context.get();
        coroutine.belongs_to.coroutine = ptr::from_mut(&mut *coroutine).cast();
        if form != Form::Unknown {
            *coroutine.head.get_mut(contexts_at + 1).unwrap() = callee as usize;
            let moved = usize::from(form == Form::LongerFlush);
            let belongs_to = &raw const coroutine.belongs_to;
            *coroutine.head.get_mut(contexts_at + 2).unwrap() = belongs_to as usize - moved * size_of::<usize>();
        }
        // SAFETY: the context was filled and has its stack; the function takes nothing.
        unsafe { libc::makecontext(callee, run_flush, 0) };
        assert_eq!(coroutine.stack.len(), STACK_BYTES);
        coroutine
    }

    pub fn answer(&self) -> Option<c_int> {
        self.answer.get()
    }
}

/// Starts a coroutine like the host does.
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
    // SAFETY: the coroutine lives while it runs, and so does its output.
    unsafe {
        let (chunk, tag): (*const [u8], *const [u8]) = match &(*coroutine).lent {
            Lent::Own(chunk) => (chunk.as_slice(), b"app.log\0"),
            Lent::Others(chunk, tag) => (*chunk, *tag),
        };
        let flush = || ((*coroutine).flush)((*coroutine).instance, chunk.cast(), chunk.len(), tag.cast());
        let answer = vectors::preserving(flush);
        assert_eq!(RUNNING.get(), coroutine.cast(), "the host was told which one goes on");
        (*coroutine).answer.set(Some(answer));
        // Never resumed.
        co_switch(CALLER.get());
    }
}

/// A chunk of one event.
pub const EVENT: &[u8] = b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80";

/// Makes the event loop of the calling thread refuse further events.
pub fn break_loop() {
    LOOP.with_borrow_mut(|event_loop| event_loop.as_mut().unwrap().is_broken = true);
}

struct EventLoop {
    epoll: OwnedFd,
    events: usize,
    is_broken: bool,
    form: Form,
}

impl EventLoop {
    fn new(form: Form) -> EventLoop {
        // SAFETY: makes a descriptor that nobody else knows.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        EventLoop { epoll, events: 0, is_broken: false, form }
    }
}

thread_local! {
    static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
    static RUNNING: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static ACTIVE: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static CALLER: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    static MAIN: Box<UnsafeCell<libc::ucontext_t>> =
        // SAFETY: plain memory, which swapcontext fills.
        Box::new(UnsafeCell::new(unsafe { mem::zeroed() }));
}

pub extern "C" fn co_active() -> *mut c_void {
    if ACTIVE.get().is_null() {
        ACTIVE.set(MAIN.with(|main| main.get().cast()));
    }
    ACTIVE.get()
}

/// # Safety
/// As the host's.
pub unsafe extern "C" fn co_switch(context: *mut c_void) {
    let from = co_active();
    ACTIVE.set(context);
    // SAFETY: both are contexts of this thread.
    unsafe { libc::swapcontext(from.cast(), context.cast()) };
    vectors::spoil();
}

pub extern "C" fn flb_coro_get() -> *mut c_void {
    RUNNING.get()
}

pub extern "C" fn flb_coro_set(coroutine: *mut c_void) {
    RUNNING.set(coroutine);
}

pub extern "C" fn flb_engine_evl_get() -> *mut c_void {
    LOOP.with(|event_loop| ptr::from_ref(event_loop).cast_mut().cast())
}

/// # Safety
/// As the host's.
pub unsafe extern "C" fn mk_event_add(
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
        let moved = usize::from(event_loop.form == Form::LongerEvents);
        // SAFETY: as above, and followed by room.
        unsafe { (*event.cast::<usize>().add(moved).cast::<mk_event>()).priority = 6 };
        let mut wanted = libc::epoll_event { events: libc::EPOLLIN as u32, u64: event as u64 };
        event_loop.events += 1;
        // SAFETY: both descriptors are open.
        unsafe { libc::epoll_ctl(event_loop.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut wanted) }
    })
}

/// # Safety
/// As the host's.
pub unsafe extern "C" fn mk_event_del(_loop: *mut c_void, event: *mut mk_event) -> c_int {
    LOOP.with_borrow_mut(|event_loop| {
        let event_loop = event_loop.as_mut().unwrap();
        event_loop.events -= 1;
        // SAFETY: an event that is in the loop.
        let fd = unsafe { (*event).fd };
        // SAFETY: both descriptors are open.
        unsafe { libc::epoll_ctl(event_loop.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) }
    })
}
