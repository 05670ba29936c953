//! Installs packages, if the launcher may.

use std::path::PathBuf;

use crate::base::{Error, Observer};
use crate::setup::apt;
use crate::setup::limits::{NO_INSTALL, may_install};
use crate::setup::packages::{Manager, Privilege};

/// A package manager that the launcher may use.
#[derive(Debug)]
pub(crate) struct Installer {
    /// The package manager.
    pub manager: Manager,
    /// Its program.
    pub program: PathBuf,
    /// The files that the tool needs.
    pub privilege: Privilege,
}

impl Installer {
    /// The package manager, or what stands against it.
    pub(crate) fn find() -> Result<Installer, String> {
        if !may_install() {
            return Err(format!("{NO_INSTALL} is set"));
        }
        let found = Manager::find().and_then(|manager| Some((manager, manager.path()?)));
        let (manager, program) = found.ok_or("no supported package manager was found")?;
        match Privilege::find(manager) {
            Privilege::None => Err("this is neither root, nor may it use sudo without a password".to_owned()),
            privilege => Ok(Installer { manager, program, privilege }),
        }
    }

    /// Installs `packages`.
    pub(crate) fn install(&self, packages: &[&str], observer: &mut dyn Observer) -> Result<(), Error> {
        if self.manager == Manager::Apt {
            return apt::install(&self.program, &self.privilege, packages, observer);
        }
        for arguments in self.manager.install(packages) {
            self.privilege.run(&self.program, &arguments, observer)?;
        }
        Ok(())
    }
}

/// The line that installs these packages, if any are known.
pub(crate) fn line(packages: impl Fn(Manager) -> Vec<&'static str>) -> Option<String> {
    let manager = Manager::find()?;
    let packages = packages(manager);
    (!packages.is_empty()).then(|| manager.line_for(&packages))
}

/// The error for what is missing: with the line that installs its packages, or with advice where none are known.
pub(crate) fn missing(
    what: String,
    packages: impl Fn(Manager) -> Vec<&'static str>,
    obstacle: &str,
    advice: String,
) -> Error {
    match line(packages) {
        Some(line) => Error::Missing { what, obstacle: obstacle.to_owned(), line },
        None => Error::MissingByHand { what, advice },
    }
}
