//! `new`: writes a complete project with a kernel of its own. The same files are a template of cargo-generate.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::base::files::output;
use crate::base::{Error, Workspace, WorkspaceKind};

/// Options of `new`.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// The folder to make, whose name is the package's.
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,

    /// The template of the project.
    #[arg(long, value_enum, value_name = "TEMPLATE", default_value_t)]
    pub template: Template,

    /// Depend on octopod in this folder [default: the checkout that the launcher works on, else the published version].
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    pub path: Option<PathBuf>,

    /// Depend on octopod in this git repository.
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,
}

/// A template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A kernel, with a test.
    #[default]
    Kernel,
    /// A frame allocator, under the workloads and checks of octopod.
    Allocator,
}

/// A file of a template: its path in the project and its text, in which `{{…}}` are replaced.
type TemplateFile = (&'static str, &'static str);

/// The files of a template. Those that cargo or GitHub would take for their own have another name there.
macro_rules! template {
    ($folder:literal: $($path:literal $(as $name:literal)?),* $(,)?) => {
        &[$((template!(@name $path $($name)?), include_str!(concat!("../../templates/", $folder, "/", $path)))),*]
    };
    (@name $path:literal) => { $path };
    (@name $path:literal $name:literal) => { $name };
}

const KERNEL: &[TemplateFile] = template!("kernel":
    "Cargo.toml.liquid" as "Cargo.toml",
    ".cargo/config.toml",
    "rust-toolchain.toml",
    "src/main.rs.liquid" as "src/main.rs",
    ".github/workflows/test.yml.liquid" as ".github/workflows/test.yml",
    ".gitignore",
    "README.md.liquid" as "README.md",
);

const ALLOCATOR: &[TemplateFile] = &[
    KERNEL[1],
    KERNEL[2],
    KERNEL[4],
    KERNEL[5],
    ("Cargo.toml", include_str!("../../templates/allocator/Cargo.toml.liquid")),
    ("src/main.rs", include_str!("../../templates/allocator/src/main.rs.liquid")),
    ("README.md", include_str!("../../templates/allocator/README.md.liquid")),
];

impl Template {
    fn files(self) -> &'static [TemplateFile] {
        match self {
            Template::Kernel => KERNEL,
            Template::Allocator => ALLOCATOR,
        }
    }
}

/// The source of octopod, for a manifest and for `cargo install`.
struct Source {
    dependency: String,
    install: String,
}

impl NewArgs {
    /// Does what is asked for. Returns the exit status.
    pub fn execute(&self) -> u8 {
        match self.write() {
            Ok(files) => {
                let folder = self.folder.display();
                println!("{files} files in {folder}; next: cd {folder} && cargo run");
                0
            }
            Err(error) => {
                eprintln!("octopod: {error}");
                error.verdict().status()
            }
        }
    }

    /// Writes the project. Returns the number of files.
    fn write(&self) -> Result<usize, Error> {
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        check_name(name)?;
        if self.folder.exists() {
            return Err(Error::Usage(format!("{} exists already", self.folder.display())));
        }
        let source = self.source()?;
        let files = self.template.files();
        for (path, text) in files {
            let path = self.folder.join(path);
            let parent = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(parent).map_err(Error::file("make the folder", parent))?;
            let text = text
                .replace("{{project-name}}", name)
                .replace("{{octopod}}", &source.dependency)
                .replace("{{install}}", &source.install);
            output::write(&path, text.as_bytes()).map_err(Error::file("write", &path))?;
        }
        Ok(files.len())
    }

    fn source(&self) -> Result<Source, Error> {
        const PACKAGE: &str = env!("CARGO_PKG_NAME");
        let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let at = |root: &Path| {
            let install = shlex::try_quote(&root.join("ci").display().to_string())
                .map(|path| format!("cargo install --locked --path {path}"));
            let install = install.unwrap_or_else(|_| format!("cargo install --locked {PACKAGE}"));
            Source { dependency: format!("path = {}", quoted(root)), install }
        };
        if let Some(url) = &self.git {
            let dependency = format!("git = {}", toml::Value::String(url.clone()));
            let url = shlex::try_quote(url).map_err(|error| Error::Usage(format!("--git: {error}")))?;
            return Ok(Source {
                dependency,
                install: format!("cargo install --locked --git {url} {PACKAGE}"),
            });
        }
        if let Some(path) = &self.path {
            let root = fs::canonicalize(path).map_err(Error::file("find", path))?;
            if !root.join("Cargo.toml").is_file() {
                return Err(Error::Usage(format!("--path {}: no Cargo.toml is there", path.display())));
            }
            return Ok(at(&root));
        }
        match Workspace::find_or_here() {
            Ok(Workspace { root, kind: WorkspaceKind::Checkout, .. }) => Ok(at(&root)),
            _ => Ok(Source {
                dependency: format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
                install: format!("cargo install --locked {PACKAGE}"),
            }),
        }
    }
}

/// Refuses what cargo takes for no package's name.
fn check_name(name: &str) -> Result<(), Error> {
    let mut letters = name.chars();
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_name = letters.next().is_some_and(|first| first.is_ascii_alphabetic()) && letters.all(is_word);
    if !is_name {
        return Err(Error::Usage(format!(
            "\"{name}\" is no name of a package: ASCII letters, digits, - and _, a letter first"
        )));
    }
    match ["octopod", "core", "alloc", "std", "test"].contains(&name) {
        true => Err(Error::Usage(format!("a package called {name} would clash with the crate of that name"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_no_placeholder_left_and_replaces_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("my-kernel");
        let git = Some("https://example.org/octopod".to_owned());
        let args = NewArgs { folder: folder.clone(), template: Template::Kernel, path: None, git };
        assert_eq!(args.write().unwrap(), KERNEL.len());
        for (path, _) in KERNEL {
            let text = fs::read_to_string(folder.join(path)).unwrap();
            assert!(!text.contains("{{"), "{path}: {text}");
        }
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-kernel"));
        assert_eq!(manifest["dependencies"]["octopod"]["git"].as_str(), Some("https://example.org/octopod"));
        let again = args.write().unwrap_err().to_string();
        assert!(again.ends_with("exists already"), "{again}");
    }

    #[test]
    fn the_files_are_short() {
        let lines = |wanted: &str| KERNEL.iter().find(|(path, _)| *path == wanted).unwrap().1.lines().count();
        assert!(lines("src/main.rs") <= 30);
        assert!(lines(".github/workflows/test.yml") <= 15);
    }

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for wrong in ["", "1a", "a b", "ü", "test", "octopod"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert!(check_name("a-1_b").is_ok());
    }
}
