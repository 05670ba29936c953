//! Bochs: looked for, and installed, only when it is asked for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::base::process::capture;
use crate::base::{Error, Message, Observer, Version};
use crate::machine::bochs::Bochs;
use crate::setup::install::Installer;
use crate::setup::limits::PROBE_LIMIT;
use crate::setup::packages::{Manager, find_program};

const PROGRAM: &str = "bochs";

/// Finds Bochs, and installs it if it is missing; `named` is the one that the user wants.
pub fn provide(named: Option<&OsStr>, observer: &mut dyn Observer) -> Result<Bochs, Error> {
    // Of several runs in one process, the first installs, and the others find.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = match find(named)? {
        Some(program) => program,
        None => {
            install(observer)?;
            find_program(PROGRAM)
                .ok_or_else(|| missing("the package that should hold it was installed without it"))?
        }
    };
    probe(&program)
}

/// The Bochs that is there, if one is. One that the user names must be.
pub(super) fn find(named: Option<&OsStr>) -> Result<Option<PathBuf>, Error> {
    let Some(named) = named.filter(|name| !name.is_empty()) else {
        return Ok(find_program(PROGRAM));
    };
    match which::which(named) {
        Ok(program) => Ok(Some(program)),
        Err(_) => {
            let what = format!("{}, the Bochs that --bochs or OCTOPOD_BOCHS names,", named.display());
            Err(Error::MissingByHand { what, advice: "there is no such program".to_owned() })
        }
    }
}

/// Asks a Bochs for its version, whether it has a debugger, and for a display that needs no window.
pub(super) fn probe(program: &Path) -> Result<Bochs, Error> {
    let help = capture(Command::new(program).arg("--help"), PROBE_LIMIT)?;
    let text = help.stdout.clone() + &help.stderr;
    let Some(version) = Version::from_bochs_banner(&text) else {
        let (program, answer) = (program.display(), help.tail(3));
        return Err(Error::Failed(format!("{program} does not answer to --help as Bochs does: {answer}")));
    };
    // The second word is no directive, so that it ends here whatever it thinks of the first.
    let words = ["-q", "-n", "display_library: nogui", "octopod: probe"];
    let answer = capture(Command::new(program).args(words), PROBE_LIMIT)?;
    let has_nogui = !(answer.stdout + &answer.stderr).contains("'nogui' not available");
    Ok(Bochs {
        program: program.to_owned(),
        version,
        has_debugger: text.contains("-rc "),
        display: if has_nogui { "nogui" } else { "term" },
    })
}

/// The packages that hold it, with its BIOS and a screen; none where there is no such package.
pub(super) fn packages(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Apt => &["bochs", "bochs-term", "bochsbios", "vgabios"],
        Manager::Dnf | Manager::Pacman | Manager::Zypper | Manager::Brew => &["bochs"],
        Manager::Apk => &[],
    }
}

fn install(observer: &mut dyn Observer) -> Result<(), Error> {
    let installer = Installer::find().map_err(|obstacle| missing(&obstacle))?;
    if installer.manager != Manager::Apt {
        return Err(missing("octopod installs it by apt-get only"));
    }
    let packages = packages(installer.manager);
    observer.receive(Message::Note(&format!("--emulator bochs: installing {}", packages.join(", "))));
    installer.install(packages, observer)
}

fn missing(obstacle: &str) -> Error {
    let what = format!("Bochs ({PROGRAM})");
    match Manager::find().map(|manager| (manager, packages(manager))) {
        Some((manager, packages)) if !packages.is_empty() => {
            Error::Missing { what, obstacle: obstacle.to_owned(), line: manager.line_for(packages) }
        }
        _ => Error::MissingByHand {
            what,
            advice: format!("{obstacle}. See https://bochs.sourceforge.io/, or name one by --bochs PATH"),
        },
    }
}
