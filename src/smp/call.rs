//! Calls between CPUs. [`call`] waits until each target has run a function, [`call_async`] does not wait. The lock-free
//! part is [`call_queue`](crate::sync::call_queue). This module connects it to CPUs, IPIs and time.
//!
//! A CPU that waits with interrupts on processes calls in the IPI handler. A CPU that waits with interrupts off polls its
//! own queue. So mutual calls cannot deadlock. A CPU that waits with interrupts on spins for a few microseconds, then
//! halts; the last target to finish ends the halt.
//!
//! Every call ends. A call that a target has not begun within [`IPI_CALL_TIMEOUT_MS`] is withdrawn and never runs there;
//! the target is reported with its backtrace. A call that a target has begun cannot be withdrawn, since it may use what
//! the caller borrows. If it does not end within the same time again, the kernel panics. A CPU that goes offline closes
//! its queue and runs the calls in it: a call to it is run, or returns an error.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use super::call_error::MAX_DEPTH;
use super::{CallError, call_self, cpus, nmi, online};
use crate::apic::{self, ApicError, Batch, Message};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::sync::call_queue::{CallQueues, CallSlot, Enqueue, QueueFlags, SLOTS};
use crate::sync::{Deadline, TimedOut, Timeout};
use crate::time::halt_for;
use crate::{memory, per_cpu, trace};

/// How long a wait with interrupts on spins before it halts. A running CPU completes a call in a few microseconds. A
/// virtual CPU that does not run may need the host's core on which this one spins.
const SPIN_US: u64 = 20;

const _: () = assert!((MAX_DEPTH as usize) < SLOTS, "nested waits leave no slot for asynchronous calls");

/// The most unresponsive CPUs of one call whose backtraces are reported.
const MAX_BACKTRACES: usize = 4;

/// A function that a target runs, with interrupts off. It is short, since its CPU does nothing else meanwhile. It may
/// call other CPUs in turn.
pub type Function = fn(usize);

static CALL_QUEUES: Once<CallQueues<'static>> = Once::new();

per_cpu! {
    /// The slots whose calls this CPU waits for, one bit each.
    static WAITING: Cell<u32> = Cell::new(0);
    /// The nested waits of this CPU, for calls or for a slot.
    static DEPTH: Cell<u32> = Cell::new(0);
    /// The calls that this CPU has run for other CPUs.
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    /// The call IPIs that this CPU has taken.
    static NOTIFIED: AtomicU64 = AtomicU64::new(0);
}

/// Calls withdrawn from targets because of a time-out.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// Returns how many targets since boot did not begin a call in time. **Context:** any.
pub(crate) fn call_timeouts() -> u64 {
    UNANSWERED.load(Ordering::Relaxed)
}

/// Returns how many calls the CPU with that GS base has run, and how many call IPIs it has taken. **Context:** any.
///
/// # Safety
/// As for [`PerCpu::of`].
pub(crate) unsafe fn answered(gs_base: usize) -> (u64, u64) {
    // SAFETY: `gs_base` belongs to an area that is never freed, guaranteed by the caller (see # Safety).
    let calls = unsafe { ANSWERED.of(gs_base) };
    // SAFETY: `gs_base` belongs to an area that is never freed, guaranteed by the caller (see # Safety).
    let interrupts = unsafe { NOTIFIED.of(gs_base) };
    (calls.load(Ordering::Relaxed), interrupts.load(Ordering::Relaxed))
}

/// Returns all online CPUs. **Context:** any.
pub fn all_online() -> CpuSet {
    online().map(super::Cpu::id).collect()
}

/// Returns all online CPUs but this one. **Context:** any.
pub fn other_online() -> CpuSet {
    let mut others = all_online();
    others.remove(cpu::current());
    others
}

/// Allocates the call queues and opens those of the online CPUs. Returns `None` if there is no memory for them:
/// [`CallQueues::words_for`] the listed CPUs.
///
/// **Context:** thread on the BSP, once, after bring-up.
pub(crate) fn open() -> Option<()> {
    let count = cpus().len();
    let zero = || AtomicU64::new(0);
    let rows = memory::alloc_slice_from((0..CallQueues::words_for(count)).map(|_| zero()))?;
    let slots = memory::alloc_slice_from((0..CallQueues::slots_for(count)).map(|_| CallSlot::new()))?;
    let queues = CALL_QUEUES.call_once(|| CallQueues::new(count, rows, slots));
    interrupts::register(Vector::CALL, "call", interrupt);
    interrupts::register(Vector::CALL_SELF, "call to self", super::call_self::interrupt);
    for cpu in online() {
        queues.open(cpu.id().index());
    }
    Some(())
}

/// Opens this CPU's queue: from now on other CPUs can call it.
pub(super) fn open_one(_: &IrqGuard) {
    call_queues().open(cpu::current().index());
}

/// Closes this CPU's queue and runs the calls in it: from now on calls to this CPU are refused.
pub(super) fn close(guard: &IrqGuard) {
    call_queues().close(cpu::current().index());
    process(guard);
}

/// Runs `function` on every CPU of `targets`, this one included if it is among them, and returns when all have finished.
/// The function runs with interrupts off.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI. Waits up to twice [`IPI_CALL_TIMEOUT_MS`]: with
/// interrupts on it halts, with interrupts off it polls this CPU's queue.
///
/// # Errors
/// See [`CallError`]. All targets that the error does not concern have run the function exactly once.
///
/// # Panics
/// If a target that has begun the call does not end it within twice [`IPI_CALL_TIMEOUT_MS`].
pub fn call<F: Fn() + Sync>(targets: &CpuSet, function: &F) -> Result<(), CallError> {
    fn run<F: Fn()>(data: usize) {
        let function: *const F = core::ptr::with_exposed_provenance(data);
        // SAFETY: the address is that of an `F` that lives: `call` borrows it, and returns only when `wait` has seen
        // every target finish or has withdrawn the call from it. `F: Sync` allows the use on other CPUs.
        let function = unsafe { &*function };
        function();
    }
    let guard = IrqGuard::new();
    let me = cpu::current();
    let data = core::ptr::from_ref(function).expose_provenance();
    let others = Targets { set: targets, without: me };
    let waiting = if others.iter().next().is_none() {
        None
    } else {
        if DEPTH.get() == MAX_DEPTH {
            return Err(CallError::TooDeep);
        }
        let slot = free_slot(&guard)?;
        DEPTH.set(DEPTH.get() + 1);
        WAITING.set(WAITING.get() | 1 << slot);
        Some((slot, send(&guard, slot, &others, run::<F>, data)))
    };
    if targets.contains(me) {
        function();
    }
    let may_halt = guard.were_enabled();
    drop(guard);
    let Some((slot, sent)) = waiting else { return Ok(()) };
    let answered = wait(me, slot, &others, may_halt);
    let _guard = IrqGuard::new();
    WAITING.set(WAITING.get() & !(1 << slot));
    DEPTH.set(DEPTH.get() - 1);
    answered.and(sent)
}

/// Makes every CPU of `targets` run `function` with `data`, and does not wait for that. If this CPU is among them, it
/// runs the function as by [`call_self`].
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI. Waits only if [`SLOTS`] calls of this CPU are
/// pending, up to [`IPI_CALL_TIMEOUT_MS`].
///
/// # Errors
/// [`CallError::Offline`] or [`CallError::NotSent`] if a target will not run the function; [`CallError::TooDeep`] or
/// [`CallError::TooMany`] if no target will.
pub fn call_async(targets: &CpuSet, function: Function, data: usize) -> Result<(), CallError> {
    let guard = IrqGuard::new();
    let me = cpu::current();
    let others = Targets { set: targets, without: me };
    let sent = match others.iter().next() {
        None => Ok(()),
        Some(_) => send(&guard, free_slot(&guard)?, &others, function, data),
    };
    let own = if targets.contains(me) { call_self(function, data) } else { Ok(()) };
    match sent {
        // `Offline` is the mildest error and hides no other.
        Err(CallError::Offline { .. }) if own.is_err() => own,
        sent => sent.and(own),
    }
}

/// The targets of a call, without the caller's own CPU.
struct Targets<'a> {
    set: &'a CpuSet,
    without: CpuId,
}

impl Targets<'_> {
    #[inline]
    fn iter(&self) -> impl Iterator<Item = CpuId> + Clone + '_ {
        self.set.iter().filter(|cpu| *cpu != self.without)
    }
}

/// # Panics
/// Before [`open`].
#[inline]
fn call_queues() -> &'static CallQueues<'static> {
    CALL_QUEUES.get().expect("call before smp::open_calls")
}

/// Returns a slot of this CPU whose last call has finished and is not waited for.
#[inline]
fn free_slot(guard: &IrqGuard) -> Result<usize, CallError> {
    let (queues, me) = (call_queues(), cpu::current().index());
    let free = |slot: &usize| WAITING.get() & 1 << slot == 0 && queues.is_done(me, *slot);
    match (0..SLOTS).find(free) {
        Some(slot) => Ok(slot),
        None => wait_for_slot(guard, free),
    }
}

#[cold]
fn wait_for_slot(guard: &IrqGuard, free: impl Fn(&usize) -> bool) -> Result<usize, CallError> {
    if DEPTH.get() == MAX_DEPTH {
        return Err(CallError::TooDeep);
    }
    DEPTH.set(DEPTH.get() + 1);
    let mut found = None;
    let _ = Timeout::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| {
        process(guard);
        found = (0..SLOTS).find(&free);
        found.is_some()
    });
    DEPTH.set(DEPTH.get() - 1);
    found.ok_or(CallError::TooMany)
}

/// Enqueues a call at each target and sends the IPIs.
#[inline]
fn send(
    guard: &IrqGuard,
    slot: usize,
    targets: &Targets,
    function: Function,
    data: usize,
) -> Result<(), CallError> {
    let (queues, me) = (call_queues(), cpu::current().index());
    let mut outcome = Ok(());
    let mut enqueued = 0;
    // One wait for a busy ICR for all targets together, since interrupts are off.
    let mut batch = Batch::new();
    queues.prepare(me, slot, function as usize, data);
    for target in targets.iter() {
        trace!(CallSend, function as usize as u64, target.0.into());
        let result = if target.index() < queues.cpus() {
            queues.enqueue(me, slot, target.index())
        } else {
            // A CPU that is not listed is not online.
            Enqueue::Offline
        };
        let sent = match result {
            Enqueue::AlreadyPending => Ok(()),
            Enqueue::SendIpi(seen) => send_ipi(guard, &mut batch, slot, target, seen),
            Enqueue::Offline => Err(CallError::Offline { first: target }),
        };
        enqueued += usize::from(result != Enqueue::Offline);
        // `Offline` is the mildest error and hides no other.
        if matches!(outcome, Ok(()) | Err(CallError::Offline { .. })) && sent.is_err() {
            outcome = if outcome.is_err() && result == Enqueue::Offline { outcome } else { sent };
        }
    }
    queues.set_target_count(me, slot, enqueued);
    outcome
}

/// Sends a target the call IPI, or withdraws the call. Other senders' calls do not depend on this IPI.
#[inline]
fn send_ipi(
    guard: &IrqGuard,
    batch: &mut Batch,
    slot: usize,
    target: CpuId,
    seen: QueueFlags,
) -> Result<(), CallError> {
    let to = cpus()[target.index()].entry.apic_id;
    match batch.send(guard, to, Message::Fixed(Vector::CALL)) {
        Ok(()) => {
            call_queues().ipi_sent(target.index(), seen);
            Ok(())
        }
        Err(error) => ipi_failed(slot, target, error),
    }
}

#[cold]
fn ipi_failed(slot: usize, target: CpuId, error: ApicError) -> Result<(), CallError> {
    match call_queues().withdraw(cpu::current().index(), slot, target.index()) {
        true => Err(CallError::NotSent { first: target, error }),
        // The target has run the call without the IPI.
        false => Ok(()),
    }
}

/// Waits until all targets have finished. Reports the targets that do not, and withdraws the call from those that have
/// not begun.
fn wait(me: CpuId, slot: usize, targets: &Targets, may_halt: bool) -> Result<(), CallError> {
    let queues = call_queues();
    if wait_for_answers(IPI_CALL_TIMEOUT_MS, queues, me, slot, may_halt).is_ok() {
        return Ok(());
    }
    let not_begun = |cpu: &CpuId| queues.is_queued(me.index(), slot, cpu.index());
    if resend_ipi(targets.iter().filter(not_begun))
        && wait_for_answers(IPI_CALL_TIMEOUT_MS / 8, queues, me, slot, may_halt).is_ok()
    {
        return Ok(());
    }
    // Before the withdrawal: the backtraces show where the targets are stuck.
    for cpu in targets.iter().filter(not_begun).take(MAX_BACKTRACES) {
        nmi::warn(
            &cpus()[cpu.index()],
            "call",
            format_args!("no answer to a call in {IPI_CALL_TIMEOUT_MS} ms"),
        );
    }
    let mut silent = CpuSet::EMPTY;
    for target in targets.iter() {
        if queues.withdraw(me.index(), slot, target.index()) {
            silent.insert(target);
        }
    }
    UNANSWERED.fetch_add(silent.len() as u64, Ordering::Relaxed);
    // The targets that have begun the call.
    if wait_for_answers(IPI_CALL_TIMEOUT_MS, queues, me, slot, may_halt).is_err() {
        let mut running = targets.iter().filter(|cpu| queues.is_running(me.index(), slot, cpu.index()));
        let busy = running.next().unwrap_or(me);
        nmi::warn(&cpus()[busy.index()], "call", format_args!("call still running"));
        panic!("cpu {busy} has not completed cpu {me}'s call in {} ms", 2 * IPI_CALL_TIMEOUT_MS);
    }
    match silent.iter().next() {
        None => Ok(()),
        Some(first) => Err(CallError::Unanswered { first, count: silent.len() as u32 }),
    }
}

/// Sends these CPUs the call IPI again, in case the first was lost. Returns whether any was sent.
fn resend_ipi(targets: impl Iterator<Item = CpuId>) -> bool {
    let mut batch = Batch::new();
    let mut is_any_sent = false;
    for target in targets {
        let to = cpus()[target.index()].entry.apic_id;
        is_any_sent |= batch.send(&IrqGuard::new(), to, Message::Fixed(Vector::CALL)).is_ok();
    }
    is_any_sent
}

fn wait_for_answers(
    ms: u64,
    queues: &CallQueues,
    me: CpuId,
    slot: usize,
    may_halt: bool,
) -> Result<(), TimedOut> {
    let is_done = || queues.is_done(me.index(), slot);
    if !may_halt {
        return Timeout::after_ms(ms).wait_until(|| {
            process(&IrqGuard::new());
            is_done()
        });
    }
    match Deadline::after_us(SPIN_US).wait_until(is_done) {
        Ok(()) => Ok(()),
        Err(TimedOut) => {
            let is_done = || queues.is_done_or_request_wake(me.index(), slot);
            halt_for(&mut Timeout::after_ms(ms), is_done, || {})
        }
    }
}

/// Runs the calls in this CPU's queue.
#[inline]
fn process(_: &IrqGuard) {
    call_queues().process(
        cpu::current().index(),
        |call| {
            ANSWERED.increment();
            trace!(CallBegin, call.function as u64, call.data as u64);
            // SAFETY: `send` alone stores into a slot, and it stores a `Function`; `CallQueues::process` reads it after
            // the bit that `CallQueues::enqueue` has set, and only once for each call.
            let function = unsafe { core::mem::transmute::<usize, Function>(call.function) };
            function(call.data);
            trace!(CallEnd, call.function as u64);
        },
        |sender| super::wake::wake_waiter(&cpus()[sender]),
    );
}

fn interrupt(_: &mut TrapFrame) {
    NOTIFIED.increment();
    apic::end_of_interrupt();
    process(&IrqGuard::new());
}
