//! The configurations that are shipped and documented start this plugin: here with its own parser, in
//! `tests/real/fluent_bit/` in the real program.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use kinesis::config::Config;
use testing::sources::{File, files};

/// Options that Fluent Bit handles itself.
const HOSTS_OWN: [&str; 4] = ["name", "match", "retry_limit", "storage.total_limit_size"];

#[test]
fn every_shipped_output_starts() {
    let outputs: Vec<(String, BTreeMap<String, String>)> = configurations().iter().filter_map(output).collect();
    assert!(outputs.len() >= 8, "{} were found", outputs.len());
    for (path, options) in outputs {
        assert_eq!(options.get("name").map(String::as_str), Some("kinesis"), "{path}");
        let asked_for = RefCell::new(BTreeSet::new());
        let started = Config::parse(&|name: &str| {
            asked_for.borrow_mut().insert(name.to_owned());
            options.get(name).cloned()
        });
        if let Err(error) = started {
            let issues: Vec<String> = error.issues.iter().map(ToString::to_string).collect();
            panic!("{path}: {issues:?}");
        }
        let known = |name: &&String| asked_for.borrow().contains(*name) || HOSTS_OWN.contains(&name.as_str());
        let unknown: Vec<&String> = options.keys().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{path}: the plugin asks for none of {unknown:?}");
    }
}

fn configurations() -> Vec<File> {
    files("fluent-bit-conf", ".conf").into_iter().chain(files("fluent-bit-conf", ".yaml")).collect()
}

/// The options of a file's only output, classic or YAML; `None` if it has none.
fn output(file: &File) -> Option<(String, BTreeMap<String, String>)> {
    let classic = file.path.ends_with(".conf");
    let begin = if classic { "[OUTPUT]" } else { "  outputs:" };
    let lines = file.text.lines().skip_while(|line| *line != begin).skip(1).take_while(|line| !line.is_empty());
    let lines = lines.map(|line| line.trim().trim_start_matches("- ")).filter(|line| !line.starts_with('#'));
    let option = |line: &str| {
        let (name, value) = if classic { line.split_once(' ') } else { line.split_once(": ") }.unwrap();
        // The demonstration's environment.
        let value = value.replace("${KINESIS_STREAM}", "logs").replace("${KINESIS_ENDPOINT}", "https://localhost:4567");
        (name.to_lowercase(), value.trim().trim_matches('"').to_owned())
    };
    let options: BTreeMap<String, String> = lines.map(option).collect();
    (!options.is_empty()).then(|| (file.path.clone(), options))
}
