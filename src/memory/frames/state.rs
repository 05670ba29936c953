//! The state word of a block, and all its transitions.
//!
//! A [`State`] is a bit field. Its transitions are pure functions from the old word to the new one, or to `None` if the transition is not
//! allowed. They compose (`state.reserve()?.take_up_to(64)`). [`update`] runs them on the shared word: no other file does a
//! compare-and-swap on it.
//!
//! ```text
//!             insert            take (under the lock)        publish
//!   Blank ────────────► Buddy ─────────────────────► Transit ────────► Frames
//!     │                 │  ▲ ◄───────────────────────  │ ▲                │ ▲
//!     │     alloc ≥ 9   ▼  │ free ≥ 9    give          └─┴────────────────┘ │
//!     │        ┌──────► Huge                   all 512 free, not reserved   │
//!     │  take  │  cache │ └─────────── a part of it is freed ───────────────┤
//!     │        └Cached ◄┘ ───► Buddy                                        │
//!     └────────────────── insert of less than a block ──────────────────────┘
//! ```
//! **Runs.** An allocated run of order 9 or above has one word, that of its first block. The words of its other blocks are `Blank`,
//! as is that of a block that is not managed. So a run of any size is allocated and freed by one word.
//! [`Frames::run_of`](super::allocator::Frames::run_of) finds the run of a block whose word is `Blank`.
//!
//! **Buddy.** The words of a free run in the buddy are `Blank`, too. A bit of each block tells that it is free
//! ([`block_bits`](super::block_bits)). [`Kind::Buddy`] is in no word: `run_of` makes it of the bits.
//!
//! A word changes from and to `Buddy` and to `Huge` only under the lock of the block's zone. Within `Frames`, and from there to
//! `Transit`, any CPU changes it by compare-and-swap. The CPU that frees a whole run takes it from `Huge` to `Cached`, `Transit` or `Blank` by
//! compare-and-swap, so that of two CPUs that free it one is refused. A `Cached` word changes by compare-and-swap too: to `Huge` when the
//! run is allocated again, to `Transit` when it returns to the buddy.
//!
//! **Largest run.** The word of a block in `Frames` has an order above which no free run of it is. A free raises it with the count, after
//! it has set the bits. A search lowers it, by a compare-and-swap on the word that it has read before the bits; then it reads the bits
//! again, because a free may have relied on the old order. The allocation that takes all of the count sets it to 0; the free that makes the
//! count larger again reads the bits afterwards, because other frames may be free and not counted yet.
//!
//! **Count first.** An allocation lowers `free` by what it takes, then collects that many bits from the bitmap. A free sets the bits first,
//! then raises `free`. So at any moment *bits set >= free + frames taken but not yet collected*: an allocation finds its bits, and
//! `free` = 512 implies that no allocation is between the two steps, so the transition to `Transit` needs no further check.

use super::number::{FRAMES_PER_BLOCK, Order};
use super::sync::{AtomicU64, Ordering};

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) enum Kind {
    /// No frame of it is managed, or it belongs to a run whose first block is another one.
    Blank,
    /// The first block of a free run in the buddy. No word has this kind.
    Buddy,
    /// The first block of a free run that one CPU moves.
    Transit,
    /// Its frames are allocated by its bitmap.
    Frames,
    /// The first block of an allocation of order 9 or above.
    Huge,
    /// The first block of a free run that a CPU caches for its next allocation of that order.
    Cached,
    /// A word that no transition produces.
    Corrupt,
}

/// A field of the word: `BITS` bits from bit `LOW` up.
pub(super) struct Field<const LOW: u32, const BITS: u32>;

impl<const LOW: u32, const BITS: u32> Field<LOW, BITS> {
    pub(super) const MAX: u64 = u64::MAX >> (64 - BITS);
    const MASK: u64 = Self::MAX << LOW;

    #[inline(always)]
    pub(super) const fn get(word: u64) -> u64 {
        (word >> LOW) & Self::MAX
    }

    #[inline(always)]
    pub(super) const fn set(word: u64, value: u64) -> u64 {
        (word & !Self::MASK) | (value << LOW)
    }
}

type KindField = Field<0, 3>;
type ReservedField = Field<3, 1>;
type OrderField = Field<4, 5>;
type FreeField = Field<12, 10>;
type ManagedField = Field<22, 10>;
type MaskField = Field<32, 28>;
type LargestField = Field<60, 4>;

const BLANK: u64 = 0;
const BUDDY: u64 = 1;
const TRANSIT: u64 = 2;
const FRAMES: u64 = 3;
const HUGE: u64 = 4;
const CACHED: u64 = 5;

const ALL: u64 = FRAMES_PER_BLOCK as u64;

const _: () = {
    assert!(CACHED <= KindField::MAX);
    assert!(ALL <= FreeField::MAX && ALL <= ManagedField::MAX);
    assert!(Order::MAX.get() as u64 <= OrderField::MAX);
    assert!(Order::BLOCK.get() as u64 <= LargestField::MAX);
    // Each block may have a mask of its own.
    assert!(MAX_BLOCKS as u64 <= MaskField::MAX);
    let fields = [
        KindField::MASK,
        ReservedField::MASK,
        OrderField::MASK,
        FreeField::MASK,
        ManagedField::MASK,
        MaskField::MASK,
        LargestField::MASK,
    ];
    let mut seen = 0;
    let mut index = 0;
    while index < fields.len() {
        assert!(seen & fields[index] == 0, "fields overlap");
        seen |= fields[index];
        index += 1;
    }
    // Zeroed metadata must read as a table of blocks that are not managed.
    assert!(State::BLANK.0 == 0);
};

/// How many blocks a table can have: 256 TiB.
pub(in crate::memory) const MAX_BLOCKS: usize = 1 << 27;

/// A block's state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::memory) struct State(u64);

impl State {
    pub(in crate::memory) const BLANK: Self = Self(BLANK);

    /// A free run of this order in the buddy.
    pub(in crate::memory) const fn buddy(order: Order) -> Self {
        Self(OrderField::set(BUDDY, order.get() as u64))
    }

    /// A run of this order that one CPU moves.
    #[inline(always)]
    pub(in crate::memory) const fn transit(order: Order) -> Self {
        Self(OrderField::set(TRANSIT, order.get() as u64))
    }

    /// An allocation of this order, 9 or above.
    #[inline(always)]
    pub(in crate::memory) const fn huge(order: Order) -> Self {
        Self(OrderField::set(HUGE, order.get() as u64))
    }

    /// A free run of this order, 9 or above, that a CPU caches.
    #[inline(always)]
    pub(in crate::memory) const fn cached(order: Order) -> Self {
        Self(OrderField::set(CACHED, order.get() as u64))
    }

    /// A block whose frames are all managed, and of which this many are free, in runs of any size.
    pub(in crate::memory) const fn whole(free: usize) -> Self {
        let largest = if free == 0 { 0 } else { Order::BLOCK.half().get() };
        Self(LargestField::set(FreeField::set(ManagedField::set(FRAMES, ALL), free as u64), largest as u64))
    }

    /// A block of which no frame is managed yet. `mask` is the index of the mask that will say which are.
    pub(in crate::memory) const fn partial(mask: usize) -> Self {
        Self(MaskField::set(FRAMES, mask as u64))
    }

    #[inline(always)]
    pub(in crate::memory) const fn kind(self) -> Kind {
        match KindField::get(self.0) {
            FRAMES => Kind::Frames,
            BLANK if self.0 == BLANK => Kind::Blank,
            kind if matches!(self.order(), Some(order) if order.get() >= Order::BLOCK.get()) => match kind {
                BUDDY => Kind::Buddy,
                TRANSIT => Kind::Transit,
                HUGE => Kind::Huge,
                CACHED => Kind::Cached,
                _ => Kind::Corrupt,
            },
            _ => Kind::Corrupt,
        }
    }

    pub(in crate::memory) const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    const fn is_frames(self) -> bool {
        KindField::get(self.0) == FRAMES
    }

    /// Frames: how many can be taken.
    #[inline(always)]
    pub(in crate::memory) const fn free(self) -> usize {
        FreeField::get(self.0) as usize
    }

    /// Frames: how many of the block's frames are managed.
    #[inline(always)]
    pub(in crate::memory) const fn managed(self) -> usize {
        ManagedField::get(self.0) as usize
    }

    /// Frames: whether all 512 are managed.
    #[inline(always)]
    pub(in crate::memory) const fn is_whole(self) -> bool {
        ManagedField::get(self.0) == ALL
    }

    /// Frames: whether all 512 are managed, and no CPU has reserved the block.
    #[inline(always)]
    pub(in crate::memory) const fn is_whole_unreserved(self) -> bool {
        let fields = KindField::MASK | ReservedField::MASK | ManagedField::MASK;
        self.0 & fields == ManagedField::set(FRAMES, ALL)
    }

    /// Frames, not whole: the index of the mask of managed frames.
    #[inline(always)]
    pub(in crate::memory) const fn mask(self) -> usize {
        MaskField::get(self.0) as usize
    }

    /// Frames: whether a CPU has reserved the block.
    #[inline(always)]
    pub(in crate::memory) const fn is_reserved(self) -> bool {
        ReservedField::get(self.0) == 1
    }

    /// Frames: whether the block is available to other CPUs: not reserved, and not empty. The summary marks these.
    #[inline(always)]
    pub(in crate::memory) fn is_offered(self) -> bool {
        !self.is_reserved() && self.free() > 0
    }

    /// Frames: an order, 0 to 8, above which no free run of the block is. A run of that order is not certain.
    #[inline(always)]
    pub(in crate::memory) const fn largest(self) -> Order {
        match Order::new(LargestField::get(self.0) as u8) {
            Some(order) => order,
            None => Order::FRAME,
        }
    }

    /// Frames, with another [`largest`](Self::largest) order.
    #[inline(always)]
    pub(in crate::memory) const fn with_largest(self, largest: Order) -> Self {
        Self(LargestField::set(self.0, largest.get() as u64))
    }

    /// Frames: whether the block is available, and may have a free run of this order. The summary of the order marks these.
    #[inline(always)]
    pub(in crate::memory) fn offers(self, order: Order) -> bool {
        self.is_offered() && self.largest() >= order
    }

    /// Frames: with `free` frames, of which none are a run if there are none.
    #[inline(always)]
    const fn with_free(self, free: usize) -> Self {
        let word = FreeField::set(self.0, free as u64);
        Self(if free == 0 { LargestField::set(word, 0) } else { word })
    }

    /// How many blocks the run that begins here has; 1 for every other block.
    #[inline(always)]
    pub(in crate::memory) fn blocks(self) -> usize {
        match (self.kind(), self.order()) {
            (Kind::Buddy | Kind::Transit | Kind::Huge | Kind::Cached, Some(order)) => order.blocks(),
            _ => 1,
        }
    }

    /// Buddy, Transit, Huge and Cached: the order of the run.
    #[inline(always)]
    pub(in crate::memory) const fn order(self) -> Option<Order> {
        Order::new(OrderField::get(self.0) as u8)
    }

    /// Takes up to `want` frames from the count, and at least one.
    #[inline(always)]
    pub(in crate::memory) fn take_up_to(self, want: usize) -> Option<Self> {
        let free = self.free();
        (self.is_frames() && free > 0 && want > 0).then(|| self.with_free(free - free.min(want)))
    }

    /// Takes exactly `count` frames from the count.
    #[inline(always)]
    pub(in crate::memory) fn take(self, count: usize) -> Option<Self> {
        let rest = self.free().checked_sub(count)?;
        self.is_frames().then(|| self.with_free(rest))
    }

    /// Reserves the block for one CPU's allocations. It then stays in the table, even when it is free as a whole: otherwise a CPU that
    /// allocates and frees the same frames would move the block to the buddy and back each time.
    #[inline(always)]
    pub(in crate::memory) fn reserve(self) -> Option<Self> {
        (self.is_frames() && !self.is_reserved()).then(|| Self(ReservedField::set(self.0, 1)))
    }

    /// Ends [`reserve`](Self::reserve).
    pub(in crate::memory) fn release(self) -> Option<Self> {
        (self.is_frames() && self.is_reserved())
            .then(|| Self(ReservedField::set(self.0, 0)).retired_if_free())
    }

    /// Adds `count` frames to the count. Their bits are set already, and none of them is in a larger run than `largest`.
    #[inline(always)]
    pub(in crate::memory) fn put(self, count: usize, largest: Order) -> Option<Self> {
        let free = self.free() + count;
        (self.is_frames() && free <= self.managed()).then(|| {
            Self(FreeField::set(self.0, free as u64))
                .with_largest(self.largest().max(largest))
                .retired_if_free()
        })
    }

    /// [`put`](Self::put) where nothing but the count changes: the block [is whole and not reserved](Self::is_whole_unreserved), and
    /// available before and after it, with runs of `largest`.
    #[inline(always)]
    pub(in crate::memory) fn put_alone(self, count: usize, largest: Order) -> Option<Self> {
        let free = self.free() + count;
        (self.free() > 0 && free < FRAMES_PER_BLOCK && self.largest() >= largest)
            .then(|| Self(self.0 + FreeField::set(0, count as u64)))
    }

    /// Adds `count` managed frames. They are not free until [`put`](Self::put).
    pub(in crate::memory) fn adopt(self, count: usize) -> Option<Self> {
        let managed = self.managed() + count;
        (self.is_frames() && managed <= FRAMES_PER_BLOCK)
            .then(|| Self(ManagedField::set(self.0, managed as u64)))
    }

    /// A block that is not reserved and whose frames are all free leaves the table in the same step: no other CPU can then take from it,
    /// or retire it as well.
    #[inline(always)]
    fn retired_if_free(self) -> Self {
        if self.free() == FRAMES_PER_BLOCK && !self.is_reserved() {
            Self::transit(Order::BLOCK)
        } else {
            self
        }
    }
}

/// Loads the state.
#[inline(always)]
pub(in crate::memory) fn load(cell: &AtomicU64) -> State {
    State(cell.load(Ordering::Acquire))
}

/// Stores the state. Only for a word that no other CPU changes: `Blank` under the lock of the zone, and `Transit`.
#[inline(always)]
pub(in crate::memory) fn store(cell: &AtomicU64, state: State) {
    cell.store(state.0, Ordering::Release);
}

/// Replaces one state by another, if the word has the first one; whether it had.
#[inline(always)]
pub(in crate::memory) fn replace(cell: &AtomicU64, old: State, new: State) -> bool {
    cell.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Runs a transition on the shared word. Returns the states before and after it, or `None` if it is not allowed now.
///
/// Each failed round is the success of another CPU, so the loop is lock-free.
#[inline(always)]
pub(in crate::memory) fn update(
    cell: &AtomicU64,
    transition: impl Fn(State) -> Option<State>,
) -> Option<(State, State)> {
    let mut old = cell.load(Ordering::Relaxed);
    loop {
        let new = transition(State(old))?;
        match cell.compare_exchange_weak(old, new.0, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Some((State(old), new)),
            Err(now) => old = now,
        }
    }
}
