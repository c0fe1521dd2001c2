//! Labelled tab-separated values (<http://ltsv.org>, read 2026-11).
//!
//! A label appears once: of entries with the same label the last counts, as in JSON. What would end a value or a
//! label early is replaced.

use super::plain::{nothing, replace_in, write_text};
use crate::msgpack::{Reader, Token};
use crate::record::refusal::Refusal;

/// What separates the values of a record.
pub(super) struct Delimiters<'a> {
    /// Between pairs.
    pub(super) pairs: &'a str,
    /// Between a label and its value.
    pub(super) label: &'a str,
}

/// Appends an event's `body` to `out`.
pub(super) fn write(
    body: &[u8],
    delimiters: &Delimiters<'_>,
    labels: &mut Labels,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let mut reader = Reader::new(body);
    let Token::Map(entries) = reader.token()? else { return Ok(()) };
    labels.read(entries, reader, delimiters)?;
    let mut is_first = true;
    for (entry, label) in (0..).zip(labels.each()) {
        reader.skip()?;
        let value = reader.value()?;
        if labels.is_repeated_after(entry, label) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.extend_from_slice(delimiters.pairs.as_bytes());
        }
        out.extend_from_slice(label);
        out.extend_from_slice(delimiters.label.as_bytes());
        let start = out.len();
        write_text(Some(value), nothing, out)?;
        replace_in(out, start, delimiters.pairs.as_bytes(), b" ");
        replace_line_ends(out, start, b' ');
    }
    Ok(())
}

/// The labels of a record. The memory is reused for the next record's.
#[derive(Debug, Default)]
pub(super) struct Labels {
    text: Vec<u8>,
    /// Where each ends in `text`.
    ends: Vec<usize>,
    /// The index of each, in the order of their texts, then of their indexes.
    sorted: Vec<u32>,
}

impl Labels {
    /// Reads those of a map's `entries`.
    fn read(&mut self, entries: u32, mut reader: Reader<'_>, delimiters: &Delimiters<'_>) -> Result<(), Refusal> {
        self.text.clear();
        self.ends.clear();
        let mut sorted = std::mem::take(&mut self.sorted);
        sorted.clear();
        for entry in 0..entries {
            let start = self.text.len();
            write_text(Some(reader.value()?), nothing, &mut self.text)?;
            replace_in(&mut self.text, start, delimiters.pairs.as_bytes(), b"_");
            replace_in(&mut self.text, start, delimiters.label.as_bytes(), b"_");
            replace_line_ends(&mut self.text, start, b'_');
            self.ends.push(self.text.len());
            sorted.push(entry);
            reader.skip()?;
        }
        sorted.sort_unstable_by_key(|&entry| (self.label(entry), entry));
        self.sorted = sorted;
        Ok(())
    }

    fn label(&self, entry: u32) -> &[u8] {
        let end = |entry: usize| self.ends.get(entry).copied().unwrap_or_default();
        let entry = entry as usize;
        self.text.get(entry.checked_sub(1).map_or(0, end)..end(entry)).unwrap_or_default()
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|entry| self.label(entry))
    }

    /// Whether a later entry than `entry` has its `label`.
    fn is_repeated_after(&self, entry: u32, label: &[u8]) -> bool {
        let place = self.sorted.partition_point(|&other| (self.label(other), other) <= (label, entry));
        self.sorted.get(place).is_some_and(|&next| self.label(next) == label)
    }
}

/// Puts `replacement` in place of each line feed and carriage return in `out` after `start`.
fn replace_line_ends(out: &mut [u8], start: usize, replacement: u8) {
    let text = out.get_mut(start..).unwrap_or_default();
    text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = replacement);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn line(body: &[u8]) -> String {
        let mut out = b"before ".to_vec();
        write(body, &Delimiters { pairs: "\t", label: ":" }, &mut Labels::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
    }

    fn of(entries: &[(&str, &str)]) -> String {
        let map = rmpv::Value::Map(entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect());
        let mut body = Vec::new();
        rmpv::encode::write_value(&mut body, &map).unwrap();
        line(&body)
    }

    #[test]
    fn what_would_end_a_value_becomes_a_space_and_in_a_label_an_underscore() {
        assert_eq!(of(&[("log", "one\ttwo\nthree\r\n"), ("b", "x:y")]), "log:one two three  \tb:x:y");
        assert_eq!(of(&[("a:b\tc\nd", "1")]), "a_b_c_d:1");
    }

    #[test]
    fn of_equal_labels_the_last_counts_in_its_place() {
        assert_eq!(of(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")]), "a:3\tc:4\tb:5");
        assert_eq!(of(&[("a:b", "1"), ("a_b", "2")]), "a_b:2", "also of labels that only became equal");
        // {1: "a", "1": "b", bin "1": "c"}
        assert_eq!(line(b"\x83\x01\xa1a\xa11\xa1b\xc4\x011\xa1c"), "1:c");
    }

    #[test]
    fn a_surrogate_pair_is_its_character_in_labels_and_values() {
        assert_eq!(line(b"\x81\xa6\xed\xa0\xbd\xed\xb8\x80\xa6\xed\xa0\xbd\xed\xb8\x80"), "😀:😀");
    }

    proptest! {
        #[test]
        fn a_line_is_read_back_as_its_entries(entries in proptest::collection::vec(("[ab:\t\n_]{1,3}", "[x:\t\r\n]{0,3}"), 0..12)) {
            let pairs: Vec<(&str, &str)> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let line = of(&pairs);
            let read: Vec<(&str, &str)> = line.split('\t').filter_map(|pair| pair.split_once(':')).collect();
            let expected: HashMap<String, String> = pairs
                .iter()
                .map(|(key, value)| (key.replace([':', '\t', '\n'], "_"), value.replace(['\t', '\r', '\n'], " ")))
                .collect();
            prop_assert_eq!(read.len(), expected.len(), "{}", line);
            for (label, value) in read {
                prop_assert_eq!(expected.get(label).map(String::as_str), Some(value));
            }
        }
    }
}
