//! The values that a thread has of thread-local variables.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;

/// Why a thread-local variable was not accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// No thread runs: this is the code of a CPU.
    NoThread,
    /// Interrupts are off: in a handler, or with a guard or a spin lock.
    InterruptsOff,
    /// The thread ends, and has dropped the value.
    Dropped,
    /// The function that makes the value uses the variable itself.
    Recursive {
        /// The access that has begun to make it.
        begun_at: &'static Location<'static>,
    },
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread-local variable was used ")?;
        match self {
            AccessError::NoThread => f.write_str("where no thread runs"),
            AccessError::InterruptsOff => f.write_str("with interrupts off"),
            AccessError::Dropped => f.write_str("after the end of its thread has dropped it"),
            AccessError::Recursive { begun_at } => {
                write!(f, "while it is initialised, since {}:{}", begun_at.file(), begun_at.line())
            }
        }
    }
}

impl core::error::Error for AccessError {}

/// Frees a value.
pub(super) type Free = unsafe fn(NonNull<()>);

/// What a thread has of one variable.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// It was not used yet.
    Unused,
    /// Its value is being made.
    Begun(&'static Location<'static>),
    /// The value, and the function that frees it.
    Value(NonNull<()>, Free),
    Dropped,
}

/// The values of a thread, by the numbers of their variables. `None` after the end.
pub(crate) struct Locals(RefCell<Option<Vec<Entry>>>);

impl Locals {
    pub(crate) const fn new() -> Locals {
        Locals(RefCell::new(Some(Vec::new())))
    }

    /// Returns what the thread has of a variable.
    #[inline(always)]
    pub(super) fn get(&self, number: usize) -> Entry {
        match &*self.0.borrow() {
            Some(entries) => entries.get(number).copied().unwrap_or(Entry::Unused),
            None => Entry::Dropped,
        }
    }

    /// Stores what the thread has of a variable. Without effect after the end.
    pub(super) fn set(&self, number: usize, entry: Entry) {
        if let Some(entries) = &mut *self.0.borrow_mut() {
            if entries.len() <= number {
                entries.resize(number + 1, Entry::Unused);
            }
            entries[number] = entry;
        }
    }

    /// Drops all values, and those that their drops make. Later accesses fail.
    ///
    /// # Safety
    /// Each [`Entry::Value`] was stored with a function that may be called with it, once. Nothing uses a value.
    pub(super) unsafe fn drop_all(&self) {
        while let Some((number, value, free)) = self.last_value() {
            self.set(number, Entry::Dropped);
            // SAFETY: the value must be one that `free` may be called with, once, and not used: guaranteed by the caller (see # Safety).
            // The entry is gone from the table.
            unsafe { free(value) };
        }
        *self.0.borrow_mut() = None;
    }

    fn last_value(&self) -> Option<(usize, NonNull<()>, Free)> {
        let entries = self.0.borrow();
        entries.as_ref()?.iter().enumerate().rev().find_map(|(number, entry)| match *entry {
            Entry::Value(value, free) => Some((number, value, free)),
            _ => None,
        })
    }
}
