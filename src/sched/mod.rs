//! Layer 10: threads. They run on all CPUs, preempted by the local APICs' timers in kernel code as well, and move between CPUs.
//!
//! - [`thread`](mod@crate::thread) is the interface.
//! - `policy` is the interface of scheduling policies; `policies` names them. [`dispatch`] is that for programs, in safe code.
//! - `mechanism` switches threads, wakes them and moves them. Its guarantees hold under any policy.
//! - `state`, `inbox`, `backlog`, `notice` and `join` are its lock-free parts, which models check.
//! - [`sync`](mod@sync) has what threads wait for: locks, conditions and channels, on one wait queue.
//!
//! `docs/scheduler.md` explains the whole.

pub(crate) mod class;
pub mod dispatch;
pub mod entity;
pub(crate) mod fault_names;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) mod faults;
#[cfg(not(target_os = "none"))]
mod host;
mod inbox;
pub(crate) mod inheritance;
mod join;
#[cfg(any(target_os = "none", all(test, loom)))]
mod leaving;
#[cfg(target_os = "none")]
mod links;
mod notice;
pub mod policy;
mod state;
pub mod sync;

mod eevdf;
mod fair;
mod list;
#[cfg(any(target_os = "none", all(test, not(any(loom, shuttle)))))]
mod local;
#[cfg(any(target_os = "none", all(test, not(any(loom, shuttle)))))]
mod locals;
mod node;
#[cfg(target_os = "none")]
mod own_inheritance;
#[cfg(target_os = "none")]
mod own_locals;
#[cfg(any(not(target_os = "none"), feature = "selftest"))]
mod random;
mod real_time;
mod round_robin;
mod tree;
mod waiting;

mod backlog;
#[cfg(target_os = "none")]
mod blocking;
#[cfg(target_os = "none")]
mod cpu_scheduler;
#[cfg(target_os = "none")]
mod idle_set;
#[cfg(target_os = "none")]
mod mechanism;
#[cfg(target_os = "none")]
mod notes;
#[cfg(target_os = "none")]
mod observe;
pub mod parameters;
pub mod policies;
#[cfg(any(target_os = "none", all(test, not(any(loom, shuttle)))))]
mod references;
#[cfg(target_os = "none")]
mod retry;
#[cfg(target_os = "none")]
mod spawn;
#[cfg(target_os = "none")]
mod stack;
#[cfg(target_os = "none")]
mod start;
#[cfg(all(target_os = "none", feature = "checked"))]
mod starvation;
#[cfg(target_os = "none")]
mod switch;
#[cfg(target_os = "none")]
pub mod task;
#[cfg(target_os = "none")]
mod tcb;
#[cfg(target_os = "none")]
pub mod thread;
#[cfg(target_os = "none")]
mod thread_list;
#[cfg(target_os = "none")]
pub mod work;

#[cfg(target_os = "none")]
pub(crate) use mechanism::{change_policy, counts, policy, use_of};
#[cfg(target_os = "none")]
pub(crate) use stack::release_cached as release_stacks;
#[cfg(target_os = "none")]
pub(crate) use start::start;
#[cfg(all(target_os = "none", feature = "checked"))]
pub(crate) use starvation::watch as watch_threads;
#[cfg(target_os = "none")]
pub(crate) use thread::{deepest as deepest_thread, list_all as list_threads};
#[cfg(target_os = "none")]
pub(crate) use thread_list::try_for_each_name;
#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use {
    blocking::park_and_wake, idle_set::contains as is_idle, mechanism::queued, mechanism::slice_end_ns,
};
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use {
    mechanism::CpuUse,
    thread::{Details, details},
};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
