//! Faults that overflow a stack.

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use crate::interrupts::{self, TrapFrame, Vector};
use crate::sched::thread;

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::StackOverflow, overflow),
    Injection(Point::BeforeWork, Fault::OverflowThreadStack, overflow_in_thread),
    Injection(Point::BeforeWork, Fault::OverflowNmiStack, overflow_in_handler::<2>),
    Injection(Point::BeforeWork, Fault::OverflowMachineCheckStack, overflow_in_handler::<18>),
    Injection(Point::BeforeWork, Fault::OverflowDebugStack, overflow_in_handler::<1>),
    Injection(Point::BeforeWork, Fault::OverflowDoubleFaultStack, overflow_in_handler::<8>),
];

fn overflow() {
    on_last_cpu(&|| {
        fill_stack(0);
    });
}

fn overflow_in_thread() {
    let deep = thread::Builder::new().name("deep").spawn(|| {
        core::hint::black_box(fill_stack(0));
    });
    deep.expect("there is memory for a thread").join();
}

/// Overflows the stack of the vector's handler. `int` pushes no error code where the exception would; the handler never
/// returns, so it is not missed.
fn overflow_in_handler<const VECTOR: u8>() {
    interrupts::replace(Vector::new(VECTOR), fill_own_stack);
    // SAFETY: the handler must keep the interrupted state. It does not return.
    on_last_cpu(&|| unsafe { core::arch::asm!("int {}", const VECTOR) });
}

fn fill_own_stack(frame: &mut TrapFrame) {
    // The overflow may raise the same vector again: a double fault on the double fault's own stack.
    interrupts::replace(Vector::new(frame.vector as u8), interrupts::UNREGISTERED);
    // Not a tail call, which would replace this function in the backtrace.
    core::hint::black_box(fill_stack(0));
}

/// Calls itself until the stack overflows.
#[inline(never)]
fn fill_stack(depth: u64) -> u64 {
    let ballast = core::hint::black_box([depth; 32]);
    let below = if core::hint::black_box(depth) == u64::MAX { 0 } else { fill_stack(depth + 1) };
    below + core::hint::black_box(ballast)[depth as usize % 32]
}
