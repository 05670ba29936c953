//! A CPU goes offline while the frame behind an address that it has written to is replaced. The code that it still runs
//! must write to the new frame: calls until its call queue is closed, and no timers afterwards.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use super::injection::{FAULT_TIMEOUT_MS, Injection, Point};
use super::names::Fault;
use super::redirects::is_armed;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::memory::frames::FrameNumber;
use crate::memory::{self, FrameBatch, Mapping, OwnedFrame};
use crate::smp::hotplug;
use crate::sync::{Deadline, SpinLockIrq, Timeout};
use crate::time::timer;
use crate::wire::Record;
use crate::{apic, console, smp, static_call};

pub(super) const INJECTIONS: &[Injection] =
    &[Injection(Point::BeforeWork, Fault::RemapInTeardown, remap_in_teardown)];

static_call! {
    hotplug::close(guard: &IrqGuard) => close_while_remapped, if |_| is_armed(Fault::RemapInTeardown);
}

/// The code that writes through the mapping after its frame was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Writer {
    /// A call to the last CPU, before it closes its call queue.
    Call,
    /// A timer that such a call arms, which is due when the call queue is closed.
    Timer,
}

/// The [`Writer`] of the current round.
static WRITER: AtomicU8 = AtomicU8::new(Writer::Call as u8);

/// The CPU that unmaps and maps: neither the BSP, which waits for the last CPU, nor the last CPU.
const OTHER: CpuId = CpuId(1);

static MAPPING: SpinLockIrq<Option<Mapping>> = SpinLockIrq::new(None);
crate::name_lock!(MAPPING);

/// The address of the mapping.
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// The value that only the code under test writes.
const TAG: u64 = 0x7e57_ab1e_0ff1_14e5;

/// The number of the CPU that has written [`TAG`], plus one; or 0.
static WRITTEN_BY: AtomicU32 = AtomicU32::new(0);

/// Takes the last CPU offline once for each [`Writer`], and checks where the write went.
///
/// # Panics
/// If the write went to a frame that was unmapped, or if an operation failed, or if there are fewer than three CPUs.
fn remap_in_teardown() {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    assert!(last > OTHER, "the fault needs three CPUs");
    for writer in [Writer::Call, Writer::Timer] {
        WRITER.store(writer as u8, Ordering::Relaxed);
        WRITTEN_BY.store(0, Ordering::Relaxed);
        smp::call(&CpuSet::of(OTHER), &replace).expect("a CPU that is online takes calls");
        hotplug::offline(last).expect("the last CPU goes offline");
        let is_written =
            Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(|| WRITTEN_BY.load(Ordering::Acquire) != 0);
        is_written.expect("the call or the timer runs");
        let by = WRITTEN_BY.load(Ordering::Acquire) - 1;
        let read = word().load(Ordering::Relaxed);
        assert!(read == TAG, "{writer:?}: cpu {by} wrote through a stale entry, the page holds {read:#x}");
        log::info!(
            "remapped while cpu {last} went offline: cpu {by} wrote to the new frame, by a {writer:?}"
        );
        let name = match writer {
            Writer::Call => "call",
            Writer::Timer => "timer",
        };
        console::send(&Record::number("fault.remapped_by", name, by.into()));
        hotplug::online(last).expect("the last CPU comes back");
    }
    let mapping = MAPPING.lock().take().expect("the page is mapped");
    smp::shootdown(mapping.unmap()).expect("every CPU flushes its TLB");
}

/// [`hotplug::close`]. Replaces the frame before it for a call, after it for a timer.
#[allow(improper_ctypes_definitions)]
extern "C" fn close_while_remapped(guard: &IrqGuard) {
    if smp::cpus().last().is_none_or(|last| last.id() != cpu::current()) {
        hotplug::close::original(guard);
        return;
    }
    // Fills this CPU's TLB, as a call or a timer may have: by a store, so that the entry allows writes.
    word().store(1, Ordering::Relaxed);
    // This CPU runs calls while it waits for the other CPU.
    if WRITER.load(Ordering::Relaxed) == Writer::Call as u8 {
        call_other(&|| {
            replace();
            call(write);
        });
        hotplug::close::original(guard);
    } else {
        call_other(&|| call(arm));
        hotplug::close::original(guard);
        call_other(&replace);
        // A pending timer interrupt would be taken as soon as interrupts are on. The timer was stopped, so there should
        // be none.
        let _ = Deadline::after_ms(1).wait_until(|| apic::is_any_requested(guard));
    }
}

fn call_other(function: &(dyn Fn() + Sync)) {
    smp::call(&CpuSet::of(OTHER), &|| function()).expect("a CPU that is online takes calls");
}

/// Calls the CPU that goes offline, which is not in the online set any more.
fn call(function: fn(usize)) {
    let last = smp::cpus().last().map_or(CpuId::BSP, smp::Cpu::id);
    smp::call_async(&CpuSet::of(last), function, 0).expect("its call queue is open");
}

fn arm(_: usize) {
    timer::after(Duration::ZERO, |_| write(0), 0).expect("the first timers of a CPU need no memory");
}

fn write(_: usize) {
    word().store(TAG, Ordering::Relaxed);
    WRITTEN_BY.store(cpu::current().0 + 1, Ordering::Release);
}

/// The first word of the page.
fn word() -> &'static AtomicU64 {
    let address = ADDRESS.load(Ordering::Acquire);
    // SAFETY: `replace` has mapped the page there until the last round is over. Through a stale TLB entry this is another
    // frame, which is memory too: the error that the fault detects.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(address as usize)) }
}

/// Maps a zeroed frame, in place of the one that was mapped before.
fn replace() {
    // Allocated before the old frame is freed, so it is a different one.
    let frame = OwnedFrame::alloc_zeroed().expect("memory for a page");
    let old = MAPPING.lock().take();
    let address = old.as_ref().map(Mapping::address);
    if let Some(old) = old {
        smp::shootdown(old.unmap()).expect("every CPU that runs anything flushes its TLB");
    }
    let mut buffer = [FrameNumber::new(0); 1];
    let mut frames = FrameBatch::new(&mut buffer);
    frames.push(frame).expect("a batch of one has room for one");
    let new = memory::vmap(frames).map_err(|(error, _)| error).expect("room for a page");
    assert!(address.is_none_or(|address| address == new.address()), "the page was mapped elsewhere");
    ADDRESS.store(new.address(), Ordering::Release);
    *MAPPING.lock() = Some(new);
}
