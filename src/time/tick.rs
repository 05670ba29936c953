//! Each CPU's periodic tick, from its own APIC timer.

use super::Clock;
use crate::apic::{self, TimerMode};
use crate::config::TICK_HZ;
use crate::cpu::IrqGuard;

/// Starts this CPU's tick: [`TICK_HZ`] a second.
pub fn start_tick(guard: &IrqGuard, clock: &Clock) {
    apic::set_timer(guard, TimerMode::Periodic, clock.timer_count(TICK_HZ));
}
