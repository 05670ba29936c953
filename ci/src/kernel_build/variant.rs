//! Which kernel is built: the program, the cargo profile, the features.

use octopod::boot::command_line::{BuiltIn, Options as KernelOptions, Work};

use crate::cli::Options;
use crate::values::Word;

/// A package's program for the kernel's target.
pub struct Program<'a> {
    /// The package.
    pub package: &'static str,
    /// What cargo calls programs of its kind: `bin` or `example`.
    pub kind: &'static str,
    /// The program's name.
    pub name: &'a str,
}

/// The kernel of this package.
pub const KERNEL: Program = Program { package: "octopod", kind: "bin", name: "octopod-kernel" };
/// What a compressed kernel is behind.
pub const UNPACKER: Program = Program { package: "octopod-unpacker", kind: "bin", name: "octopod-unpacker" };

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
        self.example.map_or(KERNEL, |name| Program { package: KERNEL.package, kind: "example", name })
    }
}

/// What the kernel would be told to do. Its mistakes are the kernel's to tell.
fn work(command_line: &str) -> Option<Work> {
    let options = KernelOptions::parse(command_line.as_bytes(), BuiltIn::ALL);
    options.ok().map(|options| options.work)
}
