//! What is known of the stream, and what follows for requests.
//!
//! A stream may distribute records itself, whatever their keys (record distribution AUTO), and that may change at any
//! time. The service still takes aggregates then, but consumers drop those whose keys do not belong to the shard in
//! which they are. So aggregates are sent only if the stream goes by keys, as far as that is known, or if replies can
//! be checked against the shards: what is in a wrong shard is then sent again, record by record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use crate::deliver::settings::{RecordDistribution, Settings};
use crate::deliver::stream::report::Reporter;
use crate::kinesis::control::describe::Description;
use crate::kinesis::limits;
use crate::kinesis::reply::Response;
use crate::kinesis::request::Batch;
use crate::kinesis::shards::{Placement, ShardMap};
use crate::log::Level;
use crate::metrics::Metric;
use crate::pack::{Aggregation, RequestSettings};

/// How long keys are sent after a request without them was refused.
const KEYS_AFTER_REFUSAL: Duration = Duration::from_secs(600);

/// Who chooses the shard of a record, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distribution {
    Unknown,
    /// Its keys.
    ByKey,
    /// The service, if the map of the shards is right. A new map will tell.
    Suspected,
    /// The service: two maps in a row disagreed with replies.
    Inferred,
    /// The service: it says so.
    Auto,
}

impl Distribution {
    fn is_auto(self) -> bool {
        matches!(self, Distribution::Inferred | Distribution::Auto)
    }
}

/// What is known of one stream.
pub(in crate::deliver) struct Facts {
    configured: Rc<RequestSettings>,
    expected: RecordDistribution,
    follows_record_size: bool,
    reporter: Reporter,
    distribution: Cell<Distribution>,
    map: RefCell<Option<Rc<ShardMap>>>,
    /// The number of maps so far, and that of the first one that disagreed with a reply.
    maps: Cell<u64>,
    suspected_at: Cell<Option<u64>>,
    /// Whether the service refuses to say, so that waiting for it is pointless.
    cannot_list: Cell<bool>,
    cannot_describe: Cell<bool>,
    max_record_bytes: Cell<usize>,
    /// When a request without keys was refused.
    keys_refused_at: Cell<Option<Instant>>,
    /// The settings that follow from all this.
    current: RefCell<Rc<RequestSettings>>,
    pub(in crate::deliver) shards_pace: Pace,
    pub(super) description_pace: Pace,
}

impl Facts {
    pub(in crate::deliver) fn new(
        configured: &Rc<RequestSettings>,
        settings: &Settings,
        reporter: Reporter,
    ) -> Rc<Facts> {
        let facts = Rc::new(Facts {
            configured: Rc::clone(configured),
            expected: settings.record_distribution,
            follows_record_size: settings.follows_record_size,
            reporter,
            distribution: Cell::new(match settings.record_distribution {
                RecordDistribution::Detect => Distribution::Unknown,
                RecordDistribution::User => Distribution::ByKey,
                RecordDistribution::Auto => Distribution::Auto,
            }),
            map: RefCell::default(),
            maps: Cell::new(0),
            suspected_at: Cell::new(None),
            cannot_list: Cell::new(false),
            cannot_describe: Cell::new(false),
            max_record_bytes: Cell::new(configured.record.max_bytes),
            keys_refused_at: Cell::new(None),
            current: RefCell::new(Rc::clone(configured)),
            shards_pace: Pace::of_shards(),
            description_pace: Pace::of_description(),
        });
        facts.count(i64::from(facts.ignores_keys()));
        facts
    }

    fn detects(&self) -> bool {
        self.expected == RecordDistribution::Detect
    }

    fn makes_kpl(&self) -> bool {
        matches!(self.configured.aggregation, Some(Aggregation::Kpl { .. }))
    }

    fn packs_by_shard(&self) -> bool {
        matches!(self.configured.aggregation, Some(Aggregation::Kpl { by_shard: true, .. }))
    }

    pub(super) fn needs_shards(&self) -> bool {
        match self.expected {
            RecordDistribution::Detect => self.makes_kpl(),
            RecordDistribution::User => self.packs_by_shard(),
            RecordDistribution::Auto => false,
        }
    }

    pub(super) fn needs_description(&self) -> bool {
        self.follows_record_size || self.detects() && (self.makes_kpl() || self.configured.omits_random_keys)
    }

    /// Whether the stream distributes records itself.
    pub(super) fn ignores_keys(&self) -> bool {
        self.distribution.get().is_auto()
    }

    /// Whether consumers will get aggregates.
    pub(in crate::deliver) fn allows_aggregates(&self) -> bool {
        let is_known = match self.distribution.get() {
            Distribution::ByKey => true,
            Distribution::Unknown => self.cannot_describe.get(),
            Distribution::Suspected | Distribution::Inferred | Distribution::Auto => return false,
        };
        // Against the map, replies can be checked.
        !self.detects() || self.map.borrow().is_some() || is_known && self.cannot_list.get()
    }

    /// How requests are made now.
    pub(in crate::deliver) fn requests(&self) -> Rc<RequestSettings> {
        let mut aggregation = self.configured.aggregation;
        if self.makes_kpl() && !self.allows_aggregates() {
            aggregation = None;
        }
        let wants_keys = self.keys_refused_at.get().is_some_and(|at| at.elapsed() < KEYS_AFTER_REFUSAL);
        let omits_random_keys = self.configured.omits_random_keys && self.ignores_keys() && !wants_keys;
        let max_bytes = self.max_record_bytes.get();
        let mut current = self.current.borrow_mut();
        if (current.aggregation, current.omits_random_keys, current.record.max_bytes)
            != (aggregation, omits_random_keys, max_bytes)
        {
            let mut requests = RequestSettings { aggregation, omits_random_keys, ..(*self.configured).clone() };
            requests.record.max_bytes = max_bytes;
            *current = Rc::new(requests);
        }
        Rc::clone(&current)
    }

    /// The shards by which records of several keys may share an aggregate.
    pub(in crate::deliver) fn shards_to_pack_by(&self) -> Option<Rc<ShardMap>> {
        self.map.borrow().clone().filter(|_| self.packs_by_shard())
    }

    /// Compares the shards in a reply with those to which the entries' keys belong. Returns the entries, by index, that
    /// consumers drop.
    pub(in crate::deliver) fn misplaced(&self, batch: &Batch, response: &Response) -> Vec<usize> {
        let Some(map) = self.map.borrow().clone().filter(|_| batch.has_groups()) else { return Vec::new() };
        let Some(ids) = response.shard_ids(batch.entries().len()) else { return Vec::new() };
        let (mut misplaced, mut is_foreign) = (Vec::new(), false);
        for (index, (entry, id)) in batch.entries().iter().zip(&ids).enumerate().filter(|(_, (_, id))| !id.is_empty()) {
            match batch.hash_key(entry).map(|hash_key| map.placement(hash_key, id)) {
                None | Some(Placement::Expected) => {}
                Some(Placement::New) => self.shards_pace.hurry(),
                Some(Placement::Foreign) => {
                    is_foreign = true;
                    misplaced.extend(Some(index).filter(|_| batch.is_aggregate(entry)));
                }
            }
        }
        if is_foreign {
            self.suspect();
        }
        if !self.detects() {
            misplaced.clear();
        }
        misplaced
    }

    /// A record is in a shard to which its key does not belong: the map is wrong, or the stream ignores keys.
    fn suspect(&self) {
        self.shards_pace.hurry();
        if !self.detects() || !matches!(self.distribution.get(), Distribution::Unknown | Distribution::ByKey) {
            return;
        }
        self.description_pace.hurry();
        let maps = self.maps.get();
        if self.suspected_at.get().is_some_and(|before| before + 1 == maps) {
            return self.set(Distribution::Inferred);
        }
        self.suspected_at.set(Some(maps));
        self.set(Distribution::Suspected);
        self.reporter.log.write(Level::Info, || {
            format!(
                "aggregates are in shards of {} to which their keys do not belong: sending their records again one by one",
                self.reporter.destination
            )
        });
    }

    /// Notes the stream's shards. Returns whether they are news.
    pub(super) fn listed(&self, map: ShardMap) -> bool {
        self.cannot_list.set(false);
        self.maps.set(self.maps.get() + 1);
        let is_news = self.map.borrow().as_deref() != Some(&map);
        self.map.replace(Some(Rc::new(map)));
        if self.distribution.get() == Distribution::Suspected {
            self.set(Distribution::Unknown);
        }
        is_news
    }

    /// Notes that the service does not list the shards.
    pub(super) fn not_listed(&self) {
        self.cannot_list.set(true);
    }

    /// Notes the stream's configuration. Returns whether it is news.
    pub(super) fn described(&self, Description { is_auto, max_record_bytes }: Description) -> bool {
        let before = (self.distribution.get(), self.max_record_bytes.get());
        self.cannot_describe.set(false);
        if self.detects() {
            self.suspected_at.set(None);
            self.set(if is_auto { Distribution::Auto } else { Distribution::ByKey });
        }
        if let Some(bytes) = max_record_bytes.filter(|_| self.follows_record_size) {
            self.max_record_bytes.set(bytes.clamp(limits::DEFAULT_RECORD_BYTES, limits::MAX_RECORD_BYTES));
        }
        before != (self.distribution.get(), self.max_record_bytes.get())
    }

    /// Notes that the service does not describe the stream.
    pub(super) fn not_described(&self) {
        self.cannot_describe.set(true);
    }

    /// Notes that a record of this many bytes was refused as too large, and how many the service allows if it said
    /// so. Returns whether records are smaller from now on, so that it is worth packing again.
    pub(in crate::deliver) fn record_too_large(&self, bytes: usize, allowed: Option<usize>) -> bool {
        if !self.follows_record_size {
            return false;
        }
        self.description_pace.hurry();
        // Every stream allows the default.
        let limit = allowed.unwrap_or_default().max(limits::DEFAULT_RECORD_BYTES);
        if bytes <= limit {
            return false;
        }
        self.max_record_bytes.set(self.max_record_bytes.get().min(limit));
        true
    }

    /// Notes that a request without keys was refused: the stream may need them again.
    pub(in crate::deliver) fn keys_wanted(&self, reason: &str) {
        self.description_pace.hurry();
        self.keys_refused_at.set(Some(Instant::now()));
        self.reporter.log.folded(Level::Warn, "keys wanted", || {
            format!("a request without partition keys was refused: {reason}; sending partition keys for now")
        });
    }

    fn set(&self, new: Distribution) {
        let (was_auto, is_auto) = (self.distribution.replace(new).is_auto(), new.is_auto());
        let Reporter { log, destination, .. } = &self.reporter;
        if is_auto && !was_auto {
            self.count(1);
            let source = if new == Distribution::Auto { "as its configuration says" } else { "as its replies show" };
            if self.makes_kpl() {
                log.write(Level::Warn, || {
                    format!(
                        "{destination} distributes records itself (AUTO), {source}: consumers would drop aggregates, so records are sent one by one"
                    )
                });
            } else {
                log.write(Level::Info, || {
                    format!("{destination} distributes records itself (AUTO), {source}: partition keys are not sent")
                });
            }
        } else if was_auto && !is_auto {
            self.count(-1);
            self.shards_pace.hurry();
            let again = if self.makes_kpl() { "records are aggregated" } else { "partition keys are sent" };
            log.write(Level::Info, || format!("{destination} distributes records by partition keys: {again} again"));
        }
    }

    /// Changes the number of streams that distribute records themselves.
    fn count(&self, change: i64) {
        let metrics = &self.reporter.metrics;
        metrics.set(Metric::AutoStreams, metrics.get(Metric::AutoStreams).saturating_add_signed(change));
    }

    /// What packing by shard does while the shards are unknown; `None` without it.
    pub(super) fn without_shards(&self) -> Option<&'static str> {
        let then = if self.map.borrow().is_some() { "uses the last known shards" } else { "keeps keys apart" };
        self.packs_by_shard().then_some(then)
    }

    /// What is done while it is unknown how the stream distributes records; `None` if that does not matter.
    pub(super) fn without_description(&self) -> Option<&'static str> {
        match (self.detects(), self.makes_kpl(), self.configured.omits_random_keys) {
            (true, true, _) => Some("goes by the shards in replies"),
            (true, false, true) => Some("sends partition keys"),
            _ => None,
        }
    }

    /// The current size limit of records.
    pub(super) fn max_record_bytes(&self) -> usize {
        self.max_record_bytes.get()
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        if self.ignores_keys() {
            self.count(-1);
        }
    }
}
