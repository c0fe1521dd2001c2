//! Formats an event's time.
//!
//! The format is parsed once. For events of the same second, only the fractions are rewritten.

use std::fmt::Write;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Utc};

use crate::chunk::EventTime;
use crate::error::Allowed;
use crate::record::json::string;
use crate::record::shape::writer;

/// Conversions of strftime that chrono handles. `%N`, `%L` and `%f` are handled here.
const CONVERSIONS: &str = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUvVwWxXyYzZ%";

/// How times are written: by a parsed strftime format, in UTC, or as a number. The default format writes nothing.
#[derive(Clone, Debug, Default)]
pub struct TimeFormat {
    pieces: Vec<Piece>,
    /// If the time is a number since 1970: how many of its units make a second.
    units_per_second: Option<u32>,
}

/// The formats that have a name: numbers, and the form of Fluent Bit's own `iso8601`.
const NUMBERS: &[(&str, u32)] =
    &[("epoch", 1), ("epoch_ms", 1_000), ("epoch_us", 1_000_000), ("epoch_ns", 1_000_000_000)];
const ISO8601: (&str, &str) = ("iso8601", "%Y-%m-%dT%H:%M:%S.%6NZ");

/// The part that changes with the second, followed by this many digits of the fraction.
#[derive(Clone, Debug)]
struct Piece {
    items: Vec<Item<'static>>,
    fraction_digits: usize,
}

impl TimeFormat {
    /// Parses a format: a name such as `epoch_ms` or `iso8601`; or the conversions of strftime(3) in the C locale with
    /// the flags `-`, `_`, `0` and `%:z`, and for fractions of the second `%1N` to `%9N` (one to nine digits), `%N` and
    /// `%L` (nine), `%f` (six). The error names an unknown conversion.
    ///
    /// # Errors
    /// What is no conversion, and what is allowed.
    pub fn parse(format: &str) -> Result<TimeFormat, Allowed> {
        if let Some((_, units)) = NUMBERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(format)) {
            return Ok(TimeFormat { pieces: Vec::new(), units_per_second: Some(*units) });
        }
        let (name, its_format) = ISO8601;
        TimeFormat::strftime(if format.eq_ignore_ascii_case(name) { its_format } else { format })
    }

    fn strftime(format: &str) -> Result<TimeFormat, Allowed> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = format;
        while let Some((before, conversion)) = rest.split_once('%') {
            text.push_str(before);
            let length = conversion_length(conversion);
            let (conversion, after) = conversion.split_at(length);
            rest = after;
            match fraction_digits(conversion) {
                Some(fraction_digits) => {
                    pieces.push(Piece { items: items(&text)?, fraction_digits });
                    text.clear();
                }
                None if is_conversion(conversion) => {
                    text.push('%');
                    text.push_str(conversion);
                }
                None => {
                    return Err(format!(
                        "'%{conversion}' is not a strftime conversion: use those, or %3N, %6N, %9N, %L, %f for fractions"
                    )
                    .into());
                }
            }
        }
        text.push_str(rest);
        pieces.push(Piece { items: items(&text)?, fraction_digits: 0 });
        Ok(TimeFormat { pieces, units_per_second: None })
    }
}

/// The number of bytes of a conversion after its percent sign: flags, digits and one character.
fn conversion_length(after: &str) -> usize {
    let modifiers = after.find(|c: char| !c.is_ascii_digit() && !"-_:.#^+".contains(c)).unwrap_or(after.len());
    let letter = after.get(modifiers..).and_then(|rest| rest.chars().next());
    modifiers + letter.map_or(0, char::len_utf8)
}

fn fraction_digits(conversion: &str) -> Option<usize> {
    match conversion.as_bytes() {
        b"N" | b"L" => Some(9),
        b"f" => Some(6),
        [digits @ b'1'..=b'9', b'N'] => Some((digits - b'0').into()),
        _ => None,
    }
}

fn is_conversion(conversion: &str) -> bool {
    let plain = conversion.strip_prefix(['-', '_', '0']).unwrap_or(conversion);
    let mut characters = plain.chars();
    conversion == ":z" || characters.next().is_some_and(|c| CONVERSIONS.contains(c)) && characters.next().is_none()
}

/// What chrono makes of a format that holds no fractions.
fn items(format: &str) -> Result<Vec<Item<'static>>, Allowed> {
    StrftimeItems::new(format).parse_to_owned().map_err(|_| format!("'{format}' is not understood").into())
}

/// Writes times in one format.
#[derive(Debug)]
pub(crate) struct TimeWriter<'a> {
    format: &'a TimeFormat,
    /// The second shown in `rendered`.
    second: Option<i64>,
    /// The text of all pieces, and where each ends.
    rendered: String,
    ends: Vec<usize>,
}

impl<'a> TimeWriter<'a> {
    /// Creates a writer for `format`.
    pub(crate) fn new(format: &'a TimeFormat) -> Self {
        TimeWriter { format, second: None, rendered: String::new(), ends: Vec::new() }
    }

    /// Appends `time` to `out` as text. A time beyond the year 262,000 is written as 1970, unless it is a number.
    pub(crate) fn write(&mut self, time: EventTime, out: &mut Vec<u8>) {
        if let Some(number) = self.number(time) {
            return out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        if self.second != Some(time.seconds) {
            self.render(time.seconds);
        }
        let mut start = 0;
        for (piece, &end) in self.format.pieces.iter().zip(&self.ends) {
            out.extend_from_slice(self.rendered.as_bytes().get(start..end).unwrap_or_default());
            start = end;
            let digits = nine_digits(time.nanoseconds);
            out.extend_from_slice(digits.get(..piece.fraction_digits).unwrap_or_default());
        }
    }

    /// `time` as a number, if the format is one.
    pub(crate) fn number(&self, time: EventTime) -> Option<i64> {
        let units = i128::from(self.format.units_per_second?);
        let fraction = i128::from(time.nanoseconds) * units / 1_000_000_000;
        let number = i128::from(time.seconds) * units + fraction;
        Some(i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX }))
    }

    fn render(&mut self, second: i64) {
        let time: DateTime<Utc> = DateTime::from_timestamp(second, 0).unwrap_or_default();
        self.rendered.clear();
        self.ends.clear();
        for piece in &self.format.pieces {
            // Cannot fail: a String accepts everything, and a UTC time has everything the items need.
            write!(self.rendered, "{}", time.format_with_items(piece.items.iter())).unwrap_or_default();
            self.ends.push(self.rendered.len());
        }
        self.second = Some(second);
    }
}

fn nine_digits(nanoseconds: u32) -> [u8; 9] {
    let mut digits = [b'0'; 9];
    let mut rest = nanoseconds;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The time of an event, as an entry of its record.
pub(super) struct TimeEntry<'a> {
    writer: TimeWriter<'a>,
    /// Its key as JSON, between a comma and a colon.
    key: Vec<u8>,
    text: Vec<u8>,
    /// The same as msgpack: a number or text.
    value: Vec<u8>,
}

impl<'a> TimeEntry<'a> {
    /// Creates an entry under `key`, if it has one.
    pub(super) fn new(key: Option<&str>, format: &'a TimeFormat) -> Self {
        let mut json = b",".to_vec();
        string::write(key.unwrap_or_default().as_bytes(), &mut json);
        json.push(b':');
        TimeEntry { writer: TimeWriter::new(format), key: json, text: Vec::new(), value: Vec::new() }
    }

    /// Sets the time.
    #[inline]
    pub(super) fn set(&mut self, time: EventTime) {
        self.text.clear();
        self.writer.write(time, &mut self.text);
        self.value.clear();
        match self.writer.number(time) {
            Some(number) => writer::write_integer(number, &mut self.value),
            None => writer::write_string(&self.text, &mut self.value),
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// Appends it to the entries of a JSON object.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        match self.writer.format.units_per_second {
            Some(_) => out.extend_from_slice(&self.text),
            None => string::write(&self.text, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(format: &str, seconds: i64, nanoseconds: u32) -> String {
        let format = TimeFormat::parse(format).unwrap();
        let mut out = Vec::new();
        TimeWriter::new(&format).write(EventTime { seconds, nanoseconds }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_conversion_is_that_of_strftime_in_the_c_locale() {
        // 2020-09-13T12:26:40Z, a Sunday; `date -u -d @1600000000 +FORMAT` agrees (except GMT for strftime's %Z).
        for (format, text) in [
            ("%a %A %b %B %h", "Sun Sunday Sep September Sep"),
            ("%c", "Sun Sep 13 12:26:40 2020"),
            ("%C %y %Y %g %G", "20 20 2020 20 2020"),
            ("%d %e %m %j", "13 13 09 257"),
            ("%D %F %x", "09/13/20 2020-09-13 09/13/20"),
            ("%H %I %k %l %M %S", "12 12 12 12 26 40"),
            ("%p %P %r", "PM pm 12:26:40 PM"),
            ("%R %T %X", "12:26 12:26:40 12:26:40"),
            ("%s", "1600000000"),
            ("%u %w %U %V %W", "7 0 37 37 36"),
            ("%v", "13-Sep-2020"),
            ("%z %:z %Z", "+0000 +00:00 UTC"),
            ("%n%t%%", "\n\t%"),
            ("%-m/%_m/%0e", "9/ 9/13"),
            ("%%L %%3N %%%L", "%L %3N %123456789"),
            ("plain \"x\" ü", "plain \"x\" ü"),
            ("%Y-%m-%dT%H:%M:%S", "2020-09-13T12:26:40"),
            ("%Y-%m-%dT%H:%M:%S.%3NZ", "2020-09-13T12:26:40.123Z"),
            ("%Y-%m-%dT%H:%M:%S.%N%z", "2020-09-13T12:26:40.123456789+0000"),
            ("%L|%f|%3N|%6N|%9N|%N|%1N", "123456789|123456|123|123456|123456789|123456789|1"),
        ] {
            assert_eq!(render(format, 1_600_000_000, 123_456_789), text, "{format}");
        }
    }

    #[test]
    fn fractions_keep_their_leading_zeros() {
        for (nanoseconds, text) in [
            (0, "000 000000 000000000"),
            (1, "000 000000 000000001"),
            (1_000_000, "001 001000 001000000"),
            (88_000_000, "088 088000 088000000"),
            (999_999_999, "999 999999 999999999"),
        ] {
            for format in ["%3N %6N %9N", "%3N %f %L"] {
                assert_eq!(render(format, 0, nanoseconds), text, "{format}");
            }
        }
    }

    #[test]
    fn the_years_from_1970_to_2100_are_right_and_no_time_panics() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 001 Thu"),
            (951_782_400, "2000-02-29 00:00:00 060 Tue"),
            (4_107_542_399, "2100-02-28 23:59:59 059 Sun"),
            (4_107_542_400, "2100-03-01 00:00:00 060 Mon"),
            (4_133_980_799, "2100-12-31 23:59:59 365 Fri"),
            (-1, "1969-12-31 23:59:59 365 Wed"),
            (i64::MAX, "1970-01-01 00:00:00 001 Thu"),
        ] {
            assert_eq!(render("%Y-%m-%d %H:%M:%S %j %a", seconds, 0), text);
        }
        for second in [i64::MIN, -1 << 40, 1 << 40] {
            assert!(!render("%c%s%G%V%Z%L", second, u32::MAX).is_empty());
        }
    }

    #[test]
    fn an_epoch_is_a_number_of_whole_units_rounded_down() {
        for (seconds, nanoseconds, expected) in [
            (
                1_600_000_000,
                123_456_789,
                [1_600_000_000, 1_600_000_000_123, 1_600_000_000_123_456, 1_600_000_000_123_456_789],
            ),
            (0, 999_999_999, [0, 999, 999_999, 999_999_999]),
            (-1, 999_999_999, [-1, -1, -1, -1]),
            (-2, 500_000_000, [-2, -1_500, -1_500_000, -1_500_000_000]),
            (u32::MAX.into(), 0, [4_294_967_295, 4_294_967_295_000, 4_294_967_295_000_000, 4_294_967_295_000_000_000]),
            (i64::MAX, 0, [i64::MAX; 4]),
            (i64::MIN, 0, [i64::MIN; 4]),
        ] {
            for (name, number) in ["epoch", "Epoch_MS", "epoch_us", "epoch_ns"].into_iter().zip(expected) {
                assert_eq!(render(name, seconds, nanoseconds), number.to_string(), "{name}");
                let format = TimeFormat::parse(name).unwrap();
                assert_eq!(TimeWriter::new(&format).number(EventTime { seconds, nanoseconds }), Some(number), "{name}");
            }
        }
    }

    #[test]
    fn iso8601_is_rfc_3339_in_microseconds_as_fluent_bits_own() {
        for (seconds, nanoseconds) in [(1_600_000_000, 123_456_789), (0, 0), (-1, 5), (u32::MAX.into(), 999_999_999)] {
            let text = render("ISO8601", seconds, nanoseconds);
            let read = DateTime::parse_from_rfc3339(&text).unwrap();
            assert!(text.ends_with('Z') && text.len() == 27, "{text}");
            assert_eq!((read.timestamp(), read.timestamp_subsec_micros()), (seconds, nanoseconds / 1000));
        }
    }

    #[test]
    fn what_strftime_does_not_know_is_refused_by_name() {
        for (format, conversion) in [
            ("%Q", "%Q"),
            ("%Y %", "%"),
            ("%Ey", "%E"),
            ("%Od", "%O"),
            ("%10N", "%10N"),
            ("%0N", "%0N"),
            ("%.3f", "%.3f"),
            ("%é", "%é"),
            ("%-", "%-"),
            ("%+", "%+"),
            ("%--d", "%--d"),
            ("%5Y", "%5Y"),
        ] {
            let mistake = TimeFormat::parse(format).unwrap_err().to_string();
            assert!(
                mistake.starts_with(&format!("'{conversion}' is not a strftime conversion")),
                "{format}: {mistake}"
            );
        }
    }

    #[test]
    fn a_format_of_four_kilobytes_and_an_empty_one_do_what_they_say() {
        assert_eq!(render(&"%c".repeat(2048), 0, 0), "Thu Jan  1 00:00:00 1970".repeat(2048));
        assert_eq!(render(&"x".repeat(4096), 0, 0), "x".repeat(4096));
        assert_eq!(render("", 0, 0), "");
    }

    #[test]
    fn the_text_of_a_second_is_used_again_for_that_second_only() {
        let format = TimeFormat::parse("%S.%3N").unwrap();
        let mut writer = TimeWriter::new(&format);
        let mut out = Vec::new();
        for (seconds, nanoseconds) in [(1, 0), (1, 5_000_000), (2, 5_000_000), (1, 0)] {
            writer.write(EventTime { seconds, nanoseconds }, &mut out);
            out.push(b' ');
        }
        assert_eq!(out, b"01.000 01.005 02.005 01.000 ");
    }
}
