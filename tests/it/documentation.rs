//! The documents are true: their tables match the code, their files exist, their log lines are the plugin's.
//!
//! `UPDATE=1 cargo test --test it documentation::` first regenerates the option table, metrics, configurations and
//! map.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs};

use super::options::with_options;
use kinesis::config::options::OPTIONS;
use kinesis::metrics::{PREFIX, RefusalReason, RequestOutcome, TABLE};
use testing::sources::{File, code, files, marked, read, root, with_marked};

const FILE_BEGIN: &str = "<!-- file ";
const FILE_END: &str = " -->\n";

/// All documents, regenerated first if `UPDATE` is set.
fn documents() -> &'static [File] {
    static DOCUMENTS: OnceLock<Vec<File>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let mut documents = files("", ".md");
        if env::var_os("UPDATE").is_some() {
            for document in &mut documents {
                let current = with_map(&with_options(&with_files(&document.text)));
                if current != document.text {
                    fs::write(root().join(&document.path), &current).unwrap();
                    document.text = current;
                }
            }
        }
        documents
    })
}

fn document(path: &str) -> &'static str {
    let found = documents().iter().find(|document| document.path == path);
    &found.unwrap_or_else(|| panic!("there is no {path}")).text
}

const UPDATE: &str = "is not current: UPDATE=1 cargo test --test it documentation::";

#[test]
fn the_configurations_in_the_documents_are_those_of_the_files() {
    let mut blocks = 0;
    for document in documents() {
        blocks += document.text.matches(FILE_BEGIN).count();
        assert!(document.text == with_files(&document.text), "{} {UPDATE}", document.path);
    }
    assert!(blocks >= 8, "{blocks} were found");
}

/// Each block after a file's name holds that file, or a section of it: `<!-- file x.yaml, from "outputs:" -->`.
fn with_files(document: &str) -> String {
    let mut blocks = document.split(FILE_BEGIN);
    let mut current = blocks.next().unwrap().to_owned();
    for block in blocks {
        let (source, rest) = block.split_once(FILE_END).unwrap();
        let (fence, rest) = rest.split_once('\n').unwrap();
        let (_, after) = rest.split_once("```\n").unwrap();
        let content = match source.split_once(", from ") {
            Some((path, first)) => section_of(&read(path), first.trim_matches('"')),
            None => read(source),
        };
        current += &[FILE_BEGIN, source, FILE_END, fence, "\n", &content, "```\n", after].concat();
    }
    current
}

/// The lines of a file from `first`, with any indentation, up to an empty line.
fn section_of(file: &str, first: &str) -> String {
    let lines: Vec<&str> = file.lines().skip_while(|line| line.trim() != first).take_while(|l| !l.is_empty()).collect();
    assert!(!lines.is_empty(), "no line {first}");
    lines.join("\n") + "\n"
}

/// `tests/real/fluent_bit/` loads all files of these folders, so it also loads what a document shows.
#[test]
fn no_document_has_a_configuration_of_its_own() {
    let marks = ["[SERVICE]", "[INPUT]", "[OUTPUT]", "[PLUGINS]", "outputs:", "plugins:", "name: kinesis"];
    let mut configurations = 0;
    for document in documents() {
        let mut before = "";
        for (index, part) in document.text.split("```").enumerate() {
            let is_block = index % 2 == 1;
            if is_block && marks.iter().any(|mark| part.contains(mark)) {
                configurations += 1;
                let source = before.lines().next_back().unwrap_or_default();
                let is_loaded = ["fluent-bit-conf", "examples"]
                    .iter()
                    .any(|folder| source.starts_with(&format!("{FILE_BEGIN}{folder}/")));
                assert!(is_loaded, "{}: a configuration that no test loads:\n{part}", document.path);
            }
            before = part;
        }
    }
    assert!(configurations >= 6, "{configurations} were found");
}

/// docs/metrics.md has the code's table, and those of the label values.
#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let current = read("docs/metrics.md");
    let list = |values: &[&str]| values.iter().map(|value| format!("- `{value}`\n")).collect::<String>();
    let mut metrics = "| metric | kind | meaning |\n|---|---|---|\n".to_owned();
    for family in TABLE {
        let label = family.label.map_or(String::new(), |(label, _)| format!(" by `{label}`"));
        let kind = format!("{:?}", family.kind).to_lowercase();
        metrics += &format!("| `{PREFIX}{}`{label} | {kind} | {} |\n", family.name, family.help);
    }
    let wanted = with_marked(&current, "metrics", &metrics).unwrap();
    let wanted = with_marked(&wanted, "reasons", &list(RefusalReason::NAMES)).unwrap();
    let wanted = with_marked(&wanted, "outcomes", &list(RequestOutcome::NAMES)).unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/metrics.md"), wanted).unwrap();
        return;
    }
    assert!(current == wanted, "docs/metrics.md {UPDATE}");
}

/// The rows of the tables of a section, without their heads: cells, trimmed.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let level = heading.chars().take_while(|c| *c == '#').count();
    let ends = |line: &&str| (1..=level).any(|level| line.starts_with(&format!("{} ", "#".repeat(level))));
    let lines: Vec<&str> = section.lines().take_while(|line| !ends(line)).collect();
    let is_head = |index: usize| lines.get(index + 1).is_some_and(|next| next.starts_with("|--"));
    let is_row = |index: &usize| lines[*index].starts_with("| ") && !is_head(*index);
    let cells = |line: &str| line.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    (0..lines.len()).filter(is_row).map(|index| cells(lines[index])).collect()
}

/// The text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_option(name: &str) -> bool {
    OPTIONS.iter().any(|option| option.name == name || option.aliases.contains(&name))
}

#[test]
fn the_migration_tables_promise_what_the_option_table_has() {
    for plugin in
        ["From AWS's Go plugin `kinesis`", "From the C plugin `kinesis_streams`", "From Fluentd's `kinesis_streams`"]
    {
        let rows = rows(document("docs/migration.md"), &format!("## {plugin}"));
        assert!(rows.len() > 15, "{plugin}: {} rows", rows.len());
        for row in rows {
            let [there, here, note] = row.as_slice() else { panic!("{row:?}") };
            match here.as_str() {
                // An option of another plugin, or an environment variable.
                "Fluent Bit" | "the same" => {}
                "not yet" | "not supported" => {
                    let taken = quoted(there).filter(|name| is_option(name)).collect::<Vec<_>>();
                    assert!(taken.is_empty(), "{plugin}: {taken:?} is there by now");
                }
                _ => assert!(quoted(here).count() == 1 && quoted(here).all(is_option), "{plugin}: {here} is no option"),
            }
            if let Some((_, default)) = note.split_once("default here `") {
                let (default, _) = default.split_once('`').unwrap();
                let names = |name: &str| quoted(here).any(|here| here == name);
                let option = OPTIONS.iter().find(|o| names(o.name) || o.aliases.iter().any(|alias| names(alias)));
                assert_eq!(option.unwrap().default, Some(default), "{plugin}: {here}");
            }
        }
    }
}

/// The fixed parts of a line with a `mark` in each variable place. Parts of only a few characters are too short to
/// identify it.
fn fixed_parts<'a>(line: &'a str, mark: &[char]) -> Vec<&'a str> {
    let parts = line.split(|c| mark.contains(&c)).map(|part| part.trim_matches([' ', ':']));
    parts.filter(|part| part.chars().filter(|c| c.is_alphabetic()).count() >= 4).collect()
}

#[test]
fn each_quoted_log_line_is_one_of_the_plugins() {
    let sources: String = code().into_iter().map(|file| file.text).collect();
    let rows = rows(document("docs/troubleshooting.md"), "## By log line");
    let lines: Vec<String> = rows
        .iter()
        .flatten()
        .filter(|cell| cell.starts_with('`'))
        .map(|cell| quoted(cell).next().unwrap().to_owned())
        .collect();
    assert!(lines.len() > 35, "{}", lines.len());
    for line in lines {
        // An issue follows the name of its option.
        let text = match line.split_once(": ") {
            Some((option, text)) if is_option(option) || ["…", "plugin"].contains(&option) => text,
            _ => &line,
        };
        let parts = fixed_parts(text, &['…']);
        assert!(!parts.is_empty(), "{line} says nothing");
        for part in parts {
            assert!(sources.contains(part), "'{part}' of '{line}' stands nowhere in src/");
        }
    }
}

#[test]
fn each_warning_and_error_of_the_plugin_is_explained() {
    let rows = rows(document("docs/troubleshooting.md"), "## By log line");
    let explained = rows.concat().join("\n");
    let mut lines = 0;
    for file in code() {
        for call in calls_with(&file.text, &["Level::Warn", "Level::Error", " mistake(", ".mistake("]) {
            // The longest text is the line; a shorter one is its option, or the cause by which lines are folded.
            let Some(line) = texts(call).max_by_key(|text| text.len()) else { continue };
            lines += 1;
            for part in fixed_parts(&without_arguments(line), &['{']) {
                assert!(explained.contains(part), "{}: docs/troubleshooting.md does not explain: {line}", file.path);
            }
        }
    }
    assert!(lines >= 18, "{lines} lines were found");
}

/// A symptom quotes lines exactly like the tables below, so that they can be found there.
#[test]
fn each_line_that_a_symptom_names_is_explained() {
    let troubleshooting = document("docs/troubleshooting.md");
    let explained: HashSet<String> = rows(troubleshooting, "## By log line")
        .iter()
        .flatten()
        .flat_map(|cell| quoted(cell).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let symptoms = rows(troubleshooting, "## By symptom");
    let lines: Vec<&str> = symptoms.iter().flat_map(|row| quoted(&row[1])).filter(|text| text.contains('…')).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        assert!(explained.contains(line), "no table has: {line}");
    }
}

#[test]
fn each_alert_is_explained() {
    let rules = read("deploy/prometheus/kinesis.rules.yaml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    let rows = rows(document("docs/troubleshooting.md"), "## By alert");
    assert_eq!(rows.iter().filter_map(|row| quoted(&row[0]).next()).collect::<Vec<_>>(), alerts);
}

/// A format string with `{` in place of each argument.
fn without_arguments(format: &str) -> String {
    let (first, rest) = format.split_once('{').unwrap_or((format, ""));
    let rest = rest.split('{').map(|part| part.split_once('}').map_or(part, |(_, text)| text));
    [first].into_iter().chain(rest).collect::<Vec<_>>().join("{")
}

/// What follows one of `words`, up to the end of the call it is in.
fn calls_with<'a>(code: &'a str, words: &[&str]) -> Vec<&'a str> {
    let mut calls = Vec::new();
    for word in words {
        for (start, _) in code.match_indices(word) {
            let start = start + word.len();
            let (mut depth, mut in_text, mut before) = (0, false, ' ');
            let end = code[start..].find(|c: char| {
                match c {
                    '"' if before != '\\' => in_text = !in_text,
                    '(' | '[' | '{' if !in_text => depth += 1,
                    ')' | ']' | '}' if !in_text => depth -= 1,
                    _ => {}
                }
                before = c;
                depth < 0
            });
            calls.extend(end.map(|end| &code[start..start + end]));
        }
    }
    calls
}

/// The string literals of a piece of code.
fn texts(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

#[test]
fn json_in_the_documents_is_json() {
    let texts = documents().iter().flat_map(|document| document.text.split("```json\n").skip(1));
    let blocks: Vec<&str> = texts.map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(serde_json::from_str::<serde_json::Value>(block).is_ok(), "{block}");
    }
}

#[test]
fn the_version_is_that_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    for sentence in [format!("\nVersion {version} takes"), format!("version {version}: stream logs")] {
        assert!(document("README.md").contains(&sentence), "{sentence}");
    }
    assert!(read("CHANGELOG.md").contains(&format!("\n## {version}")));
}

#[test]
fn the_oldest_rust_is_that_of_the_crate() {
    assert!(document("README.md").contains(concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer")));
}

/// The map is generated, so it lists every file with that file's own description.
#[test]
fn the_map_is_that_of_the_modules() {
    let architecture = document("ARCHITECTURE.md");
    assert!(marked(architecture, "map").is_some());
    assert!(architecture == with_map(architecture), "ARCHITECTURE.md {UPDATE}");
}

/// One page, so that newcomers read it.
#[test]
fn the_architecture_is_one_page() {
    let lines = document("ARCHITECTURE.md").lines().count();
    assert!(lines <= 250, "ARCHITECTURE.md has {lines} lines: move what is not a map to docs/decisions");
}

#[test]
fn the_layers_name_every_module() {
    let (_, layers) = document("ARCHITECTURE.md").split_once("\n## Layers\n").unwrap();
    let picture = layers.split("```").nth(1).unwrap();
    let named: HashSet<&str> = picture.split_whitespace().collect();
    for module in modules() {
        assert!(named.contains(module.as_str()), "the picture of the layers does not name {module}");
    }
}

#[test]
fn every_source_file_is_on_the_map() {
    let map = map();
    for file in files("src", ".rs") {
        let is_test = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
        let mut names = file.path.trim_end_matches("/mod.rs").rsplitn(2, '/');
        let (name, folder) = (names.next().unwrap(), names.next().unwrap_or_default());
        let of_its_own = format!("| `{}", file.path.trim_end_matches("mod.rs"));
        let of_its_folder = format!("| `{folder}/`");
        let is_named = map.lines().any(|row| {
            row.starts_with(&of_its_own) || row.starts_with(&of_its_folder) && row.contains(&format!("`{name}`"))
        });
        assert!(is_test || file.path == "src/lib.rs" || is_named, "the map does not name {}", file.path);
    }
}

/// Anyone looking for the test of a claim finds each file under tests/ by its name or by that of its folder.
#[test]
fn every_test_has_its_place_in_the_readme_of_tests() {
    let page = document("tests/README.md");
    let named: HashSet<&str> = quoted(page).filter(|name| !name.contains('/')).collect();
    let mut found = HashSet::new();
    for file in files("tests", ".rs") {
        let path = file.path.trim_end_matches(".rs").trim_start_matches("tests/");
        let names = path.split('/').filter(|name| !["main", "mod", "support"].contains(name));
        let is_shared = path.starts_with("support/") || path.ends_with("/main") || path.ends_with("/mod");
        let is_named = is_shared || names.clone().any(|name| named.contains(name));
        assert!(is_named, "tests/README.md does not name {}", file.path);
        found.extend(names.map(str::to_owned));
    }
    let (_, table) = page.split_once("\n## Where the test of a claim is\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        for name in quoted(row.split(" | ").nth(1).unwrap_or_default()).filter(|name| !name.contains('/')) {
            let is_found = found.contains(name) || root().join("tests").join(name).exists();
            assert!(is_found, "tests/README.md names {name}, which is not under tests/");
        }
    }
}

fn with_map(document: &str) -> String {
    let table = format!("| file | what it is |\n|---|---|\n{}", map());
    with_marked(document, "map", &table).unwrap_or_else(|| document.to_owned())
}

/// The modules of src/lib.rs, in its order.
fn modules() -> Vec<String> {
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| line.trim_end_matches(';').rsplit_once("mod "));
    modules
        .filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// A row per file, and one per folder below the second level, with the names of its files.
fn map() -> String {
    let mut rows = String::new();
    for module in modules() {
        for file in files("src", ".rs") {
            let Some(path) = file.path.strip_prefix("src/") else { continue };
            let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
            let parts: Vec<&str> = path.split('/').collect();
            let is_of_module = parts[0].trim_end_matches(".rs") == module;
            // A file in a folder of a folder is named in that folder's row.
            let has_row = parts.len() < 3 || parts[2] == "mod.rs";
            if !is_of_module || is_test || !has_row {
                continue;
            }
            let mut about = first_sentence(&file.text);
            let path = file.path.trim_end_matches("mod.rs");
            if parts.len() == 3 {
                let others = files(path, ".rs").into_iter().map(|file| file.path[path.len()..].to_owned());
                let others = others.filter(|name| name != "mod.rs" && name != "tests.rs" && !name.contains('/'));
                let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
                about += &if others.is_empty() { String::new() } else { format!(" With {}.", others.join(", ")) };
            }
            rows += &format!("| `{path}` | {about} |\n");
        }
    }
    // A folder's own row comes first.
    let mut sorted: Vec<&str> = rows.lines().collect();
    let order = modules();
    sorted.sort_by_key(|row| {
        let path = quoted(row).next().unwrap().to_owned();
        let module = path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        (order.iter().position(|name| *name == module), path)
    });
    sorted.iter().map(|row| format!("{row}\n")).collect()
}

/// The first sentence of a module's own documentation, without links.
fn first_sentence(text: &str) -> String {
    if text.starts_with("/* automatically generated") {
        return "Generated, see tests/real/generated.rs.".to_owned();
    }
    let about = text.lines().take_while(|line| line.starts_with("//! ")).map(|line| line.trim_start_matches("//! "));
    let about = about.collect::<Vec<_>>().join(" ");
    let sentence = about.split_once(". ").map_or(about.as_str(), |(first, _)| first).trim_end_matches('.');
    let (sentence, _) = sentence.split_once(" (<").unwrap_or((sentence, ""));
    assert!(!sentence.is_empty(), "a module does not say what it is: {}", &text[..text.len().min(200)]);
    format!("{}.", sentence.replace("[`", "`").replace("`]", "`").replace('|', "\\|"))
}

/// What a document calls `file::name` exists in that file: a function, a type or a constant.
#[test]
fn every_function_that_is_named_exists() {
    let mut names = 0;
    for document in documents() {
        for name in quoted(&document.text.replace("```", "")).filter(|name| name.starts_with("src/")) {
            let Some((path, item)) = name.split_once(".rs::") else { continue };
            let code = read(&format!("{path}.rs"));
            names += 1;
            let declarations = ["fn", "struct", "enum", "trait", "const", "static"];
            let is_end = |rest: &str| rest.starts_with(|c: char| !c.is_alphanumeric() && c != '_');
            let is_declared = declarations.iter().any(|kind| {
                let declaration = format!("{kind} {item}");
                code.match_indices(&declaration).any(|(at, _)| is_end(&code[at + declaration.len()..]))
            });
            assert!(is_declared, "{}: there is no {name}", document.path);
        }
    }
    assert!(names >= 40, "{names} were found");
}

/// Anything between backticks that begins with one of our folders is a file, a folder, or a test in a file.
#[test]
fn every_file_that_is_named_exists() {
    for document in documents() {
        for path in quoted(&document.text.replace("```", "")) {
            let path = path.split_once("::").map_or(path, |(file, _)| file);
            let folder = path.split('/').next().unwrap();
            let ours = "src tests examples include fluent-bit-conf scripts deploy docs .ci .github";
            let is_ours = ours.split(' ').any(|name| name == folder);
            if is_ours && path.contains('/') {
                assert!(root().join(path).exists(), "{}: there is no {path}", document.path);
            }
        }
    }
}

/// What is guaranteed is tested: each situation names tests as `file::test`, and they exist.
#[test]
fn each_guarantee_has_a_test() {
    let guarantees = document("docs/guarantees.md");
    let mut situations = 0;
    for heading in guarantees.lines().filter(|line| line.starts_with("## ")) {
        for row in rows(guarantees, heading) {
            situations += 1;
            let tests: Vec<&str> = row.last().into_iter().flat_map(|cell| quoted(cell)).collect();
            assert!(!tests.is_empty(), "no test for: {}", row[0]);
            for test in tests {
                let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is no file::test"));
                assert!(is_test(&read(file), name), "{file} has no test {name}");
            }
        }
    }
    assert!(situations >= 45, "{situations} were found");
}

/// Whether a file has a test of this name: a function with an attribute, or one that a list of tests names.
fn is_test(file: &str, name: &str) -> bool {
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let declares = |line: &&str| line.contains(&format!("fn {name}("));
    let has_attribute = lines.iter().position(declares).is_some_and(|declared| {
        let above = lines[..declared].iter().rev().take_while(|line| !line.is_empty() && **line != "}");
        above.into_iter().any(|line| line.starts_with("#[test") || line.starts_with("#[tokio::test"))
    });
    let is_listed = [format!("(\"{name}\""), format!("({name})"), format!(", {name})")];
    has_attribute || is_listed.iter().any(|listed| file.contains(listed))
}

#[test]
fn every_command_that_is_named_is_in_the_makefile() {
    let makefile = read("Makefile");
    let lines = documents().iter().flat_map(|document| quoted(&document.text)).flat_map(str::lines);
    let commands: HashSet<&str> =
        lines.filter_map(|line| line.strip_prefix("make ")?.split_whitespace().next()).collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        assert!(makefile.contains(&format!("\n{command}:")), "the Makefile has no {command}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for link in document.text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(&document.path) } else { folder.join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.path);
            assert!(anchor.is_empty() || anchors(&target).contains(anchor), "{}: no heading for {link}", document.path);
        }
    }
    assert!(links >= 60, "{links} links were found");
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &Path) -> HashSet<String> {
    let text = fs::read_to_string(document).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// A table's row cannot be wrapped.
#[test]
fn lines_fit_a_screen() {
    for document in documents() {
        for (number, line) in (1..).zip(document.text.lines()) {
            let fits = line.chars().count() <= 120 || line.starts_with('|');
            assert!(fits, "{}:{number} has {} characters", document.path, line.chars().count());
        }
    }
}
