//! Reads the time: nanoseconds since rt0's first reading of the TSC.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use super::calibration::Scale;
use super::fallback;
use crate::cpu::registers::read_tsc;
use crate::static_call;

/// The parameters of the conversion, in one cache line that is written once.
#[repr(align(64))]
struct Parameters {
    /// The TSC at time 0.
    entry_tsc: u64,
    /// The scale from cycles to nanoseconds; [`Scale::NOTHING`] before the clock is calibrated.
    to_ns: Scale,
}

/// Plain words instead of atomics, so that the compiler can use them as memory operands.
struct Written<T>(UnsafeCell<T>);

// SAFETY: only `set_tsc` writes it, while no other CPU runs and no handler interrupts (# Safety of `set_tsc`).
unsafe impl Sync for Written<Parameters> {}

static PARAMETERS: Written<Parameters> =
    Written(UnsafeCell::new(Parameters { entry_tsc: 0, to_ns: Scale::NOTHING }));

static_call! {
    /// Reads the TSC after all earlier instructions have executed, so that the value is never less than one that this CPU has
    /// seen from another CPU. RDTSC alone may execute early (SDM Vol. 2B, RDTSC). RDTSCP waits for earlier instructions, also
    /// on processors whose LFENCE is not dispatch-serialising (APM Vol. 3, RDTSCP and LFENCE).
    ///
    /// **Context:** any.
    pub(crate) fn read_tsc_ordered() -> u64 = tsc_behind_lfence => tsc_by_rdtscp, if |features| features.rdtscp;
}

#[unsafe(naked)]
extern "C" fn tsc_behind_lfence() -> u64 {
    core::arch::naked_asm!("lfence", "rdtsc", "shl rdx, 32", "or rax, rdx", "ret")
}

#[unsafe(naked)]
extern "C" fn tsc_by_rdtscp() -> u64 {
    core::arch::naked_asm!("rdtscp", "shl rdx, 32", "or rax, rdx", "ret")
}

/// Reads this CPU's TSC by [`read_tsc_ordered`], with injected faults.
#[inline]
pub(super) fn read_counter() -> u64 {
    let tsc = read_tsc_ordered();
    #[cfg(feature = "faults")]
    let tsc = tsc.wrapping_add(super::tsc_offset::shift());
    tsc
}

/// Starts the clock: the time is 0 at the TSC value `entry_tsc` and advances by the scale.
///
/// # Safety
/// Only one CPU runs, and its interrupts are disabled.
pub(super) unsafe fn set_tsc(entry_tsc: u64, to_ns: Scale) {
    // SAFETY: no other CPU runs and no handler interrupts, guaranteed by the caller (see # Safety), so nothing reads meanwhile.
    unsafe { *PARAMETERS.0.get() = Parameters { entry_tsc, to_ns } };
}

/// Converts a TSC value to nanoseconds.
#[inline]
fn ns_of(tsc: u64) -> u64 {
    // SAFETY: `set_tsc`, the only writer, runs while no other CPU runs and no handler interrupts it (# Safety of `set_tsc`).
    let parameters = unsafe { &*PARAMETERS.0.get() };
    // Saturating: on a CPU whose TSC is behind `entry_tsc` the difference must not wrap. The sync check detects such a TSC.
    parameters.to_ns.convert(tsc.saturating_sub(parameters.entry_tsc))
}

/// Reads the time in nanoseconds since the kernel's entry; 0 before the clock is calibrated. Never less than an earlier
/// result on any CPU.
///
/// **Context:** any.
#[inline]
pub fn now_ns() -> u64 {
    // Acquire: pairs with the Release store in `switch_to`, so that the reference timer stored before is visible.
    if fallback::IS_USED.load(Ordering::Acquire) { fallback::now_ns() } else { ns_of(read_counter()) }
}

/// [`now_ns`], but the processor may read the TSC before earlier instructions have executed (SDM Vol. 2B, RDTSC). For the timer
/// interrupt, which compares the time only with deadlines of its own CPU: an earlier reading makes no timer expire early. Saves
/// three instructions.
#[inline]
pub(super) fn now_ns_unordered() -> u64 {
    // Acquire: as in `now_ns`.
    if fallback::IS_USED.load(Ordering::Acquire) {
        fallback::now_ns()
    } else {
        ns_of(read_counter_unordered())
    }
}

/// Reads this CPU's TSC without ordering, with injected faults.
#[inline]
fn read_counter_unordered() -> u64 {
    let tsc = read_tsc();
    #[cfg(feature = "faults")]
    let tsc = tsc.wrapping_add(super::tsc_offset::shift());
    tsc
}

/// Reads the time in microseconds: [`now_ns`] divided by 1000.
///
/// **Context:** any.
pub fn now_us() -> u64 {
    now_ns() / 1000
}

/// Converts a TSC value to microseconds since the kernel's entry; 0 before the clock is calibrated.
///
/// **Context:** any.
pub(crate) fn us_at(tsc: u64) -> u64 {
    ns_of(tsc) / 1000
}

/// Converts a TSC value to nanoseconds since the kernel's entry; 0 before the clock is calibrated.
///
/// **Context:** any.
pub(crate) fn ns_at(tsc: u64) -> u64 {
    ns_of(tsc)
}
