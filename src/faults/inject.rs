//! Fault injection at points of the boot.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::time::Duration;

use super::common::{FAULT_TIMEOUT_MS, on_all, on_last_cpu};
use super::{Fault, FaultParameters, bring_up, hotplug, ipis, locks, redirects, remap, serial};
use crate::boot::{self, Handoff, direct_map, pvh};
use crate::config::{TIMER_CALLBACK_MS, WATCHDOG_MS};
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::frames::faults as frame_faults;
use crate::panic::Panicking;
use crate::sync::Deadline;
use crate::time::timer::Expiry;
use crate::{bench, console, cpu, memory, panic, selftest, smp, static_call, time};

/// Injects the fault of the earliest boot, before the command line is parsed.
pub fn at_entry(handoff: &Handoff) {
    // SAFETY: rt0 has checked the loader's structure, which lies in the first 4 GiB, and nothing has written there since.
    let head =
        unsafe { core::slice::from_raw_parts(direct_map::pointer(handoff.loader_info), pvh::HEAD_BYTES_V1) };
    let address = pvh::StartInfo::parse(head).ok().and_then(|info| info.command_line_address);
    // SAFETY: the command line is a terminated string in the first 4 GiB: kernels with the feature `faults` run under QEMU
    // only, which places it there.
    let line =
        address.map(|address| unsafe { core::ffi::CStr::from_ptr(direct_map::pointer(address)) }.to_bytes());
    let wanted = b"inject=early_exception";
    if line.is_some_and(|line| line.windows(wanted.len()).any(|word| word == wanted)) {
        // SAFETY: none is needed: the fault is to raise an exception.
        unsafe { core::arch::asm!("ud2") };
    }
}

/// Arms the faults of the frame allocator and of the self-test, and those that replace functions.
pub fn arm(parameters: &FaultParameters) {
    let fault = parameters.fault;
    redirects::arm(fault);
    bring_up::arm(parameters.stage);
    if fault == Some(Fault::TscDrifts) {
        time::faults::inject_tsc_drift();
    }
    if fault == Some(Fault::ClobberRegister) {
        selftest::arm_clobber();
    }
    frame_faults::arm(match fault {
        Some(Fault::DoubleAllocate) => frame_faults::Fault::DoubleAllocate,
        Some(Fault::LeakFrame) => frame_faults::Fault::LeakFrame,
        Some(Fault::Miscount) => frame_faults::Fault::Miscount,
        Some(Fault::Misalign) => frame_faults::Fault::Misalign,
        Some(Fault::SkipBlockCompletion) => frame_faults::Fault::SkipBlockCompletion,
        Some(Fault::SkipBuddyInsert) => frame_faults::Fault::SkipBuddyInsert,
        Some(Fault::SkipBuddyMerge) => frame_faults::Fault::SkipBuddyMerge,
        Some(Fault::SkipSummaryUpdate) => frame_faults::Fault::SkipSummaryUpdate,
        Some(Fault::AcceptDoubleFree) => frame_faults::Fault::AcceptDoubleFree,
        Some(Fault::AcceptUnownedFree) => frame_faults::Fault::AcceptUnownedFree,
        Some(Fault::AcceptWrongOrder) => frame_faults::Fault::AcceptWrongOrder,
        Some(Fault::SkipRemoteDrain) => frame_faults::Fault::SkipRemoteDrain,
        Some(Fault::BlockInIrq) => frame_faults::Fault::BlockInIrq,
        Some(Fault::AllowAllocInNmi) => frame_faults::Fault::AllowAllocInNmi,
        Some(Fault::EnableIrqsInRefill) => frame_faults::Fault::EnableIrqsInRefill,
        _ => frame_faults::Fault::None,
    });
}

/// Injects a fault when all CPUs are online.
///
/// # Panics
/// If the fault is a panic.
pub fn at_work(fault: Option<Fault>) {
    ipis::begin();
    match fault {
        Some(Fault::PanicCpu3) => {
            on_all(&|cpu| assert!(cpu.id() != CpuId(3), "the injected fault panic_cpu3"));
        }
        Some(Fault::PanicEverywhere) => panic_everywhere(),
        Some(Fault::PanicInPanic) => on_last_cpu(&|| panic!("{}", PanicsWhenShown)),
        Some(Fault::PanicInConsole) => on_last_cpu(&|| {
            console::with_lock(|| panic!("the injected fault panic_in_console"));
        }),
        Some(Fault::StackOverflow) => on_last_cpu(&|| {
            fill_stack(0);
        }),
        Some(Fault::UnsteadyCost) => bench::become_unsteady(),
        Some(Fault::OverflowNmiStack) => overflow_in_handler::<2>(),
        Some(Fault::OverflowMachineCheckStack) => overflow_in_handler::<18>(),
        Some(Fault::OverflowDebugStack) => overflow_in_handler::<1>(),
        Some(Fault::OverflowDoubleFaultStack) => overflow_in_handler::<8>(),
        Some(Fault::SpinForever) => {
            let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
            smp::call_async(&CpuSet::of(last), spin_forever, 0).expect("the last CPU takes calls");
        }
        Some(Fault::HoldLock) => locks::hold_and_wait(),
        Some(Fault::HoldLockAtWork) => locks::hold_and_wait_at_work(),
        Some(Fault::HoldConsole) => locks::hold_console(),
        Some(Fault::HoldConsoleAWhile) => locks::hold_console_a_while(),
        Some(Fault::LockTwice) => locks::lock_twice(),
        Some(Fault::RemapInTeardown) => remap::remap_in_teardown(),
        Some(Fault::RestartInNmi) => hotplug::restart_in_nmi(),
        Some(Fault::BusyIcrOnLast) => ipis::call_all_by_busy_icr(),
        Some(Fault::MuteTransmitterAtWork) => serial::mute_at_work(),
        Some(Fault::PanicWithFullRing) => on_last_cpu(&serial::panic_with_full_ring),
        Some(Fault::SpinInCallback) => on_last_cpu(&spin_in_timer),
        Some(Fault::SpinAWhile) => on_last_cpu(&|| spin_a_while(2 * WATCHDOG_MS)),
        Some(Fault::WriteText) => on_last_cpu(&|| write_to(fill_stack as *const () as u64)),
        Some(Fault::WriteConstants) => on_last_cpu(&|| write_to((&raw const CONSTANT).addr() as u64)),
        Some(Fault::WriteIdt) => on_last_cpu(&|| write_to(boot::final_idt().addr() as u64)),
        Some(Fault::ExecuteData) => on_last_cpu(&|| execute((&raw const RETURN).addr() as u64)),
        Some(Fault::TouchPage0) => on_last_cpu(&|| read_from(direct_map::virt(0x10))),
        Some(Fault::TouchNull) => on_last_cpu(&|| read_from(0x10)),
        _ => {}
    }
}

/// Injects a fault when the self-test has passed.
///
/// # Panics
/// If the fault is a panic.
pub fn after_selftest(fault: Option<Fault>) {
    if fault == Some(Fault::PanicAfterSelfTest) {
        on_last_cpu(&|| panic!("the injected fault panic_after_selftest"));
    }
}

/// Injects the faults that the TSC sync check must find, and those of an incomplete boot.
pub fn before_warp_test(fault: Option<Fault>) {
    if fault == Some(Fault::HoldLockAtBoot) {
        locks::hold_and_wait();
    }
    if fault == Some(Fault::TscWarps) {
        // About a second, so that the check finds it even on a busy host.
        on_last_cpu(&|| time::faults::inject_tsc_offset(1 << 32));
    }
}

/// Injects the faults that the page-table audit must find.
///
/// # Panics
/// If no memory for a page table is left.
pub fn before_audit(fault: Option<Fault>) {
    if fault == Some(Fault::WritableText) {
        memory::map_text_writable().expect("memory for a page table");
    }
}

/// Panics on all CPUs, when all have arrived here.
fn panic_everywhere() {
    static HERE: AtomicUsize = AtomicUsize::new(0);
    let count = smp::online().count();
    on_all(&|cpu| {
        let _guard = IrqGuard::new();
        HERE.fetch_add(1, Ordering::AcqRel);
        let _ = Deadline::after_ms(FAULT_TIMEOUT_MS).wait_until(|| HERE.load(Ordering::Acquire) == count);
        panic!("the injected fault panic_everywhere, on cpu {}", cpu.id())
    });
}

static_call! {
    smp::stop_others(panicking: &Panicking) => stop_panicked, if |_| redirects::is_armed(Fault::PanicEverywhere);
}

/// [`smp::stop_others`], when all other CPUs have panicked too.
extern "C" fn stop_panicked(panicking: &Panicking) {
    let others = || smp::online().filter(|cpu| cpu.id() != cpu::current());
    let have_panicked =
        || others().filter_map(|cpu| cpu.get(panic::CRASH_STATE)).all(panic::CpuCrashState::has_panicked);
    let _ = Deadline::after_ms(FAULT_TIMEOUT_MS).wait_until(have_panicked);
    smp::stop_others::original(panicking);
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("the injected fault in a message")
    }
}

/// Runs in a call, so with interrupts off.
#[inline(never)]
fn spin_forever(_: usize) {
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn spin_a_while(ms: u64) {
    let _guard = IrqGuard::new();
    Deadline::after_ms(ms).wait();
}

/// Arms a timer whose callback takes twice as long as allowed, and waits for it.
fn spin_in_timer() {
    static HAS_RETURNED: AtomicBool = AtomicBool::new(false);
    fn spin_in_callback(_: &Expiry) {
        Deadline::after_ms(2 * TIMER_CALLBACK_MS).wait();
        HAS_RETURNED.store(true, Ordering::Release);
    }
    let armed = time::timer::after(Duration::from_millis(1), spin_in_callback, 0);
    armed.expect("the first timers of a CPU need no memory");
    let has_returned =
        Deadline::after_ms(FAULT_TIMEOUT_MS).wait_until(|| HAS_RETURNED.load(Ordering::Acquire));
    has_returned.expect("the timer expires");
}

static CONSTANT: [u64; 2] = [0x0c70_90d0, 8];

/// The machine code of `ret`, in data.
static RETURN: AtomicU8 = AtomicU8::new(0xc3);

fn write_to(address: u64) {
    // SAFETY: none is needed: the write raises an exception. In assembly, so that the compiler assumes nothing.
    unsafe { core::arch::asm!("mov byte ptr [{}], 0xcc", in(reg) address, options(nostack)) };
}

fn read_from(address: u64) {
    // SAFETY: none is needed: the read raises an exception. In assembly, so that the compiler assumes nothing.
    unsafe { core::arch::asm!("mov {0:e}, dword ptr [{0}]", inout(reg) address => _, options(nostack)) };
}

fn execute(address: u64) {
    // SAFETY: none is needed: the call raises an exception, or returns at once. In assembly, so that the compiler assumes
    // nothing.
    unsafe { core::arch::asm!("call {}", in(reg) address, clobber_abi("C")) };
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
