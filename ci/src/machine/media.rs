//! The doors by which the kernel is entered. There is one ELF file, from one link; what a door needs beside it is made
//! from that file and put into the run's folder.
//!
//! | door | loader | file |
//! |---|---|---|
//! | `pvh` | QEMU's `-kernel`, by the PVH note | the ELF file |
//! | `multiboot1` | QEMU's `-kernel`, by the Multiboot 1 header | a copy whose header has its magic: see [`header`] |
//! | `multiboot1-grub` | GRUB from a disc, on SeaBIOS | a disc with that copy |
//! | `multiboot2` | GRUB from a disc, on SeaBIOS | a disc with the ELF file |
//! | `uefi` | GRUB from a disc, on OVMF, by Multiboot 2 | a disc with the ELF file |
//! | `uefi-multiboot1` | GRUB from a disc, on OVMF | a disc with the patched copy |

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::base::error::Error;
use crate::base::files::output;
use crate::base::files::scratch::Scratch;
use crate::base::message::Observer;
use crate::commands::cli::Options;
use crate::machine::qemu::{Arguments, escape_commas};
use crate::run::folder::RunDir;
use crate::run::replay;

pub mod header;
pub mod iso;
pub mod ovmf;

/// `--boot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Door {
    /// QEMU's -kernel, by the ELF file's PVH note.
    Pvh,
    /// QEMU's -kernel, by the Multiboot 1 header.
    Multiboot1,
    /// GRUB on SeaBIOS, Multiboot 1.
    Multiboot1Grub,
    /// GRUB on SeaBIOS, Multiboot 2.
    Multiboot2,
    /// GRUB on OVMF, Multiboot 2.
    Uefi,
    /// GRUB on OVMF, Multiboot 1: the kernel finds no ACPI tables, and so one CPU.
    UefiMultiboot1,
}

/// What runs before GRUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings along.
    Bios,
    /// OVMF.
    Uefi,
}

impl Door {
    /// Its name, as `--boot` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Door::Pvh => "pvh",
            Door::Multiboot1 => "multiboot1",
            Door::Multiboot1Grub => "multiboot1-grub",
            Door::Multiboot2 => "multiboot2",
            Door::Uefi => "uefi",
            Door::UefiMultiboot1 => "uefi-multiboot1",
        }
    }

    /// The firmware under GRUB; `None` where QEMU loads the kernel itself.
    pub fn disc_for(self) -> Option<Firmware> {
        match self {
            Door::Pvh | Door::Multiboot1 => None,
            Door::Multiboot1Grub | Door::Multiboot2 => Some(Firmware::Bios),
            Door::Uefi | Door::UefiMultiboot1 => Some(Firmware::Uefi),
        }
    }

    /// Whether the file needs its Multiboot 1 header.
    fn is_multiboot1(self) -> bool {
        matches!(self, Door::Multiboot1 | Door::Multiboot1Grub | Door::UefiMultiboot1)
    }

    /// What firmware and GRUB may take before the kernel begins: five seconds are usual under TCG, on an idle host.
    pub fn grace(self) -> Duration {
        match self.disc_for() {
            None => Duration::ZERO,
            Some(Firmware::Bios) => Duration::from_secs(15),
            Some(Firmware::Uefi) => Duration::from_secs(45),
        }
    }

    /// Refuses what cannot come in by this door, before anything is built or installed.
    pub fn check(self, options: &Options) -> Result<(), Error> {
        let machine = options.machine.name();
        if self.disc_for().is_some() && machine == "microvm" {
            return Err(Error::DoorOfAnotherMachine { door: self.name(), machine });
        }
        let command_line = options.kernel_command_line();
        // GRUB puts a backslash before each of these on the way to the kernel.
        match command_line.chars().find(|c| self.disc_for().is_some() && "\\'\"".contains(*c)) {
            Some(character) => Err(Error::CharacterBeyondGrub { door: self.name(), character }),
            None => Ok(()),
        }
    }
}

/// What QEMU is given to boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A file that QEMU loads itself.
    Kernel {
        /// The file.
        file: PathBuf,
        /// The kernel's command line.
        command_line: String,
        /// What is loaded beside it.
        module: Option<PathBuf>,
    },
    /// A disc with GRUB on it, which has the command line too.
    Disc {
        /// The disc's image.
        iso: PathBuf,
        /// The firmware, where it is not QEMU's own.
        flash: Option<Flash>,
    },
}

/// Firmware in two flash chips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Its code, which no run changes.
    pub code: PathBuf,
    /// Its variables, a copy of this run's own.
    pub variables: PathBuf,
}

impl Medium {
    /// The name of the file that is booted, in the run's folder.
    pub fn file_name(&self) -> &str {
        let (Medium::Kernel { file: path, .. } | Medium::Disc { iso: path, .. }) = self;
        path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// The same for a script that is run when links in a temporary folder are gone: the files behind them, by descriptors
    /// that the script opens, each with its number.
    pub fn by_hand(&self) -> (Medium, Vec<(u8, PathBuf)>) {
        let mut files = Vec::new();
        let mut opened = |path: &Path, descriptor: u8| match fs::read_link(path) {
            Ok(file) => {
                files.push((descriptor, file));
                PathBuf::from(format!("/dev/fd/{descriptor}"))
            }
            Err(_) => path.to_owned(),
        };
        let medium = match self {
            Medium::Kernel { file, command_line, module } => Medium::Kernel {
                file: opened(file, 8),
                command_line: command_line.clone(),
                module: module.as_ref().map(|module| opened(module, 9)),
            },
            disc => disc.clone(),
        };
        (medium, files)
    }

    /// QEMU's arguments for it.
    pub fn arguments(&self) -> Arguments {
        let group = |parts: &[&OsStr]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<OsString>>();
        match self {
            Medium::Kernel { file, command_line, module } => {
                let mut arguments = vec![
                    group(&["-kernel".as_ref(), file.as_ref()]),
                    group(&["-append".as_ref(), command_line.as_ref()]),
                ];
                arguments.extend(module.iter().map(|module| group(&["-initrd".as_ref(), module.as_ref()])));
                arguments
            }
            Medium::Disc { iso, flash } => {
                let mut arguments = Arguments::new();
                if let Some(Flash { code, variables }) = flash {
                    arguments.push(group(&["-drive".as_ref(), &chip(0, "on", code)]));
                    arguments.push(group(&["-drive".as_ref(), &chip(1, "off", variables)]));
                }
                arguments.push(group(&["-cdrom".as_ref(), iso.as_ref()]));
                arguments
            }
        }
    }
}

fn chip(unit: u8, readonly: &str, file: &Path) -> OsString {
    let mut value = OsString::from(format!("if=pflash,unit={unit},format=raw,readonly={readonly},file="));
    value.push(escape_commas(file.as_os_str()));
    value
}

/// The programs and files that a door needs beside QEMU; what it does not need is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// What makes discs.
    pub grub: Option<iso::Grub>,
    /// UEFI firmware.
    pub ovmf: Option<ovmf::Ovmf>,
}

/// Makes what the door needs in the run's folder, where `kernel` is already, for a kernel that is given `command_line`.
pub fn prepare(
    options: &Options,
    command_line: &str,
    tools: &Tools,
    kernel: &Path,
    folder: &RunDir,
    scratch: Option<&Scratch>,
    observer: &mut dyn Observer,
) -> Result<Medium, Error> {
    let door = options.boot;
    let file = if door.is_multiboot1() { with_header(kernel, folder)? } else { kernel.to_owned() };
    let Some(grub) = &tools.grub else {
        let mut file = file;
        let mut module = replay::place(options, folder)?;
        if let Some(scratch) = scratch.filter(|_| door == Door::Multiboot1) {
            // QEMU writes the file's name on the kernel's command line, where it must be one word, and takes commas and spaces
            // in a module's for marks of its own.
            file = scratch.plain(&file, "kernel")?;
            module = module.map(|module| scratch.plain(&module, "module")).transpose()?;
        }
        let command_line = command_line.to_owned();
        return Ok(Medium::Kernel { file, command_line, module });
    };
    let command = if door.is_multiboot1() { "multiboot" } else { "multiboot2" };
    let iso = grub.make_disc(&file, command, command_line, folder, observer)?;
    let flash = match &tools.ovmf {
        None => None,
        Some(ovmf) => {
            let variables = folder.file("ovmf-variables.fd");
            output::copy(&ovmf.variables, &variables).map_err(Error::file("copy", &ovmf.variables))?;
            Some(Flash { code: ovmf.code.clone(), variables })
        }
    };
    Ok(Medium::Disc { iso, flash })
}

fn with_header(kernel: &Path, folder: &RunDir) -> Result<PathBuf, Error> {
    let bytes = fs::read(kernel).map_err(Error::file("read", kernel))?;
    let patched = header::with_multiboot1_header(bytes)
        .map_err(|error| Error::NotAKernel { path: kernel.to_owned(), reason: error.to_string() })?;
    folder.write("octopod-multiboot1", &patched)
}

#[cfg(test)]
mod tests;
