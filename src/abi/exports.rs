//! The functions that Fluent Bit finds by name, in the order in which it calls them.
//!
//! Each is one `guard(fallback, || ...)`: a panic becomes the fallback. cbindgen generates include/kinesis_plugin.h
//! from this file.

#![allow(non_snake_case, reason = "the names are the host's")]

use std::ffi::{c_char, c_int, c_void};

use super::{instances, registration};
use crate::host::bindings::{FLB_ERROR, FLB_OK, FLB_RETRY, flb_plugin_proxy_def, flbgo_output_plugin};
use crate::host::guard::{guard, keep_panics_quiet};
use crate::outcome::Outcome;

/// The answer of [`FLBPluginInit`] if the instance cannot start: Fluent Bit stops.
const REFUSED: c_int = 0;
/// The answer of [`FLBPluginInit`] if the instance runs.
const STARTED: c_int = 1;

/// Called before the registration (since Fluent Bit 2.2), with 1 when the host reloads its configuration. Returns 0.
///
/// # Safety
/// None; the host's interface makes it a C function.
#[unsafe(no_mangle)]
#[allow(unused_variables, reason = "named for the header")]
pub unsafe extern "C" fn FLBPluginPreRegister(hot_reloading: c_int) -> c_int {
    guard(-1, || {
        keep_panics_quiet();
        0
    })
}

/// Fills in the definition of the plugin. Returns 0, or -1 if there is none to fill in.
///
/// # Safety
/// `def` is NULL, or comes from the host's `malloc` and holds at least the first 32 bytes of the structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginRegister(def: *mut flb_plugin_proxy_def) -> c_int {
    guard(-1, || {
        keep_panics_quiet();
        // SAFETY: by this function's contract.
        if unsafe { registration::fill(def) } { 0 } else { -1 }
    })
}

/// Starts one configured output. Returns 1, or 0 if its configuration has issues, which are then in the log.
///
/// # Safety
/// `plugin` is NULL or the host's structure of this output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginInit(plugin: *mut flbgo_output_plugin) -> c_int {
    // SAFETY: by this function's contract.
    guard(REFUSED, || if unsafe { instances::start(plugin) } { STARTED } else { REFUSED })
}

/// Called when all plugins are initialized (since Fluent Bit 2.2), with 1 if hot reload is enabled. Returns FLB_OK.
///
/// # Safety
/// None; the host's interface makes it a C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginOutputPreRun(hot_reload: c_int) -> c_int {
    guard(FLB_OK, || {
        if hot_reload != 0 {
            instances::may_reload();
        }
        FLB_OK
    })
}

/// Delivers a chunk through the only instance. Hosts that find [`FLBPluginFlushCtx`] never call this.
///
/// # Safety
/// As [`FLBPluginFlushCtx`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginFlush(data: *const c_void, length: usize, tag: *const c_char) -> c_int {
    // SAFETY: by this function's contract.
    guard(FLB_RETRY, || answer(unsafe { instances::flush(instances::only(), data, length, tag) }))
}

/// Delivers a chunk. Returns FLB_OK when it is done, FLB_RETRY if the host should retry it, and FLB_ERROR if nothing
/// in it can ever be delivered. Any number of threads may call this with the same context.
///
/// # Safety
/// `context` is NULL or was set by [`FLBPluginInit`] and has not exited; `data` is NULL or holds `length` bytes;
/// `tag` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginFlushCtx(
    context: *mut c_void,
    data: *const c_void,
    length: usize,
    tag: *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    guard(FLB_RETRY, || answer(unsafe { instances::flush(context, data, length, tag) }))
}

/// Called before the exit (since Fluent Bit 2.2), with 1 when the host reloads its configuration.
///
/// # Safety
/// None; the host's interface makes it a C function.
#[unsafe(no_mangle)]
#[allow(unused_variables, reason = "named for the header")]
pub unsafe extern "C" fn FLBPluginOutputPreExit(hot_reload: c_int) {
    guard((), || ())
}

/// Stops one instance; none of its threads runs afterwards. A context that is not running is ignored. Returns FLB_OK.
///
/// # Safety
/// No flush of this context is in progress.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginExitCtx(context: *mut c_void) -> c_int {
    guard(FLB_OK, || {
        instances::stop_one(context);
        FLB_OK
    })
}

/// Stops all instances. Hosts that find [`FLBPluginExitCtx`] never call this. Returns FLB_OK.
///
/// # Safety
/// No flush is in progress.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginExit() -> c_int {
    guard(FLB_OK, || {
        instances::stop_all();
        FLB_OK
    })
}

/// Stops the remaining instances registered with `def`. The host unloads the library next.
///
/// # Safety
/// No flush of these instances is in progress. `def` is only compared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginUnregister(def: *mut flb_plugin_proxy_def) {
    guard((), || instances::stop_registration(def))
}

fn answer(outcome: Outcome) -> c_int {
    match outcome {
        Outcome::Delivered => FLB_OK,
        Outcome::Retry => FLB_RETRY,
        Outcome::Hopeless => FLB_ERROR,
    }
}

#[cfg(test)]
mod tests {
    /// Catches a new function without the guard: a panic in it would abort Fluent Bit.
    #[test]
    fn every_exported_function_is_one_guard_and_nothing_else() {
        let (code, _) = include_str!("exports.rs").split_once("#[cfg(test)]").unwrap();
        let exports = code.split("#[unsafe(no_mangle)]").skip(1).collect::<Vec<_>>();
        assert_eq!(exports.len(), 10);
        for export in exports {
            let export = export.split_once("\n}\n").unwrap().0;
            let (signature, body) = export.split_once(" {\n").unwrap();
            assert!(signature.contains("pub unsafe extern \"C\" fn FLBPlugin"), "{signature}");
            let body = body.trim().trim_start_matches("// SAFETY: by this function's contract.").trim();
            assert!(body.starts_with("guard(") && body.ends_with(')'), "{body}");
            // The bracket that guard opens closes at the end, so nothing follows it.
            let mut depth = 0;
            let closed = body.char_indices().find_map(|(at, character)| {
                depth += i32::from(character == '(') - i32::from(character == ')');
                (depth == 0 && character == ')').then_some(at)
            });
            assert_eq!(closed, Some(body.len() - 1), "{body}");
        }
        assert_eq!(code.matches("extern \"C\"").count(), 10, "a function without no_mangle");
    }
}
