//! Lets the host's thread continue while a flush waits.
//!
//! Fluent Bit runs each flush on a coroutine, and its own outputs switch back to the thread's event loop while they
//! wait. A plugin like this one is expected to block instead, which stops all other flushes of that thread and,
//! without `workers`, the whole engine. But the functions that the host's own outputs use to wait are exported, and
//! the same in every version from 1.9.0 to 5.1.1: see include/fluent_bit_proxy.h.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::bindings::{
    MK_EVENT_CUSTOM, MK_EVENT_NONE, MK_EVENT_PRIORITY_DEFAULT, MK_EVENT_READ, MK_EVENT_REGISTERED, co_active_fn,
    co_switch_fn, flb_coro, flb_coro_get_fn, flb_coro_set_fn, flb_engine_evl_get_fn, mk_event, mk_event_add_fn,
    mk_event_del_fn,
};
use super::handoff::{Parking, Waiter};
use super::symbols::{self, find_hosts_own};
use super::timer::{SpareTimers, Timer};
use crate::config::Coroutines;

/// Why a flush blocks its thread while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockReason {
    /// By configuration.
    Configured,
    /// It does not run on a coroutine, or the host does not export what it takes to suspend it.
    NoCoroutine,
    /// The host is newer than any known version.
    UnknownVersion,
    /// The host's structures are not laid out as expected.
    UnknownLayout,
    /// There is no free descriptor, or no room in the event loop.
    NoDescriptor,
}

/// The coroutine that a flush runs on, with an event in its thread's event loop. Boxed, because the loop keeps its
/// address.
#[repr(C)]
pub(super) struct Coroutine {
    /// First, because the event loop calls [`resume`] with its address.
    event: UnsafeCell<mk_event>,
    /// Expires every [`TICK`](super::handoff::TICK), and immediately on a wake. Given back when the coroutine has
    /// finished or will never be resumed.
    timer: Mutex<Option<Timer>>,
    host: &'static Host,
    event_loop: NonNull<c_void>,
    coroutine: NonNull<c_void>,
    /// Holds the context to switch back to, and the coroutine's own.
    contexts: NonNull<flb_coro>,
    in_loop: Cell<bool>,
    parking: Parking,
}

// SAFETY: another thread only drops it after its own has released it, and then it is in no event loop.
unsafe impl Send for Coroutine {}
// SAFETY: other threads only call `wake`, which uses the timer alone, under its lock, and `abandon`, which does
// nothing unless the thread is that of the event loop.
unsafe impl Sync for Coroutine {}

impl Coroutine {
    /// The running coroutine, or why it cannot be used.
    pub(super) fn current(wanted: Coroutines, timers: &SpareTimers) -> Result<Box<Coroutine>, BlockReason> {
        let host = match wanted {
            Coroutines::Off => return Err(BlockReason::Configured),
            Coroutines::Auto | Coroutines::On => Host::get().ok_or(BlockReason::NoCoroutine)?,
        };
        // SAFETY: these take nothing, and answer what the host noted for this thread.
        let (coroutine, event_loop) = unsafe { ((host.coroutine)(), (host.event_loop)()) };
        let coroutine = NonNull::new(coroutine).ok_or(BlockReason::NoCoroutine)?;
        let event_loop = NonNull::new(event_loop).ok_or(BlockReason::NoCoroutine)?;
        if wanted == Coroutines::Auto && !symbols::is_known_version() {
            return Err(BlockReason::UnknownVersion);
        }
        let contexts = host.contexts_of(coroutine).ok_or(BlockReason::UnknownLayout)?;
        let timer = timers.start().ok_or(BlockReason::NoDescriptor)?;
        let fd = timer.descriptor();
        let this = Box::new(Coroutine {
            event: UnsafeCell::new(UNUSED_EVENT),
            timer: Mutex::new(Some(timer)),
            host,
            event_loop,
            coroutine,
            contexts,
            in_loop: Cell::new(false),
            parking: Parking::default(),
        });
        let event = this.event.get();
        // SAFETY: loop and event are this thread's, and the event stays in place until it is removed, below or by
        // `detach` or `abandon`.
        let added = unsafe {
            (host.add_event)(event_loop.as_ptr(), fd, MK_EVENT_CUSTOM, MK_EVENT_READ as c_uint, event.cast())
        };
        if added == -1 {
            return Err(BlockReason::NoDescriptor);
        }
        this.in_loop.set(true);
        // SAFETY: nobody else knows the event yet but the loop, which does not run.
        if !has_known_layout(unsafe { &*event }, fd) {
            // Whatever the layout of the event, the host finds in it what it wrote.
            this.detach();
            return Err(BlockReason::UnknownLayout);
        }
        Ok(this)
    }

    /// Takes the coroutine out of the thread's event loop, at the end of the flush. Returns its timer, once.
    pub(super) fn detach(&self) -> Option<Timer> {
        if self.in_loop.replace(false) {
            // SAFETY: it was added to that loop, which is this thread's: only the lender, which runs on the
            // coroutine, and `abandon` call this.
            unsafe { (self.host.delete_event)(self.event_loop.as_ptr(), self.event.get()) };
        }
        self.lock_timer().take()
    }

    /// As [`Coroutine::detach`], for a coroutine that the host never resumes. Does nothing on any thread but its own.
    pub(super) fn abandon(&self) {
        // SAFETY: takes nothing, and answers what the host noted for this thread.
        if unsafe { (self.host.event_loop)() } == self.event_loop.as_ptr() {
            self.detach();
        }
    }

    fn lock_timer(&self) -> MutexGuard<'_, Option<Timer>> {
        self.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timer, without the lock: a system call under it would let the other thread wait.
    fn timer(&self) -> Option<Timer> {
        self.lock_timer().clone()
    }

    fn acknowledge(&self) {
        if let Some(timer) = self.timer() {
            timer.acknowledge();
        }
    }
}

impl Waiter for Box<Coroutine> {
    fn wait(&self) {
        // SAFETY: `with_chunk` found this coroutine running and calls this before it returns, so its caller is the
        // thread's event loop.
        self.parking.park(|| unsafe { self.host.switch_to(self.contexts.as_ref().caller) });
        self.acknowledge();
    }

    fn wake(&self) {
        if let Some(timer) = self.timer() {
            timer.expire();
        }
    }
}

/// What the loop gets. If the host's structure has another member before `priority`, the host writes the priority
/// elsewhere, which [`has_known_layout`] notices. Events of this kind do not use `data`; it equals `handler` in case
/// the two are swapped.
const UNUSED_EVENT: mk_event = mk_event {
    fd: -1,
    type_: 0,
    mask: 0,
    status: MK_EVENT_NONE as u8,
    data: resume as unsafe extern "C" fn(*mut c_void) -> c_int as *mut c_void,
    handler: Some(resume),
    link: [0; 2],
    priority_link: [0; 2],
    priority: c_char::MAX,
    room: [0; 8],
};

/// Whether the host filled in an event as our structure says.
fn has_known_layout(event: &mk_event, fd: c_int) -> bool {
    let filled = mk_event {
        fd,
        type_: MK_EVENT_CUSTOM,
        mask: MK_EVENT_READ.cast_unsigned(),
        status: MK_EVENT_REGISTERED as u8,
        priority: MK_EVENT_PRIORITY_DEFAULT as c_char,
        ..UNUSED_EVENT
    };
    let members = |event: &mk_event| {
        (
            (event.fd, event.type_, event.mask, event.status, event.priority),
            (event.data, event.handler.map(|handler| handler as *const c_void)),
            (event.link, event.priority_link, event.room),
        )
    };
    members(event) == members(&filled)
}

/// Called by the event loop when the timer has expired: runs the coroutine until it is suspended again or ends.
unsafe extern "C" fn resume(event: *mut c_void) -> c_int {
    // SAFETY: the event is the first member of a coroutine, which stays in place while it is in the loop.
    let this = unsafe { &*event.cast::<Coroutine>() };
    if !this.parking.unpark() {
        this.acknowledge();
        return 0;
    }
    let (host, coroutine, contexts) = (this.host, this.coroutine.as_ptr(), this.contexts.as_ptr());
    // SAFETY: what the host does to resume a coroutine. When the switch returns, `this` may be gone.
    unsafe {
        (host.set_coroutine)(coroutine);
        (*contexts).caller = (host.active_context)();
        host.switch_to((*contexts).callee);
    }
    0
}

/// The running coroutine, and the host's data of it.
pub(super) fn running() -> Option<(NonNull<c_void>, NonNull<c_void>)> {
    let host = Host::get().filter(|_| symbols::is_known_version())?;
    // SAFETY: takes nothing, and answers what the host noted for this thread.
    let coroutine = NonNull::new(unsafe { (host.coroutine)() })?;
    // SAFETY: the structure is as described, so it has the third member.
    let data = unsafe { host.contexts_of(coroutine)?.as_ref().data };
    Some((coroutine, NonNull::new(data)?))
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
    /// Switches to another stack, and returns when something switches back to this one.
    ///
    /// # Safety
    /// `context` is that of a suspended coroutine of this thread, or of its event loop.
    #[cfg(not(target_arch = "aarch64"))]
    unsafe fn switch_to(&self, context: *mut c_void) {
        // SAFETY: by this function's contract. The host's function keeps what a function must keep.
        unsafe { (self.switch)(context) };
    }

    /// Switches to another stack, and returns when something switches back to this one.
    ///
    /// On this architecture the host's function does not preserve the vector registers v8 to v15, although a function
    /// must (<https://github.com/fluent/fluent-bit/blob/master/lib/flb_libco/aarch64.c>, read 2026-11). Declared as
    /// clobbered, they are saved on this stack: our callers' in a flush, and the event loop's in [`resume`].
    ///
    /// # Safety
    /// `context` is that of a suspended coroutine of this thread, or of its event loop.
    #[cfg(target_arch = "aarch64")]
    #[inline(never)]
    unsafe fn switch_to(&self, context: *mut c_void) {
        // SAFETY: by this function's contract; a call by the C convention, with the stack aligned as always, and
        // every register declared that it may change.
        unsafe {
            std::arch::asm!(
                "blr {switch}",
                switch = in(reg) self.switch,
                in("x0") context,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                clobber_abi("C"),
            );
        }
    }

    /// Where the running `coroutine` keeps its two contexts. Its own must be the active one; otherwise it is not laid
    /// out as expected.
    fn contexts_of(&self, coroutine: NonNull<c_void>) -> Option<NonNull<flb_coro>> {
        // SAFETY: takes nothing, and answers what runs on this thread.
        let active = unsafe { (self.active_context)() };
        // Hosts built for valgrind have one more word before them.
        [0, 1].into_iter().find_map(|words_before| {
            // SAFETY: the host's structure has at least three words, and `callee` is the second or the third.
            let contexts = unsafe { coroutine.cast::<usize>().add(words_before).cast::<flb_coro>() };
            // SAFETY: as above.
            let (caller, callee) = unsafe { ((*contexts.as_ptr()).caller, (*contexts.as_ptr()).callee) };
            (callee == active && !caller.is_null() && caller != active).then_some(contexts)
        })
    }

    /// Looks up all of them, or none.
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
