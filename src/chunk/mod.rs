//! Iterates over the events of a msgpack chunk.
//!
//! Fluent Bit writes an event as `[time, body]` (up to 2.0) or `[[time, metadata], body]`, with array headers of any
//! width. Group markers between them (OTLP and others) have the second form and a time of -1 or -2 seconds; they are
//! not records. What is unreadable is reported once and costs no other event: events before a truncated tail are
//! delivered.

use std::fmt;

use crate::msgpack::{Malformed, Reader, Token};

/// The time that marks the start of a group: -1 seconds, no nanoseconds.
const GROUP_START: &[u8] = b"\xff\xff\xff\xff\0\0\0\0";
/// The time that marks the end of a group: -2 seconds.
const GROUP_END: &[u8] = b"\xff\xff\xff\xfe\0\0\0\0";
/// Msgpack extension type of an event's time.
const EVENT_TIME: i8 = 0;

/// When an event happened, according to its chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// One log event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its time; 1970 if the chunk has no readable one.
    pub time: EventTime,
    /// Its body, one complete msgpack map.
    pub body: &'a [u8],
    /// Its metadata, one complete msgpack map; empty if there is none.
    pub metadata: &'a [u8],
    /// What the events of its group share, such as resource and scope of OpenTelemetry: one complete msgpack map;
    /// empty if it is in no group.
    pub group: &'a [u8],
}

/// Something in a chunk that is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEvent {
    /// The rest of the chunk is unreadable and lost.
    Unreadable {
        /// Where the unreadable event starts, in bytes from the start of the chunk.
        offset: usize,
        /// The number of bytes lost.
        length: usize,
        /// Why.
        reason: Malformed,
    },
    /// A complete msgpack value that is not an event with a map as body. Reading continues after it.
    WrongShape {
        /// Where it starts, in bytes from the start of the chunk.
        offset: usize,
    },
}

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnEvent::Unreadable { offset, length, reason } => {
                write!(f, "its last {length} bytes, from byte {offset}, are unreadable: {reason}")
            }
            NotAnEvent::WrongShape { offset } => {
                write!(f, "the value at byte {offset} is not an event: [time, map] or [[time, metadata], map]")
            }
        }
    }
}

/// Iterates over the events of a chunk, in order.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    reader: Reader<'a>,
    /// Where the last event ends, in bytes from the start of the chunk.
    end: usize,
    /// What the events of the current group share; empty between groups.
    group: &'a [u8],
}

impl<'a> Events<'a> {
    /// Creates an iterator over `chunk`.
    pub fn new(chunk: &'a [u8]) -> Self {
        Events { reader: Reader::new(chunk), end: chunk.len(), group: &[] }
    }

    /// Where the next event starts, in bytes from the start of the chunk.
    pub fn offset(&self) -> usize {
        self.end - self.reader.rest().len()
    }

    /// Whether nothing follows.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.reader.rest().is_empty()
    }

    /// The events before `end`, in bytes from the start of the chunk, where one must end.
    pub fn until(&self, end: usize) -> Events<'a> {
        let rest = self.reader.rest();
        let length = end.saturating_sub(self.offset()).min(rest.len());
        Events { reader: Reader::new(rest.get(..length).unwrap_or(rest)), end, group: self.group }
    }

    /// Consumes the next event through `read`, which gets its time and must read its whole body, a map of yet unknown
    /// length. If `read` fails or the next item is not an event with a usual head, returns `None` and consumes nothing.
    #[inline]
    pub fn pass<T>(&mut self, read: impl FnOnce(EventTime, &mut Reader<'a>) -> Option<T>) -> Option<T> {
        let (head, body) = usual_head(self.reader.rest())?;
        if head.marker.is_some() || !begins_a_map(body) {
            return None;
        }
        let mut body = Reader::new(body);
        let read = read(head.time, &mut body)?;
        self.reader = body;
        Some(read)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, NotAnEvent>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.reader;
            if start.rest().is_empty() {
                return None;
            }
            let offset = self.offset();
            match read_event(&mut self.reader) {
                Ok(Found::Event(event)) => return Some(Ok(Event { group: self.group, ..event })),
                Ok(Found::GroupMarker { group }) => self.group = group,
                Ok(Found::WrongShape) => {
                    self.reader = start;
                    return Some(Err(match self.reader.skip() {
                        Ok(()) => NotAnEvent::WrongShape { offset },
                        Err(reason) => self.unreadable(start, offset, reason),
                    }));
                }
                Err(reason) => return Some(Err(self.unreadable(start, offset, reason))),
            }
        }
    }
}

impl<'a> Events<'a> {
    fn unreadable(&mut self, start: Reader<'a>, offset: usize, reason: Malformed) -> NotAnEvent {
        self.reader = Reader::new(&[]);
        NotAnEvent::Unreadable { offset, length: start.rest().len(), reason }
    }
}

enum Found<'a> {
    Event(Event<'a>),
    GroupMarker { group: &'a [u8] },
    WrongShape,
}

/// What precedes an event's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head<'a> {
    time: EventTime,
    marker: Option<GroupMarker>,
    /// A map with entries, or nothing.
    metadata: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupMarker {
    Start,
    End,
}

#[inline]
fn read_event<'a>(reader: &mut Reader<'a>) -> Result<Found<'a>, Malformed> {
    let head = match usual_head(reader.rest()) {
        Some((head, body)) => {
            *reader = Reader::new(body);
            head
        }
        None => match read_head(reader)? {
            Some(head) => head,
            None => return Ok(Found::WrongShape),
        },
    };
    let body = reader.value()?;
    Ok(match head.marker {
        Some(GroupMarker::Start) => Found::GroupMarker { group: with_entries(body) },
        Some(GroupMarker::End) => Found::GroupMarker { group: &[] },
        None if begins_a_map(body) => {
            Found::Event(Event { time: head.time, body, metadata: head.metadata, group: &[] })
        }
        None => Found::WrongShape,
    })
}

/// The group marker with this time, which has no nanoseconds.
#[inline]
fn group_marker(time: Token<'_>) -> Option<GroupMarker> {
    match time {
        Token::Extension(EVENT_TIME, bytes) if bytes == GROUP_START => Some(GroupMarker::Start),
        Token::Extension(EVENT_TIME, bytes) if bytes == GROUP_END => Some(GroupMarker::End),
        Token::Signed(-1) => Some(GroupMarker::Start),
        Token::Signed(-2) => Some(GroupMarker::End),
        _ => None,
    }
}

/// The value, if it is a map with entries, or nothing.
fn with_entries(value: &[u8]) -> &[u8] {
    if Reader::new(value).map().is_some_and(|entries| entries > 0) { value } else { &[] }
}

/// Whether `bytes` starts with one of the three forms of a map.
#[inline]
fn begins_a_map(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80..=0x8f | 0xde | 0xdf, ..])
}

/// The bytes before nearly every body: `[[time, {}], ` as written by Fluent Bit 5 and by 2.1 to 4.2, and `[time, ` of
/// older versions. Reading them token by token would be a seventh of the instructions for packing an access log line.
// Inlined, a record costs 27 instructions less.
#[inline(always)]
fn usual_head(bytes: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let time_and_metadata =
        bytes.strip_prefix(b"\x92\x92\xd7\0").or_else(|| bytes.strip_prefix(b"\xdd\0\0\0\x02\xdd\0\0\0\x02\xd7\0"));
    let (time, body) = match time_and_metadata {
        Some(rest) => {
            let (time, rest) = rest.split_first_chunk::<8>()?;
            (time, rest.strip_prefix(b"\xdf\0\0\0\0").or_else(|| rest.strip_prefix(b"\x80"))?)
        }
        None => bytes.strip_prefix(b"\x92\xd7\0")?.split_first_chunk::<8>()?,
    };
    let time = Token::Extension(EVENT_TIME, time);
    let marker = time_and_metadata.and_then(|_| group_marker(time));
    Some((Head { time: read_time(time), marker, metadata: &[] }, body))
}

/// Reads the head in any form. Returns `None` if it is not an event's.
fn read_head<'a>(reader: &mut Reader<'a>) -> Result<Option<Head<'a>>, Malformed> {
    if reader.token()? != Token::Array(2) {
        return Ok(None);
    }
    let (time, metadata) = match reader.token()? {
        Token::Array(entries @ 1..) => {
            let time = reader.token()?;
            skip_contents(reader, time)?;
            let metadata = if entries > 1 { with_entries(reader.value()?) } else { &[] };
            for _ in 2..entries {
                reader.skip()?;
            }
            (time, Some(metadata))
        }
        time => {
            skip_contents(reader, time)?;
            (time, None)
        }
    };
    let marker = metadata.and_then(|_| group_marker(time));
    Ok(Some(Head { time: read_time(time), marker, metadata: metadata.unwrap_or_default() }))
}

/// Skips the contents of a map or array in place of a time.
fn skip_contents(reader: &mut Reader<'_>, token: Token<'_>) -> Result<(), Malformed> {
    let values = match token {
        Token::Array(entries) => u64::from(entries),
        Token::Map(entries) => 2 * u64::from(entries),
        _ => 0,
    };
    for _ in 0..values {
        reader.skip()?;
    }
    Ok(())
}

#[inline]
fn read_time(token: Token<'_>) -> EventTime {
    match token {
        Token::Extension(EVENT_TIME, bytes) => {
            let Some((seconds, nanoseconds)) = bytes.split_first_chunk::<4>() else { return EventTime::default() };
            let Ok(nanoseconds) = <[u8; 4]>::try_from(nanoseconds) else { return EventTime::default() };
            EventTime::within_the_second(u32::from_be_bytes(*seconds).into(), u32::from_be_bytes(nanoseconds))
        }
        Token::Unsigned(seconds) => EventTime { seconds: i64::try_from(seconds).unwrap_or(0), nanoseconds: 0 },
        Token::Signed(seconds) => EventTime { seconds, nanoseconds: 0 },
        // `as` saturates, and NaN becomes 0.
        Token::Float(time) => EventTime {
            seconds: time.floor() as i64,
            nanoseconds: ((time - time.floor()) * 1e9) as u32 % 1_000_000_000,
        },
        _ => EventTime::default(),
    }
}

impl EventTime {
    /// Fluent Bit 4.2.0's OpenTelemetry input writes nanoseconds above 999,999,999, which cannot be right. Keeps the
    /// second and drops the fraction.
    fn within_the_second(seconds: i64, nanoseconds: u32) -> Self {
        EventTime { seconds, nanoseconds: if nanoseconds < 1_000_000_000 { nanoseconds } else { 0 } }
    }
}

#[cfg(test)]
mod tests;
