//! The magazines of a CPU: for each class, two arrays of pointers to free objects. `pop` and `push` are the fast path of the heap.
//!
//! A magazine is a chunk ([`chunks`](super::chunks)), so a pointer to a free object lies in no free object. Its first word links magazines in the
//! depot. The chunk is aligned to its size, so that `push` recognises a full magazine, or that there is none, by the low bits of the pointer to the
//! next free word; `pop` recognises an empty one, or that there is none, by the pointer to the first word.
//! Each takes six instructions: no locked one, no loop, and no cache line that another CPU writes.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::chunks::ChunkSize;
use super::size_class::{CLASSES, SizeClass};

/// A word of a magazine.
pub(super) type Word = *mut u8;

/// What follows from a class.
impl SizeClass {
    /// The size of its magazines.
    #[inline(always)]
    pub(super) const fn magazine(self) -> ChunkSize {
        ChunkSize::containing(match self.size() {
            ..=256 => 1024,
            257..=512 => 512,
            513..=1024 => 256,
            1025..=4096 => 128,
            _ => 64,
        })
    }

    /// How many objects a magazine has room for.
    pub(super) const fn rounds(self) -> usize {
        self.magazine().bytes() / size_of::<Word>() - 1
    }
}

const END_MASKS: [usize; CLASSES] = {
    let mut masks = [0; CLASSES];
    let mut class = 0;
    while let Some(this) = SizeClass::new(class) {
        masks[class] = this.magazine().bytes() - 1;
        class += 1;
    }
    masks
};

/// A magazine that no CPU uses: full or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magazine(pub(super) NonNull<u8>);

impl Magazine {
    /// The first word for a pointer.
    pub(super) fn base(self) -> *mut Word {
        self.0.as_ptr().cast::<Word>().wrapping_add(1)
    }

    /// The end of the words of a magazine of this class.
    pub(super) fn end(self, class: SizeClass) -> *mut Word {
        self.base().wrapping_add(class.rounds())
    }

    /// The magazine whose words begin there.
    fn at(base: *mut Word) -> Option<Magazine> {
        if base.is_null() { None } else { NonNull::new(base.wrapping_sub(1).cast()).map(Magazine) }
    }

    /// The next magazine of a list.
    ///
    /// # Safety
    /// The magazine is valid and in a list that the caller has locked.
    pub(super) unsafe fn next(self) -> Option<Magazine> {
        // SAFETY: the first word of a magazine links it, guaranteed by the caller (see # Safety).
        NonNull::new(unsafe { self.0.cast::<Word>().read() }).map(Magazine)
    }

    /// Sets the next magazine of a list.
    ///
    /// # Safety
    /// The magazine is valid and the caller's alone.
    pub(super) unsafe fn set_next(self, next: Option<Magazine>) {
        let next = next.map_or(null_mut(), |next| next.0.as_ptr());
        // SAFETY: the first word of a magazine links it; it is the caller's alone (see # Safety).
        unsafe { self.0.cast::<Word>().write(next) };
    }
}

/// A magazine in use: the pointer to the next free word, and to the first one. Both are null if there is no magazine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) top: *mut Word,
    pub(super) base: *mut Word,
}

impl Loaded {
    pub(super) const NONE: Loaded = Loaded { top: null_mut(), base: null_mut() };

    /// An empty magazine.
    pub(super) fn empty(magazine: Magazine) -> Loaded {
        Loaded { top: magazine.base(), base: magazine.base() }
    }

    /// A full magazine.
    pub(super) fn full(magazine: Magazine, class: SizeClass) -> Loaded {
        Loaded { top: magazine.end(class), base: magazine.base() }
    }

    /// The magazine.
    pub(super) fn magazine(self) -> Option<Magazine> {
        Magazine::at(self.base)
    }

    /// How many objects are in it.
    pub(super) fn len(self) -> usize {
        self.top.addr().saturating_sub(self.base.addr()) / size_of::<Word>()
    }

    /// Whether there is room for another object.
    pub(super) fn has_room(self, class: SizeClass) -> bool {
        self.top.addr() & END_MASKS[class.index()] != 0
    }

    /// The objects.
    ///
    /// # Safety
    /// The magazine is valid and not changed while the slice is used.
    pub(super) unsafe fn objects<'a>(self) -> &'a [Word] {
        if self.base.is_null() {
            return &[];
        }
        // SAFETY: the words from the first one to the next free one hold pointers; they stay as they are (see # Safety).
        unsafe { core::slice::from_raw_parts(self.base, self.len()) }
    }
}

/// The magazines of a CPU. Only its own CPU uses them, with interrupts disabled: they are not `Sync`. Before they are dropped,
/// [`Heap::drain`](super::Heap::drain) must have emptied them, or their objects are leaked.
#[repr(C, align(64))]
pub(crate) struct Magazines {
    top: [Cell<*mut Word>; CLASSES],
    base: [Cell<*mut Word>; CLASSES],
    previous_top: [Cell<*mut Word>; CLASSES],
    previous_base: [Cell<*mut Word>; CLASSES],
    node: Cell<usize>,
}

// SAFETY: the pointers lead to memory of the heap that belongs to the magazines, whichever CPU uses them.
unsafe impl Send for Magazines {}

impl Magazines {
    /// No magazine for any class: `pop` and `push` fail.
    pub(crate) const fn new() -> Magazines {
        Magazines {
            top: [const { Cell::new(null_mut()) }; CLASSES],
            base: [const { Cell::new(null_mut()) }; CLASSES],
            previous_top: [const { Cell::new(null_mut()) }; CLASSES],
            previous_base: [const { Cell::new(null_mut()) }; CLASSES],
            node: Cell::new(0),
        }
    }

    /// The CPU's node: the depots that it uses.
    pub(super) fn node(&self) -> usize {
        self.node.get()
    }

    /// Sets the CPU's node.
    pub(crate) fn set_node(&self, node: usize) {
        self.node.set(node);
    }

    #[inline(always)]
    fn slot(array: &[Cell<*mut Word>; CLASSES], class: SizeClass) -> &Cell<*mut Word> {
        // SAFETY: the number of a class is below the length of the array, by its constructors.
        unsafe { array.get_unchecked(class.index()) }
    }

    /// Takes the object that was put in last.
    #[inline(always)]
    pub(super) fn pop(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let slot = Self::slot(&self.top, class);
        let top = slot.get();
        if top == Self::slot(&self.base, class).get() {
            return None;
        }
        // SAFETY: the pointer is above that to the first word, so a word with an object is before it.
        let last = unsafe { top.sub(1) };
        // SAFETY: the word belongs to this CPU's magazine, and `push` or a refill has written it.
        let object = unsafe { last.read() };
        slot.set(last);
        // SAFETY: only pointers to objects are put in.
        Some(unsafe { NonNull::new_unchecked(object) })
    }

    /// Puts an object in; whether there was room.
    #[inline(always)]
    pub(super) fn push(&self, class: SizeClass, object: NonNull<u8>) -> bool {
        let slot = Self::slot(&self.top, class);
        let top = slot.get();
        // SAFETY: the number of a class is below the length of the table, by its constructors.
        if top.addr() & *unsafe { END_MASKS.get_unchecked(class.index()) } == 0 {
            return false;
        }
        // SAFETY: the chunk ends where the low bits are zero, so the word lies in it. It belongs to this CPU's magazine.
        unsafe { top.write(object.as_ptr()) };
        // SAFETY: the word lies in the chunk, so its end does as well.
        slot.set(unsafe { top.add(1) });
        true
    }

    /// The magazine of this class that `pop` and `push` use.
    pub(super) fn loaded(&self, class: SizeClass) -> Loaded {
        let (top, base) = (Self::slot(&self.top, class), Self::slot(&self.base, class));
        Loaded { top: top.get(), base: base.get() }
    }

    /// Sets the magazine that `pop` and `push` use.
    pub(super) fn load(&self, class: SizeClass, loaded: Loaded) {
        Self::slot(&self.base, class).set(loaded.base);
        Self::slot(&self.top, class).set(loaded.top);
    }

    /// The other magazine of this class.
    pub(super) fn previous(&self, class: SizeClass) -> Loaded {
        let (top, base) = (Self::slot(&self.previous_top, class), Self::slot(&self.previous_base, class));
        Loaded { top: top.get(), base: base.get() }
    }

    /// Sets the other magazine of this class.
    pub(super) fn set_previous(&self, class: SizeClass, previous: Loaded) {
        Self::slot(&self.previous_base, class).set(previous.base);
        Self::slot(&self.previous_top, class).set(previous.top);
    }

    /// Exchanges the two magazines of a class.
    pub(super) fn exchange(&self, class: SizeClass) {
        let loaded = self.loaded(class);
        self.load(class, self.previous(class));
        self.set_previous(class, loaded);
    }
}

impl Default for Magazines {
    fn default() -> Magazines {
        Magazines::new()
    }
}
