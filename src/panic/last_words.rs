//! The block in memory that outlives the machine's last line: see [`LastWords`].

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, fence};

use crate::wire::{LAST_WORDS_BYTES, LastWords, complete_last_words, last_words_magic};

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
    let to = LAST_WORDS.0.get();
    // SAFETY: the caller is alone with the static.
    words.encode(unsafe { &mut *to });
    fence(Ordering::SeqCst);
    // Volatile: a debugger or a memory dump reads it, not this program.
    // SAFETY: the caller is alone with the static (see # Safety), and the reference above has ended; the block begins with 16
    // bytes of magic.
    unsafe { to.cast::<[u8; 16]>().write_volatile(last_words_magic()) };
}

/// Adds the message to a block that was left, and how many CPUs have panicked, and gives all of it, if there is one.
///
/// # Safety
/// As for [`leave`], and nobody holds what this has given before.
pub unsafe fn complete(message: &str, panics: u32) -> Option<LastWords<&'static str>> {
    let block = LAST_WORDS.0.get();
    // SAFETY: the caller is alone with the static.
    complete_last_words(unsafe { &mut *block }, message, panics);
    // SAFETY: the caller is alone with the static (see # Safety), nobody holds what an earlier call returned, and from here on the
    // block is only read.
    LastWords::decode(unsafe { &*block })
}
