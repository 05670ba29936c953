//! This CPU's APIC timer (SDM Vol. 3A, 11.5.4): a count-down, or a TSC deadline.
//!
//! Arming is a hot path. The divider is 1, for the finest resolution; `time` splits intervals that exceed 32 bits.

use x86_64::registers::model_specific::Msr;

use super::registers::{self, DIVIDE_BY_1, LVT_MASKED, LVT_TSC_DEADLINE, Register};
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard};
use crate::interrupts::Vector;
use crate::sync::Deadline;

/// The MSR of the deadline (SDM Vol. 3A, 11.5.4.1).
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// The delay of the trial deadline of [`deadline_mode_works`], in TSC cycles, and the time within which it must arrive,
/// in microseconds. A hypervisor may deliver it late.
const TRIAL_CYCLES: u64 = 10_000;
const TRIAL_US: u64 = 50_000;

/// The mode of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerMode {
    /// A count-down: [`set_timer_count`].
    OneShot,
    /// A TSC deadline: [`set_tsc_deadline`].
    TscDeadline,
}

impl TimerMode {
    /// Returns the mode's name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            TimerMode::OneShot => "one_shot",
            TimerMode::TscDeadline => "tsc_deadline",
        }
    }
}

/// Puts this CPU's timer into `mode`, unmasked and stopped.
pub(crate) fn start_timer(_: &IrqGuard, mode: TimerMode) {
    let vector = u32::from(Vector::TIMER.get());
    registers::write(Register::TimerInitial, 0);
    registers::write(Register::TimerDivide, DIVIDE_BY_1);
    match mode {
        TimerMode::OneShot => registers::write(Register::LvtTimer, vector),
        TimerMode::TscDeadline => {
            registers::write(Register::LvtTimer, vector | LVT_TSC_DEADLINE);
            // The mode must be set before a deadline is written, or the deadline is lost. WRMSR to IA32_TSC_DEADLINE is
            // not serialising (SDM Vol. 3A, 11.5.4.1).
            registers::fence_before_wrmsr();
        }
    }
}

/// Starts this CPU's timer, in [`TimerMode::OneShot`], to count down from `count` cycles of its clock. 0 stops it.
#[inline]
pub(crate) fn set_timer_count(_: &IrqGuard, count: u32) {
    registers::write(Register::TimerInitial, count);
}

/// Sets the TSC value at which this CPU's timer, in [`TimerMode::TscDeadline`], interrupts. A past value interrupts at
/// once. 0 stops it.
#[inline]
pub(crate) fn set_tsc_deadline(_: &IrqGuard, tsc: u64) {
    // SAFETY: TSC-deadline mode is set only if the MSR exists (`deadline_mode_works`); it accepts any value.
    unsafe { Msr::new(IA32_TSC_DEADLINE).write(tsc) };
}

/// Returns whether TSC-deadline mode exists and raises an interrupt. A hypervisor may report it in CPUID and not
/// implement it. The interrupt stays pending for the timer handler, which ignores timers that are not due.
///
/// **Context:** interrupts off. Spins up to 50 ms.
pub(crate) fn deadline_mode_works(guard: &IrqGuard, features: &Features) -> bool {
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

/// Starts this CPU's timer from `count`, masked, for calibration. 0 stops it.
pub(crate) fn start_timer_masked(_: &IrqGuard, count: u32) {
    registers::write(Register::LvtTimer, LVT_MASKED | u32::from(Vector::TIMER.get()));
    registers::write(Register::TimerDivide, DIVIDE_BY_1);
    registers::write(Register::TimerInitial, count);
}

/// Returns the current count of this CPU's timer, in [`TimerMode::OneShot`].
pub(crate) fn timer_current() -> u32 {
    registers::read(Register::TimerCurrent)
}
