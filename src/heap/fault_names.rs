//! The faults of the heap, for fault injection: the one list of their names and descriptions.

/// Declares an enum by the macro `$declare`: of the heap's faults, followed by the given values.
macro_rules! heap_faults {
    ($declare:ident! { $(#[$about:meta])* $vis:vis enum $type:ident { $($more:tt)* } }) => {
        $declare! { $(#[$about])* $vis enum $type {
            /// The heap allocates an object twice.
            HeapAllocateTwice = "heap_allocate_twice",
            /// The heap loses an object that returns to its slab.
            HeapLoseObject = "heap_lose_object",
            /// The heap loses a full magazine that returns to the depot.
            HeapLoseMagazine = "heap_lose_magazine",
            /// The heap does not free the frames of a slab whose objects are all free.
            HeapLeakSlab = "heap_leak_slab",
            /// The heap allocates an object that begins in the middle of another.
            HeapOverlap = "heap_overlap",
            /// The heap allocates an aligned object that begins 8 bytes too high.
            HeapMisalign = "heap_misalign",
            /// A depot counts a slab with all of its objects that it does not have.
            HeapMiscount = "heap_miscount",
            /// The heap accepts a double free.
            HeapAcceptDoubleFree = "heap_accept_double_free",
            /// The heap accepts a free of memory that is not its own.
            HeapAcceptForeign = "heap_accept_foreign",
            /// The heap accepts a free of an address inside an object.
            HeapAcceptInterior = "heap_accept_interior",
            /// The heap accepts a free with the layout of another class.
            HeapAcceptWrongLayout = "heap_accept_wrong_layout",
            $($more)*
        } }
    };
}
pub(crate) use heap_faults;
