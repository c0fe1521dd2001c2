//! Sorts the records of a chunk by stream, when the stream's name is made from the record.

use std::collections::HashMap;

use super::issue::RecordIssue;
use crate::chunk::Events;
use crate::msgpack::{Malformed, Reader};
use crate::record::{Refusal, StreamTemplate};
use crate::record_set::RecordSet;

/// The records of a chunk by stream.
pub struct Routes<'a> {
    /// The streams, in the order of their first record.
    pub streams: Vec<Route<'a>>,
    /// Records that go to no stream, with the reason.
    pub issues: Vec<(u32, RecordIssue)>,
    /// The number of events in the chunk.
    pub events: usize,
}

/// The records of one stream.
pub struct Route<'a> {
    /// The stream's name.
    pub name: Box<str>,
    /// Its records, in order.
    pub runs: Vec<Run<'a>>,
}

/// Consecutive records of one stream.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The events from the first record on.
    events: Events<'a>,
    /// Where the last record ends, in bytes from the start of the chunk.
    end: usize,
    /// The first record's index.
    pub(super) first: u32,
    /// The index after the last record.
    next: u32,
}

impl<'a> Run<'a> {
    /// The events of this run and no others.
    pub(super) fn events(&self) -> Events<'a> {
        self.events.until(self.end)
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.end - self.events.offset()
    }
}

impl Route<'_> {
    /// Whether a record belongs to the stream.
    pub fn contains(&self, record: u32) -> bool {
        let after = self.runs.partition_point(|run| run.first <= record);
        after.checked_sub(1).and_then(|index| self.runs.get(index)).is_some_and(|run| record < run.next)
    }
}

/// Sorts the records of `chunk` except those that are `done`.
pub fn route<'a>(chunk: &'a [u8], tag: &[u8], template: &StreamTemplate, done: &RecordSet) -> Routes<'a> {
    let (mut streams, mut issues, mut name) = (Streams::default(), Vec::new(), String::new());
    let mut events = Events::new(chunk);
    let mut record = 0;
    loop {
        let start = events.clone();
        let mut sort = |body: &mut Reader<'_>| Some(streams.place(template.read(tag, body, &mut name)?));
        let place = match events.pass(|_, body| sort(body)) {
            Some(place) => place.ok_or(RecordIssue::Refused(Refusal::NoStream)),
            None => match events.next() {
                None => break,
                Some(Err(not_an_event)) => Err(RecordIssue::NotAnEvent(not_an_event)),
                Some(Ok(event)) => match sort(&mut Reader::new(event.body)) {
                    Some(place) => place.ok_or(RecordIssue::Refused(Refusal::NoStream)),
                    // Not reached: an event's body is complete.
                    None => Err(RecordIssue::Refused(Refusal::Malformed(Malformed::Truncated))),
                },
            },
        };
        match place {
            _ if done.contains(record) => {}
            Ok(place) => streams.add(place, record, start, events.offset()),
            Err(issue) => issues.push((record, issue)),
        }
        record += 1;
    }
    let mut streams = streams.routes;
    streams.retain(|stream| !stream.runs.is_empty());
    Routes { streams, issues, events: record as usize }
}

/// The streams found so far.
#[derive(Default)]
struct Streams<'a> {
    routes: Vec<Route<'a>>,
    by_name: HashMap<Box<str>, usize>,
    /// The place of the last record's stream.
    last: usize,
}

impl<'a> Streams<'a> {
    /// The place of the stream of this name.
    #[inline]
    fn place(&mut self, name: Option<&str>) -> Option<usize> {
        let name = name?;
        if self.routes.get(self.last).is_none_or(|last| *last.name != *name) {
            self.last = match self.by_name.get(name) {
                Some(&place) => place,
                None => self.open(name.into()),
            };
        }
        Some(self.last)
    }

    fn open(&mut self, name: Box<str>) -> usize {
        let place = self.routes.len();
        self.by_name.insert(name.clone(), place);
        self.routes.push(Route { name, runs: Vec::new() });
        place
    }

    /// Adds a record to the stream at `place`.
    fn add(&mut self, place: usize, record: u32, events: Events<'a>, end: usize) {
        let Some(stream) = self.routes.get_mut(place) else { return };
        match stream.runs.last_mut().filter(|run| run.next == record) {
            Some(run) => (run.end, run.next) = (end, record + 1),
            None => stream.runs.push(Run { events, end, first: record, next: record + 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::events::SelectedEvents;
    use proptest::prelude::*;

    /// Chunks of events of several streams, in all usual heads, with group markers between them.
    fn chunk(records: &[(u8, u8)]) -> Vec<u8> {
        let mut chunk = Vec::new();
        for (index, (head, stream)) in records.iter().enumerate() {
            match head % 4 {
                0 => chunk.extend(b"\x92\x92\xd7\0\0\0\0\x01\0\0\0\0\x80"),
                1 => chunk.extend(b"\x92\xd7\0\0\0\0\x01\0\0\0\0"),
                2 => chunk.extend(b"\x92\x92\xd7\0\xff\xff\xff\xff\0\0\0\0\x80\x80\x92\x01"),
                _ => chunk.extend(b"\x92\x92\x01\x81\xa1m\x01"),
            }
            chunk.extend(rmp_serde::to_vec(&serde_json::json!({ "i": index, "s": stream % 5 })).unwrap());
        }
        chunk
    }

    fn template() -> StreamTemplate {
        StreamTemplate::parse("s-$s").unwrap()
    }

    proptest! {
        /// Compared with the whole chunk, read record by record.
        #[test]
        fn each_record_is_in_the_run_of_its_stream_once_with_its_own_bytes(
            records in proptest::collection::vec(any::<(u8, u8)>(), 0..60),
            done in proptest::collection::vec(0..60_u32, 0..20),
        ) {
            let chunk = chunk(&records);
            let done: RecordSet = done.into_iter().collect();
            let all: Vec<_> = SelectedEvents::all_but(done.clone(), &chunk).collect();
            let routes = route(&chunk, b"tag", &template(), &done);
            prop_assert_eq!(routes.events, records.len());
            prop_assert!(routes.issues.is_empty());
            let mut sorted = Vec::new();
            for stream in &routes.streams {
                let mut events = SelectedEvents::all_but(RecordSet::default(), &chunk);
                events.within(&stream.runs);
                for (record, event) in events {
                    prop_assert_eq!(&*stream.name, format!("s-{}", records[record as usize].1 % 5));
                    prop_assert!(stream.contains(record));
                    sorted.push((record, event));
                }
                for other in 0..60 {
                    prop_assert_eq!(stream.contains(other), sorted.iter().any(|(record, _)| *record == other)
                        && *stream.name == format!("s-{}", records[other as usize].1 % 5));
                }
            }
            sorted.sort_by_key(|(record, _)| *record);
            prop_assert_eq!(sorted, all);
        }
    }

    #[test]
    fn what_has_no_stream_and_what_is_no_event_is_an_issue_and_costs_no_other_record() {
        let mut bytes = chunk(&[(0, 1), (1, 2)]);
        bytes.extend(b"\x92\x01\x81\xa1x\x01");
        bytes.extend(b"\xa5stray");
        bytes.extend(chunk(&[(0, 1)]));
        bytes.extend(b"\x92\x01\x82\xa1s");
        let routes = route(&bytes, b"tag", &template(), &RecordSet::default());
        assert_eq!(routes.events, 6);
        let streams: Vec<_> = routes.streams.iter().map(|stream| (&*stream.name, stream.runs.len())).collect();
        assert_eq!(streams, [("s-1", 2), ("s-2", 1)]);
        let issues: Vec<_> = routes.issues.iter().map(|(record, _)| *record).collect();
        assert_eq!(issues, [2, 3, 5]);
        assert_eq!(routes.issues[0].1, RecordIssue::Refused(Refusal::NoStream));
        let done = (0..6).collect();
        let routes = route(&bytes, b"tag", &template(), &done);
        assert_eq!((routes.streams.len(), routes.issues.len(), routes.events), (0, 0, 6));
    }
}
