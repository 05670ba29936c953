//! The block in memory that outlives the machine's last line: see [`LastWords`].

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, fence};

use crate::wire::{LAST_WORDS_BYTES, LastWords, last_words_magic};

#[repr(C, align(512))]
struct Block(UnsafeCell<[u8; LAST_WORDS_BYTES]>);

const _: () = assert!(align_of::<Block>() == LAST_WORDS_BYTES);

// SAFETY: only the one CPU that died first touches it.
unsafe impl Sync for Block {}

static LAST_WORDS: Block = Block(UnsafeCell::new([0; LAST_WORDS_BYTES]));

/// Writes the block, what it is found by last.
///
/// # Safety
/// Only the one CPU that died first calls this.
pub unsafe fn leave(words: &LastWords<&str>) {
    let block = words.encode();
    let to = LAST_WORDS.0.get();
    // SAFETY: the caller is alone with the static.
    unsafe { *to = block };
    fence(Ordering::SeqCst);
    // SAFETY: likewise, and the block begins with its magic.
    unsafe { to.cast::<[u8; 16]>().write_volatile(last_words_magic()) };
}

/// What was left, if anything was.
pub fn read() -> Option<LastWords<&'static str>> {
    // SAFETY: only the one CPU that ends the run reads it, between its writes.
    LastWords::decode(unsafe { &*LAST_WORDS.0.get() })
}
