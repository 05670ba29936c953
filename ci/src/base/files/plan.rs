//! The files that a command reads and writes by name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::base::files::{FileId, output};

/// Files of a checkout that its builds read. A run that wrote over one would change what it builds.
const SOURCES: [&str; 7] = ["rs", "toml", "lock", "ld", "S", "py", "css"];

/// A path, and what names it: an option, or a file of a folder that an option names.
#[derive(Clone, Debug)]
struct Named {
    what: String,
    path: PathBuf,
    /// Of an output, what is written; two outputs of the same may be one file.
    content: String,
}

/// The inputs and outputs of a command, to be checked before it starts.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    inputs: Vec<Named>,
    files: Vec<Named>,
    folders: Vec<Named>,
    within: Vec<Named>,
}

impl Plan {
    /// The command reads this file, if there is one.
    pub fn reads(&mut self, what: impl Into<String>, path: &Path) {
        self.inputs.push(Named { what: what.into(), path: path.to_owned(), content: String::new() });
    }

    /// The command writes `content` to this file, in a folder that exists. `-` is the standard output.
    pub fn writes(&mut self, what: &str, path: &Path, content: &str) {
        if path.as_os_str() != "-" {
            let (what, content) = (what.to_owned(), content.to_owned());
            self.files.push(Named { what, path: path.to_owned(), content });
        }
    }

    /// The command writes files of these names into this folder, which it makes if it is missing.
    pub fn writes_into<'a>(&mut self, what: &str, folder: &Path, names: impl IntoIterator<Item = &'a str>) {
        let named = |path: &Path, name: &str| {
            let what = if name.is_empty() { what.to_owned() } else { format!("{what} DIR, its {name}") };
            Named { what, path: path.to_owned(), content: name.to_owned() }
        };
        self.folders.push(named(folder, ""));
        let within = |name: &str| named(&folder.join(name), name);
        self.within.extend(names.into_iter().map(within));
    }

    /// The files that the command reads.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.inputs.iter().map(|input| input.path.as_path())
    }

    /// Refuses an output that is an input or another output, whatever its name, that is a source file of `checkout`, or
    /// that cannot be written.
    ///
    /// # Errors
    /// The first of these.
    pub fn check(&self, checkout: Option<&Path>) -> Result<(), Error> {
        let inputs: HashMap<FileId, &Named> =
            self.inputs.iter().filter_map(|input| Some((FileId::of(&input.path).ok()?, input))).collect();
        let mut outputs: HashMap<PathBuf, &Named> = HashMap::new();
        for output in self.files.iter().chain(&self.within) {
            if let Some(input) = FileId::of(&output.path).ok().and_then(|id| inputs.get(&id)) {
                return Err(Error::OutputIsInput {
                    output: output.what.clone(),
                    path: output.path.clone(),
                    input: input.what.clone(),
                });
            }
            if checkout.is_some_and(|root| is_source(&output.path, root)) {
                let path = output.path.display();
                return Err(Error::Usage(format!(
                    "{} would replace {path}, a source file of this checkout; nothing was started",
                    output.what
                )));
            }
            let Some(place) = place_of(&output.path) else { continue };
            let other = outputs.insert(place, output);
            if let Some(other) = other.filter(|other| other.content != output.content) {
                return Err(Error::OutputTwice {
                    first: other.what.clone(),
                    second: output.what.clone(),
                    path: output.path.clone(),
                });
            }
        }
        let unwritable = |output: &Named| Error::unwritable(&output.what, output.path.clone());
        for file in &self.files {
            output::check(&file.path).map_err(unwritable(file))?;
        }
        for folder in &self.folders {
            output::check_new_folder(&folder.path).map_err(unwritable(folder))?;
        }
        Ok(())
    }
}

/// Returns whether a file is one that the builds of a checkout read. Cargo's target folder has none.
fn is_source(path: &Path, root: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let Ok(within) = path.strip_prefix(root) else { return false };
    let is_built =
        within.starts_with("target") || path.ancestors().any(|folder| folder.join("CACHEDIR.TAG").exists());
    let extension = path.extension().unwrap_or_default();
    path.is_file() && !is_built && SOURCES.iter().any(|known| extension == *known)
}

/// Returns the place where a file is or will be, the same for all paths to it. `None` for devices, which many may write to.
fn place_of(path: &Path) -> Option<PathBuf> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => fs::canonicalize(path).ok(),
        Ok(_) => None,
        Err(_) => {
            let path = std::path::absolute(path).ok()?;
            let folder = fs::canonicalize(path.parent()?).ok();
            Some(folder.map_or(path.clone(), |folder| folder.join(path.file_name().unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_output_that_is_an_input_by_any_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("kernel"), "").unwrap();
        fs::hard_link(at("kernel"), at("hard")).unwrap();
        symlink("kernel", at("soft")).unwrap();
        fs::create_dir(at("sub")).unwrap();
        for name in ["kernel", "hard", "soft", "sub/../kernel"] {
            let mut plan = Plan::default();
            plan.reads("--kernel", &at("kernel"));
            plan.writes("--json", &at(name), "report.json");
            let error = plan.check(None).unwrap_err();
            assert!(matches!(error, Error::OutputIsInput { .. }), "{name}: {error}");
            assert_eq!(error.verdict().status(), 2);
            let mut plan = Plan::default();
            plan.reads("--kernel", &at(name));
            plan.writes_into("--out", folder.path(), ["kernel"]);
            assert!(matches!(plan.check(None), Err(Error::OutputIsInput { .. })), "{name}");
        }
        let mut plan = Plan::default();
        plan.reads("--kernel", &at("kernel"));
        plan.reads("--replay", &at("missing"));
        plan.writes("--json", &at("missing"), "report.json");
        plan.writes("--json", Path::new("-"), "report.json");
        plan.writes_into("--out", &at("new/folder"), ["kernel"]);
        plan.check(None).unwrap();
        assert!(!at("new").exists());
    }

    #[test]
    fn two_outputs_in_one_file_are_refused_and_a_device_may_have_several() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = Plan::default();
        plan.writes("--json", &folder.path().join("a"), "matrix.json");
        plan.writes("--junit", &folder.path().join("./a"), "junit.xml");
        let error = plan.check(None).unwrap_err().to_string();
        assert!(error.contains("--json") && error.contains("--junit"), "{error}");
        let mut plan = Plan::default();
        for what in ["--json", "--junit"] {
            plan.writes(what, Path::new("/dev/null"), what);
        }
        // The report is in the run's folder anyway.
        plan.writes("--json", &folder.path().join("report.json"), "report.json");
        plan.writes_into("--out", folder.path(), ["report.json", "a"]);
        plan.check(None).unwrap();
        plan.writes("--json", &folder.path().join("a"), "report.json");
        assert!(matches!(plan.check(None), Err(Error::OutputTwice { .. })));
    }

    #[test]
    fn sources_of_the_checkout_are_no_place_for_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        for name in ["bench.toml", "target/bench.toml", "report.json"] {
            fs::write(root.join(name), "").unwrap();
        }
        for (name, is_refused) in
            [("bench.toml", true), ("new.toml", false), ("target/bench.toml", false), ("report.json", false)]
        {
            let mut plan = Plan::default();
            plan.writes("--json", &root.join(name), "report.json");
            assert_eq!(plan.check(Some(&root)).is_err(), is_refused, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let mut plan = Plan::default();
        plan.writes_into("--pictures", &folder.path().join("file"), []);
        let error = plan.check(None).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().starts_with("--pictures"), "{error}");
    }
}
