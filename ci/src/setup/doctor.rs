//! What is there, what is missing, and what each part is for. Looks, and changes nothing.

use std::process::Command;

use crate::base::Version;
use crate::base::cargo::{self, TARGET};
use crate::base::process::capture;
use crate::machine::accelerator::Host;
use crate::machine::{EmulatorKind, Firmware, MachineConfig, accelerator as accel};
use crate::setup::limits::{NO_INSTALL, PROBE_LIMIT, may_install};
use crate::setup::media::Need;
use crate::setup::packages::{Manager, Privilege};
use crate::setup::{bochs, gdb, qemu, target};

/// Whether a part is there.
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
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// Its version, or what is wrong.
    pub found: String,
    /// What it is for.
    pub purpose: &'static str,
}

/// Whether nothing that is needed is missing.
pub fn healthy(parts: &[Part]) -> bool {
    parts.iter().all(|part| part.state != State::Missing)
}

/// Looks at this machine.
pub fn examine(config: &MachineConfig) -> Vec<Part> {
    let mut parts = vec![rust(), cargo_part(), kernel_target(), qemu_part(config), accelerator(config)];
    parts.push(bochs_part(config));
    parts.extend(media_parts(config));
    parts.extend([debugger(), rustup(), packages()]);
    parts
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
    let found = qemu::find(config.qemu.as_deref());
    let (state, found) = match found
        .and_then(|program| program.map(|program| qemu::probe(&program)).transpose())
    {
        Ok(Some(qemu)) if qemu.version < Version::TCG_X2APIC => {
            (State::Present, format!("{}; from {} on its TCG has x2APIC", qemu.version, Version::TCG_X2APIC))
        }
        Ok(Some(qemu)) => (State::Present, qemu.version.to_string()),
        Ok(None) => {
            let line = Manager::find().map_or("https://www.qemu.org/download/".to_owned(), Manager::line);
            (State::Missing, line)
        }
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "QEMU", state, found, purpose: "the machine that the kernel boots on" }
}

fn bochs_part(config: &MachineConfig) -> Part {
    let absent = if config.emulator == EmulatorKind::Bochs { State::Missing } else { State::Absent };
    let found = bochs::find(config.bochs.as_deref());
    let found = found.and_then(|program| program.map(|program| bochs::probe(&program)).transpose());
    let (state, found) = match found {
        Ok(Some(bochs)) => (State::Present, bochs.version.to_string()),
        Ok(None) => {
            let manager = Manager::find().map(|manager| (manager, bochs::packages(manager)));
            let known = manager.filter(|(_, packages)| !packages.is_empty());
            let line = known.map(|(manager, packages)| manager.line_for(packages));
            (absent, line.unwrap_or("https://bochs.sourceforge.io/".to_owned()))
        }
        Err(error) => (absent, error.to_string()),
    };
    Part { name: "Bochs", state, found, purpose: "another such machine; needed only for --emulator bochs" }
}

/// What boot protocols need beside QEMU. Only the tools of the chosen one count as missing.
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
    let qemu = qemu::find(config.qemu.as_deref()).ok().flatten();
    let part = |(need, purpose): (Need, &'static str)| {
        let absent = if Need::of(config.boot).contains(&need) { State::Missing } else { State::Absent };
        let (state, found) = match need.find(qemu.as_deref()) {
            Ok(Some(path)) => (State::Present, path.display().to_string()),
            Ok(None) => {
                let manager = Manager::find();
                let line = manager.map(|manager| (manager, need.packages(manager)));
                let line = line.filter(|(_, packages)| !packages.is_empty());
                (
                    absent,
                    line.map_or("not found".to_owned(), |(manager, packages)| manager.line_for(packages)),
                )
            }
            Err(error) => (absent, error.to_string()),
        };
        Part { name: need.name(), state, found, purpose }
    };
    all.into_iter().map(part).collect()
}

fn accelerator(config: &MachineConfig) -> Part {
    let (state, found) = match accel::decide(config.accel, &Host::examine()) {
        Ok(decision) => (State::Present, format!("{}: {}", decision.accel.name(), decision.reason)),
        Err(error) => (State::Missing, error.to_string()),
    };
    Part { name: "accelerator", state, found, purpose: "runs the guest's code" }
}

fn debugger() -> Part {
    let (state, found) = match gdb::find() {
        Some(path) => (State::Present, path.display().to_string()),
        None => {
            let line = Manager::find().map(|manager| manager.line_for(&[gdb::PROGRAM]));
            (State::Absent, line.unwrap_or_else(|| "not found".to_owned()))
        }
    };
    Part { name: "gdb", state, found, purpose: "looks into a running kernel; needed only for `gdb`" }
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
