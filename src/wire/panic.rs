//! Records of a panic.

use serde::{Deserialize, Serialize};

use super::LockWait;

/// The panic of the first CPU that panicked. Ends the run with [`ExitCode::Panicked`](super::ExitCode::Panicked).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panic<S> {
    /// The CPU that panicked first.
    pub cpu: u32,
    /// The message, truncated if too long.
    pub message: S,
    /// The source location as `file:line`; `None` for an exception.
    pub location: Option<S>,
    /// The faulting instruction's address; `None` for a panic.
    pub rip: Option<u64>,
    /// The run-time address minus the address in the kernel's ELF file.
    pub slide: u64,
    /// The name of the [`BootStage`](super::BootStage).
    pub stage: Option<S>,
    /// The TSC at the panic.
    pub tsc: Option<u64>,
    /// The TSC's frequency in kHz; `None` before the calibration.
    #[serde(default)]
    pub tsc_khz: Option<u64>,
}

/// A return address on the stack of the CPU that panicked first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacktraceFrame {
    /// The run-time address.
    pub address: u64,
}

/// The maximum number of locks in a record.
pub const LOCKS_IN_RECORD: usize = 4;

/// The state of a CPU at a panic: one record for each CPU that was started, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PanicCpu<S> {
    /// The CPU.
    pub cpu: u32,
    /// `panicked`; `stopped` by NMI; `silent` if it did not respond to the NMI; `offline`; or `failed` if it never came online.
    pub state: S,
    /// The stage of its bring-up.
    pub stage: S,
    /// Its panic message, if it panicked and was not the first.
    pub message: Option<S>,
    /// Its registers, if known.
    pub registers: Option<Registers>,
    /// The named locks that it holds, up to the maximum.
    pub locks: heapless::Vec<S, LOCKS_IN_RECORD>,
}

/// The spin lock that a CPU waits for at a panic. Follows its [`PanicCpu`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicWait<S> {
    /// The CPU.
    pub cpu: u32,
    /// The wait.
    pub wait: LockWait<S>,
}

/// A return address on the stack of a CPU that did not panic first, innermost first. Follows its [`PanicCpu`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicFrame {
    /// The CPU.
    pub cpu: u32,
    /// The run-time address.
    pub address: u64,
}

/// The most threads of a panic report: the newest ones.
pub const MAX_PANIC_THREADS: usize = 64;

/// The most return addresses of a thread.
pub const CALLS_IN_THREAD: usize = 24;

/// A thread at a panic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicThread<S> {
    /// Its number.
    pub id: u64,
    /// Its name; may be empty.
    pub name: S,
    /// `running`, `ready`, `parked`, `blocked` or `ended`.
    pub state: S,
    /// The CPU that runs it or has run it last.
    pub cpu: u32,
    /// What it waits for, if that is known.
    pub waits_for: Option<S>,
    /// The return addresses on its stack, innermost first, if it does not run.
    pub frames: heapless::Vec<u64, CALLS_IN_THREAD>,
}

/// A line that the program adds to the report, after everything else: see [`panic_context!`](crate::panic_context!).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicContextLine<S> {
    /// The name under which the program writes it.
    pub name: S,
    /// The line.
    pub text: S,
}

/// A CPU's registers, in the order of [`Registers::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers(pub [u64; Registers::COUNT]);

impl Registers {
    /// The number of registers.
    pub const COUNT: usize = Registers::NAMES.len();

    /// The names of the registers.
    pub const NAMES: [&'static str; 20] = [
        "RIP", "RSP", "RBP", "RFLAGS", "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "R8", "R9", "R10", "R11",
        "R12", "R13", "R14", "R15", "CR2", "CR3",
    ];

    /// Returns the instruction pointer.
    pub fn rip(&self) -> u64 {
        self.0[0]
    }

    /// Returns the stack pointer.
    pub fn rsp(&self) -> u64 {
        self.0[1]
    }

    /// Returns the frame pointer.
    pub fn rbp(&self) -> u64 {
        self.0[2]
    }

    /// Returns the registers with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Registers::NAMES.into_iter().zip(self.0)
    }
}
