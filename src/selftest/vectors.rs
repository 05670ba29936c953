//! Checks all 256 vectors on every CPU. `int n` runs twice for each: with a pattern in all general registers, all flags of the
//! program set and interrupts on; and with the complement of both. The handler must see its vector, the error code if there is
//! one, and the pattern. Afterwards all registers and flags must be unchanged, and the interrupt counted.

mod probe;

use core::cell::Cell;
use core::ptr::fn_addr_eq;
use core::sync::atomic::Ordering;

use x86_64::registers::rflags::RFlags;

use super::check::{CheckResult, ensure, fail, failed, on_all_cpus, send_facts};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, thread};
use crate::interrupts::{self, Handler, HandlerSlot, TrapFrame, Vector};
use crate::{per_cpu, smp};

use probe::{ERROR_CODE, NAMES, Registers, TestGates, has_error_code};

/// Time limit for all CPUs, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// RF. The processor sets it in the saved RFLAGS if it will restart the interrupted instruction (SDM Vol. 3B, 18.3.1.1).
const RESUME_FLAG: u64 = RFlags::RESUME_FLAG.bits();

/// Carry, parity, adjust, zero, sign, interrupt, direction, overflow, alignment check and ID: the flags that a program can set
/// without a trap or a change of mode (SDM Vol. 1, 3.4.3).
const ALL_FLAGS: u64 = 0xed5 | 1 << 18 | 1 << 21;

/// Bit 1 of RFLAGS, which is always set.
const FIXED_FLAG: u64 = 1 << 1;

per_cpu! {
    /// The return address of the probed instruction, until its handler has been called; then 0.
    static AWAITED_RIP: Cell<u64> = Cell::new(0);
    /// The probed vector.
    static VECTOR: Cell<u32> = Cell::new(0);
    /// The first wrong value that the handler saw: 1 more than an index into [`SEEN`], or 0.
    static FOUND: Cell<u32> = Cell::new(0);
    /// That value.
    static FOUND_VALUE: Cell<u64> = Cell::new(0);
}

/// The handler of each vector before the part.
static PREVIOUS: [HandlerSlot; 256] = [const { HandlerSlot::new(interrupts::UNREGISTERED) }; 256];

/// The values that a handler checks, in this order.
const SEEN: [&str; 18] = [
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

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let gates = TestGates::new();
    let mut is_consistent = Ok(());
    for number in 0..=255u8 {
        let vector = Vector::new(number);
        let before = interrupts::handler(vector);
        // `handler` calls the previous handler, so it is stored first.
        PREVIOUS[usize::from(number)].replace(before);
        let replaced = interrupts::replace(vector, handler);
        if !fn_addr_eq(before, replaced) || !fn_addr_eq(interrupts::handler(vector), handler as Handler) {
            is_consistent =
                fail!("vector {number}: `handler` and `replace` use different slots of the table");
        }
    }
    let probed = on_all_cpus(LIMIT_MS, &|cpu| {
        let mut guard = IrqGuard::new();
        if !thread::is_linked(&guard) {
            // The vectors are probed all the same.
            let _ = failed(format_args!("cpu {} and its thread are not linked to each other", cpu.id()));
        }
        for vector in 0..=255 {
            for inverted in [false, true] {
                gates.with(&mut guard, |guard| probe_vector(guard, cpu.id(), vector, inverted))?;
            }
        }
        Ok(())
    });
    for number in 0..=255u8 {
        interrupts::replace(Vector::new(number), PREVIOUS[usize::from(number)].get());
    }
    is_consistent.and(probed)?;
    let cpus = smp::online().count();
    log::info!("all 256 vectors delivered twice on {cpus} CPUs");
    send_facts("selftest.vectors", &[("cpus", cpus as u64), ("vectors", 256), ("deliveries", 2)]);
    Ok(())
}

/// A pattern that differs for each register and each vector; or its complement.
fn pattern(vector: u8, inverted: bool) -> Registers {
    let flip = if inverted { u64::MAX } else { 0 };
    let general = core::array::from_fn(|index| {
        (0x0123_4567_89ab_cd00 + ((index as u64) << 56) + u64::from(vector)) ^ flip
    });
    let flags = FIXED_FLAG | if inverted { 0 } else { ALL_FLAGS };
    Registers { general, rsp: 0, flags }
}

fn probe_vector(guard: &mut IrqGuard, cpu: CpuId, vector: u8, inverted: bool) -> CheckResult {
    let count = |guard: &IrqGuard| {
        interrupts::COUNTS.with(guard, |counts| counts[usize::from(vector)].load(Ordering::Relaxed))
    };
    let counted_before = count(guard);
    VECTOR.set(u32::from(vector));
    FOUND.set(0);
    AWAITED_RIP.set(probe::return_address(vector));
    let (before, after) = probe::run(guard, vector, pattern(vector, inverted));
    let is_handled = AWAITED_RIP.get() == 0;
    AWAITED_RIP.set(0);
    ensure!(is_handled, "cpu {cpu}, vector {vector}: its handler was not called");
    // A device's interrupt on the same vector may have been counted as well.
    ensure!(count(guard) != counted_before, "cpu {cpu}, vector {vector}: it was not counted");
    // The counts are about devices: the probe does not belong there.
    interrupts::COUNTS.with(guard, |counts| counts[usize::from(vector)].fetch_sub(1, Ordering::Relaxed));
    if let Some(found) = (FOUND.get() as usize).checked_sub(1) {
        let (name, value) = (SEEN[found], FOUND_VALUE.get());
        return fail!("cpu {cpu}, vector {vector}: the handler saw {name} {value:#x}");
    }
    let general = NAMES.into_iter().zip(before.general.into_iter().zip(after.general));
    let mut all = general.chain([("rsp", (before.rsp, after.rsp)), ("rflags", (before.flags, after.flags))]);
    match all.find(|(_, (before, after))| before != after) {
        None => Ok(()),
        Some((register, (_, value))) => {
            fail!("cpu {cpu}, vector {vector}: {register} changed to {value:#x}")
        }
    }
}

fn handler(frame: &mut TrapFrame) {
    let vector = VECTOR.get() as u8;
    // A real interrupt has another return address, or comes after the probed instruction, when `AWAITED_RIP` is 0.
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
}

/// Fault injection for this part.
#[cfg(feature = "faults")]
pub(crate) mod faults {
    use core::sync::atomic::{AtomicBool, Ordering};

    use crate::interrupts::TrapFrame;

    static ARMED: AtomicBool = AtomicBool::new(false);

    /// From now on vector 0x80 changes r12 of the interrupted code.
    pub fn arm() {
        ARMED.store(true, Ordering::Relaxed);
    }

    pub(super) fn clobber(frame: &mut TrapFrame) {
        if frame.vector == 0x80 && ARMED.load(Ordering::Relaxed) {
            frame.r12 ^= 1;
        }
    }
}
