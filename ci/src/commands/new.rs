//! `new`: writes a complete project with a kernel of its own. The same files are a template of cargo-generate.

mod name;
mod placement;
mod source;
mod templates;

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::base::files::output;
use crate::base::{Error, text};
use crate::commands::new::placement::Placement;
use crate::commands::new::source::Source;

/// The program that cargo starts by the project's configuration.
const LAUNCHER: &str = "octopod";

/// Options of `new`.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// The folder to make, whose name is the package's.
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,

    /// The template of the project.
    #[arg(long, value_enum, value_name = "TEMPLATE", default_value_t)]
    pub template: Template,

    /// Depend on octopod in this folder [default: the checkout that the launcher works on; without one, one of these is needed].
    #[arg(long, value_name = "DIR", conflicts_with_all = ["git", "registry"])]
    pub path: Option<PathBuf>,

    /// Depend on octopod in this git repository.
    #[arg(long, value_name = "URL", conflicts_with = "registry")]
    pub git: Option<String>,

    /// Depend on octopod in this registry of cargo's configuration; not crates.io, where another crate has the name.
    #[arg(long, value_name = "NAME")]
    pub registry: Option<String>,
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

impl NewArgs {
    /// Does what is asked for. Returns the exit status.
    pub fn execute(&self) -> u8 {
        match self.write() {
            Ok(project) => {
                println!("{}", text::lines(&project.text(which::which(LAUNCHER).is_ok())));
                0
            }
            Err(error) => {
                eprintln!("octopod: {}", text::lines(&error.to_string()));
                error.verdict().status()
            }
        }
    }

    /// Writes the project: all of it or nothing.
    fn write(&self) -> Result<Made, Error> {
        let name = name::of(&self.folder)?;
        // A link to nothing is there, too.
        if self.folder.symlink_metadata().is_ok() {
            let folder = self.folder.display();
            return Err(Error::Usage(format!(
                "{folder} exists already, and `new` makes the folder: choose another"
            )));
        }
        let source = Source::of(self.path.as_deref(), self.git.as_deref(), self.registry.as_deref())?;
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent).map_err(Error::file("make the folder", parent))?;
        }
        fs::create_dir(&self.folder).map_err(Error::file("make the folder", &self.folder))?;
        let placement = self.fill(&name, &source).inspect_err(|_| {
            // All that is in it was written just now.
            let _ = fs::remove_dir_all(&self.folder);
        })?;
        Ok(Made { folder: self.folder.clone(), files: self.template.files().len(), placement, source })
    }

    /// Writes the files into the folder.
    fn fill(&self, name: &str, source: &Source) -> Result<Placement, Error> {
        let files = self.template.files();
        for (path, text) in files {
            let path = self.folder.join(path);
            let parent = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(parent).map_err(Error::file("make the folder", parent))?;
            let text = text
                .replace("{{project-name}}", name)
                .replace("{{octopod}}", &source.dependency)
                .replace("{{install}}", &source.install)
                .replace("{{launcher}}", &source.step)
                .replace("{{tests}}", &source.tests);
            output::write(&path, text.as_bytes()).map_err(Error::file("write", &path))?;
        }
        placement::settle(&self.folder)
    }
}

/// A new project.
#[derive(Debug)]
struct Made {
    folder: PathBuf,
    /// The number of its files.
    files: usize,
    placement: Placement,
    source: Source,
}

impl Made {
    /// The text for the user: the project, and the lines to type next. The project's runner is the launcher, so cargo has to find it.
    fn text(&self, has_launcher: bool) -> String {
        let folder = self.folder.to_string_lossy();
        let quoted = shlex::try_quote(&folder).unwrap_or_else(|_| folder.clone());
        let mut lines: Vec<String> = self.placement.note().into_iter().collect();
        lines.push(format!("{} files in {folder}; next: cd {quoted} && cargo run", self.files));
        if !has_launcher {
            let install = &self.source.install_here;
            lines
                .push(format!("`cargo run` starts `{LAUNCHER}`, which is not in PATH; before it: {install}"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
