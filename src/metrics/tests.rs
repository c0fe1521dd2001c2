use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl Exporter for Shown {
    fn set(&self, series: usize, value: u64) {
        self.0.lock().unwrap().push(format!("{} {value}", name(series)));
    }

    fn set_histogram(&self, series: usize, buckets: &[u64; BOUNDS.len() + 1], sum: f64) {
        self.0.lock().unwrap().push(format!("{} {buckets:?} {sum}", name(series)));
    }
}

fn name(place: usize) -> String {
    let (family, label) = series().nth(place).unwrap();
    label.map_or(family.name.to_owned(), |label| format!("{}{{{label}}}", family.name))
}

fn shown() -> (Metrics, Shown) {
    let shown = Shown::default();
    (Metrics::new(Some(Box::new(shown.clone()))), shown)
}

#[test]
fn the_table_is_in_the_order_of_its_metrics() {
    let (mut one, mut labelled) = (0.., 0..);
    for family in TABLE {
        let (metric, place) = match family.metric {
            AnyMetric::One(metric) => (metric as usize, one.next()),
            AnyMetric::Labelled(metric) => (metric as usize, labelled.next()),
        };
        assert_eq!(Some(metric), place, "{}", family.name);
        assert_eq!(family.label.is_some(), matches!(family.metric, AnyMetric::Labelled(_)), "{}", family.name);
    }
    assert_eq!(series().count(), SERIES);
}

/// https://prometheus.io/docs/practices/naming/
#[test]
fn names_are_as_prometheus_wants_them() {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    for family in TABLE {
        assert!(is_word(family.name), "{}", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.kind != Kind::Histogram || family.name.ends_with("_seconds"), "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains('|'), "{}", family.name);
        if let Some((label, values)) = family.label {
            assert!(is_word(label) && !["name", "stream", "le"].contains(&label), "{label}");
            assert!(values.iter().all(|value| value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')));
        }
    }
    let mut names = series().enumerate().map(|(place, _)| name(place)).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), SERIES);
}

#[test]
fn what_changed_is_shown_once() {
    let (metrics, shown) = shown();
    metrics.publish();
    metrics.add(Metric::RecordsDelivered, 3);
    metrics.add(Metric::RecordsDelivered, 4);
    metrics.add_by(RequestOutcome::Partial, 1);
    metrics.set(Metric::RequestsInFlight, 2);
    metrics.publish();
    metrics.publish();
    metrics.set(Metric::RequestsInFlight, 0);
    metrics.publish();
    assert_eq!(
        *shown.0.lock().unwrap(),
        ["records_delivered_total 7", "requests_total{partial} 1", "requests_in_flight 2", "requests_in_flight 0"]
    );
}

#[test]
fn a_time_is_in_every_bucket_whose_bound_it_keeps() {
    let (metrics, shown) = shown();
    for milliseconds in [5, 6, 1000, 31_000] {
        metrics.observe(Metric::RequestTime, Duration::from_millis(milliseconds));
    }
    metrics.publish();
    let expected = "request_duration_seconds [1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4] 32.011";
    assert_eq!(*shown.0.lock().unwrap(), [expected]);
    assert_eq!(metrics.get(Metric::RequestTime), 4);
}

#[test]
fn shards_are_counted_up_to_a_bound_and_the_hottest_are_named() {
    let metrics = Metrics::default();
    (0..100).for_each(|shard| metrics.throttled_by_shard(Some(shard), 1));
    metrics.throttled_by_shard(Some(7), 5);
    metrics.throttled_by_shard(None, 2);
    assert_eq!(metrics.get(Metric::RecordsThrottled), 107);
    assert_eq!(metrics.get(Metric::ThrottledShards), 64);
    let shards = metrics.shards();
    assert!(shards.starts_with("shardId-000000000007 6, shardId-000000000000 1, "), "{shards}");
    assert!(shards.ends_with("shardId-000000000006 1, others 94"), "{shards}");
}

#[test]
fn the_line_has_everything_except_zeros() {
    let metrics = Metrics::default();
    assert_eq!(metrics.line(), "counts:");
    metrics.add(Metric::RecordsDelivered, 7);
    metrics.add_by(RequestOutcome::Ok, 1);
    metrics.observe(Metric::RequestTime, Duration::from_millis(250));
    metrics.throttled_by_shard(Some(3), 2);
    assert_eq!(
        metrics.line(),
        "counts: records_delivered 7, records_throttled 2, throttled_shards 1, requests{ok} 1, \
         request_duration_seconds 1 (sum 0.250), throttled by shardId-000000000003 2"
    );
}
