//! The public interface of the kernel's crate is `docs/api.txt`: a change of the one without the other fails here.
//!
//! The list is read from the documentation that rustdoc writes for the kernel's target: what is not documented, or hidden, is no
//! interface. `OCTOPOD_BLESS=1 cargo test -p octopod-ci --test suite api::` rewrites the file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use octopod_ci::base::{Silent, Workspace};
use octopod_ci::setup;

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
    assert!(listed.len() > 200, "rustdoc has changed its pages: {} items", listed.len());

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

/// Each public item, and each method of one.
fn list(folder: &Path) -> BTreeSet<String> {
    let all = fs::read_to_string(folder.join("all.html")).unwrap();
    let mut items = BTreeSet::new();
    for (heading, kind) in KINDS {
        let Some((_, section)) = all.split_once(&format!("<h3 id=\"{heading}\">")) else { continue };
        let (section, _) = section.split_once("</ul>").unwrap();
        for link in section.split("<a href=\"").skip(1) {
            let (page, rest) = link.split_once("\">").unwrap();
            let (name, _) = rest.split_once("</a>").unwrap();
            items.insert(format!("{kind} {name}"));
            if matches!(kind, "struct" | "enum" | "trait") {
                let page = fs::read_to_string(folder.join(page)).unwrap();
                let own = members(&page);
                items.extend(own.into_iter().map(|(kind, member)| format!("{kind} {name}::{member}")));
            }
        }
    }
    items
}

/// The methods, variants, fields and associated items that a page describes, not those of other crates' traits.
fn members(page: &str) -> BTreeSet<(&'static str, String)> {
    // Blanket and trait implementations follow their heading.
    let end = [
        "id=\"trait-implementations\"",
        "id=\"synthetic-implementations\"",
        "id=\"blanket-implementations\"",
    ]
    .iter()
    .filter_map(|heading| page.find(heading))
    .min()
    .unwrap_or(page.len());
    let kinds = [
        ("method.", "fn"),
        ("tymethod.", "fn"),
        ("variant.", "variant"),
        ("structfield.", "field"),
        ("associatedconstant.", "const"),
        ("associatedtype.", "type"),
    ];
    let ids = page[..end].split("id=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id);
    ids.filter_map(|id| {
        let (prefix, kind) = kinds.iter().find(|(prefix, _)| id.starts_with(prefix))?;
        let member = &id[prefix.len()..];
        // A field of a variant has an identifier of several parts; a number marks an implementation for another crate's type.
        (!member.contains(['.', '-'])).then(|| (*kind, member.to_owned()))
    })
    .collect()
}
