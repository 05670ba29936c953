//! Version numbers of QEMU and Bochs, in the forms that the programs and package managers print.

use std::fmt;

/// `major.minor.micro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
}

impl Version {
    /// The oldest that octopod is tested with.
    pub const OLDEST_TESTED: Version = Version { major: 7, minor: 2, micro: 0 };

    /// The first whose TCG has x2APIC.
    pub const TCG_X2APIC: Version = Version { major: 9, minor: 0, micro: 0 };

    /// Reads the first line of `qemu-system-x86_64 --version`.
    pub fn from_banner(banner: &str) -> Option<Version> {
        let (_, rest) = banner.lines().next()?.split_once("QEMU emulator version ")?;
        Version::from_start(rest)
    }

    /// Reads Bochs's banner.
    pub fn from_bochs_banner(banner: &str) -> Option<Version> {
        banner.lines().find_map(|line| Version::from_start(line.split_once("Bochs x86 Emulator ")?.1))
    }

    /// Reads a Debian package's version, as `1:10.0.2+ds-2~bpo12+1`: what counts is QEMU's part.
    pub fn from_debian(version: &str) -> Option<Version> {
        Version::from_start(version.split_once(':').map_or(version, |(_, rest)| rest))
    }

    fn from_start(text: &str) -> Option<Version> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let micro = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Version { major, minor, micro })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_are_read_with_and_without_a_packagers_addition() {
        let read = |banner| Version::from_banner(banner).map(|version| version.to_string());
        assert_eq!(
            read("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"),
            Some("10.0.2".to_owned())
        );
        assert_eq!(read("QEMU emulator version 9.2\n"), Some("9.2.0".to_owned()));
        assert_eq!(read("QEMU emulator version 8.2.50 (v8.2.0-1)"), Some("8.2.50".to_owned()));
        assert_eq!(read("GNU bash, version 5.2"), None);
        let bochs = Version::from_bochs_banner("=====\n       Bochs x86 Emulator 2.7\n    Built from SVN");
        assert_eq!(bochs, Some(Version { major: 2, minor: 7, micro: 0 }));
        assert_eq!(read(""), None);
    }

    #[test]
    fn ten_is_newer_than_nine_and_epochs_do_not_count() {
        let [old, new, epoch] = ["7.2+dfsg-7+deb12u16", "10.0.2+ds-2~bpo12+1", "1:9.1.0-1"]
            .map(|text| Version::from_debian(text).unwrap());
        assert!(old < epoch && epoch < new);
        assert!(old >= Version::OLDEST_TESTED && old < Version::TCG_X2APIC);
    }
}
