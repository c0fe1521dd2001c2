//! A program of its own, because it must not export what other hosts do: it plays Fluent Bit 1.9, without
//! `flb_output_log_check`. There, the level of the `[SERVICE]` section applies.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "exports C functions as the host does")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use testing::host::library::{Library, built_plugin};
use testing::host::output::{Output, UNREACHABLE, set_environment};

#[test]
fn the_level_is_that_of_the_service_section() {
    // SAFETY: the plugin is not loaded yet.
    unsafe { set_environment() };
    let library = Library::open(&built_plugin().unwrap()).unwrap();
    let definition = library.register(0).unwrap();
    let most = |service_level| {
        SERVICE_LEVEL.store(service_level, Ordering::Relaxed);
        let mut output = Output::new("kinesis.0", &UNREACHABLE).unwrap();
        assert_eq!(output.init(&library), 1);
        assert_eq!(output.flush(&library, b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80", c"app.log"), 2);
        output.exit(&library);
        std::mem::take(&mut *LEVELS.lock().unwrap()).into_iter().max()
    };
    assert_eq!(most(0), None, "off");
    assert_eq!(most(2), Some(2), "warn");
    assert_eq!(most(3), Some(3), "info");
    assert_eq!(most(4), Some(4), "debug");
    assert_eq!(most(NOT_A_WORKER), Some(3), "a thread that the host does not know");
    library.unregister(definition);
}

static SERVICE_LEVEL: AtomicI32 = AtomicI32::new(3);
const NOT_A_WORKER: c_int = -1;

/// The levels of the lines so far.
static LEVELS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

/// Not variadic, as in the other host; for one pointer that makes no difference.
///
/// # Safety
/// `text` is NUL-terminated.
#[unsafe(no_mangle)]
unsafe extern "C" fn flb_log_print(
    level: c_int,
    _file: *const c_char,
    _line: c_int,
    _format: *const c_char,
    text: *const c_char,
) {
    // SAFETY: by this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    assert!(text.to_bytes().starts_with(b"[output:kinesis] "), "without flb_output_name: {text:?}");
    LEVELS.lock().unwrap().push(level);
}

#[unsafe(no_mangle)]
extern "C" fn flb_worker_get() -> *mut c_void {
    if SERVICE_LEVEL.load(Ordering::Relaxed) == NOT_A_WORKER { ptr::null_mut() } else { ptr::without_provenance_mut(1) }
}

#[unsafe(no_mangle)]
extern "C" fn flb_worker_log_level(_worker: *mut c_void) -> c_int {
    SERVICE_LEVEL.load(Ordering::Relaxed)
}
