//! The host's functions, found by symbol name.
//!
//! Fluent Bit's executable exports its functions, and each version has different ones. So none is linked against:
//! they are looked up once, and each may be missing.

use std::ffi::{CStr, CString, c_int, c_void};
use std::mem;
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::bindings::{
    cmt_version_fn, flb_log_print_fn, flb_output_log_check_fn, flb_output_name_fn, flb_worker_get_fn,
    flb_worker_log_level_fn, malloc_usable_size_fn,
};

/// The alias of the output `instance`, or its numbered name.
///
/// # Safety
/// `instance` is the host's output instance.
pub(crate) unsafe fn output_name(instance: *mut c_void) -> Option<CString> {
    // SAFETY: by this function's contract.
    let name = unsafe { functions().output_name?(instance) };
    // SAFETY: the host's names are NUL-terminated.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_owned())
}

/// The usable bytes at an address from the host's allocator, or `None` if that cannot be found out.
///
/// # Safety
/// `address` comes from the `malloc` of the process and is not freed.
pub(crate) unsafe fn usable_size(address: *mut c_void) -> Option<usize> {
    // SAFETY: by this function's contract.
    functions().malloc_usable_size.map(|usable_size| unsafe { usable_size(address) })
}

/// Whether the host has received SIGTERM or SIGINT. It records the signal in a variable of its executable; the plugin
/// is called only later, when all flushes have ended. Always false where there is no such variable.
pub(crate) fn was_signalled() -> bool {
    // SAFETY: the host's own variable, which is never moved; its signal handler writes it, in one piece.
    functions().exit_signal.is_some_and(|signal| unsafe { signal.as_ptr().read_volatile() } != 0)
}

/// Whether the host, when its grace period is over, frees its inputs and their chunks before its outputs, as versions
/// up to 2.1.7 do.
pub(crate) fn frees_chunks_in_use() -> bool {
    !functions().is_2_2
}

/// Whether the structures of the host's version are known. It does not report its version, but its metrics library
/// does: cmetrics 2.2.1 is in Fluent Bit 5.1.1, 1.0.5 in 4.2.0, 0.3.7 in 1.9.10.
pub(crate) fn is_known_version() -> bool {
    functions().is_known_version
}

/// The major version of the newest known cmetrics.
const NEWEST_MAJOR: u32 = 2;

fn cmetrics_is_known() -> bool {
    if !is_hosts_own(c"cmt_version") {
        return false;
    }
    // SAFETY: the type is that of the host's function, the same in all versions.
    let version: cmt_version_fn = unsafe { find(c"cmt_version") };
    // SAFETY: it takes nothing, and answers a NUL-terminated constant.
    let major = version.and_then(|version| NonNull::new(unsafe { version() }.cast_mut())).and_then(|version| {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(version.as_ptr()) }.to_str().ok()?.split('.').next()?.parse::<u32>().ok()
    });
    major.is_some_and(|major| major <= NEWEST_MAJOR)
}

/// The host's functions that are not looked up elsewhere. Each may be missing.
#[derive(Debug)]
pub(super) struct Functions {
    pub(super) log_print: flb_log_print_fn,
    pub(super) output_log_check: flb_output_log_check_fn,
    output_name: flb_output_name_fn,
    pub(super) worker_get: flb_worker_get_fn,
    pub(super) worker_log_level: flb_worker_log_level_fn,
    malloc_usable_size: malloc_usable_size_fn,
    /// `volatile sig_atomic_t exit_signal` of fluent-bit.c.
    exit_signal: Option<NonNull<c_int>>,
    /// Whether it is 2.2 or newer.
    is_2_2: bool,
    is_known_version: bool,
}

// SAFETY: functions may be called on any thread, and the variable is only read.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

/// The functions, looked up once.
pub(super) fn functions() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        // A program may bring a `malloc` without its `malloc_usable_size`; libc's would then read foreign memory.
        let one_allocator = home(c"malloc") == home(c"malloc_usable_size");
        // SAFETY: the types are those of the host's functions of these names, the same in all versions from 1.9 to 5.1
        // (include/fluent_bit_proxy.h), and of the C library's.
        unsafe {
            Functions {
                log_print: find(c"flb_log_print"),
                output_log_check: find(c"flb_output_log_check"),
                output_name: find(c"flb_output_name"),
                worker_get: find(c"flb_worker_get"),
                worker_log_level: find(c"flb_worker_log_level"),
                malloc_usable_size: if one_allocator { find(c"malloc_usable_size") } else { None },
                exit_signal: NonNull::new(address(c"exit_signal").cast::<c_int>())
                    .filter(|_| is_hosts_own(c"exit_signal")),
                // Before 2.2 it was flb_proxy_cb_init.
                is_2_2: !address(c"flb_proxy_output_cb_init").is_null(),
                is_known_version: cmetrics_is_known(),
            }
        }
    })
}

/// The function called `name`, or `None`.
///
/// # Safety
/// `F` is the `Option` of a pointer to a function of the type that has this name.
pub(crate) unsafe fn find<F: Copy>(name: &CStr) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: NULL is `None`, and any other address is that of the function, whose type the caller knows.
    unsafe { mem::transmute_copy::<*mut c_void, F>(&address(name)) }
}

/// Like [`find`], but `None` if the function is not the host's.
///
/// # Safety
/// As of [`find`].
pub(crate) unsafe fn find_hosts_own<F: Copy + Default>(name: &CStr) -> F {
    // SAFETY: by this function's contract.
    if is_hosts_own(name) { unsafe { find(name) } } else { F::default() }
}

/// The address of the symbol `name`, searched as the process itself would resolve it: the executable first.
fn address(name: &CStr) -> *mut c_void {
    // SAFETY: the name is NUL-terminated.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Whether the symbol `name` is the host's own: another library may have one of the same name.
pub(crate) fn is_hosts_own(name: &CStr) -> bool {
    home(name).is_some() && home(name) == home(c"flb_log_print")
}

/// The executable or library that defines the symbol `name`, or `None` if there is none.
fn home(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the structure is plain pointers, for which zero is a value.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: any address may be asked for, and `info` is ours.
    unsafe { libc::dladdr(address(name), &mut info) };
    NonNull::new(info.dli_fbase)
}
