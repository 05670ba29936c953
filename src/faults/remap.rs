//! A CPU that goes offline while other frames are mapped where it has written. What it still runs by then must write to the
//! new frames: calls until its inbox is closed, and no timers behind that.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use super::Fault;
use super::inject::STRIKE_MS;
use super::redirects::is_armed;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::memory::frames::FrameNumber;
use crate::memory::{self, FrameBatch, Mapping, OwnedFrame};
use crate::smp::hotplug;
use crate::sync::{Deadline, SpinLockIrq};
use crate::time::timer;
use crate::{apic, smp, static_call};

static_call! {
    hotplug::close(guard: &IrqGuard) => close_while_remapped, if |_| is_armed(Fault::RemapInTeardown);
}

/// What writes through the mapping when the frame behind it has been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Writer {
    /// A call to the last CPU, before that closes its inbox.
    Call,
    /// A timer that such a call arms, and that is due when the inbox is closed.
    Timer,
}

/// The [`Writer`] of the round under way.
static WRITER: AtomicU8 = AtomicU8::new(Writer::Call as u8);

/// The CPU that unmaps and maps: neither the boot processor, which waits for the last CPU, nor that one.
const OTHER: CpuId = CpuId(1);

static MAPPING: SpinLockIrq<Option<Mapping>> = SpinLockIrq::new(None);
crate::name_lock!(MAPPING);

/// Where the mapping begins.
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// What is written there, by what is under test alone.
const TAG: u64 = 0x7e57_ab1e_0ff1_14e5;

/// One more than the CPU that has written [`TAG`], or 0.
static WRITTEN_BY: AtomicU32 = AtomicU32::new(0);

/// Takes the last CPU offline once for each [`Writer`], and reads what was written.
///
/// # Panics
/// If the write went to a frame that was not mapped any more, or anything failed. It takes three CPUs.
pub fn remap_in_teardown() {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    assert!(last > OTHER, "the fault takes three CPUs");
    for writer in [Writer::Call, Writer::Timer] {
        WRITER.store(writer as u8, Ordering::Relaxed);
        WRITTEN_BY.store(0, Ordering::Relaxed);
        smp::call(&CpuSet::of(OTHER), &replace).expect("a CPU that is online takes calls");
        hotplug::offline(last).expect("the last CPU goes offline");
        let is_written = Deadline::after_ms(STRIKE_MS).wait_until(|| WRITTEN_BY.load(Ordering::Acquire) != 0);
        is_written.expect("the call or the timer runs");
        let by = WRITTEN_BY.load(Ordering::Acquire) - 1;
        let read = word().load(Ordering::Relaxed);
        assert!(read == TAG, "{writer:?}: cpu {by} wrote through a stale entry, the page holds {read:#x}");
        log::info!(
            "remapped while cpu {last} went offline: cpu {by} wrote to the new frame, by a {writer:?}"
        );
        hotplug::online(last).expect("the last CPU comes back");
    }
    let mapping = MAPPING.lock().take().expect("the page is mapped");
    smp::shootdown(mapping.unmap()).expect("every CPU flushes its TLB");
}

/// [`hotplug::close`], in which the frame is replaced: before that for a call, behind it for a timer.
#[allow(improper_ctypes_definitions)]
extern "C" fn close_while_remapped(guard: &IrqGuard) {
    if smp::cpus().last().is_none_or(|last| last.id() != cpu::current()) {
        hotplug::close::original(guard);
        return;
    }
    // Now this CPU's TLB has an entry, as a call or a timer could have left it: one to write by, so not by a load.
    word().store(1, Ordering::Relaxed);
    // While it waits for the other CPU, this one answers calls.
    if WRITER.load(Ordering::Relaxed) == Writer::Call as u8 {
        ask_other(&|| {
            replace();
            call(write);
        });
        hotplug::close::original(guard);
    } else {
        ask_other(&|| call(arm));
        hotplug::close::original(guard);
        ask_other(&replace);
        // A timer whose interrupt is pending would be served as soon as interrupts are on. There should be none: it was stopped.
        let _ = Deadline::after_ms(1).wait_until(|| apic::is_any_requested(guard));
    }
}

fn ask_other(function: &(dyn Fn() + Sync)) {
    smp::call(&CpuSet::of(OTHER), &|| function()).expect("a CPU that is online takes calls");
}

/// Calls the CPU that goes offline, which is not among the online ones any more.
fn call(function: fn(usize)) {
    let last = smp::cpus().last().map_or(CpuId::BSP, smp::Cpu::id);
    smp::call_without_waiting(&CpuSet::of(last), function, 0).expect("its inbox is open");
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
    // SAFETY: `replace` has mapped the page there, which stays until the last round is over. Through a stale entry this is
    // another frame, which is memory too: that must not happen, and is what the fault is there to see.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(address as usize)) }
}

/// Maps a frame of zeros, in place of the one that was mapped before.
fn replace() {
    // Taken before the old one is freed, so it is another.
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
