//! Numbers that a document takes from elsewhere match their source: PERFORMANCE.md or the code.

use std::collections::HashMap;

use testing::sources::read;

/// README.md has the few figures that sell, each computed from a table of PERFORMANCE.md or docs/tuning.md.
#[test]
fn the_figures_of_the_readme_follow_from_the_tables() {
    let [least_c, most_c] = times_less("C `kinesis_streams`");
    let [least_go, most_go] = times_less("Go `kinesis`");
    says(
        "README.md",
        &format!(
            "**{least_c:.1} to {most_c:.1} times less CPU than the C plugin**, {least_go:.0} to {most_go:.0} times less than \
             the Go plugin"
        ),
    );
    let far = faster();
    says("README.md", &format!("With 200 ms to each reply, the plugin sends {far} times as fast as the C plugin"));
    let tuning = read("docs/tuning.md");
    let [alone, together] = ["| nothing |", "| `aggregation lines`, `compression zstd` |"].map(|row| {
        let row = tuning.lines().find(|line| line.starts_with(row)).unwrap();
        row.split('|').map(str::trim).nth(5).unwrap().to_owned()
    });
    says("README.md", &format!("10,000 access log records a second take {together} shards instead of {alone}"));
}

/// What this plugin costs in time and memory stands in PERFORMANCE.md alone: elsewhere it would go stale.
#[test]
fn costs_are_nowhere_but_on_the_performance_page() {
    for (path, heading) in [
        ("docs/comparison.md", "## What they cost"),
        ("docs/tuning.md", "## CPU time"),
        ("docs/guides/kubernetes.md", "## Sizes"),
    ] {
        let sizes = read(path);
        let (_, section) = sizes.split_once(&format!("\n{heading}\n")).unwrap();
        let section = one_line(section.split("\n## ").next().unwrap());
        assert!(section.contains("PERFORMANCE.md#"), "{path}: {heading} does not say where the figures are");
        for cost in ["CPU second", "times the CPU time", "of C's CPU time", "over `null`", "MiB for the plugin"] {
            assert!(!section.contains(cost), "{path}: {heading} has figures of its own: {cost}");
        }
    }
}

/// What decisions claim to save was measured, and PERFORMANCE.md's conclusions follow from its own figures.
#[test]
fn savings_are_those_of_the_performance_page() {
    let [access, nested] = measured(["to the body of a request: ", " for an access line, ", " for a nested record"]);
    let [reply] = measured([" for a nested record; ", " to read its part of a reply"]);
    let [access_unlearned, nested_unlearned] =
        measured(["0046-learned-shapes.md), the two kinds of record took ", " and ", ". At first"]);
    let [access_before, nested_before, reply_before] =
        measured(["At first they took ", " and ", ", and a reply ", ": strings"]);
    let packing = format!(
        "packing went from {access_before} to {access_unlearned} instructions per access line and from {nested_before} to \
         {nested_unlearned} per nested record"
    );
    says("docs/decisions/0033-one-pass-encoding.md", &packing);
    let learning = format!(
        "A nested record takes {nested} instructions instead of {nested_unlearned}, an access line {access} instead of \
         {access_unlearned}"
    );
    says("docs/decisions/0046-learned-shapes.md", &learning);
    let reading = format!("{reply} instructions per record instead of {reply_before}");
    says("docs/decisions/0032-accepted-replies.md", &reading);
    assert_eq!((count(&nested) / count(&access)).round(), 3.0);
    says("PERFORMANCE.md", "**Nested records** cost three times an access line to encode");
    let handshakes = 10_000.0 / seconds("src/aws/connect/mod.rs", "MAX_AGE");
    says("docs/decisions/0023-connections.md", &format!("A fleet of 10,000 makes {handshakes:.0} handshakes a second"));
}

/// How many times less CPU time than another plugin in JSON, at least and at most, rounded down.
fn times_less(than: &str) -> [f64; 2] {
    let parts = performance_table(than).into_iter().map(|row| {
        let (_, part) = row["this, JSON"].split_once(" (").unwrap();
        count(part.trim_end_matches(')'))
    });
    let parts: Vec<f64> = parts.collect();
    let scale = if parts.iter().any(|part| *part > 0.1) { 10.0 } else { 1.0 };
    let rounded = |part: f64| (scale / part).floor() / scale;
    [parts.iter().copied().fold(0.0, f64::max), parts.iter().copied().fold(1.0, f64::min)].map(rounded)
}

/// How many times as fast as C with a distant endpoint, computed from the seconds.
fn faster() -> String {
    let [json, cbor, c, times] = measured([
        "a million access lines were sent in ",
        " s in JSON, in ",
        " s in CBOR, and in ",
        " s by C (medians of three rounds): ",
        " times as fast",
    ]);
    assert_eq!(format!("{:.1}", count(&c) / count(&json).max(count(&cbor))), times);
    times
}

/// What is measured between these words of PERFORMANCE.md, in order.
fn measured<const N: usize, const M: usize>(words: [&str; M]) -> [String; N] {
    let text = one_line(&read("PERFORMANCE.md"));
    let mut rest = text.as_str();
    let mut parts = words.iter().map(|word| {
        let (before, after) = rest.split_once(word).unwrap_or_else(|| panic!("PERFORMANCE.md does not say: {word}"));
        rest = after;
        before.to_owned()
    });
    parts.next();
    std::array::from_fn(|_| parts.next().unwrap())
}

/// The rows of the table of PERFORMANCE.md whose head holds `head`, by column; the first is `rounds of`.
fn performance_table(head: &str) -> Vec<HashMap<String, String>> {
    let performance = read("PERFORMANCE.md");
    let mut lines = performance.lines().skip_while(|line| !(line.starts_with("| |") && line.contains(head)));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut heads = cells(lines.next().unwrap_or_else(|| panic!("PERFORMANCE.md has no table of {head}")));
    "rounds of".clone_into(&mut heads[0]);
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| heads.iter().cloned().zip(cells(row)).collect()).collect()
}

fn count(number: &str) -> f64 {
    number.replace(',', "").parse().unwrap_or_else(|_| panic!("{number} is no number"))
}

fn says(path: &str, sentence: &str) {
    assert!(one_line(&read(path)).contains(sentence), "{path} does not say: {sentence}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The window starts and grows as the code says.
#[test]
fn the_course_of_the_window_follows_from_the_code() {
    const WINDOW: &str = "src/deliver/stream/window.rs";
    let [fewest, growth] = ["FEWEST", "GROWTH_FROM_FAR"].map(|constant| number(WINDOW, constant));
    let far = value(WINDOW, "FAR");
    let far = far.strip_prefix("Duration::from_millis(").and_then(|value| value.strip_suffix(')')).unwrap();
    says("docs/tuning.md", &format!("It starts at {fewest} and never falls below that"));
    says("docs/tuning.md", &format!("Where replies take {far} ms or more it grows by {growth}, until a request fails"));
    let decision = "docs/decisions/0003-concurrency-limit.md";
    says(decision, &format!("Start with {fewest}."));
    says(decision, &format!("takes {far} ms or more, add {growth} instead of one until a request fails"));
    assert!(fewest * (1.0 + growth).powi(2) >= 256.0);
    says(decision, "so two steps lead to 256");
}

/// Rates follow from the code's times for 10,000 outputs.
#[test]
fn the_call_rates_of_a_fleet_follow_from_the_code() {
    const NODES: f64 = 10_000.0;
    const CREDENTIALS: &str = "src/aws/credentials/mod.rs";
    const PACE: &str = "src/deliver/watch/pace.rs";
    let (before_expiry, latest) =
        (seconds(CREDENTIALS, "RENEW_BEFORE_EXPIRY"), 1.0 - number(CREDENTIALS, "RENEW_SPREAD"));
    let spread = before_expiry * latest;
    // Credentials with a life of one hour.
    let mean_life = 3600.0 - before_expiry + spread / 2.0;
    // Half of a pause is random.
    let mean_pause = seconds(CREDENTIALS, "LONGEST_PAUSE") * 0.75;
    let handshakes = NODES / seconds("src/aws/connect/mod.rs", "MAX_AGE");
    let fewest = number("src/deliver/stream/window.rs", "FEWEST");
    let asked_at_once = NODES / seconds(PACE, "JITTER");
    assert_eq!(asked_at_once, NODES / seconds(PACE, "SHARDS_RETRY"));
    let spread_out = seconds(PACE, "DESCRIPTION_SPREAD");
    let rows = [
        format!(
            "| the first renewal after all started together: credentials of an hour are renewed after {:.0} to {:.0} minutes, evenly drawn | {:.0}/s for {:.0} minutes |",
            (3600.0 - before_expiry) / 60.0,
            (3600.0 - before_expiry + spread) / 60.0,
            NODES / spread,
            spread / 60.0
        ),
        format!("| later on, on average | {:.1}/s |", NODES / mean_life),
        format!("| {:.0} fetches/s, ", NODES / mean_pause),
        format!("| at most once a minute | {:.0}/s on average |", NODES / seconds(CREDENTIALS, "DROP_INTERVAL")),
        format!("| at the start, within 30 s, evenly drawn | {asked_at_once:.0}/s for 30 s |"),
        format!("| later on: each drawn from 5 to 15 minutes | {:.0}/s |", NODES / seconds(PACE, "SHARDS_INTERVAL")),
        format!("at the earliest, within 30 s | {asked_at_once:.0}/s for {} s |", seconds(PACE, "JITTER")),
        format!("doubling up to the 5 to 15 minutes | {asked_at_once:.0}/s, soon fewer |"),
        format!("| {:.0}/s for {:.0} minutes |", NODES / spread_out, spread_out / 60.0),
        format!("each drawn from 15 to 45 minutes | {:.0}/s |", NODES / seconds(PACE, "DESCRIPTION_INTERVAL")),
        format!("first after 5 to 15 minutes | {:.0}/s, soon fewer |", NODES / spread_out),
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
