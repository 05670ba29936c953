//! The state word of a block, and all its transitions.
//!
//! A [`State`] is a bit field. Its transitions are pure functions from the old word to the new one, or to `None` if the transition is not
//! allowed. They compose (`state.reserve()?.take_up_to(64)`). [`update`] runs them on the shared word: no other file does a
//! compare-and-swap on it.
//!
//! ```text
//!             insert            take (under the lock)        publish
//!   Absent ───────────► Buddy ─────────────────────► Transit ────────► Frames
//!     │                 │  ▲ ◄───────────────────────  │ ▲                │ ▲
//!     │     alloc ≥ 9   ▼  │ free ≥ 9    give          └─┴────────────────┘ │
//!     │        ┌──────► Huge                   all 512 free, not reserved   │
//!     │  take  │  cache │ └─────────── a part of it is freed ───────────────┤
//!     │        └Cached ◄┘ ───► Buddy                                        │
//!     └────────────────── insert of less than a block ──────────────────────┘
//! ```
//! A word changes from and to `Buddy` and `Huge` only under the lock of the block's zone, and leaves `Absent` only under the lock of
//! `insert`. Within `Frames`, and from there to `Transit`, any CPU changes it by compare-and-swap. The CPU that frees a block of order 9
//! takes it from `Huge` to `Cached` by compare-and-swap, so that of two CPUs that free it one is refused. From there only that CPU changes
//! it: back to `Huge` when it allocates the block again, or under the lock to `Buddy` when it drains its cache.
//!
//! **Count first.** An allocation lowers `free` by what it takes, then collects that many bits from the bitmap. A free sets the bits first,
//! then raises `free`. So at any moment *bits set >= free + frames taken but not yet collected*: an allocation finds its bits, and
//! `free` = 512 implies that no allocation is between the two steps, so the transition to `Transit` needs no further check.

use super::number::{FRAMES_PER_BLOCK, Order};
use super::sync::{AtomicU64, Ordering};

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) enum Kind {
    /// No frame of it is managed.
    Absent,
    /// Free as a whole, in the buddy.
    Buddy,
    /// Free as a whole, moved between buddy and table by one CPU.
    Transit,
    /// Its frames are allocated by its bitmap.
    Frames,
    /// Part of an allocation of order 9 or above.
    Huge,
    /// Free as a whole, cached by one CPU for its next allocation of order 9.
    Cached,
    /// A word that no transition produces.
    Corrupt,
}

/// A field of the word: `BITS` bits from bit `LOW` up.
struct Field<const LOW: u32, const BITS: u32>;

impl<const LOW: u32, const BITS: u32> Field<LOW, BITS> {
    const MAX: u64 = u64::MAX >> (64 - BITS);
    const MASK: u64 = Self::MAX << LOW;

    #[inline(always)]
    const fn get(word: u64) -> u64 {
        (word >> LOW) & Self::MAX
    }

    #[inline(always)]
    const fn set(word: u64, value: u64) -> u64 {
        (word & !Self::MASK) | (value << LOW)
    }
}

type KindField = Field<0, 3>;
type ReservedField = Field<3, 1>;
type OrderField = Field<4, 5>;
type FreeField = Field<12, 10>;
type ManagedField = Field<22, 10>;
type MaskField = Field<32, 32>;

const ABSENT: u64 = 0;
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
    let fields = [
        KindField::MASK,
        ReservedField::MASK,
        OrderField::MASK,
        FreeField::MASK,
        ManagedField::MASK,
        MaskField::MASK,
    ];
    let mut seen = 0;
    let mut index = 0;
    while index < fields.len() {
        assert!(seen & fields[index] == 0, "fields overlap");
        seen |= fields[index];
        index += 1;
    }
    // Zeroed metadata must read as a table of absent blocks.
    assert!(State::ABSENT.0 == 0);
};

/// A block's state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::memory) struct State(u64);

impl State {
    pub(in crate::memory) const ABSENT: Self = Self(ABSENT);
    pub(in crate::memory) const BUDDY: Self = Self(BUDDY);

    /// The first block of a free run of this order, as it was put into the buddy. All its blocks stay in the buddy until the first one
    /// leaves: a larger run is split from its lower end.
    pub(in crate::memory) const fn buddy(order: Order) -> Self {
        Self(OrderField::set(BUDDY, order.get() as u64))
    }

    /// Buddy: how many blocks from this one on are in the buddy, at least.
    pub(in crate::memory) fn free_blocks(self) -> usize {
        match self.order() {
            Some(order) if order >= Order::BLOCK => order.blocks(),
            _ => 1,
        }
    }

    /// A block that one CPU moves, as part of a run of this order.
    pub(in crate::memory) const fn transit(order: Order) -> Self {
        Self(OrderField::set(TRANSIT, order.get() as u64))
    }

    /// A block of an allocation of this order, 9 or above.
    pub(in crate::memory) const fn huge(order: Order) -> Self {
        Self(OrderField::set(HUGE, order.get() as u64))
    }

    /// A block whose frames are all managed, and of which this many are free.
    pub(in crate::memory) const fn whole(free: usize) -> Self {
        Self(FreeField::set(ManagedField::set(FRAMES, ALL), free as u64))
    }

    /// A block of which no frame is managed yet. `mask` is the index of the mask that will say which are.
    pub(in crate::memory) const fn partial(mask: usize) -> Self {
        Self(MaskField::set(FRAMES, mask as u64))
    }

    #[inline(always)]
    pub(in crate::memory) const fn kind(self) -> Kind {
        match KindField::get(self.0) {
            ABSENT => Kind::Absent,
            BUDDY => Kind::Buddy,
            TRANSIT => Kind::Transit,
            FRAMES => Kind::Frames,
            CACHED => Kind::Cached,
            HUGE if matches!(self.order(), Some(order) if order.get() >= Order::BLOCK.get()) => Kind::Huge,
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

    /// Huge and Transit: the order of the run that the block is part of. Buddy: see [`buddy`](Self::buddy).
    #[inline(always)]
    pub(in crate::memory) const fn order(self) -> Option<Order> {
        Order::new(OrderField::get(self.0) as u8)
    }

    /// Takes up to `want` frames from the count, and at least one.
    #[inline(always)]
    pub(in crate::memory) fn take_up_to(self, want: usize) -> Option<Self> {
        let free = self.free();
        (self.is_frames() && free > 0 && want > 0)
            .then(|| Self(FreeField::set(self.0, (free - free.min(want)) as u64)))
    }

    /// Takes exactly `count` frames from the count.
    #[inline(always)]
    pub(in crate::memory) fn take(self, count: usize) -> Option<Self> {
        let rest = self.free().checked_sub(count)?;
        self.is_frames().then(|| Self(FreeField::set(self.0, rest as u64)))
    }

    /// Reserves the block for one CPU's allocations. It then stays in the table, even when it is free as a whole: otherwise a CPU that
    /// allocates and frees the same frames would move the block to the buddy and back each time.
    #[inline(always)]
    pub(in crate::memory) fn reserve(self) -> Option<Self> {
        (self.is_frames() && !self.is_reserved()).then(|| Self(ReservedField::set(self.0, 1)))
    }

    /// Caches a block that was allocated alone. The CPU that makes this transition is the only one that frees the block.
    #[inline(always)]
    pub(in crate::memory) fn cache(self) -> Option<Self> {
        (self == Self::huge(Order::BLOCK)).then_some(Self(CACHED))
    }

    /// Turns an allocated block into 512 allocated frames.
    pub(in crate::memory) fn split(self) -> Option<Self> {
        (self.kind() == Kind::Huge).then_some(Self::whole(0))
    }

    /// Ends [`reserve`](Self::reserve).
    pub(in crate::memory) fn release(self) -> Option<Self> {
        (self.is_frames() && self.is_reserved())
            .then(|| Self(ReservedField::set(self.0, 0)).retired_if_free())
    }

    /// Adds `count` frames to the count. Their bits are set already.
    #[inline(always)]
    pub(in crate::memory) fn put(self, count: usize) -> Option<Self> {
        let free = self.free() + count;
        (self.is_frames() && free <= self.managed())
            .then(|| Self(FreeField::set(self.0, free as u64)).retired_if_free())
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

/// Stores the state. Only for a word that no other CPU changes: one that leaves `Absent`, `Buddy`, `Huge`, `Cached` or `Transit`.
#[inline(always)]
pub(in crate::memory) fn store(cell: &AtomicU64, state: State) {
    cell.store(state.0, Ordering::Release);
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
