//! The configurations that are shipped and documented start this plugin: here with its own parser, in
//! `tests/real/fluent_bit/` in the real program.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use kinesis::config::Config;
use tempfile::TempDir;
use testing::fake_kinesis::{FakeKinesis, Settings};
use testing::sources::{File, files};

/// Options that Fluent Bit handles itself.
const HOSTS_OWN: [&str; 4] = ["name", "match", "retry_limit", "storage.total_limit_size"];

#[test]
fn every_shipped_output_starts() {
    let authority = FakeKinesis::start(Settings { tls: true, ..Settings::default() });
    let state = TempDir::new().unwrap();
    // Of the demonstration and the scenarios.
    let environment = [
        ("KINESIS_STREAM", "logs"),
        ("KINESIS_ENDPOINT", "https://localhost:4567"),
        ("STATE", state.path().to_str().unwrap()),
        ("CA", authority.ca_file().to_str().unwrap()),
    ];
    let configurations = configurations();
    let output = |file| output(file, &environment);
    let outputs: Vec<(String, BTreeMap<String, String>)> = configurations.iter().filter_map(output).collect();
    assert!(outputs.len() >= 14, "{} were found", outputs.len());
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
    let all = ["fluent-bit-conf", "examples"].map(|folder| [files(folder, ".conf"), files(folder, ".yaml")]);
    // `tests/real/deploy/` reads those for Kubernetes; one is of another plugin.
    let others = ["examples/kind/", "examples/from-c-plugin/before.yaml"];
    let is_ours = |file: &File| !others.iter().any(|other| file.path.starts_with(other));
    all.into_iter().flatten().flatten().filter(is_ours).collect()
}

/// The options of a file's only output, classic or YAML; `None` if it has none.
fn output(file: &File, environment: &[(&str, &str)]) -> Option<(String, BTreeMap<String, String>)> {
    let classic = file.path.ends_with(".conf");
    let begin = if classic { "[OUTPUT]" } else { "  outputs:" };
    let lines = file.text.lines().skip_while(|line| *line != begin).skip(1).take_while(|line| !line.is_empty());
    let lines = lines.map(|line| line.trim().trim_start_matches("- ")).filter(|line| !line.starts_with('#'));
    let option = |line: &str| {
        let (name, value) = if classic { line.split_once(' ') } else { line.split_once(": ") }.unwrap();
        let value =
            environment.iter().fold(value.to_owned(), |value, (name, is)| value.replace(&format!("${{{name}}}"), is));
        (name.to_lowercase(), value.trim().trim_matches('"').to_owned())
    };
    let options: BTreeMap<String, String> = lines.map(option).collect();
    (!options.is_empty()).then(|| (file.path.clone(), options))
}
