//! Finds the imports in a crate's sources: every path from one top-level module into another, or from one sub-module of a module
//! into another.
//!
//! Paths are found by visiting the syntax tree, and by scanning the tokens of macros, which have no tree. Only paths that begin
//! with `crate`, `super`, `self` or the crate's name count. Any other path begins with a name that such a path imported, or
//! with another crate.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItem, Item, Meta, Token, UseTree};

/// The name of the kernel's library in its programs.
const CRATE_NAME: &str = "octopod";

/// A parsed file.
pub struct Source {
    name: String,
    file: File,
    /// The path of its module; empty for a crate's root.
    module: Vec<String>,
    /// The name of the root: `lib` or `main`.
    root: &'static str,
}

/// An import.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Its position, as `file:line`.
    pub place: String,
    /// The importing module.
    pub from: String,
    /// The imported module; `lib` for items of the crate's root.
    pub to: String,
}

impl Source {
    /// Parses a file that is named by its path from the package's root, as in `src/cpu/id.rs`.
    pub fn new(name: String, text: String) -> Source {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let inner = name.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs"));
        let mut module: Vec<_> = inner
            .unwrap_or_else(|| panic!("{name} is not under src/"))
            .split('/')
            .map(String::from)
            .collect();
        let root = if module == ["main"] { "main" } else { "lib" };
        if module == [root] || module.len() > 1 && module.ends_with(&["mod".to_string()]) {
            module.pop();
        }
        Source { name, file, module, root }
    }

    /// The top-level module that the file belongs to.
    pub fn top(&self) -> &str {
        self.module.first().map_or(self.root, String::as_str)
    }
}

/// All imports from one top-level module into another, each position once.
pub fn edges_of(sources: &[Source]) -> BTreeSet<Edge> {
    edges_within(sources, &[])
}

/// All imports from one sub-module of the module at the path `root` into another, each position once. An import from `root` itself
/// leads to the last name of that path. The imports in `root`'s own file are not included.
pub fn edges_within(sources: &[Source], root: &[&str]) -> BTreeSet<Edge> {
    let root: Vec<String> = root.iter().map(ToString::to_string).collect();
    let sub_modules = sources.iter().filter_map(|source| source.module.strip_prefix(&root[..])?.first());
    let sub_modules = sub_modules.cloned().collect();
    let mut known = Known { root, sub_modules, ..Known::default() };
    for source in sources {
        known.modules.insert(source.top().to_string());
        let mut module = source.module.clone();
        known.collect(&source.file.items, &mut module, source.root);
    }
    let mut edges = BTreeSet::new();
    for source in sources.iter().filter(|source| !known.is_exempt(&source.module)) {
        let mut search = Search { source, known: &known, module: source.module.clone(), edges: &mut edges };
        search.visit_file(&source.file);
    }
    edges
}

/// Facts about the whole crate that resolving a path needs.
#[derive(Default)]
struct Known {
    /// The path of the module whose sub-modules import each other; empty for the crate.
    root: Vec<String>,
    /// The names of these sub-modules.
    sub_modules: BTreeSet<String>,
    /// The top-level modules.
    modules: BTreeSet<String>,
    /// Exported macros, whose paths begin at the root, and the top-level modules that define them.
    macros: BTreeMap<String, String>,
    /// Modules that are declared, without a body, for tests only.
    exempt: BTreeSet<Vec<String>>,
}

impl Known {
    fn collect(&mut self, items: &[Item], module: &mut Vec<String>, root: &str) {
        for item in
            items.iter().filter(|item| !is_test_only(attributes(item)) || matches!(item, Item::Mod(_)))
        {
            match item {
                Item::Mod(inner) => {
                    module.push(name_of(&inner.ident));
                    if is_test_only(&inner.attrs) {
                        self.exempt.insert(module.clone());
                    } else if let Some((_, items)) = &inner.content {
                        self.modules.insert(module[0].clone());
                        self.collect(items, module, root);
                    }
                    module.pop();
                }
                Item::Macro(definition)
                    if definition.attrs.iter().any(|a| a.path().is_ident("macro_export")) =>
                {
                    let top = module.first().map_or(root, String::as_str).to_string();
                    self.macros.extend(definition.ident.as_ref().map(|ident| (name_of(ident), top)));
                }
                _ => {}
            }
        }
    }

    fn is_exempt(&self, module: &[String]) -> bool {
        (1..=module.len()).any(|length| self.exempt.contains(&module[..length]))
    }

    /// The top-level module of a path; `None` if the path is not anchored, or does not resolve.
    fn target(&self, module: &[String], path: &[String]) -> Option<String> {
        let mut segments = path.iter().map(String::as_str).peekable();
        let mut position = match segments.next()? {
            "crate" | CRATE_NAME => &module[..0],
            "self" => module,
            "super" => module.split_last()?.1,
            _ => return None,
        };
        while let Some(step) = segments.next_if(|step| ["super", "self"].contains(step)) {
            if step == "super" {
                position = position.split_last()?.1;
            }
        }
        if let Some(own_name) = self.root.last() {
            let path: Vec<_> = position.iter().map(String::as_str).chain(segments).collect();
            let root: Vec<_> = self.root.iter().map(String::as_str).collect();
            let name = path.strip_prefix(&root[..])?.first().copied();
            return Some(
                name.filter(|name| self.sub_modules.contains(*name)).unwrap_or(own_name).to_string(),
            );
        }
        if let Some(top) = position.first() {
            return Some(top.clone());
        }
        let name = segments.next()?;
        match self.macros.get(name) {
            _ if self.modules.contains(name) => Some(name.to_string()),
            Some(module) => Some(module.clone()),
            None => Some("lib".to_string()),
        }
    }
}

/// The walk through one file.
struct Search<'a> {
    source: &'a Source,
    known: &'a Known,
    /// The current position: the file's module and the enclosing inline modules.
    module: Vec<String>,
    edges: &'a mut BTreeSet<Edge>,
}

impl Search<'_> {
    fn record(&mut self, path: &[String], span: Span) {
        let Some(inside) = self.module.strip_prefix(&self.known.root[..]) else { return };
        let from = match inside.first() {
            Some(name) => name.as_str(),
            None if self.known.root.is_empty() => self.source.root,
            None => return,
        };
        if let Some(to) = self.known.target(&self.module, path).filter(|to| to != from) {
            let place = format!("{}:{}", self.source.name, span.start().line);
            self.edges.insert(Edge { place, from: from.to_string(), to });
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
            UseTree::Glob(glob) => ("*".to_string(), glob.star_token.spans[0]),
        };
        prefix.push(name);
        self.record(prefix, span);
        prefix.pop();
    }

    /// Finds paths among tokens without a syntax tree.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let follows_a_colon = at > 0 && is_punct(tokens.get(at - 1), ':');
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) => match &*name_of(ident) {
                    "crate" | CRATE_NAME => at = self.scan_path(&tokens, at, &mut Vec::new()),
                    // In the middle of a path they do not anchor it.
                    "super" | "self" if !follows_a_colon => at = self.scan_path(&tokens, at, &mut Vec::new()),
                    _ => {}
                },
                _ => {}
            }
            at += 1;
        }
    }

    /// Follows a path from the identifier or `*` at `at`, and returns the index of its last token. A brace group at its end is
    /// treated as a list of imports.
    fn scan_path(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &mut Vec<String>) -> usize {
        let (length, span) = (prefix.len(), tokens[at].span());
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(ident)) => prefix.push(name_of(ident)),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => prefix.push("*".to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let items: Vec<_> = group.stream().into_iter().collect();
                    for item in
                        items.split(|token| is_punct(Some(token), ',')).filter(|item| !item.is_empty())
                    {
                        self.scan_path(item, 0, prefix);
                    }
                    prefix.truncate(length);
                    return at;
                }
                // Such as the `<` of generic arguments.
                _ => break,
            }
            if !is_punct(tokens.get(at + 1), ':') || !is_punct(tokens.get(at + 2), ':') {
                break;
            }
            at += 3;
        }
        // A lone `crate` or `self` is a visibility or a receiver.
        if prefix.len() > 1 {
            self.record(prefix, span);
        }
        prefix.truncate(length);
        at
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
            ImplItem::Const(constant) if is_test_only(&constant.attrs) => {}
            _ => visit::visit_impl_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.record_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| name_of(&segment.ident)).collect();
        if let [first, _, ..] = &path.segments.iter().collect::<Vec<_>>()[..] {
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

    /// `pub(in crate::x)` is a visibility, not an import.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

fn name_of(ident: &proc_macro2::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_string()
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

/// Whether an item exists in tests only.
fn is_test_only(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.filter_map(|attribute| attribute.parse_args().ok()).any(|condition| implies_test(&condition))
}

fn implies_test(condition: &Meta) -> bool {
    let nested = |list: &syn::MetaList| -> Vec<bool> {
        let parsed = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        parsed.iter().flatten().map(implies_test).collect()
    };
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => nested(list).contains(&true),
        Meta::List(list) if list.path.is_ident("any") => {
            let branches = nested(list);
            !branches.is_empty() && !branches.contains(&false)
        }
        _ => false,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
