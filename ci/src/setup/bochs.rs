//! Bochs, with its BIOS and a display.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::base::process::capture;
use crate::base::{Error, Observer, Version};
use crate::machine::bochs::Bochs;
use crate::setup::limits::PROBE_LIMIT;
use crate::setup::packages::Manager;
use crate::setup::tool::Tool;

pub(super) const TOOL: Tool = Tool {
    title: "Bochs",
    program: "bochs",
    named_by: ["--bochs", "OCTOPOD_BOCHS"],
    packages: |manager| match manager {
        Manager::Apt => &["bochs", "bochs-term", "bochsbios", "vgabios"],
        Manager::Dnf | Manager::Pacman | Manager::Zypper | Manager::Brew => &["bochs"],
        Manager::Apk => &[],
    },
    newer_by_apt: None,
    is_by_apt_only: true,
    page: "https://bochs.sourceforge.io/",
};

/// Finds Bochs, and installs it if it is missing. `named` is the program that the user chose.
///
/// # Errors
/// Bochs is missing and cannot be installed, or its version is not supported.
pub fn provide(named: Option<&OsStr>, observer: &mut dyn Observer) -> Result<Bochs, Error> {
    probe(&TOOL.provide(named, observer)?)
}

/// Asks a Bochs for its version, whether it has a debugger, and for a display that needs no window.
pub(super) fn probe(program: &Path) -> Result<Bochs, Error> {
    let help = capture(Command::new(program).arg("--help"), PROBE_LIMIT)?;
    let text = help.stdout.clone() + &help.stderr;
    let Some(version) = Version::from_bochs_banner(&text) else {
        return Err(TOOL.unexpected_answer(program, "--help", &help));
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
