//! Finds the imports among the modules of a crate: each path that leads from one module to another.
//!
//! A path counts if it is anchored: by `crate`, `super` or `self`, by the crate's name, or by a child of the module it stands
//! in. Any other begins with something that an anchored path has imported, or comes from outside. A re-export is followed to the
//! module that defines the name, so that no facade hides an import. Code for tests only is left out.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItem, Item, Meta, Token, UseTree};

/// A parsed file, with the path of its module; `main` has one of its own, and the library's root has none.
pub struct Source {
    name: String,
    file: File,
    module: Vec<String>,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The module that it stands in; empty for the library's root.
    pub from: String,
    /// The module that defines what is imported.
    pub to: String,
    /// Where it stands, as `file:line`.
    pub place: String,
}

/// What a crate consists of.
pub struct Crate {
    /// Every module, without those for tests only.
    pub modules: BTreeSet<String>,
    /// Every import, each place once.
    pub imports: BTreeSet<Import>,
    /// Each use of an outside crate, by its name.
    pub outside: BTreeSet<(String, Import)>,
}

impl Source {
    /// Parses a file that is named by its path from the package's root, as in `src/base/text.rs`.
    pub fn new(name: &str, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = name.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs"));
        let path = path.unwrap_or_else(|| panic!("{name} is not under src/"));
        let mut module: Vec<String> = path.split('/').map(String::from).collect();
        if module == ["lib"] || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        Source { name: name.to_owned(), file, module }
    }
}

impl Crate {
    /// Reads a crate of this name from its files.
    pub fn of(name: &str, sources: &[Source]) -> Crate {
        let mut known = Known { name: name.to_owned(), ..Known::default() };
        for source in sources {
            known.modules.insert(source.module.clone());
            known.collect(&source.file.items, &mut source.module.clone());
        }
        let exempt = std::mem::take(&mut known.exempt);
        let is_exempt = |module: &[String]| (1..=module.len()).any(|end| exempt.contains(&module[..end]));
        known.modules.retain(|module| !is_exempt(module));
        let (mut imports, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for source in sources.iter().filter(|source| !is_exempt(&source.module)) {
            let module = source.module.clone();
            let mut search =
                Search { source, known: &known, module, imports: &mut imports, outside: &mut outside };
            search.visit_file(&source.file);
        }
        let modules = known.modules.iter().map(|module| module.join("::")).collect();
        Crate { modules, imports, outside }
    }
}

/// What the first walk through all files has found.
#[derive(Default)]
struct Known {
    name: String,
    modules: BTreeSet<Vec<String>>,
    /// Modules for tests only.
    exempt: BTreeSet<Vec<String>>,
    /// What each module imports, by the name that it has there.
    names: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Known {
    fn collect(&mut self, items: &[Item], module: &mut Vec<String>) {
        for item in items {
            match item {
                Item::Mod(inner) => {
                    module.push(name_of(&inner.ident));
                    if is_test_only(&inner.attrs) {
                        self.exempt.insert(module.clone());
                    } else if let Some((_, items)) = &inner.content {
                        self.modules.insert(module.clone());
                        self.collect(items, module);
                    }
                    module.pop();
                }
                Item::Use(item) if !is_test_only(&item.attrs) => {
                    self.collect_use(module, &mut Vec::new(), &item.tree);
                }
                _ => {}
            }
        }
    }

    fn collect_use(&mut self, module: &[String], prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(name_of(&path.ident));
                self.collect_use(module, prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.collect_use(module, prefix, item))
            }
            UseTree::Name(name) => {
                let path = [&prefix[..], &[name_of(&name.ident)]].concat();
                let own = path.iter().rev().find(|step| *step != "self").cloned().unwrap_or_default();
                self.names.insert((module.to_vec(), own), path);
            }
            UseTree::Rename(rename) => {
                let path = [&prefix[..], &[name_of(&rename.ident)]].concat();
                self.names.insert((module.to_vec(), name_of(&rename.rename)), path);
            }
            UseTree::Glob(_) => {}
        }
    }

    /// The module that defines what a path of `module` leads to; `None` if it is not anchored. Re-exports are followed so
    /// often at most.
    fn target(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let mut segments = path.iter().peekable();
        let first = segments.peek()?.as_str();
        let child = [module, &[first.to_owned()]].concat();
        let mut at = match first {
            "crate" => Vec::new(),
            first if first == self.name => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            _ if self.modules.contains(&child) => child,
            _ => return None,
        };
        segments.next();
        for segment in segments {
            match segment.as_str() {
                "self" => continue,
                "super" => {
                    at.pop();
                    continue;
                }
                _ => {}
            }
            let inner = [&at[..], std::slice::from_ref(segment)].concat();
            if self.modules.contains(&inner) {
                at = inner;
                continue;
            }
            let exported = self.names.get(&(at.clone(), segment.clone())).filter(|_| depth > 0);
            return match exported.and_then(|path| self.target(&at, path, depth - 1)) {
                Some(definition) => Some(definition),
                None => Some(at),
            };
        }
        Some(at)
    }
}

/// The walk through one file.
struct Search<'a> {
    source: &'a Source,
    known: &'a Known,
    /// Where the walk is: the file's module and the inline ones around.
    module: Vec<String>,
    imports: &'a mut BTreeSet<Import>,
    outside: &'a mut BTreeSet<(String, Import)>,
}

impl Search<'_> {
    fn record(&mut self, path: &[String], span: Span) {
        let from = self.module.join("::");
        let place = format!("{}:{}", self.source.name, span.start().line);
        match self.known.target(&self.module, path, 8) {
            Some(to) if to != self.module => {
                self.imports.insert(Import { from, to: to.join("::"), place });
            }
            Some(_) => {}
            None => {
                self.outside.insert((path[0].clone(), Import { from, to: String::new(), place }));
            }
        }
    }

    fn record_tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        let (name, span) = match tree {
            UseTree::Path(path) => {
                prefix.push(name_of(&path.ident));
                self.record_tree(prefix, &path.tree);
                prefix.pop();
                return;
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.record_tree(prefix, item));
                return;
            }
            UseTree::Name(name) => (name_of(&name.ident), name.ident.span()),
            UseTree::Rename(rename) => (name_of(&rename.ident), rename.ident.span()),
            UseTree::Glob(glob) => ("*".to_owned(), glob.star_token.spans[0]),
        };
        prefix.push(name);
        self.record(prefix, span);
        prefix.pop();
    }

    /// Finds paths among the tokens of a macro, which have no tree.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    // `{` behind `::` is a list of imports, which no macro here has.
                    debug_assert!(group.delimiter() != Delimiter::None);
                    self.scan(group.stream());
                }
                TokenTree::Ident(first) => {
                    let mut path = vec![name_of(first)];
                    while is_colon(tokens.get(at + 1)) && is_colon(tokens.get(at + 2)) {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                        path.push(name_of(next));
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.record(&path, first.span());
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test_only(attributes(item)) {
            return;
        }
        match item {
            Item::Mod(inner) => {
                self.module.push(name_of(&inner.ident));
                visit::visit_item_mod(self, inner);
                self.module.pop();
            }
            Item::Verbatim(tokens) => self.scan(tokens.clone()),
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(function) if is_test_only(&function.attrs) => {}
            _ => visit::visit_impl_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.record_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| name_of(&segment.ident)).collect();
        if let (true, Some(first)) = (names.len() > 1, path.segments.first()) {
            self.record(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.scan(call.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_path(&list.path);
        self.scan(list.tokens.clone());
    }

    /// `pub(in crate::x)` limits the visibility, which is no import.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

fn name_of(ident: &proc_macro2::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// Whether an item exists in tests only.
fn is_test_only(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.filter_map(|attribute| attribute.parse_args().ok()).any(|condition| implies_test(&condition))
}

fn implies_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let parsed = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            parsed.iter().flatten().any(implies_test)
        }
        _ => false,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
