//! Finds the hooks in the kernel's sources: the means by which a module calls functions of modules that it does not import.
//!
//! A hook is one of these:
//! - a static of the type `sync::Hook` or `interrupts::HandlerSlot`;
//! - a row of a linker section, declared by an exported macro, whose type holds a function pointer;
//! - a `no_mangle` function that assembly of another top-level module calls, or that an exported macro defines;
//! - a function declared by `patchable!`.
//!
//! A static of another type that can be set to a function pointer or a trait object at run time is reported as a defect.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::imports::{Crate, Source};
use crate::order::{layer_of, top};
use crate::table::{ANY, Hook};

/// The type of the handler table, and the top-level module where its statics are hooks. Elsewhere they save a handler.
const HANDLER_SLOT: (&str, &str) = ("HandlerSlot", "interrupts");

/// Other types of statics that are set at run time. Locks and cells are not among them: they hold work for a lower layer.
const SETTABLE: [&str; 4] = ["Once", "OnceCell", "OnceLock", "AtomicPtr"];

/// The hooks of a crate.
#[derive(Default)]
pub(crate) struct Found {
    /// Each hook: the module that calls it, and its name.
    pub hooks: BTreeSet<(String, String)>,
    /// The modules that set a `patchable!` function by `static_call!`, by the function's name.
    patches: BTreeMap<String, BTreeSet<String>>,
    /// The modules that define a `no_mangle` function.
    symbols: BTreeMap<String, String>,
    /// Statics that hide a hook.
    hidden: Vec<String>,
}

/// Finds the hooks. `assembly` has the top-level module and the text of each assembly file.
pub(crate) fn find(
    layers: &[(&str, u8)],
    sources: &[Source],
    kernel: &Crate,
    assembly: &[(String, String)],
) -> Found {
    let mut found = Found::default();
    let functions = types_with_functions(sources);
    for source in sources.iter().filter(|source| kernel.modules.contains(&source.path())) {
        Scan { module: source.path(), functions: &functions, found: &mut found }
            .tokens(source.tokens(), None);
    }
    for (module, text) in assembly {
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let is_upward = |definer: &str| {
            top(definer) != module && layer_of(layers, top(definer)) >= layer_of(layers, module)
        };
        let called =
            found.symbols.iter().filter(|(symbol, definer)| words.contains(&***symbol) && is_upward(definer));
        let called: Vec<_> = called.map(|(symbol, _)| (module.clone(), symbol.clone())).collect();
        found.hooks.extend(called);
    }
    found
}

/// The differences between the table and the hooks found, one line each.
pub(crate) fn violations(table: &[Hook], kernel: &Crate, found: &Found) -> Vec<String> {
    let mut lines = found.hidden.clone();
    let listed: BTreeSet<_> =
        table.iter().map(|hook| (hook.lower.to_owned(), hook.name.to_owned())).collect();
    for (lower, name) in found.hooks.difference(&listed) {
        lines.push(format!("the hook {name} of {lower} is not in the table of tests/layers/table.rs"));
    }
    for (lower, name) in listed.difference(&found.hooks) {
        lines.push(format!("the table lists the hook {name} of {lower}, which does not exist"));
    }
    for hook in
        table.iter().filter(|hook| found.hooks.contains(&(hook.lower.to_owned(), hook.name.to_owned())))
    {
        let setters = setters(hook, kernel, found);
        let listed: BTreeSet<String> = hook.setters.iter().map(|setter| (*setter).to_owned()).collect();
        let is_as_listed = if hook.setters == ANY { setters.len() > 1 } else { setters == listed };
        if !is_as_listed {
            lines.push(format!(
                "{} of {} is set by {setters:?}, the table says {listed:?}",
                hook.name, hook.lower
            ));
        }
    }
    lines
}

/// The other top-level modules that set a hook.
fn setters(hook: &Hook, kernel: &Crate, found: &Found) -> BTreeSet<String> {
    let modules: BTreeSet<&String> = match (found.patches.get(hook.name), found.symbols.get(hook.name)) {
        (Some(patching), _) if hook.set_by == "static_call" && hook.name != "static_call" => {
            patching.iter().collect()
        }
        (_, Some(definer)) if hook.set_by.is_empty() => [definer].into(),
        _ => {
            let setting = kernel
                .imports
                .iter()
                .filter(|import| import.item == hook.set_by && top(&import.to) == top(hook.lower));
            setting.map(|import| &import.from).collect()
        }
    };
    modules
        .into_iter()
        .map(|module| top(module).to_owned())
        .filter(|module| module != top(hook.lower))
        .collect()
}

/// The names of type aliases and structures whose definition contains a function pointer or a trait object, by itself or by a
/// type of the same file.
fn types_with_functions(sources: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources {
        let mut definitions: Vec<(String, Vec<TokenTree>)> = Vec::new();
        collect_types(source.tokens(), &mut definitions);
        let mut of_file = BTreeSet::new();
        for _ in 0..2 {
            let more = definitions.iter().filter(|(_, tokens)| holds_function(tokens, &of_file));
            of_file = more.map(|(name, _)| name.clone()).collect();
        }
        names.extend(of_file);
    }
    names
}

fn collect_types(tokens: TokenStream, definitions: &mut Vec<(String, Vec<TokenTree>)>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            collect_types(group.stream(), definitions);
        }
        if let (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1))
            && (keyword == "struct" || keyword == "type")
        {
            // A structure ends at its fields or at `;`, a type at `;`.
            let end = |token: &TokenTree| match token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => keyword == "struct" && group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            let length = tokens[at + 2..].iter().position(end).map_or(tokens.len(), |length| at + 3 + length);
            definitions.push((name.to_string(), tokens[at + 2..length.min(tokens.len())].to_vec()));
        }
    }
}

/// Whether a type's tokens contain `fn(`, `dyn`, or one of the types.
fn holds_function(tokens: &[TokenTree], types: &BTreeSet<String>) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Group(group) => holds_function(&group.stream().into_iter().collect::<Vec<_>>(), types),
        TokenTree::Ident(ident) => ident == "fn" || ident == "dyn" || types.contains(&ident.to_string()),
        _ => false,
    })
}

fn mentions(tokens: &[TokenTree], names: &[&str]) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Group(group) => mentions(&group.stream().into_iter().collect::<Vec<_>>(), names),
        TokenTree::Ident(ident) => names.iter().any(|name| ident == name),
        _ => false,
    })
}

/// The search in one file.
struct Scan<'a> {
    module: String,
    functions: &'a BTreeSet<String>,
    found: &'a mut Found,
}

impl Scan<'_> {
    /// Scans tokens. `definition` is the name of the exported macro that they define.
    fn tokens(&mut self, tokens: TokenStream, definition: Option<&str>) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let ident = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
            _ => None,
        };
        let punct = |at: usize, character: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == character);
        for at in 0..tokens.len() {
            if let TokenTree::Group(group) = &tokens[at] {
                // The body of `macro_rules! name { … }`.
                let named =
                    at >= 3 && ident(at - 3).is_some_and(|word| word == "macro_rules") && punct(at - 2, '!');
                let name = if named { ident(at - 1) } else { None };
                let called = at >= 2 && punct(at - 1, '!');
                match ident(at.wrapping_sub(2)).filter(|_| called).as_deref() {
                    Some("patchable") => self.patchables(group.stream()),
                    Some("static_call") => self.patches(group.stream()),
                    _ => {}
                }
                self.tokens(group.stream(), name.as_deref().or(definition));
            }
            match ident(at).as_deref() {
                Some("static") => {
                    let name_at =
                        if ident(at + 1).is_some_and(|word| word == "mut") { at + 2 } else { at + 1 };
                    let Some(name) = ident(name_at).filter(|_| punct(name_at + 1, ':')) else { continue };
                    let length = (name_at + 2..tokens.len()).find(|end| punct(*end, '=') || punct(*end, ';'));
                    self.check_static(
                        &name,
                        &tokens[name_at + 2..length.unwrap_or(tokens.len())],
                        &tokens[..at],
                        definition,
                    );
                }
                Some("fn") if is_no_mangle(&tokens[..at]) => {
                    let Some(name) = ident(at + 1) else { continue };
                    if definition.is_some() {
                        self.found.hooks.insert((self.module.clone(), name));
                    } else {
                        self.found.symbols.insert(name, self.module.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn check_static(
        &mut self,
        name: &str,
        kind: &[TokenTree],
        before: &[TokenTree],
        definition: Option<&str>,
    ) {
        let is_handler_table = mentions(kind, &[HANDLER_SLOT.0]) && top(&self.module) == HANDLER_SLOT.1;
        if mentions(kind, &["Hook", "ChangeableHook"]) || is_handler_table {
            self.found.hooks.insert((self.module.clone(), name.to_owned()));
        } else if !holds_function(kind, self.functions) || attributes_of(before).contains(HOST_ONLY) {
        } else if mentions(kind, &SETTABLE) {
            self.found
                .hidden
                .push(format!("{}: the static {name} is a hook: make it a sync::Hook", self.module));
        } else if let Some(definition) = definition.filter(|_| attributes_of(before).contains("link_section"))
        {
            self.found.hooks.insert((self.module.clone(), definition.to_owned()));
        }
    }

    /// The functions in the arguments of `patchable!`.
    fn patchables(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for pair in tokens.windows(2) {
            if let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair
                && keyword == "fn"
            {
                self.found.hooks.insert((self.module.clone(), name.to_string()));
            }
        }
    }

    /// The functions that a row of `static_call!` replaces: `path::name(…) … => …;`.
    fn patches(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_end = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
        for row in tokens.split(is_end) {
            let path = row.iter().take_while(|token| !matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis));
            let path: Vec<_> = path.collect();
            if path.iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == "fn")) {
                continue;
            }
            if let Some(TokenTree::Ident(name)) = path.last() {
                self.found.patches.entry(name.to_string()).or_default().insert(self.module.clone());
            }
        }
    }
}

/// The text of the attributes directly before an item, whose other words may precede its keyword.
/// The condition of statics that the kernel does not have, as a token stream is written.
const HOST_ONLY: &str = "not (target_os = \"none\")";

fn attributes_of(before: &[TokenTree]) -> String {
    let mut text = String::new();
    for token in before.iter().rev() {
        match token {
            TokenTree::Punct(punct) if [';', '}'].contains(&punct.as_char()) => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            token => text.push_str(&token.to_string()),
        }
    }
    text
}

fn is_no_mangle(before: &[TokenTree]) -> bool {
    attributes_of(before).contains("no_mangle")
}
