//! The configuration of the kernel: the program, the cargo profile and the features, or an existing file.

use std::path::PathBuf;

use crate::kernel::Kernel;

/// The kernel's package.
pub const KERNEL_PACKAGE: &str = "octopod";

/// A program for the kernel's target.
pub struct Program<'a> {
    /// The program to build.
    pub kind: ProgramKind,
    /// Its name.
    pub name: &'a str,
}

/// The source of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// The workspace's package of this name.
    Package(&'static str),
    /// A file in `examples/`.
    Example,
}

/// The kernel of this package.
pub const KERNEL: Program = Program { kind: ProgramKind::Package(KERNEL_PACKAGE), name: "octopod-kernel" };
/// The loader of a compressed kernel.
pub const UNPACKER: Program =
    Program { kind: ProgramKind::Package("octopod-unpacker"), name: "octopod-unpacker" };

/// The source of the kernel.
#[derive(Clone, Debug, Default)]
pub enum KernelSource {
    /// Built: that of the workspace, octopod's own in a checkout.
    #[default]
    Workspace,
    /// Built: the example of this name.
    Example(String),
    /// An ELF file that the user names.
    File(PathBuf),
    /// A kernel that has been built before.
    Built(Box<Kernel>),
}

/// The kernel of a run.
#[derive(Clone, Debug, Default)]
pub struct KernelConfig {
    /// Its source.
    pub source: KernelSource,
    /// True if it is built without optimisation.
    pub debug: bool,
    /// True if it is compressed, and booted by a loader that unpacks it.
    pub compressed: bool,
    /// True if fault injection is built in.
    pub faults: bool,
    /// True if the checks of locks are needed.
    pub checked: bool,
    /// True if the self-test is needed.
    pub selftest: bool,
    /// True if the console is needed.
    pub shell: bool,
}

impl KernelConfig {
    /// The name of the kernel that is built, and of its folder. Two configurations of one name build the same file.
    pub fn variant(&self) -> String {
        let parts = match self {
            _ if self.has_faults() => "-faults",
            _ if self.has_tools() => "-tools",
            _ => "",
        };
        let compressed = if self.compressed { "-compressed" } else { "" };
        let example = self.example().map(|name| format!("-{name}")).unwrap_or_default();
        format!("{}{parts}{compressed}{example}", self.profile())
    }

    /// True if the self-test and the console are built in: one kernel serves both.
    fn has_tools(&self) -> bool {
        self.selftest || self.shell || self.has_faults()
    }

    /// True if fault injection and the checks of locks are built in: one kernel serves both.
    fn has_faults(&self) -> bool {
        self.faults || self.checked
    }

    /// The cargo profile.
    pub fn profile(&self) -> &'static str {
        if self.debug { "dev" } else { "kernel" }
    }

    /// The example that is built in the kernel's place.
    pub fn example(&self) -> Option<&str> {
        match &self.source {
            KernelSource::Example(name) => Some(name),
            _ => None,
        }
    }

    /// The kernel to build, to boot or to compress.
    pub fn program(&self) -> Program<'_> {
        self.example().map_or(KERNEL, |name| Program { kind: ProgramKind::Example, name })
    }

    /// The features of the kernel's package that it has.
    pub fn features(&self) -> Vec<&'static str> {
        let tools = self.has_tools();
        let features = [(self.has_faults(), "faults"), (tools, "selftest"), (tools, "shell")];
        features.into_iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| feature).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_do_not_share_a_file() {
        let name = |debug, faults, compressed| {
            KernelConfig { debug, faults, compressed, ..KernelConfig::default() }.variant()
        };
        assert_eq!([name(false, false, false), name(true, false, false)], ["kernel", "dev"]);
        assert_eq!([name(false, true, false), name(true, true, false)], ["kernel-faults", "dev-faults"]);
        assert_eq!(
            [name(false, false, true), name(true, true, true)],
            ["kernel-compressed", "dev-faults-compressed"]
        );
        let default = KernelConfig::default;
        let (selftest, shell) =
            (KernelConfig { selftest: true, ..default() }, KernelConfig { shell: true, ..default() });
        assert_eq!([selftest.variant(), shell.variant()], ["kernel-tools", "kernel-tools"]);
        assert_eq!(selftest.features(), shell.features());
        let checked = KernelConfig { checked: true, ..default() };
        assert_eq!((checked.variant().as_str(), checked.features()[0]), ("kernel-faults", "faults"));
        let source = KernelSource::Example("hello".to_owned());
        assert_eq!(KernelConfig { source, ..default() }.variant(), "kernel-hello");
    }
}
