//! Lets the host's thread go on while a flush waits.
//!
//! Fluent Bit runs each flush on a coroutine, and its own outputs switch back to the thread's event loop whenever they
//! wait. A plugin like this one is expected to block instead, which stops all other flushes of that thread, and
//! without `workers` the whole engine. But what it takes to wait as the host's own outputs do is exported, and the same in
//! every version from 1.9.0 to 5.1.1: see include/fluent_bit_proxy.h.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use super::bindings::{
    MK_EVENT_CUSTOM, MK_EVENT_NONE, MK_EVENT_READ, co_active_fn, co_switch_fn, flb_coro, flb_coro_get_fn,
    flb_coro_set_fn, flb_engine_evl_get_fn, mk_event, mk_event_add_fn, mk_event_del_fn,
};
use super::host::{self, find_hosts_own};

/// The coroutine that a flush runs on. It must not move while it is suspended: the event loop knows its address.
#[repr(C)]
pub(super) struct Coroutine {
    /// First, because the event loop calls [`resume`] with its address.
    event: UnsafeCell<mk_event>,
    /// Counts the calls of [`Coroutine::wake`] since the last one was noticed (`eventfd(2)`).
    wakes: OwnedFd,
    host: &'static Host,
    event_loop: NonNull<c_void>,
    coroutine: NonNull<c_void>,
    /// Where the coroutine notes whom to switch back to, and the context of itself that follows.
    contexts: NonNull<flb_coro>,
    in_loop: Cell<bool>,
    suspended: Cell<bool>,
}

// SAFETY: another thread only drops it when its own has let go of it, and then it is in no event loop.
unsafe impl Send for Coroutine {}
// SAFETY: other threads only call `wake`, which uses the file descriptor alone.
unsafe impl Sync for Coroutine {}

impl Coroutine {
    /// The coroutine that runs, or `None` when the host has none of the kind described here.
    pub(super) fn current() -> Option<Coroutine> {
        let host = Host::get()?;
        // SAFETY: these take nothing, and answer what the host noted for this thread.
        let (coroutine, context, event_loop) =
            unsafe { ((host.coroutine)(), (host.active_context)(), (host.event_loop)()) };
        let (coroutine, event_loop) = (NonNull::new(coroutine)?, NonNull::new(event_loop)?);
        let contexts = contexts_of(coroutine, context)?;
        // SAFETY: makes a descriptor that nobody else knows.
        let wakes = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if wakes == -1 {
            return None;
        }
        let event = UnsafeCell::new(mk_event {
            fd: -1,
            type_: MK_EVENT_CUSTOM,
            mask: 0,
            status: MK_EVENT_NONE as u8,
            data: ptr::null_mut(),
            handler: Some(resume),
            link: [0; 2],
            priority_link: [0; 2],
            priority: 0,
            room: [0; 8],
        });
        // SAFETY: just made, and owned by nobody.
        let wakes = unsafe { OwnedFd::from_raw_fd(wakes) };
        let (in_loop, suspended) = (Cell::new(false), Cell::new(false));
        Some(Coroutine { event, wakes, host, event_loop, coroutine, contexts, in_loop, suspended })
    }

    /// Lets the host's thread go on until [`Coroutine::wake`] is called; it may be called before.
    ///
    /// # Safety
    /// The caller runs on this coroutine, and this stays where it is until [`Coroutine::leave_loop`].
    pub(super) unsafe fn wait(&self) {
        // A host that is about to end and would free the chunk meanwhile has to wait itself.
        let may_suspend = !(host::is_stopping() && host::frees_chunks_in_use());
        // SAFETY: by this function's contract.
        if may_suspend && unsafe { self.enter_loop() } {
            self.suspended.set(true);
            // SAFETY: by this function's contract this is the coroutine, so its caller is the thread's event loop.
            unsafe { (self.host.switch)(self.contexts.as_ref().caller) };
        } else {
            let mut waited_for = libc::pollfd { fd: self.wakes.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor, and it is open.
            unsafe { libc::poll(&mut waited_for, 1, -1) };
        }
        self.notice_wakes();
    }

    /// Puts the coroutine into the thread's event loop; says whether it is there.
    ///
    /// # Safety
    /// As of [`Coroutine::wait`].
    unsafe fn enter_loop(&self) -> bool {
        if !self.in_loop.get() {
            let (add, fd) = (self.host.add_event, self.wakes.as_raw_fd());
            // SAFETY: loop and event are this thread's, and the event stays until it is taken out.
            let added = unsafe {
                add(self.event_loop.as_ptr(), fd, MK_EVENT_CUSTOM, MK_EVENT_READ as c_uint, self.event.get().cast())
            };
            self.in_loop.set(added != -1);
        }
        self.in_loop.get()
    }

    /// Takes the coroutine out of the thread's event loop.
    ///
    /// # Safety
    /// The caller runs on this coroutine.
    pub(super) unsafe fn leave_loop(&self) {
        if self.in_loop.replace(false) {
            // SAFETY: it was put into that loop, which is this thread's.
            unsafe { (self.host.delete_event)(self.event_loop.as_ptr(), self.event.get()) };
        }
    }

    /// Continues the coroutine soon, on its own thread. Any thread may call this.
    pub(super) fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes, as an eventfd takes them. It fails only when there are more wakes than anybody counts.
        unsafe { libc::write(self.wakes.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn notice_wakes(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: eight bytes, as an eventfd gives them. It fails when there is no wake to notice.
        unsafe { libc::read(self.wakes.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Called by the event loop when there is a wake: runs the coroutine until it is suspended again or at its end.
unsafe extern "C" fn resume(event: *mut c_void) -> c_int {
    // SAFETY: the event is the first member of a coroutine, which stays while it is in the loop.
    let this = unsafe { &*event.cast::<Coroutine>() };
    if !this.suspended.replace(false) {
        this.notice_wakes();
        return 0;
    }
    let (host, coroutine, contexts) = (this.host, this.coroutine.as_ptr(), this.contexts.as_ptr());
    // SAFETY: what the host does to continue a coroutine. When it comes back, `this` may be gone.
    unsafe {
        (host.set_coroutine)(coroutine);
        (*contexts).caller = (host.active_context)();
        (host.switch)((*contexts).callee);
    }
    0
}

/// Where `coroutine` has its two contexts. It runs, so that `active` is its own: anything else there is not a coroutine as
/// described, or not the one that runs.
fn contexts_of(coroutine: NonNull<c_void>, active: *mut c_void) -> Option<NonNull<flb_coro>> {
    // The host's built for valgrind have a word before.
    [0, 1].into_iter().find_map(|words_before| {
        // SAFETY: the host's structure has at least three words, and `callee` is the second or the third.
        let contexts = unsafe { coroutine.cast::<usize>().add(words_before).cast::<flb_coro>() };
        // SAFETY: as above.
        let (caller, callee) = unsafe { ((*contexts.as_ptr()).caller, (*contexts.as_ptr()).callee) };
        (callee == active && !caller.is_null() && caller != active).then_some(contexts)
    })
}

/// The host's functions.
struct Host {
    active_context: unsafe extern "C" fn() -> *mut c_void,
    switch: unsafe extern "C" fn(*mut c_void),
    coroutine: unsafe extern "C" fn() -> *mut c_void,
    set_coroutine: unsafe extern "C" fn(*mut c_void),
    event_loop: unsafe extern "C" fn() -> *mut c_void,
    add_event: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_uint, *mut c_void) -> c_int,
    delete_event: unsafe extern "C" fn(*mut c_void, *mut mk_event) -> c_int,
}

impl Host {
    /// All of them or none.
    fn get() -> Option<&'static Host> {
        static HOST: OnceLock<Option<Host>> = OnceLock::new();
        HOST.get_or_init(|| {
            // SAFETY: the types are those of the host's functions of these names, the same in all versions from 1.9 to
            // 5.1 (include/fluent_bit_proxy.h).
            unsafe {
                Some(Host {
                    active_context: find_hosts_own::<co_active_fn>(c"co_active")?,
                    switch: find_hosts_own::<co_switch_fn>(c"co_switch")?,
                    coroutine: find_hosts_own::<flb_coro_get_fn>(c"flb_coro_get")?,
                    set_coroutine: find_hosts_own::<flb_coro_set_fn>(c"flb_coro_set")?,
                    event_loop: find_hosts_own::<flb_engine_evl_get_fn>(c"flb_engine_evl_get")?,
                    add_event: find_hosts_own::<mk_event_add_fn>(c"mk_event_add")?,
                    delete_event: find_hosts_own::<mk_event_del_fn>(c"mk_event_del")?,
                })
            }
        })
        .as_ref()
    }
}
