//! Chunks of every shape that Fluent Bit writes, including real ones.

use proptest::prelude::*;
use rmpv::Value;

use super::*;

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn event_time(seconds: u32, nanoseconds: u32) -> Value {
    Value::Ext(0, [seconds.to_be_bytes(), nanoseconds.to_be_bytes()].concat())
}

fn body(id: u32) -> Value {
    Value::Map(vec![("id".into(), id.into())])
}

fn all(chunk: &[u8]) -> (Vec<Event<'_>>, Vec<NotAnEvent>) {
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    for item in Events::new(chunk) {
        match item {
            Ok(event) => events.push(event),
            Err(problem) => problems.push(problem),
        }
    }
    (events, problems)
}

fn at(seconds: i64, nanoseconds: u32) -> EventTime {
    EventTime { seconds, nanoseconds }
}

#[test]
fn the_dummy_event_of_each_host_is_read() {
    let dummy = b"\x81\xa7message\xa5dummy";
    for (host, head, time) in [
        ("1.9.10", &b"\x92\xd7\x00\x6b\x02\x6c\x03\x36\x5e\x18\xcd"[..], at(0x6b02_6c03, 0x365e_18cd)),
        (
            "4.2.0",
            b"\xdd\0\0\0\x02\xdd\0\0\0\x02\xd7\x00\x6b\x02\x6c\x07\x36\x5c\x9a\xe1\x80",
            at(0x6b02_6c07, 0x365c_9ae1),
        ),
        ("5.1.1", b"\x92\x92\xd7\x00\x6b\x02\x6c\x0b\x36\x5c\x88\xb8\x80", at(0x6b02_6c0b, 0x365c_88b8)),
    ] {
        let chunk = [head, dummy].concat();
        assert_eq!(all(&chunk), (vec![Event { time, body: dummy, ..Event::default() }], vec![]), "{host}");
    }
}

#[test]
fn times_of_every_kind_are_read() {
    for (time, expected) in [
        (event_time(1_600_000_000, 123_456_789), at(1_600_000_000, 123_456_789)),
        (event_time(u32::MAX - 2, 0), at(4_294_967_293, 0)),
        (event_time(u32::MAX, 1), at(4_294_967_295, 1)),
        (Value::F64(-0.25), at(-1, 750_000_000)),
        (Value::F64(-1.5), at(-2, 500_000_000)),
        (1_600_000_000_u32.into(), at(1_600_000_000, 0)),
        ((-7_i64).into(), at(-7, 0)),
        (Value::F64(1_600_000_000.5), at(1_600_000_000, 500_000_000)),
        (Value::F64(f64::NAN), at(0, 0)),
        (Value::Nil, at(0, 0)),
        ("yesterday".into(), at(0, 0)),
        (Value::Ext(0, vec![1, 2, 3]), at(0, 0)),
        // Fluent Bit 4.2.0's OpenTelemetry input wrote more than a second's worth of nanoseconds.
        (event_time(1_600_000_000, 2_157_821_205), at(1_600_000_000, 0)),
    ] {
        for head in [time.clone(), Value::Array(vec![time.clone(), Value::Map(vec![])])] {
            let chunk = encode(&Value::Array(vec![head, body(1)]));
            let (events, problems) = all(&chunk);
            assert_eq!((events[0].time, problems.len()), (expected, 0), "{time}");
        }
    }
    // The same time as ext8, the long form of fixext8.
    let chunk = [&b"\x92\xc7\x08\x00"[..], &1_600_000_000_u32.to_be_bytes(), &7_u32.to_be_bytes(), b"\x80"].concat();
    assert_eq!(all(&chunk).0[0].time, at(1_600_000_000, 7));
}

/// These take the fast path.
#[test]
fn the_heads_that_hosts_write_are_read_as_any_other() {
    let time = b"\x68\xe7\x78\x00\x1d\xcd\x65\x00";
    let heads: [(&[u8], &[u8]); 5] = [
        (b"\x92\x92\xd7\0", b"\xdf\0\0\0\0"),
        (b"\x92\x92\xd7\0", b"\x80"),
        (b"\xdd\0\0\0\x02\xdd\0\0\0\x02\xd7\0", b"\xdf\0\0\0\0"),
        (b"\xdd\0\0\0\x02\xdd\0\0\0\x02\xd7\0", b"\x80"),
        (b"\x92\xd7\0", b""),
    ];
    for (before, after) in heads {
        let head = [before, time, after].concat();
        let bytes = [&head[..], b"\x81\xa1k\x01"].concat();
        let mut reader = Reader::new(&bytes);
        let by_token = read_head(&mut reader).unwrap().unwrap();
        assert_eq!(usual_head(&bytes), Some((by_token, reader.rest())), "{head:02x?}");
        assert_eq!(by_token.time, at(0x68e7_7800, 500_000_000));
        // The fast path leaves truncated events to the other, which reports them.
        for end in 0..head.len() {
            assert_eq!(usual_head(&head[..end]), None, "{head:02x?} up to {end}");
        }
    }
}

/// A head off the fast path costs a tenth of the speed; real chunks show which heads matter.
#[test]
fn the_hosts_heads_take_the_short_way() {
    for (name, chunk) in real_chunks() {
        assert!(usual_head(&chunk).is_some() || name.contains("otlp"), "{name}: {:02x?}", &chunk[..24]);
    }
}

#[test]
fn group_markers_are_not_records() {
    let marker = |seconds: i32| event_time(seconds.cast_unsigned(), 0);
    let group = |time: Value| Value::Array(vec![Value::Array(vec![time, body(9)]), body(9)]);
    let chunk = [
        encode(&group(marker(-1))),
        encode(&Value::Array(vec![Value::Array(vec![event_time(1, 2), body(0)]), body(1)])),
        encode(&group(marker(-2))),
        encode(&group((-1).into())),
        encode(&group((-2).into())),
    ]
    .concat();
    let (events, problems) = all(&chunk);
    assert_eq!((events.len(), problems.len()), (1, 0));
    assert_eq!(events[0].body, encode(&body(1)));
}

/// Before groups, Fluent Bit had no metadata either, and took any time.
#[test]
fn an_event_without_metadata_is_no_group_marker_whatever_its_time() {
    for (bytes, time) in [
        (&b"\x92\xff\x81\xa1a\x01"[..], at(-1, 0)),
        (b"\x92\xfe\x81\xa1a\x01", at(-2, 0)),
        (b"\x92\xd7\0\xff\xff\xff\xff\0\0\0\x05\x81\xa1a\x01", at(u32::MAX.into(), 5)),
        (b"\x92\xd7\0\xff\xff\xff\xff\0\0\0\0\x81\xa1a\x01", at(u32::MAX.into(), 0)),
        (b"\x92\xd7\0\xff\xff\xff\xfe\0\0\0\0\x81\xa1a\x01", at(u32::MAX as i64 - 1, 0)),
    ] {
        let event = Event { time, body: b"\x81\xa1a\x01", ..Event::default() };
        assert_eq!(all(bytes), (vec![event], vec![]), "{bytes:02x?}");
        let mut one_pass = Events::new(bytes);
        one_pass.pass(|_, body| body.skip().ok());
        assert_eq!(one_pass.clone().count() + usize::from(one_pass.reader.rest().is_empty()), 1, "{bytes:02x?}");
    }
}

#[test]
fn real_chunks_hold_the_records_they_were_made_of() {
    for (name, chunk) in real_chunks() {
        let (events, problems) = all(&chunk);
        assert_eq!(problems, [], "{name}");
        let mut records = Vec::new();
        for event in &events {
            let mut json = Vec::new();
            crate::record::json::write(event.body, &mut json).unwrap();
            let oracle: serde_json::Value = rmp_serde::from_slice(event.body).unwrap();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap(), oracle, "{name}");
            records.push(String::from_utf8(json).unwrap());
        }
        if name.contains("otlp") {
            assert_eq!(records.len(), 3, "{name}");
            continue;
        }
        assert_eq!(records.len(), 40, "{name}");
        for (id, record) in records.iter().enumerate() {
            let marks = [format!("id={id} "), format!("id={id}\""), format!("\"id\":{id},"), format!("\"id\":{id}}}")];
            assert!(marks.iter().any(|mark| record.contains(mark)), "{name}: {id} is not in {record}");
        }
    }
}

/// Chunks that Fluent Bit 1.9.10, 4.2.0 and 5.1.1 wrote, with their names.
fn real_chunks() -> Vec<(String, Vec<u8>)> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chunks");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "msgpack"));
    let name = |file: &std::path::Path| file.file_name().unwrap().to_string_lossy().into_owned();
    let chunks = files.map(|file| (name(&file), std::fs::read(&file).unwrap())).collect::<Vec<_>>();
    assert_eq!(chunks.len(), 8);
    chunks
}

#[test]
fn the_events_before_a_torn_tail_are_kept_and_the_rest_is_reported_once() {
    let event = encode(&Value::Array(vec![1.into(), body(1)]));
    let whole = event.repeat(3);
    let cut = &whole[..whole.len() - 2];
    let (events, problems) = all(cut);
    assert_eq!(events.len(), 2);
    let (offset, length) = (2 * event.len(), event.len() - 2);
    assert_eq!(problems, [NotAnEvent::Unreadable { offset, length, reason: Malformed::Truncated }]);
    assert_eq!(problems[0].to_string(), "its last 5 bytes, from byte 14, are unreadable: it ends inside a value");
}

#[test]
fn what_is_no_event_is_passed_over() {
    let event = encode(&Value::Array(vec![1.into(), body(1)]));
    for stranger in [
        encode(&body(2)),
        encode(&Value::Nil),
        encode(&Value::Array(vec![])),
        encode(&Value::Array(vec![1.into()])),
        encode(&Value::Array(vec![1.into(), body(1), body(2)])),
        encode(&Value::Array(vec![1.into(), "text".into()])),
        encode(&Value::Array(vec![1.into(), Value::Array(vec![])])),
    ] {
        let chunk = [&event[..], &stranger, &event].concat();
        let (events, problems) = all(&chunk);
        assert_eq!((events.len(), &problems[..]), (2, &[NotAnEvent::WrongShape { offset: event.len() }][..]));
    }
}

proptest! {
    #[test]
    fn no_chunk_makes_the_reader_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Events::new(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_flipped_byte_costs_no_event_before_it(ids in 1u32..40, flip in any::<prop::sample::Index>(), value in any::<u8>()) {
        let events: Vec<Vec<u8>> = (0..ids).map(|id| encode(&Value::Array(vec![event_time(id, 0), body(id)]))).collect();
        let mut chunk = events.concat();
        let position = flip.index(chunk.len());
        chunk[position] = value;
        let (mut end, mut whole) = (0, 0);
        for event in &events {
            end += event.len();
            if end <= position {
                whole += 1;
            }
        }
        let read: Vec<Event<'_>> = Events::new(&chunk).map_while(Result::ok).collect();
        prop_assert!(read.len() >= whole, "{} of {whole}", read.len());
    }
}

#[test]
fn an_event_has_its_metadata_and_what_its_group_shares() {
    let map = |count: u32| Value::Map((0..count).map(|key| (key.into(), key.into())).collect());
    let head = |time: Value, metadata: Value| Value::Array(vec![time, metadata]);
    let item = |time: Value, metadata: Value, body: Value| encode(&Value::Array(vec![head(time, metadata), body]));
    let start = |group| item(event_time(u32::MAX, 0), map(9), map(group));
    let end = || item(event_time(u32::MAX - 1, 0), map(0), map(7));
    let event = |metadata| item(event_time(1, 0), map(metadata), map(1));
    let chunk = [
        event(0),
        start(2),
        event(3),
        event(0),
        end(),
        event(4),
        start(0),
        event(0),
        start(5),
        event(6),
        encode(&1.into()),
    ];
    let chunk = chunk.concat();
    let (events, _) = all(&chunk);
    let of = |count: u32| if count == 0 { Vec::new() } else { encode(&map(count)) };
    let found: Vec<_> = events.iter().map(|event| (event.metadata.to_vec(), event.group.to_vec())).collect();
    let expected = [(0, 0), (3, 2), (0, 2), (4, 0), (0, 0), (6, 5)].map(|(metadata, group)| (of(metadata), of(group)));
    assert_eq!(found, expected);
    // A cursor keeps the group of what follows it.
    let mut cursor = Events::new(&chunk);
    assert_eq!(cursor.by_ref().take(2).count(), 2);
    let rest = cursor.until(cursor.offset() + event(0).len());
    assert_eq!(rest.map(|event| event.unwrap().group.to_vec()).collect::<Vec<_>>(), [of(2)]);
}
