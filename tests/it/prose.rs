//! One term for one thing: no document uses a word that the vocabulary in CONTRIBUTING.md replaces. And every page is
//! on the site.

use std::{env, fs};

use testing::sources::{File, files, read, root};

/// Words to avoid, with those to use instead.
fn avoided() -> Vec<(String, String)> {
    let contributing = read("CONTRIBUTING.md");
    let (_, section) = contributing.split_once("\n| say | not |\n|---|---|\n").unwrap();
    let rows = section.lines().take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let say = cells[0].to_owned();
            cells[1]
                .split(", ")
                .map(|word| (word.trim_start_matches("to ").to_owned(), say.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The prose of a document: without code, without links' targets, and without the vocabulary itself.
fn prose(document: &File) -> Vec<(usize, String)> {
    let mut prose = Vec::new();
    let (mut is_code, mut is_vocabulary) = (false, false);
    for (number, line) in (1..).zip(document.text.lines()) {
        is_code ^= line.trim_start().starts_with("```");
        if line.starts_with("## ") {
            is_vocabulary = line == "## Vocabulary";
        }
        if is_code || is_vocabulary {
            continue;
        }
        let words: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let without_targets = words.split("](").enumerate().map(|(index, part)| match (index, part.split_once(')')) {
            (1.., Some((_, after))) => after,
            _ => part,
        });
        prose.push((number, without_targets.collect::<Vec<_>>().join(" ").to_lowercase()));
    }
    prose
}

fn holds(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(word)
        .any(|(at, _)| !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next()))
}

#[test]
fn no_document_uses_two_terms_for_one_thing() {
    let avoided = avoided();
    assert!(avoided.len() >= 15, "{avoided:?}");
    let mut found = Vec::new();
    for document in files("", ".md") {
        for (number, line) in prose(&document) {
            let words = avoided.iter().filter(|(word, _)| holds(&line, word));
            found.extend(words.map(|(word, say)| format!("{}:{number}: '{word}': say '{say}'", document.path)));
        }
    }
    assert!(found.is_empty(), "CONTRIBUTING.md has the vocabulary:\n{}", found.join("\n"));
}

#[test]
fn words_are_found_whole_and_outside_code() {
    let text = "A [mended](mended.md) `mended`\n```\nmended\n```\n## Vocabulary\nmended\n## Next\nunmended, Mended.\n";
    let document = File { path: String::new(), text: text.to_owned() };
    let lines: Vec<usize> =
        prose(&document).into_iter().filter(|(_, line)| holds(line, "mended")).map(|(number, _)| number).collect();
    assert_eq!(lines, [1, 8]);
}

/// The pages of decisions, as the table of contents names them.
fn decisions() -> String {
    let pages = files("docs/decisions", ".md").into_iter().filter(|page| !page.path.ends_with("README.md"));
    let line = |page: File| {
        let title = page.text.lines().next().unwrap().trim_start_matches("# ").to_owned();
        format!("  - [{title}]({})\n", page.path.trim_start_matches("docs/"))
    };
    pages.map(line).collect()
}

const DECISIONS: &str = "- [Decisions](decisions/README.md)\n";

/// A page that the table of contents does not name is on no site, and links to it lead nowhere there. `UPDATE=1` writes
/// the decisions.
#[test]
fn every_page_is_in_the_table_of_contents() {
    let mut summary = read("docs/SUMMARY.md");
    let (before, rest) = summary.split_once(DECISIONS).unwrap();
    let (_, after) = rest.split_once("\n#").unwrap();
    let wanted = format!("{before}{DECISIONS}{}\n#{after}", decisions());
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/SUMMARY.md"), &wanted).unwrap();
        summary = wanted;
    } else {
        assert!(summary == wanted, "docs/SUMMARY.md is not current: UPDATE=1 cargo test --test it prose::");
    }
    let ours = ["docs/", "deploy/", "examples/"];
    for file in files("", ".md") {
        let is_page = ours.iter().any(|folder| file.path.starts_with(folder)) || !file.path.contains('/');
        let link = file.path.strip_prefix("docs/").map_or_else(|| format!("../{}", file.path), str::to_owned);
        let is_listed = summary.contains(&format!("({link})"));
        assert!(!is_page || is_listed || file.path == "docs/SUMMARY.md", "docs/SUMMARY.md does not list {}", file.path);
    }
}

/// One number for one decision, and a row for each.
#[test]
fn every_decision_has_a_number_and_a_row_of_its_own() {
    let index = read("docs/decisions/README.md");
    let pages = files("docs/decisions", ".md");
    let names = pages.iter().map(|page| page.path.trim_start_matches("docs/decisions/"));
    let names: Vec<&str> = names.filter(|name| *name != "README.md").collect();
    for pair in names.windows(2) {
        assert!(pair[0][..4] != pair[1][..4], "{} and {} have one number", pair[0], pair[1]);
    }
    for (name, page) in names.iter().zip(&pages) {
        let number: usize = name[..4].parse().unwrap();
        assert!(page.text.starts_with(&format!("# {number}. ")), "{name} begins with another number");
        assert!(
            index.contains(&format!("- [{}]({name}) ", &name[..4])),
            "docs/decisions/README.md has no row for {name}"
        );
    }
}
