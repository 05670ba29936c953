//! The boot medium: the kernel's file, or an ISO image with GRUB. It is made from the ELF file and written to the run's folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::files::{RunFolder, Scratch, output};
use crate::base::{Error, Observer};
use crate::machine::BootProtocol;
use crate::machine::arguments::{Arguments, escape_commas};

pub mod archive;
pub mod header;
pub mod iso;
mod loaded;
pub mod ovmf;

pub use loaded::Loaded;

/// The archive of modules in the run's folder.
pub const MODULES: &str = "modules.bin";

/// The boot medium of QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A file that QEMU loads itself.
    Kernel {
        /// The file.
        file: PathBuf,
        /// The kernel's command line.
        command_line: String,
        /// The archive of modules.
        module: Option<PathBuf>,
    },
    /// An ISO image with GRUB, which has the command line too.
    Iso {
        /// The image.
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
        let (Medium::Kernel { file: path, .. } | Medium::Iso { iso: path, .. }) = self;
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
            iso => iso.clone(),
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
            Medium::Iso { iso, flash } => {
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

/// The programs and files that a boot protocol needs beside QEMU; what it does not need is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// The program that makes ISO images.
    pub grub: Option<iso::Grub>,
    /// UEFI firmware.
    pub ovmf: Option<ovmf::Ovmf>,
}

/// Makes what the boot protocol needs in the run's folder, where the kernel is already.
///
/// # Errors
/// The kernel has no header for the protocol, or a file cannot be made.
pub fn prepare(
    protocol: BootProtocol,
    loaded: Loaded<'_>,
    tools: &Tools,
    folder: &RunFolder,
    scratch: Option<&Scratch>,
    observer: &mut dyn Observer,
) -> Result<Medium, Error> {
    let Loaded { kernel, command_line, modules } = loaded.clone();
    let file = if protocol.is_multiboot1() { with_header(kernel, folder)? } else { kernel.to_owned() };
    let Some(grub) = &tools.grub else {
        let mut file = file;
        let mut module = None;
        if !modules.is_empty() {
            module = Some(folder.write(MODULES, &archive::pack(modules)?)?);
        }
        if let Some(scratch) = scratch.filter(|_| protocol == BootProtocol::Multiboot1) {
            // QEMU writes the file's name on the kernel's command line, where it must be one word, and takes commas and spaces
            // in a module's for marks of its own.
            file = scratch.plain(&file, "kernel")?;
            module = module.map(|module| scratch.plain(&module, "module")).transpose()?;
        }
        let command_line = command_line.to_owned();
        return Ok(Medium::Kernel { file, command_line, module });
    };
    let command = if protocol.is_multiboot1() { "multiboot" } else { "multiboot2" };
    let loaded = Loaded { kernel: &file, ..loaded };
    let iso = grub.make_iso(loaded, command, folder, observer)?;
    let flash = match &tools.ovmf {
        None => None,
        Some(ovmf) => {
            let variables = folder.file("ovmf-variables.fd");
            output::copy(&ovmf.variables, &variables).map_err(Error::copy(&ovmf.variables, &variables))?;
            Some(Flash { code: ovmf.code.clone(), variables })
        }
    };
    Ok(Medium::Iso { iso, flash })
}

fn with_header(kernel: &Path, folder: &RunFolder) -> Result<PathBuf, Error> {
    let bytes = fs::read(kernel).map_err(Error::file("read", kernel))?;
    let patched = header::with_multiboot1_header(bytes)
        .map_err(|error| Error::NotAKernel { path: kernel.to_owned(), reason: error.to_string() })?;
    folder.write("octopod-multiboot1", &patched)
}

#[cfg(test)]
mod tests;
