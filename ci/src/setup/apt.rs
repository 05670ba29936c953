//! Installs by apt. A Debian release keeps its version of QEMU; its backports often have a newer one, whose TCG supports x2APIC.
//! Where that is needed, the backports suite is added from the mirror of the machine's own configuration, and kept only if its
//! QEMU is newer. If the configuration names no mirror, the line to add is printed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::process::capture;
use crate::base::{Error, Message, Observer, Version};
use crate::setup::limits::PROBE_LIMIT;
use crate::setup::packages::{OsRelease, Privilege, find_program};

const PACKAGE: &str = "qemu-system-x86";
const ADDED_FILE: &str = "/etc/apt/sources.list.d/octopod-backports.sources";

/// Suites that name a release by its age. Other archives than Debian's use these names too.
const ALIASES: [&str; 4] = ["stable", "oldstable", "oldoldstable", "testing"];

/// One source of packages, from either of apt's formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The addresses of the repository.
    pub uris: Vec<String>,
    /// Its suites, as `bookworm` or `bookworm-updates`.
    pub suites: Vec<String>,
    /// Its components, as `main`.
    pub components: Vec<String>,
    /// The key that signs it: a file's path, or the key itself on several lines.
    pub signed_by: Option<String>,
}

/// The backports suite of this release, if it is one of Debian's.
fn backports() -> Option<String> {
    let release = OsRelease::read();
    release.codename.filter(|_| release.id == "debian").map(|codename| format!("{codename}-backports"))
}

/// Returns whether this system's release has backports.
pub(super) fn has_backports() -> bool {
    backports().is_some()
}

/// Installs QEMU from backports if their version is newer than the release's.
///
/// # Errors
/// apt fails, or the user refuses the privilege.
pub fn install_newer_qemu(
    apt_get: &Path,
    privilege: &Privilege,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let apt = Apt { apt_get, privilege };
    let Some(suite) = backports() else {
        apt.update(observer)?;
        return apt.install(None, &[PACKAGE], observer);
    };
    let sources = read_sources(Path::new("/etc/apt"));
    let is_configured = sources.iter().any(|source| source.suites.contains(&suite));
    let added = if is_configured { None } else { backports_source(&sources, &suite) };
    if is_configured || added.is_some() {
        match apt.install_from_backports(&suite, added.as_deref(), observer) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => observer.receive(Message::Note(&format!("{suite} cannot be used: {error}"))),
        }
    } else {
        observer.receive(Message::Note(&line_to_add(&suite)));
    }
    if added.is_some() && Path::new(ADDED_FILE).exists() {
        observer.receive(Message::Note(&format!("removing {ADDED_FILE} again")));
        apt.remove_added_file(observer)?;
    }
    apt.update(observer)?;
    apt.install(None, &[PACKAGE], observer)
}

/// Installs packages that are new enough in every release.
///
/// # Errors
/// apt fails, or the user refuses the privilege.
pub fn install(
    apt_get: &Path,
    privilege: &Privilege,
    packages: &[&str],
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let apt = Apt { apt_get, privilege };
    apt.update(observer)?;
    apt.install(None, packages, observer)
}

struct Apt<'a> {
    apt_get: &'a Path,
    privilege: &'a Privilege,
}

impl Apt<'_> {
    /// Installs QEMU from `suite`, which the file `added` adds unless it is configured. False if the suite has no newer
    /// QEMU than the release.
    fn install_from_backports(
        &self,
        suite: &str,
        added: Option<&str>,
        observer: &mut dyn Observer,
    ) -> Result<bool, Error> {
        if let Some(text) = added {
            let source = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("; ");
            observer.receive(Message::Note(&format!("adding a package source, {ADDED_FILE}: {source}")));
            self.add_file(text, observer)?;
        }
        self.update(observer)?;
        let offers = self.offers()?;
        let newest = |from_suite: bool| {
            let offers = offers.iter().filter(|offer| (offer.suite == suite) == from_suite);
            offers.map(|offer| offer.version).max()
        };
        if newest(true) <= newest(false) {
            observer.receive(Message::Note(&format!("{suite} has no newer QEMU")));
            return Ok(false);
        }
        self.install(Some(suite), &[PACKAGE], observer)?;
        Ok(true)
    }

    /// Not all of a machine's sources may answer, and those that QEMU comes from may still: what counts is what apt
    /// offers in the end, and whether it installs.
    fn update(&self, observer: &mut dyn Observer) -> Result<(), Error> {
        match self.privilege.run(self.apt_get, &["update", "-q"], observer) {
            Err(error @ Error::ProgramFailed { .. }) => observer.receive(Message::Note(&error.to_string())),
            other => drop(other?),
        }
        Ok(())
    }

    fn install(
        &self,
        suite: Option<&str>,
        packages: &[&str],
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
        // Another launcher may be installing too.
        arguments.extend(["-o", "DPkg::Lock::Timeout=300"]);
        arguments.extend(suite.iter().flat_map(|suite| ["-t", suite]));
        arguments.extend(packages);
        self.privilege.run(self.apt_get, &arguments, observer).map(drop)
    }

    /// The versions that apt could install. Reading takes no privilege.
    fn offers(&self) -> Result<Vec<Offer>, Error> {
        let program = find_program("apt-cache").unwrap_or_else(|| self.apt_get.with_file_name("apt-cache"));
        Ok(read_madison(&capture(Command::new(program).args(["madison", PACKAGE]), PROBE_LIMIT)?.stdout))
    }

    fn add_file(&self, text: &str, observer: &mut dyn Observer) -> Result<(), Error> {
        let own = tempfile::Builder::new().suffix(".sources").tempfile();
        let own = own.map_err(Error::file("make a file in", std::env::temp_dir()))?;
        fs::write(own.path(), text).map_err(Error::file("write", own.path()))?;
        let from = own.path().to_string_lossy();
        // apt reads its sources as another user.
        self.privilege.run(&tool("install"), &["-m", "0644", &from, ADDED_FILE], observer).map(drop)
    }

    fn remove_added_file(&self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.privilege.run(&tool("rm"), &["-f", ADDED_FILE], observer).map(drop)
    }
}

fn tool(name: &str) -> PathBuf {
    find_program(name).unwrap_or_else(|| name.into())
}

/// A version that apt could install, and the suite that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    version: Version,
    suite: String,
}

/// Reads `apt-cache madison`: `package | version | uri suite/component arch Packages`.
fn read_madison(text: &str) -> Vec<Offer> {
    let offer = |line: &str| {
        let mut columns = line.split('|').map(str::trim);
        let (_, version, origin) = (columns.next()?, columns.next()?, columns.next()?);
        let (suite, _) = origin.split_whitespace().nth(1)?.split_once('/')?;
        Some(Offer { version: Version::from_debian(version)?, suite: suite.to_owned() })
    };
    text.lines().filter_map(offer).collect()
}

/// Reads all sources that are switched on, of `/etc/apt` or a folder like it.
pub fn read_sources(folder: &Path) -> Vec<Source> {
    let mut files = vec![folder.join("sources.list")];
    let more = fs::read_dir(folder.join("sources.list.d")).into_iter().flatten().filter_map(Result::ok);
    files.extend(more.map(|entry| entry.path()));
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// Reads a line as `deb [signed-by=/k.gpg] http://m.example/debian bookworm main`.
fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    // Not `deb-src`.
    let mut rest = rest.strip_prefix([' ', '\t', '['])?.trim_start();
    let mut signed_by = None;
    if let Some((options, behind)) = line.split_once('[').and_then(|(_, behind)| behind.split_once(']')) {
        let mut options = options.split_whitespace();
        signed_by = options.find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
        rest = behind;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by,
    })
}

/// Reads the format of `*.sources`: stanzas of `Name: value`, where a line that begins with a space continues.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            sources.extend(deb822_source(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn deb822_source(fields: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let words = |name: &str| -> Vec<String> {
        field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let off = field("enabled").is_some_and(|value| ["no", "false", "0", "off"].contains(&value.as_str()));
    if off || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by"),
    })
}

/// The text of a file that adds `suite`, fetched from the mirror of the release and signed as the release is. `None` if
/// the configuration names no mirror of the release.
fn backports_source(sources: &[Source], suite: &str) -> Option<String> {
    let codename = suite.strip_suffix("-backports").unwrap_or(suite);
    let (source, uris) = mirror_of(sources, codename)?;
    let mut text = "# Added by octopod's launcher for a newer QEMU; may be removed.\n".to_owned();
    let _ = writeln!(text, "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main", uris.join(" "));
    if let Some(key) = &source.signed_by {
        let _ = writeln!(text, "Signed-By: {key}");
    }
    Some(text)
}

/// The source that the release comes from, with those of its URIs that are fetched over a network: by the release's name,
/// else by that of its updates, else by its age.
fn mirror_of<'a>(sources: &'a [Source], codename: &str) -> Option<(&'a Source, Vec<&'a str>)> {
    let updates = format!("{codename}-updates");
    let is_fetched = |uri: &&str| !["cdrom:", "file:", "copy:"].iter().any(|local| uri.starts_with(local));
    let uris = |source: &'a Source, by_age: bool| -> Vec<&'a str> {
        let uris = source.uris.iter().map(String::as_str).filter(is_fetched);
        uris.filter(|uri| !by_age || uri.trim_end_matches('/').ends_with("/debian")).collect()
    };
    let find = |by_age: bool, is_suite: &dyn Fn(&str) -> bool| {
        let has_main = |source: &&Source| source.components.iter().any(|component| component == "main");
        let named = |source: &&Source| source.suites.iter().any(|suite| is_suite(suite));
        let candidates = sources.iter().filter(has_main).filter(named);
        candidates.map(|source| (source, uris(source, by_age))).find(|(_, uris)| !uris.is_empty())
    };
    find(false, &|suite| suite == codename)
        .or_else(|| find(false, &|suite| suite == updates))
        .or_else(|| find(true, &|suite| ALIASES.contains(&suite)))
}

/// The advice if no mirror is known.
fn line_to_add(suite: &str) -> String {
    format!(
        "apt's configuration names no mirror of this release, so that its own QEMU is installed; for a newer one add \
         `deb MIRROR {suite} main`, with the URI of a Debian mirror, to /etc/apt/sources.list"
    )
}

#[cfg(test)]
mod tests;
