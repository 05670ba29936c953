//! `int n` for all 256 vectors on every CPU, twice: with a pattern in all sixteen general registers, with every flag of the
//! program's set and interrupts on, and with the opposite of both. Each must lead to a handler that sees its own number, the
//! error code where there is one, and the pattern; afterwards every register and the flags must be what they were, and the
//! interrupt must have been counted.

mod failure;
mod probe;

use core::cell::Cell;
use core::ptr::fn_addr_eq;
use core::sync::atomic::Ordering;

use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, thread};
use crate::interrupts::{self, Handler, HandlerSlot, TrapFrame, Vector};
use crate::sync::SpinLockIrq;
use crate::{per_cpu, smp};

pub use failure::Failure;
use failure::SEEN;
use probe::{ERROR_CODE, NAMES, Registers, TestGates, has_error_code};

/// How long all CPUs have, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// RF, which the processor sets in what it saves when something interrupts an instruction that it will begin again (SDM
/// Vol. 3B, 18.3.1.1).
const RESUME_FLAG: u64 = 1 << 16;

/// Carry, parity, adjust, zero, sign, interrupt, direction, overflow, alignment check and ID: what a program may set
/// without a trap or another mode (SDM Vol. 1, 3.4.3).
const ALL_FLAGS: u64 = 0xed5 | 1 << 18 | 1 << 21;

/// Always set.
const FIXED_FLAG: u64 = 1 << 1;

per_cpu! {
    /// The address behind the instruction that is being probed, until its handler has been called; then 0.
    static AWAITED_RIP: Cell<u64> = Cell::new(0);
    /// The vector that is being probed.
    static VECTOR: Cell<u32> = Cell::new(0);
    /// What the handler saw wrong: 1 more than an index into [`SEEN`], or 0.
    static FOUND: Cell<u32> = Cell::new(0);
    /// The value that it saw.
    static FOUND_VALUE: Cell<u64> = Cell::new(0);
}

/// The handler of each vector from before the part.
static PREVIOUS: [HandlerSlot; 256] = [const { HandlerSlot::new(interrupts::UNREGISTERED) }; 256];

static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// Probes every vector on every online CPU. Only the boot processor calls this, with interrupts on, when all CPUs wait
/// for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    let gates = TestGates::new();
    for number in 0..=255u8 {
        let vector = Vector::new(number);
        let before = interrupts::handler(vector);
        // Before the vector has another handler, which calls this one.
        PREVIOUS[usize::from(number)].replace(before);
        let replaced = interrupts::replace(vector, handler);
        let is_consistent =
            fn_addr_eq(before, replaced) && fn_addr_eq(interrupts::handler(vector), handler as Handler);
        if !is_consistent {
            FIRST.lock().get_or_insert(Failure::Table { vector: number });
        }
    }
    super::on_each_cpu(LIMIT_MS, &|cpu| {
        let mut guard = IrqGuard::new();
        if !thread::is_linked(&guard) {
            FIRST.lock().get_or_insert(Failure::Thread { cpu: cpu.id() });
        }
        for vector in 0..=255 {
            for inverted in [false, true] {
                let probed = gates.with(&mut guard, |guard| probe_vector(guard, cpu.id(), vector, inverted));
                if let Err(failure) = probed {
                    FIRST.lock().get_or_insert(failure);
                }
            }
        }
    });
    for number in 0..=255u8 {
        interrupts::replace(Vector::new(number), PREVIOUS[usize::from(number)].get());
    }
    log::info!("int n for 256 vectors, twice on each of {} CPUs", smp::online().count());
    match *FIRST.lock() {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// A pattern in which no two registers, and no register of two vectors, are alike; or its opposite.
fn pattern(vector: u8, inverted: bool) -> Registers {
    let flip = if inverted { u64::MAX } else { 0 };
    let general = core::array::from_fn(|index| {
        (0x0123_4567_89ab_cd00 + ((index as u64) << 56) + u64::from(vector)) ^ flip
    });
    let flags = FIXED_FLAG | if inverted { 0 } else { ALL_FLAGS };
    Registers { general, rsp: 0, flags }
}

fn probe_vector(guard: &mut IrqGuard, cpu: CpuId, vector: u8, inverted: bool) -> Result<(), Failure> {
    let count = |guard: &IrqGuard| {
        interrupts::COUNTS.with(guard, |counts| counts[usize::from(vector)].load(Ordering::Relaxed))
    };
    let counted_before = count(guard);
    VECTOR.set(u32::from(vector));
    FOUND.set(0);
    AWAITED_RIP.set(probe::return_address(vector));
    let (before, after) = probe::run(guard, vector, pattern(vector, inverted));
    if AWAITED_RIP.get() != 0 {
        AWAITED_RIP.set(0);
        return Err(Failure::NotHandled { cpu, vector });
    }
    // A device's interrupt on the same vector may have come as well.
    if count(guard) == counted_before {
        return Err(Failure::NotCounted { cpu, vector });
    }
    // Out of the books again, which are about devices.
    interrupts::COUNTS.with(guard, |counts| counts[usize::from(vector)].fetch_sub(1, Ordering::Relaxed));
    if let Some(found) = (FOUND.get() as usize).checked_sub(1) {
        return Err(Failure::Seen { cpu, vector, what: SEEN[found], value: FOUND_VALUE.get() });
    }
    let general = NAMES.into_iter().zip(before.general.into_iter().zip(after.general));
    let mut all = general.chain([("rsp", (before.rsp, after.rsp)), ("rflags", (before.flags, after.flags))]);
    match all.find(|(_, (before, after))| before != after) {
        None => Ok(()),
        Some((register, (_, value))) => Err(Failure::Changed { cpu, vector, register, value }),
    }
}

fn handler(frame: &mut TrapFrame) {
    let vector = VECTOR.get() as u8;
    // One in earnest comes before the instruction, at another address, or after it, when nothing is awaited any more.
    if frame.vector != u64::from(vector) || AWAITED_RIP.get() != frame.rip {
        return PREVIOUS[frame.vector as u8 as usize].get()(frame);
    }
    AWAITED_RIP.set(0);
    let expected = probe::loaded();
    let general = [
        frame.r15, frame.r14, frame.r13, frame.r12, frame.r11, frame.r10, frame.r9, frame.r8, frame.rbp,
        frame.rdi, frame.rsi, frame.rdx, frame.rcx, frame.rbx, frame.rax,
    ];
    let error_code = if has_error_code(vector) { ERROR_CODE } else { 0 };
    let rest = [
        (frame.rsp, expected.rsp),
        (frame.rflags & !RESUME_FLAG, expected.flags),
        (frame.error_code, error_code),
    ];
    let all = general.into_iter().zip(expected.general).chain(rest);
    for (index, (seen, expected)) in all.enumerate() {
        if seen != expected {
            FOUND.set(index as u32 + 1);
            FOUND_VALUE.set(seen);
            break;
        }
    }
    #[cfg(feature = "faults")]
    faults::clobber(frame);
    // What the handler does to its own registers must not matter.
}

/// A deliberate fault of the test's own.
#[cfg(feature = "faults")]
pub mod faults {
    use core::sync::atomic::{AtomicBool, Ordering};

    use crate::interrupts::TrapFrame;

    static ARMED: AtomicBool = AtomicBool::new(false);

    /// From now on the interrupted code gets back another r12 than it had, on one vector.
    pub fn arm() {
        ARMED.store(true, Ordering::Relaxed);
    }

    pub(super) fn clobber(frame: &mut TrapFrame) {
        if frame.vector == 0x80 && ARMED.load(Ordering::Relaxed) {
            frame.r12 ^= 1;
        }
    }
}
