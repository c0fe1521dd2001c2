//! The host's log.

use std::ffi::{c_char, c_int, c_void};
use std::io::{self, Write};
use std::ptr;
use std::sync::Arc;

use super::bindings::FLB_LOG_INFO;
use super::presence::Presence;
use super::symbols::{functions, output_name};
use crate::log::{Level, LogSink};

/// The log of one output instance: `[output:kinesis:NAME] line`.
///
/// The level is the instance's `log_level` if the host can be asked for it (since 2.0). 1.9 keeps it in a structure
/// whose layout depends on the build; there the level of the `[SERVICE]` section applies, as for the host's own
/// lines. Without `flb_log_print`, lines go to stderr.
#[derive(Debug)]
pub(crate) struct HostLog {
    instance: *mut c_void,
    presence: Arc<Presence>,
    prefix: String,
    /// The level of the `[SERVICE]` section, read on a thread of the host: other threads cannot ask for it.
    service_level: c_int,
}

// SAFETY: the pointer is only handed to functions of the host, which allows them on all of its threads.
unsafe impl Send for HostLog {}
// SAFETY: as above; the host's functions only read the instance.
unsafe impl Sync for HostLog {}

impl HostLog {
    /// The log of the output `instance`. To be called on a thread of the host.
    ///
    /// # Safety
    /// `instance` is the host's output instance, as long as `presence` says.
    pub(crate) unsafe fn new(instance: *mut c_void, presence: Arc<Presence>) -> HostLog {
        // SAFETY: by this function's contract.
        let prefix = match unsafe { output_name(instance) } {
            Some(name) => ["[output:kinesis:", &name.to_string_lossy(), "] "].concat(),
            None => PREFIX.to_owned(),
        };
        HostLog { instance, presence, prefix, service_level: service_level() }
    }
}

impl LogSink for HostLog {
    fn enabled(&self, level: Level) -> bool {
        match functions().output_log_check {
            Some(log_check) => {
                let Some(_held) = self.presence.hold() else { return false };
                // SAFETY: the instance is there (contract of `new`).
                unsafe { log_check(self.instance, level as c_int) != 0 }
            }
            None => level as c_int <= self.service_level,
        }
    }

    fn write(&self, level: Level, line: &str) {
        // The host's function writes whatever the level is.
        if self.enabled(level) {
            print(level, &[&self.prefix, line]);
        }
    }
}

/// Writes a line that belongs to no instance, given in parts.
pub(crate) fn report(level: Level, parts: &[&str]) {
    if level as c_int <= service_level() {
        let mut line = Vec::with_capacity(parts.len() + 1);
        line.push(PREFIX);
        line.extend_from_slice(parts);
        print(level, &line);
    }
}

const PREFIX: &str = "[output:kinesis] ";

/// The level of the `[SERVICE]` section as this thread sees it. On threads that are not the host's, the host logs
/// "info" and above, and so do we.
fn service_level() -> c_int {
    let functions = functions();
    let (Some(worker_get), Some(worker_log_level)) = (functions.worker_get, functions.worker_log_level) else {
        return FLB_LOG_INFO;
    };
    // SAFETY: takes nothing, and returns what the host noted for this thread.
    let worker = unsafe { worker_get() };
    // SAFETY: the worker is this thread's own, so it lives.
    if worker.is_null() { FLB_LOG_INFO } else { unsafe { worker_log_level(worker) } }
}

/// Joins the parts into one line for the host. This runs on coroutine stacks: the line is built on the heap and
/// nothing is formatted.
fn print(level: Level, parts: &[&str]) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut line = Vec::with_capacity(length + 1);
    for part in parts {
        // A newline would forge a second line and a NUL would cut this one short.
        line.extend(part.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    }
    match functions().log_print {
        Some(log_print) => {
            line.push(0);
            let text = line.as_ptr().cast::<c_char>();
            // SAFETY: the format takes one string, which is NUL-terminated; the host's own lines have no file either.
            unsafe { log_print(level as c_int, ptr::null(), 0, c"%s".as_ptr(), text) };
        }
        None => {
            line.push(b'\n');
            // There is nowhere left to report a failure.
            io::stderr().write_all(&line).ok();
        }
    }
}
