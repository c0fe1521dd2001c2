//! Option values from text. Each error says what is allowed.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Allowed;

/// Any text.
pub(super) fn text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

/// The path of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(text))
}

/// One of several values by its name, in any case.
pub(super) fn one_of<T: Copy>(values: &'static [(&'static str, T)]) -> impl Fn(&str) -> Result<T, Allowed> {
    move |text| {
        let found = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let names = || listed(values.iter().map(|(name, _)| *name));
        found.map(|(_, value)| *value).ok_or_else(|| format!("use {}", names()).into())
    }
}

/// Names in a sentence: `a`, `a or b`, `a, b or c`.
pub(super) fn listed(names: impl IntoIterator<Item = &'static str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last.to_owned() } else { format!("{} or {last}", names.join(", ")) }
}

/// Booleans as Fluent Bit takes them, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, Allowed> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("use on or off".into()),
    }
}

/// A whole number within bounds.
pub(super) fn integer(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, Allowed> {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("use a whole number from {} to {}", range.start(), range.end()).into()),
    }
}

/// Bytes within bounds: a whole number, or one with `k`, `m`, `g` (powers of 1024) and an optional `b` or `ib`.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, Allowed> {
    move |text| match bytes(text) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!("use a size from {} to {} bytes, such as 512k or 1M", range.start(), range.end()).into()),
    }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// A duration: seconds, or a number with `ms`, `s`, `m` or `h`; at most a day.
pub(super) fn duration(text: &str) -> Result<Duration, Allowed> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
        "ms" => Some(0.001),
        "" | "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    unit.zip(number.parse::<f64>().ok())
        .and_then(|(unit, number)| Duration::try_from_secs_f64(unit * number).ok())
        .filter(|&time| time <= Duration::from_secs(24 * 3600))
        .ok_or_else(|| "use seconds, or a time such as 500ms, 1.5s or 2m, up to 24h".into())
}

/// As [`duration`], where zero means that there is no limit.
pub(super) fn limit(text: &str) -> Result<Option<Duration>, Allowed> {
    duration(text).map(|time| Some(time).filter(|time| !time.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_value_is_found_in_any_case_and_an_error_lists_the_names() {
        let number = one_of(&[("one", 1), ("two", 2), ("three", 3)]);
        assert_eq!((number("Two"), number("four")), (Ok(2), Err("use one, two or three".to_owned().into())));
        assert_eq!((listed(["a"]), listed(["a", "b"])), ("a".to_owned(), "a or b".to_owned()));
    }

    #[test]
    fn booleans_are_those_of_fluent_bit_in_any_case() {
        for (text, value) in [("on", true), ("True", true), ("YES", true), ("1", true), ("off", false), ("0", false)] {
            assert_eq!(boolean(text), Ok(value), "{text}");
        }
        assert_eq!(boolean("maybe"), Err("use on or off".into()));
    }

    #[test]
    fn sizes_take_units_of_1024_and_keep_their_bounds() {
        let size = size(1..=10 << 20);
        for (text, bytes) in [("1", 1), ("512k", 512 << 10), ("1M", 1 << 20), ("10 MiB", 10 << 20), ("3KB", 3 << 10)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["0", "11M", "", "k", "1T", "-1", "1.5M", "99999999999999999999", "9999999999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_take_units_and_end_at_a_day() {
        for (text, milliseconds) in
            [("30", 30_000), ("500ms", 500), ("1.5s", 1500), ("2m", 120_000), ("0", 0), ("24h", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1d", "25h", "1e300", ".", "NaN", "1.2.3"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
