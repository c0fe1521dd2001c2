//! Records are aggregated by the stream's shards, which are listed periodically.

use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::scripted::{delivery, settings};
use super::service::{Behaviour, FakeService, Reply, Request, Sent, judged, refusal, reply};
use crate::deliver::*;
use crate::kinesis::kpl::MAGIC;
use crate::kinesis::kpl::tests::user_records;
use crate::kinesis::shards::hash_key;
use crate::log::tests::TestLog;
use crate::pack::Aggregation;
use crate::record::partition_key::PartitionKey;

const LATENCY: Duration = Duration::from_millis(20);

/// A stream whose shards split and merge. A shard is a range; its number is its index.
#[derive(Default)]
pub(super) struct Kinesis {
    pub(super) shards: Vec<(u128, u128)>,
    pub(super) open: Vec<usize>,
    pub(super) page_size: usize,
    pub(super) denied: bool,
    pub(super) expired: bool,
    /// The `ListShards` calls: when, and with which body.
    pub(super) lists: Vec<(Duration, Value)>,
    pub(super) puts: usize,
    /// All Kinesis records, each with its shard.
    pub(super) stored: Vec<(usize, Sent)>,
    /// Whether it distributes records itself.
    pub(super) auto: bool,
    /// The answer to `DescribeStreamSummary`: its error, if any.
    pub(super) cannot_describe: Option<&'static str>,
    pub(super) max_record_kib: Option<usize>,
    /// When the stream was described.
    pub(super) descriptions: Vec<Duration>,
    /// Requests without a key that were refused, as a stream that needs keys does.
    pub(super) refused_without_keys: usize,
}

impl Kinesis {
    /// Creates shards of equal size.
    pub(super) fn new(shards: u128) -> Kinesis {
        let width = u128::MAX / shards;
        let end = |n| if n == shards - 1 { u128::MAX } else { (n + 1) * width - 1 };
        let shards: Vec<_> = (0..shards).map(|n| (n * width, end(n))).collect();
        Kinesis { open: (0..shards.len()).collect(), shards, page_size: 1000, ..Kinesis::default() }
    }

    fn add(&mut self, range: (u128, u128)) {
        self.open.push(self.shards.len());
        self.shards.push(range);
    }

    pub(super) fn split_all(&mut self) {
        for shard in std::mem::take(&mut self.open) {
            let (start, end) = self.shards[shard];
            let middle = start.midpoint(end);
            self.add((start, middle));
            self.add((middle + 1, end));
        }
    }

    fn merge_all(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        open.sort_by_key(|shard| self.shards[*shard]);
        for pair in open.chunks(2) {
            self.add((self.shards[pair[0]].0, self.shards[pair[pair.len() - 1]].1));
        }
    }

    fn owner(&self, hash_key: u128) -> usize {
        let holds = |shard: &&usize| (self.shards[**shard].0..=self.shards[**shard].1).contains(&hash_key);
        *self.open.iter().find(holds).unwrap()
    }

    fn page(&self, request: &Value) -> Reply {
        if self.expired {
            return refusal(400, "ExpiredTokenException", "expired");
        }
        if self.denied {
            return refusal(400, "AccessDeniedException", "not authorized to perform: kinesis:ListShards");
        }
        let from = match &request["NextToken"] {
            Value::String(token) => {
                assert!(request["StreamName"].is_null(), "{request}");
                token.parse().unwrap()
            }
            _ => {
                assert_eq!(request["StreamName"], "logs");
                0
            }
        };
        let shards: Vec<Value> =
            self.open.iter().skip(from).take(self.page_size).map(|shard| self.listed(*shard)).collect();
        let rest = self.open.len() > from + self.page_size;
        reply(200, json!({ "Shards": shards, "NextToken": rest.then(|| (from + self.page_size).to_string()) }))
    }

    fn listed(&self, shard: usize) -> Value {
        let (start, end) = self.shards[shard];
        let range = json!({ "StartingHashKey": start.to_string(), "EndingHashKey": end.to_string() });
        json!({ "ShardId": format!("shard {shard}"), "HashKeyRange": range })
    }

    fn store(&mut self, records: Vec<Sent>) -> Reply {
        self.puts += 1;
        if let Some(index) = records.iter().position(|record| record.key.is_empty()).filter(|_| !self.auto) {
            self.refused_without_keys += 1;
            let place = format!("records.{}.member.partitionKey", index + 1);
            let message = format!(
                "1 validation error detected: Value null at '{place}' failed to satisfy constraint: Member must not be null"
            );
            return refusal(400, "ValidationException", &message);
        }
        if let Some(limit) = self.max_record_kib.map(|kib| kib << 10) {
            let is_large = |record: &Sent| record.data.len() + record.key.len() > limit;
            if let Some(index) = records.iter().position(is_large) {
                let place = format!("records.{}.member.data", index + 1);
                let message = format!(
                    "1 validation error detected: Value at '{place}' failed to satisfy constraint: Member must have length less than or equal to {limit}"
                );
                return refusal(400, "ValidationException", &message);
            }
        }
        let store = |record: Sent| {
            let shard = match self.auto {
                true => self.open[(hash_key(&self.stored.len().to_string()) % self.open.len() as u128) as usize],
                false => self.owner(record.explicit_hash_key.unwrap_or_else(|| hash_key(&record.key))),
            };
            self.stored.push((shard, record));
            Ok(format!("shard {shard}"))
        };
        judged(records.into_iter().map(store))
    }

    /// What a consumer finds: key and data of each user record. Like the Kinesis Client Library, it drops a whole
    /// aggregate if the explicit hash key of one of its records, or the MD5 of its key, is outside the shard's range.
    pub(super) fn consumed(&self) -> Vec<(String, String)> {
        let mut consumed = Vec::new();
        for (shard, Sent { key, data, .. }) in &self.stored {
            let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
            if !data.starts_with(&MAGIC) {
                consumed.push((key.clone(), text(data)));
                continue;
            }
            let inside = user_records(data);
            let (start, end) = self.shards[*shard];
            let belongs = |(key, explicit, _): &(String, Option<String>, Vec<u8>)| {
                let hash_key = explicit.as_ref().map_or_else(|| hash_key(key), |digits| digits.parse().unwrap());
                start <= hash_key && hash_key <= end
            };
            if inside.iter().all(belongs) {
                consumed.extend(inside.into_iter().map(|(key, _, data)| (key, text(&data))));
            }
        }
        consumed
    }
}

impl Behaviour for Kinesis {
    async fn put(state: &RefCell<Self>, request: Request) -> Reply {
        tokio::time::sleep(LATENCY).await;
        state.borrow_mut().store(request.records)
    }

    async fn list(state: &RefCell<Self>, at: Duration, request: Value) -> Reply {
        tokio::time::sleep(LATENCY).await;
        let mut kinesis = state.borrow_mut();
        let reply = kinesis.page(&request);
        kinesis.lists.push((at, request));
        reply
    }

    async fn describe(state: &RefCell<Self>, at: Duration, request: Value) -> Reply {
        tokio::time::sleep(LATENCY).await;
        assert_eq!(request, json!({ "StreamName": "logs" }));
        let mut kinesis = state.borrow_mut();
        kinesis.descriptions.push(at);
        if let Some(code) = kinesis.cannot_describe {
            return refusal(400, code, "not authorized to perform: kinesis:DescribeStreamSummary");
        }
        let strategy = if kinesis.auto { "AUTO" } else { "USER_PARTITION_KEY" };
        let summary = json!({ "RecordDistributionStrategy": strategy, "MaxRecordSizeInKiB": kinesis.max_record_kib });
        reply(200, json!({ "StreamDescriptionSummary": summary }))
    }

    fn renew(&mut self) -> bool {
        std::mem::take(&mut self.expired)
    }
}

pub(super) struct Bench {
    pub(super) kinesis: Rc<RefCell<Kinesis>>,
    pub(super) delivery: Rc<Delivery<FakeService<Kinesis>>>,
    pub(super) log: TestLog,
    sent: Cell<usize>,
}

impl Bench {
    fn new(kinesis: Kinesis, by_shard: bool) -> Bench {
        Self::on(&Rc::new(RefCell::new(kinesis)), by_shard, 1)
    }

    fn on(kinesis: &Rc<RefCell<Kinesis>>, by_shard: bool, seed: u64) -> Bench {
        Self::with(kinesis, by_shard, seed, |_, _| {})
    }

    pub(super) fn with(
        kinesis: &Rc<RefCell<Kinesis>>,
        by_shard: bool,
        seed: u64,
        change: impl FnOnce(&mut Settings, &mut RequestSettings),
    ) -> Bench {
        let aggregation = Some(Aggregation::Kpl { max_bytes: 20_000, max_records: 1000, by_shard });
        let mut requests = RequestSettings { aggregation, ..RequestSettings::default() };
        requests.record.partition_key = PartitionKey::parse("k").unwrap();
        let mut settings = settings();
        change(&mut settings, &mut requests);
        let service = FakeService { state: Rc::clone(kinesis), start: Instant::now() };
        let log = TestLog::default();
        let delivery = delivery(service, requests, settings, Ledger::new(1 << 20), seed, &log);
        Bench { kinesis: Rc::clone(kinesis), delivery, log, sent: Cell::new(0) }
    }

    /// Runs `work` while the map is kept current.
    pub(super) async fn run(&self, work: impl Future<Output = ()>) {
        let keeper = Rc::clone(&self.delivery);
        let local = LocalSet::new();
        local.spawn_local(async move { keeper.watch().await });
        local.run_until(work).await;
    }

    /// Delivers a chunk of `records` records with `keys` keys.
    pub(super) async fn flush(&self, records: usize, keys: usize) {
        let mut chunk = Vec::new();
        for id in self.sent.get()..self.sent.get() + records {
            let body =
                rmpv::Value::Map(vec![("i".into(), id.into()), ("k".into(), format!("key {}", id % keys).into())]);
            rmpv::encode::write_value(&mut chunk, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
        }
        self.sent.set(self.sent.get() + records);
        assert_eq!(self.delivery.deliver(&chunk, b"app").await, Outcome::Delivered);
    }

    /// Every record exists once, under its own key, in order within its chunk.
    pub(super) fn assert_all_consumed(&self, keys: usize) {
        let mut consumed = self.kinesis.borrow().consumed();
        let expected = (0..self.sent.get()).map(|id| (format!("key {}", id % keys), id));
        let expected = expected.map(|(key, id)| (key.clone(), format!(r#"{{"i":{id},"k":"{key}"}}"#)));
        let mut expected: Vec<_> = expected.collect();
        consumed.sort();
        expected.sort();
        assert!(consumed == expected, "{} of {}", consumed.len(), expected.len());
    }
}

pub(super) async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_shards_take_ten_records_where_two_hundred_keys_take_two_hundred() {
    let mut counts = Vec::new();
    for by_shard in [false, true] {
        let bench = Bench::new(Kinesis::new(10), by_shard);
        bench
            .run(async {
                seconds(40).await;
                bench.flush(3000, 200).await;
            })
            .await;
        bench.assert_all_consumed(200);
        let kinesis = bench.kinesis.borrow();
        counts.push((kinesis.lists.len(), kinesis.stored.len()));
        for (shard, Sent { key, explicit_hash_key, data }) in &kinesis.stored {
            assert_eq!(by_shard, explicit_hash_key.is_some());
            assert_eq!(kinesis.owner(hash_key(key)), *shard, "the key of the first record is of the shard too");
            let inside = user_records(data);
            let digits = explicit_hash_key.map(|hash_key| hash_key.to_string());
            assert!(inside.iter().all(|(_, inner, _)| *inner == digits));
            assert!(inside.iter().all(|(key, _, _)| kinesis.owner(hash_key(key)) == *shard));
        }
    }
    assert_eq!(counts, [(0, 200), (1, 10)]);
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_keys_records_is_kept_within_a_chunk() {
    let bench = Bench::new(Kinesis::new(3), true);
    bench
        .run(async {
            seconds(40).await;
            bench.flush(5000, 7).await;
        })
        .await;
    let mut last = std::collections::HashMap::new();
    for (key, record) in bench.kinesis.borrow().consumed() {
        let id = serde_json::from_str::<Value>(&record).unwrap()["i"].as_u64();
        let before = last.insert(key, id);
        assert!(before.flatten() < id, "{before:?} {id:?}");
    }
    assert_eq!(last.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn no_record_is_lost_or_sent_twice_while_shards_split_and_merge_with_and_without_the_map() {
    for by_shard in [false, true] {
        let bench = Bench::new(Kinesis::new(4), by_shard);
        bench
            .run(async {
                for round in 0..120 {
                    match round % 40 {
                        10 | 12 | 20 => bench.kinesis.borrow_mut().split_all(),
                        15 | 25 | 30 => bench.kinesis.borrow_mut().merge_all(),
                        _ => {}
                    }
                    bench.flush(200, 50).await;
                    seconds(5).await;
                }
            })
            .await;
        bench.assert_all_consumed(50);
        let kinesis = bench.kinesis.borrow();
        assert_eq!(kinesis.puts, 120, "each request once");
        assert_eq!(bench.delivery.metrics().get(Metric::RecordsDelivered), 24_000);
        let lists = kinesis.lists.len();
        assert!(if by_shard { (5..=11).contains(&lists) } else { lists == 0 }, "{lists}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_names_another_shard_brings_a_new_map_within_a_minute_and_a_half() {
    let bench = Bench::new(Kinesis::new(4), true);
    bench
        .run(async {
            seconds(100).await;
            assert_eq!(bench.kinesis.borrow().lists.len(), 1);
            bench.kinesis.borrow_mut().split_all();
            seconds(30).await;
            assert_eq!(bench.kinesis.borrow().lists.len(), 1, "nobody has seen it yet");
            bench.flush(1000, 50).await;
            seconds(31).await;
            assert_eq!(bench.kinesis.borrow().lists.len(), 2);
            bench.flush(1000, 50).await;
        })
        .await;
    bench.assert_all_consumed(50);
    let kinesis = bench.kinesis.borrow();
    let used: std::collections::BTreeSet<usize> = kinesis.stored.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), (4..12).collect::<Vec<_>>(), "the second chunk uses all eight");
    assert_eq!(kinesis.stored.len(), 4 + 8);
}

/// Its ids start over, so an id says nothing about a range.
#[tokio::test(start_paused = true)]
async fn a_recreated_stream_is_listed_again_although_its_shard_ids_are_known() {
    let bench = Bench::new(Kinesis::new(4), true);
    bench
        .run(async {
            seconds(100).await;
            let lists = std::mem::take(&mut bench.kinesis.borrow_mut().lists);
            *bench.kinesis.borrow_mut() = Kinesis { lists, ..Kinesis::new(3) };
            bench.flush(100, 50).await;
            seconds(31).await;
            assert_eq!(bench.kinesis.borrow().lists.len(), 2);
            bench.flush(100, 50).await;
        })
        .await;
    bench.assert_all_consumed(50);
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_keys_stay_apart_with_one_warning_and_one_line_when_it_is_granted() {
    let bench = Bench::new(Kinesis { denied: true, ..Kinesis::new(4) }, true);
    bench
        .run(async {
            for _ in 0..6 {
                seconds(600).await;
                bench.flush(100, 50).await;
            }
            assert_eq!(bench.kinesis.borrow().stored.len(), 300);
            assert!(bench.kinesis.borrow().lists.len() > 6);
            bench.kinesis.borrow_mut().denied = false;
            seconds(900).await;
            bench.flush(100, 50).await;
            assert_eq!(bench.kinesis.borrow().stored.len(), 304);
            // What is known remains in use.
            bench.kinesis.borrow_mut().denied = true;
            seconds(3600).await;
            bench.flush(100, 50).await;
            assert_eq!(bench.kinesis.borrow().stored.len(), 308);
        })
        .await;
    bench.assert_all_consumed(50);
    let reason = "HTTP 400 AccessDeniedException: not authorized to perform: kinesis:ListShards";
    let needs = "shard_map requires the permission kinesis:ListShards";
    assert_eq!(
        bench.log.lines(),
        [
            format!(
                "Warn cannot list the shards of stream logs: {reason}; {needs} and keeps keys apart until they are known"
            ),
            "Info the shards of stream logs are known: 4 are open".to_owned(),
            format!(
                "Warn cannot list the shards of stream logs: {reason}; {needs} and uses the last known shards until they are known"
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_read_and_the_next_is_requested_by_its_token_only() {
    let bench = Bench::new(Kinesis { page_size: 10, ..Kinesis::new(25) }, true);
    bench
        .run(async {
            seconds(40).await;
            bench.flush(3000, 500).await;
        })
        .await;
    bench.assert_all_consumed(500);
    let kinesis = bench.kinesis.borrow();
    assert_eq!(kinesis.stored.len(), 25);
    let requests: Vec<&Value> = kinesis.lists.iter().map(|(_, request)| request).collect();
    let first = json!({ "StreamName": "logs", "MaxResults": 10_000, "ShardFilter": { "Type": "AT_LATEST" } });
    assert_eq!(requests, [&first, &json!({ "NextToken": "10" }), &json!({ "NextToken": "20" })]);
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_renewed_without_a_warning() {
    let bench = Bench::new(Kinesis { expired: true, ..Kinesis::new(4) }, true);
    bench.run(seconds(40)).await;
    assert_eq!(bench.kinesis.borrow().lists.len(), 2);
    assert_eq!(bench.log.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_comes_to_an_end_is_not_followed() {
    let bench = Bench::new(Kinesis { page_size: 0, ..Kinesis::new(4) }, true);
    bench.run(seconds(40)).await;
    assert_eq!(bench.kinesis.borrow().lists.len(), 100);
    assert!(
        bench.log.lines()[0].contains("the reply to ListShards has more than 100 pages"),
        "{:?}",
        bench.log.lines()
    );
}

/// All start together, see the same shards split for minutes, and then lose the permission together. A fleet of
/// 10,000 may make 1,000 calls a second; this is a tenth of it.
#[tokio::test(start_paused = true)]
async fn a_fleet_calls_less_than_half_as_often_as_it_may_whatever_happens() {
    let kinesis = Rc::new(RefCell::new(Kinesis::new(4)));
    let local = LocalSet::new();
    let fleet: Vec<Bench> = (0..1000).map(|seed| Bench::on(&kinesis, true, seed)).collect();
    for bench in &fleet {
        let keeper = Rc::clone(&bench.delivery);
        local.spawn_local(async move { keeper.watch().await });
    }
    let calls = || kinesis.borrow().lists.len();
    local
        .run_until(async {
            seconds(1230).await;
            let quiet = calls();
            assert!((2300..2800).contains(&quiet), "once at the start, and every ten minutes: {quiet}");
            for second in 0..300 {
                if second % 30 == 0 {
                    let mut kinesis = kinesis.borrow_mut();
                    if second % 60 == 0 { kinesis.split_all() } else { kinesis.merge_all() }
                }
                fleet.iter().for_each(|bench| bench.delivery.stream().shard_map_is_outdated());
                seconds(1).await;
            }
            let resharding = calls() - quiet;
            assert!((3500..4800).contains(&resharding), "every 75 seconds: {resharding}");
            kinesis.borrow_mut().denied = true;
            seconds(1800).await;
            let denied = calls() - quiet - resharding;
            assert!((5000..9000).contains(&denied), "seldom and more seldom: {denied}");
        })
        .await;
    let mut per_second = std::collections::HashMap::new();
    for (time, _) in &kinesis.borrow().lists {
        *per_second.entry(time.as_secs()).or_insert(0) += 1;
    }
    // 33 on average while all call within 30 seconds; sometimes more by chance.
    let (most, seconds) = (per_second.values().max().copied().unwrap(), per_second.len());
    assert!(most < 60, "{most} calls in one of {seconds} seconds");
}
