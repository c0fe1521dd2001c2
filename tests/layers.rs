//! Imports go down: each module uses only those of the layers below its own.
//!
//! Every file under src/ is parsed, its tests left out, and each path that begins with `crate`, `super` or `self` is followed
//! to the file it leads to. What goes up or sideways today is listed in `tests/layers.txt`, which may only become shorter.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ItemUse, Path, UseTree};

/// From the bottom up. A module belongs where its longest prefix stands. Modules of one row do not use each other, but for
/// the files of one folder.
const LAYERS: &[&[&str]] = &[
    &["error", "redact", "clock", "environment", "backoff", "outcome", "record_set", "msgpack", "compress"],
    &["log", "chunk"],
    &["metrics", "ledger"],
    &[
        "kinesis::aws_http",
        "kinesis::blocking",
        "kinesis::connect",
        "kinesis::credentials",
        "kinesis::endpoint",
        "kinesis::files",
        "kinesis::proxy",
        "kinesis::resolver",
        "kinesis::shared_config",
        "kinesis::shortage",
        "kinesis::signature",
        "kinesis::tls",
        "kinesis::user_agent",
        "abi::system",
    ],
    &["aggregate", "kinesis", "partition", "verdict"],
    &["record"],
    &["pack"],
    &["deliver"],
    &["config"],
    &[
        "abi::bindings",
        "abi::coroutine",
        "abi::engine",
        "abi::guard",
        "abi::handoff",
        "abi::host",
        "abi::loan",
        "abi::metrics",
        "abi::presence",
        "abi::probe",
        "abi::sync",
    ],
    &["line_router"],
    &["plugin"],
    &["abi"],
];

/// A module, as `deliver::window`.
type Module = String;

/// The files under src/ by module, but the root.
fn modules() -> BTreeMap<Module, String> {
    let module = |path: &str| {
        let path = path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
    };
    let files = sources::code().into_iter().filter(|file| file.path != "src/lib.rs");
    files.map(|file| (module(&file.path), file.text)).collect()
}

/// The modules that a file's text leads to.
fn used(text: &str, module: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    struct Paths(Vec<Vec<String>>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            collect(&item.tree, &mut Vec::new(), &mut self.0);
        }
        // `pub(super)` imports nothing.
        fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
        fn visit_path(&mut self, path: &'ast Path) {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
            visit::visit_path(self, path);
        }
    }
    let mut paths = Paths(Vec::new());
    paths.visit_file(&syn::parse_file(text).unwrap());
    let absolute = |path: Vec<String>| -> Option<Vec<String>> {
        let mut base: Vec<String> = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.split("::").map(str::to_owned).collect(),
            // A path that begins with a module of this one, as `window::Place` does in `deliver`.
            first if modules.contains_key(&format!("{module}::{first}")) => {
                let mut base: Vec<String> = module.split("::").map(str::to_owned).collect();
                base.push(first.to_owned());
                base
            }
            _ => return None,
        };
        for segment in path.iter().skip(1) {
            match segment.as_str() {
                "super" => drop(base.pop()),
                other => base.push(other.to_owned()),
            }
        }
        if path.first().is_some_and(|first| first == "super") {
            base.remove(module.split("::").count() - 1);
        }
        Some(base)
    };
    let longest = |path: Vec<String>| {
        (1..=path.len()).rev().map(|count| path[..count].join("::")).find(|module| modules.contains_key(module))
    };
    paths.0.into_iter().filter_map(absolute).filter_map(longest).filter(|used| used != module).collect()
}

fn collect(tree: &UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect(&path.tree, before, paths);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, before, paths)),
        UseTree::Name(name) => paths.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => paths.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => paths.push(before.clone()),
    }
}

/// The layer of a module, by its longest prefix.
fn layer(module: &str) -> Option<usize> {
    let mut prefix = module;
    loop {
        if let Some(layer) = LAYERS.iter().position(|row| row.contains(&prefix)) {
            return Some(layer);
        }
        prefix = prefix.rsplit_once("::")?.0;
    }
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Every arrow that does not go down, as `from -> to`. Within a folder, and within its row, files use each other.
fn upward(modules: &BTreeMap<Module, String>) -> Vec<String> {
    let mut arrows = Vec::new();
    for (from, text) in modules {
        for to in used(text, from, modules) {
            let is_down = layer(&to) < layer(from) || layer(&to) == layer(from) && top(from) == top(&to);
            if !is_down {
                arrows.push(format!("{from} -> {to}"));
            }
        }
    }
    arrows
}

#[test]
fn every_module_has_a_layer() {
    let modules = modules();
    let without: Vec<_> = modules.keys().filter(|module| layer(module).is_none()).collect();
    assert!(without.is_empty(), "{without:?}");
    for name in LAYERS.concat() {
        assert!(modules.contains_key(name), "there is no module {name}");
    }
}

#[test]
fn no_further_import_goes_up() {
    let found = upward(&modules());
    let known = sources::read("tests/layers.txt");
    let known: Vec<&str> = known.lines().filter(|line| !line.starts_with('#')).collect();
    let new: Vec<_> = found.iter().filter(|arrow| !known.contains(&arrow.as_str())).collect();
    let gone: Vec<_> = known.iter().filter(|arrow| !found.iter().any(|found| found == *arrow)).collect();
    assert!(new.is_empty(), "these imports go up or sideways: {new:#?}");
    assert!(gone.is_empty(), "these are gone: take them out of tests/layers.txt: {gone:#?}");
}

#[test]
fn an_import_that_goes_up_is_found_however_it_is_written() {
    let module = |text: &str| {
        let mut modules = modules();
        modules.insert("log".to_owned(), text.to_owned());
        upward(&modules)
    };
    let known = upward(&modules());
    for planted in [
        "use crate::deliver::Delivery;",
        "use crate::{clock, deliver::{Delivery as D}};",
        "fn f() { crate::deliver::Delivery::new() }",
        "use super::deliver;",
        "fn f() -> super::deliver::Delivery { todo() }",
    ] {
        let found: Vec<_> = module(planted).into_iter().filter(|arrow| !known.contains(arrow)).collect();
        assert_eq!(found, ["log -> deliver"], "{planted}");
    }
}
