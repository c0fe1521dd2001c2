//! Lets the host's thread go on while a flush waits.
//!
//! Fluent Bit runs each flush on a coroutine, and its own outputs switch back to the thread's event loop whenever they
//! wait. A plugin like this one is expected to block instead, which stops all other flushes of that thread, and
//! without `workers` the whole engine. But what it takes to wait as the host's own outputs do is exported, and the same in
//! every version from 1.9.0 to 5.1.1: see include/fluent_bit_proxy.h.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::bindings::{
    MK_EVENT_CUSTOM, MK_EVENT_NONE, MK_EVENT_PRIORITY_DEFAULT, MK_EVENT_READ, MK_EVENT_REGISTERED, co_active_fn,
    co_switch_fn, flb_coro, flb_coro_get_fn, flb_coro_set_fn, flb_engine_evl_get_fn, mk_event, mk_event_add_fn,
    mk_event_del_fn,
};
use super::handoff::{Parking, TICK, Waiter};
use super::loan::KeepsThread;
use super::symbols::{self, find_hosts_own};
use crate::config::Coroutines;

/// The coroutine that a flush runs on, with an event in its thread's event loop. In a box, because the loop knows its
/// address.
#[repr(C)]
pub(super) struct Coroutine {
    /// First, because the event loop calls [`resume`] with its address.
    event: UnsafeCell<mk_event>,
    /// A timer (`timerfd_create(2)`): it goes off every [`TICK`], and at once when it is woken. Closed when the coroutine has
    /// left, or will never be continued.
    timer: Mutex<Option<OwnedFd>>,
    host: &'static Host,
    event_loop: NonNull<c_void>,
    coroutine: NonNull<c_void>,
    /// Where the coroutine notes whom to switch back to, and the context of itself that follows.
    contexts: NonNull<flb_coro>,
    in_loop: Cell<bool>,
    parking: Parking,
}

// SAFETY: another thread only drops it when its own has let go of it, and then it is in no event loop.
unsafe impl Send for Coroutine {}
// SAFETY: other threads only call `wake`, which uses the timer alone, under its lock, and `abandon`, which does nothing unless
// the thread is that of the event loop.
unsafe impl Sync for Coroutine {}

impl Coroutine {
    /// The coroutine that runs, or why it cannot be used.
    pub(super) fn current(wanted: Coroutines) -> Result<Box<Coroutine>, KeepsThread> {
        let host = match wanted {
            Coroutines::Off => return Err(KeepsThread::AsConfigured),
            Coroutines::Auto | Coroutines::On => Host::get().ok_or(KeepsThread::NoCoroutine)?,
        };
        // SAFETY: these take nothing, and answer what the host noted for this thread.
        let (coroutine, event_loop) = unsafe { ((host.coroutine)(), (host.event_loop)()) };
        let coroutine = NonNull::new(coroutine).ok_or(KeepsThread::NoCoroutine)?;
        let event_loop = NonNull::new(event_loop).ok_or(KeepsThread::NoCoroutine)?;
        if wanted == Coroutines::Auto && !symbols::is_known_version() {
            return Err(KeepsThread::UnknownVersion);
        }
        let contexts = host.contexts_of(coroutine).ok_or(KeepsThread::UnknownForm)?;
        let timer = new_timer().ok_or(KeepsThread::NoDescriptor)?;
        let fd = timer.as_raw_fd();
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
        // SAFETY: loop and event are this thread's, and the event stays where it is until it is taken out, below or by `leave`
        // or `abandon`.
        let added = unsafe {
            (host.add_event)(event_loop.as_ptr(), fd, MK_EVENT_CUSTOM, MK_EVENT_READ as c_uint, event.cast())
        };
        if added == -1 {
            return Err(KeepsThread::NoDescriptor);
        }
        this.in_loop.set(true);
        // SAFETY: nobody else knows the event yet but the loop, which does not run.
        if !is_known_form(unsafe { &*event }, fd) {
            // Whatever the form of the event, the host finds there what it wrote.
            this.leave();
            return Err(KeepsThread::UnknownForm);
        }
        Ok(this)
    }

    /// Takes the coroutine out of the thread's event loop, at the end of the flush.
    pub(super) fn leave(&self) {
        if self.in_loop.replace(false) {
            // SAFETY: it was put into that loop, which is this thread's: only the lender, which runs on the coroutine, and
            // `abandon` call this.
            unsafe { (self.host.delete_event)(self.event_loop.as_ptr(), self.event.get()) };
        }
        self.timer().take();
    }

    /// As [`Coroutine::leave`], for a coroutine that the host never continues. Does nothing on another thread than its own.
    pub(super) fn abandon(&self) {
        // SAFETY: takes nothing, and answers what the host noted for this thread.
        if unsafe { (self.host.event_loop)() } == self.event_loop.as_ptr() {
            self.leave();
        }
    }

    fn timer(&self) -> std::sync::MutexGuard<'_, Option<OwnedFd>> {
        self.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notice_wakes(&self) {
        let timer = self.timer();
        let Some(timer) = timer.as_ref() else { return };
        let mut count = [0_u8; 8];
        // SAFETY: eight bytes, as a timer gives them. It fails when there is no wake to notice.
        unsafe { libc::read(timer.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl Waiter for Box<Coroutine> {
    fn wait(&self) {
        // SAFETY: `lend` found this coroutine running and calls this before it returns, so its caller is the thread's event
        // loop.
        self.parking.park(|| unsafe { (self.host.switch)(self.contexts.as_ref().caller) });
        self.notice_wakes();
    }

    fn wake(&self) {
        if let Some(timer) = self.timer().as_ref() {
            set(timer, libc::timespec { tv_sec: 0, tv_nsec: 1 });
        }
    }
}

/// What is handed to the loop. Where the host's structure has another member before `priority`, it writes the priority
/// elsewhere. `data` is not used by an event of this kind, and should the two have changed places, nothing is lost.
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

/// Whether an event that was put into a loop was filled as the structure says.
fn is_known_form(event: &mk_event, fd: c_int) -> bool {
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

fn new_timer() -> Option<OwnedFd> {
    // SAFETY: makes a descriptor that nobody else knows.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    // SAFETY: just made, and owned by nobody.
    let timer = (timer != -1).then(|| unsafe { OwnedFd::from_raw_fd(timer) })?;
    set(&timer, EVERY_TICK);
    Some(timer)
}

const EVERY_TICK: libc::timespec = libc::timespec { tv_sec: TICK.as_secs() as libc::time_t, tv_nsec: 0 };

/// Lets the timer go off after `first`, and then every [`TICK`].
fn set(timer: &OwnedFd, first: libc::timespec) {
    let times = libc::itimerspec { it_interval: EVERY_TICK, it_value: first };
    // SAFETY: the descriptor is a timer, and the times are valid, so it cannot fail.
    unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &times, ptr::null_mut()) };
}

/// Called by the event loop when the timer has gone off: runs the coroutine until it is suspended again or at its end.
unsafe extern "C" fn resume(event: *mut c_void) -> c_int {
    // SAFETY: the event is the first member of a coroutine, which stays while it is in the loop.
    let this = unsafe { &*event.cast::<Coroutine>() };
    if !this.parking.unpark() {
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

/// The coroutine that runs, and the host's data of it.
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
    /// Where `coroutine`, which runs, has its two contexts. So the second is the active one: anything else there is not a
    /// coroutine as described.
    fn contexts_of(&self, coroutine: NonNull<c_void>) -> Option<NonNull<flb_coro>> {
        // SAFETY: takes nothing, and answers what runs on this thread.
        let active = unsafe { (self.active_context)() };
        // The host's built for valgrind have a word before.
        [0, 1].into_iter().find_map(|words_before| {
            // SAFETY: the host's structure has at least three words, and `callee` is the second or the third.
            let contexts = unsafe { coroutine.cast::<usize>().add(words_before).cast::<flb_coro>() };
            // SAFETY: as above.
            let (caller, callee) = unsafe { ((*contexts.as_ptr()).caller, (*contexts.as_ptr()).callee) };
            (callee == active && !caller.is_null() && caller != active).then_some(contexts)
        })
    }

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
