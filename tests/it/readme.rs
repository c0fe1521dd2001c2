//! README.md is short, and what it repeats from elsewhere is the same there.
//!
//! `UPDATE=1 cargo test --test it readme::` writes the table of ticks.

use std::{env, fs};

use kinesis::config::options::OPTIONS;
use testing::sources::{files, read, root, with_marked};

/// A row of README.md, and the row of docs/comparison.md that it repeats.
const TICKS: [(&str, &str); 8] = [
    ("resends only what failed", "only failed records again, also over retries of the host"),
    ("KPL aggregates", "KPL aggregates"),
    ("lines joined and compressed together", "lines joined and compressed together"),
    ("stream chosen by tag or record", "stream by tag or record"),
    ("keeps refused records", "refused records kept, and sent again (`dead_letter_path`)"),
    ("records of up to 10 MiB", "records of 10 MiB"),
    ("metrics of its own", "metrics of its own"),
    ("runs on Windows", "Windows"),
];

/// From a section of docs/comparison.md: the cells of this plugin, C, Go and Ruby.
fn compared(row: &str) -> [String; 4] {
    let comparison = read("docs/comparison.md");
    let (_, features) = comparison.split_once("\n## Features\n").unwrap();
    let line = features.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let line = line.unwrap_or_else(|| panic!("docs/comparison.md has no row '{row}'"));
    let mut cells = line.split('|').map(str::trim).skip(2);
    std::array::from_fn(|_| match cells.next().unwrap() {
        "–" => "–".to_owned(),
        cell if cell.starts_with("part") || cell.contains(',') => "partly".to_owned(),
        cell => cell.replace("yes", "✓"),
    })
}

#[test]
fn the_ticks_are_those_of_the_comparison() {
    let current = read("README.md");
    let mut table =
        "| | this plugin | C `kinesis_streams` | Go `kinesis` | Fluentd |\n|---|:-:|:-:|:-:|:-:|\n".to_owned();
    for (ours, theirs) in TICKS {
        table += &format!("| {ours} | {} |\n", compared(theirs).join(" | "));
    }
    let wanted = with_marked(&current, "ticks", &table).unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join("README.md"), wanted).unwrap();
        return;
    }
    assert!(current == wanted, "README.md is not current: UPDATE=1 cargo test --test it readme::");
}

#[test]
fn the_options_it_shows_exist_with_the_defaults_it_shows() {
    let readme = read("README.md");
    let (_, table) = readme.split_once("| option | default | what it does |\n|---|---|---|\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let option = OPTIONS.iter().find(|option| format!("`{}`", option.name) == cells[0]);
        let option = option.unwrap_or_else(|| panic!("{} is no option", cells[0]));
        // Without a default of its own, the cell says in words what happens.
        let shown = cells[1].strip_prefix('`').map(|quoted| quoted.trim_end_matches('`'));
        assert_eq!(shown, option.default, "{}", option.name);
    }
}

/// What a reader has to read: no code, tables or comments.
#[test]
fn it_has_at_most_900_words() {
    let readme = read("README.md");
    let prose = readme.split("```").step_by(2).flat_map(str::lines);
    let prose = prose.filter(|line| !line.starts_with(['|', '<', '!']));
    let words = prose.flat_map(str::split_whitespace).filter(|word| word.chars().any(char::is_alphanumeric)).count();
    assert!(words <= 900, "README.md has {words} words");
}

/// What the demonstration says of itself, between the values it puts in.
fn said_by_the_demo() -> Vec<Vec<String>> {
    let sources = files("examples/demo", ".rs").into_iter().map(|file| file.text).chain([read("scripts/demo")]);
    let texts = sources.flat_map(|source| source.split(['"', '\'']).map(str::to_owned).collect::<Vec<_>>());
    let said = texts.filter(|text| text.starts_with("== "));
    said.map(|text| text.split('{').map(|part| part.rsplit('}').next().unwrap().to_owned()).collect()).collect()
}

fn is_said(line: &str, parts: &[String]) -> bool {
    let rest = parts.iter().try_fold(line, |rest, part| rest.split_once(part.as_str()).map(|(_, rest)| rest));
    line.starts_with(&parts[0]) && rest.is_some_and(|rest| rest.is_empty() || parts.last().unwrap().is_empty())
}

/// `make recording` records it again.
#[test]
fn the_recording_shows_what_the_demonstration_says_and_ends_with_every_record_once() {
    let (said, recording) = (said_by_the_demo(), read("docs/images/demo.svg"));
    let lines: Vec<_> = recording.lines().filter(|line| line.contains(r#" class="last"#)).collect();
    let lines: Vec<_> = lines.iter().map(|line| line.split(['<', '>']).nth(2).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    let closing = said.iter().find(|parts| parts[0].starts_with("== every record once"));
    let closing = closing.expect("the demonstration no longer says 'every record once'");
    assert!(is_said(last, closing), "the last line is not the demonstration's: {last}");
    assert!(last.contains(": 200,000 of 200,000 in "), "{last}");
    assert_eq!(before[0], "$ make demo FAULTS=1");
    let news: Vec<_> = before.iter().filter(|line| line.starts_with("== ")).collect();
    for line in &news {
        assert!(said.iter().any(|parts| is_said(line, parts)), "the demonstration does not say this: {line}");
    }
    assert!(news.iter().any(|line| line.starts_with("== killed the host")), "{news:#?}");
    assert!(recording.len() <= 150_000, "{} bytes", recording.len());
}
