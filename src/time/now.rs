//! What time it is: nanoseconds since rt0's first look at the TSC.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use super::calibration::Scale;
use super::fallback;
use crate::cpu::registers::read_tsc;
use crate::static_call;

/// What a reading needs, together in a cache line that is written once.
#[repr(align(64))]
struct Parameters {
    /// The TSC where time begins.
    entry_tsc: u64,
    /// The scale from cycles to nanoseconds. Before there is a clock it makes 0 of everything.
    to_ns: Scale,
}

/// Plain words rather than atomics, which the compiler would load one by one before it calculates with them.
struct Written<T>(UnsafeCell<T>);

// SAFETY: written once, by `set_tsc`, while no other CPU runs.
unsafe impl Sync for Written<Parameters> {}

static PARAMETERS: Written<Parameters> =
    Written(UnsafeCell::new(Parameters { entry_tsc: 0, to_ns: Scale::NOTHING }));

static_call! {
    /// The TSC, read when all earlier instructions are done: never earlier than what this CPU has seen of others. RDTSC
    /// alone may run ahead (SDM Vol. 2B, RDTSC); RDTSCP waits by itself, and also on processors whose LFENCE is not told
    /// to hold back instructions (APM Vol. 3, RDTSCP and LFENCE).
    pub fn read_tsc_ordered() -> u64 = tsc_behind_lfence => tsc_by_rdtscp, if |features| features.rdtscp;
}

#[unsafe(naked)]
extern "C" fn tsc_behind_lfence() -> u64 {
    core::arch::naked_asm!("lfence", "rdtsc", "shl rdx, 32", "or rax, rdx", "ret")
}

#[unsafe(naked)]
extern "C" fn tsc_by_rdtscp() -> u64 {
    core::arch::naked_asm!("rdtscp", "shl rdx, 32", "or rax, rdx", "ret")
}

/// This CPU's TSC as the clock sees it: [`read_tsc_ordered`], but for deliberate faults.
#[inline]
pub(super) fn read_counter() -> u64 {
    let tsc = read_tsc_ordered();
    #[cfg(feature = "faults")]
    let tsc = tsc.wrapping_add(super::faults::shift());
    tsc
}

/// From now on it is so many nanoseconds after `entry_tsc` as the scale says.
///
/// # Safety
/// Only one CPU runs, and its interrupts are off.
pub(super) unsafe fn set_tsc(entry_tsc: u64, to_ns: Scale) {
    // SAFETY: no other CPU runs and no handler interrupts, guaranteed by the caller (see # Safety), so nothing reads meanwhile.
    unsafe { *PARAMETERS.0.get() = Parameters { entry_tsc, to_ns } };
}

#[inline]
fn ns_of(tsc: u64) -> u64 {
    // SAFETY: not written any more when several CPUs read, or within a handler.
    let parameters = unsafe { &*PARAMETERS.0.get() };
    // A CPU whose TSC is behind must not see the far future. That it is behind, the warp test finds.
    parameters.to_ns.convert(tsc.saturating_sub(parameters.entry_tsc))
}

/// Nanoseconds since the kernel began; 0 before there is a clock. Never less than what any CPU has been told before.
/// Any context.
#[inline]
pub fn now_ns() -> u64 {
    // Acquire: what `switch_to` stored before it set the flag, the reference counter, is seen with it.
    if fallback::IS_USED.load(Ordering::Acquire) { fallback::now_ns() } else { ns_of(read_counter()) }
}

/// As [`now_ns`], but the processor may read the TSC before earlier instructions have been executed (SDM Vol. 2B, RDTSC): for
/// the timer interrupt, which compares with times of its own CPU only. A time that is too early by that makes no timer expire
/// too early. It costs three instructions less.
#[inline]
pub(super) fn now_ns_unordered() -> u64 {
    // Acquire: as in `now_ns`.
    if fallback::IS_USED.load(Ordering::Acquire) {
        fallback::now_ns()
    } else {
        ns_of(read_counter_unordered())
    }
}

#[inline]
fn read_counter_unordered() -> u64 {
    let tsc = read_tsc();
    #[cfg(feature = "faults")]
    let tsc = tsc.wrapping_add(super::faults::shift());
    tsc
}

/// Microseconds since the kernel began; 0 before there is a clock. Any context.
pub fn now_us() -> u64 {
    now_ns() / 1000
}

/// When the TSC had that value, in microseconds after the kernel began.
pub fn us_at(tsc: u64) -> u64 {
    ns_of(tsc) / 1000
}

/// When the TSC had that value, in nanoseconds after the kernel began.
pub fn ns_at(tsc: u64) -> u64 {
    ns_of(tsc)
}
