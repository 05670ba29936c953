//! A kernel without the feature `checked` checks no order.

use crate::sync::lock_owner::LockOwner;

#[inline(always)]
pub(in crate::sync) fn expect_spin(owner: &LockOwner) {
    let _ = &owner.class;
}

#[inline(always)]
pub(in crate::sync) fn took_spin(_: &LockOwner) {}

#[inline(always)]
pub(in crate::sync) fn released_spin(_: &LockOwner) {}
