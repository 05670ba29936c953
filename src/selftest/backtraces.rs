//! Backtraces of code that is interrupted in a function's prologue: the chain of frame pointers leaves out the caller.

use super::check::{CheckResult, ensure};
use crate::panic;
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
    Ok(())
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
