//! Finds the imports among the modules of a crate: each path that leads from one module to another.
//!
//! Paths are found by visiting the syntax tree, and by scanning the tokens of macros, which have no tree. A path counts if it
//! begins with `crate`, `super`, `self`, the crate's name, or a child of the module that contains it. Any other path begins
//! with a name that such a path imported, or with another crate. A re-export is followed to the module that defines the name,
//! and an exported macro to the module that defines it. `mod child;` is no import, and
//! neither is a re-export of an item of a sub-module; a use of the re-exported name is. Code under `#[cfg(test)]` is exempt.
//! Calls by symbol name from assembly, and paths that a procedural macro generates, are not found.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItem, Item, Meta, Token, UseTree};

/// The name of a library's root in an import.
pub(crate) const ROOT: &str = "lib";

/// The crates of the standard library, whose macros may have the names of exported ones.
const STANDARD: [&str; 3] = ["std", "core", "alloc"];

/// A parsed file, with the path of its module. `main` is a module; the path of the library's root is empty.
pub(crate) struct Source {
    name: String,
    file: File,
    tokens: TokenStream,
    module: Vec<String>,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// The importing module, or [`ROOT`].
    pub from: String,
    /// The module that defines the imported item, or [`ROOT`].
    pub to: String,
    /// The item; empty if the module itself is imported.
    pub item: String,
    /// Its position, as `file:line`.
    pub place: String,
}

/// The modules of a crate and their imports.
pub(crate) struct Crate {
    /// All modules and [`ROOT`], except modules for tests only.
    pub modules: BTreeSet<String>,
    /// All imports from one module into another, each position once.
    pub imports: BTreeSet<Import>,
    /// All other paths, such as those into other crates, by their first name.
    pub outside: BTreeSet<(String, Import)>,
}

impl Source {
    /// Parses a file of the crate in `folder`. `name` is its path from the repository's root, as in `ci/src/base/text.rs` of the
    /// folder `ci/src`.
    pub(crate) fn new(folder: &str, name: &str, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = name.strip_prefix(folder).and_then(|path| path.strip_prefix('/')?.strip_suffix(".rs"));
        let path = path.unwrap_or_else(|| panic!("{name} is not under {folder}"));
        let mut module: Vec<String> = path.split('/').map(String::from).collect();
        if module == [ROOT] || module.len() > 1 && module.ends_with(&["mod".to_owned()]) {
            module.pop();
        }
        Source { name: name.to_owned(), tokens: text.parse().unwrap_or_default(), file, module }
    }

    /// The path of its module, or [`ROOT`].
    pub(crate) fn path(&self) -> String {
        written(&self.module)
    }

    /// Its tokens.
    pub(crate) fn tokens(&self) -> TokenStream {
        self.tokens.clone()
    }
}

impl Crate {
    /// Finds the imports in the files of the crate `name`.
    pub(crate) fn of(name: &str, sources: &[Source]) -> Crate {
        let mut known = Known { name: name.to_owned(), ..Known::default() };
        for source in sources {
            known.modules.extend((0..=source.module.len()).map(|length| source.module[..length].to_vec()));
            known.collect(&source.file.items, &mut source.module.clone());
        }
        let exempt = std::mem::take(&mut known.exempt);
        let is_exempt = |module: &[String]| (1..=module.len()).any(|end| exempt.contains(&module[..end]));
        known.modules.retain(|module| !is_exempt(module));
        let (mut imports, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for source in sources.iter().filter(|source| !is_exempt(&source.module)) {
            let module = source.module.clone();
            let mut search = Search {
                source,
                known: &known,
                module,
                is_re_export: false,
                imports: &mut imports,
                outside: &mut outside,
            };
            search.visit_file(&source.file);
        }
        let modules = known.modules.iter().map(|module| written(module)).collect();
        Crate { modules, imports, outside }
    }
}

/// Facts about the whole crate that resolving a path needs.
#[derive(Default)]
struct Known {
    name: String,
    modules: BTreeSet<Vec<String>>,
    /// Modules that are declared for tests only.
    exempt: BTreeSet<Vec<String>>,
    /// The path of each name that a module imports. An exported macro is a name of the root.
    names: BTreeMap<(Vec<String>, String), Vec<String>>,
    /// The modules that define the exported macros.
    macros: BTreeMap<String, Vec<String>>,
}

impl Known {
    fn collect(&mut self, items: &[Item], module: &mut Vec<String>) {
        for item in
            items.iter().filter(|item| !is_test_only(attributes(item)) || matches!(item, Item::Mod(_)))
        {
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
                Item::Use(item) => self.collect_use(module, &mut Vec::new(), &item.tree),
                Item::Macro(definition)
                    if definition.attrs.iter().any(|a| a.path().is_ident("macro_export")) =>
                {
                    if let Some(name) = definition.ident.as_ref().map(name_of) {
                        self.macros.insert(name.clone(), module.clone());
                        let path = [&["crate".to_owned()], &module[..], std::slice::from_ref(&name)].concat();
                        self.names.entry((Vec::new(), name)).or_insert(path);
                    }
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

    /// The module that defines the item at a path of `module`, and the item's name, which is empty for a module; `None` if the
    /// path is not anchored. At most `depth` imports are followed.
    fn target(&self, module: &[String], path: &[String], depth: usize) -> Option<(Vec<String>, String)> {
        let (first, rest) = path.split_first()?;
        let child = [module, std::slice::from_ref(first)].concat();
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            first if first == self.name => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            _ if self.modules.contains(&child) => child,
            _ => return self.imported(module, path, depth),
        };
        for (index, segment) in rest.iter().enumerate() {
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
            let definition = self.imported(&at, &rest[index..], depth);
            return definition.or_else(|| Some((at, segment.clone())));
        }
        Some((at, String::new()))
    }

    /// Like [`target`](Self::target), for a path that begins with a name that `module` imported.
    fn imported(&self, module: &[String], path: &[String], depth: usize) -> Option<(Vec<String>, String)> {
        let (first, rest) = path.split_first()?;
        let import = self.names.get(&(module.to_vec(), first.clone())).filter(|_| depth > 0)?;
        self.target(module, &[import, rest].concat(), depth - 1)
    }
}

/// A module's path as an import shows it.
fn written(module: &[String]) -> String {
    if module.is_empty() { ROOT.to_owned() } else { module.join("::") }
}

/// The walk through one file.
struct Search<'a> {
    source: &'a Source,
    known: &'a Known,
    /// The current position: the file's module and the enclosing inline modules.
    module: Vec<String>,
    /// Whether the current item is a `use` with a visibility.
    is_re_export: bool,
    imports: &'a mut BTreeSet<Import>,
    outside: &'a mut BTreeSet<(String, Import)>,
}

impl Search<'_> {
    /// Whether a path is one name that this module imported.
    fn has_imported(&self, path: &[String]) -> bool {
        matches!(path, [name] if self.known.names.contains_key(&(self.module.clone(), name.clone())))
    }

    fn place(&self, span: Span) -> String {
        format!("{}:{}", self.source.name, span.start().line)
    }

    fn record(&mut self, path: &[String], span: Span) {
        let from = written(&self.module);
        let place = self.place(span);
        match self.known.target(&self.module, path, 8) {
            Some((to, _)) if self.is_re_export && to.starts_with(&self.module) => {}
            Some((to, item)) if to != self.module => {
                self.imports.insert(Import { from, to: written(&to), item, place });
            }
            Some(_) => {}
            None => {
                self.outside.insert((
                    path[0].clone(),
                    Import { from, to: String::new(), item: String::new(), place },
                ));
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

    /// Finds paths among tokens without a syntax tree.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            // A name in the middle of a path, except the crate's, does not anchor it.
            let follows_a_colon = at > 0 && is_colon(tokens.get(at - 1));
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) if !follows_a_colon || *first == self.known.name => {
                    at = self.scan_path(&tokens, at, &mut Vec::new());
                }
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
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => prefix.push("*".to_owned()),
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
            if !is_colon(tokens.get(at + 1)) || !is_colon(tokens.get(at + 2)) {
                break;
            }
            at += 3;
        }
        // A lone `crate` or `self` is a visibility or a receiver, and a lone name before `:` is that of a field.
        let is_field = is_colon(tokens.get(at + 1));
        if prefix.len() > 1 || self.has_imported(prefix) && !is_field {
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
        self.is_re_export = !matches!(item.vis, syn::Visibility::Inherited);
        self.record_tree(&mut Vec::new(), &item.tree);
        self.is_re_export = false;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| name_of(&segment.ident)).collect();
        if let (true, Some(first)) = (names.len() > 1 || self.has_imported(&names), path.segments.first()) {
            self.record(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let first = call.path.segments.first().map(|segment| name_of(&segment.ident)).unwrap_or_default();
        // A module may have the name of a macro.
        let name = call.path.segments.last().map(|segment| name_of(&segment.ident)).unwrap_or_default();
        match self.known.macros.get(&name) {
            Some(to) if call.path.segments.len() > 1 && !STANDARD.contains(&first.as_str()) => {
                let place = self.place(call.path.segments[0].ident.span());
                let import = Import { from: written(&self.module), to: written(to), item: name, place };
                self.imports.extend(Some(import).filter(|_| *to != self.module));
            }
            _ => self.visit_path(&call.path),
        }
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
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    is_punct(token, ':')
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
