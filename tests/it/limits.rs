//! No file, folder, function or type of the library is too large to read in one sitting. Tests do not count.

use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Ident, ImplItemFn, Item, ItemFn, ItemImpl, TraitItemFn, Type};
use testing::sources::shipped;

use super::invariants::facts::{attributes, is_test};

const FILE_LINES: usize = 400;
const FOLDER_FILES: usize = 14;
const FUNCTION_LINES: usize = 60;
/// For the type that knows most of the others: all its `impl` blocks together.
const DELIVERY_LINES: usize = 300;

/// The size of a file's parts.
#[derive(Default)]
struct Sizes {
    /// Without its tests.
    lines: usize,
    functions: Vec<(String, usize)>,
    delivery: usize,
}

impl Sizes {
    fn of(text: &str) -> Sizes {
        let file = syn::parse_file(text).unwrap();
        let mut sizes = Sizes::default();
        sizes.visit_file(&file);
        let tests = file.items.iter().filter(|item| is_test(attributes(item)));
        sizes.lines = text.lines().count() - tests.map(|item| lines(item, attributes(item))).sum::<usize>();
        sizes
    }

    fn function(&mut self, name: &Ident, block: &Block) {
        let lines = block.brace_token.span.close().end().line - name.span().start().line + 1;
        self.functions.push((name.to_string(), lines));
    }
}

/// From the first attribute on.
fn lines(item: &impl Spanned, attributes: &[Attribute]) -> usize {
    let begin = attributes.iter().map(|attribute| attribute.span().start().line).min();
    let span = item.span();
    span.end().line - begin.unwrap_or(span.start().line) + 1
}

impl<'ast> Visit<'ast> for Sizes {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if matches!(&*item.self_ty, Type::Path(path) if path.path.segments.last().unwrap().ident == "Delivery") {
            self.delivery += lines(item, &item.attrs);
        }
        visit::visit_item_impl(self, item);
    }
}

/// Files by path, and what in them exceeds a limit, each with its size.
fn larger(files: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let (mut found, mut delivery, mut folders) = (BTreeMap::new(), 0, BTreeMap::<String, usize>::new());
    for (path, text) in files {
        let sizes = Sizes::of(text);
        found.extend((sizes.lines > FILE_LINES).then(|| (path.clone(), sizes.lines)));
        let functions = sizes.functions.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES);
        found.extend(functions.map(|(name, lines)| (format!("{path} {name}"), lines)));
        delivery += sizes.delivery;
        *folders.entry(path.rsplit_once('/').unwrap().0.to_owned()).or_default() += 1;
    }
    found.extend(folders.into_iter().filter(|(_, files)| *files > FOLDER_FILES));
    found.extend((delivery >= DELIVERY_LINES).then(|| ("impl Delivery".to_owned(), delivery)));
    found
}

fn files() -> BTreeMap<String, String> {
    shipped().into_iter().map(|file| (file.path, file.text)).collect()
}

#[test]
fn nothing_is_larger_than_it_may_be() {
    let found = larger(&files());
    assert!(found.is_empty(), "these are too large: {found:#?}");
}

#[test]
fn what_is_too_large_is_found_and_tests_do_not_count() {
    let body = |lines: usize| "    f();\n".repeat(lines);
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", body(lines - 2));
    let found = |planted: &[(&str, String)]| {
        let planted = planted.iter().map(|(path, text)| ((*path).to_owned(), text.clone()));
        larger(&planted.collect()).into_iter().collect::<Vec<_>>()
    };
    let one = |text: String| found(&[("src/a/b.rs", text)]);
    assert_eq!(one(function(60)), []);
    assert_eq!(one(function(61)), [("src/a/b.rs long".to_owned(), 61)]);
    assert_eq!(one(format!("impl T {{\n{}}}\n", function(61))), [("src/a/b.rs long".to_owned(), 61)]);
    assert_eq!(one(format!("trait T {{\n{}}}\n", function(61))), [("src/a/b.rs long".to_owned(), 61)]);
    assert_eq!(one("// x\n".repeat(400)), []);
    assert_eq!(one("// x\n".repeat(401)), [("src/a/b.rs".to_owned(), 401)]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(100));
    assert_eq!(one("// x\n".repeat(400) + &tests), []);
    let block = format!("impl<T> Delivery<T> {{\n{}}}\n", function(60).repeat(3));
    assert_eq!(found(&[("src/a/b.rs", block.clone()), ("src/c.rs", block)]), [("impl Delivery".to_owned(), 364)]);
    let names: Vec<String> = (0..15).map(|number| format!("src/a/f{number}.rs")).collect();
    let many: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), String::new())).collect();
    assert_eq!(found(&many), [("src/a".to_owned(), 15)]);
    assert_eq!(found(&many[1..]), []);
}
