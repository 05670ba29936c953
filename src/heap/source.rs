//! The interface of a heap that octopod can stress, compare and measure: [`HeapSource`].

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::NonNull;

#[cfg(not(target_os = "none"))]
extern crate std;

/// A heap, as the workloads use it: octopod's own, or one of another crate.
///
/// **Context:** thread context with interrupts enabled, and timer handlers. Several CPUs call it at once. An implementation that must
/// not be interrupted disables interrupts itself ([`uninterrupted`](crate::memory::source::uninterrupted)).
///
/// # Safety
/// As for [`GlobalAlloc`]: an object is valid for reads and writes of its layout's size, aligned, and disjoint from all other
/// objects until it is freed. No method unwinds. The stress checks this; it reads and writes what a heap returns.
pub unsafe trait HeapSource: Sync {
    /// The largest size of an object, in bytes. The stress counts larger ones as unsupported, and never requests them.
    fn largest_size(&self) -> usize {
        isize::MAX as usize
    }

    /// Allocates an object. Its content is unspecified. The layout's size is not 0.
    ///
    /// # Errors
    /// [`HeapError::OutOfMemory`].
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError>;

    /// Frees an object, on any CPU.
    ///
    /// # Errors
    /// As far as the heap can tell misuse; nothing has changed then.
    ///
    /// # Safety
    /// The caller owns the object: [`alloc`](Self::alloc) or [`realloc`](Self::realloc) of this heap returned it with this layout,
    /// it has not been freed since, and nothing uses it any more.
    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError>;

    /// Changes the size of an object, and returns its new address. Its content is kept up to the smaller of both sizes.
    ///
    /// # Errors
    /// [`HeapError::OutOfMemory`], or misuse; the object is unchanged then.
    ///
    /// # Safety
    /// As for [`dealloc`](Self::dealloc). `new_size` is not 0, and makes a valid layout with the alignment of `layout`.
    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        let new = Layout::from_size_align(new_size, layout.align()).map_err(|_| HeapError::OutOfMemory)?;
        let moved = self.alloc(new)?;
        // SAFETY: both objects must be valid for this many bytes, and disjoint. Both are at least as large, guaranteed by the
        // caller for one and by `alloc` for the other, which returns no object that is in use.
        unsafe { moved.copy_from_nonoverlapping(object, layout.size().min(new_size)) };
        // SAFETY: the caller must own the object, guaranteed by the caller (see # Safety).
        unsafe { self.dealloc(object, layout) }?;
        Ok(moved)
    }

    /// Returns what the CPU that calls this caches to the arena or to the frames. Every CPU calls it while no other call is in
    /// progress.
    fn drain(&self) {}

    /// What the heap counts. Exact while no call is in progress and every CPU is drained.
    fn statistics(&self) -> HeapStatistics {
        HeapStatistics::default()
    }

    /// Checks its tables, under the same conditions.
    ///
    /// # Errors
    /// The first inconsistency, in words.
    fn validate(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// The counts of a heap; `None` for what it does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStatistics {
    /// Objects that are allocated.
    pub live_objects: Option<u64>,
    /// Bytes of its arena, or of the frames that it holds, that are not free: those of objects, with what each wastes, and those
    /// of metadata.
    pub held_bytes: Option<u64>,
}

/// Why a heap has not done what it was called for. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapError {
    /// No memory, or none that can be obtained in this context.
    OutOfMemory,
    /// The object is free already.
    DoubleFree,
    /// No object of this heap begins at this address.
    NoObject,
    /// The object was allocated with another layout.
    WrongLayout,
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapError::OutOfMemory => "out of memory",
            HeapError::DoubleFree => "the object is free already",
            HeapError::NoObject => "no object begins at this address",
            HeapError::WrongLayout => "the object was allocated with another layout",
        })
    }
}

/// Any [`GlobalAlloc`] as a [`HeapSource`], which counts nothing.
pub struct GlobalHeap<'a, A>(pub &'a A);

// SAFETY: must satisfy the contract of `HeapSource`, which is that of `GlobalAlloc`. Each call goes to one.
unsafe impl<A: GlobalAlloc + Sync> HeapSource for GlobalHeap<'_, A> {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the size must not be 0, as `HeapSource::alloc` demands of its callers.
        NonNull::new(unsafe { self.0.alloc(layout) }).ok_or(HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object must come from `alloc` with this layout, guaranteed by the caller (see `HeapSource::dealloc`).
        unsafe { self.0.dealloc(object.as_ptr(), layout) };
        Ok(())
    }

    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the object must come from `alloc` with this layout, and the new size be valid, guaranteed by the caller (see
        // `HeapSource::realloc`).
        NonNull::new(unsafe { self.0.realloc(object.as_ptr(), layout, new_size) })
            .ok_or(HeapError::OutOfMemory)
    }
}

/// The number of the CPU that executes this, from 0; on the host, of the thread that plays its role. A heap selects what it caches
/// for a CPU by it, with interrupts disabled.
#[cfg(target_os = "none")]
#[inline(always)]
pub fn this_cpu() -> usize {
    crate::cpu::current().index()
}

#[cfg(not(target_os = "none"))]
std::thread_local! {
    static THIS_CPU: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// The number of the CPU that executes this, from 0; on the host, of the thread that plays its role. A heap selects what it caches
/// for a CPU by it.
#[cfg(not(target_os = "none"))]
pub fn this_cpu() -> usize {
    THIS_CPU.get()
}

/// Gives the calling thread the role of the CPU with this number. No other thread may have it at the same time.
#[cfg(not(target_os = "none"))]
pub(crate) fn become_cpu(number: usize) {
    THIS_CPU.set(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_allocator_is_a_heap() {
        let heap = GlobalHeap(&std::alloc::System);
        let layout = Layout::from_size_align(100, 64).unwrap();
        let object = heap.alloc(layout).unwrap();
        assert!(object.as_ptr().addr().is_multiple_of(64));
        // SAFETY: the object was just allocated with this size.
        unsafe { object.write_bytes(7, 100) };
        // SAFETY: the object comes from this heap with this layout, and 5000 with its alignment is a layout.
        let larger = unsafe { heap.realloc(object, layout, 5000) }.unwrap();
        // SAFETY: the object has at least 100 bytes, which were written above.
        let kept = unsafe { core::slice::from_raw_parts(larger.as_ptr(), 100) };
        assert!(kept.iter().all(|byte| *byte == 7));
        let layout = Layout::from_size_align(5000, 64).unwrap();
        // SAFETY: the object comes from this heap with this layout.
        assert_eq!(unsafe { heap.dealloc(larger, layout) }, Ok(()));
        assert_eq!(heap.statistics(), HeapStatistics::default());
    }

    #[test]
    fn the_default_realloc_moves_the_content() {
        /// A heap whose `realloc` is the default.
        struct Plain;
        // SAFETY: must satisfy the contract of `HeapSource`. Each call goes to a heap that does.
        unsafe impl HeapSource for Plain {
            fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
                GlobalHeap(&std::alloc::System).alloc(layout)
            }
            unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
                // SAFETY: the object must come from the same heap, guaranteed by the caller.
                unsafe { GlobalHeap(&std::alloc::System).dealloc(object, layout) }
            }
        }
        let layout = Layout::from_size_align(64, 8).unwrap();
        let object = Plain.alloc(layout).unwrap();
        // SAFETY: the object was just allocated with this size.
        unsafe { object.write_bytes(5, 64) };
        // SAFETY: the object comes from this heap with this layout, and 24 with its alignment is a layout.
        let smaller = unsafe { Plain.realloc(object, layout, 24) }.unwrap();
        // SAFETY: the object has 24 bytes, which were copied.
        let kept = unsafe { core::slice::from_raw_parts(smaller.as_ptr(), 24) };
        assert!(kept.iter().all(|byte| *byte == 5));
        // SAFETY: the object comes from this heap with this layout.
        assert_eq!(unsafe { Plain.dealloc(smaller, Layout::from_size_align(24, 8).unwrap()) }, Ok(()));
    }

    #[test]
    fn each_thread_is_a_cpu() {
        std::thread::scope(|scope| {
            for number in 0..3 {
                scope.spawn(move || {
                    become_cpu(number);
                    assert_eq!(this_cpu(), number);
                });
            }
        });
    }
}
