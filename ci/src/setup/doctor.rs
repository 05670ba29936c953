//! Checks the installed tools and reports what is missing, and the purpose of each tool. Changes nothing.

use std::path::Path;
use std::process::Command;

use strum::VariantArray;

use crate::base::cargo::{self, TARGET};
use crate::base::process::capture;
use crate::base::{Error, Version};
use crate::machine::accelerator::Host;
use crate::machine::qemu::Qemu;
use crate::machine::{EmulatorKind, Firmware, MachineConfig, accelerator as accel};
use crate::setup::cargo_lines::{self, Line};
use crate::setup::install::line;
use crate::setup::limits::{NO_INSTALL, PROBE_LIMIT, may_install};
use crate::setup::media::Need;
use crate::setup::packages::{Manager, Privilege};
use crate::setup::tool::Tool;
use crate::setup::{bochs, gdb, qemu, target};

/// The state of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Present,
    /// It is not, and something needs it.
    Missing,
    /// It is not, and there is a way without.
    Absent,
}

/// One row of the doctor's table.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its description.
    pub name: &'static str,
    /// Its state.
    pub state: State,
    /// Its version, or what is wrong.
    pub found: String,
    /// Its purpose.
    pub purpose: &'static str,
}

/// Returns whether nothing that is needed is missing.
pub fn healthy(parts: &[Part]) -> bool {
    parts.iter().all(|part| part.state != State::Missing)
}

/// Examines this machine.
pub fn examine(config: &MachineConfig) -> Vec<Part> {
    let mut parts = vec![rust(), cargo_part(), kernel_target(), qemu_part(config), accelerator(config)];
    parts.push(bochs_part(config));
    parts.extend(media_parts(config));
    parts.extend([debugger(), rustup(), packages()]);
    parts
}

/// Examines the configuration of cargo for a project in this folder.
pub fn examine_project(folder: &Path) -> Vec<Part> {
    let missing = cargo_lines::missing(folder);
    let part = |line: &Line| {
        let (state, found) = match missing.contains(line) {
            true => (State::Missing, format!("write into .cargo/config.toml: {}", line.text())),
            false => (State::Present, line.text()),
        };
        Part { name: line.name(), state, found, purpose: line.purpose() }
    };
    Line::VARIANTS.iter().map(part).collect()
}

fn rust() -> Part {
    let (state, found) = match target::rustc(&["--version"]) {
        Ok(version) => (State::Present, version.trim().to_owned()),
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "rustc", state, found, purpose: "compiles the kernel" }
}

fn cargo_part() -> Part {
    let (state, found) = match capture(cargo::command().arg("--version"), PROBE_LIMIT) {
        Ok(answer) if answer.status.success() => (State::Present, answer.stdout.trim().to_owned()),
        Ok(answer) => (State::Missing, answer.tail(1)),
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "cargo", state, found, purpose: "builds the kernel" }
}

fn kernel_target() -> Part {
    let (state, found) = match target::installed() {
        Ok(true) => (State::Present, TARGET.to_owned()),
        Ok(false) => (State::Missing, format!("rustup target add {TARGET}")),
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "Rust target", state, found, purpose: "the core library that the kernel is built on" }
}

fn qemu_part(config: &MachineConfig) -> Part {
    let found = qemu::TOOL.find(config.qemu.as_deref());
    let found = found.and_then(|program| program.map(|program| qemu::probe(&program)).transpose());
    let shown = |qemu: Qemu| match qemu.version < Version::TCG_X2APIC {
        true => format!("{}; from {} on its TCG has x2APIC", qemu.version, Version::TCG_X2APIC),
        false => qemu.version.to_string(),
    };
    let purpose = "the machine that the kernel boots on";
    tool("QEMU", found.map(|found| found.map(shown)), true, line_for(&qemu::TOOL), purpose)
}

fn bochs_part(config: &MachineConfig) -> Part {
    let found = bochs::TOOL.find(config.bochs.as_deref());
    let found = found.and_then(|program| program.map(|program| bochs::probe(&program)).transpose());
    let found = found.map(|found| found.map(|bochs| bochs.version.to_string()));
    let is_needed = config.emulator == EmulatorKind::Bochs;
    let purpose = "another such machine; needed only for --emulator bochs";
    tool("Bochs", found, is_needed, line_for(&bochs::TOOL), purpose)
}

/// The tools of boot protocols besides QEMU. Only those of the chosen protocol count as missing.
fn media_parts(config: &MachineConfig) -> Vec<Part> {
    let all = [
        (Need::Grub(Firmware::Bios), "loads the kernel; needed only for --boot multiboot1-grub, multiboot2"),
        (Need::Grub(Firmware::Uefi), "loads the kernel; needed only for --boot uefi, uefi-multiboot1"),
        (
            Need::Xorriso,
            "writes the ISO image; needed only for --boot multiboot1-grub, multiboot2, uefi, uefi-multiboot1",
        ),
        (Need::Mtools, "makes the image's UEFI partition; needed only for --boot uefi, uefi-multiboot1"),
        (Need::Ovmf, "UEFI firmware; needed only for --boot uefi, uefi-multiboot1"),
    ];
    let qemu = qemu::TOOL.find(config.qemu.as_deref()).ok().flatten();
    let part = |(need, purpose): (Need, &'static str)| {
        let found = need.find(qemu.as_deref());
        let found = found.map(|found| found.map(|path| path.display().to_string()));
        let line = line(|manager| need.packages(manager).to_vec()).unwrap_or("not found".to_owned());
        tool(need.name(), found, Need::of(config.boot).contains(&need), line, purpose)
    };
    all.into_iter().map(part).collect()
}

/// The line that installs a tool, or where to get it.
fn line_for(tool: &Tool) -> String {
    line(|manager| (tool.packages)(manager).to_vec()).unwrap_or(tool.page.to_owned())
}

/// The path, or the command that installs a missing tool.
fn tool(
    name: &'static str,
    found: Result<Option<String>, Error>,
    is_needed: bool,
    line: String,
    purpose: &'static str,
) -> Part {
    let absent = if is_needed { State::Missing } else { State::Absent };
    let (state, found) = match found {
        Ok(Some(found)) => (State::Present, found),
        Ok(None) => (absent, line),
        Err(error) => (absent, error.to_string()),
    };
    Part { name, state, found, purpose }
}

fn accelerator(config: &MachineConfig) -> Part {
    let (state, found) = match accel::decide(config.accel, &Host::examine()) {
        Ok(decision) => (State::Present, format!("{}: {}", decision.accel.name(), decision.reason)),
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "accelerator", state, found, purpose: "runs the guest's code" }
}

fn debugger() -> Part {
    let found = gdb::TOOL.find(None).map(|found| found.map(|path| path.display().to_string()));
    let purpose = "looks into a running kernel; needed only for `gdb`";
    tool("gdb", found, false, line_for(&gdb::TOOL), purpose)
}

fn rustup() -> Part {
    let answer = capture(Command::new("rustup").arg("--version"), PROBE_LIMIT);
    let (state, found) = match answer {
        Ok(answer) if answer.status.success() => {
            (State::Present, answer.stdout.lines().next().unwrap_or_default().trim().to_owned())
        }
        _ => (State::Absent, "not found".to_owned()),
    };
    Part { name: "rustup", state, found, purpose: "adds the Rust target if it is missing" }
}

fn packages() -> Part {
    let (state, found) = match Manager::find().filter(|manager| manager.path().is_some()) {
        None => (State::Absent, "none that octopod knows".to_owned()),
        Some(manager) => {
            let name = manager.program();
            match (may_install(), Privilege::find(manager)) {
                (false, _) => (State::Absent, format!("{name}, but {NO_INSTALL} is set")),
                (true, Privilege::None) => {
                    (State::Absent, format!("{name}, but neither root nor sudo without a password"))
                }
                (true, Privilege::Direct) => (State::Present, name.to_owned()),
                (true, Privilege::Sudo(_)) => (State::Present, format!("{name}, by sudo")),
            }
        }
    };
    Part {
        name: "package manager",
        state,
        found,
        purpose: "installs QEMU, or what a boot protocol needs, if it is missing",
    }
}
