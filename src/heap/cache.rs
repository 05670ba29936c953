//! Object caches: objects of one type that stay constructed while they are free. [`cache!`](crate::cache!) declares one.
//!
//! An object is constructed when it is first allocated, and dropped when memory is needed. In between it passes from user to user as its last
//! user has left it (Bonwick: *The Slab Allocator*, 1994). So a cache saves the work of a constructor and a destructor, and the lookups of a free: a
//! [`CacheBox`] knows where it belongs.
//!
//! Each CPU has an array of free objects, used with interrupts off; behind the arrays is one for all CPUs, with a lock. Memory comes from the
//! kernel's heap.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::kernel::{KernelHeap, activate};
use super::purge::Purge;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpuStorage, gs_base};
use crate::memory;
use crate::sync::SpinLockIrq;

/// Objects that a CPU can cache.
const CAPACITY: usize = 32;
/// Objects that move between a CPU and the shared array at once.
const BATCH: usize = CAPACITY / 2;
/// Objects in the shared array.
const SHARED: usize = 8 * BATCH;

/// The free objects of a CPU.
#[doc(hidden)]
pub struct CacheMagazine {
    /// How many there are, or [`INACTIVE`].
    len: Cell<usize>,
    objects: [Cell<*mut u8>; CAPACITY],
}

/// The CPU has no objects, and must not get any before its heap is in use: only then are they drained when it goes offline. As it is larger
/// than the capacity, a pop and a push fail.
const INACTIVE: usize = CAPACITY + 1;

// SAFETY: the pointers lead to objects that belong to the cache, whose type is `Send`.
unsafe impl Send for CacheMagazine {}

impl CacheMagazine {
    /// A magazine that is not in use.
    #[expect(clippy::new_without_default, reason = "only the macro makes one")]
    pub const fn new() -> CacheMagazine {
        CacheMagazine {
            len: Cell::new(INACTIVE),
            objects: [const { Cell::new(core::ptr::null_mut()) }; CAPACITY],
        }
    }

    #[inline(always)]
    fn pop(&self) -> Option<NonNull<u8>> {
        let last = self.len.get().wrapping_sub(1);
        let object = self.objects.get(last)?.get();
        self.len.set(last);
        // SAFETY: `push` has put a pointer to an object there.
        Some(unsafe { NonNull::new_unchecked(object) })
    }

    #[inline(always)]
    fn push(&self, object: NonNull<u8>) -> bool {
        let len = self.len.get();
        let Some(place) = self.objects.get(len) else { return false };
        place.set(object.as_ptr());
        self.len.set(len + 1);
        true
    }
}

/// The free objects of all CPUs.
struct Shared {
    len: usize,
    objects: [*mut u8; SHARED],
}

// SAFETY: the pointers lead to objects that belong to the cache, whose type is `Send`.
unsafe impl Send for Shared {}

/// A cache of objects of type `T`.
pub struct Cache<T: 'static> {
    construct: fn() -> T,
    layout: Layout,
    magazine: *const PerCpuStorage<CacheMagazine>,
    shared: SpinLockIrq<Shared>,
}

// SAFETY: a CPU reaches its own magazine only, with interrupts off, and the shared array by the lock. An object that one CPU has freed is used by
// another, hence `T: Send`.
unsafe impl<T: Send> Sync for Cache<T> {}

impl<T: Send> Cache<T> {
    /// A cache without objects. [`cache!`](crate::cache!) calls this.
    ///
    /// # Safety
    /// `magazine` is a static in the section `.percpu` that no other cache has.
    #[doc(hidden)]
    pub const unsafe fn new(construct: fn() -> T, magazine: *const PerCpuStorage<CacheMagazine>) -> Cache<T> {
        let bytes = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        let Ok(layout) = Layout::from_size_align(bytes, align_of::<T>()) else {
            panic!("a type has a layout")
        };
        let shared = Shared { len: 0, objects: [core::ptr::null_mut(); SHARED] };
        Cache { construct, layout, magazine, shared: SpinLockIrq::new(shared) }
    }

    /// The same cache, whose objects begin at cache lines and share none with others.
    ///
    /// # Panics
    /// If the size is too large.
    pub const fn aligned_to_lines(self) -> Cache<T> {
        const LINE: usize = 64;
        let align = if self.layout.align() < LINE { LINE } else { self.layout.align() };
        let Ok(layout) = Layout::from_size_align(self.layout.size().next_multiple_of(LINE), align) else {
            panic!("the size is too large");
        };
        let shared = Shared { len: 0, objects: [core::ptr::null_mut(); SHARED] };
        let (construct, magazine) = (self.construct, self.magazine);
        Cache { construct, layout, magazine, shared: SpinLockIrq::new(shared) }
    }

    /// This CPU's magazine. `None` if the allocator is disabled on this CPU.
    #[inline(always)]
    fn magazine<'a>(&self, _: &'a IrqGuard) -> Option<&'a CacheMagazine> {
        if memory::is_alloc_disabled() {
            return None;
        }
        let magazine = self.magazine.cast::<CacheMagazine>().wrapping_byte_add(gs_base());
        // SAFETY: the variable lies in `.percpu` (see # Safety of `new`), so GS base leads to this CPU's copy, which is never freed. The guard
        // excludes this CPU's other code, and other CPUs have copies of their own.
        Some(unsafe { &*magazine })
    }

    /// Allocates an object: one that is free, as its last user has left it, or a new one. `None` if there is no memory.
    ///
    /// **Context:** thread or interrupt; as for [`KernelHeap`]. In an NMI handler it returns `None`.
    #[inline(always)]
    pub fn alloc(&'static self) -> Option<CacheBox<T>> {
        let guard = IrqGuard::new();
        if let Some(object) = self.magazine(&guard).and_then(CacheMagazine::pop) {
            drop(guard);
            return Some(CacheBox::of(object, self));
        }
        self.alloc_slow(guard)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&'static self, guard: IrqGuard) -> Option<CacheBox<T>> {
        self.start(&guard)?;
        let magazine = self.magazine(&guard)?;
        {
            let mut shared = self.shared.lock();
            for _ in 0..BATCH.min(shared.len) {
                shared.len -= 1;
                if let Some(object) = NonNull::new(shared.objects[shared.len]) {
                    magazine.push(object);
                }
            }
        }
        if let Some(object) = magazine.pop() {
            return Some(CacheBox::of(object, self));
        }
        drop(guard);
        // SAFETY: the size is not 0, by `new`.
        let object = NonNull::new(unsafe { KernelHeap.alloc(self.layout) })?;
        // SAFETY: the object has the size and the alignment of a `T`, and is new.
        unsafe { object.cast::<T>().write((self.construct)()) };
        Some(CacheBox::of(object, self))
    }

    /// Makes this CPU's magazine active. `None` if the allocator is disabled on this CPU.
    fn start(&self, guard: &IrqGuard) -> Option<()> {
        activate(guard)?;
        let magazine = self.magazine(guard)?;
        if magazine.len.get() == INACTIVE {
            magazine.len.set(0);
        }
        Some(())
    }

    #[inline(always)]
    fn free(&self, object: NonNull<u8>) {
        let guard = IrqGuard::new();
        if self.magazine(&guard).is_some_and(|magazine| magazine.push(object)) {
            drop(guard);
            return;
        }
        self.free_slow(guard, object);
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, guard: IrqGuard, object: NonNull<u8>) {
        if self.start(&guard).is_none() {
            log::error!("an object of a cache was dropped in an NMI handler: leaked");
            return;
        }
        let Some(magazine) = self.magazine(&guard) else { return };
        let mut surplus = [core::ptr::null_mut(); BATCH];
        let mut count = 0;
        if magazine.len.get() == CAPACITY {
            let mut shared = self.shared.lock();
            for _ in 0..BATCH {
                let Some(object) = magazine.pop() else { break };
                let len = shared.len;
                if let Some(place) = shared.objects.get_mut(len) {
                    *place = object.as_ptr();
                    shared.len += 1;
                } else {
                    surplus[count] = object.as_ptr();
                    count += 1;
                }
            }
        }
        magazine.push(object);
        drop(guard);
        surplus[..count].iter().for_each(|object| self.destroy(*object));
    }

    /// Drops an object and frees its memory.
    fn destroy(&self, object: *mut u8) {
        // SAFETY: the object is a constructed `T` that no magazine has any more.
        unsafe { object.cast::<T>().drop_in_place() };
        // SAFETY: `alloc_slow` allocated it with this layout.
        unsafe { KernelHeap.dealloc(object, self.layout) };
    }
}

impl<T: Send> Purge for Cache<T> {
    fn drain_this_cpu(&self, guard: &IrqGuard) -> bool {
        let Some(magazine) = self.magazine(guard) else { return false };
        let mut had_any = false;
        while let Some(object) = magazine.pop() {
            self.destroy(object.as_ptr());
            had_any = true;
        }
        magazine.len.set(INACTIVE);
        had_any
    }

    fn drain_shared(&self) -> bool {
        let mut had_any = false;
        loop {
            let object = {
                let mut shared = self.shared.lock();
                let Some(last) = shared.len.checked_sub(1) else { return had_any };
                shared.len = last;
                shared.objects[last]
            };
            self.destroy(object);
            had_any = true;
        }
    }
}

/// An object of a [`Cache`]. Its drop returns it to the cache, as it is.
pub struct CacheBox<T: Send + 'static> {
    object: NonNull<T>,
    cache: &'static Cache<T>,
    _owns: PhantomData<T>,
}

// SAFETY: the box owns its object, which is `Send`; the cache may be used by any CPU.
unsafe impl<T: Send> Send for CacheBox<T> {}
// SAFETY: a shared box gives shared access to its object alone.
unsafe impl<T: Send + Sync> Sync for CacheBox<T> {}

impl<T: Send> CacheBox<T> {
    #[inline(always)]
    fn of(object: NonNull<u8>, cache: &'static Cache<T>) -> CacheBox<T> {
        CacheBox { object: object.cast(), cache, _owns: PhantomData }
    }
}

impl<T: Send> Deref for CacheBox<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the box owns the object, which is constructed.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Send> DerefMut for CacheBox<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box owns the object, which is constructed, and is borrowed mutably.
        unsafe { self.object.as_mut() }
    }
}

impl<T: Send> Drop for CacheBox<T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.cache.free(self.object.cast());
    }
}

/// Declares caches of objects, each with the function that constructs one.
///
/// ```ignore
/// octopod::cache! {
///     /// Buffers of a page.
///     pub static BUFFERS: Vec<u8> = || Vec::with_capacity(4096);
/// }
///
/// let mut buffer = BUFFERS.alloc().expect("memory");
/// buffer.clear(); // it may have the content of its last user
/// buffer.extend_from_slice(b"hello");
/// ```
///
/// `BUFFERS: aligned Vec<u8> = …` aligns the objects to cache lines. An object is dropped when memory is needed, on the CPU that has cached it, with
/// interrupts or preemption off: its drop must not block.
#[macro_export]
macro_rules! cache {
    ($($(#[$attribute:meta])* $vis:vis static $NAME:ident: aligned $T:ty = $construct:expr;)+) => {$(
        $crate::cache!(@one [$(#[$attribute])*] $vis $NAME, $T, $construct, aligned_to_lines);
    )+};
    ($($(#[$attribute:meta])* $vis:vis static $NAME:ident: $T:ty = $construct:expr;)+) => {$(
        $crate::cache!(@one [$(#[$attribute])*] $vis $NAME, $T, $construct,);
    )+};
    (@one [$(#[$attribute:meta])*] $vis:vis $NAME:ident, $T:ty, $construct:expr, $($aligned:ident)?) => {
        $(#[$attribute])*
        $vis static $NAME: $crate::heap::Cache<$T> = {
            #[unsafe(link_section = ".percpu")]
            static MAGAZINE: $crate::cpu::per_cpu::PerCpuStorage<$crate::heap::CacheMagazine> = {
                // SAFETY: the static lies in .percpu.
                unsafe { $crate::cpu::per_cpu::PerCpuStorage::new($crate::heap::CacheMagazine::new()) }
            };
            let construct: fn() -> $T = $construct;
            // SAFETY: the magazine lies in .percpu, and only this cache can name it.
            let cache = unsafe { $crate::heap::Cache::new(construct, &raw const MAGAZINE) };
            cache$(.$aligned())?
        };

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::heap::CACHES)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static dyn $crate::heap::Purge = &$NAME;
        };
    };
}
