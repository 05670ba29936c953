//! Who was interrupted how often, by CPU and vector: the kernel's `/proc/interrupts`.

use core::sync::atomic::AtomicU64;

use super::Vector;
use crate::cpu::per_cpu::Template;
use crate::per_cpu;
use crate::sync::IrqMutex;

/// One CPU's interrupts on each vector, exceptions among them.
pub type Counts = [AtomicU64; 256];

/// This CPU's counts. The vectors' stubs write them, so they say what the processor did, whatever a handler made of it;
/// only a test takes its own interrupts out again. Written by hand, for the stubs name the template.
#[derive(Clone, Copy)]
pub struct CountsHere;

/// Where each CPU finds its own.
pub const COUNTS: CountsHere = CountsHere;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(super) static TEMPLATE: Template<Counts> = unsafe { Template::new([const { AtomicU64::new(0) }; 256]) };

per_cpu!(@variable CountsHere, Counts, TEMPLATE);

static NAMES: IrqMutex<[Option<&'static str>; 256]> = IrqMutex::new([None; 256]);
crate::name_lock!(NAMES);

pub(super) fn set_name(vector: Vector, name: &'static str) {
    NAMES.lock()[usize::from(vector.get())] = Some(name);
}

/// What a vector is called: as it was registered, else by its exception, else `unregistered`.
pub fn name(vector: Vector) -> &'static str {
    let registered = NAMES.lock()[usize::from(vector.get())];
    registered.or(vector.exception()).unwrap_or("unregistered")
}
