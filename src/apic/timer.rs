//! This CPU's timer (SDM Vol. 3A, 11.5.4): a count that runs down to 0, or a value that the TSC reaches.
//!
//! Registers are written without the driver, since arming is a hot path. The divider is 1: the steps are as fine as they
//! can be, and what 32 bits do not hold is for `time` to chain.

use x86_64::registers::model_specific::Msr;

use super::registers::{self, DIVIDE_BY_1, LVT_MASKED, LVT_TSC_DEADLINE, Register};
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard};
use crate::interrupts::Vector;
use crate::sync::Deadline;

/// Where a deadline is written (SDM Vol. 3A, 11.5.4.1).
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// How far ahead the trial deadline of [`deadline_mode_works`] lies, in TSC cycles, and how long it has, in
/// microseconds: a hypervisor may take its time.
const TRIAL_CYCLES: u64 = 10_000;
const TRIAL_US: u64 = 50_000;

/// What ends the timer's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerMode {
    /// A count has run down: [`set_timer_count`].
    OneShot,
    /// The TSC has reached a value: [`set_tsc_deadline`].
    TscDeadline,
}

impl TimerMode {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            TimerMode::OneShot => "one_shot",
            TimerMode::TscDeadline => "tsc_deadline",
        }
    }
}

/// Puts this CPU's timer into that mode, unmasked and still.
pub fn start_timer(_: &IrqGuard, mode: TimerMode) {
    let vector = u32::from(Vector::TIMER.get());
    registers::write(Register::TimerInitial, 0);
    registers::write(Register::TimerDivide, DIVIDE_BY_1);
    match mode {
        TimerMode::OneShot => registers::write(Register::LvtTimer, vector),
        TimerMode::TscDeadline => {
            registers::write(Register::LvtTimer, vector | LVT_TSC_DEADLINE);
            // A deadline that overtakes the store to an xAPIC's register would be lost: WRMSR to this register waits for
            // nothing (SDM Vol. 3A, 11.5.4.1).
            // SAFETY: rt0 refuses a processor without SSE2, whose instructions these are; they touch no vector register.
            unsafe {
                core::arch::x86_64::_mm_mfence();
                core::arch::x86_64::_mm_lfence();
            }
        }
    }
}

/// Starts this CPU's timer, which is in [`TimerMode::OneShot`], from `count` cycles of its clock down to 0; 0 stops it.
#[inline]
pub fn set_timer_count(_: &IrqGuard, count: u32) {
    registers::write(Register::TimerInitial, count);
}

/// Sets the TSC value at which the timer of this CPU, which is in [`TimerMode::TscDeadline`], interrupts: at once, if
/// that is past. 0 stops it.
#[inline]
pub fn set_tsc_deadline(_: &IrqGuard, tsc: u64) {
    // SAFETY: the mode is only set where the register exists; any value may be written.
    unsafe { Msr::new(IA32_TSC_DEADLINE).write(tsc) };
}

/// Whether the timer's TSC-deadline mode is there and raises an interrupt: a hypervisor may offer it in CPUID and do
/// nothing more about it. The interrupt is left pending, for whoever handles timers that are not due.
pub fn deadline_mode_works(guard: &IrqGuard, features: &Features) -> bool {
    if !features.tsc_deadline {
        return false;
    }
    start_timer(guard, TimerMode::TscDeadline);
    set_tsc_deadline(guard, read_tsc() + TRIAL_CYCLES);
    let came =
        Deadline::after_us(TRIAL_US).wait_until(|| registers::is_requested(Vector::TIMER.get())).is_ok();
    set_tsc_deadline(guard, 0);
    came
}

/// Runs this CPU's timer from `count` down without an interrupt, for calibration; 0 stops it.
pub fn start_timer_masked(_: &IrqGuard, count: u32) {
    registers::write(Register::LvtTimer, LVT_MASKED | u32::from(Vector::TIMER.get()));
    registers::write(Register::TimerDivide, DIVIDE_BY_1);
    registers::write(Register::TimerInitial, count);
}

/// What this CPU's timer, in [`TimerMode::OneShot`], has left.
pub fn timer_current() -> u32 {
    registers::read(Register::TimerCurrent)
}
