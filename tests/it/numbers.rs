//! Numbers that a document takes from elsewhere match their source: PERFORMANCE.md or the code.

use std::collections::HashMap;

use testing::sources::read;

/// Each figure is tied to its row: the sentences are built from PERFORMANCE.md's tables, and the sections contain no
/// other decimal.
#[test]
fn costs_are_those_of_the_performance_page() {
    let [c, go] =
        ["C `kinesis_streams`", "Go `kinesis`"].map(|beside| move |corpus, column| ratios(beside, corpus, column));
    let [lines, nested, json, cbor] = ["access lines", "nested records", "this, JSON", "this, CBOR"];
    let [this_memory, c_memory, go_memory] = peak_memory();
    let [far, on_disk] = faster();
    let sentences = [
        format!(
            "In Fluent Bit 5.1.1 this plugin took {} of C's processor time for access lines, {} for nested records; with \
             `protocol cbor` {}, and {}.",
            c(lines, json),
            c(nested, json),
            c(lines, cbor),
            c(nested, cbor),
        ),
        format!(
            "Of Go's it took {} and {}, with CBOR {} and {}.",
            go(lines, json),
            go(nested, json),
            go(lines, cbor),
            go(nested, cbor),
        ),
        format!("was {this_memory} MiB, C's {c_memory}, Go's {go_memory}."),
        format!("it sent {far} to {on_disk} times as fast as C."),
    ];
    says_no_other("docs/comparison.md", "## What they cost", &sentences);

    let [kpl_lines, kpl_nested] = mode("`aggregation kpl`");
    let [joined_lines, joined_nested] = mode("`aggregation lines`");
    let [zstd_lines, zstd_nested] = mode("`aggregation lines`, `compression zstd`");
    let [fast_lines, fast_nested] = mode("`aggregation lines`, `compression zstd`, `compression_level 1`");
    let sentence = format!(
        "Compared with each record by itself, `aggregation kpl` took {kpl_lines} times the processor time for access lines \
         and {kpl_nested} times for nested records, `aggregation lines` {joined_lines} and {joined_nested} times, with \
         `compression zstd` {zstd_lines} and {zstd_nested} times, and with `compression_level 1` {fast_lines} and \
         {fast_nested} times."
    );
    says_no_other("docs/tuning.md", "## Processor time", &[sentence]);
    says("docs/tuning.md", &format!("At full speed, with a Kinesis that answers, it is {this_memory} MiB"));
}

/// What decisions claim to save was measured, and PERFORMANCE.md's conclusions follow from its own figures.
#[test]
fn savings_are_those_of_the_performance_page() {
    let [access, nested] = measured(["to the body of a request: ", " for an access line, ", " for a nested record"]);
    let [reply] = measured([" for a nested record; ", " to read its part of a reply"]);
    let [before] = measured(["were written in one pass it was ", ". Where the time"]);
    let before = before.replace(" and ", ", ");
    let mut before = before.split(", ");
    let [access_before, nested_before, reply_before] = std::array::from_fn(|_| before.next().unwrap());
    let packing = format!(
        "packing went from {access_before} to {access} instructions per access line and from {nested_before} to {nested} per \
         nested record"
    );
    says("docs/decisions/0033-one-pass-encoding.md", &packing);
    let reading = format!("{reply} instructions per record instead of {reply_before}");
    says("docs/decisions/0032-accepted-replies.md", &reading);
    let times = count(&nested) / count(&access);
    says("PERFORMANCE.md", &format!("**Nested records** cost {times:.1} times an access line to encode"));
    let handshakes = 10_000.0 / seconds("src/aws/connect/mod.rs", "MAX_AGE");
    says("docs/decisions/0023-connections.md", &format!("A fleet of 10,000 makes {handshakes:.0} handshakes a second"));
}

/// The ratios in brackets in a column, over all runs with a corpus: `0.374 to 0.406`.
fn ratios(beside: &str, corpus: &str, column: &str) -> String {
    let mut of = String::new();
    let mut ratios = Vec::new();
    for row in performance_table(beside) {
        // A run without a name, or of files on disk, belongs to the corpus above it.
        let named = row["rounds of"].as_str();
        if named.starts_with("access lines") || named.starts_with("nested records") {
            named.clone_into(&mut of);
        }
        if of.starts_with(corpus) {
            ratios.push(row[column].split_once(" (").unwrap().1.trim_end_matches(')').to_owned());
        }
    }
    match ratios.as_mut_slice() {
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        more => {
            more.sort();
            format!("{} to {}", more.first().unwrap(), more.last().unwrap())
        }
    }
}

/// Processor time of a mode, for access lines and nested records.
fn mode(name: &str) -> [String; 2] {
    let row = performance_table("access lines | nested records").into_iter().find(|row| row["rounds of"] == name);
    let row = row.unwrap_or_else(|| panic!("no mode {name}"));
    ["access lines", "nested records"].map(|corpus| row[corpus].clone())
}

/// Peak memory in MiB: of this plugin, of C and of Go.
fn peak_memory() -> [String; 3] {
    let [this, c, go] = measured(["Peak memory over `null` was ", " MiB, C's ", ", Go's ", ". The difference"]);
    let (least, most) = c.split_once(" to ").unwrap();
    [this, format!("{least} to {}", most.split(' ').next_back().unwrap()), go]
}

/// How many times as fast as C, with files in memory and on disk, computed from the seconds.
fn faster() -> [String; 2] {
    let [json, cbor, c, far] = measured([
        "a million access lines were sent in ",
        " s in JSON, in ",
        " s in CBOR, and in ",
        " s by C (twice, medians of three rounds): ",
        " times as fast",
    ]);
    let [disk, on_disk] = measured(["With the files on a disk it was ", " s: ", " times. Memory"]);
    let first = |times: &str| count(times.split([' ', ',']).next().unwrap());
    let last = |times: &str| count(times.split(' ').next_back().unwrap());
    assert!(first(&cbor) <= first(&json));
    assert_eq!(format!("{:.1}", first(&c) / first(&json)), far);
    assert_eq!(format!("{:.1}", last(&disk) / first(&disk)), on_disk);
    [far, on_disk]
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

/// The section says these, and contains no other decimal.
fn says_no_other(path: &str, heading: &str, sentences: &[String]) {
    let document = read(path);
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let mut rest = one_line(section.split("\n## ").next().unwrap());
    for sentence in sentences {
        assert!(rest.contains(sentence), "{path} does not say: {sentence}");
        rest = rest.replace(sentence, "");
    }
    let digits: Vec<char> = rest.chars().collect();
    let decimal =
        digits.windows(3).find(|three| matches!(three, [a, '.', b] if a.is_ascii_digit() && b.is_ascii_digit()));
    assert!(decimal.is_none(), "{path} has a figure that belongs to no row of PERFORMANCE.md: {rest}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
    let fewest = number("src/deliver/stream/limiter.rs", "FEWEST");
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
