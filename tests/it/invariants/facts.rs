//! What a source file uses, by syntax: however an import is written or renamed, the path behind it is found.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, Ident, ItemStatic, ItemUse, Macro, Path, UseTree, Visibility};

/// What one file uses. Paths are complete: for `use std::{fs as f}; f::read(…)` it is `std::fs::read`.
#[derive(Default)]
pub struct Facts {
    pub path: String,
    /// Everything that a path refers to, including imports, once for each glob import that may provide it.
    pub used: BTreeSet<String>,
    /// Paths, as many times as they occur in code.
    pub calls: Vec<String>,
    /// The last names of macros.
    pub macros: Vec<String>,
    pub methods: BTreeSet<String>,
    /// The names in attributes, such as `unsafe_code`.
    pub attributes: BTreeSet<String>,
    pub has_unsafe: bool,
    pub is_async: bool,
    pub has_statics: bool,
    /// What `pub use` re-exports.
    pub handed_on: BTreeSet<String>,
}

impl Facts {
    pub fn of(path: &str, text: &str) -> Facts {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Facts::of_file(path, &file)
    }

    pub fn of_file(path: &str, file: &File) -> Facts {
        let mut seen = Seen { facts: Facts { path: path.to_owned(), ..Facts::default() }, ..Seen::default() };
        seen.visit_file(file);
        seen.finish()
    }

    /// Whether anything used is `name` or inside it.
    pub fn uses(&self, name: &str) -> bool {
        self.used.iter().any(|used| is_within(used, name))
    }

    /// How many times a path inside `name` occurs in the code, not counting imports.
    pub fn count(&self, name: &str) -> usize {
        self.calls.iter().filter(|used| is_within(used, name)).count()
    }

    /// Whether the last name of anything used is `name`, wherever it comes from.
    pub fn names(&self, name: &str) -> bool {
        self.used.iter().any(|used| used.split("::").any(|segment| segment == name))
    }

    pub fn runs_macro(&self, names: &[&str]) -> bool {
        self.macros.iter().any(|run| names.contains(&run.as_str()))
    }
}

/// Whether a path is `name` or continues it.
pub fn is_within(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[derive(Default)]
struct Seen {
    facts: Facts,
    /// Local names and what they stand for.
    imports: BTreeMap<String, BTreeSet<String>>,
    globs: BTreeSet<String>,
    paths: Vec<String>,
}

impl Seen {
    fn finish(mut self) -> Facts {
        // An import may begin with what another one imported: `use std as s; use s::fs;`.
        for _ in 0..3 {
            let imports = self.imports.clone();
            for wholes in self.imports.values_mut() {
                *wholes = wholes.iter().flat_map(|whole| resolved(whole, &imports, &BTreeSet::new())).collect();
            }
        }
        let whole = |path: &String| resolved(path, &self.imports, &self.globs);
        self.facts.calls = self.paths.iter().flat_map(whole).collect();
        self.facts.used.extend(self.facts.calls.iter().cloned());
        self.facts.used.extend(self.imports.values().flatten().cloned());
        self.facts.used.extend(self.globs);
        self.facts.handed_on =
            self.facts.handed_on.iter().flat_map(|path| resolved(path, &self.imports, &BTreeSet::new())).collect();
        self.facts
    }

    fn import(&mut self, tree: &UseTree, before: &str, is_public: bool) {
        let join = |name: &Ident| if before.is_empty() { name.to_string() } else { format!("{before}::{name}") };
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &join(&path.ident), is_public),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, is_public)),
            UseTree::Name(name) if name.ident == "self" => self.name(before.rsplit("::").next(), before, is_public),
            UseTree::Name(name) => self.name(Some(&name.ident.to_string()), &join(&name.ident), is_public),
            UseTree::Rename(name) if name.ident == "self" => {
                self.name(Some(&name.rename.to_string()), before, is_public);
            }
            UseTree::Rename(name) => self.name(Some(&name.rename.to_string()), &join(&name.ident), is_public),
            UseTree::Glob(_) => {
                self.globs.insert(standard(before));
                if is_public {
                    self.facts.handed_on.insert(standard(before));
                }
            }
        }
    }

    fn name(&mut self, local: Option<&str>, whole: &str, is_public: bool) {
        let whole = standard(whole);
        if is_public {
            self.facts.handed_on.insert(whole.clone());
        }
        self.imports.entry(local.unwrap_or_default().to_owned()).or_default().insert(whole);
    }

    /// Inside a macro there are only tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |index: usize, wanted: char| matches!(tokens.get(index), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
        let name = |index: usize| match tokens.get(index) {
            Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
            _ => None,
        };
        let mut index = 0;
        while index < tokens.len() {
            if let Some(TokenTree::Group(group)) = tokens.get(index) {
                self.tokens(group.stream());
            } else if let Some(first) = name(index) {
                let (begin, mut path) = (index, first);
                while is(index + 1, ':') && is(index + 2, ':') && name(index + 3).is_some() {
                    path += &format!("::{}", name(index + 3).unwrap());
                    index += 3;
                }
                match path.as_str() {
                    "unsafe" => self.facts.has_unsafe = true,
                    // A lifetime is a quote and a name.
                    "static" => self.facts.has_statics |= begin == 0 || !is(begin - 1, '\''),
                    "async" | "await" => self.facts.is_async = true,
                    _ if is(index + 1, '!') => self.facts.macros.push(last(&path)),
                    _ if begin > 0 && is(begin - 1, '.') => drop(self.facts.methods.insert(path)),
                    _ => self.paths.push(path),
                }
            }
            index += 1;
        }
    }
}

/// A path with its first name resolved; several if names are reused or globs may provide it.
fn resolved(path: &str, imports: &BTreeMap<String, BTreeSet<String>>, globs: &BTreeSet<String>) -> BTreeSet<String> {
    let (first, rest) = path.split_once("::").map_or((path, None), |(first, rest)| (first, Some(rest)));
    let with = |whole: &String| rest.map_or(whole.clone(), |rest| format!("{whole}::{rest}"));
    match imports.get(first) {
        Some(wholes) if !wholes.contains(path) => wholes.iter().map(with).collect(),
        _ => globs.iter().map(|glob| format!("{glob}::{path}")).chain([standard(path)]).collect(),
    }
}

/// `core` and `alloc` are parts of `std`.
fn standard(path: &str) -> String {
    match path.split_once("::") {
        Some(("core" | "alloc", rest)) => format!("std::{rest}"),
        None if path == "core" || path == "alloc" => "std".to_owned(),
        _ => path.to_owned(),
    }
}

fn last(path: &str) -> String {
    path.rsplit("::").next().unwrap().to_owned()
}

/// Whether an item is only for tests.
pub fn is_test(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| {
        let arguments = attribute.meta.require_list().map(|list| list.tokens.to_string());
        attribute.path().is_ident("cfg") && arguments.is_ok_and(|arguments| arguments == "test")
    };
    attributes.iter().any(is_test)
}

pub fn attributes(item: &syn::Item) -> &[Attribute] {
    use syn::Item::{Const, Enum, Fn, Impl, Macro, Mod, Static, Struct, Trait, Type, Use};
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        Fn(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, "", is_public);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
        self.name(Some(&name.to_string()), &item.ident.to_string(), false);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push(names.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.facts.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, run: &'ast Macro) {
        self.facts.macros.push(run.path.segments.last().unwrap().ident.to_string());
        self.tokens(run.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        fn names(tokens: TokenStream, found: &mut BTreeSet<String>) {
            for token in tokens {
                match token {
                    TokenTree::Ident(ident) => drop(found.insert(ident.to_string())),
                    TokenTree::Group(group) => names(group.stream(), found),
                    _ => {}
                }
            }
        }
        let found = &mut self.facts.attributes;
        found.extend(attribute.path().segments.iter().map(|segment| segment.ident.to_string()));
        if let syn::Meta::List(list) = &attribute.meta {
            names(list.tokens.clone(), found);
        }
        self.facts.has_unsafe |= found.contains("unsafe") || found.contains("unsafe_code");
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.facts.has_unsafe = true;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.facts.has_unsafe |= matches!(signature.safety, syn::Safety::Unsafe(_));
        self.facts.is_async |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.facts.has_unsafe |= item.unsafety.is_some();
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.facts.has_unsafe |= item.unsafety.is_some();
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.facts.has_unsafe = true;
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.facts.has_statics = true;
        visit::visit_item_static(self, item);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.facts.is_async = true;
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.facts.is_async |= closure.asyncness.is_some();
        visit::visit_expr_closure(self, closure);
    }

    fn visit_expr_await(&mut self, wait: &'ast syn::ExprAwait) {
        self.facts.is_async = true;
        visit::visit_expr_await(self, wait);
    }
}
