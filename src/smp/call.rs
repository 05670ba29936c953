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
use crate::cpu::{self, CpuId, CpuSet, IrqGuard, Others};
use crate::interrupts::{self, PreemptGuard, TrapFrame, Vector};
use crate::sync::call_queue::{CallQueues, CallSlot, Enqueue, SLOTS};
use crate::sync::{Deadline, TimedOut, Timeout};
use crate::time::halt_for;
use crate::{memory, per_cpu, trace};

/// How long a wait with interrupts on spins before it halts. A running CPU completes a call in a few microseconds. A
/// virtual CPU that does not run may need the host's core on which this one spins.
const SPIN_US: u64 = 20;

/// How often a caller that may halt looks for the answer before it enables interrupts and reads the clock: about a microsecond, since a
/// PAUSE takes up to 140 cycles.
const FIRST_SPINS: u32 = 16;

/// A nested wait in `WAITS`.
const ONE_WAIT: u32 = 1 << SLOTS;

const _: () = assert!((MAX_DEPTH as usize) < SLOTS, "nested waits leave no slot for asynchronous calls");

/// The most unresponsive CPUs of one call whose backtraces are reported.
const MAX_BACKTRACES: usize = 4;

/// A function that a target runs, with interrupts off. It is short, since its CPU does nothing else meanwhile. It may
/// call other CPUs in turn.
pub type Function = fn(usize);

static CALL_QUEUES: Once<CallQueues<'static>> = Once::new();

per_cpu! {
    /// The slots whose calls this CPU waits for, one bit each from bit 0 on, and the number of its nested waits, for calls or for a
    /// slot, in units of [`ONE_WAIT`]. One instruction changes both.
    static WAITS: Cell<u32> = Cell::new(0);
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
/// interrupts on it halts, with interrupts off it polls this CPU's queue. No other thread runs on this CPU meanwhile.
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
    let targets = Targets::new(targets, me);
    if targets.others == Others::None {
        if targets.set.contains(me) {
            function();
        }
        return Ok(());
    }
    let data = core::ptr::from_ref(function).expose_provenance();
    call_others(guard, call_queues(), me, &targets, run::<F>, data)
}

/// The part of [`call`] that does not depend on the function's type. `queues` is a parameter, so that the compiler need not read its
/// fields again after each atomic operation.
#[inline(never)]
fn call_others(
    guard: IrqGuard,
    queues: &CallQueues,
    me: CpuId,
    targets: &Targets,
    function: Function,
    data: usize,
) -> Result<(), CallError> {
    if WAITS.get() / ONE_WAIT == MAX_DEPTH {
        return Err(CallError::TooDeep);
    }
    let slot = free_slot(&guard, queues, me)?;
    let own_wait = ONE_WAIT + (1 << slot);
    WAITS.add(own_wait);
    let sent = send(&guard, queues, me, slot, targets, function, data);
    if targets.set.contains(me) {
        function(data);
    }
    if guard.were_enabled() && is_answered_soon(queues, me, slot) {
        WAITS.add(own_wait.wrapping_neg());
        return sent;
    }
    let answered = wait(guard, queues, me, slot, targets);
    if answered.is_ok() { sent } else { answered }
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
    let others = Targets::new(targets, me);
    let sent = if others.others == Others::None {
        Ok(())
    } else {
        let queues = call_queues();
        let slot = free_slot(&guard, queues, me)?;
        send(&guard, queues, me, slot, &others, function, data)
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
    others: Others,
}

impl<'a> Targets<'a> {
    #[inline(always)]
    fn new(set: &'a CpuSet, without: CpuId) -> Targets<'a> {
        Targets { set, without, others: set.others_than(without) }
    }

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
#[inline(always)]
fn free_slot(guard: &IrqGuard, queues: &CallQueues, me: CpuId) -> Result<usize, CallError> {
    let free = |slot: &usize| WAITS.get() & 1 << slot == 0 && queues.is_done(me.index(), *slot);
    match (0..SLOTS).find(free) {
        Some(slot) => Ok(slot),
        None => wait_for_slot(guard, free),
    }
}

#[cold]
fn wait_for_slot(guard: &IrqGuard, free: impl Fn(&usize) -> bool) -> Result<usize, CallError> {
    if WAITS.get() / ONE_WAIT == MAX_DEPTH {
        return Err(CallError::TooDeep);
    }
    WAITS.add(ONE_WAIT);
    let mut found = None;
    let _ = Timeout::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| {
        process(guard);
        found = (0..SLOTS).find(&free);
        found.is_some()
    });
    WAITS.add(ONE_WAIT.wrapping_neg());
    found.ok_or(CallError::TooMany)
}

/// Enqueues a call at each target and sends the IPIs.
#[inline(always)]
fn send(
    guard: &IrqGuard,
    queues: &CallQueues,
    me: CpuId,
    slot: usize,
    targets: &Targets,
    function: Function,
    data: usize,
) -> Result<(), CallError> {
    // One wait for a busy ICR for all targets together, since interrupts are off.
    let mut batch = Batch::new();
    queues.prepare(me.index(), slot, function as usize, data);
    // Written only by what fails: a result that is returned would be copied.
    let mut outcome = Ok(());
    let enqueued = match targets.others {
        // Without a loop around it, the code for one target needs few registers.
        Others::One(target) => {
            usize::from(send_to(guard, queues, &mut batch, me, slot, target, function, &mut outcome))
        }
        _ => send_to_each(guard, queues, &mut batch, me, slot, targets, function, &mut outcome),
    };
    queues.set_target_count(me.index(), slot, enqueued);
    outcome
}

/// Enqueues the slot's call at each target and sends the IPIs. Returns the number of targets at which it was enqueued.
#[allow(clippy::too_many_arguments, reason = "a structure would live in memory")]
#[inline(never)]
fn send_to_each(
    guard: &IrqGuard,
    queues: &CallQueues,
    batch: &mut Batch,
    me: CpuId,
    slot: usize,
    targets: &Targets,
    function: Function,
    outcome: &mut Result<(), CallError>,
) -> usize {
    let mut enqueued = 0;
    for target in targets.iter() {
        enqueued += usize::from(send_to(guard, queues, batch, me, slot, target, function, outcome));
    }
    enqueued
}

/// Enqueues the slot's call at a target and sends the IPI. Returns whether it was enqueued.
#[allow(clippy::too_many_arguments, reason = "a structure would live in memory")]
#[inline(always)]
fn send_to(
    guard: &IrqGuard,
    queues: &CallQueues,
    batch: &mut Batch,
    me: CpuId,
    slot: usize,
    target: CpuId,
    function: Function,
    outcome: &mut Result<(), CallError>,
) -> bool {
    trace!(CallSend, function as usize as u64, target.0.into());
    let cpu = cpus().get(target.index());
    let result = match cpu {
        Some(_) => queues.enqueue(me.index(), slot, target.index()),
        // A CPU that is not listed is not online.
        None => Enqueue::Offline,
    };
    match (result, cpu) {
        (Enqueue::SendIpi(seen), Some(cpu)) => {
            match batch.send(guard, cpu.entry.apic_id, Message::Fixed(Vector::CALL)) {
                Ok(()) => queues.ipi_sent(target.index(), seen),
                Err(error) => ipi_failed(queues, me, slot, target, error, outcome),
            }
            true
        }
        (Enqueue::Offline, _) => {
            not_sent(outcome, CallError::Offline { first: target });
            false
        }
        _ => true,
    }
}

/// Withdraws the call from a target to which the IPI could not be sent. Other senders' calls do not depend on this IPI.
#[cold]
fn ipi_failed(
    queues: &CallQueues,
    me: CpuId,
    slot: usize,
    target: CpuId,
    error: ApicError,
    outcome: &mut Result<(), CallError>,
) {
    // Else the target has run the call without the IPI.
    if queues.withdraw(me.index(), slot, target.index()) {
        not_sent(outcome, CallError::NotSent { first: target, error });
    }
}

/// Records an error. The first one counts, except that `Offline`, the mildest, hides no other.
#[cold]
fn not_sent(outcome: &mut Result<(), CallError>, error: CallError) {
    let is_offline = |error: &CallError| matches!(error, CallError::Offline { .. });
    if outcome.as_ref().err().is_none_or(|first| is_offline(first) && !is_offline(&error)) {
        *outcome = Err(error);
    }
}

/// Returns whether all targets finish within about a microsecond, for which interrupts are off, so that the thread stays on this CPU. Most
/// do: a guard against preemption and a deadline would cost more than this wait.
#[inline(always)]
fn is_answered_soon(queues: &CallQueues, me: CpuId, slot: usize) -> bool {
    for _ in 0..FIRST_SPINS {
        if queues.is_done(me.index(), slot) {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Waits until all targets have finished, and ends the wait in `WAITS`. Reports the targets that do not, and withdraws the call from those
/// that have not begun.
#[inline(never)]
fn wait(
    guard: IrqGuard,
    queues: &CallQueues,
    me: CpuId,
    slot: usize,
    targets: &Targets,
) -> Result<(), CallError> {
    let may_halt = guard.were_enabled();
    // The slot and `WAITS` are this CPU's, the last target wakes this CPU, and no second thread waits here meanwhile.
    let stays = PreemptGuard::new();
    drop(guard);
    let answered = wait_with_deadline(queues, me, slot, targets, may_halt);
    WAITS.add((ONE_WAIT + (1 << slot)).wrapping_neg());
    drop(stays);
    answered
}

fn wait_with_deadline(
    queues: &CallQueues,
    me: CpuId,
    slot: usize,
    targets: &Targets,
    may_halt: bool,
) -> Result<(), CallError> {
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
#[inline(always)]
pub(super) fn process(_: &IrqGuard) {
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
        wake_sender,
    );
}

/// Ends the halt of a caller. Not inlined: most callers spin, and [`process`] stays short.
#[inline(never)]
fn wake_sender(sender: usize) {
    super::wake::wake_waiter(&cpus()[sender]);
}

fn interrupt(frame: &mut TrapFrame) {
    NOTIFIED.increment();
    apic::end_of_interrupt();
    process(frame.irq_guard());
}
