//! Imports go down: each module uses only those of lower layers.
//!
//! Every file under src/ is parsed without its tests, and each path that begins with `crate`, `super` or `self` is
//! followed to the file it leads to.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ItemUse, Path, UseTree};

/// From the bottom up. The longest prefix decides about a module. Modules of one row do not use each other, except
/// for the files of one folder.
const LAYERS: &[&[&str]] = &[
    &["backoff", "clock", "digest", "environment", "error", "msgpack", "outcome", "record_set", "redact", "system"],
    &["chunk", "compress", "log"],
    &["ledger", "metrics"],
    &["aws"],
    &["kinesis"],
    &["record"],
    &["dead_letters", "pack"],
    &["deliver"],
    &["config"],
    &["host"],
    &["plugin"],
    &["abi"],
];

/// A module, as `deliver::limiter`.
type Module = String;

/// The files under src/ by module, except the root.
fn modules() -> BTreeMap<Module, String> {
    let module = |path: &str| {
        let path = path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
    };
    let files = testing::sources::code().into_iter().filter(|file| file.path != "src/lib.rs");
    files.map(|file| (module(&file.path), file.text)).collect()
}

/// The modules that a file's text refers to.
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
            // A path that begins with a module of this one, as `limiter::Permit` does in `deliver`.
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

/// Every arrow that does not go down, as `from -> to`. Files within a folder, and within its row, may use each other.
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

/// Circles of files, each once.
fn circles(modules: &BTreeMap<Module, String>) -> Vec<Vec<Module>> {
    let arrows: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(from, text)| (from, used(text, from, modules))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = arrows
        .keys()
        .map(|from| {
            let mut reached = BTreeSet::new();
            let mut next: Vec<&Module> = arrows[from].iter().collect();
            while let Some(module) = next.pop() {
                if reached.insert(module) {
                    next.extend(&arrows[module]);
                }
            }
            (*from, reached)
        })
        .collect();
    let circle = |module: &&Module| -> Vec<Module> {
        let back = reached[module].iter().filter(|other| reached[**other].contains(*module));
        back.map(|module| (*module).clone()).collect()
    };
    let circles: BTreeSet<Vec<Module>> = arrows.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    circles.into_iter().collect()
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
fn imports_go_down() {
    let found = upward(&modules());
    assert!(found.is_empty(), "these imports go up or sideways: {found:#?}");
}

/// What a folder's `mod.rs` and its files share is in a file of its own.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let found = circles(&modules());
    assert!(found.is_empty(), "{found:#?}");
    let mut planted = modules();
    planted.insert("chunk".to_owned(), "use crate::log::Level;".to_owned());
    planted.insert("log".to_owned(), "fn f() { crate::chunk::f() }".to_owned());
    assert_eq!(circles(&planted), [["chunk", "log"]]);
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
