//! Backtraces of code that is interrupted: the chain of frame pointers leaves out the caller of a function that has no frame yet, and in a
//! backtrace of the handler the interrupted function itself.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::check::{CheckResult, ensure, fail};
use crate::boot::image;
use crate::cpu::registers;
use crate::panic::{self, MAX_FRAMES};
use crate::time::timer::{self, Expiry};
use crate::wire::Registers;

pub(crate) fn run(_: u32) -> CheckResult {
    let caller = run as *const () as u64;
    // PUSH RBP is one byte, MOV RBP, RSP the next three: the ABI's prologue with frame pointers.
    let entry = interrupted as *const () as u64;
    ensure!(first_return_address(entry, [caller, 0]) == Some(caller), "the caller is missing at PUSH RBP");
    ensure!(
        first_return_address(entry + 1, [0, caller]) == Some(caller),
        "the caller is missing at MOV RBP, RSP"
    );
    ensure!(
        first_return_address(entry + 4, [caller; 2]).is_none(),
        "a caller of a function that has its frame"
    );
    ensure!(first_return_address(entry, [0, caller]).is_none(), "a caller that is no code");
    ensure!(first_return_address(u64::MAX, [caller; 2]).is_none(), "a caller of an address that is no code");
    across_an_interrupt()
}

/// A backtrace of a handler has the interrupted function behind the entry of the interrupt, and then its caller.
fn across_an_interrupt() -> CheckResult {
    HAS_RUN.store(false, Ordering::Relaxed);
    IS_SPINNING.store(false, Ordering::Relaxed);
    timer::after(DELAY, note, 0)?;
    ensure!(spin(), "the timer's callback has not run");
    let frames = FRAMES.each_ref().map(|frame| frame.load(Ordering::Relaxed));
    let entry = frames.iter().position(|address| image::is_interrupt_entry(*address));
    let behind = entry.and_then(|entry| frames.get(entry + 1..));
    let Some([interrupted, caller, ..]) = behind else {
        return fail!("no entry of an interrupt in {frames:#x?}");
    };
    let start = spin as *const () as u64;
    ensure!(
        (start..start + SPIN_BYTES).contains(&(interrupted - 1)),
        "the interrupted function is missing: {frames:#x?}"
    );
    ensure!(
        !(start..start + SPIN_BYTES).contains(caller),
        "the interrupted function's caller is missing: {frames:#x?}"
    );
    Ok(())
}

/// The code of [`spin`] is at most as long.
const SPIN_BYTES: u64 = 64;

/// More rounds than a millisecond has.
const MOST_ROUNDS: u32 = 1 << 28;

const DELAY: Duration = Duration::from_micros(100);

static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Whether the CPU is in [`spin`].
static IS_SPINNING: AtomicBool = AtomicBool::new(false);

/// The return addresses in the callback, innermost first.
static FRAMES: [AtomicU64; MAX_FRAMES] = [const { AtomicU64::new(0) }; MAX_FRAMES];

/// Waits for the callback without a call of another function. Returns whether it has run.
#[inline(never)]
fn spin() -> bool {
    let mut rounds = 0;
    IS_SPINNING.store(true, Ordering::Relaxed);
    while !HAS_RUN.load(Ordering::Relaxed) && rounds < MOST_ROUNDS {
        rounds += 1;
        spin_loop();
    }
    rounds < MOST_ROUNDS
}

fn note(_: &Expiry) {
    if !IS_SPINNING.load(Ordering::Relaxed) {
        // The host was slow. Without a timer `spin` says so.
        let _ = timer::after(DELAY, note, 0);
        return;
    }
    for (frame, address) in FRAMES.iter().zip(panic::backtrace(registers::frame_pointer())) {
        frame.store(address, Ordering::Relaxed);
    }
    HAS_RUN.store(true, Ordering::Relaxed);
}

/// The innermost return address for code that is interrupted at `rip`, with these words on top of its stack and no frame in
/// the chain.
fn first_return_address(rip: u64, top_of_stack: [u64; 2]) -> Option<u64> {
    let mut registers = Registers([0; Registers::COUNT]);
    registers.0[0] = rip;
    registers.0[1] = core::hint::black_box(&top_of_stack).as_ptr().addr() as u64;
    panic::backtrace_of(&registers).next()
}

#[inline(never)]
fn interrupted() -> u64 {
    core::hint::black_box(0)
}
