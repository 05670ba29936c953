//! The public interface of the kernel's crate is `docs/api.txt`: a change of the one without the other fails here.
//!
//! The list is read from the documentation that rustdoc writes for the kernel's target: what is not documented, or hidden, is no
//! interface. It has the declaration of each item, so a change of a parameter, a bound or an implemented trait is seen as well. `OCTOPOD_BLESS=1 cargo test -p octopod-ci --test suite api::` rewrites the file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use octopod_ci::base::{Silent, Workspace};
use octopod_ci::setup;
use scraper::{ElementRef, Html, Selector};

const FILE: &str = "docs/api.txt";

/// The headings of rustdoc's list of all items.
const KINDS: [(&str, &str); 9] = [
    ("structs", "struct"),
    ("enums", "enum"),
    ("traits", "trait"),
    ("types", "type"),
    ("functions", "fn"),
    ("macros", "macro"),
    ("attributes", "attribute"),
    ("constants", "const"),
    ("statics", "static"),
];

#[test]
fn the_public_interface_is_as_listed() {
    let workspace = Workspace::find().unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let target = workspace.own().join("tests/api");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "doc",
            "--quiet",
            "--locked",
            "--package",
            "octopod",
            "--no-deps",
            "--target",
            "x86_64-unknown-none",
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&workspace.root)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let listed = list(&target.join("x86_64-unknown-none/doc/octopod"));
    assert!(listed.len() > 1000, "rustdoc has changed its pages: {} items", listed.len());

    let path = workspace.root.join(FILE);
    if std::env::var_os("OCTOPOD_BLESS").is_some() {
        fs::write(&path, listed.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        return;
    }
    let text = fs::read_to_string(&path).unwrap();
    let committed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let added: Vec<_> = listed.difference(&committed).collect();
    let removed: Vec<_> = committed.difference(&listed).collect();
    assert!(
        added.is_empty() && removed.is_empty(),
        "the public interface has {added:#?} and no longer {removed:#?};\nOCTOPOD_BLESS=1 cargo test -p octopod-ci \
         --test suite api:: rewrites {FILE}, and CHANGELOG.md says what has changed"
    );
}

/// Each public item and what belongs to it, by its declaration: `MODULE or TYPE: DECLARATION`. Values of constants are left out.
fn list(folder: &Path) -> BTreeSet<String> {
    let read = |page: &str| Html::parse_document(&fs::read_to_string(folder.join(page)).unwrap());
    let all = read("all.html");
    let mut items = BTreeSet::new();
    for (heading, kind) in KINDS {
        for link in all.select(&selector(&format!("h3#{heading} + ul a"))) {
            let (page, path) = (read(link.attr("href").unwrap()), text(link));
            let (module, name) = path.rsplit_once("::").unwrap_or(("octopod", &path));
            let declaration = match kind {
                "attribute" => format!("#[{name}]"),
                _ => declaration(kind, &page).unwrap_or_else(|| panic!("{path} has no declaration")),
            };
            items.insert(format!("{module}: {declaration}"));
            if matches!(kind, "struct" | "enum" | "trait") {
                items.extend(members(&page).into_iter().map(|member| format!("{path}: {member}")));
            }
        }
    }
    items
}

/// The declaration of the item that a page describes: of a type without its body.
fn declaration(kind: &str, page: &Html) -> Option<String> {
    let text = text(page.select(&selector("pre.item-decl")).next()?);
    let end = match kind {
        "struct" | "enum" | "trait" => " {",
        "const" | "static" => " =",
        _ => return Some(text),
    };
    Some(text.split_once(end).map_or(text.as_str(), |(head, _)| head).to_owned())
}

/// The declarations of the methods, variants, fields and associated items that a page describes, and the traits that are implemented.
/// Items of other crates' traits are left out, and automatic traits unless they are conditional or missing.
fn members(page: &Html) -> BTreeSet<String> {
    const OWN: [(&str, &str); 6] = [
        ("method.", ""),
        ("tymethod.", ""),
        ("variant.", "variant "),
        ("structfield.", "field "),
        ("associatedconstant.", ""),
        ("associatedtype.", ""),
    ];
    let (codes, with_id) = (selector(".code-header, code"), selector("main section[id], main span[id]"));
    let member = |element: ElementRef<'_>| {
        let id = element.value().id()?;
        let code = || Some(text(element.select(&codes).next()?));
        let ids = element.ancestors().filter_map(ElementRef::wrap).filter_map(|parent| parent.value().id());
        match ids.into_iter().find(|id| id.ends_with("-list")) {
            Some("trait-implementations-list") => {
                let is_trait = id.starts_with("impl-") && !id.starts_with("impl-StructuralPartialEq");
                is_trait.then(code)?
            }
            Some("synthetic-implementations-list") => {
                let is_wanted = id.starts_with("impl-Send-") || id.starts_with("impl-Sync-");
                is_wanted.then(code)?.filter(|code| code.contains('!') || code.contains(" where "))
            }
            None | Some("implementations-list") => {
                // A number marks an implementation for another crate's type.
                let (prefix, kind) = OWN.iter().find(|(prefix, _)| id.starts_with(prefix))?;
                match id[prefix.len()..].split_once(".field.") {
                    Some((variant, _)) => Some(format!("variant {variant}, field {}", code()?)),
                    None if id[prefix.len()..].contains(['.', '-']) => None,
                    None => Some(format!("{kind}{}", code()?)),
                }
            }
            Some(_) => None,
        }
    };
    page.select(&with_id).filter_map(member).collect()
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

/// The text of an element, on one line.
fn text(element: ElementRef<'_>) -> String {
    let text: String = element.text().collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("( ", "(").replace(", )", ")")
}

#[test]
fn declarations_are_read_from_pages() {
    let page = Html::parse_document(
        "<main><pre class=\"rust item-decl\"><code>pub struct <a href=\"x\">Set</a>&lt;&#39;a&gt; { <span>/* fields */</span> }</code></pre>\
        <section id=\"method.of\" class=\"method\"><h4 class=\"code-header\">pub fn <a>of</a>(\n    cpu: <a>Id</a>,\n) -&gt; Set</h4></section>\
        <span id=\"structfield.rng\"><code>rng: Rng</code></span>\
        <section id=\"variant.Slow\"><h3 class=\"code-header\">Slow</h3></section>\
        <span id=\"variant.Slow.field.ns\"><code>ns: u64</code></span>\
        <div id=\"trait-implementations-list\">\
        <section id=\"impl-Clone-for-Set\"><h3 class=\"code-header\">impl Clone for Set</h3></section>\
        <section id=\"method.clone\"><h4 class=\"code-header\">fn clone(&amp;self) -&gt; Self</h4></section>\
        </div><div id=\"synthetic-implementations-list\">\
        <section id=\"impl-Send-for-Set\"><h3 class=\"code-header\">impl !Send for Set</h3></section>\
        <section id=\"impl-Sync-for-Set\"><h3 class=\"code-header\">impl Sync for Set</h3></section>\
        </div></main>",
    );
    assert_eq!(declaration("struct", &page).as_deref(), Some("pub struct Set<'a>"));
    let found: Vec<_> = members(&page).into_iter().collect();
    let expected = [
        "field rng: Rng",
        "impl !Send for Set",
        "impl Clone for Set",
        "pub fn of(cpu: Id) -> Set",
        "variant Slow",
        "variant Slow, field ns: u64",
    ];
    assert_eq!(found, expected);
}
