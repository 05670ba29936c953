//! Another policy for all CPUs, while they run.
//!
//! Each CPU's queue is exchanged under its lock. The threads on it go to the new queue as new ones. A thread that runs or waits meanwhile
//! comes to a queue that does not know it, with words of the old policy. That is allowed: a policy may be wrong in every answer, and those
//! of octopod bound what they take from the words.

use super::{of, set_policy};
use crate::cpu::IrqGuard;
use crate::interrupts::preempt;
use crate::sched::entity::PolicyWords;
use crate::sched::policies::Policy;
use crate::sched::policy::Enqueue;
use crate::smp::{self, CallError, Cpu};
use crate::time::now_ns;

/// Gives all CPUs another policy. On return each CPU has looked at its new queue, or does so at the exit of the interrupt that it handles.
///
/// **Context:** a thread, interrupts on: it allocates. One caller at a time.
///
/// # Errors
/// [`CallError`]: a CPU has not looked. It has its new queue, and looks at its next interrupt.
///
/// # Panics
/// If the old policy keeps a thread.
pub(crate) fn change_policy(policy: &'static Policy) -> Result<(), CallError> {
    set_policy(policy);
    smp::cpus().iter().for_each(|cpu| exchange_queue(cpu, policy));
    // The old policy may have set no timer for threads that the new one does not let wait.
    let called = smp::call(&smp::all_online(), &|| preempt::want_switch(&IrqGuard::new()));
    // This CPU has taken no interrupt for it.
    preempt::switch_if_wanted();
    called
}

fn exchange_queue(cpu: &Cpu, policy: &'static Policy) {
    let Some(scheduler) = of(cpu) else { return };
    let mut new = (policy.new_queue)(cpu.id());
    let guard = IrqGuard::new();
    let mut locked = scheduler.queue.lock(&guard);
    let now = now_ns();
    if let Some(old) = locked.policy.as_deref_mut() {
        while let Some(mut thread) = old.remove_any() {
            *thread.words_mut() = PolicyWords::NEW;
            new.enqueue(thread, Enqueue::New, now);
        }
        assert!(old.is_empty(), "the policy keeps {} threads of cpu {}", old.len(), cpu.id());
    }
    let old = locked.policy.replace(new);
    drop(locked);
    drop(guard);
    // With interrupts on: it frees memory.
    drop(old);
}
