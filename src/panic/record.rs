//! The static block that holds the [`PanicRecord`], for memory dumps.

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, fence};

use crate::wire::{PANIC_RECORD_BYTES, PanicRecord, complete_panic_record, panic_record_magic};

#[repr(C, align(512))]
struct Block(UnsafeCell<[u8; PANIC_RECORD_BYTES]>);

const _: () = assert!(align_of::<Block>() == PANIC_RECORD_BYTES);

// SAFETY: only the CPU that panicked first accesses it (# Safety of `write` and `complete`).
unsafe impl Sync for Block {}

static RECORD: Block = Block(UnsafeCell::new([0; PANIC_RECORD_BYTES]));

/// Writes the record, its magic last.
///
/// # Safety
/// Only the CPU that panicked first calls this, and it holds no reference from [`complete`].
pub(crate) unsafe fn write(record: &PanicRecord<&str>) {
    let to = RECORD.0.get();
    // SAFETY: no other CPU and no reference uses the static, guaranteed by the caller (see # Safety).
    record.encode(unsafe { &mut *to });
    fence(Ordering::SeqCst);
    // Volatile: a debugger or a memory dump reads it, not this program.
    // SAFETY: no other CPU uses the static, guaranteed by the caller (see # Safety), and the reference above has ended. The
    // block is longer than the 16 bytes of the magic.
    unsafe { to.cast::<[u8; 16]>().write_volatile(panic_record_magic()) };
}

/// Adds the message and the number of CPUs that panicked, and returns the record; `None` if none was written.
///
/// # Safety
/// Only the CPU that panicked first calls this, and it holds no reference from an earlier call.
pub(crate) unsafe fn complete(message: &str, panics: u32) -> Option<PanicRecord<&'static str>> {
    let block = RECORD.0.get();
    // SAFETY: no other CPU and no reference uses the static, guaranteed by the caller (see # Safety).
    complete_panic_record(unsafe { &mut *block }, message, panics);
    // SAFETY: no other CPU uses the static, guaranteed by the caller (see # Safety). The mutable reference above has ended; the
    // caller drops the returned one before it calls this again (see # Safety).
    PanicRecord::decode(unsafe { &*block })
}
