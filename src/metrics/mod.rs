//! What operators see of an output: its numbers.
//!
//! They are plain cells on the delivery thread, counted whether anybody looks or not. Where the host has an endpoint for
//! metrics, an [`Exporter`] shows them there: four times a second during a flush and at its end, and only those that
//! changed. So a request costs a few additions, and no lock is taken.

mod labels;
mod table;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use table::first;

pub use labels::{OUTCOMES, RefusalReason};
pub use table::{BOUNDS, Family, Kind, Metric, PREFIX, SERIES, TABLE, series};

/// Where the host shows metrics. A series is named by its place in [`series`].
pub trait Exporter: Send {
    /// Shows the value of a counter or gauge.
    fn set(&self, series: usize, value: u64);
    /// Shows a histogram: for each of [`BOUNDS`] how many times were no longer, and how many there are; their sum in
    /// seconds.
    fn set_histogram(&self, series: usize, classes: &[u64; BOUNDS.len() + 1], sum: f64);
}

/// Shards of which throttled records are counted by themselves.
const MAX_SHARDS: usize = 64;

/// The numbers of one output. A clone is another handle to them.
#[derive(Clone)]
pub struct Metrics(Rc<Inner>);

struct Inner {
    values: [Cell<u64>; SERIES],
    /// What the exporter was told.
    shown: [Cell<u64>; SERIES],
    request_time: Histogram,
    flush_time: Histogram,
    throttled: RefCell<Throttled>,
    exporter: Option<Box<dyn Exporter>>,
}

#[derive(Default)]
struct Histogram {
    classes: RefCell<[u64; BOUNDS.len() + 1]>,
    sum: Cell<f64>,
}

/// Throttled records by shard, and those of further shards and of none.
#[derive(Default)]
struct Throttled {
    shards: BTreeMap<u64, u64>,
    others: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// All zero, shown by `exporter`.
    pub fn new(exporter: Option<Box<dyn Exporter>>) -> Self {
        Metrics(Rc::new(Inner {
            values: [const { Cell::new(0) }; SERIES],
            shown: [const { Cell::new(0) }; SERIES],
            request_time: Histogram::default(),
            flush_time: Histogram::default(),
            throttled: RefCell::default(),
            exporter,
        }))
    }

    /// Adds to a counter without a label.
    pub fn add(&self, metric: Metric, amount: u64) {
        self.add_to(metric, 0, amount);
    }

    /// Adds to the counter with the label's value at `place` in the table.
    pub fn add_to(&self, metric: Metric, place: usize, amount: u64) {
        if let Some(value) = self.cell(metric, place) {
            value.set(value.get() + amount);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, amount: u64) {
        self.cell(metric, 0).iter().for_each(|value| value.set(amount));
    }

    /// Sets a gauge to a time; 0 is none.
    pub fn set_time(&self, metric: Metric, time: Option<SystemTime>) {
        let seconds = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.set(metric, seconds.map_or(0, |time| time.as_secs()));
    }

    /// Adds a time to a histogram.
    pub fn observe(&self, metric: Metric, time: Duration) {
        let Some(histogram) = self.histogram(metric) else { return };
        let seconds = time.as_secs_f64();
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        for (class, bound) in histogram.classes.borrow_mut().iter_mut().zip(bounds) {
            *class += u64::from(seconds <= bound);
        }
        histogram.sum.set(histogram.sum.get() + seconds);
        // Its value is how many there are, by which a change is seen.
        self.add(metric, 1);
    }

    /// Counts a throttled record, by the number of its shard where the service named it.
    pub fn throttled(&self, shard: Option<u64>, records: u64) {
        self.add(Metric::RecordsThrottled, records);
        let Throttled { shards, others } = &mut *self.0.throttled.borrow_mut();
        let known = shards.len();
        let count = match shard {
            Some(shard) if known < MAX_SHARDS || shards.contains_key(&shard) => shards.entry(shard).or_default(),
            _ => others,
        };
        *count += records;
        let shards = shards.len() as u64;
        self.set(Metric::ThrottledShards, shards);
    }

    /// The value of a counter or gauge, over all values of its label.
    pub fn get(&self, metric: Metric) -> u64 {
        let places = TABLE.get(metric as usize).map_or(0, Family::series);
        (0..places).map(|place| self.get_of(metric, place)).sum()
    }

    /// The value with the label's value at `place` in the table.
    pub fn get_of(&self, metric: Metric, place: usize) -> u64 {
        self.cell(metric, place).map_or(0, Cell::get)
    }

    /// Shows what changed since it was last called.
    pub fn publish(&self) {
        let Some(exporter) = &self.0.exporter else { return };
        for (place, (value, shown)) in self.0.values.iter().zip(&self.0.shown).enumerate() {
            let value = value.get();
            if shown.replace(value) == value {
                continue;
            }
            match [Metric::RequestTime, Metric::FlushTime].into_iter().find(|metric| first(*metric) == place) {
                Some(metric) => self.histogram(metric).iter().for_each(|histogram| {
                    exporter.set_histogram(place, &histogram.classes.borrow(), histogram.sum.get());
                }),
                None => exporter.set(place, value),
            }
        }
    }

    /// All numbers that are not zero, on one line.
    pub fn line(&self) -> String {
        let mut line = "counts:".to_owned();
        for (place, (family, label)) in series().enumerate() {
            let value = self.0.values.get(place).map_or(0, Cell::get);
            if value == 0 {
                continue;
            }
            let name = family.name.trim_end_matches("_total");
            let label = label.map_or_else(String::new, |label| format!("{{{label}}}"));
            let sum = self.histogram(family.metric).map(|histogram| format!(" (sum {:.3})", histogram.sum.get()));
            line += &format!(" {name}{label} {value}{},", sum.unwrap_or_default());
        }
        let shards = self.shards();
        if shards.is_empty() { line.trim_end_matches(',').to_owned() } else { format!("{line} throttled by {shards}") }
    }

    /// The shards that throttled most, with their records; empty when none did.
    pub fn shards(&self) -> String {
        const NAMED: usize = 8;
        let throttled = self.0.throttled.borrow();
        let mut shards: Vec<(u64, u64)> = throttled.shards.iter().map(|(shard, count)| (*shard, *count)).collect();
        shards.sort_by_key(|(shard, count)| (std::cmp::Reverse(*count), *shard));
        let others = throttled.others + shards.iter().skip(NAMED).map(|(_, count)| count).sum::<u64>();
        let named = shards.iter().take(NAMED).map(|(shard, count)| format!("shardId-{shard:012} {count}"));
        let others = (others > 0).then(|| format!("others {others}"));
        named.chain(others).collect::<Vec<_>>().join(", ")
    }

    fn histogram(&self, metric: Metric) -> Option<&Histogram> {
        match metric {
            Metric::RequestTime => Some(&self.0.request_time),
            Metric::FlushTime => Some(&self.0.flush_time),
            _ => None,
        }
    }

    fn cell(&self, metric: Metric, place: usize) -> Option<&Cell<u64>> {
        self.0.values.get(first(metric) + place)
    }
}

#[cfg(test)]
mod tests;
