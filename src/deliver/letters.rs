//! Makes dead letters of refused records: finds them in their chunk again.

use std::rc::Rc;
use std::sync::Arc;

use crate::chunk::{Event, Events, NotAnEvent};
use crate::dead_letters::{DeadLetters, Letter};
use crate::metrics::RefusalReason;
use crate::msgpack::Reader;

/// A record that is given up, by its index in the chunk.
pub(super) struct Lost {
    pub(super) record: u32,
    pub(super) reason: RefusalReason,
    pub(super) detail: String,
}

/// Finds records of one chunk, best in the order of the chunk.
pub(super) struct ChunkLetters<'a> {
    dead_letters: Option<Rc<DeadLetters>>,
    chunk: &'a [u8],
    tag: Arc<[u8]>,
    stream: Arc<str>,
    events: Events<'a>,
    /// The index of the event that `events` gives next.
    next: u32,
}

impl<'a> ChunkLetters<'a> {
    pub(super) fn new(dead_letters: Option<Rc<DeadLetters>>, chunk: &'a [u8], tag: &[u8], stream: &str) -> Self {
        let is_used = dead_letters.is_some();
        let (tag, stream) = if is_used { (tag.into(), stream.into()) } else { Default::default() };
        ChunkLetters { dead_letters, chunk, tag, stream, events: Events::new(chunk), next: 0 }
    }

    /// Hands over records that were given up.
    pub(super) fn keep(&mut self, lost: Vec<Lost>) {
        let Some(dead_letters) = self.dead_letters.clone() else { return };
        for lost in lost {
            if let Some(letter) = self.letter(lost) {
                dead_letters.keep(letter);
            }
        }
    }

    fn letter(&mut self, Lost { record, reason, detail }: Lost) -> Option<Letter> {
        let (time, body) = match self.find(record)? {
            Ok(Event { time, body, .. }) => (Some(time), body),
            Err(not_an_event) => (None, self.bytes(not_an_event)),
        };
        let (tag, stream) = (Arc::clone(&self.tag), Arc::clone(&self.stream));
        Some(Letter { time, tag, stream, reason, detail, body: body.to_vec() })
    }

    /// The event with this index.
    fn find(&mut self, record: u32) -> Option<Result<Event<'a>, NotAnEvent>> {
        if record < self.next {
            (self.events, self.next) = (Events::new(self.chunk), 0);
        }
        let event = self.events.nth((record - self.next) as usize);
        self.next = record.saturating_add(1);
        event
    }

    /// The bytes of what is not an event.
    fn bytes(&self, not_an_event: NotAnEvent) -> &'a [u8] {
        let from = |offset| self.chunk.get(offset..).unwrap_or_default();
        match not_an_event {
            NotAnEvent::Unreadable { offset, .. } => from(offset),
            NotAnEvent::WrongShape { offset } => Reader::new(from(offset)).value().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_of_a_chunk_is_found_in_any_order_and_what_is_no_event_too() {
        let chunk = b"\x92\x01\x81\xa1i\x00\xa1x\x92\x02\x81\xa1i\x02\x93";
        let mut letters = ChunkLetters::new(None, chunk, b"app", "logs");
        for (record, time, body) in [
            (2, Some(2), &b"\x81\xa1i\x02"[..]),
            (3, None, b"\x93"),
            (0, Some(1), b"\x81\xa1i\x00"),
            (1, None, b"\xa1x"),
            (1, None, b"\xa1x"),
        ] {
            let letter = letters.letter(Lost { record, reason: RefusalReason::TooLarge, detail: "so".to_owned() });
            let letter = letter.unwrap();
            assert_eq!((letter.time.map(|time| time.seconds), &*letter.body), (time, body), "record {record}");
        }
        assert!(letters.find(4).is_none());
    }
}
