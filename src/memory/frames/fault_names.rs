//! The faults of the frame allocator, for fault injection: the one list of their names and descriptions.

/// Declares an enum of the frame allocator's faults, followed by the given values, as [`named`](crate::named) does.
macro_rules! frame_faults {
    ($(#[$about:meta])* $vis:vis enum $type:ident { $($more:tt)* }) => {
        $crate::named! { $(#[$about])* $vis enum $type {
            /// The allocator allocates a frame twice.
            DoubleAllocate = "double_allocate",
            /// The allocator leaks a frame.
            LeakFrame = "leak_frame",
            /// The block table counts one frame less than was freed.
            Miscount = "miscount",
            /// The allocator allocates contiguous frames that begin one frame too high.
            Misalign = "misalign",
            /// A block whose last frame is freed is not returned to the buddy.
            SkipBlockCompletion = "skip_block_completion",
            /// A free block is not inserted into the buddy.
            SkipBuddyInsert = "skip_buddy_insert",
            /// A free block is not merged with its free neighbours.
            SkipBuddyMerge = "skip_buddy_merge",
            /// A free block is merged with one of another zone.
            MergeAcrossZones = "merge_across_zones",
            /// A word of a list of the buddy has a wrong link.
            ForgeListWord = "forge_list_word",
            /// A block that is taken from another CPU's cache is lost.
            LoseStolenBlock = "lose_stolen_block",
            /// A block that has free frames again is not entered in the summary.
            SkipSummaryUpdate = "skip_summary_update",
            /// A double free is accepted.
            AcceptDoubleFree = "accept_double_free",
            /// A free of frames that the allocator does not own is accepted.
            AcceptUnownedFree = "accept_unowned_free",
            /// A free of a larger order than was allocated is accepted.
            AcceptWrongOrder = "accept_wrong_order",
            /// A CPU without memory does not drain the caches of other CPUs.
            SkipRemoteDrain = "skip_remote_drain",
            /// An allocation with interrupts off waits for other CPUs.
            BlockInIrq = "block_in_irq",
            /// The allocator can be used in NMIs.
            AllowAllocInNmi = "allow_alloc_in_nmi",
            /// A refill of a magazine enables interrupts.
            EnableIrqsInRefill = "enable_irqs_in_refill",
            $($more)*
        } }
    };
}
pub(crate) use frame_faults;
