//! The start of the scheduler.
//!
//! Before it, each CPU has one thread: the BSP the one that boots, each AP the one in the idle loop. From here on the boot's
//! thread is one of the scheduler's, and the BSP has an idle loop of its own.

use alloc::boxed::Box;
use core::fmt;

use super::cpu_scheduler::CpuScheduler;
use super::entity::{Affinity, Attributes};
use super::mechanism::{self, finish_switch, own};
use super::own_inheritance::OwnInheritance;
use super::policies::Policy;
use super::stack::{self, Stack};
use super::state::Phase;
use super::switch;
use super::tcb::{self, Tcb};
use super::thread::newest_for_panic;
use super::thread_list;
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::{CpuId, IrqGuard, thread};
use crate::interrupts::{self, preempt};
use crate::panic;
use crate::smp::{self, SchedulerOps, WorkError};
#[cfg(feature = "checked")]
use crate::sync;
use crate::time::timer;

/// The stack of the BSP's idle loop in bytes, which also runs work for all CPUs that another CPU's thread starts.
const IDLE_STACK_BYTES: usize = 64 * 1024;

/// Why the scheduler did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// No memory.
    OutOfMemory,
    /// Not every CPU has opened its queue.
    Work(WorkError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::OutOfMemory => f.write_str("out of memory for the scheduler"),
            StartError::Work(error) => write!(f, "the scheduler did not start: {error}"),
        }
    }
}

/// The inheritances that are made at the start, of 64 bytes each: for more stacks than the workloads of the stress have at a time, with those
/// that the CPUs keep. So as many frames are free after a workload as before.
const FIRST_INHERITANCES: usize = 256;
/// As many more for each CPU.
const INHERITANCES_OF_EACH_CPU: usize = 64;

/// Starts the scheduler on all online CPUs. The calling thread becomes the first of the scheduler's threads, pinned to the BSP.
///
/// **Context:** the BSP's thread, once, interrupts on.
///
/// # Errors
/// [`StartError`]
pub(crate) fn start(policy: &'static Policy) -> Result<(), StartError> {
    let prepared = FIRST_INHERITANCES + smp::cpus().len() * INHERITANCES_OF_EACH_CPU;
    OwnInheritance::prepare(prepared).ok_or(StartError::OutOfMemory)?;
    let idle_stack = Stack::alloc(IDLE_STACK_BYTES).ok_or(StartError::OutOfMemory)?;
    let inheritance = OwnInheritance::alloc().ok_or(StartError::OutOfMemory)?.leak();
    // Never freed: the BSP's first thread never ends.
    let main = Box::leak(Box::new(Tcb::new(
        Attributes::DEFAULT,
        Affinity::Pinned(CpuId::BSP),
        Phase::Running,
        "main",
        false,
        None,
        inheritance,
    )));
    preempt::set_switch(mechanism::switch_if_better, mechanism::interrupt_self);
    timer::set_slice_hook(mechanism::slice_ended);
    interrupts::set_thread_name(tcb::write_current_name);
    panic::set_thread_lister(newest_for_panic);
    #[cfg(feature = "checked")]
    sync::lock_order::set_thread_namer(tcb::current_name);
    smp::set_scheduler(SchedulerOps {
        run_threads: mechanism::run_threads,
        noticed: mechanism::noticed,
        evacuate: mechanism::evacuate,
        reopen: mechanism::reopen,
        release_stacks: stack::release_cached,
        prepare_offline: mechanism::prepare_offline,
        finish_offline: mechanism::finish_offline,
    });
    // Here, not on each CPU: with interrupts off an allocation fails at once.
    smp::cpus().iter().for_each(|cpu| mechanism::set_queue(cpu, policy));
    // After it, each AP's own thread looks for threads, and notes that the CPU is idle.
    let opened = smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        let guard = IrqGuard::new();
        if cpu.id() != CpuId::BSP {
            own(&guard).own.header.set(thread::current());
        }
        mechanism::open(&guard);
        smp::look_again(&guard);
    });
    opened.map_err(StartError::Work)?;
    let guard = IrqGuard::new();
    prepare_idle(own(&guard), idle_stack);
    main.init_in_place(None);
    // SAFETY: the thread must be on no list, and stay valid: it was made above and is never freed.
    let listed = unsafe { thread_list::add(&guard, main) };
    debug_assert!(listed.is_ok(), "the BSP is online");
    // From here on this is a thread of the scheduler.
    mechanism::set_policy(policy);
    drop(guard);
    Ok(())
}

/// Makes the context of the BSP's idle loop.
fn prepare_idle(me: &CpuScheduler, stack: Stack) {
    let range = stack.range();
    let header = Box::leak(Box::new(thread::Thread::new()));
    header.init(range, 0, 0);
    // SAFETY: the stack is new, page-aligned, and never freed (below). `idle` never returns.
    let rsp = unsafe { switch::prepare(stack.top(), idle, 0) };
    me.own.header.set(header);
    me.own.saved_rsp.set(rsp);
    core::mem::forget(stack);
}

/// The idle loop of the BSP.
unsafe extern "C" fn idle(_: usize) -> ! {
    // SAFETY: the first switch to this context is under way, by a thread that has one guard.
    let guard = unsafe { IrqGuard::of_switch() };
    finish_switch(&guard);
    drop(guard);
    smp::idle()
}
