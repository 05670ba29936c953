//! What the parts of the self-test use: checks, and the record of the first that fails on any CPU.

use core::fmt;

use crate::console::{self, LineBuffer};
use crate::cpu::IrqGuard;
use crate::heap;
use crate::memory;
use crate::sched;
use crate::smp::{self, Cpu};
use crate::sync::SpinLockIrq;
use crate::wire::Record;

/// A failure's message, cut to what a record can hold.
type Message = LineBuffer<200>;

/// The message of the first failed check. Not in [`Failed`]: an error of that size would be copied at each return.
static FIRST: SpinLockIrq<Option<Message>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// A check failed. Its message is recorded if it is the first.
#[derive(Debug)]
pub struct Failed(pub(super) ());

/// The result of a part, or of a step of it.
pub type CheckResult<T = ()> = Result<T, Failed>;

/// An error of the kernel is a failed check with the error's own message.
impl<E: fmt::Display> From<E> for Failed {
    fn from(error: E) -> Failed {
        failed(format_args!("{error}"))
    }
}

/// Records a failed check, for the caller to return.
///
/// **Context:** thread or interrupt handler; not NMI.
pub fn failed(message: fmt::Arguments<'_>) -> Failed {
    let message = Message::format(message);
    FIRST.lock().get_or_insert(message);
    Failed(())
}

/// An `Err` with a failed check of this message.
macro_rules! fail {
    ($($message:tt)+) => {
        Err($crate::selftest::check::failed(format_args!($($message)+)))
    };
}

/// Returns [`fail!`] with this message if the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return $crate::selftest::check::fail!($($message)+);
        }
    };
}

pub(super) use {ensure, fail};

/// Sends numbers that a part has determined, `selftest.PART` as their subject.
///
/// **Context:** thread, interrupts on.
pub(super) fn send_facts(subject: &str, facts: &[(&str, u64)]) {
    for (name, value) in facts {
        console::send(&Record::number(subject, name, *value));
    }
}

/// Whether no check has failed on any CPU.
///
/// # Errors
/// A check has failed.
pub(crate) fn outcome() -> CheckResult {
    if FIRST.lock().is_some() { Err(Failed(())) } else { Ok(()) }
}

/// Runs `check` on all CPUs, as [`smp::on_each_cpu`].
///
/// **Context:** the thread of the BSP, interrupts on.
///
/// # Errors
/// A check has failed on some CPU, or did not run on all. The latter is reported even if a check failed before.
pub(crate) fn on_all_cpus(
    limit_ms: u64,
    check: &(dyn Fn(&'static Cpu) -> CheckResult + Sync),
) -> CheckResult {
    // The failure is recorded: `outcome` finds it.
    let ran = smp::on_each_cpu(limit_ms, &|cpu| drop(check(cpu)));
    if let Err(error) = ran {
        ::log::error!("{error}");
        *FIRST.lock() = Some(Message::format(format_args!("{error}")));
    }
    outcome()
}

/// Frees what the heap, the scheduler and dropped mappings keep, drains the frame caches of all online CPUs, and returns the number of
/// free frames.
///
/// **Context:** thread, interrupts on.
///
/// # Errors
/// A CPU could not be called.
pub(crate) fn free_frames() -> CheckResult<usize> {
    heap::reclaim();
    sched::release_stacks();
    smp::purge_mappings()?;
    // The heap's frames may be cached by any CPU now.
    smp::call(&smp::all_online(), &|| memory::drain_this_cpu(&IrqGuard::new()))?;
    let _guard = IrqGuard::new();
    Ok(memory::frames().free_frames())
}

/// Checks that `before` frames are free again after `step`.
///
/// **Context:** as [`free_frames`].
///
/// # Errors
/// Another number of frames is free, or a CPU could not be called.
pub(crate) fn expect_free_frames(before: usize, step: &str) -> CheckResult {
    let after = free_frames()?;
    ensure!(before == after, "{step}: {before} frames were free before and {after} after");
    Ok(())
}

/// Checks that the frame allocator's state is valid.
///
/// # Errors
/// It is not.
pub(crate) fn validate_frames() -> CheckResult {
    let _guard = IrqGuard::new();
    Ok(memory::frames().validate()?)
}

/// The failure of the self-test. Displays the message of the first failed check.
#[derive(Clone, Copy, Debug)]
pub struct SelfTestError(pub(super) ());

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FIRST.lock().as_ref().map_or(Ok(()), |message| f.write_str(message.as_str()))
    }
}
