//! The host's log, and its functions about outputs; [`export_log`](crate::export_log) exports them under the host's
//! names.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::sync::Mutex;

use super::output::Output;

/// From now on collects log lines instead of writing them to stderr.
pub fn collect() {
    *collected() = Some(Vec::new());
}

/// The lines collected since the last call, with their levels.
pub fn take() -> Vec<(c_int, String)> {
    collected().as_mut().map(std::mem::take).unwrap_or_default()
}

fn collected() -> std::sync::MutexGuard<'static, Option<Vec<(c_int, String)>>> {
    static COLLECTED: Mutex<Option<Vec<(c_int, String)>>> = Mutex::new(None);
    COLLECTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The host's function is variadic. Called with one pointer after the format, a function with a fifth parameter gets
/// the same registers on x86_64 and aarch64 Linux; stable Rust cannot define variadic functions.
///
/// # Safety
/// As the host's: the format is `%s`, and `text` is NUL-terminated.
pub unsafe extern "C" fn flb_log_print(
    level: c_int,
    _file: *const c_char,
    _line: c_int,
    format: *const c_char,
    text: *const c_char,
) {
    // SAFETY: by this function's contract.
    let (format, text) = unsafe { (CStr::from_ptr(format), CStr::from_ptr(text)) };
    let text = if format == c"%s" { text.to_string_lossy() } else { "(a format that is not %s)".into() };
    match collected().as_mut() {
        Some(lines) => lines.push((level, text.into_owned())),
        None => {
            let title = match level {
                1 => "error",
                2 => " warn",
                3 => " info",
                4 => "debug",
                _ => "trace",
            };
            // One write, so that lines of several threads do not mix.
            std::io::stderr().write_all(format!("[{title}] {text}\n").as_bytes()).ok();
        }
    }
}

/// # Safety
/// `instance` is an [`Output`].
pub unsafe extern "C" fn flb_output_name(instance: *const c_void) -> *const c_char {
    // SAFETY: by this function's contract.
    unsafe { &*instance.cast::<Output>() }.name.as_ptr()
}

/// # Safety
/// `instance` is an [`Output`].
pub unsafe extern "C" fn flb_output_log_check(instance: *const c_void, level: c_int) -> c_int {
    // SAFETY: by this function's contract.
    c_int::from(level <= unsafe { &*instance.cast::<Output>() }.log_level)
}
