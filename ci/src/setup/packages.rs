//! The system's package manager: which one it is, whether the launcher may use it, and its command lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::process::{Captured, capture, capture_with};
use crate::base::{Error, Message, Observer};
use crate::setup::limits::{INSTALL_GRACE, INSTALL_LIMIT, PROBE_LIMIT};

/// A package manager that octopod knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, and what is made from it.
    Dnf,
    /// Arch.
    Pacman,
    /// openSUSE.
    Zypper,
    /// Alpine.
    Apk,
    /// macOS.
    Brew,
}

/// Managers by the words of os-release's `ID` and `ID_LIKE`.
const BY_SYSTEM: [(&str, Manager); 9] = [
    ("debian", Manager::Apt),
    ("ubuntu", Manager::Apt),
    ("fedora", Manager::Dnf),
    ("rhel", Manager::Dnf),
    ("arch", Manager::Pacman),
    ("suse", Manager::Zypper),
    ("opensuse", Manager::Zypper),
    ("opensuse-tumbleweed", Manager::Zypper),
    ("alpine", Manager::Apk),
];

impl Manager {
    const ALL: [Manager; 6] =
        [Manager::Apt, Manager::Dnf, Manager::Pacman, Manager::Zypper, Manager::Apk, Manager::Brew];

    /// The manager of this system: the one that belongs to it, else the first that is there.
    pub fn find() -> Option<Manager> {
        if cfg!(target_os = "macos") {
            return Some(Manager::Brew);
        }
        OsRelease::read()
            .manager()
            .or_else(|| Manager::ALL.into_iter().find(|manager| manager.path().is_some()))
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Manager::Apt => "apt-get",
            Manager::Dnf => "dnf",
            Manager::Pacman => "pacman",
            Manager::Zypper => "zypper",
            Manager::Apk => "apk",
            Manager::Brew => "brew",
        }
    }

    /// Returns the path of its program, if it is installed.
    pub fn path(self) -> Option<PathBuf> {
        find_program(self.program())
    }

    /// The package that holds QEMU for x86-64.
    pub fn qemu_packages(self) -> &'static [&'static str] {
        match self {
            Manager::Apt | Manager::Pacman => &["qemu-system-x86"],
            Manager::Dnf => &["qemu-system-x86-core"],
            Manager::Zypper => &["qemu-x86"],
            Manager::Apk => &["qemu-system-x86_64"],
            Manager::Brew => &["qemu"],
        }
    }

    /// Its commands that install `packages`, in order, without asking back.
    pub fn install<'a>(self, packages: &[&'a str]) -> Vec<Vec<&'a str>> {
        let with = |words: &[&'a str]| [words, packages].concat();
        match self {
            Manager::Apt => vec![vec!["update"], with(&["install", "-y", "--no-install-recommends"])],
            Manager::Dnf => vec![with(&["install", "-y", "--setopt=install_weak_deps=False"])],
            Manager::Pacman => vec![with(&["-Sy", "--needed", "--noconfirm"])],
            Manager::Zypper => vec![with(&["--non-interactive", "install", "--no-recommends"])],
            Manager::Apk => vec![with(&["add"])],
            Manager::Brew => vec![with(&["install"])],
        }
    }

    /// The line to type that installs QEMU.
    pub fn line(self) -> String {
        self.line_for(self.qemu_packages())
    }

    /// The line to type that installs `packages`.
    pub fn line_for(self, packages: &[&str]) -> String {
        let sudo = if self == Manager::Brew { "" } else { "sudo " };
        let commands = self.install(packages);
        let lines: Vec<_> =
            commands.iter().map(|words| format!("{sudo}{} {}", self.program(), words.join(" "))).collect();
        lines.join(" && ")
    }
}

/// Homebrew and Debian's sbin are not on every user's PATH.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    which::which(name).ok().or_else(|| {
        let more = ["/usr/local/bin", "/opt/homebrew/bin", "/usr/sbin", "/sbin"];
        // With no PATH at all the user has asked for nothing to be found.
        std::env::var_os("PATH").filter(|path| !path.is_empty())?;
        more.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
    })
}

/// The means by which the launcher runs commands as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It is root, or the manager needs none.
    Direct,
    /// By this sudo, which asks for no password.
    Sudo(PathBuf),
    /// Nothing.
    None,
}

impl Privilege {
    /// Finds out, without a prompt for a password.
    pub fn find(manager: Manager) -> Privilege {
        if manager == Manager::Brew || rustix::process::geteuid().is_root() {
            return Privilege::Direct;
        }
        let Some(sudo) = find_program("sudo") else {
            return Privilege::None;
        };
        match capture(Command::new(&sudo).args(["-n", "true"]), PROBE_LIMIT) {
            Ok(answer) if answer.status.success() => Privilege::Sudo(sudo),
            _ => Privilege::None,
        }
    }

    /// A command with this privilege; `None` without any.
    fn command(&self, program: &Path, environment: &[(&str, &str)]) -> Option<Command> {
        match self {
            Privilege::None => None,
            Privilege::Direct => {
                let mut command = Command::new(program);
                command.envs(environment.iter().copied());
                Some(command)
            }
            Privilege::Sudo(sudo) => {
                // sudo keeps the environment to itself, so that it is set behind it.
                let mut command = Command::new(sudo);
                command
                    .args(["-n", "env"])
                    .args(environment.iter().map(|(name, value)| format!("{name}={value}")));
                command.arg(program);
                Some(command)
            }
        }
    }

    /// Runs `program` with this privilege to its end, telling `observer` what it writes.
    pub(super) fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        observer: &mut dyn Observer,
    ) -> Result<Captured, Error> {
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        // The installation is not interactive, so a package must not ask questions.
        let Some(mut command) = self.command(program, &[("DEBIAN_FRONTEND", "noninteractive")]) else {
            let status = "no root privilege".to_owned();
            return Err(Error::ProgramFailed { program: shown, status, output: String::new() });
        };
        command.args(arguments);
        observer.receive(Message::Step(&shown));
        let ended = capture_with(&mut command, INSTALL_LIMIT, INSTALL_GRACE, |line| {
            observer.receive(Message::Tool(line))
        })?;
        match ended.status.success() {
            true => Ok(ended),
            false => Err(Error::ProgramFailed {
                program: shown,
                status: ended.status.to_string(),
                output: ended.tail(12),
            }),
        }
    }
}

/// The name of a Linux distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `fedora`, ...
    pub id: String,
    /// The distributions that it derives from.
    pub id_like: Vec<String>,
    /// `bookworm`, ...; unstable Debian has none.
    pub codename: Option<String>,
}

impl OsRelease {
    /// Reads this system's, which may have none.
    pub fn read() -> OsRelease {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .find_map(|path| fs::read_to_string(path).ok());
        OsRelease::parse(&text.unwrap_or_default())
    }

    /// Reads its text.
    pub fn parse(text: &str) -> OsRelease {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            shlex::split(line)?.into_iter().next().filter(|value| !value.is_empty())
        };
        OsRelease {
            id: value("ID").unwrap_or_default(),
            id_like: value("ID_LIKE").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            codename: value("VERSION_CODENAME"),
        }
    }

    fn manager(&self) -> Option<Manager> {
        let mut names = std::iter::once(&self.id).chain(&self.id_like);
        names
            .find_map(|name| BY_SYSTEM.iter().find(|(system, _)| system == name).map(|(_, manager)| *manager))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_by_their_name_or_their_parents() {
        let debian =
            OsRelease::parse("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!((debian.manager(), debian.codename.as_deref()), (Some(Manager::Apt), Some("bookworm")));
        let derived = OsRelease::parse("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n");
        assert_eq!((derived.manager(), derived.codename), (Some(Manager::Dnf), None));
        let leap = OsRelease::parse("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n");
        assert_eq!(leap.manager(), Some(Manager::Zypper));
        assert_eq!(OsRelease::parse("").manager(), None);
    }

    #[test]
    fn the_line_to_type_can_be_typed() {
        assert_eq!(
            Manager::Apt.line(),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86"
        );
        assert_eq!(Manager::Brew.line(), "brew install qemu");
    }
}
