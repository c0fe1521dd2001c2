//! The metrics of an output.
//!
//! They are plain cells on the delivery thread, so counting is an addition without a lock. If the host has a metrics
//! endpoint, an [`Exporter`] publishes what changed: four times a second during a flush, and after it.

mod labels;
mod metric;
mod table;
mod top_counts;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use table::first;
use top_counts::TopCounts;

pub use labels::{Label, RefusalReason, RequestOutcome};
pub use metric::{AnyMetric, LabelledMetric, Metric};
pub use table::{BOUNDS, Family, Kind, PREFIX, SERIES, TABLE, series};

/// Where the host shows metrics. A series is identified by its index in [`series`].
pub trait Exporter: Send {
    /// Shows the value of a counter or gauge.
    fn set(&self, series: usize, value: u64);
    /// Shows a histogram: cumulative bucket counts by [`BOUNDS`] (the last is +Inf), and the sum in seconds.
    fn set_histogram(&self, series: usize, buckets: &[u64; BOUNDS.len() + 1], sum: f64);
}

/// The metrics of one output. Clones share the same cells.
#[derive(Clone)]
pub struct Metrics(Rc<Inner>);

struct Inner {
    values: [Cell<u64>; SERIES],
    /// The last published values.
    shown: [Cell<u64>; SERIES],
    request_time: Histogram,
    flush_time: Histogram,
    /// Throttled records by shard.
    throttled: RefCell<TopCounts<u64>>,
    /// Accepted records by stream, if there are several.
    streams: RefCell<TopCounts<Box<str>>>,
    exporter: Option<Box<dyn Exporter>>,
}

#[derive(Default)]
struct Histogram {
    buckets: RefCell<[u64; BOUNDS.len() + 1]>,
    sum: Cell<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// Creates metrics that are all zero, published by `exporter` if the host has a metrics endpoint.
    pub fn new(exporter: Option<Box<dyn Exporter>>) -> Self {
        Metrics(Rc::new(Inner {
            values: [const { Cell::new(0) }; SERIES],
            shown: [const { Cell::new(0) }; SERIES],
            request_time: Histogram::default(),
            flush_time: Histogram::default(),
            throttled: RefCell::default(),
            streams: RefCell::default(),
            exporter,
        }))
    }

    /// Adds to a counter without a label.
    pub(crate) fn add(&self, metric: Metric, amount: u64) {
        self.add_at(AnyMetric::One(metric), 0, amount);
    }

    /// Adds to the counter with this label.
    pub(crate) fn add_by<L: Label>(&self, label: L, amount: u64) {
        self.add_at(AnyMetric::Labelled(L::METRIC), label.place(), amount);
    }

    fn add_at(&self, metric: AnyMetric, place: usize, amount: u64) {
        if let Some(value) = self.cell(metric, place) {
            value.set(value.get() + amount);
        }
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, metric: Metric, amount: u64) {
        self.cell(AnyMetric::One(metric), 0).iter().for_each(|value| value.set(amount));
    }

    /// Sets a gauge to a time; `None` is 0.
    pub(crate) fn set_time(&self, metric: Metric, time: Option<SystemTime>) {
        let seconds = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.set(metric, seconds.map_or(0, |time| time.as_secs()));
    }

    /// Adds a duration to a histogram.
    pub(crate) fn observe(&self, metric: Metric, time: Duration) {
        let Some(histogram) = self.histogram(metric) else { return };
        let seconds = time.as_secs_f64();
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        for (bucket, bound) in histogram.buckets.borrow_mut().iter_mut().zip(bounds) {
            *bucket += u64::from(seconds <= bound);
        }
        histogram.sum.set(histogram.sum.get() + seconds);
        // A histogram's cell is its number of observations, which shows whether it changed.
        self.add(metric, 1);
    }

    /// Counts records that were throttled one by one, by shard number if the service named it.
    pub(crate) fn throttled_by_shard(&self, shard: Option<u64>, records: u64) {
        self.add(Metric::RecordsThrottled, records);
        let mut throttled = self.0.throttled.borrow_mut();
        throttled.add(shard, records);
        self.set(Metric::ThrottledShards, throttled.keys() as u64);
    }

    /// Counts records that one of several streams accepted.
    pub(crate) fn delivered_to(&self, stream: &str, records: u64) {
        if records > 0 {
            self.0.streams.borrow_mut().add(Some(stream.into()), records);
        }
    }

    /// The value of a counter or gauge, or the number of observations of a histogram.
    pub fn get(&self, metric: Metric) -> u64 {
        self.cell(AnyMetric::One(metric), 0).map_or(0, Cell::get)
    }

    /// The sum of a counter over all values of its label.
    pub fn total<L: Label>(&self) -> u64 {
        let places =
            TABLE.iter().find(|family| family.metric == AnyMetric::Labelled(L::METRIC)).map_or(0, Family::series);
        (0..places).filter_map(|place| self.cell(AnyMetric::Labelled(L::METRIC), place)).map(Cell::get).sum()
    }

    /// The value of the counter with this label.
    #[cfg(test)]
    pub(crate) fn get_by<L: Label>(&self, label: L) -> u64 {
        self.cell(AnyMetric::Labelled(L::METRIC), label.place()).map_or(0, Cell::get)
    }

    /// Publishes what changed since the last call.
    pub(crate) fn publish(&self) {
        let Some(exporter) = &self.0.exporter else { return };
        for (place, (value, shown)) in self.0.values.iter().zip(&self.0.shown).enumerate() {
            let value = value.get();
            if shown.replace(value) == value {
                continue;
            }
            match [Metric::RequestTime, Metric::FlushTime]
                .into_iter()
                .find(|metric| first(AnyMetric::One(*metric)) == place)
            {
                Some(metric) => self.histogram(metric).iter().for_each(|histogram| {
                    exporter.set_histogram(place, &histogram.buckets.borrow(), histogram.sum.get());
                }),
                None => exporter.set(place, value),
            }
        }
    }

    /// All non-zero values, on one line.
    pub(crate) fn line(&self) -> String {
        let mut line = "counts:".to_owned();
        for (place, (family, label)) in series().enumerate() {
            let value = self.0.values.get(place).map_or(0, Cell::get);
            if value == 0 {
                continue;
            }
            let name = family.name.trim_end_matches("_total");
            let label = label.map_or_else(String::new, |label| format!("{{{label}}}"));
            let histogram = match family.metric {
                AnyMetric::One(metric) => self.histogram(metric),
                AnyMetric::Labelled(_) => None,
            };
            let sum = histogram.map(|histogram| format!(" (sum {:.3})", histogram.sum.get()));
            line += &format!(" {name}{label} {value}{},", sum.unwrap_or_default());
        }
        let (streams, shards) = (self.0.streams.borrow().text(|name| name.to_string()), self.shards());
        let mut line = line.trim_end_matches(',').to_owned();
        for (what, counts) in [("delivered to", streams), ("throttled by", shards)] {
            if !counts.is_empty() {
                line += &format!(", {what} {counts}");
            }
        }
        line
    }

    /// The shards that throttled most, with their number of records; empty if none did.
    pub(crate) fn shards(&self) -> String {
        self.0.throttled.borrow().text(|shard| format!("shardId-{shard:012}"))
    }

    fn histogram(&self, metric: Metric) -> Option<&Histogram> {
        match metric {
            Metric::RequestTime => Some(&self.0.request_time),
            Metric::FlushTime => Some(&self.0.flush_time),
            _ => None,
        }
    }

    fn cell(&self, metric: AnyMetric, place: usize) -> Option<&Cell<u64>> {
        self.0.values.get(first(metric) + place)
    }
}

#[cfg(test)]
mod tests;
