//! Numbers that a document takes from elsewhere are those that stand there: in PERFORMANCE.md, or in the code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/sources.rs"]
mod sources;

use std::collections::HashSet;

use sources::read;

#[test]
fn costs_are_those_of_the_performance_page() {
    let performance = read("PERFORMANCE.md");
    let measured: HashSet<&str> = numbers(&performance).collect();
    for (path, heading) in [("docs/comparison.md", "## What they cost"), ("docs/tuning.md", "## Processor time")] {
        let document = read(path);
        let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let costs: Vec<&str> = numbers(section).filter(|number| number.contains('.')).collect();
        assert!(costs.len() >= 6, "{path}: {costs:?}");
        for cost in costs {
            assert!(measured.contains(cost), "{path}: {cost} is not in PERFORMANCE.md");
        }
    }
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let between = |c: char| !(c.is_ascii_digit() || c == '.');
    text.split(between).map(|number| number.trim_matches('.')).filter(|number| !number.is_empty())
}

/// Rates are what the code's times make of 10,000 outputs.
#[test]
fn the_call_rates_of_a_fleet_follow_from_the_code() {
    const NODES: f64 = 10_000.0;
    const CREDENTIALS: &str = "src/aws/credentials/mod.rs";
    const SHARDS: &str = "src/deliver/shards.rs";
    let (before_expiry, latest) =
        (seconds(CREDENTIALS, "RENEW_BEFORE_EXPIRY"), 1.0 - number(CREDENTIALS, "RENEW_SPREAD"));
    let spread = before_expiry * latest;
    // Credentials of an hour.
    let mean_life = 3600.0 - before_expiry + spread / 2.0;
    // Half of a pause is drawn.
    let mean_pause = seconds(CREDENTIALS, "LONGEST_PAUSE") * 0.75;
    let handshakes = NODES / seconds("src/aws/connect/mod.rs", "MAX_AGE");
    let fewest = number("src/deliver/limiter.rs", "FEWEST");
    let asked_at_once = NODES / seconds(SHARDS, "JITTER");
    assert_eq!(asked_at_once, NODES / seconds(SHARDS, "FIRST_RETRY"));
    let rows = [
        format!(
            "| the first renewal after a start at once: credentials of an hour are renewed after {:.0} to {:.0} minutes, evenly drawn | {:.0}/s for {:.0} minutes |",
            (3600.0 - before_expiry) / 60.0,
            (3600.0 - before_expiry + spread) / 60.0,
            NODES / spread,
            spread / 60.0
        ),
        format!("| later on, on average | {:.1}/s |", NODES / mean_life),
        format!("| {:.0} fetches/s, ", NODES / mean_pause),
        format!("| at most once a minute | {:.0}/s on average |", NODES / seconds(CREDENTIALS, "DROP_INTERVAL")),
        format!("| at the start, within 30 s, evenly drawn | {asked_at_once:.0}/s for 30 s |"),
        format!("| later on: each drawn from 5 to 15 minutes | {:.0}/s |", NODES / seconds(SHARDS, "INTERVAL")),
        format!("at the earliest, within 30 s | {asked_at_once:.0}/s for {} s |", seconds(SHARDS, "JITTER")),
        format!("doubling up to the 5 to 15 minutes | {asked_at_once:.0}/s, soon fewer |"),
        format!("| {handshakes:.0}/s |"),
        format!("\n{handshakes:.0} to {:.0} TLS handshakes a second", handshakes * fewest),
    ];
    let fleet = read("docs/fleet.md");
    for row in rows {
        assert!(fleet.contains(&row), "docs/fleet.md does not say: {row}");
    }
}

/// The value of a constant that is a time.
fn seconds(path: &str, constant: &str) -> f64 {
    let value = value(path, constant);
    let seconds = value.strip_prefix("Duration::from_secs(").and_then(|value| value.strip_suffix(')'));
    seconds.unwrap_or_else(|| panic!("{path}: {constant} is {value}")).parse().unwrap()
}

/// The value of a constant that is a number or the quotient of two.
fn number(path: &str, constant: &str) -> f64 {
    let value = value(path, constant);
    let (dividend, divisor) = value.split_once(" / ").unwrap_or((&value, "1"));
    dividend.parse::<f64>().unwrap() / divisor.parse::<f64>().unwrap()
}

fn value(path: &str, constant: &str) -> String {
    let code = read(path);
    let (_, rest) = code.split_once(&format!("const {constant}: ")).unwrap_or_else(|| panic!("{path}: no {constant}"));
    let (_, value) = rest.split(';').next().unwrap().split_once(" = ").unwrap();
    value.to_owned()
}
