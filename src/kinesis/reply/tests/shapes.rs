//! The same reply in every form that JSON and CBOR allow.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::Response;
use crate::deliver::stream::sender::outcome;
use crate::kinesis::verdict::{RecordVerdict, Verdict, verdict};
use crate::metrics::RequestOutcome;

/// The meaning of a reply, however it is written.
#[derive(Clone, Debug)]
enum Node {
    Null,
    Text(String),
    Number(u8),
    List(Vec<Node>),
    Map(Vec<(&'static str, Node)>),
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

/// Draws a way to write a reply.
struct Writer<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl Writer<'_> {
    fn draw(&mut self, choices: usize) -> usize {
        usize::from(*self.0.next().unwrap()) % choices
    }

    /// Unknown members, and another order.
    fn vary(&mut self, node: Node, of_nothing: &[(&'static str, Node)]) -> Node {
        let Node::Map(mut members) = node else { panic!("{node:?}") };
        for member in of_nothing {
            if self.draw(3) == 0 {
                members.push(member.clone());
            }
        }
        for place in 0..members.len() {
            let other = self.draw(members.len());
            members.swap(place, other);
        }
        Node::Map(members)
    }

    fn blank(&mut self) -> &'static str {
        ["", "", " ", "\n", "\r\n\t"][self.draw(5)]
    }

    fn json(&mut self, node: &Node, out: &mut String) {
        out.push_str(self.blank());
        match node {
            Node::Null => out.push_str("null"),
            Node::Number(number) => out.push_str(&number.to_string()),
            Node::Text(text) => self.json_text(text, out),
            Node::List(nodes) => {
                out.push('[');
                for (place, node) in nodes.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    self.json(node, out);
                }
                out.push(']');
            }
            Node::Map(members) => {
                out.push('{');
                for (place, (key, node)) in members.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    out.push_str(self.blank());
                    self.json_text(key, out);
                    out.push_str(self.blank());
                    out.push(':');
                    self.json(node, out);
                }
                out.push_str(self.blank());
                out.push('}');
            }
        }
        out.push_str(self.blank());
    }

    fn json_text(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for (place, character) in text.chars().enumerate() {
            if place == 0 && self.draw(4) == 0 {
                out.push_str(&format!("\\u{:04x}", character as u32));
            } else {
                out.push(character);
            }
        }
        out.push('"');
    }

    fn cbor(&mut self, node: &Node, out: &mut Vec<u8>) {
        if self.draw(6) == 0 {
            out.extend_from_slice(&[0xd9, 0xd9, 0xf7]);
        }
        match node {
            Node::Null => out.push([0xf6, 0xf7][self.draw(2)]),
            Node::Number(number) => self.head(0, usize::from(*number), out),
            Node::Text(text) => self.cbor_text(text, out),
            Node::List(nodes) => {
                let open = self.begin(4, nodes.len(), out);
                nodes.iter().for_each(|node| self.cbor(node, out));
                out.extend(open.then_some(0xff));
            }
            Node::Map(members) => {
                let open = self.begin(5, members.len(), out);
                for (key, node) in members {
                    self.cbor_text(key, out);
                    self.cbor(node, out);
                }
                out.extend(open.then_some(0xff));
            }
        }
    }

    fn begin(&mut self, major: u8, length: usize, out: &mut Vec<u8>) -> bool {
        let open = self.draw(2) == 0;
        if open {
            out.push(major << 5 | 31);
        } else {
            self.head(major, length, out);
        }
        open
    }

    fn cbor_text(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.draw(3) > 0 {
            self.head(3, text.len(), out);
            return out.extend_from_slice(text.as_bytes());
        }
        out.push(0x7f);
        let (begin, end) = text.split_at(self.draw(text.len() + 1));
        for piece in [begin, end] {
            self.head(3, piece.len(), out);
            out.extend_from_slice(piece.as_bytes());
        }
        out.push(0xff);
    }

    fn head(&mut self, major: u8, number: usize, out: &mut Vec<u8>) {
        let short = u8::try_from(number).unwrap();
        match self.draw(3) {
            0 if short < 24 => out.push(major << 5 | short),
            1 => out.extend_from_slice(&[major << 5 | 25, 0, short]),
            _ => out.extend_from_slice(&[major << 5 | 24, short]),
        }
    }

    fn reply(&mut self, status: u16, node: &Node) -> Response {
        let body = if self.draw(2) == 0 {
            let mut body = String::new();
            self.json(node, &mut body);
            Bytes::from(body)
        } else {
            let mut body = Vec::new();
            self.cbor(node, &mut body);
            Bytes::from(body)
        };
        Response::new(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), body)
    }

    fn records(&mut self, count: usize, failed: Option<(usize, Node)>) -> Response {
        let nested = Node::Map(vec![("ErrorCode", text("InternalFailure")), ("Records", Node::List(vec![]))]);
        let records = (0..count)
            .map(|index| {
                let entry = match &failed {
                    Some((at, code)) if *at == index => {
                        vec![("ErrorCode", code.clone()), ("SequenceNumber", text("1"))]
                    }
                    _ => vec![("SequenceNumber", text("4954")), ("ShardId", text("shardId-000000000000"))],
                };
                let of_nothing = [
                    ("EncryptionType", text("KMS")),
                    ("ErrorCode", Node::Null),
                    ("ErrorMessage", Node::Null),
                    ("Unknown", nested.clone()),
                ];
                self.vary(Node::Map(entry), &of_nothing)
            })
            .collect();
        let of_nothing = [
            ("FailedRecordCount", Node::Number(u8::from(failed.is_some()))),
            ("EncryptionType", Node::Null),
            ("Unknown", Node::List(vec![nested.clone(), Node::Null])),
        ];
        let reply = self.vary(Node::Map(vec![("Records", Node::List(records))]), &of_nothing);
        self.reply(200, &reply)
    }
}

fn judge(reply: &Response, count: usize) -> Verdict {
    verdict(&Ok(reply.clone()), count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_reply_that_accepts_every_record_is_accepted_however_it_is_written(
        choices in proptest::collection::vec(any::<u8>(), 1..200), count in 1usize..5,
    ) {
        let reply = Writer(choices.iter().cycle()).records(count, None);
        let judged = judge(&reply, count);
        prop_assert_eq!(&judged, &Verdict::Accepted, "{:?}", reply.body);
        prop_assert_eq!(outcome(&Ok(reply.clone()), &judged), RequestOutcome::Ok);
        prop_assert!(reply.failed_record_count().is_none_or(|failed| failed == 0));
        prop_assert!(!matches!(judge(&reply, count + 1), Verdict::Accepted | Verdict::Answered(_)));
        // A truncated reply says nothing.
        let cut = Response { body: reply.body.slice(..choices.len() % reply.body.trim_ascii_end().len()), ..reply };
        prop_assert!(!matches!(judge(&cut, count), Verdict::Accepted | Verdict::Answered(_)), "{:?}", cut.body);
    }

    #[test]
    fn a_reply_with_a_failed_record_is_not_accepted_however_it_is_written(
        choices in proptest::collection::vec(any::<u8>(), 1..200), count in 1usize..5, failed in 0usize..5,
        code in prop_oneof![
            Just(text("InternalFailure")), Just(text("")), Just(Node::Number(7)), Just(Node::Map(vec![])),
        ],
    ) {
        let failed = failed % count;
        let reply = Writer(choices.iter().cycle()).records(count, Some((failed, code)));
        let judged = judge(&reply, count);
        let Verdict::Answered(records) = judged else { panic!("{judged:?} {:?}", reply.body) };
        for (index, record) in records.iter().enumerate() {
            prop_assert_eq!(*record == RecordVerdict::Accepted, index != failed, "{:?}", reply.body);
        }
        prop_assert!(reply.failed_record_count().is_none_or(|count| count == 1));
    }

    #[test]
    fn an_error_keeps_its_code_however_it_is_written(
        choices in proptest::collection::vec(any::<u8>(), 1..200),
        name in prop_oneof![Just("__type"), Just("code"), Just("Code")],
    ) {
        let mut writer = Writer(choices.iter().cycle());
        let nested = Node::Map(vec![("code", text("AccessDeniedException")), ("message", text("wrong"))]);
        let error = Node::Map(vec![(name, text("com.amazonaws.coral.service#ExpiredTokenException"))]);
        let error = writer.vary(error, &[
            ("message", text("expired")),
            ("Message", Node::Number(5)),
            ("message", nested.clone()),
            ("__type", Node::Null),
            ("code", Node::Number(40)),
            ("Code", text("")),
            ("code", text("what it is in words")),
            ("details", Node::List(vec![nested])),
            ("RequestId", text("1")),
        ]);
        let reply = writer.reply(400, &error);
        prop_assert_eq!(reply.error().code, "ExpiredTokenException", "{:?}", reply.body);
        let is_unauthorized = matches!(judge(&reply, 1), Verdict::Unauthorized { .. });
        prop_assert!(is_unauthorized);
    }
}
