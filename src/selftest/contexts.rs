//! Checks what the frame allocator and the local APIC do in restricted contexts. Interrupt guards nest. With interrupts off, as
//! in a handler, an allocation that finds no frame fails at once and calls no other CPU. In an NMI, which may have interrupted
//! the allocator, every allocation and free fails; so does an IPI, as the NMI may have interrupted the two writes of the ICR.
//! The checks depend on counts; time only ends a wait that has failed.

mod guards;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::check::{
    CheckResult, ensure, expect_free_frames, fail, failed, free_frames, on_all_cpus, send_facts,
    validate_frames,
};
use super::nmis;
use crate::apic::{self, ApicError, Message};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::interrupts::Vector;
use crate::memory::cache::end_shortage;
use crate::memory::frames::{FrameNumber, FreeError, Order};
use crate::memory::{FrameRange, OwnedFrame};
use crate::smp::{self, Cpu};
use crate::sync::Timeout;
use crate::{memory, per_cpu};

/// NMIs to each CPU while it allocates and frees frames.
const NMIS: u64 = 50;

/// The orders of these allocations, and of those in NMIs: one for each layer of the allocator.
const ORDERS: [Order; 3] =
    [Order::FRAME, Order::new(3).expect("there are more orders than that"), Order::BLOCK];

/// More contiguous frames than the caches of all CPUs can hold.
const TOO_LARGE: Order = Order::new(13).expect("there are more orders than that");

per_cpu! {
    /// NMIs of this part that this CPU has handled.
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    /// Allocations and frees in them that did not fail.
    static GRANTED: AtomicU64 = AtomicU64::new(0);
    /// IPIs that were sent in them.
    static IPIS: AtomicU64 = AtomicU64::new(0);
}

/// A frame in use, which NMIs try to free.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    guards::check()?;
    let before = free_frames()?;
    in_nmis()?;
    with_interrupts_off()?;
    expect_free_frames(before, "allocations in NMIs and with interrupts off")?;
    validate_frames()?;
    let cpus = smp::online().count();
    log::info!(
        "contexts: {NMIS} NMIs on each of {cpus} CPUs: all allocations and IPIs failed; no CPU was called with interrupts off"
    );
    send_facts("selftest.contexts", &[("cpus", cpus as u64), ("nmis_per_cpu", NMIS)]);
    Ok(())
}

/// Each CPU allocates and frees frames while the BSP sends NMIs to all CPUs, itself included.
fn in_nmis() -> CheckResult {
    let in_use =
        memory::alloc(Order::FRAME).ok_or_else(|| failed(format_args!("contexts: out of memory")))?;
    IN_USE.store(in_use.get(), Ordering::Relaxed);
    nmis::with_handler(on_nmi, send_to_all)?;
    // SAFETY: the frame must be allocated, and its memory unused. It was allocated above, and nothing uses its memory. The NMI
    // handlers' frees of it have failed, or `GRANTED` counts them and the part fails.
    let is_lost = unsafe { memory::free(in_use, Order::FRAME) }.is_err();
    for cpu in smp::online() {
        let count = |value: Option<&AtomicU64>| value.map_or(0, |count| count.load(Ordering::Acquire));
        let (id, granted, sent, got) =
            (cpu.id(), count(cpu.get(GRANTED)), count(cpu.get(IPIS)), handled(cpu));
        ensure!(granted == 0, "cpu {id}: {granted} allocations or frees in NMIs did not fail");
        ensure!(sent == 0, "cpu {id}: {sent} IPIs were sent in NMIs");
        ensure!(got >= NMIS, "cpu {id} got {got} NMIs of {NMIS}");
    }
    ensure!(!is_lost, "wrong: a frame in use cannot be freed");
    Ok(())
}

fn send_to_all() -> CheckResult {
    let mut limit = Timeout::after_ms(STRESS_GRACE_MS / 2);
    // The first NMI interrupts no allocation: if it is granted a frame, a later one might never return.
    send_nmi(&smp::cpus()[CpuId::BSP.index()], &mut limit, || {})?;
    let granted = GRANTED.get();
    ensure!(granted == 0, "cpu {}: {granted} allocations or frees in NMIs did not fail", CpuId::BSP);
    let is_over = AtomicBool::new(false);
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        if cpu.id() != CpuId::BSP {
            while !is_over.load(Ordering::Acquire) {
                alloc_and_free();
            }
            return Ok(());
        }
        let sent = send_nmi_all();
        is_over.store(true, Ordering::Release);
        sent
    })
}

fn handled(cpu: &Cpu) -> u64 {
    cpu.get(HANDLED).map_or(0, |handled| handled.load(Ordering::Acquire))
}

fn send_nmi_all() -> CheckResult {
    let mut limit = Timeout::after_ms(STRESS_GRACE_MS / 2);
    let is_incomplete = |cpu: &&Cpu| handled(cpu) < NMIS;
    while let Some(cpu) = smp::online().find(is_incomplete).filter(|_| !limit.has_passed()) {
        send_nmi(cpu, &mut limit, alloc_and_free)?;
    }
    Ok(())
}

/// Sends an NMI, and calls `meanwhile` until it has been handled.
fn send_nmi(cpu: &Cpu, limit: &mut Timeout, meanwhile: impl Fn()) -> CheckResult {
    nmis::send(cpu).map_err(|error| failed(format_args!("no NMI to cpu {}: {error}", cpu.id())))?;
    while !nmis::is_idle(cpu) && !limit.has_passed() {
        meanwhile();
    }
    Ok(())
}

fn alloc_and_free() {
    drop(ORDERS.map(FrameRange::alloc_nowait));
}

/// Called in each NMI of this part: it tries every kind of allocation and free. Frames that it gets are lost, and the count of
/// free frames shows that as well.
fn on_nmi() {
    let mut granted = 0;
    for order in ORDERS {
        granted += u64::from(memory::alloc(order).is_some());
        granted += u64::from(memory::alloc_nowait(order).is_some());
        let in_use = FrameNumber::new(IN_USE.load(Ordering::Relaxed));
        // SAFETY: the memory of the frame must be unused. Nothing uses it (`in_nmis`), and the allocator must reject the free. If
        // it does not, `GRANTED` counts it, and the part fails.
        let freed = unsafe { memory::free(in_use, order) };
        granted += u64::from(freed != Err(FreeError::AllocDisabled { frame: in_use }));
    }
    let mut frames = [FrameNumber::new(0); 4];
    granted += memory::alloc_bulk(&mut frames) as u64;
    // SAFETY: the memory of the frames must be unused. Nothing uses frame 0 or frames just allocated, and the allocator must
    // reject the free.
    granted += u64::from(unsafe { memory::free_bulk(&frames) }.is_ok());
    GRANTED.add(granted);
    IPIS.add(ipis_sent());
    HANDLED.increment();
}

/// Tries to send an IPI to this CPU by each send function, and returns how many were sent.
fn ipis_sent() -> u64 {
    let guard = IrqGuard::new();
    let to_itself = apic::send_to_self(&guard, Vector::WAKE);
    let by_id = apic::send(&guard, apic::id(), Message::Fixed(Vector::WAKE));
    [to_itself, by_id].into_iter().map(|outcome| u64::from(outcome != Err(ApicError::InNmi))).sum()
}

/// This CPU owns all memory but one frame, which lies in the magazine of another CPU.
fn with_interrupts_off() -> CheckResult {
    let mut all = FrameList::new();
    while let Some(frame) = OwnedFrame::alloc() {
        all.push(frame);
    }
    let (Some(frame), Some(other)) = (all.pop(), smp::online().nth(1)) else { return Ok(()) };
    free_on(other, frame)?;
    with_one_frame_cached_elsewhere()
}

fn free_on(cpu: &Cpu, frame: OwnedFrame) -> CheckResult {
    let is_freed = AtomicBool::new(false);
    let number = frame.into_raw();
    // SAFETY: the caller must own the frame. `into_raw` has transferred the ownership to this closure, which runs once: `call`
    // has one target.
    let free = || is_freed.store(unsafe { memory::free(number, Order::FRAME) }.is_ok(), Ordering::Relaxed);
    let call = || {
        // It caches the frame, although memory is short.
        end_shortage(&IrqGuard::new());
        free();
    };
    smp::call(&CpuSet::of(cpu.id()), &call)?;
    ensure!(is_freed.into_inner(), "wrong: a frame cannot be freed on another CPU");
    Ok(())
}

fn with_one_frame_cached_elsewhere() -> CheckResult {
    {
        let _guard = IrqGuard::new();
        fails_without_calls("with interrupts off", || OwnedFrame::alloc().is_none())?;
    }
    fails_without_calls("for more contiguous frames than are cached", || {
        FrameRange::alloc(TOO_LARGE).is_none()
    })?;
    let Some(_frame) = OwnedFrame::alloc() else {
        return fail!("wrong: a free frame in another CPU's cache cannot be allocated");
    };
    fails_without_calls("while no CPU caches any", || OwnedFrame::alloc().is_none())
}

/// Runs an allocation, which must fail and must call no other CPU.
fn fails_without_calls(when: &str, fails: impl FnOnce() -> bool) -> CheckResult {
    let before = calls_answered();
    let has_failed = fails();
    let calls = calls_answered() - before;
    ensure!(calls == 0, "other CPUs answered {calls} calls for frames {when}");
    ensure!(has_failed, "wrong: an allocation succeeded while all memory is in use");
    Ok(())
}

pub(super) fn calls_answered() -> u64 {
    // SAFETY: the base must be that of a per-CPU area that stays mapped. The area of a CPU that is online is never freed.
    smp::online().filter_map(Cpu::gs_base).map(|base| unsafe { smp::answered(base) }.0).sum()
}

/// A list of owned frames, linked through their own memory.
struct FrameList(Option<OwnedFrame>);

impl FrameList {
    fn new() -> FrameList {
        FrameList(None)
    }

    fn push(&mut self, frame: OwnedFrame) {
        // The allocator never manages frame 0: 0 is the end of the list.
        let next = self.0.take().map_or(0, |next| next.into_raw().get() as u64);
        // SAFETY: the write must be to owned, mapped memory. `frame` owns the page, and `as_ptr` is its address in the direct
        // map.
        unsafe { frame.as_ptr().cast::<u64>().write(next) };
        self.0 = Some(frame);
    }

    fn pop(&mut self) -> Option<OwnedFrame> {
        let first = self.0.take()?;
        // SAFETY: the read must be of owned, initialised memory. `first` owns the page, and `push` wrote the word.
        let next = unsafe { first.as_ptr().cast::<u64>().read() };
        // SAFETY: the frame must have no other handle. `push` consumed the handle when it wrote the number, and the list no
        // longer holds that number.
        self.0 = (next != 0).then(|| unsafe { OwnedFrame::from_raw(FrameNumber::new(next as usize)) });
        Some(first)
    }
}

impl Drop for FrameList {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
