//! Programs that misuse the heap: each free must be refused, with a panic that names the address.

use core::alloc::{GlobalAlloc, Layout};

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use crate::heap::KernelHeap;

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::FreeTwice, || on_last_cpu(&free_twice)),
    Injection(Point::BeforeWork, Fault::FreeForeign, || on_last_cpu(&free_foreign)),
    Injection(Point::BeforeWork, Fault::FreeInterior, || on_last_cpu(&free_interior)),
    Injection(Point::BeforeWork, Fault::FreeWrongLayout, || on_last_cpu(&free_wrong_layout)),
];

const OBJECT: Layout = Layout::new::<[u64; 8]>();

fn alloc() -> *mut u8 {
    // SAFETY: the size must not be 0. It is 64.
    let object = unsafe { KernelHeap.alloc(OBJECT) };
    assert!(!object.is_null(), "no memory for the injected fault");
    object
}

#[inline(always)]
fn free(object: *mut u8, layout: Layout) {
    // SAFETY: the object must be the caller's. Where it is not, the fault is to show that the heap refuses it.
    unsafe { KernelHeap.dealloc(object, layout) };
    // A call in tail position would leave the caller out of the backtrace.
    core::hint::black_box(object);
}

#[inline(never)]
fn free_twice() {
    let object = alloc();
    free(object, OBJECT);
    free(object, OBJECT);
}

#[inline(never)]
fn free_foreign() {
    let mut elsewhere = [0u64; 8];
    free(elsewhere.as_mut_ptr().cast(), OBJECT);
}

#[inline(never)]
fn free_interior() {
    free(alloc().wrapping_add(8), OBJECT);
}

#[inline(never)]
fn free_wrong_layout() {
    free(alloc(), Layout::new::<[u64; 9]>());
}
