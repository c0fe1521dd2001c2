//! The charts in docs/images/ are drawn from the tables of the documents, for light and dark pages.
//!
//! `UPDATE=1 cargo test --test it charts::` draws them.

use std::fmt::Write as _;
use std::{env, fs};

use testing::sources::{read, root};

/// A row of bars with one scale of its own.
struct Group {
    title: String,
    /// What a bar shows, its length, and its text.
    bars: Vec<(String, f64, String)>,
}

const LABELS: usize = 190;
const LONGEST: f64 = 440.0;
const BAR: usize = 18;
const STEP: usize = 26;

/// Colours change with the reader's preference. The first `ours` bars of each group are this plugin's.
fn drawn(title: &str, note: &str, groups: &[Group], ours: usize) -> String {
    let mut body = String::new();
    let mut top = 64;
    for group in groups {
        let longest = group.bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
        writeln!(body, r#"<text class="group" x="16" y="{top}">{}</text>"#, group.title).unwrap();
        top += 12;
        for (index, (name, value, text)) in group.bars.iter().enumerate() {
            let class = if index < ours { "ours" } else { "other" };
            let (width, middle) = ((value / longest * LONGEST).max(2.0), top + BAR - 5);
            let (end, x) = (16 + LABELS - 8, 16 + LABELS);
            writeln!(body, r#"<text x="{end}" y="{middle}" text-anchor="end">{name}</text>"#).unwrap();
            writeln!(body, r#"<rect class="{class}" x="{x}" y="{top}" width="{width:.1}" height="{BAR}" rx="2"/>"#)
                .unwrap();
            let after = f64::from(u32::try_from(x).unwrap()) + width + 6.0;
            writeln!(body, r#"<text x="{after:.1}" y="{middle}">{text}</text>"#).unwrap();
            top += STEP;
        }
        top += 30;
    }
    let (width, height) = (720, top);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>{title}</title>
<style>
text {{ font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }}
.title {{ font-size: 16px; font-weight: 600 }}
.group {{ font-weight: 600 }}
.note {{ font-size: 12px; fill: #59636e }}
.ours {{ fill: #0969da }}
.other {{ fill: #9198a1 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc }}
.note {{ fill: #9198a1 }}
.ours {{ fill: #4493f8 }}
.other {{ fill: #656c76 }}
}}
</style>
<text class="title" x="16" y="28">{title}</text>
{body}<text class="note" x="16" y="{}">{note}</text>
</svg>
"##,
        height - 14,
    )
}

fn is_current(name: &str, wanted: &str) {
    let path = root().join("docs/images").join(name);
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, wanted).unwrap();
        return;
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == wanted, "docs/images/{name} is not current: UPDATE=1 cargo test --test it charts::");
}

/// The cells of the row that begins so, in the table after `head`: another table may have the same row.
fn row(document: &str, head: &str, begin: &str) -> Vec<String> {
    let (_, table) = document.split_once(head).unwrap_or_else(|| panic!("no table '{head}'"));
    let table = table.lines().skip(1).skip_while(|line| !line.starts_with('|'));
    let mut table = table.take_while(|line| line.starts_with('|'));
    let line = table.find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no row '{begin}'"));
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// Seconds, before the ratio in parentheses.
fn seconds(cell: &str) -> f64 {
    let number = cell.split(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

/// The table of Go names the runs in which all took turns; that of C has them too.
#[test]
fn costs_are_those_of_the_performance_page() {
    let performance = read("PERFORMANCE.md");
    let groups = [("access lines, 2,000,000", "Access log lines"), ("nested records, 600,000", "Nested records")];
    let groups = groups.map(|(corpus, title)| {
        let row = row(&performance, "| | rounds | C", &format!("| {corpus} |"));
        let bar =
            |name: &str, cell: &str| (name.to_owned(), seconds(cell), format!("{} s", cell.split(' ').next().unwrap()));
        let bars = vec![
            bar("this plugin, CBOR", &row[4]),
            bar("this plugin, JSON", &row[3]),
            bar("C kinesis_streams", &row[2]),
        ];
        Group { title: title.to_owned(), bars }
    });
    let note = "Fluent Bit 5.1.1, one worker, medians; less is better. Each group has its own scale.";
    is_current("cost.svg", &drawn("CPU seconds per million records", note, &groups, 2));
}

#[test]
fn shards_are_those_of_the_tuning_page() {
    let tuning = read("docs/tuning.md");
    let rows = [
        ("`aggregation kpl`", "aggregation kpl"),
        ("`aggregation lines`", "aggregation lines"),
        ("`aggregation lines`, `compression zstd`", "lines, compression zstd"),
        ("nothing", "each record by itself"),
    ];
    let groups = [(4, "Access log lines"), (8, "Nested records")].map(|(column, title)| {
        let bars = rows.map(|(row_name, name)| {
            let cells = row(&tuning, "<!-- saved -->", &format!("| {row_name} |"));
            (name.to_owned(), seconds(&cells[column]), cells[column].clone())
        });
        Group { title: title.to_owned(), bars: bars.to_vec() }
    });
    let note = "What the load takes of a provisioned stream, in shards; less is better.";
    is_current("shards.svg", &drawn("Shards for 10,000 records a second", note, &groups, 3));
}
