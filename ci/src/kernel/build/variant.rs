//! Which kernel is built: the program, the cargo profile, the features.

use octopod::boot::command_line::{BuiltIn, Options as KernelOptions, Work};

use crate::base::values::Word;
use crate::commands::cli::Options;

/// The kernel's package.
pub const KERNEL_PACKAGE: &str = "octopod";

/// A program for the kernel's target.
pub struct Program<'a> {
    /// What it is a program of.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
}

/// Where a program is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The workspace's package of this name.
    Package(&'static str),
    /// A file in `examples/`.
    Example,
}

/// The kernel of this package.
pub const KERNEL: Program = Program { kind: Kind::Package(KERNEL_PACKAGE), name: "octopod-kernel" };
/// What a compressed kernel is behind.
pub const UNPACKER: Program = Program { kind: Kind::Package("octopod-unpacker"), name: "octopod-unpacker" };

/// The cargo profile and features of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant<'a> {
    /// The cargo profile.
    pub profile: &'static str,
    /// Whether deliberate faults are built in.
    pub faults: bool,
    /// Whether the self-test is.
    pub selftest: bool,
    /// Whether the console is.
    pub shell: bool,
    /// Whether the kernel is packed.
    pub compressed: bool,
    /// The example that is built in the kernel's place.
    pub example: Option<&'a str>,
}

impl Variant<'_> {
    /// The one that `options` ask for.
    pub fn of(options: &Options) -> Variant<'_> {
        let work = work(&options.kernel_command_line());
        Variant {
            example: options.example.as_ref().map(Word::as_str),
            profile: if options.debug { "dev" } else { "kernel" },
            faults: options.fault.is_some(),
            selftest: work == Some(Work::SelfTest),
            shell: work == Some(Work::Shell),
            compressed: options.compressed,
        }
    }

    /// Its name, and that of its folder.
    pub fn name(self) -> String {
        let parts = match self {
            Variant { faults: true, .. } => "-faults",
            Variant { selftest: true, .. } => "-selftest",
            _ => "",
        };
        let shell = if self.shell { "-shell" } else { "" };
        let compressed = if self.compressed { "-compressed" } else { "" };
        let example = self.example.map(|name| format!("-{name}")).unwrap_or_default();
        format!("{}{parts}{shell}{compressed}{example}", self.profile)
    }

    /// What is built and then booted, or compressed.
    pub fn program(&self) -> Program<'_> {
        self.example.map_or(KERNEL, |name| Program { kind: Kind::Example, name })
    }

    /// The features of the kernel's package that it has.
    pub fn features(&self) -> Vec<&'static str> {
        let features = [(self.faults, "faults"), (self.selftest, "selftest"), (self.shell, "shell")];
        features.into_iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| feature).collect()
    }
}

/// What the kernel would be told to do. Its mistakes are the kernel's to tell.
fn work(command_line: &str) -> Option<Work> {
    let options = KernelOptions::parse(command_line.as_bytes(), BuiltIn::ALL);
    options.ok().map(|options| options.work)
}
