//! Exports a host's functions under its own names, in the program that invokes the macro.
//!
//! A function exported by a library is exported by every program linked with it. So the names are given here, in the
//! programs, and the functions themselves are unnamed.

/// Exports functions of [`crate::host`], each from the module before its name.
#[macro_export]
macro_rules! export {
    ($($module:ident::$name:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => {
        const _: () = {
            #[allow(unused_imports, reason = "for the functions' types")]
            use ::std::ffi::{c_char, c_int, c_uint, c_void};
            #[allow(unused_imports, reason = "as above")]
            use $crate::host::bindings::mk_event;
            $(
            /// # Safety
            /// As the host's.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $kind),*) $(-> $answer)? {
                #[allow(unused_unsafe, reason = "some have no precondition")]
                // SAFETY: by this function's contract, which is that of the one it calls.
                unsafe { $crate::host::$module::$name($($argument),*) }
            }
            )*
        };
    };
}

/// A Fluent Bit since 2.2 without coroutines: its log, its metrics, and what distinguishes it from older versions.
#[macro_export]
macro_rules! export_host {
    () => {
        $crate::export_log!();
        $crate::export_metrics!();

        /// Only its name matters.
        #[unsafe(no_mangle)]
        extern "C" fn flb_proxy_output_cb_init() {}
    };
}

/// The log.
#[macro_export]
macro_rules! export_log {
    () => {
        $crate::export! {
            log::flb_log_print(
                level: c_int, file: *const c_char, line: c_int, format: *const c_char, text: *const c_char
            );
            log::flb_output_name(instance: *const c_void) -> *const c_char;
            log::flb_output_log_check(instance: *const c_void, level: c_int) -> c_int;
        }
    };
}

/// The metrics.
#[macro_export]
macro_rules! export_metrics {
    () => {
        $crate::export! {
            metrics::flb_output_get_cmt_instance(instance: *mut c_void) -> *mut c_void;
            metrics::cmt_version() -> *const c_char;
            metrics::cmt_counter_create(
                cmt: *mut c_void, namespace: *const c_char, subsystem: *const c_char, name: *const c_char,
                help: *const c_char, count: c_int, keys: *const *const c_char
            ) -> *mut c_void;
            metrics::cmt_gauge_create(
                cmt: *mut c_void, namespace: *const c_char, subsystem: *const c_char, name: *const c_char,
                help: *const c_char, count: c_int, keys: *const *const c_char
            ) -> *mut c_void;
            metrics::cmt_histogram_buckets_create_size(bounds: *const f64, count: usize) -> *mut c_void;
            metrics::cmt_histogram_create(
                cmt: *mut c_void, namespace: *const c_char, subsystem: *const c_char, name: *const c_char,
                help: *const c_char, buckets: *mut c_void, count: c_int, keys: *const *const c_char
            ) -> *mut c_void;
            metrics::cmt_counter_set(
                metric: *mut c_void, timestamp: u64, value: f64, count: c_int, labels: *const *const c_char
            ) -> c_int;
            metrics::cmt_gauge_set(
                metric: *mut c_void, timestamp: u64, value: f64, count: c_int, labels: *const *const c_char
            ) -> c_int;
            metrics::cmt_histogram_set_default(
                metric: *mut c_void, timestamp: u64, buckets: *const u64, sum: f64, total: u64, count: c_int,
                labels: *const *const c_char
            ) -> c_int;
        }
    };
}

/// Coroutines and the event loop.
#[macro_export]
macro_rules! export_event_loop {
    () => {
        $crate::export! {
            event_loop::co_active() -> *mut c_void;
            event_loop::co_switch(context: *mut c_void);
            event_loop::flb_coro_get() -> *mut c_void;
            event_loop::flb_coro_set(coroutine: *mut c_void);
            event_loop::flb_engine_evl_get() -> *mut c_void;
            event_loop::mk_event_add(
                event_loop: *mut c_void, fd: c_int, kind: c_int, mask: c_uint, event: *mut c_void
            ) -> c_int;
            event_loop::mk_event_del(event_loop: *mut c_void, event: *mut mk_event) -> c_int;
        }
    };
}
