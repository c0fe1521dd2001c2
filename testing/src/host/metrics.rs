//! The host's metrics, as far as the plugin uses them. As in Fluent Bit's library, a series is created by its first
//! value, and a counter never goes down.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// All series with their values, as `name{key="value",…}`; a histogram is three kinds of series.
pub fn shown() -> BTreeMap<String, f64> {
    state().values.clone()
}

/// The values in Prometheus's text format.
pub fn exposition() -> String {
    let State { values, kinds, .. } = &*state();
    let types: String = kinds.iter().map(|(name, kind)| format!("# TYPE {name} {kind}\n")).collect();
    let samples: String = values.iter().map(|(series, value)| format!("{series} {value}\n")).collect();
    types + &samples
}

/// Misuse that the host cannot handle: a counter that went down, or a series created on another thread.
pub fn offences() -> Vec<String> {
    state().offences.clone()
}

/// Frees the metrics, like the host does after an output has exited; their values remain readable.
pub fn free() {
    state().metrics.clear();
}

/// Like [`free`], and resets the values: the next output counts from zero.
pub fn forget() {
    *state() = State::new();
}

struct State {
    /// Boxed, because the plugin keeps their addresses.
    #[allow(clippy::vec_box, reason = "as said")]
    metrics: Vec<Box<Metric>>,
    values: BTreeMap<String, f64>,
    kinds: BTreeMap<String, &'static str>,
    offences: Vec<String>,
    /// The thread that created the first metric: the one that initialized the plugin.
    thread: Option<ThreadId>,
}

impl State {
    const fn new() -> State {
        State {
            metrics: Vec::new(),
            values: BTreeMap::new(),
            kinds: BTreeMap::new(),
            offences: Vec::new(),
            thread: None,
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    static STATE: Mutex<State> = Mutex::new(State::new());
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A counter, gauge or histogram.
struct Metric {
    name: String,
    kind: &'static str,
    keys: Vec<String>,
    bounds: Vec<f64>,
}

impl Metric {
    /// The name of a series: the metric's name plus `suffix`, its labels plus `more`.
    fn series(&self, suffix: &str, labels: &[String], more: Option<String>) -> String {
        let pairs = self.keys.iter().zip(labels).map(|(key, value)| format!("{key}=\"{value}\""));
        format!("{}{suffix}{{{}}}", self.name, pairs.chain(more).collect::<Vec<_>>().join(","))
    }

    fn set(&self, series: String, value: f64) {
        let mut state = state();
        match state.values.insert(series.clone(), value) {
            None if state.thread != Some(thread::current().id()) => {
                state.offences.push(format!("{series} was created on another thread"));
            }
            Some(before) if before > value && self.kind != "gauge" => {
                state.offences.push(format!("{series} went down from {before} to {value}"));
            }
            _ => {}
        }
    }
}

/// # Safety
/// None: the address is never read.
pub unsafe extern "C" fn flb_output_get_cmt_instance(instance: *mut c_void) -> *mut c_void {
    instance
}

pub extern "C" fn cmt_version() -> *const c_char {
    c"2.2.1".as_ptr()
}

/// # Safety
/// As the host's: all texts are NUL-terminated, and there are as many keys as `count` says.
pub unsafe extern "C" fn cmt_counter_create(
    _cmt: *mut c_void,
    namespace: *const c_char,
    subsystem: *const c_char,
    name: *const c_char,
    _help: *const c_char,
    count: c_int,
    keys: *const *const c_char,
) -> *mut c_void {
    // SAFETY: by this function's contract.
    unsafe { create("counter", [namespace, subsystem, name], Vec::new(), count, keys) }
}

/// # Safety
/// As [`cmt_counter_create`].
pub unsafe extern "C" fn cmt_gauge_create(
    _cmt: *mut c_void,
    namespace: *const c_char,
    subsystem: *const c_char,
    name: *const c_char,
    _help: *const c_char,
    count: c_int,
    keys: *const *const c_char,
) -> *mut c_void {
    // SAFETY: by this function's contract.
    unsafe { create("gauge", [namespace, subsystem, name], Vec::new(), count, keys) }
}

/// # Safety
/// `bounds` holds `count` numbers.
pub unsafe extern "C" fn cmt_histogram_buckets_create_size(bounds: *const f64, count: usize) -> *mut c_void {
    // SAFETY: by this function's contract.
    let bounds = unsafe { std::slice::from_raw_parts(bounds, count) }.to_vec();
    Box::into_raw(Box::new(bounds)).cast()
}

/// # Safety
/// As [`cmt_counter_create`]; the buckets are from [`cmt_histogram_buckets_create_size`] and now the histogram's.
pub unsafe extern "C" fn cmt_histogram_create(
    _cmt: *mut c_void,
    namespace: *const c_char,
    subsystem: *const c_char,
    name: *const c_char,
    _help: *const c_char,
    buckets: *mut c_void,
    count: c_int,
    keys: *const *const c_char,
) -> *mut c_void {
    // SAFETY: by this function's contract.
    unsafe {
        let bounds = *Box::from_raw(buckets.cast::<Vec<f64>>());
        create("histogram", [namespace, subsystem, name], bounds, count, keys)
    }
}

/// # Safety
/// As the host's: the metric is one of ours, and there are as many labels as `count` says.
pub unsafe extern "C" fn cmt_counter_set(
    metric: *mut c_void,
    _timestamp: u64,
    value: f64,
    count: c_int,
    labels: *const *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    let (metric, labels) = unsafe { (&*metric.cast::<Metric>(), texts(count, labels)) };
    metric.set(metric.series("", &labels, None), value);
    0
}

/// # Safety
/// As [`cmt_counter_set`].
pub unsafe extern "C" fn cmt_gauge_set(
    metric: *mut c_void,
    timestamp: u64,
    value: f64,
    count: c_int,
    labels: *const *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { cmt_counter_set(metric, timestamp, value, count, labels) }
}

/// # Safety
/// As [`cmt_counter_set`]; `buckets` has one more than the histogram has bounds.
pub unsafe extern "C" fn cmt_histogram_set_default(
    metric: *mut c_void,
    _timestamp: u64,
    buckets: *const u64,
    sum: f64,
    total: u64,
    count: c_int,
    labels: *const *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    let (metric, labels) = unsafe { (&*metric.cast::<Metric>(), texts(count, labels)) };
    // SAFETY: by this function's contract.
    let buckets = unsafe { std::slice::from_raw_parts(buckets, metric.bounds.len() + 1) };
    let bounds = metric.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (bound, bucket) in bounds.zip(buckets) {
        metric.set(metric.series("_bucket", &labels, Some(format!("le=\"{bound}\""))), *bucket as f64);
    }
    metric.set(metric.series("_sum", &labels, None), sum);
    metric.set(metric.series("_count", &labels, None), total as f64);
    0
}

/// # Safety
/// As [`cmt_counter_create`].
unsafe fn create(
    kind: &'static str,
    name: [*const c_char; 3],
    bounds: Vec<f64>,
    count: c_int,
    keys: *const *const c_char,
) -> *mut c_void {
    // SAFETY: by this function's contract.
    let (name, keys) = unsafe { (name.map(|part| text(part)).join("_"), texts(count, keys)) };
    let mut state = state();
    state.thread.get_or_insert(thread::current().id());
    state.kinds.insert(name.clone(), kind);
    state.metrics.push(Box::new(Metric { name, kind, keys, bounds }));
    state.metrics.last().map_or(ptr::null_mut(), |metric| ptr::from_ref(&**metric).cast_mut().cast())
}

/// # Safety
/// `count` NUL-terminated texts.
unsafe fn texts(count: c_int, texts: *const *const c_char) -> Vec<String> {
    // SAFETY: by this function's contract.
    unsafe { (0..count as usize).map(|index| text(*texts.add(index))).collect() }
}

/// # Safety
/// NUL-terminated.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
