//! The start and the end of threads.
//!
//! A new thread's stack holds, from its top: the control block, and below it the function and later its result
//! ([`Packet`]). Below that the stack itself begins.

use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::NonNull;

use super::blocking::begin_block;
use super::entity::{Affinity, Attributes};
use super::join::End;
use super::local;
use super::mechanism::{self, finish_switch, place, switch_after};
use super::policy::Enqueue;
use super::stack::Stack;
use super::state::Phase;
use super::switch;
use super::tcb::{Tcb, ThreadRef};
use super::thread_list;
use crate::cpu::{self, IrqGuard};
use crate::wire::LeaveReason;

/// Why a thread was not spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// No memory for a stack of this size.
    OutOfMemory {
        /// The size of the stack in bytes.
        stack_bytes: usize,
    },
    /// The scheduler has not started yet: the boot has not come so far.
    NotStarted,
    /// No CPU on which the thread may run is online, or the only one goes offline.
    NoCpu {
        /// The CPUs on which it may run.
        affinity: Affinity,
    },
}

impl core::fmt::Display for SpawnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            SpawnError::OutOfMemory { stack_bytes } => {
                write!(f, "no thread was spawned: out of memory for a stack of {stack_bytes} bytes")
            }
            SpawnError::NoCpu { affinity } => {
                write!(f, "no thread was spawned: no CPU of its affinity ({affinity}) is online and stays so")
            }
            SpawnError::NotStarted => f.write_str("no thread was spawned: the scheduler has not started"),
        }
    }
}

impl core::error::Error for SpawnError {}

/// How a thread is spawned.
#[derive(Clone, Debug)]
pub(super) struct How {
    pub(super) stack_bytes: usize,
    pub(super) attributes: Attributes,
    pub(super) affinity: Affinity,
    /// Whether it may run elsewhere while no CPU of its affinity is online, and returns by itself.
    pub(super) may_leave: bool,
}

/// What the thread begins with, then what it ends with.
union Start<F, T> {
    function: core::mem::ManuallyDrop<F>,
    #[expect(dead_code, reason = "gives the place its size; the result is accessed by the place's address")]
    result: core::mem::ManuallyDrop<T>,
}

/// The function of a thread and its result, in one place at the beginning.
#[repr(C)]
struct Packet<F, T, E> {
    start: UnsafeCell<MaybeUninit<Start<F, T>>>,
    /// What the thread calls when it has ended.
    ended: E,
}

/// Where a thread's result is, once it has ended.
pub(super) struct ResultPlace<T>(*mut T);

impl<T> ResultPlace<T> {
    /// Takes the result.
    ///
    /// # Safety
    /// The thread has ended with a result, which was not taken, and the caller has a reference to the thread.
    pub(super) unsafe fn take(&self) -> T {
        // SAFETY: the thread has written the result before its end, and its stack lives while there are references (see # Safety).
        unsafe { self.0.read() }
    }
}

/// Makes a thread that runs `function`, and puts it on a run queue. It calls `ended` when the function was dropped, and the result as
/// well if its handle is gone; with interrupts off.
///
/// # Safety
/// What the function and its result borrow lives until `ended` is called, and until the result was taken or dropped. What `ended`
/// borrows lives until it is called.
pub(super) unsafe fn spawn<F, T, E>(
    name: &str,
    how: &How,
    function: F,
    ended: E,
) -> Result<(ThreadRef, ResultPlace<T>), SpawnError>
where
    F: FnOnce() -> T + Send,
    T: Send,
    E: FnOnce() + Send,
{
    if mechanism::policy().is_none() {
        return Err(SpawnError::NotStarted);
    }
    let above = size_of::<Tcb>() + size_of::<Packet<F, T, E>>() + align_of::<Packet<F, T, E>>().max(16) + 64;
    let bytes = how.stack_bytes.saturating_add(above);
    let stack = Stack::alloc(bytes).ok_or(SpawnError::OutOfMemory { stack_bytes: bytes })?;
    let (range, top) = (stack.range(), stack.top());
    let tcb = align_down::<Tcb>(top, size_of::<Tcb>());
    let packet = align_down::<Packet<F, T, E>>(tcb.cast(), size_of::<Packet<F, T, E>>());
    let start = align_down::<u128>(packet.cast(), 0).cast::<u8>();
    // SAFETY: the block lies in the new stack, which has room for it (`above`), aligned, and nothing else uses it.
    unsafe {
        let inheritance = stack.inheritance();
        tcb.write(Tcb::new(
            how.attributes.clamped(),
            how.affinity,
            Phase::Queued,
            name,
            how.may_leave,
            Some(stack),
            inheritance,
        ));
    };
    // SAFETY: written above; no other reference exists yet.
    let block = unsafe { &mut *tcb };
    block.init_in_place(Some(range.start..start.expose_provenance() as u64));
    let tcb_pointer = NonNull::from(&*block);
    // SAFETY: a new block has a reference for its creator.
    let thread = unsafe { ThreadRef::from_raw(tcb_pointer) };
    let guard = IrqGuard::new();
    // SAFETY: the thread must be on no list, and stay valid while it is on one: it is new, and its own reference is given up after that.
    if unsafe { thread_list::add(&guard, &thread) }.is_err() {
        // SAFETY: the thread is new and on no list; no CPU runs it.
        unsafe { Tcb::release(&guard, tcb_pointer) };
        return Err(SpawnError::NoCpu { affinity: how.affinity });
    }
    let start_value = Start { function: core::mem::ManuallyDrop::new(function) };
    // SAFETY: the packet lies in the new stack, which has room for it (`above`), aligned, and nothing else uses.
    unsafe { packet.write(Packet { start: UnsafeCell::new(MaybeUninit::new(start_value)), ended }) };
    // SAFETY: `start` is aligned to 16 and has the rest of the stack below it. `run` never returns.
    let rsp = unsafe { switch::prepare(start, run::<F, T, E>, packet.expose_provenance()) };
    thread.saved_rsp().set(rsp);
    // SAFETY: the thread is `Queued` and belongs to its creator, who has made no other token.
    let mut token = unsafe { thread.token() };
    super::cpu_scheduler::note_cpu(&mut token, cpu::current());
    place(&guard, token, Enqueue::New);
    switch_after(guard);
    let result = packet.cast::<T>();
    const { assert!(offset_of_packet::<F, T, E>() == 0) };
    Ok((thread, ResultPlace(result)))
}

/// A union's fields and a cell's content begin where it begins.
const fn offset_of_packet<F, T, E>() -> usize {
    offset_of!(Packet<F, T, E>, start)
}

/// Returns the highest address at or below `bytes` below `top` that is aligned for `T`.
fn align_down<T>(top: *mut u8, bytes: usize) -> *mut T {
    top.map_addr(|address| (address - bytes) & !(align_of::<T>() - 1)).cast()
}

/// What a thread does, for the message of [`begin_block`].
const END: &str = "the end of a thread";

/// The first function of a thread.
///
/// # Safety
/// `packet` is the address of the thread's packet. Called once, by the first switch to the thread.
unsafe extern "C" fn run<F, T, E>(packet: usize) -> !
where
    F: FnOnce() -> T,
    E: FnOnce(),
{
    let packet = core::ptr::with_exposed_provenance_mut::<Packet<F, T, E>>(packet);
    // SAFETY: the switch to this thread is under way: interrupts are off, by the guard of the thread that this CPU has left.
    let guard = unsafe { IrqGuard::of_switch() };
    finish_switch(&guard);
    switch_after(guard);
    // SAFETY: `spawn` has written the function at the beginning of the packet, and no other code reads it.
    let function = unsafe { packet.cast::<F>().read() };
    let ended = packet.wrapping_byte_add(offset_of!(Packet<F, T, E>, ended)).cast::<E>();
    // SAFETY: `spawn` has written the field, and no other code reads it.
    let ended = unsafe { ended.read() };
    let result = function();
    // SAFETY: the function was taken, so the place is free. No code reads it before `end`.
    unsafe { packet.cast::<T>().write(result) };
    // SAFETY: nothing may use a thread-local value: the function has returned.
    unsafe { local::end_thread() };
    // The function, or the drop of a thread-local value, may have leaked a guard, with which no other thread would run on this CPU again.
    let (guard, me) = begin_block(END);
    match me.joining.end() {
        End::Kept => leave_forever(guard, me, ended),
        End::Wake(waiter) => {
            me.waiter.set(waiter);
            leave_forever(guard, me, ended)
        }
        End::Drop => {
            drop(guard);
            // SAFETY: the result was written above, and the handle is gone.
            unsafe { packet.cast::<T>().drop_in_place() };
            // The result's drop may have leaked one as well.
            let (guard, me) = begin_block(END);
            leave_forever(guard, me, ended)
        }
    }
}

/// Ends the running thread. From the end that its handle sees to the switch, interrupts stay off: the handle may spin until the
/// CPU has left the stack.
fn leave_forever(guard: IrqGuard, me: &'static Tcb, ended: impl FnOnce()) -> ! {
    ended();
    me.state.set_exited();
    mechanism::leave(&guard, me, LeaveReason::Ended);
    unreachable!("a thread that has ended does not run")
}
