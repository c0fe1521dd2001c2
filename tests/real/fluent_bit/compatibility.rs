//! What a run found out about each Fluent Bit, and docs/compatibility.md, which shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, NaiveDate, Utc};
use libtest_mimic::{Failed, Trial};

use super::features::{self, Feature};
use super::host::{Binary, Version};
use super::known_faults::{Fault, KNOWN, Known};
use super::text;
use testing::sources::{files, marked, read, root, with_marked};

/// What became of the claims of one Fluent Bit, so far.
#[derive(Default)]
struct Run {
    begun: usize,
    passed: usize,
    not_run: usize,
    features: BTreeMap<&'static str, bool>,
    faults: BTreeSet<Fault>,
}

static RUNS: Mutex<BTreeMap<Version, Run>> = Mutex::new(BTreeMap::new());

fn runs() -> MutexGuard<'static, BTreeMap<Version, Run>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(binary: &Binary, change: impl FnOnce(&mut Run)) {
    change(runs().entry(binary.version).or_default());
}

pub fn begins(binary: &Binary) {
    note(binary, |run| run.begun += 1);
}

pub fn passed(binary: &Binary) {
    note(binary, |run| run.passed += 1);
}

pub fn not_run(binary: &Binary) {
    note(binary, |run| run.not_run += 1);
}

pub fn observed(binary: &Binary, feature: &Feature, has: bool) {
    note(binary, |run| {
        run.features.insert(feature.title, has);
    });
}

pub fn met(binary: &Binary, fault: Fault) {
    note(binary, |run| {
        run.faults.insert(fault);
    });
}

const PAGE: &str = "docs/compatibility.md";

/// Writes the row of each Fluent Bit of this run, and the list of known faults. A version gets no row unless all of
/// its tests ran and passed.
pub fn update() {
    let page = read(PAGE);
    let mut rows = rows_of(&page);
    for (version, run) in &*runs() {
        match run.passed == run.begun && run.features.len() == features::ALL.len() {
            true => drop(rows.insert(*version, row(*version, run))),
            false => eprintln!("note: {}: no row, {} of {} tests passed", text(*version), run.passed, run.begun),
        }
    }
    fs::write(root().join(PAGE), with_tables(&page, &rows)).unwrap();
}

fn row(version: Version, run: &Run) -> String {
    let counts = [run.passed, run.not_run, run.faults.len()].map(|count| count.to_string());
    let features = features::ALL.map(|feature| yes_or_no(run.features[feature.title]).to_owned());
    let cells = [
        &[text(version), DateTime::<Utc>::from(SystemTime::now()).date_naive().to_string()],
        &counts[..],
        &features[..],
    ]
    .concat();
    format!("| {} |", cells.join(" | "))
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

const HEAD: [&str; 5] = ["Fluent Bit", "run on", "tests passed", "not run", "known faults met"];

/// The page with these rows and the current heads and faults.
fn with_tables(page: &str, rows: &BTreeMap<Version, String>) -> String {
    let head = [&HEAD[..], &features::ALL.map(|feature| feature.title)[..]].concat();
    let line = format!("|{}", "---|".repeat(head.len()));
    let hosts = [format!("| {} |", head.join(" | ")), line].into_iter().chain(rows.values().cloned());
    let faults = ["| Fluent Bit | fault | advice |".to_owned(), "|---|---|---|".to_owned()];
    let faults = faults.into_iter().chain(KNOWN.iter().map(fault_row));
    let page = with_marked(page, "hosts", &lines(hosts)).unwrap();
    with_marked(&page, "faults", &lines(faults)).unwrap()
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn fault_row(known: &Known) -> String {
    let (first, last) = known.versions;
    let versions = if first == last { text(first) } else { format!("{} to {}", text(first), text(last)) };
    format!("| {versions} | {} | {} |", known.what, known.advice)
}

/// The rows of the hosts' table, by version.
fn rows_of(page: &str) -> BTreeMap<Version, String> {
    let [_, table, _] = marked(page, "hosts").unwrap();
    let version = |row: &str| parse(row.strip_prefix("| ")?.split(' ').next()?);
    table.lines().filter_map(|row| Some((version(row)?, row.to_owned()))).collect()
}

fn parse(version: &str) -> Option<Version> {
    let numbers = version.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let [major, minor, patch] = numbers[..] else { return None };
    Some((major, minor, patch))
}

/// What can be compared without a Fluent Bit. A run that writes the page has nothing to compare.
pub fn trials() -> Vec<Trial> {
    if env::var_os("UPDATE").is_some() {
        return Vec::new();
    }
    vec![
        Trial::test("the_page_of_versions_is_that_of_these_tests", page_is_current),
        Trial::test("documents_name_only_versions_that_were_tested", documents_name_tested_versions),
        Trial::test("ci_runs_the_versions_of_the_page", ci_runs_the_versions),
    ]
}

fn page_is_current() -> Result<(), Failed> {
    let page = read(PAGE);
    let rows = rows_of(&page);
    if page != with_tables(&page, &rows) {
        return Err(format!("{PAGE} is not current: UPDATE=1 cargo test --test real fluent_bit").into());
    }
    for (version, row) in &rows {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let (counts, observed) = cells.split_at(HEAD.len());
        let listed = features::ALL.map(|feature| yes_or_no(*version >= feature.since));
        if counts[1].parse::<NaiveDate>().is_err() || observed != listed {
            return Err(format!("not a row of these tests, which list {listed:?}: {row}").into());
        }
    }
    let has_row = |known: &&Known| rows.keys().any(|row| (known.versions.0..=known.versions.1).contains(row));
    match KNOWN.iter().find(|known| !has_row(known)) {
        Some(known) => Err(format!("no version of the table has the fault: {}", known.what).into()),
        None => Ok(()),
    }
}

/// The last version that frees chunks in use, known from Fluent Bit's sources.
const FREES_CHUNKS: Version = (2, 1, 7);

fn documents_name_tested_versions() -> Result<(), Failed> {
    let limits = KNOWN.iter().flat_map(|known| [known.versions.0, known.versions.1]);
    let known: BTreeSet<Version> = rows_of(&read(PAGE)).into_keys().chain(limits).chain([FREES_CHUNKS]).collect();
    let mut named = 0;
    for document in files("", ".md") {
        // Everything that is said of a version: "Fluent Bit 2.2.3 and 3.2.10".
        for said in document.text.split("Fluent Bit ").skip(1) {
            let words = said.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
            for version in words.take(5).filter_map(parse) {
                named += 1;
                if !known.contains(&version) {
                    return Err(format!("{} names {}, which {PAGE} lacks", document.path, text(version)).into());
                }
            }
        }
    }
    if named < 20 { Err(format!("{named} versions were found").into()) } else { Ok(()) }
}

fn ci_runs_the_versions() -> Result<(), Failed> {
    let workflow = read(".github/workflows/library.yml");
    let (_, list) = workflow.split_once(" version: [").ok_or("no list of versions")?;
    let (list, _) = list.split_once(']').ok_or("a list without an end")?;
    let run: Vec<&str> = list.split(", ").map(|version| version.trim_matches('"')).collect();
    let page: Vec<String> = rows_of(&read(PAGE)).into_keys().map(text).collect();
    match page.iter().all(|version| run.contains(&version.as_str())) {
        true => Ok(()),
        false => Err(format!("CI runs {run:?}, {PAGE} has {page:?}").into()),
    }
}
