//! Kernels in `examples/`. Each file there is one; no other file lists them.
//!
//! They cannot be examples of the package for cargo, which would build them for the host with everything else. For each there
//! is a package in the target folder, generated from the manifest of the checkout: the same dependencies in the same versions,
//! the same edition, profiles and lints. The kernel's linker script comes with the crate.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::base::files::output;
use crate::base::{Error, Workspace};

/// The folder of the examples, from the checkout's root.
pub(crate) const FOLDER: &str = "examples";

/// Parts of the checkout's manifest with dependencies that the kernel's target has.
const KERNEL_ONLY: &str = "cfg(target_os = \"none\")";

/// The source of an example: `examples/NAME.rs`, or `examples/NAME/main.rs`.
///
/// # Errors
/// There is none; the others are named.
pub(crate) fn source(root: &Path, name: &str) -> Result<PathBuf, Error> {
    let folder = root.join(FOLDER);
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("main.rs")];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let known = match &*names(&folder) {
            [] => "there is none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Error::Usage(format!("there is no example `{name}` in {}; {known}", folder.display()))
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let is_example = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file()
    };
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = entries.filter(is_example).filter_map(name).collect();
    names.sort();
    names
}

/// Makes the package of an example, whose kernel has these features; returns its manifest.
///
/// # Errors
/// There is no such example, or a file cannot be read or written.
pub(crate) fn package(workspace: &Workspace, name: &str, features: &[&str]) -> Result<PathBuf, Error> {
    let source = source(&workspace.root, name)?;
    let read = |name: &str| {
        let path = workspace.root.join(name);
        fs::read_to_string(&path).map_err(Error::file("read", path))
    };
    let path = workspace.root.join("Cargo.toml");
    let manifest: Table = read("Cargo.toml")?.parse().map_err(Error::format(&path))?;
    let folder = workspace.own().join(FOLDER).join(name);
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let own = folder.join("Cargo.toml");
    write_if_new(&own, &manifest_of(&manifest, &workspace.root, &source, name, features).to_string())?;
    // Cargo adds the package itself to its copy, so that the copy is made once for each state of the checkout's.
    let (lock, seen) = (read("Cargo.lock")?, folder.join("Cargo.lock.seen"));
    if fs::read_to_string(&seen).ok().as_ref() != Some(&lock) {
        write_if_new(&folder.join("Cargo.lock"), &lock)?;
        write_if_new(&seen, &lock)?;
    }
    Ok(own)
}

/// The package's manifest, made from the checkout's.
fn manifest_of(checkout: &Table, root: &Path, source: &Path, name: &str, features: &[&str]) -> Table {
    let value = |path: &Path| Value::String(path.to_string_lossy().into_owned());
    let at = |path: &[&str]| {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(checkout.get(*first)?, |table, key| table.get(key))
    };
    let mut package = Table::new();
    package.insert("name".to_owned(), format!("octopod-example-{name}").into());
    package.insert("version".to_owned(), "0.0.0".into());
    package.insert("publish".to_owned(), false.into());
    // An older launcher has written a build script.
    package.insert("build".to_owned(), false.into());
    for key in ["edition", "rust-version"] {
        let inherited = at(&["workspace", "package", key]).cloned();
        package.extend(inherited.map(|value| (key.to_owned(), value)));
    }
    let mut program = Table::new();
    program.insert("name".to_owned(), name.into());
    program.insert("path".to_owned(), value(source));
    for key in ["test", "bench", "doc"] {
        program.insert(key.to_owned(), false.into());
    }
    let mut dependencies = Table::new();
    for table in [at(&["dependencies"]), at(&["target", KERNEL_ONLY, "dependencies"])].into_iter().flatten() {
        let needed = table
            .as_table()
            .into_iter()
            .flatten()
            .filter(|(_, dependency)| dependency.get("optional").and_then(Value::as_bool) != Some(true));
        for (name, dependency) in needed {
            let mut dependency = dependency.clone();
            if let Some(path) = dependency.get_mut("path") {
                *path = value(&root.join(path.as_str().unwrap_or_default()));
            }
            dependencies.insert(name.clone(), dependency);
        }
    }
    let mut octopod = Table::new();
    octopod.insert("path".to_owned(), value(root));
    let features = features.iter().map(|feature| Value::from(*feature)).collect::<Vec<_>>();
    octopod.insert("features".to_owned(), features.into());
    dependencies.insert("octopod".to_owned(), octopod.into());

    let mut workspace = Table::new();
    workspace
        .extend(at(&["workspace", "resolver"]).map(|resolver| ("resolver".to_owned(), resolver.clone())));
    let mut manifest = Table::new();
    manifest.insert("package".to_owned(), package.into());
    manifest.insert("bin".to_owned(), vec![Value::from(program)].into());
    manifest.insert("dependencies".to_owned(), dependencies.into());
    manifest.insert("workspace".to_owned(), workspace.into());
    manifest.extend(at(&["workspace", "lints"]).map(|lints| ("lints".to_owned(), lints.clone())));
    manifest.extend(at(&["profile"]).map(|profile| ("profile".to_owned(), profile.clone())));
    manifest
}

/// A file that has not changed keeps its time, so that cargo builds nothing again.
fn write_if_new(path: &Path, text: &str) -> Result<(), Error> {
    match fs::read_to_string(path) {
        Ok(present) if present == text => Ok(()),
        _ => output::write(path, text.as_bytes()).map_err(Error::file("write", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_a_file_that_is_named_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("examples/b")).unwrap();
        for name in ["examples/a.rs", "examples/b/main.rs", "examples/notes.txt"] {
            fs::write(root.join(name), "").unwrap();
        }
        assert_eq!(source(root, "a").unwrap(), root.join("examples/a.rs"));
        assert_eq!(source(root, "b").unwrap(), root.join("examples/b/main.rs"));
        let error = source(root, "c").unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().ends_with("there are a, b"), "{error}");
        let error = source(&root.join("examples"), "c").unwrap_err();
        assert!(error.to_string().ends_with("examples; there is none"), "{error}");
    }

    #[test]
    fn its_package_has_what_the_kernels_has() {
        let checkout = r#"
            [workspace]
            resolver = "3"
            [workspace.package]
            edition = "2024"
            [workspace.lints.rust]
            missing_docs = "warn"
            [dependencies]
            log = "0.4"
            own = { path = "own" }
            nb = { version = "1", optional = true }
            [target.'cfg(target_os = "none")'.dependencies]
            x86_64 = "0.15"
            [target.'cfg(not(target_os = "none"))'.dev-dependencies]
            toml = "0.9"
            [profile.kernel]
            inherits = "release"
        "#;
        let (root, source) = (Path::new("/a b"), Path::new("/a b/examples/mine.rs"));
        let manifest = manifest_of(&checkout.parse().unwrap(), root, source, "mine", &["faults"]);
        // As cargo reads it.
        let manifest: Table = manifest.to_string().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        assert_eq!(dependencies.keys().collect::<Vec<_>>(), ["log", "octopod", "own", "x86_64"]);
        assert_eq!(dependencies["own"]["path"].as_str(), Some("/a b/own"));
        assert_eq!(dependencies["octopod"]["features"][0].as_str(), Some("faults"));
        assert_eq!(manifest["bin"][0]["path"].as_str(), source.to_str());
        assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
        assert_eq!(manifest["profile"]["kernel"]["inherits"].as_str(), Some("release"));
        assert_eq!(manifest["lints"]["rust"]["missing_docs"].as_str(), Some("warn"));
    }
}
