//! A program that a run needs: named by the user, installed already, or installed from the system's packages.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::process::Captured;
use crate::base::{Error, Message, Observer};
use crate::setup::install::{Installer, missing};
use crate::setup::packages::{Manager, Privilege, find_program};
use crate::setup::{apt, consent};

/// Installs a program by the `apt-get` of this path.
type ByApt = fn(&Path, &Privilege, &mut dyn Observer) -> Result<(), Error>;

/// Of several runs in one process, the first installs, and the others find.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program, and the packages that hold it.
pub(super) struct Tool {
    /// Its name, as its makers write it.
    pub title: &'static str,
    /// Its program's name.
    pub program: &'static str,
    /// The option and the variable by which the user names another; the option alone in advice.
    pub named_by: [&'static str; 2],
    /// The packages that hold it; none where there is no such package.
    pub packages: fn(Manager) -> &'static [&'static str],
    /// The installation by apt of a newer version than the distribution's own, if there may be one.
    pub newer_by_apt: Option<ByApt>,
    /// True if only apt's packages are known to work.
    pub is_by_apt_only: bool,
    /// The page from which to get it without a package.
    pub page: &'static str,
}

impl Tool {
    /// The program that is there, if one is. One that the user names must be.
    pub(crate) fn find(&self, named: Option<&OsStr>) -> Result<Option<PathBuf>, Error> {
        let Some(named) = named.filter(|name| !name.is_empty()) else {
            return Ok(find_program(self.program));
        };
        match which::which(named) {
            Ok(program) => Ok(Some(program)),
            Err(_) => {
                let (title, [option, variable]) = (self.title, self.named_by);
                let what = format!("{}, the {title} that {option} or {variable} names,", named.display());
                Err(Error::MissingByHand { what, advice: "there is no such program".to_owned() })
            }
        }
    }

    /// The error of a program whose answer to `option` is not that of this tool.
    pub(crate) fn unexpected_answer(&self, program: &Path, option: &str, answer: &Captured) -> Error {
        let (program, title, answer) = (program.display(), self.title, answer.tail(3));
        Error::Failed(format!("{program} does not answer to {option} as {title} does: {answer}"))
    }

    /// Finds the program, and installs it if it is missing.
    pub(crate) fn provide(
        &self,
        named: Option<&OsStr>,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, Error> {
        let _guard = one_at_a_time();
        if let Some(program) = self.find(named)? {
            return Ok(program);
        }
        self.install(None, observer)?;
        self.installed()
    }

    /// As [`provide`](Self::provide), but also replaces a program that `is_enough` refuses, where apt may have a newer one. A
    /// program that cannot be replaced is returned as it is.
    pub(crate) fn provide_newer(
        &self,
        is_enough: impl Fn(&Path) -> bool,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, Error> {
        let _guard = one_at_a_time();
        let found = self.find(None)?;
        if let Some(program) = found.as_ref().filter(|program| is_enough(program)) {
            return Ok(program.clone());
        }
        let newer = self.newer_by_apt.filter(|_| apt::has_backports());
        let Some(program) = found else {
            self.install(newer, observer)?;
            return self.installed();
        };
        let title = self.title;
        if newer.is_none() {
            observer.receive(Message::Note(&format!("no newer {title} is known for this system")));
            return Ok(program);
        }
        match self.install(newer, observer) {
            Ok(()) => self.installed(),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                observer.receive(Message::Note(&format!("the {title} that is there is used: {error}")));
                Ok(program)
            }
        }
    }

    fn installed(&self) -> Result<PathBuf, Error> {
        find_program(self.program)
            .ok_or_else(|| self.missing("the package that should hold it was installed without it"))
    }

    /// Installs the packages, or by apt a `newer` version.
    fn install(&self, newer: Option<ByApt>, observer: &mut dyn Observer) -> Result<(), Error> {
        let installer = Installer::find().map_err(|obstacle| self.missing(&obstacle))?;
        let packages = (self.packages)(installer.manager);
        if self.is_by_apt_only && installer.manager != Manager::Apt {
            return Err(self.missing("octopod installs it by apt-get only"));
        }
        let newer = newer.filter(|_| installer.manager == Manager::Apt);
        let mut line = installer.manager.line_for(packages);
        if newer.is_some() {
            line += " (from the backports of this release, which are added as a source where they are none)";
        }
        consent::obtain(&line).map_err(|obstacle| self.missing(&obstacle))?;
        let (title, manager) = (self.title, installer.manager.program());
        let what = if newer.is_some() { "is missing or too old" } else { "is missing" };
        observer.receive(Message::Note(&format!("{title} {what}: installing it with {manager}")));
        match newer {
            Some(install) => install(&installer.program, &installer.privilege, observer),
            None => installer.install(packages, observer),
        }
    }

    fn missing(&self, obstacle: &str) -> Error {
        let what = match self.title == self.program {
            true => self.title.to_owned(),
            false => format!("{} ({})", self.title, self.program),
        };
        let [option, _] = self.named_by;
        let by_name =
            if option.is_empty() { String::new() } else { format!(", or name one by {option} PATH") };
        let advice = format!("{obstacle}. See {}{by_name}", self.page);
        missing(what, |manager| (self.packages)(manager).to_vec(), obstacle, advice)
    }
}
