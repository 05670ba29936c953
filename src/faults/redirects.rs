//! Faults by redirection: a function of the kernel is replaced before it is first called, so the kernel itself has no
//! code for the fault. Also rows of redirections that must be refused.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::names::Fault;
use crate::boot::command_line::Armed;
use crate::config::{IPI_CALL_TIMEOUT_MS, WATCHDOG_MS};
use crate::cpu::static_call::{PATCH_BYTES, SOURCE_BYTES, StaticCall};
use crate::cpu::{self, Features};
use crate::memory::frames::Order;
use crate::memory::source::{AllocContext, FrameSource};
use crate::stress::allocators::Allocator;
use crate::stress::allocators::magazine::MAGAZINE;
use crate::sync::tlb::Stale;
use crate::{memory, smp, static_call, stress, time};

static ARMED: Armed<Fault> = Armed::new();

/// Arms the fault. Before redirects are installed.
pub(crate) fn arm(fault: Option<Fault>) {
    ARMED.arm(fault);
}

/// Returns whether this fault is armed: the condition of a row.
pub(super) fn is_armed(fault: Fault) -> bool {
    ARMED.is(fault)
}

static_call! {
    cpu::set_memory_types() => leave_memory_types, if |_| is_armed(Fault::StalePat);
    stress::workload_over(source: &dyn FrameSource, allocator: &'static Allocator)
        => leak_borrowed_frame, if |_| is_armed(Fault::LeakBorrowedFrame);
    cpu::tlb::flush_all() => keep_stale_entries, if |_| is_armed(Fault::SkipShootdown);
    memory::is_flushed(generation: u64, stale: Stale) -> bool => flush_too_early, if |_| is_armed(Fault::FlushTooEarly);
    memory::keeps_addresses() -> bool => reuse_addresses, if |_| is_armed(Fault::ReuseBeforeFlush);
    smp::covers(cpu: &smp::Cpu, generation: u64, stale: Stale) -> bool => skip_last_cpu, if |_| is_armed(Fault::SkipCpu);
    stress::reported() => jump_at_third_report, if |_| is_armed(Fault::ClockJump);
}

/// How far the clock jumps, in milliseconds: longer than the watchdog's and a call's time-out together.
const JUMP_MS: u64 = WATCHDOG_MS + IPI_CALL_TIMEOUT_MS;

/// [`stress::reported`], after which the clock jumps once.
extern "C" fn jump_at_third_report() {
    static REPORTS: AtomicUsize = AtomicUsize::new(0);
    if REPORTS.fetch_add(1, Ordering::Relaxed) == 2 {
        // Within a timer callback, which must not be reported as slow.
        time::faults::jump(JUMP_MS);
    }
}

/// [`cpu::set_memory_types`], on the BSP only: no CPU is listed yet when the BSP calls it.
extern "C" fn leave_memory_types() {
    if smp::cpus().is_empty() {
        cpu::set_memory_types::original();
    }
}

/// [`stress::workload_over`], which also leaks a frame.
#[allow(improper_ctypes_definitions)]
extern "C" fn leak_borrowed_frame(source: &dyn FrameSource, allocator: &'static Allocator) {
    if *allocator == MAGAZINE {
        // SAFETY: no other context of CPU 0 is in use: no workload runs, and only the BSP calls this.
        let _ = source.alloc(&mut unsafe { AllocContext::new(0) }, Order::FRAME);
    }
}

/// [`cpu::tlb::flush_all`], except on the last CPU.
extern "C" fn keep_stale_entries() {
    if smp::cpus().last().is_some_and(|last| last.id() != cpu::current()) {
        cpu::tlb::flush_all::original();
    }
}

/// [`memory::is_flushed`], which does not wait for any CPU.
extern "C" fn flush_too_early(_: u64, _: Stale) -> bool {
    true
}

/// [`memory::keeps_addresses`]: not.
extern "C" fn reuse_addresses() -> bool {
    false
}

/// [`smp::covers`], but the last CPU always seems to have flushed.
#[allow(improper_ctypes_definitions)]
extern "C" fn skip_last_cpu(cpu: &smp::Cpu, generation: u64, stale: Stale) -> bool {
    smp::cpus().last().is_some_and(|last| last.id() == cpu.id())
        || smp::covers::original(cpu, generation, stale)
}

// Two rows for one function, which must be refused, so that neither is called.
static_call! {
    cpu::set_memory_types() => leave_memory_types, if |_| is_armed(Fault::DoubleRedirect);
    cpu::set_memory_types() => cpu::set_memory_types::original, if |_| is_armed(Fault::DoubleRedirect);
}

/// Two functions in a layout that the macro never produces: the first is shorter than a jump, the second follows
/// directly.
#[unsafe(naked)]
extern "C" fn short() {
    core::arch::naked_asm!("ret", ".skip {length} - 1, 0xcc", ".skip {room}, 0xcc",
        length = const SHORT_BYTES, room = const SOURCE_BYTES);
}

const SHORT_BYTES: usize = PATCH_BYTES - 1;

const fn row(
    name: &'static str,
    offset: usize,
    length: usize,
    condition: fn(&Features) -> bool,
) -> StaticCall {
    let source = (short as extern "C" fn() as *const ()).wrapping_byte_add(offset);
    // SAFETY: the bytes are those of `short`, which is never called, and of the room behind it. Neither function has
    // parameters or a result.
    unsafe {
        StaticCall::new(name, source, length, leave_memory_types as extern "C" fn() as *const (), condition)
    }
}

#[used]
#[unsafe(link_section = ".static_calls")]
static ROWS: [StaticCall; 3] = [
    row("short", 0, SHORT_BYTES, |_| is_armed(Fault::ShortRedirect)),
    row("earlier", 0, SOURCE_BYTES, |_| is_armed(Fault::OverlappingRedirect)),
    row("later", SHORT_BYTES, SOURCE_BYTES, |_| is_armed(Fault::OverlappingRedirect)),
];
