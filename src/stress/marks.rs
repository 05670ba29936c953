//! The owner of each object, in the object's own memory.
//!
//! A mark is a word that depends on its address, on the owner, and on a key that each run draws. An allocated object has marks
//! until just before its free, so a mark in memory that the heap has just allocated belongs to another live object: either
//! the same memory was allocated twice, or two objects overlap. A mark that has changed when its object is freed shows that another
//! has written there. A false mark is as improbable as a guess of 50 bits.

use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub(crate) use self::violation::ObjectViolation;
use crate::config::MAX_CPUS;
use crate::stress::owners::{HANDLER, OwnerId};

mod violation;

/// The bytes of a mark.
const WORD: usize = size_of::<u64>();
/// Larger objects have a mark in each line of this many bytes, and in each word of the first and of the last line.
const LINE: usize = 64;
/// Objects up to this size have a mark in each word.
const SMALL: usize = 256;

/// Bits of a mark: whether it is the first of its object, then the owner, then the bits that depend on address and key.
const FIRST: u64 = 1;
const HANDLER_BIT: u64 = 1 << 1;
const CPU_AT: u32 = 2;
const KEYED_AT: u32 = 14;

const _: () = assert!((MAX_CPUS as u64) << CPU_AT <= 1 << KEYED_AT);

/// The marks of one run.
pub struct Marks {
    key: u64,
    /// The addresses that objects may have, if they are known.
    bounds: Option<Range<usize>>,
    /// Whether every word of an object has a mark.
    every: bool,
}

/// The owner's bits of a mark.
fn owner_bits(owner: OwnerId) -> u64 {
    match owner.checked_sub(HANDLER) {
        Some(cpu) => u64::from(cpu) << CPU_AT | HANDLER_BIT,
        None => u64::from(owner) << CPU_AT,
    }
}

/// The word at an address in an object.
fn word(address: usize) -> &'static AtomicU64 {
    // SAFETY: the word must be aligned, and valid for atomic access. It lies in an object that a heap has allocated, whose contract
    // makes it valid, and only marks are accessed there. A heap that allocates it twice has both owners access it atomically.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(address)) }
}

/// The byte at an address in an object.
fn byte(address: usize) -> &'static AtomicU8 {
    // SAFETY: the byte must be valid for atomic access. It lies in an object that a heap has allocated, whose contract makes it
    // valid. A heap that allocates it twice has both owners access it atomically.
    unsafe { AtomicU8::from_ptr(core::ptr::with_exposed_provenance_mut(address)) }
}

impl Marks {
    /// Marks with a key of their own. `bounds` are the addresses that objects may have, if they are known. If `every` is true,
    /// every word of an object has a mark.
    pub fn new(bounds: Option<Range<usize>>, every: bool) -> Marks {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        // Marks that a broken heap has left behind must not be valid in the next run. Any bijection of the count will do.
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let key = (drawn.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ drawn >> 32).rotate_left(29);
        Marks { key, bounds, every }
    }

    /// The bits of a mark that depend on its address; the others are 0.
    #[inline(always)]
    fn keyed(&self, address: usize) -> u64 {
        // The upper bits of a product depend on all bits of its factors.
        ((address / WORD) as u64 ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> KEYED_AT << KEYED_AT
    }

    /// The owner of a valid mark, and whether it is the first of its object; `None` for any other word.
    fn decode(&self, address: usize, mark: u64) -> Option<(OwnerId, bool)> {
        if (mark ^ self.keyed(address)) >> KEYED_AT != 0 {
            return None;
        }
        let cpu = ((mark & ((1 << KEYED_AT) - 1)) >> CPU_AT) as OwnerId;
        let owner = if mark & HANDLER_BIT != 0 { HANDLER + cpu } else { cpu };
        Some((owner, mark & FIRST != 0))
    }

    /// The owner of an object of at least 16 bytes, by its first mark; `None` if that has changed.
    pub(crate) fn owner_of(&self, object: NonNull<u8>) -> Option<OwnerId> {
        let at = object.as_ptr().expose_provenance().next_multiple_of(WORD);
        self.decode(at, word(at).load(Ordering::Relaxed)).map(|(owner, _)| owner)
    }

    /// Calls `f` with the address of each marked word of an object, in ascending order, until it returns an error.
    #[inline(always)]
    fn each_word<E>(
        &self,
        address: usize,
        size: usize,
        mut f: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = address.next_multiple_of(WORD);
        let end = (address + size) / WORD * WORD;
        if self.every || size <= SMALL {
            return (first..end).step_by(WORD).try_for_each(f);
        }
        let (head, tail) = (first + LINE, end - LINE);
        (first..head).step_by(WORD).try_for_each(&mut f)?;
        (head.next_multiple_of(LINE)..tail).step_by(LINE).try_for_each(&mut f)?;
        (tail..end).step_by(WORD).try_for_each(f)
    }

    /// Calls `f` with the address of each byte that is in no whole word of an object, until it returns an error.
    fn each_edge<E>(
        &self,
        address: usize,
        size: usize,
        f: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if (address | size).is_multiple_of(WORD) {
            return Ok(());
        }
        let end = address + size;
        let first_word = address.next_multiple_of(WORD).min(end);
        let last_word = (end / WORD * WORD).max(first_word);
        (address..first_word).chain(last_word..end).try_for_each(f)
    }

    fn edge(&self, address: usize, holder: OwnerId) -> u8 {
        ((self.keyed(address) >> (KEYED_AT as usize + address % WORD)) ^ u64::from(holder)) as u8
    }

    /// Records that `receiver` has allocated an object.
    ///
    /// # Errors
    /// The object must not be used or freed: it is misplaced, or its memory has an owner, whose marks are unchanged.
    #[inline(always)]
    pub(crate) fn acquire(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        receiver: OwnerId,
    ) -> Result<(), ObjectViolation> {
        let (address, size) = (object.as_ptr().expose_provenance(), layout.size());
        if !address.is_multiple_of(layout.align()) {
            return Err(ObjectViolation::Misaligned { address, align: layout.align() });
        }
        if let Some(bounds) = &self.bounds
            && (address < bounds.start || address > bounds.end || bounds.end - address < size)
        {
            return Err(ObjectViolation::OutsideArena { address, size });
        }
        let found = self.each_word(address, size, |at| {
            let mark = word(at).load(Ordering::Relaxed);
            if (mark ^ self.keyed(at)) >> KEYED_AT == 0 { Err((at, mark)) } else { Ok(()) }
        });
        if let Err((at, mark)) = found {
            return Err(self.violation(address, size, at, mark, receiver));
        }
        self.mark(address, size, receiver);
        Ok(())
    }

    /// The violation that another owner's mark in a new object shows.
    #[cold]
    fn violation(
        &self,
        address: usize,
        size: usize,
        at: usize,
        mark: u64,
        receiver: OwnerId,
    ) -> ObjectViolation {
        let offset = at - address;
        match self.decode(at, mark) {
            Some((holder, true)) if offset < WORD => {
                ObjectViolation::AllocatedTwice { address, holder, receiver }
            }
            Some((holder, _)) => ObjectViolation::Overlap { address, size, offset, holder, receiver },
            None => ObjectViolation::Changed { address, size, offset, holder: receiver },
        }
    }

    /// Writes the marks of an object.
    #[inline(always)]
    fn mark(&self, address: usize, size: usize, owner: OwnerId) {
        let owner_bits = owner_bits(owner);
        let mut first = FIRST;
        let Ok(()) = self.each_word(address, size, |at| {
            word(at).store(self.keyed(at) | owner_bits | core::mem::take(&mut first), Ordering::Relaxed);
            Ok::<_, core::convert::Infallible>(())
        });
        let Ok(()) = self.each_edge(address, size, |at| {
            byte(at).store(self.edge(at, owner), Ordering::Relaxed);
            Ok::<_, core::convert::Infallible>(())
        });
    }

    /// Records that `holder` is about to free an object, and removes its marks.
    ///
    /// # Errors
    /// The object must not be freed: its content has changed. Marks up to there are removed.
    #[inline(always)]
    pub(crate) fn release(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        holder: OwnerId,
    ) -> Result<(), ObjectViolation> {
        let (address, size) = (object.as_ptr().expose_provenance(), layout.size());
        let owner_bits = owner_bits(holder);
        let mut first = FIRST;
        let found = self.each_word(address, size, |at| {
            let expected = self.keyed(at) | owner_bits | core::mem::take(&mut first);
            let found = word(at).load(Ordering::Relaxed);
            if found != expected {
                return Err((at, found));
            }
            word(at).store(0, Ordering::Relaxed);
            Ok(())
        });
        if let Err((at, found)) = found {
            return Err(self.changed(address, size, at, found, holder));
        }
        self.each_edge(address, size, |at| {
            if byte(at).load(Ordering::Relaxed) == self.edge(at, holder) { Ok(()) } else { Err(at) }
        })
        .map_err(|at| ObjectViolation::Changed { address, size, offset: at - address, holder })
    }

    /// The violation that a changed mark shows: another object's mark, or any other word.
    #[cold]
    fn changed(
        &self,
        address: usize,
        size: usize,
        at: usize,
        found: u64,
        holder: OwnerId,
    ) -> ObjectViolation {
        let offset = at - address;
        match self.decode(at, found) {
            Some((receiver, true)) if offset < WORD => {
                ObjectViolation::AllocatedTwice { address, holder, receiver }
            }
            Some((receiver, _)) => ObjectViolation::Overlap { address, size, offset, holder, receiver },
            None => ObjectViolation::Changed { address, size, offset, holder },
        }
    }

    /// Stores the next object of a list in an object of this CPU, which has at least four words: in the third and the fourth word,
    /// which have no marks until [`unlink`](Self::unlink).
    pub(crate) fn link(&self, object: NonNull<u8>, next: u64) {
        let at = object.as_ptr().expose_provenance() + 2 * WORD;
        word(at).store(next, Ordering::Relaxed);
        word(at + WORD).store(next ^ self.keyed(at), Ordering::Relaxed);
    }

    /// The next object of the list; the object has all of its marks again.
    ///
    /// # Errors
    /// The words have changed.
    pub(crate) fn unlink(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        holder: OwnerId,
    ) -> Result<u64, ObjectViolation> {
        let address = object.as_ptr().expose_provenance();
        let at = address + 2 * WORD;
        let (next, check) = (word(at).load(Ordering::Relaxed), word(at + WORD).load(Ordering::Relaxed));
        if next ^ self.keyed(at) != check {
            let (size, offset) = (layout.size(), at - address);
            return Err(ObjectViolation::Changed { address, size, offset, holder });
        }
        for at in [at, at + WORD] {
            word(at).store(self.keyed(at) | owner_bits(holder), Ordering::Relaxed);
        }
        Ok(next)
    }

    /// Fills an object without marks with content that depends on the offset only, for a resize.
    pub(crate) fn fill(&self, object: NonNull<u8>, size: usize) {
        let address = object.as_ptr().expose_provenance();
        self.offsets(size)
            .for_each(|offset| byte(address + offset).store(self.edge(offset, 0), Ordering::Relaxed));
    }

    /// The first offset whose content is not that of [`fill`](Self::fill), if there is one below `kept`. Removes it.
    pub(crate) fn lost(&self, object: NonNull<u8>, filled: usize, kept: usize) -> Option<usize> {
        let address = object.as_ptr().expose_provenance();
        let mut lost = None;
        for offset in self.offsets(filled).filter(|offset| *offset < kept) {
            if byte(address + offset).swap(0, Ordering::Relaxed) != self.edge(offset, 0) && lost.is_none() {
                lost = Some(offset);
            }
        }
        lost
    }

    /// The offsets of the bytes that are filled: all of a small object; else the first of each line or word, and the last byte.
    fn offsets(&self, size: usize) -> impl Iterator<Item = usize> + use<> {
        let step = match size <= SMALL {
            true => 1,
            false if self.every => WORD,
            false => LINE,
        };
        (0..size).step_by(step).chain((step > 1).then_some(size - 1))
    }
}

#[cfg(test)]
mod tests;
