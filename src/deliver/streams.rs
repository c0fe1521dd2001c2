//! The streams of one output: one, or as many as a template names.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;

use futures_util::{StreamExt, stream};
use lru::LruCache;
use tokio::task::JoinSet;

use super::letters::ChunkLetters;
use super::stream::flush::Flush;
use super::stream::report::Reporter;
use super::stream::{Records, Shared, StreamDelivery};
use crate::kinesis::client::Transport;
use crate::kinesis::stream::Stream;
use crate::metrics::Metric;
use crate::msgpack::Reader;
use crate::pack::{Route, Routes, route};
use crate::record::StreamTemplate;

/// The msgpack of a record without values.
const EMPTY_MAP: &[u8] = b"\x80";

/// Where the records of an output go.
#[derive(Clone, Debug)]
pub enum Target {
    /// All to one stream.
    Stream(Stream),
    /// Each to the stream that the template names.
    Template {
        /// The template.
        template: StreamTemplate,
        /// Most streams whose state is kept, at least 1.
        max_streams: NonZeroUsize,
    },
}

impl From<Stream> for Target {
    fn from(stream: Stream) -> Target {
        Target::Stream(stream)
    }
}

impl Target {
    /// The stream, if it is the same for all records.
    pub fn single(&self) -> Option<&Stream> {
        match self {
            Target::Stream(stream) => Some(stream),
            Target::Template { .. } => None,
        }
    }

    /// The name, ARN or template as configured.
    pub fn as_str(&self) -> &str {
        match self {
            Target::Stream(stream) => stream.as_str(),
            Target::Template { template, .. } => template.as_str(),
        }
    }
}

/// The streams of one output.
pub(super) enum Streams<T> {
    One(Rc<StreamDelivery<T>>),
    Many(Box<NamedStreams<T>>),
}

/// What was sent of a chunk.
pub(super) struct Sent {
    /// The number of events in the chunk.
    pub(super) events: usize,
    /// How many requests may be in flight now to the streams used.
    pub(super) limit: usize,
}

impl<T: Transport> Streams<T> {
    pub(super) fn new(shared: Shared<T>, target: Target, place: &str, reporter: Reporter) -> Streams<T> {
        match target {
            Target::Stream(stream) => Streams::One(Rc::new(StreamDelivery::new(&shared, stream, reporter))),
            Target::Template { template, max_streams } => Streams::Many(Box::new(NamedStreams {
                shared,
                template,
                place: place.to_owned(),
                reporter,
                kept: RefCell::new(LruCache::new(max_streams)),
            })),
        }
    }

    /// Sends the records of a chunk that are not done until each is done or left.
    pub(super) async fn send(&self, chunk: &[u8], tag: &[u8], flush: &Rc<Flush>) -> Sent {
        match self {
            Streams::One(stream) => {
                let events = stream.send_all(Records { chunk, tag, runs: None }, flush).await;
                Sent { events, limit: stream.limit() }
            }
            Streams::Many(streams) => streams.send(chunk, tag, flush).await,
        }
    }

    /// Keeps what is known of a single stream current until shutdown. Each of several has a task of its own.
    pub(super) async fn watch(&self) {
        if let Streams::One(stream) = self {
            stream.watch().await;
        }
    }
}

/// The streams that a template names, as far as they were used lately.
pub(super) struct NamedStreams<T> {
    shared: Shared<T>,
    template: StreamTemplate,
    /// What follows a stream's name in the log.
    place: String,
    reporter: Reporter,
    kept: RefCell<LruCache<Box<str>, KeptStream<T>>>,
}

/// A stream, and the task that keeps what is known of it current.
struct KeptStream<T> {
    delivery: Rc<StreamDelivery<T>>,
    _task: JoinSet<()>,
}

impl<T: Transport> NamedStreams<T> {
    async fn send(&self, chunk: &[u8], tag: &[u8], flush: &Rc<Flush>) -> Sent {
        let mut name = String::new();
        if let Some((name, stream)) = self.stream_of_tag(tag, &mut name) {
            let events = stream.send_all(Records { chunk, tag, runs: None }, flush).await;
            self.reporter.metrics.delivered_to(name, flush.accepted.get() as u64);
            return Sent { events, limit: stream.limit() };
        }
        let Routes { streams, issues, events } = route(chunk, tag, &self.template, &flush.progress.done());
        let mut letters = ChunkLetters::new(self.reporter.dead_letters.clone(), chunk, tag, self.template.as_str());
        for (record, issue) in issues {
            self.reporter.record_issue(record, issue, self.shared.requests.record.max_bytes, flush);
            letters.keep(flush.lost.take());
        }
        let limit = Cell::new(0);
        let send = async |route: Route<'_>| {
            let Some(stream) = self.stream(&route.name) else { return };
            let part = Rc::new(flush.of_stream(|record| route.contains(record)));
            stream.send_all(Records { chunk, tag, runs: Some(&route.runs) }, &part).await;
            flush.add_part(&part);
            self.reporter.metrics.delivered_to(&route.name, part.accepted.get() as u64);
            limit.set(limit.get() + stream.limit());
        };
        let at_a_time = self.kept.borrow().cap().get();
        stream::iter(streams).for_each_concurrent(at_a_time, send).await;
        Sent { events, limit: limit.get() }
    }

    /// The stream of all records with this tag, if it has a valid name and no record's value is part of it.
    fn stream_of_tag<'n>(&'n self, tag: &[u8], name: &'n mut String) -> Option<(&'n str, Rc<StreamDelivery<T>>)> {
        if !self.template.needs_only_the_tag() {
            return None;
        }
        let name = self.template.read(tag, &mut Reader::new(EMPTY_MAP), name)??;
        Some((name, self.stream(name)?))
    }

    /// The stream of this name, opened if needed.
    fn stream(&self, name: &str) -> Option<Rc<StreamDelivery<T>>> {
        if let Some(known) = self.kept.borrow_mut().get(name) {
            return Some(Rc::clone(&known.delivery));
        }
        let stream = Stream::parse(name).ok()?;
        let destination = format!("stream {name}{}", self.place).into();
        let reporter = Reporter { destination, ..self.reporter.clone() };
        let delivery = Rc::new(StreamDelivery::new(&self.shared, stream, reporter));
        let (keeper, mut task) = (Rc::clone(&delivery), JoinSet::new());
        task.spawn_local(async move { keeper.watch().await });
        let mut kept = self.kept.borrow_mut();
        kept.push(name.into(), KeptStream { delivery: Rc::clone(&delivery), _task: task });
        self.reporter.metrics.set(Metric::Streams, kept.len() as u64);
        Some(delivery)
    }
}
