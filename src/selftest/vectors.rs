//! All 256 vectors are entered as the processor enters them, with a pattern in every register. Each must lead to a
//! handler that sees its own number, the error code where there is one, and the pattern; and afterwards every register
//! and the flags must be what they were.

use core::cell::Cell;
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, thread};
use crate::interrupts::{self, Frame, Handler, Vector};
use crate::sync::IrqMutex;
use crate::{per_cpu, smp};

/// How long all CPUs have, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// What the probe pushes where the processor pushes an error code.
const ERROR_CODE: u64 = 0x5a;

/// Carry, parity, adjust, zero, sign, direction and overflow, and the bit that is always set; interrupts stay off.
const FLAGS: u64 = 0xcd7;

/// The general registers and the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Registers {
    general: [u64; 15],
    flags: u64,
}

/// The general registers in the order of [`Frame`].
const NAMES: [&str; 15] =
    ["r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rbp", "rdi", "rsi", "rdx", "rcx", "rbx", "rax"];

macro_rules! probe {
    ($($symbol:literal = $index:literal),+ $(,)?) => {
        core::arch::global_asm!(
            $(concat!(".set PROBE_", $symbol, ", 8 * ", $index),)+
            ".set PROBE_FLAGS, {flags}",
            ".set PROBE_ERROR_CODE, {error_code}",
            include_str!("probe.S"),
            flags = const offset_of!(Registers, flags),
            error_code = const ERROR_CODE,
            options(att_syntax)
        );
    };
}

probe!(
    "R15" = 0,
    "R14" = 1,
    "R13" = 2,
    "R12" = 3,
    "R11" = 4,
    "R10" = 5,
    "R9" = 6,
    "R8" = 7,
    "RBP" = 8,
    "RDI" = 9,
    "RSI" = 10,
    "RDX" = 11,
    "RCX" = 12,
    "RBX" = 13,
    "RAX" = 14,
);

unsafe extern "C" {
    fn interrupt_probe(stub: u64, has_error_code: u64, before: *const Registers, after: *mut Registers);
}

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
            Failure::Seen { cpu, vector, what, value } => {
                write!(f, "cpu {cpu}, vector {vector}: the handler saw {what} {value:#x}")
            }
            Failure::Thread { cpu } => write!(f, "cpu {cpu} and its thread do not lead to each other"),
            Failure::Changed { cpu, vector, register, value } => {
                write!(f, "cpu {cpu}, vector {vector}: {register} came back as {value:#x}")
            }
        }
    }
}

per_cpu! {
    /// Whether this CPU is in a probe.
    static PROBING: Cell<bool> = Cell::new(false);
    /// What the probe's handler saw wrong: 1 more than an index into [`SEEN`], or [`NOT_CALLED`], or 0.
    static FOUND: Cell<u32> = Cell::new(0);
    /// The value that it saw.
    static FOUND_VALUE: Cell<u64> = Cell::new(0);
    /// The vector that is being probed.
    static VECTOR: Cell<u32> = Cell::new(0);
}

const NOT_CALLED: u32 = u32::MAX;
const SEEN: [&str; 17] = [
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
    "the vector",
    "the error code",
];

/// Who handled each vector before.
static PREVIOUS: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];

static FIRST: IrqMutex<Option<Failure>> = IrqMutex::new(None);

/// Probes every vector on every online CPU. Only the boot processor calls this, with interrupts on, when all CPUs wait
/// for work.
///
/// # Errors
/// The first failure.
pub fn run() -> Result<(), Failure> {
    for number in 0..=255u8 {
        let previous = interrupts::replace(Vector::new(number), Some(handler));
        PREVIOUS[usize::from(number)]
            .store(previous.map_or(0, |handler| handler as usize), Ordering::Release);
    }
    smp::run_on_all(LIMIT_MS, &|cpu| {
        let guard = IrqGuard::new();
        if !thread::is_linked(&guard) {
            FIRST.lock().get_or_insert(Failure::Thread { cpu: cpu.id() });
        }
        for vector in 0..=255 {
            if let Err(failure) = probe_vector(&guard, cpu.id(), vector) {
                FIRST.lock().get_or_insert(failure);
            }
        }
    });
    for number in 0..=255u8 {
        interrupts::replace(Vector::new(number), previous(number));
    }
    log::info!("256 vectors entered on each of {} CPUs", smp::online().count());
    match *FIRST.lock() {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// A pattern in which no two registers, and no register of two vectors, are alike.
fn pattern(vector: u8) -> Registers {
    let general =
        core::array::from_fn(|index| 0x0123_4567_89ab_cd00 + ((index as u64) << 56) + u64::from(vector));
    Registers { general, flags: FLAGS }
}

fn has_error_code(vector: u8) -> bool {
    // SDM Vol. 3A, table 6-1; 29 and 30: APM Vol. 2, 8.2.21 and 8.2.22.
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

fn probe_vector(_: &IrqGuard, cpu: CpuId, vector: u8) -> Result<(), Failure> {
    let before = pattern(vector);
    let mut after = Registers::default();
    VECTOR.set(u32::from(vector));
    FOUND.set(NOT_CALLED);
    PROBING.set(true);
    // SAFETY: the stub belongs to the vector, whose handler is ours and returns; the guard keeps interrupts off, and the
    // probe saves what its caller's registers held.
    unsafe {
        interrupt_probe(interrupts::stub(vector), u64::from(has_error_code(vector)), &before, &mut after);
    }
    PROBING.set(false);
    match FOUND.get() {
        0 => {}
        NOT_CALLED => return Err(Failure::NotHandled { cpu, vector }),
        found => {
            let what = SEEN[found as usize - 1];
            return Err(Failure::Seen { cpu, vector, what, value: FOUND_VALUE.get() });
        }
    }
    let changed = |register, value| Failure::Changed { cpu, vector, register, value };
    for (index, name) in NAMES.iter().enumerate() {
        if after.general[index] != before.general[index] {
            return Err(changed(name, after.general[index]));
        }
    }
    if after.flags == before.flags { Ok(()) } else { Err(changed("rflags", after.flags)) }
}

fn handler(frame: &mut Frame) {
    if !PROBING.get() {
        // An interrupt in earnest, on a CPU that is not being probed at the moment.
        if let Some(previous) = previous(frame.vector as u8) {
            previous(frame);
        }
        return;
    }
    let vector = VECTOR.get() as u8;
    let expected = pattern(vector).general;
    let found = [
        frame.r15, frame.r14, frame.r13, frame.r12, frame.r11, frame.r10, frame.r9, frame.r8, frame.rbp,
        frame.rdi, frame.rsi, frame.rdx, frame.rcx, frame.rbx, frame.rax,
    ];
    let error_code = if has_error_code(vector) { ERROR_CODE } else { 0 };
    let registers = found.into_iter().zip(expected);
    let mut all = registers.chain([(frame.vector, u64::from(vector)), (frame.error_code, error_code)]);
    match all.position(|(found, expected)| found != expected) {
        None => FOUND.set(0),
        Some(index) => {
            FOUND.set(index as u32 + 1);
            FOUND_VALUE.set(found.get(index).copied().unwrap_or(if index == 15 {
                frame.vector
            } else {
                frame.error_code
            }));
        }
    }
    // What the handler does to its own registers must not matter.
}

fn previous(vector: u8) -> Option<Handler> {
    let address = PREVIOUS[usize::from(vector)].load(Ordering::Acquire);
    // SAFETY: `run` stores nothing but handlers and 0, for which `None` is the niche.
    unsafe { core::mem::transmute::<usize, Option<Handler>>(address) }
}
