//! `new`: writes a complete project with a kernel of its own. The same files are a template of cargo-generate.

mod name;
mod placement;
mod source;
mod templates;

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::base::Error;
use crate::base::files::output;
use crate::commands::new::placement::Placement;

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
            Ok((files, placement)) => {
                let folder = self.folder.display();
                if let Some(note) = placement.note() {
                    println!("{note}");
                }
                println!("{files} files in {folder}; next: cd {folder} && cargo run");
                0
            }
            Err(error) => {
                eprintln!("octopod: {error}");
                error.verdict().status()
            }
        }
    }

    /// Writes the project. Returns the number of files, and the project's place among workspaces.
    fn write(&self) -> Result<(usize, Placement), Error> {
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name::check(name)?;
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
                .replace("{{install}}", &source.install)
                .replace("{{launcher}}", &source.step);
            output::write(&path, text.as_bytes()).map_err(Error::file("write", &path))?;
        }
        Ok((files.len(), placement::settle(&self.folder)?))
    }
}

#[cfg(test)]
mod tests;
