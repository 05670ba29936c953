//! Runs the parts of the self-test.

use core::ptr::fn_addr_eq;

use super::Part;
use super::check::{CheckResult, Failed, SelfTestError, ensure, outcome};
use crate::interrupts::{self, HandlerSlot, Vector};

/// The handler of each vector before the first part. Each part must restore those that it replaces.
static HANDLERS_BEFORE: [HandlerSlot; 256] = [const { HandlerSlot::new(interrupts::UNREGISTERED) }; 256];

/// Runs the parts, those that have rounds for `rounds` rounds each.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check. Later parts are not run.
#[inline(never)]
pub fn run(parts: impl Iterator<Item = &'static Part>, rounds: u32) -> Result<(), SelfTestError> {
    for (vector, before) in HANDLERS_BEFORE.iter().enumerate() {
        before.replace(interrupts::handler(Vector::new(vector as u8)));
    }
    for part in parts {
        let ran = (part.run)(rounds).and_then(|()| outcome()).and_then(|()| check_handlers(part));
        ran.map_err(|Failed(())| SelfTestError(()))?;
    }
    Ok(())
}

fn check_handlers(part: &Part) -> CheckResult {
    for (vector, before) in (0..=u8::MAX).zip(&HANDLERS_BEFORE) {
        let is_restored = fn_addr_eq(before.get(), interrupts::handler(Vector::new(vector)));
        ensure!(is_restored, "the part {} has not restored the handler of vector {vector}", part.name);
    }
    Ok(())
}
