//! This CPU's part of the flush protocol ([`sync::tlb`](crate::sync::tlb)), and the hook by which the other CPUs are reached.

use super::own::{RANGES, Ranges};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::per_cpu_storage::PerCpuStorage;
use crate::cpu::tlb;
use crate::sync::Hook;
use crate::sync::tlb::{Generation, Stale, TlbWord};

/// The generation of all CPUs.
pub(crate) static GENERATION: Generation = Generation::new();

/// The last flush of this CPU.
#[derive(Clone, Copy)]
#[expect(non_camel_case_types, reason = "it is named as `per_cpu!` names a variable")]
pub(crate) struct TLB_WORD;

/// The variable itself. `per_cpu!` is not used, because the interrupt entry names it.
#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static TLB_WORD_STORAGE: PerCpuStorage<TlbWord> = unsafe { PerCpuStorage::new(TlbWord::new()) };

crate::per_cpu!(@variable TLB_WORD, TlbWord, TLB_WORD_STORAGE);

/// What is called with the ranges of each CPU.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(&Ranges);

/// Access to the TLBs of all CPUs.
#[derive(Clone, Copy)]
pub(crate) struct AllTlbs {
    /// Returns whether every CPU covers a generation.
    pub(crate) are_flushed: fn(u64, Stale) -> bool,
    /// Requests that every CPU which does not cover a generation flush, and does not wait.
    pub(crate) request: fn(u64, Stale),
    /// Makes every CPU cover a generation, and waits for that. Returns whether all do.
    pub(crate) flush: fn(u64, Stale) -> bool,
    /// Calls the function with the ranges of each CPU that was ever started.
    pub(crate) for_each: fn(Visitor<'_>),
}

static FLUSH_HOOK: Hook<AllTlbs> = Hook::new();

/// Sets the hook that reaches the other CPUs. Once, before the first mapping is used on another CPU; later calls have no effect.
///
/// **Context:** boot, on the BSP.
pub(crate) fn set_flush_hook(tlbs: AllTlbs) {
    FLUSH_HOOK.set(tlbs);
}

/// A function, because what can be patched has the calling convention of C in builds with fault injection.
#[inline(always)]
fn flush_entries() {
    tlb::flush_all();
}

/// Flushes this CPU's TLB of all mappings.
///
/// **Context:** any but NMI, interrupts off.
#[inline]
pub(crate) fn flush_this_cpu(guard: &IrqGuard) {
    TLB_WORD.with(guard, |word| word.flush(&GENERATION, flush_entries));
}

/// Halts until the next interrupt, as [`IrqGuard::halt`]. Meanwhile this CPU is not interrupted for flushes of its TLB: it flushes
/// when it wakes, before the handler of the interrupt runs.
///
/// **Context:** as for [`IrqGuard::halt`].
///
/// # Panics
/// As [`IrqGuard::halt`].
#[inline]
#[track_caller]
pub(crate) fn halt(guard: &mut IrqGuard) {
    // SAFETY: the instruction sets the lowest bit of this CPU's word, as `TlbWord::begin_lazy` does; other CPUs only read the word.
    unsafe {
        core::arch::asm!("lock or qword ptr gs:[rip + {word}], 1", word = sym TLB_WORD_STORAGE, options(nostack));
    }
    guard.halt_or(end_lazy);
}

/// Promises that this CPU uses no mapping until [`end_lazy`]. Other CPUs do not wait for its flushes any more.
///
/// **Context:** thread, interrupts off.
pub(crate) fn begin_lazy(guard: &IrqGuard) {
    TLB_WORD.with(guard, TlbWord::begin_lazy);
}

/// As [`begin_lazy`], and flushes this CPU's TLB. From then on other CPUs do not wait for this one either when they free page tables.
///
/// **Context:** thread, interrupts off. The CPU executes nothing any more that accesses a mapping, until [`end_lazy`].
pub(crate) fn begin_absent(guard: &IrqGuard) {
    TLB_WORD.with(guard, |word| word.begin_absent(flush_entries));
}

/// Makes this CPU ready to use mappings: flushes its TLB if another CPU has unmapped something since [`begin_lazy`]. Does nothing if
/// the CPU is not lazy.
///
/// **Context:** any, interrupts off.
#[inline]
pub(crate) fn end_lazy(guard: &IrqGuard) {
    TLB_WORD.with(guard, |word| word.end_lazy(&GENERATION, flush_entries));
}

/// Returns whether this CPU is lazy: it must not access a mapping.
///
/// **Context:** any, interrupts off.
#[cfg(feature = "selftest")]
pub(crate) fn is_lazy(guard: &IrqGuard) -> bool {
    TLB_WORD.with(guard, TlbWord::is_lazy)
}

/// Returns whether every CPU covers a generation.
pub(super) fn are_flushed(generation: u64, stale: Stale) -> bool {
    match FLUSH_HOOK.get() {
        Some(tlbs) => (tlbs.are_flushed)(generation, stale),
        None => is_this_cpu_flushed(generation, stale),
    }
}

fn is_this_cpu_flushed(generation: u64, stale: Stale) -> bool {
    TLB_WORD.with(&IrqGuard::new(), |word| word.covers(generation, stale))
}

/// Requests a flush of the CPUs that do not cover a generation.
pub(super) fn request(generation: u64, stale: Stale) {
    if let Some(tlbs) = FLUSH_HOOK.get() {
        (tlbs.request)(generation, stale);
    }
}

/// Makes all CPUs cover a generation. Returns whether all do.
pub(super) fn flush_all(generation: u64, stale: Stale) -> bool {
    match FLUSH_HOOK.get() {
        Some(tlbs) => (tlbs.flush)(generation, stale),
        None => {
            flush_this_cpu(&IrqGuard::new());
            is_this_cpu_flushed(generation, stale)
        }
    }
}

/// Calls the function with the ranges of each CPU that was ever started.
pub(super) fn for_each_cpu(mut f: impl FnMut(&Ranges)) {
    match FLUSH_HOOK.get() {
        Some(tlbs) => (tlbs.for_each)(&mut f),
        None => RANGES.with(&IrqGuard::new(), |ranges| f(ranges)),
    }
}
