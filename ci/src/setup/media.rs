//! The tools and the firmware of boot protocols, found and installed only for a protocol that needs them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::{Error, Message, Observer};
use crate::machine::media::iso::{Grub, module_folders};
use crate::machine::media::{Tools, ovmf};
use crate::machine::{BootProtocol, Firmware};
use crate::setup::consent;
use crate::setup::install::{self, Installer};
use crate::setup::packages::{Manager, find_program};

/// A tool that some boot protocols need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// GRUB with its modules for a firmware.
    Grub(Firmware),
    /// The program that writes the ISO image.
    Xorriso,
    /// The programs that make the partition that UEFI reads.
    Mtools,
    /// UEFI firmware.
    Ovmf,
}

impl Need {
    /// The tools and firmware of `protocol`.
    pub fn of(protocol: BootProtocol) -> &'static [Need] {
        match protocol.firmware() {
            None => &[],
            Some(Firmware::Bios) => &[Need::Grub(Firmware::Bios), Need::Xorriso],
            Some(Firmware::Uefi) => &[Need::Grub(Firmware::Uefi), Need::Xorriso, Need::Mtools, Need::Ovmf],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Need::Grub(Firmware::Bios) => "GRUB for BIOS",
            Need::Grub(Firmware::Uefi) => "GRUB for UEFI",
            Need::Xorriso => "xorriso",
            Need::Mtools => "mtools",
            Need::Ovmf => "OVMF",
        }
    }

    /// The packages that hold it; none where it comes with QEMU.
    pub fn packages(self, manager: Manager) -> &'static [&'static str] {
        use Firmware::{Bios, Uefi};
        use Manager::{Apk, Apt, Brew, Dnf, Pacman, Zypper};
        match (self, manager) {
            (Need::Grub(Bios), Apt) => &["grub-common", "grub-pc-bin"],
            (Need::Grub(Uefi), Apt) => &["grub-common", "grub-efi-amd64-bin"],
            (Need::Grub(Bios), Dnf) => &["grub2-tools-extra", "grub2-pc-modules"],
            (Need::Grub(Uefi), Dnf) => &["grub2-tools-extra", "grub2-efi-x64-modules"],
            (Need::Grub(_), Pacman) => &["grub"],
            (Need::Grub(Bios), Zypper) => &["grub2", "grub2-i386-pc"],
            (Need::Grub(Uefi), Zypper) => &["grub2", "grub2-x86_64-efi"],
            (Need::Grub(Bios), Apk) => &["grub", "grub-bios"],
            (Need::Grub(Uefi), Apk) => &["grub", "grub-efi"],
            (Need::Grub(Bios), Brew) => &["i686-elf-grub"],
            (Need::Grub(Uefi), Brew) => &["x86_64-elf-grub"],
            (Need::Xorriso, Pacman) => &["libisoburn"],
            (Need::Xorriso, _) => &["xorriso"],
            (Need::Mtools, _) => &["mtools"],
            (Need::Ovmf, Apt | Apk) => &["ovmf"],
            (Need::Ovmf, Dnf | Pacman) => &["edk2-ovmf"],
            (Need::Ovmf, Zypper) => &["qemu-ovmf-x86_64"],
            (Need::Ovmf, Brew) => &[],
        }
    }

    /// Returns the path if it is installed, for the table of `doctor`.
    ///
    /// # Errors
    /// The user names a folder without the firmware.
    pub fn find(self, qemu: Option<&Path>) -> Result<Option<PathBuf>, Error> {
        Ok(match self {
            Need::Grub(firmware) => {
                find_grub(firmware).map(|(mkrescue, modules)| modules.unwrap_or(mkrescue))
            }
            Need::Xorriso => find_program("xorriso"),
            Need::Mtools => find_program("mformat"),
            Need::Ovmf => find_ovmf(qemu)?.map(|ovmf| ovmf.code),
        })
    }
}

/// Finds the tools and the firmware for `protocol`, and installs missing ones. Firmware may lie beside `qemu`.
///
/// # Errors
/// A tool is missing and cannot be installed.
pub fn provide(
    protocol: BootProtocol,
    qemu: Option<&Path>,
    observer: &mut dyn Observer,
) -> Result<Tools, Error> {
    if Need::of(protocol).is_empty() {
        return Ok(Tools::default());
    }
    // Of several runs in one process, the first installs, and the others find.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = missing(protocol, qemu)?;
    if !missing.is_empty() {
        install_missing(protocol, &missing, observer)?;
        if let Some(still) = self::missing(protocol, qemu)?.first() {
            return Err(cannot_install(
                protocol,
                &[*still],
                "the package that should hold it was installed without it",
            ));
        }
    }
    let grub = protocol.firmware().and_then(find_grub).zip(find_program("xorriso"));
    let grub = grub.map(|((mkrescue, modules), xorriso)| Grub { mkrescue, modules, xorriso });
    let ovmf = if Need::of(protocol).contains(&Need::Ovmf) { find_ovmf(qemu)? } else { None };
    Ok(Tools { grub, ovmf })
}

fn missing(protocol: BootProtocol, qemu: Option<&Path>) -> Result<Vec<Need>, Error> {
    let mut missing = Vec::new();
    for need in Need::of(protocol) {
        if need.find(qemu)?.is_none() {
            missing.push(*need);
        }
    }
    Ok(missing)
}

fn install_missing(
    protocol: BootProtocol,
    missing: &[Need],
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let installer = Installer::find().map_err(|obstacle| cannot_install(protocol, missing, &obstacle))?;
    let packages = packages(missing, installer.manager);
    if packages.is_empty() {
        return Err(cannot_install(protocol, missing, "no package is known to hold it"));
    }
    let line = installer.manager.line_for(&packages);
    consent::obtain(&line).map_err(|obstacle| cannot_install(protocol, missing, &obstacle))?;
    let note = format!(
        "--boot {} needs {}: installing {} with {}",
        protocol.name(),
        names(missing),
        packages.join(", "),
        installer.manager.program()
    );
    observer.receive(Message::Note(&note));
    installer.install(&packages, observer)
}

fn cannot_install(protocol: BootProtocol, missing: &[Need], obstacle: &str) -> Error {
    let what = format!("{}, which --boot {} needs,", names(missing), protocol.name());
    let advice = match missing.contains(&Need::Ovmf) {
        true => format!("{obstacle}; {}=DIR names a folder that has it", ovmf::VARIABLE),
        false => obstacle.to_owned(),
    };
    install::missing(what, |manager| packages(missing, manager), obstacle, advice)
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

/// The packages of all, each once.
pub(super) fn packages(needs: &[Need], manager: Manager) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for package in needs.iter().flat_map(|need| need.packages(manager)) {
        if !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

/// The program, and the folder of its modules if it is not one of Homebrew's, each of which has its platform's only.
fn find_grub(firmware: Firmware) -> Option<(PathBuf, Option<PathBuf>)> {
    let own = match firmware {
        Firmware::Bios => "i686-elf-grub-mkrescue",
        Firmware::Uefi => "x86_64-elf-grub-mkrescue",
    };
    let general =
        ["grub-mkrescue", "grub2-mkrescue"].into_iter().filter_map(find_program).find_map(|program| {
            let modules =
                module_folders(&program, firmware).into_iter().find(|folder| is_complete(folder))?;
            Some((program, Some(modules)))
        });
    general.or_else(|| find_program(own).map(|program| (program, None)))
}

/// Other packages put a file or two into the same folder; the list of what depends on what comes with the modules.
fn is_complete(modules: &Path) -> bool {
    modules.join("moddep.lst").is_file()
}

fn find_ovmf(qemu: Option<&Path>) -> Result<Option<ovmf::Ovmf>, Error> {
    ovmf::find(std::env::var_os(ovmf::VARIABLE).as_deref(), qemu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iso_images_need_anything() {
        assert!(Need::of(BootProtocol::Pvh).is_empty() && Need::of(BootProtocol::Multiboot1).is_empty());
        assert!(!Need::of(BootProtocol::Multiboot2).contains(&Need::Ovmf));
        assert_eq!(Need::of(BootProtocol::Uefi), Need::of(BootProtocol::UefiMultiboot1));
    }

    #[test]
    fn each_package_is_named_once() {
        let both = [Need::Grub(Firmware::Bios), Need::Grub(Firmware::Uefi), Need::Xorriso];
        let expected = ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso"];
        assert_eq!(packages(&both, Manager::Apt), expected);
        assert_eq!(packages(&both, Manager::Pacman), ["grub", "libisoburn"]);
    }

    #[test]
    fn the_line_to_type_has_all_that_is_missing() {
        let line = Manager::Apt.line_for(&packages(Need::of(BootProtocol::Uefi), Manager::Apt));
        let packages = "grub-common grub-efi-amd64-bin xorriso mtools ovmf";
        assert!(line.ends_with(&format!("apt-get install -y --no-install-recommends {packages}")), "{line}");
    }

    #[test]
    fn what_no_package_holds_is_not_installed() {
        let error = cannot_install(BootProtocol::Uefi, &[], "it stands in the test").to_string();
        assert!(error.contains("--boot uefi") && error.contains("it stands in the test"), "{error}");
    }
}
