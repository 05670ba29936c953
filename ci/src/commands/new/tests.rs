//! Tests of `new`, without a build: they read the files, and ask cargo what it makes of them.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::base::Workspace;

const URL: &str = "https://example.org/octopod";

/// A kernel on octopod in a git repository.
fn on_git(folder: PathBuf, url: &str) -> NewArgs {
    NewArgs { folder, template: Template::Kernel, path: None, git: Some(url.to_owned()), registry: None }
}

fn read(folder: &Path, path: &str) -> String {
    fs::read_to_string(folder.join(path)).unwrap()
}

const WORKFLOW: &str = ".github/workflows/test.yml";

#[test]
fn a_project_has_no_placeholder_left_and_replaces_nothing() {
    for template in [Template::Kernel, Template::Allocator] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("my-kernel");
        let args = NewArgs { template, ..on_git(folder.clone(), URL) };
        let made = args.write().unwrap();
        assert_eq!((made.files, made.placement), (template.files().len(), Placement::Alone));
        for (path, _) in template.files() {
            let text = read(&folder, path);
            assert!(!text.contains("{{"), "{path}: {text}");
            assert!(!text.contains("docs.rs") && !text.contains("crates.io"), "{path}: {text}");
        }
        let manifest: toml::Table = read(&folder, "Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-kernel"));
        assert_eq!(manifest["dependencies"]["octopod"]["git"].as_str(), Some(URL));
        let again = args.write().unwrap_err().to_string();
        assert!(again.contains("my-kernel exists already"), "{again}");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let linked = on_git(link, URL).write().unwrap_err().to_string();
        assert!(linked.contains("link exists already"), "{linked}");
    }
}

#[test]
fn the_files_are_short() {
    for template in [Template::Kernel, Template::Allocator] {
        let lines = |wanted: &str| {
            template.files().iter().find(|(path, _)| *path == wanted).unwrap().1.lines().count()
        };
        assert!(lines("src/main.rs") <= 30, "{template:?}");
    }
}

#[test]
fn a_workflow_uses_the_action_and_neither_it_nor_the_readme_has_a_path_of_a_machine() {
    let parent = tempfile::tempdir().unwrap();
    let checkout = Workspace::find().unwrap().root;
    let written = |name: &str, source: NewArgs| {
        let folder = parent.path().join(name);
        NewArgs { folder: folder.clone(), ..source }.write().unwrap();
        let text = read(&folder, WORKFLOW);
        assert!(text.lines().count() <= 15, "{text}");
        for path in [WORKFLOW, "README.md"] {
            let text = read(&folder, path);
            assert!(!text.contains(checkout.to_str().unwrap()), "{path}: {text}");
        }
        text
    };
    let git = |url: &str| on_git(PathBuf::new(), url);
    for (number, url) in
        ["https://github.com/someone/octopod", "https://github.com/someone/octopod.git"].iter().enumerate()
    {
        let text = written(&format!("a{number}"), git(url));
        let action = "      - uses: someone/octopod@main\n";
        let twice = format!("{action}{action}        with:\n          command: test\n");
        assert!(text.ends_with(&twice), "{text}");
    }
    // Another host's repository is no action by itself; a checkout of it is.
    let elsewhere = written("b", git("https://example.org/a: b/octopod"));
    let clone = "      - run: \"git clone --depth 1 'https://example.org/a: b/octopod' octopod\"\n      - uses: ./octopod\n";
    assert!(elsewhere.contains(clone), "{elsewhere}");
    let by_path = written("c", NewArgs { path: Some(checkout.clone()), git: None, ..git("") });
    assert!(
        read(&parent.path().join("c"), "README.md")
            .contains("--path DIR/ci    # DIR: the path of octopod in")
    );
    assert!(by_path.contains("git URL") && by_path.contains("path of a checkout in the job"), "{by_path}");
    let registry = written("d", NewArgs { registry: Some("mine".to_owned()), git: None, ..git("") });
    let steps = "cargo install --locked --registry mine octopod-ci\"\n      - run: octopod run\n      - run: cargo test\n";
    assert!(registry.ends_with(steps), "{registry}");
    assert!(read(&parent.path().join("d"), "Cargo.toml").contains("registry = \"mine\" }"));
}

#[test]
fn the_next_lines_can_be_typed_and_install_the_launcher_where_it_is_missing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("my folder/hello");
    let text = |source: NewArgs, has_launcher| {
        let _ = fs::remove_dir_all(&folder);
        NewArgs { folder: folder.clone(), ..source }.write().unwrap().text(has_launcher)
    };
    let shown = folder.display();
    let next = format!("7 files in {shown}; next: cd '{shown}' && cargo run");
    assert_eq!(text(on_git(PathBuf::new(), URL), true), next);
    let checkout = Workspace::find().unwrap().root;
    let missing = "`cargo run` starts `octopod`, which is not in PATH; before it: cargo install --locked";
    let path = checkout.join("ci");
    for (source, install) in [
        (on_git(PathBuf::new(), URL), format!("--git {URL} octopod-ci")),
        (
            NewArgs { path: Some(checkout), git: None, ..on_git(PathBuf::new(), "") },
            format!("--path {}", shlex::try_quote(path.to_str().unwrap()).unwrap()),
        ),
    ] {
        assert_eq!(text(source, false), format!("{next}\n{missing} {install}"));
    }
}

#[test]
fn a_folder_without_a_name_and_a_source_without_octopod_are_refused_with_the_reason() {
    for folder in ["", ".", "..", "a/..", "/"] {
        let error = on_git(folder.into(), URL).write().unwrap_err().to_string();
        assert!(error.contains("is no folder that can be made: give the name"), "{folder}: {error}");
    }
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("hello");
    let checkout = Workspace::find().unwrap().root;
    let (none, broken) = (parent.path().join("none"), parent.path().join("broken"));
    manifest(&none, "[workspace]\n");
    manifest(&broken, "[package\n");
    for (path, reason) in [
        (checkout.join("ci"), "the package there is octopod-ci; give the folder of octopod's checkout"),
        (checkout.join("docs"), "no Cargo.toml is there"),
        (none, "no package is there"),
        (broken, "Cargo.toml: TOML parse error"),
    ] {
        let args = NewArgs { path: Some(path), git: None, ..on_git(folder.clone(), "") };
        let error = args.write().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.verdict().status(), 2);
    }
    let error = on_git(folder.clone(), " ").write().unwrap_err().to_string();
    assert!(error.contains("--git needs the address"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn crates_io_is_no_source() {
    let parent = tempfile::tempdir().unwrap();
    for registry in ["crates-io", "", "a b"] {
        let folder = parent.path().join("x");
        let args = NewArgs { git: None, registry: Some(registry.to_owned()), ..on_git(folder.clone(), "") };
        let error = args.write().unwrap_err();
        assert_eq!((error.verdict().status(), folder.exists()), (2, false), "{error}");
    }
    // Neither does cargo-generate have a default.
    for (_, folder) in FOLDERS {
        let placeholders: toml::Table =
            read(&template_folder(folder), "cargo-generate.toml").parse().unwrap();
        for (name, placeholder) in placeholders["placeholders"].as_table().unwrap() {
            assert!(placeholder.get("default").is_none() && placeholder.get("regex").is_some(), "{name}");
        }
    }
}

/// The templates, each with its folder.
const FOLDERS: [(Template, &str); 2] = [(Template::Kernel, "kernel"), (Template::Allocator, "allocator")];

/// The folder of a template in the checkout.
fn template_folder(name: &str) -> PathBuf {
    Workspace::find().unwrap().root.join("ci/templates").join(name)
}

/// The files below a folder, by their paths from it.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(path.strip_prefix(folder).unwrap().to_owned())),
            }
        }
    }
    files
}

/// As cargo-generate expands it: `{{ NAME }}` by the value of NAME, which has to be declared.
fn expanded(text: &str, values: &[(&str, &str)]) -> String {
    let mut parts = text.split("{{");
    let mut result = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap();
        let value = values.iter().find(|(known, _)| *known == name.trim());
        result += value.unwrap_or_else(|| panic!("the template declares no {name}")).1;
        result += rest;
    }
    result
}

#[test]
fn cargo_generate_makes_the_same_projects() {
    let parent = tempfile::tempdir().unwrap();
    let source = Source::of(None, Some(URL), None).unwrap();
    let values = [
        ("octopod", &source.dependency),
        ("install", &source.install),
        ("launcher", &source.step),
        ("tests", &source.tests),
    ];
    for (template, name) in FOLDERS {
        let folder = template_folder(name);
        let declared: toml::Table = read(&folder, "cargo-generate.toml").parse().unwrap();
        let declared: BTreeSet<_> = declared["placeholders"].as_table().unwrap().keys().collect();
        assert_eq!(
            declared,
            values.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>().iter().collect()
        );
        let mut values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        values.push(("project-name", name));
        let made = parent.path().join(name);
        NewArgs { template, ..on_git(made.clone(), URL) }.write().unwrap();
        let mut left = files_below(&made);
        for path in files_below(&folder) {
            // Its own file, which is in no project.
            if path == Path::new("cargo-generate.toml") {
                continue;
            }
            let text = path.to_str().unwrap();
            let path = text.strip_suffix(".liquid").unwrap_or(text);
            assert_eq!(expanded(&read(&folder, text), &values), read(&made, path), "{name}: {path}");
            left.remove(Path::new(path));
        }
        assert!(left.is_empty(), "{name} lacks {left:?}");
    }
}

#[test]
fn the_templates_share_what_is_the_same_in_every_project() {
    let [kernel, allocator] = FOLDERS.map(|(_, name)| template_folder(name));
    let own = ["Cargo.toml.liquid", "README.md.liquid", "src/main.rs.liquid"].map(PathBuf::from);
    for path in files_below(&kernel).into_iter().filter(|path| !own.contains(path)) {
        let text = |folder: &Path| read(folder, path.to_str().unwrap());
        assert_eq!(text(&kernel), text(&allocator), "{}", path.display());
    }
}

/// Writes a manifest.
fn manifest(folder: &Path, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("Cargo.toml"), text).unwrap();
}

/// Cargo's description of the project, which it must take.
fn metadata(folder: &Path) -> serde_json::Value {
    let mut command = crate::base::cargo::command();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(folder);
    crate::base::cargo::forget_outer_cargo(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_project_in_a_checkout_is_a_workspace_of_its_own() {
    let parent = tempfile::tempdir().unwrap();
    let parent = fs::canonicalize(parent.path()).unwrap();
    let checkout = Workspace::find().unwrap().root;
    // The manifests of the checkout, and sources without content.
    for member in ["", "ap_trampoline", "ci", "macros", "unpacker"] {
        let text = read(&checkout, &Path::new(member).join("Cargo.toml").display().to_string());
        manifest(&parent.join(member), &text);
        let paths = text.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
        for path in paths.chain(["src/lib.rs"]) {
            let file = parent.join(member).join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }
    let folder = parent.join("hello");
    let placement = on_git(folder.clone(), URL).write().unwrap().placement;
    assert_eq!(placement, Placement::Apart { above: parent.clone() });
    let note = placement.note().unwrap();
    assert!(note.contains(parent.to_str().unwrap()) && note.contains("[workspace]"), "{note}");
    assert_eq!(metadata(&folder)["workspace_root"].as_str(), folder.to_str());
}

#[test]
fn a_workspace_of_the_users_that_names_the_project_keeps_it() {
    let parent = tempfile::tempdir().unwrap();
    let parent = fs::canonicalize(parent.path()).unwrap();
    let placed = |workspace: &str| {
        manifest(&parent, workspace);
        let folder = parent.join("kernels/one");
        let _ = fs::remove_dir_all(&folder);
        let placement = on_git(folder.clone(), URL).write().unwrap().placement;
        let root = metadata(&folder)["workspace_root"].as_str().unwrap().to_owned();
        (placement, root == parent.to_str().unwrap())
    };
    let member = Placement::Member { workspace: parent.join("Cargo.toml") };
    assert_eq!(placed("[workspace]\nresolver = \"3\"\nmembers = [\"kernels/*\"]\n"), (member, true));
    assert_eq!(placed("[workspace]\nresolver = \"3\"\nexclude = [\"kernels\"]\n"), (Placement::Alone, false));
    let apart = Placement::Apart { above: parent.clone() };
    assert_eq!(placed("[workspace]\nresolver = \"3\"\n"), (apart, false));
    // A package that is no workspace does not claim it.
    let package = "[package]\nname = \"other\"\n[lib]\npath = \"other.rs\"\n";
    fs::write(parent.join("other.rs"), "").unwrap();
    assert_eq!(placed(package), (Placement::Alone, false));
}

#[test]
fn names_that_cargo_refuses_are_refused() {
    // Cargo itself, which warns of the last ones only.
    let parent = tempfile::tempdir().unwrap();
    let taken_by_cargo = |name: &str| {
        let mut command = crate::base::cargo::command();
        command.args(["new", "--quiet", "--vcs", "none", "--", name]).current_dir(parent.path());
        crate::base::cargo::forget_outer_cargo(&mut command);
        command.output().unwrap().status.success()
    };
    let refused = [
        "",
        "1a",
        "a b",
        "a.b",
        "\u{fc}",
        "_a",
        "test",
        "octopod",
        "deps",
        "build",
        "examples",
        "incremental",
        "fn",
        "crate",
        "Self",
        "async",
        "gen",
        "union",
        "static",
        "yield",
        "abstract",
        "core",
        "std",
        "proc-macro",
    ];
    let more_than_cargo: BTreeSet<_> =
        refused.into_iter().filter(|name| name::check(name).is_err() && taken_by_cargo(name)).collect();
    let less_than_cargo: Vec<_> =
        refused.into_iter().filter(|name| name::check(name).is_ok() && !taken_by_cargo(name)).collect();
    assert!(less_than_cargo.is_empty(), "{less_than_cargo:?}");
    assert_eq!(more_than_cargo, ["_a", "core", "octopod", "proc-macro", "std", "\u{fc}"].into());
    for name in ["a-1_b", "hello", "deps2"] {
        assert!(name::check(name).is_ok() && taken_by_cargo(name), "{name}");
    }
    let error = name::check("deps").unwrap_err();
    assert_eq!(error.verdict().status(), 2);
}
