//! Calls between CPUs: [`call`] waits until each target has run a function, [`call_without_waiting`] does not. The
//! lock-free half is [`inboxes`](crate::sync::inboxes); this module ties it to CPUs, interrupts and time.
//!
//! A CPU that waits goes on answering: by interrupt if it waits with interrupts on, by looking into its own inbox if
//! they are off. So CPUs that call each other cannot wait in a circle, whatever their interrupts. A wait with interrupts
//! on ends in a halt when the answer is slow to come, and the last target to finish ends that halt.
//!
//! Every call ends. What a target has not begun within [`REQUEST_MS`] is taken back and will never be run; the target is
//! named, with the addresses on its stack. What it has begun and not ended cannot be taken back: it is given as much time
//! again, then the kernel panics, since what the call borrows must not be left behind. A CPU that goes offline closes its
//! inbox and runs what has come by then: a call to it is run, or is an error.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use super::{CallError, call_self, cpus, nmi, online};
use crate::apic::{self, ApicError, Batch, Message};
use crate::config::REQUEST_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::sync::inboxes::{Inboxes, Put, SLOTS, Seen, Slot};
use crate::sync::{Deadline, TimedOut, Timeout};
use crate::time::halt_for;
use crate::{memory, per_cpu, trace};

/// How long a wait with interrupts on spins before it halts. A CPU that runs answers in a few microseconds; one that
/// does not may be waiting for the very core that the spinning takes.
const SPIN_US: u64 = 20;

/// So many waits may go on inside each other on one CPU: one that waits runs what others ask of it, and that may wait in
/// turn. The main stack has room for them, also in a kernel without optimisation, and for a panic in the last.
pub const MAX_DEPTH: u32 = 4;

const _: () = assert!((MAX_DEPTH as usize) < SLOTS, "waits leave no slot for calls that nobody waits for");

/// Of so many CPUs that do not answer one call, the stacks are looked at.
const MAX_PLACES: usize = 4;

/// What a target runs, with interrupts off. It may not panic on purpose, nor take long: its CPU does nothing else
/// meanwhile. It may call other CPUs in turn.
pub type Function = fn(usize);

static INBOXES: Once<Inboxes<'static>> = Once::new();

per_cpu! {
    /// Slots whose calls this CPU waits for, one bit each.
    static WAITING: Cell<u32> = Cell::new(0);
    /// Waits of this CPU, for calls or for a slot, one inside the other.
    static DEPTH: Cell<u32> = Cell::new(0);
    /// Calls that this CPU has run for others.
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    /// Interrupts that told it to look into its inbox.
    static NOTIFIED: AtomicU64 = AtomicU64::new(0);
}

/// Targets that did not answer in time.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// Targets that have not answered a call in time, since the kernel began.
pub fn unanswered() -> u64 {
    UNANSWERED.load(Ordering::Relaxed)
}

/// The calls that the CPU with that GS base has answered, and how many interrupts it took for that.
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn answered(gs_base: usize) -> (u64, u64) {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let (calls, interrupts) = unsafe { (ANSWERED.of(gs_base), NOTIFIED.of(gs_base)) };
    (calls.load(Ordering::Relaxed), interrupts.load(Ordering::Relaxed))
}

/// Every online CPU.
pub fn all_online() -> CpuSet {
    online().map(super::Cpu::id).collect()
}

/// Every online CPU but this one.
pub fn other_online() -> CpuSet {
    let mut others = all_online();
    others.remove(cpu::current());
    others
}

/// Lets the CPUs that are online by now be called. Once, by the boot processor, when all are up. `None` if there is no
/// memory for the inboxes: [`Inboxes::words_for`] as many CPUs as are listed.
pub fn open() -> Option<()> {
    let count = cpus().len();
    let zero = || AtomicU64::new(0);
    let rows = memory::alloc_slice_from((0..Inboxes::words_for(count)).map(|_| zero()))?;
    let slots = memory::alloc_slice_from((0..Inboxes::slots_for(count)).map(|_| Slot::new()))?;
    let inboxes = INBOXES.call_once(|| Inboxes::new(count, rows, slots));
    interrupts::register(Vector::CALL, "call", interrupt);
    interrupts::register(Vector::CALL_SELF, "call to self", super::call_self::interrupt);
    for cpu in online() {
        inboxes.open(cpu.id().index());
    }
    Some(())
}

/// From now on this CPU can be called.
pub(super) fn open_one(_: &IrqGuard) {
    inboxes().open(cpu::current().index());
}

/// From now on it cannot; what has come by now is run.
pub(super) fn close(guard: &IrqGuard) {
    inboxes().close(cpu::current().index());
    answer(guard);
}

/// Runs `function` on every CPU of `targets`, this one included if it is among them, and returns when all have finished.
/// It runs with interrupts off. Interrupts here may be on or off; with them on, this CPU halts if it takes long. Not from
/// an NMI.
///
/// # Errors
/// See [`CallError`]. On targets that the error does not speak of, the function was run, exactly once.
///
/// # Panics
/// If a target does not end what it has begun, twice [`REQUEST_MS`] after the call.
pub fn call<F: Fn() + Sync>(targets: &CpuSet, function: &F) -> Result<(), CallError> {
    fn run<F: Fn()>(data: usize) {
        let function: *const F = core::ptr::with_exposed_provenance(data);
        // SAFETY: `call` borrows the function until every target that has its address is done with it; `F` is `Sync`.
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

/// Asks every CPU of `targets` to run `function` with `data`, and does not wait for that. If this CPU is among them, it
/// is as with [`call_self`]. Waits only where [`SLOTS`] of this CPU's calls are
/// under way already. Interrupts may be on or off. Not from an NMI.
///
/// # Errors
/// [`CallError::Offline`], [`CallError::NotSent`] for a target that will not run it, and [`CallError::TooDeep`],
/// [`CallError::TooMany`] where no CPU will.
pub fn call_without_waiting(targets: &CpuSet, function: Function, data: usize) -> Result<(), CallError> {
    let guard = IrqGuard::new();
    let me = cpu::current();
    let others = Targets { set: targets, without: me };
    let sent = match others.iter().next() {
        None => Ok(()),
        Some(_) => send(&guard, free_slot(&guard)?, &others, function, data),
    };
    let own = if targets.contains(me) { call_self(function, data) } else { Ok(()) };
    match sent {
        // That a CPU is offline is the least of errors, and hides no other.
        Err(CallError::Offline { .. }) if own.is_err() => own,
        sent => sent.and(own),
    }
}

/// Whom a call is for.
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
fn inboxes() -> &'static Inboxes<'static> {
    INBOXES.get().expect("a CPU is called before calls are open")
}

/// A slot of this CPU's whose last call is done and has been waited for, if anybody did.
#[inline]
fn free_slot(guard: &IrqGuard) -> Result<usize, CallError> {
    let (inboxes, me) = (inboxes(), cpu::current().index());
    let free = |slot: &usize| WAITING.get() & 1 << slot == 0 && inboxes.is_done(me, *slot);
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
    let _ = Timeout::after_ms(REQUEST_MS).wait_until(|| {
        answer(guard);
        found = (0..SLOTS).find(&free);
        found.is_some()
    });
    DEPTH.set(DEPTH.get() - 1);
    found.ok_or(CallError::TooMany)
}

/// Puts a call into each target's inbox.
#[inline]
fn send(
    guard: &IrqGuard,
    slot: usize,
    targets: &Targets,
    function: Function,
    data: usize,
) -> Result<(), CallError> {
    let (inboxes, me) = (inboxes(), cpu::current().index());
    let mut outcome = Ok(());
    let mut taken = 0;
    // One wait for a busy ICR, and not one for each target: interrupts are off.
    let mut batch = Batch::new();
    inboxes.prepare(me, slot, function as usize, data);
    for target in targets.iter() {
        trace!(CallSend, function as usize as u64, target.0.into());
        let put = if target.index() < inboxes.cpus() {
            inboxes.put(me, slot, target.index())
        } else {
            // A CPU that is not even listed is not online either.
            Put::Closed
        };
        let sent = match put {
            Put::Quiet => Ok(()),
            Put::Notify(seen) => notify(guard, &mut batch, slot, target, seen),
            Put::Closed => Err(CallError::Offline { first: target }),
        };
        taken += usize::from(put != Put::Closed);
        // That a CPU is offline is the least of errors, and hides no other.
        if matches!(outcome, Ok(()) | Err(CallError::Offline { .. })) && sent.is_err() {
            outcome = if outcome.is_err() && put == Put::Closed { outcome } else { sent };
        }
    }
    inboxes.counted(me, slot, taken);
    outcome
}

/// Interrupts a target, or takes the call back from it. Other senders' calls do not depend on this interrupt.
#[inline]
fn notify(
    guard: &IrqGuard,
    batch: &mut Batch,
    slot: usize,
    target: CpuId,
    seen: Seen,
) -> Result<(), CallError> {
    let to = cpus()[target.index()].entry.apic_id;
    match batch.send(guard, to, Message::Fixed(Vector::CALL)) {
        Ok(()) => {
            inboxes().notified(target.index(), seen);
            Ok(())
        }
        Err(error) => not_notified(slot, target, error),
    }
}

#[cold]
fn not_notified(slot: usize, target: CpuId, error: ApicError) -> Result<(), CallError> {
    match inboxes().take_back(cpu::current().index(), slot, target.index()) {
        true => Err(CallError::NotSent { first: target, error }),
        // The target has processed its inbox all the same.
        false => Ok(()),
    }
}

/// Waits until all targets have finished, and deals with those that do not.
fn wait(me: CpuId, slot: usize, targets: &Targets, may_halt: bool) -> Result<(), CallError> {
    let inboxes = inboxes();
    if wait_for_answers(REQUEST_MS, inboxes, me, slot, may_halt).is_ok() {
        return Ok(());
    }
    let waiting = |cpu: &CpuId| inboxes.is_waiting(me.index(), slot, cpu.index());
    if interrupt_again(targets.iter().filter(waiting))
        && wait_for_answers(REQUEST_MS / 8, inboxes, me, slot, may_halt).is_ok()
    {
        return Ok(());
    }
    // Where they are now, not where they will be once they have been reported.
    for cpu in targets.iter().filter(waiting).take(MAX_PLACES) {
        nmi::warn(&cpus()[cpu.index()], "call", format_args!("no answer to a call in {REQUEST_MS} ms"));
    }
    let mut silent = CpuSet::EMPTY;
    for target in targets.iter() {
        if inboxes.take_back(me.index(), slot, target.index()) {
            silent.insert(target);
        }
    }
    UNANSWERED.fetch_add(silent.len() as u64, Ordering::Relaxed);
    // Those that have begun it.
    if wait_for_answers(REQUEST_MS, inboxes, me, slot, may_halt).is_err() {
        let mut running = targets.iter().filter(|cpu| inboxes.is_running(me.index(), slot, cpu.index()));
        let busy = running.next().unwrap_or(me);
        nmi::warn(&cpus()[busy.index()], "call", format_args!("a call does not end"));
        panic!("cpu {busy} has not ended a call of cpu {me}'s in {} ms", 2 * REQUEST_MS);
    }
    match silent.iter().next() {
        None => Ok(()),
        Some(first) => Err(CallError::Unanswered { first, count: silent.len() as u32 }),
    }
}

/// Interrupts these CPUs once more, should the first interrupt be lost; whether any of them could be.
fn interrupt_again(targets: impl Iterator<Item = CpuId>) -> bool {
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
    inboxes: &Inboxes,
    me: CpuId,
    slot: usize,
    may_halt: bool,
) -> Result<(), TimedOut> {
    let is_done = || inboxes.is_done(me.index(), slot);
    if !may_halt {
        return Timeout::after_ms(ms).wait_until(|| {
            answer(&IrqGuard::new());
            is_done()
        });
    }
    match Deadline::after_us(SPIN_US).wait_until(is_done) {
        Ok(()) => Ok(()),
        Err(TimedOut) => {
            let is_done = || inboxes.is_done_or_wake_me(me.index(), slot);
            halt_for(&mut Timeout::after_ms(ms), is_done, || {})
        }
    }
}

/// Runs what lies in this CPU's inbox.
#[inline]
fn answer(_: &IrqGuard) {
    inboxes().answer(
        cpu::current().index(),
        |call| {
            ANSWERED.increment();
            trace!(CallBegin, call.function as u64, call.data as u64);
            // SAFETY: nothing but a `Function` is put into a slot, and the inbox has it once for each call.
            let function = unsafe { core::mem::transmute::<usize, Function>(call.function) };
            function(call.data);
            trace!(CallEnd, call.function as u64);
        },
        |sender| super::work::wake_waiting(&cpus()[sender]),
    );
}

fn interrupt(_: &mut TrapFrame) {
    NOTIFIED.increment();
    apic::end_of_interrupt();
    answer(&IrqGuard::new());
}
