//! The host's own metrics: ours are created among those of the output, and appear where the host shows them.
//!
//! The host's metrics library, cmetrics, is not thread-safe, so little is done here: all series are created on the
//! host's thread while it initializes the output, before it reads them, because creating one changes a list that the
//! host walks. Later only values are set, which are atomic, and each look-up walks lists that no longer change. The
//! host frees them with the output, after the delivery thread has ended.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::time::SystemTime;

use super::bindings::{
    cmt_create_fn, cmt_histogram_buckets_create_size_fn, cmt_histogram_create_fn, cmt_histogram_set_default_fn,
    cmt_set_fn, flb_output_get_cmt_instance_fn,
};
use super::presence::Presence;
use super::symbols;
use crate::clock::{Clock, SystemClock};
use crate::metrics::{BOUNDS, Exporter, Family, Kind, series};

/// The prefix of all names; the host joins the parts with `_`.
const NAMESPACE: &CStr = c"fluentbit";
const SUBSYSTEM: &CStr = c"output_kinesis";

/// The metrics of one output in its host.
struct HostMetrics {
    functions: Functions,
    series: Vec<Series>,
    presence: Arc<Presence>,
}

struct Series {
    kind: Kind,
    /// The host's counter, gauge or histogram.
    metric: *mut c_void,
    labels: Labels,
}

/// Texts as the host's functions take them.
struct Labels {
    /// What the pointers refer to.
    _texts: Vec<CString>,
    pointers: Vec<*mut c_char>,
}

// SAFETY: the host's metrics live as long as its output is present, and are used only then; what is done with them on
// our thread is atomic, and the texts are ours.
unsafe impl Send for HostMetrics {}

#[derive(Clone, Copy)]
struct Functions {
    counter_create: cmt_create_fn,
    counter_set: cmt_set_fn,
    gauge_create: cmt_create_fn,
    gauge_set: cmt_set_fn,
    buckets_create: cmt_histogram_buckets_create_size_fn,
    histogram_create: cmt_histogram_create_fn,
    histogram_set: cmt_histogram_set_default_fn,
}

/// Creates all series of an output to `stream`, with value zero. `None` if the host has no metrics of outputs (before
/// 2.0), or unknown functions for them.
///
/// # Safety
/// Called on the host's thread while it initializes its output `instance`, which is there as long as `presence` says.
pub(crate) unsafe fn open(instance: *mut c_void, stream: &str, presence: Arc<Presence>) -> Option<Box<dyn Exporter>> {
    let functions = known_functions()?;
    // SAFETY: the type is that of the host's function, the same in all versions that have it.
    let registry: flb_output_get_cmt_instance_fn = unsafe { symbols::find(REGISTRY) };
    // SAFETY: by this function's contract.
    let registry = unsafe { registry?(instance) };
    // SAFETY: by this function's contract.
    let name = unsafe { symbols::output_name(instance) }?;
    let created = (!registry.is_null()).then(|| create(functions, registry, &name, stream))??;
    Some(Box::new(HostMetrics { functions, series: created, presence }))
}

const REGISTRY: &CStr = c"flb_output_get_cmt_instance";

/// The functions, if all of them exist, are the host's own, and of a known version.
fn known_functions() -> Option<Functions> {
    let names = [
        REGISTRY,
        c"cmt_counter_create",
        c"cmt_counter_set",
        c"cmt_gauge_create",
        c"cmt_gauge_set",
        c"cmt_histogram_buckets_create_size",
        c"cmt_histogram_create",
        c"cmt_histogram_set_default",
    ];
    if !symbols::is_known_version() || !names.into_iter().all(symbols::is_hosts_own) {
        return None;
    }
    // SAFETY: the types are those of the host's functions of these names, the same in all versions (the header).
    Some(unsafe {
        Functions {
            counter_create: symbols::find(c"cmt_counter_create"),
            counter_set: symbols::find(c"cmt_counter_set"),
            gauge_create: symbols::find(c"cmt_gauge_create"),
            gauge_set: symbols::find(c"cmt_gauge_set"),
            buckets_create: symbols::find(c"cmt_histogram_buckets_create_size"),
            histogram_create: symbols::find(c"cmt_histogram_create"),
            histogram_set: symbols::find(c"cmt_histogram_set_default"),
        }
    })
}

fn create(functions: Functions, registry: *mut c_void, name: &CStr, stream: &str) -> Option<Vec<Series>> {
    let mut created: Vec<Series> = Vec::new();
    let mut last: Option<(&'static str, *mut c_void)> = None;
    for (family, label) in series() {
        let metric = match last {
            Some((last, metric)) if last == family.name => metric,
            _ => create_metric(functions, registry, family)?,
        };
        last = Some((family.name, metric));
        let texts =
            [Some(name.to_owned()), CString::new(stream).ok(), label.and_then(|label| CString::new(label).ok())];
        let series = Series { kind: family.kind, metric, labels: Labels::new(texts) };
        // The first value creates the series.
        functions.set(&series, 0);
        created.push(series);
    }
    Some(created)
}

/// The metric itself, without series yet.
fn create_metric(functions: Functions, registry: *mut c_void, family: &Family) -> Option<*mut c_void> {
    let (metric, help) = (CString::new(family.name).ok()?, CString::new(family.help).ok()?);
    let label = family.label.and_then(|(label, _)| CString::new(label).ok());
    let mut keys = Labels::new([Some(c"name".to_owned()), Some(c"stream".to_owned()), label]);
    let count = keys.pointers.len() as c_int;
    let keys = keys.pointers.as_mut_ptr();
    let (namespace, subsystem) = (NAMESPACE.as_ptr().cast_mut(), SUBSYSTEM.as_ptr().cast_mut());
    let (metric, help) = (metric.as_ptr().cast_mut(), help.as_ptr().cast_mut());
    // SAFETY: the host's functions copy all texts and change none; the registry is the output's own, and only this
    // thread uses it yet. A histogram owns its buckets.
    let created = unsafe {
        match family.kind {
            Kind::Counter => (functions.counter_create?)(registry, namespace, subsystem, metric, help, count, keys),
            Kind::Gauge => (functions.gauge_create?)(registry, namespace, subsystem, metric, help, count, keys),
            Kind::Histogram => {
                let mut bounds = BOUNDS;
                let buckets = (functions.buckets_create?)(bounds.as_mut_ptr(), bounds.len());
                if buckets.is_null() {
                    return None;
                }
                (functions.histogram_create?)(registry, namespace, subsystem, metric, help, buckets, count, keys)
            }
        }
    };
    (!created.is_null()).then_some(created)
}

impl Labels {
    fn new(texts: [Option<CString>; 3]) -> Labels {
        let texts: Vec<CString> = texts.into_iter().flatten().collect();
        let pointers = texts.iter().map(|text| text.as_ptr().cast_mut()).collect();
        Labels { _texts: texts, pointers }
    }
}

impl Functions {
    fn set(self, series: &Series, value: u64) {
        let (metric, labels) = (series.metric, &series.labels.pointers);
        let (count, labels) = (labels.len() as c_int, labels.as_ptr().cast_mut());
        // SAFETY: the metric is of this kind and lives (see HostMetrics); the labels are NUL-terminated and not
        // changed.
        unsafe {
            match (series.kind, self.counter_set, self.gauge_set) {
                (Kind::Counter, Some(set), _) | (Kind::Gauge, _, Some(set)) => {
                    set(metric, now(), value as f64, count, labels);
                }
                (Kind::Histogram, ..) => self.set_histogram(series, &[value; BOUNDS.len() + 1], 0.0),
                _ => {}
            }
        }
    }

    fn set_histogram(self, series: &Series, classes: &[u64; BOUNDS.len() + 1], sum: f64) {
        let (Some(set), [.., all]) = (self.histogram_set, classes) else { return };
        let labels = &series.labels.pointers;
        let (count, labels) = (labels.len() as c_int, labels.as_ptr().cast_mut());
        // SAFETY: as above; the metric was created with as many buckets as there are bounds, and the host has one more.
        unsafe { set(series.metric, now(), classes.as_ptr().cast_mut(), sum, *all, count, labels) };
    }
}

impl Exporter for HostMetrics {
    fn set(&self, series: usize, value: u64) {
        let Some(_held) = self.presence.hold() else { return };
        let series = self.series.get(series).filter(|series| series.kind != Kind::Histogram);
        series.iter().for_each(|series| self.functions.set(series, value));
    }

    fn set_histogram(&self, series: usize, classes: &[u64; BOUNDS.len() + 1], sum: f64) {
        let Some(_held) = self.presence.hold() else { return };
        let series = self.series.get(series).filter(|series| series.kind == Kind::Histogram);
        series.iter().for_each(|series| self.functions.set_histogram(series, classes, sum));
    }
}

/// The time for a value, in nanoseconds.
fn now() -> u64 {
    let now = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default()
}
