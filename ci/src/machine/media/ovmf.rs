//! OVMF, the UEFI firmware for QEMU's machines. Distributions install it at different paths.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::base::Error;

/// Names a folder that holds the firmware.
pub const VARIABLE: &str = "OCTOPOD_OVMF";

/// Folders by distribution.
const FOLDERS: [&str; 7] = [
    // Debian, Ubuntu, Alpine.
    "/usr/share/OVMF",
    // Fedora.
    "/usr/share/edk2/ovmf",
    // Arch, now and formerly.
    "/usr/share/edk2/x64",
    "/usr/share/edk2-ovmf/x64",
    // Gentoo.
    "/usr/share/edk2-ovmf",
    // openSUSE; others put what QEMU itself brings along here.
    "/usr/share/qemu",
    "/usr/local/share/qemu",
];

/// Code and variables go together, and have several names. Only builds without Secure Boot: it wants a machine with SMM,
/// and would refuse an unsigned GRUB.
const NAMES: [(&str, &str); 6] = [
    ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
    ("OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("ovmf-x86_64-4m-code.bin", "ovmf-x86_64-4m-vars.bin"),
    ("ovmf-x86_64-code.bin", "ovmf-x86_64-vars.bin"),
    // QEMU's own, as Homebrew installs it. The variables serve both word sizes.
    ("edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
];

/// The firmware's two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ovmf {
    /// Its code.
    pub code: PathBuf,
    /// Its variables, as they are when it is new.
    pub variables: PathBuf,
}

/// Finds the firmware: in the folder that the user names, else where distributions install it, else beside QEMU.
///
/// # Errors
/// The folder that the user names has no firmware.
pub fn find(named: Option<&OsStr>, qemu: Option<&Path>) -> Result<Option<Ovmf>, Error> {
    let Some(named) = named.filter(|name| !name.is_empty()) else {
        let folders = FOLDERS.map(PathBuf::from).into_iter();
        return Ok(search(folders.chain(qemu.into_iter().flat_map(beside))));
    };
    match search([PathBuf::from(named)]) {
        Some(ovmf) => Ok(Some(ovmf)),
        None => {
            let what = format!("UEFI firmware in {}, the folder that {VARIABLE} names,", named.display());
            let pairs = NAMES.map(|(code, variables)| format!("{code} and {variables}"));
            Err(Error::MissingByHand { what, advice: format!("looked for {}", pairs.join(", ")) })
        }
    }
}

/// `share/qemu` of the folder that QEMU is installed in, by the program's name and by where a link of that name leads.
fn beside(qemu: &Path) -> impl Iterator<Item = PathBuf> {
    let programs = [Some(qemu.to_owned()), qemu.canonicalize().ok()].into_iter().flatten();
    programs.filter_map(|program| Some(program.parent()?.parent()?.join("share/qemu")))
}

fn search(folders: impl IntoIterator<Item = PathBuf>) -> Option<Ovmf> {
    folders.into_iter().find_map(|folder| {
        let pairs = NAMES
            .iter()
            .map(|(code, variables)| Ovmf { code: folder.join(code), variables: folder.join(variables) });
        pairs.into_iter().find(|ovmf| ovmf.code.is_file() && ovmf.variables.is_file())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_counts_only_if_it_has_both_files() {
        let half = folder(&["OVMF_CODE_4M.fd", "OVMF_VARS.fd"]);
        let whole = folder(&["OVMF_CODE.fd", "OVMF_VARS.fd", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"]);
        assert_eq!(search([half.path().to_owned()]), None);
        let found = search([half.path().to_owned(), whole.path().to_owned()]).unwrap();
        assert_eq!(found.code, whole.path().join("OVMF_CODE_4M.fd"));
        assert_eq!(found.variables, whole.path().join("OVMF_VARS_4M.fd"));
    }

    #[test]
    fn a_named_folder_must_have_it_and_is_the_only_one() {
        let whole = folder(&["OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"]);
        let found = find(Some(whole.path().as_os_str()), None).unwrap().unwrap();
        assert_eq!(found.code, whole.path().join("OVMF_CODE.4m.fd"));
        let error = find(Some("/nonexistent".as_ref()), None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent") && error.contains("OVMF_CODE_4M.fd"), "{error}");
    }

    #[test]
    fn qemus_own_is_found_beside_it_and_behind_a_link() {
        let prefix = tempfile::tempdir().unwrap();
        let cellar = prefix.path().join("cellar");
        for path in ["bin", "cellar/bin", "cellar/share/qemu"] {
            fs::create_dir_all(prefix.path().join(path)).unwrap();
        }
        for name in ["share/qemu/edk2-x86_64-code.fd", "share/qemu/edk2-i386-vars.fd", "bin/qemu"] {
            fs::write(cellar.join(name), "").unwrap();
        }
        let link = prefix.path().join("bin/qemu");
        std::os::unix::fs::symlink(cellar.join("bin/qemu"), &link).unwrap();
        let found = search(beside(&link)).unwrap();
        assert!(found.code.ends_with("cellar/share/qemu/edk2-x86_64-code.fd"), "{found:?}");
    }
}
