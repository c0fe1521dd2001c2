//! The configured outputs, from Init to Exit.
//!
//! The host holds a plain pointer to each instance. The list here owns them, so that exiting twice, or with a foreign
//! pointer, is harmless: Fluent Bit 1.9 calls exit once for all instances, with the last one's pointer, and if
//! several are configured, calls it again after freeing its own part.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::host::bindings::{flb_plugin_proxy_def, flbgo_output_plugin};
use crate::host::engine::Engine;
use crate::host::guard::guard;
use crate::host::log::{self, HostLog};
use crate::host::metrics;
use crate::host::presence::Presence;
use crate::log::{Level, LogSink};
use crate::outcome::Outcome;
use crate::plugin::Plugin;

/// One output of the host's configuration. Its address is the context that the host passes to flush and exit.
pub(super) struct Instance {
    plugin: Plugin,
    engine: Arc<Engine>,
    /// Guards the host's structures of it.
    presence: Arc<Presence>,
    /// The address of the definition it was registered with; only compared.
    registration: usize,
}

static INSTANCES: Mutex<Vec<Arc<Instance>>> = Mutex::new(Vec::new());

/// The definition of the last registration, to which the following instances belong. On hot reload the new
/// configuration registers while the old one still runs, and is initialized after the old one has exited.
static REGISTRATION: AtomicUsize = AtomicUsize::new(0);

/// After a failed start, Fluent Bit 1.9 exits without waiting for the thread that writes its log: without this pause,
/// one in ten runs loses the error lines, and more on a busy machine.
const LOG_DELAY: Duration = Duration::from_millis(100);

/// Notes that the following instances belong to `def`.
pub(super) fn registered(def: *const flb_plugin_proxy_def) {
    REGISTRATION.store(def.addr(), Ordering::Relaxed);
}

/// Reads the configuration, starts an instance and gives the host its context. Returns whether that succeeded; if
/// not, all issues are in the log.
///
/// # Safety
/// `plugin` is NULL or what the host passes to `FLBPluginInit`.
pub(super) unsafe fn start(plugin: *const flbgo_output_plugin) -> bool {
    // SAFETY: by this function's contract; the host's structure has our four members in every version.
    let Some(plugin) = (unsafe { plugin.as_ref() }) else {
        log::report(Level::Error, &["initialization without a plugin"]);
        return false;
    };
    // SAFETY: the host sets both pointers to live structures before it calls.
    let (api, context) = unsafe { (plugin.api.as_ref(), plugin.context.as_mut()) };
    let (Some(get_property), Some(context)) = (api.and_then(|api| api.output_get_property), context) else {
        log::report(Level::Error, &["initialization without the host's interface"]);
        return false;
    };
    let property = |key: &str| {
        let key = CString::new(key).ok()?;
        // SAFETY: the host's own function, with the host's own instance.
        let value = unsafe { get_property(key.as_ptr(), plugin.instance) };
        // SAFETY: the host's values are NUL-terminated and stay in place during the initialization.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
    };
    let presence = Arc::new(Presence::begin());
    // SAFETY: the host keeps the instance until it has called exit, where the presence ends.
    let sink = Arc::new(unsafe { HostLog::new(plugin.instance, Arc::clone(&presence)) });
    // SAFETY: as above, and this is the host's thread.
    let exporter = |stream: &str| unsafe { metrics::open(plugin.instance, stream, Arc::clone(&presence)) };
    let engine = Arc::new(Engine::new(plugin.instance, Arc::clone(&presence)));
    let host_stops = Arc::clone(&engine);
    match Plugin::start(&property, sink.clone(), &exporter, Arc::new(move || host_stops.is_stopping())) {
        Ok(plugin) => {
            let registration = REGISTRATION.load(Ordering::Relaxed);
            let instance = Arc::new(Instance { plugin, engine, presence, registration });
            context.remote_context = Arc::as_ptr(&instance).cast::<c_void>().cast_mut();
            instances().push(instance);
            true
        }
        Err(error) => {
            for issue in &error.issues {
                sink.write(Level::Error, &issue.to_string());
            }
            presence.end();
            thread::sleep(LOG_DELAY);
            false
        }
    }
}

/// Notes that the host may reload its configuration.
pub(super) fn may_reload() {
    instances().iter().for_each(|instance| instance.plugin.may_reload());
}

/// Flushes through the instance of `context`. Every chunk takes this path: no lock is taken.
///
/// # Safety
/// `context` is NULL or was given by [`start`] and has not exited; `data` is NULL or holds `length` bytes; `tag` is
/// NULL or NUL-terminated.
pub(super) unsafe fn flush(context: *const c_void, data: *const c_void, length: usize, tag: *const c_char) -> Outcome {
    // SAFETY: by this function's contract, and the list keeps the instance alive until it exits.
    let Some(instance) = (unsafe { context.cast::<Instance>().as_ref() }) else {
        log::report(Level::Error, &["flush without an instance"]);
        return Outcome::Hopeless;
    };
    if data.is_null() || tag.is_null() || length == 0 || isize::try_from(length).is_err() {
        log::report(Level::Error, &["flush without a chunk or without a tag"]);
        return Outcome::Hopeless;
    }
    // SAFETY: by this function's contract; the length fits a slice.
    let chunk = unsafe { slice::from_raw_parts(data.cast::<u8>(), length) };
    // SAFETY: by this function's contract.
    let tag = unsafe { CStr::from_ptr(tag) };
    instance.engine.locate();
    instance.plugin.flush(chunk, tag.to_bytes())
}

/// The context of the only instance; NULL if there is none or more than one.
pub(super) fn only() -> *const c_void {
    match instances().as_slice() {
        [instance] => Arc::as_ptr(instance).cast::<c_void>(),
        _ => ptr::null(),
    }
}

/// Stops the instance of `context`. Any other pointer is ignored.
pub(super) fn stop_one(context: *const c_void) {
    stop(|instance| ptr::addr_eq(Arc::as_ptr(instance), context));
}

/// Stops the instances of `def` that are still running.
pub(super) fn stop_registration(def: *const flb_plugin_proxy_def) {
    stop(|instance| instance.registration == def.addr());
}

/// Stops all instances.
pub(super) fn stop_all() {
    stop(|_| true);
}

fn stop(selects: impl Fn(&Arc<Instance>) -> bool) {
    // Remove them first: stopping waits for a thread, and the list must not stay locked meanwhile.
    let stopped = instances().extract_if(.., |instance| selects(instance)).collect::<Vec<_>>();
    for instance in stopped {
        guard((), || instance.plugin.stop());
        instance.presence.end();
    }
}

fn instances() -> MutexGuard<'static, Vec<Arc<Instance>>> {
    // A panic cannot leave the list half changed: each change is one call.
    INSTANCES.lock().unwrap_or_else(PoisonError::into_inner)
}
