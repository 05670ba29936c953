//! What the test of the vectors may find.

use core::fmt;

use crate::cpu::CpuId;

/// What a handler sees of the interrupted code, in the order in which it looks.
pub(super) const SEEN: [&str; 18] = [
    "r15",
    "r14",
    "r13",
    "r12",
    "r11",
    "r10",
    "r9",
    "r8",
    "rbp",
    "rdi",
    "rsi",
    "rdx",
    "rcx",
    "rbx",
    "rax",
    "rsp",
    "rflags",
    "the error code",
];

/// What a vector did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its handler was not called.
    NotHandled {
        /// The CPU.
        cpu: CpuId,
        /// The vector.
        vector: u8,
    },
    /// The interrupt was not counted.
    NotCounted {
        /// The CPU.
        cpu: CpuId,
        /// The vector.
        vector: u8,
    },
    /// The handler saw something else.
    Seen {
        /// The CPU.
        cpu: CpuId,
        /// The vector.
        vector: u8,
        /// What.
        what: &'static str,
        /// The value that it saw.
        value: u64,
    },
    /// `handler` and `replace` do not speak of the same slot of the table of handlers.
    Table {
        /// The vector.
        vector: u8,
    },
    /// The CPU and the thread that it works on do not lead to each other.
    Thread {
        /// The CPU.
        cpu: CpuId,
    },
    /// A register was changed.
    Changed {
        /// The CPU.
        cpu: CpuId,
        /// The vector.
        vector: u8,
        /// Which register.
        register: &'static str,
        /// What it held afterwards.
        value: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotHandled { cpu, vector } => {
                write!(f, "cpu {cpu}, vector {vector}: its handler was not called")
            }
            Failure::NotCounted { cpu, vector } => {
                write!(f, "cpu {cpu}, vector {vector}: it was not counted")
            }
            Failure::Seen { cpu, vector, what, value } => {
                write!(f, "cpu {cpu}, vector {vector}: the handler saw {what} {value:#x}")
            }
            Failure::Table { vector } => {
                write!(f, "vector {vector}: `handler` and `replace` use different slots of the table")
            }
            Failure::Thread { cpu } => write!(f, "cpu {cpu} and its thread do not lead to each other"),
            Failure::Changed { cpu, vector, register, value } => {
                write!(f, "cpu {cpu}, vector {vector}: {register} came back as {value:#x}")
            }
        }
    }
}
