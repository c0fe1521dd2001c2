//! The body of a `PutRecords` request, written as the records come.
//!
//! A body is kept until Kinesis has taken all of it. What failed is cut out of it and sent again ([`Batch::only`]), so
//! no record is encoded twice.

use std::ops::Range;

use bytes::Bytes;

use crate::config::Stream;
use crate::partition::RandomKey;

/// The value of the `Content-Type` header.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

const RECORDS: &[u8] = b",\"Records\":[";
const DATA: &[u8] = b"{\"Data\":\"";
const PARTITION_KEY: &[u8] = b"\",\"PartitionKey\":";

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which record of the chunk this is: the index of its event.
    pub record: u32,
    /// Data before base64 plus partition key, in bytes: what Kinesis counts.
    pub bytes: usize,
    /// Whether the key was drawn at random, and so may be drawn anew.
    pub random_key: bool,
    /// Where the entry stands in the body, from its first key up to its partition key's opening quote.
    head: Range<usize>,
    /// Where its partition key's JSON string stands, quotes included.
    key: Range<usize>,
}

/// A batch that is being written.
#[derive(Debug)]
pub struct BatchBuilder {
    body: Vec<u8>,
    prefix_length: usize,
    entries: Vec<Entry>,
    bytes: usize,
}

impl BatchBuilder {
    /// An empty batch for `stream`.
    pub fn new(stream: &Stream) -> Self {
        let mut body = if stream.is_arn() { b"{\"StreamARN\":".to_vec() } else { b"{\"StreamName\":".to_vec() };
        json_escape_simd::escape_into(stream.as_str(), &mut body);
        body.extend_from_slice(RECORDS);
        Self::behind(body)
    }

    fn behind(prefix: Vec<u8>) -> Self {
        BatchBuilder { prefix_length: prefix.len(), body: prefix, entries: Vec::new(), bytes: 0 }
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Data before base64 plus partition keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record. Limits are the caller's ([`crate::pack`]).
    pub fn push(&mut self, record: u32, data: &[u8], key: &str, random_key: bool) {
        let head = self.start_entry();
        self.body.extend_from_slice(DATA);
        base64_simd::STANDARD.encode_append(data, &mut self.body);
        self.body.extend_from_slice(PARTITION_KEY);
        self.end_entry(head, record, data.len(), key, random_key);
    }

    fn start_entry(&mut self) -> usize {
        if !self.entries.is_empty() {
            self.body.push(b',');
        }
        self.body.len()
    }

    fn end_entry(&mut self, head: usize, record: u32, data_bytes: usize, key: &str, random_key: bool) {
        let key_start = self.body.len();
        json_escape_simd::escape_into(key, &mut self.body);
        let key_end = self.body.len();
        self.body.push(b'}');
        let bytes = data_bytes + key.len();
        self.bytes += bytes;
        self.entries.push(Entry { record, bytes, random_key, head: head..key_start, key: key_start..key_end });
    }

    /// The batch, complete.
    pub fn finish(mut self) -> Batch {
        self.body.extend_from_slice(b"]}");
        Batch { body: self.body.into(), prefix_length: self.prefix_length, entries: self.entries, bytes: self.bytes }
    }
}

/// Records on their way to Kinesis: a request's body and what is in it.
#[derive(Clone, Debug)]
pub struct Batch {
    body: Bytes,
    prefix_length: usize,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    /// The records in it, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Data before base64 plus partition keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The request's body; cloning it copies nothing.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// A batch of those entries for which `keep` says so, by their index in this batch. `new_key` may give an entry
    /// with a random key another one.
    pub fn only(
        &self,
        mut keep: impl FnMut(usize) -> bool,
        mut new_key: impl FnMut(usize) -> Option<RandomKey>,
    ) -> Batch {
        let part = |range: Range<usize>| self.body.get(range).unwrap_or_default();
        let mut kept = BatchBuilder::behind(part(0..self.prefix_length).to_vec());
        for (index, entry) in self.entries.iter().enumerate() {
            if !keep(index) {
                continue;
            }
            let head = kept.start_entry();
            kept.body.extend_from_slice(part(entry.head.clone()));
            match if entry.random_key { new_key(index) } else { None } {
                Some(key) => {
                    // A random key has no character that JSON escapes: its text is two quotes longer than itself.
                    let data_bytes = entry.bytes + 2 - entry.key.len();
                    kept.end_entry(head, entry.record, data_bytes, key.as_str(), true);
                }
                None => {
                    let key_start = kept.body.len();
                    kept.body.extend_from_slice(part(entry.key.clone()));
                    let key = key_start..kept.body.len();
                    kept.body.push(b'}');
                    kept.bytes += entry.bytes;
                    kept.entries.push(Entry { head: head..key_start, key, ..entry.clone() });
                }
            }
        }
        kept.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(&Stream::parse("logs").unwrap());
        builder.push(4, b"first", "a", true);
        builder.push(7, b"", "k\"ey", false);
        builder.push(9, &[0xff, 0x00], "bbb", true);
        builder.finish()
    }

    fn text(batch: &Batch) -> String {
        String::from_utf8(batch.body().to_vec()).unwrap()
    }

    #[test]
    fn the_body_is_what_the_api_reference_shows() {
        assert_eq!(
            text(&batch()),
            r#"{"StreamName":"logs","Records":[{"Data":"Zmlyc3Q=","PartitionKey":"a"},{"Data":"","PartitionKey":"k\"ey"},{"Data":"/wA=","PartitionKey":"bbb"}]}"#
        );
        assert_eq!(batch().bytes(), 5 + 1 + 4 + 2 + 3);
        assert_eq!(batch().entries().iter().map(|e| e.bytes).collect::<Vec<_>>(), [6, 4, 5]);
    }

    #[test]
    fn an_arn_is_sent_as_stream_arn() {
        let arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/logs";
        let batch = BatchBuilder::new(&Stream::parse(arn).unwrap()).finish();
        assert_eq!(text(&batch), format!(r#"{{"StreamARN":"{arn}","Records":[]}}"#));
    }

    #[test]
    fn what_is_cut_out_keeps_its_bytes_and_its_record() {
        let rest = batch().only(|index| index != 1, |_| None);
        assert_eq!(
            text(&rest),
            r#"{"StreamName":"logs","Records":[{"Data":"Zmlyc3Q=","PartitionKey":"a"},{"Data":"/wA=","PartitionKey":"bbb"}]}"#
        );
        assert_eq!(rest.entries().iter().map(|e| e.record).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(text(&rest.only(|_| true, |_| None)), text(&rest));
        assert_eq!(rest.bytes(), 6 + 5);
    }

    #[test]
    fn only_random_keys_are_drawn_anew() {
        let mut random = SmallRng::seed_from_u64(1);
        let key = RandomKey::draw(&mut random);
        let rest = batch().only(|_| true, |_| Some(key));
        let key = key.as_str();
        assert_eq!(
            text(&rest),
            format!(
                r#"{{"StreamName":"logs","Records":[{{"Data":"Zmlyc3Q=","PartitionKey":"{key}"}},{{"Data":"","PartitionKey":"k\"ey"}},{{"Data":"/wA=","PartitionKey":"{key}"}}]}}"#
            )
        );
        assert_eq!(rest.entries().iter().map(|e| e.bytes).collect::<Vec<_>>(), [5 + 9, 4, 2 + 9]);
        assert_eq!(rest.bytes(), 14 + 4 + 11);
    }
}
