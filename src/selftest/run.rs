//! Runs the parts.

use core::fmt;
use core::ptr::fn_addr_eq;

use super::Part;
use crate::console::LineBuffer;
use crate::interrupts::{self, HandlerSlot, Vector};
use crate::smp::{self, Cpu, WorkError};
use crate::sync::SpinLockIrq;

/// What a part found, cut to what a record can hold.
pub type Line = LineBuffer<200>;

/// What the part that failed has found. Not in [`Failure`]: an error of that size would be copied at each return.
static FOUND: SpinLockIrq<Line> = SpinLockIrq::new(LineBuffer::new());
crate::name_lock!(FOUND);

/// Why work was not run on all CPUs, the first time.
static NOT_RUN: SpinLockIrq<Option<WorkError>> = SpinLockIrq::new(None);
crate::name_lock!(NOT_RUN);

/// Runs `work` on all CPUs, as [`smp::on_each_cpu`]. An error is the failure of the calling part, whatever else it finds.
pub fn on_each_cpu(limit_ms: u64, work: &(dyn Fn(&'static Cpu) + Sync)) {
    if let Err(error) = smp::on_each_cpu(limit_ms, work) {
        ::log::error!("{error}");
        NOT_RUN.lock().get_or_insert(error);
    }
}

/// Why the self-test failed.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// Work was not run on all CPUs.
    Work(WorkError),
    /// The part found something wrong, which [`Display`](fmt::Display) writes.
    Part(&'static Part),
    /// A part did not restore the handler of a vector.
    Handler {
        /// The part.
        part: &'static Part,
        /// The vector.
        vector: u8,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Work(error) => error.fmt(f),
            Failure::Part(_) => f.write_str(FOUND.lock().as_str()),
            Failure::Handler { part, vector } => {
                write!(f, "the part {} has not restored the handler of vector {vector}", part.name)
            }
        }
    }
}

/// The handler of each vector before the first part. Each part must restore those that it replaces.
static HANDLERS_BEFORE: [HandlerSlot; 256] = [const { HandlerSlot::new(interrupts::UNREGISTERED) }; 256];

/// Runs the parts, each that has rounds for `rounds` of them.
///
/// **Context:** the thread of the BSP, interrupts on, while all other CPUs wait for work.
///
/// # Errors
/// The first failure of the first part that fails.
#[inline(never)]
pub fn run(parts: impl Iterator<Item = &'static Part>, rounds: u32) -> Result<(), Failure> {
    for (vector, before) in HANDLERS_BEFORE.iter().enumerate() {
        before.replace(interrupts::handler(Vector::new(vector as u8)));
    }
    for part in parts {
        let found = (part.run)(rounds);
        if let Some(error) = *NOT_RUN.lock() {
            return Err(Failure::Work(error));
        }
        if let Some(found) = found {
            *FOUND.lock() = found;
            return Err(Failure::Part(part));
        }
        for (vector, before) in (0..=u8::MAX).zip(&HANDLERS_BEFORE) {
            if !fn_addr_eq(before.get(), interrupts::handler(Vector::new(vector))) {
                return Err(Failure::Handler { part, vector });
            }
        }
    }
    Ok(())
}
