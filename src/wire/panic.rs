//! Last words: of the CPU that panicked first, and of every other.

use serde::{Deserialize, Serialize};

use super::LockWait;

/// What the first CPU that panicked says. Ends the run with [`ExitCode::Panicked`](super::ExitCode::Panicked).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panic<S> {
    /// The CPU that panicked first.
    pub cpu: u32,
    /// What it said, cut to what fits.
    pub message: S,
    /// Where in the source, as `file:line`; absent for an exception.
    pub location: Option<S>,
    /// The instruction at fault; absent for a panic.
    pub rip: Option<u64>,
    /// What to subtract from an address to find it in the kernel's ELF file.
    pub slide: u64,
    /// How far the boot had come, as [`BootStage`](super::BootStage) names it.
    pub stage: Option<S>,
    /// The TSC when it did.
    pub tsc: Option<u64>,
    /// The TSC's frequency, in kHz; absent before the kernel knows it.
    #[serde(default)]
    pub tsc_khz: Option<u64>,
}

/// A return address in the panicking CPU's stack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacktraceFrame {
    /// The address as the CPU had it.
    pub address: u64,
}

/// The most locks that are told of for one CPU.
pub const LOCKS_IN_RECORD: usize = 4;

/// What is known of a CPU when the kernel has panicked: one record for each that was called, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PanicCpu<S> {
    /// The CPU.
    pub cpu: u32,
    /// `panicked`, `stopped` by NMI, `silent` if that did not reach it, `offline`, or `failed` if it never came up.
    pub state: S,
    /// The stage of its bring-up.
    pub stage: S,
    /// What it panicked of, if it did and was not the first.
    pub message: Option<S>,
    /// Its registers, if they are known.
    pub registers: Option<Registers>,
    /// The named locks that it holds; there may be more.
    pub locks: heapless::Vec<S, LOCKS_IN_RECORD>,
}

/// The spin lock that a CPU waits for when the kernel panics, behind its [`PanicCpu`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicWait<S> {
    /// The CPU.
    pub cpu: u32,
    /// What it waits for.
    pub wait: LockWait<S>,
}

/// A return address on the stack of a CPU other than the first that panicked, innermost first, behind its [`PanicCpu`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicFrame {
    /// The CPU.
    pub cpu: u32,
    /// The address as the CPU had it.
    pub address: u64,
}

/// A CPU's registers, in the order of [`Registers::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers(pub [u64; Registers::COUNT]);

impl Registers {
    /// How many there are.
    pub const COUNT: usize = Registers::NAMES.len();

    /// Their names.
    pub const NAMES: [&'static str; 20] = [
        "RIP", "RSP", "RBP", "RFLAGS", "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "R8", "R9", "R10", "R11",
        "R12", "R13", "R14", "R15", "CR2", "CR3",
    ];

    /// The instruction pointer.
    pub fn rip(&self) -> u64 {
        self.0[0]
    }

    /// The stack pointer.
    pub fn rsp(&self) -> u64 {
        self.0[1]
    }

    /// The frame pointer.
    pub fn rbp(&self) -> u64 {
        self.0[2]
    }

    /// Each with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Registers::NAMES.into_iter().zip(self.0)
    }
}
