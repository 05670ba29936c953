//! The shared buddies: one for all memory at first, then one for each arena, each behind its own lock.
//!
//! The tables that tell nodes apart lie in memory that must be managed to be read. So the allocator begins undivided, and
//! [`divide`](Frames::divide) deals what is free in it out to the arenas, once, piece by piece. What is in use then is
//! freed to the arena that its address lies in, as everything is.

use super::allocator::Frames;
use super::buddy::Buddy;
use super::number::{BlockNumber, FrameNumber, Order};
use super::state::Kind;
use super::sync::Lock;
use super::zone_layout::{ArenaName, NodeId, Partition, Zone};
use core::fmt;
use core::ops::Range;
use crossbeam_utils::CachePadded;

/// What an arena's lock guards, besides every state word of its blocks that leaves `Buddy` or `Huge`.
pub(in crate::memory) struct Locked {
    pub(in crate::memory) buddy: Buddy,
}

/// An arena's free blocks.
pub struct Arena(CachePadded<Lock<Locked>>);

impl Arena {
    pub(in crate::memory) fn new(direct_map_base: usize) -> Self {
        Self(CachePadded::new(Lock::new(Locked { buddy: Buddy::new(direct_map_base) })))
    }
}

/// How memory is divided, and the arenas.
pub(in crate::memory) struct Division {
    partition: &'static Partition,
    arenas: &'static [Arena],
}

/// Where a search may go, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Scope {
    /// The node that is asked first.
    pub(in crate::memory) home: NodeId,
    /// Whether no other is asked.
    pub(in crate::memory) only_home: bool,
    /// The highest zone.
    pub(in crate::memory) zone: Zone,
}

impl Scope {
    /// All memory, by its distance from this node.
    pub(in crate::memory) const fn from(home: NodeId) -> Self {
        Self { home, only_home: false, zone: Zone::Normal }
    }

    fn includes(&self, name: ArenaName) -> bool {
        name.zone <= self.zone && (!self.only_home || name.node == self.home)
    }
}

/// Why memory was not divided. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivideError {
    /// It is divided already.
    Twice,
    /// There are more arenas in the partition than there is room for.
    TooFewArenas {
        /// For how many there is.
        limit: usize,
    },
    /// A run that was handed out lies on both sides of a border.
    AcrossBorder {
        /// The first frame past the border.
        frame: FrameNumber,
        /// The run's order.
        order: Order,
    },
}

impl fmt::Display for DivideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Twice => f.write_str("memory is divided already"),
            Self::TooFewArenas { limit } => write!(f, "more than {limit} arenas"),
            Self::AcrossBorder { frame, order } => {
                write!(f, "a run of {order} in use lies on both sides of {frame}")
            }
        }
    }
}

impl core::error::Error for DivideError {}

impl Frames {
    /// An arena for [`divide`](Self::divide).
    pub fn new_arena(&self) -> Arena {
        Arena::new(self.direct_map_base)
    }

    /// Cuts memory into arenas: from here on each CPU is served from where its magazine's
    /// [home](super::Magazine::set_home) is nearest to, and requests may name a zone or a node. Once. Interrupts are off.
    /// Takes a time that grows with the number of free pieces.
    ///
    /// # Errors
    /// What speaks against it.
    ///
    /// # Safety
    /// No other CPU is in a call on this allocator, nor comes to one, until this has returned: it would look for blocks
    /// under another lock.
    pub unsafe fn divide(
        &self,
        partition: &'static Partition,
        arenas: &'static [Arena],
    ) -> Result<(), DivideError> {
        if self.division.get().is_some() {
            return Err(DivideError::Twice);
        }
        if arenas.len() < partition.arenas().len() {
            return Err(DivideError::TooFewArenas { limit: arenas.len() });
        }
        for border in partition.borders() {
            let state = self.table.state(border);
            if let (Kind::Huge, Some(order)) = (state.kind(), state.order())
                && border.head(order) != border
            {
                return Err(DivideError::AcrossBorder { frame: border.first_frame(), order });
            }
        }
        let mut undivided = self.undivided.0.lock();
        for order in (Order::BLOCK.get()..=Order::MAX.get()).rev().filter_map(Order::new) {
            while let Some(first) = undivided.buddy.take(order) {
                let mut blocks = first.0..first.0 + order.blocks();
                let is_cut = partition.blocks_in_arena_from(first) < blocks.len();
                while !blocks.is_empty() {
                    let first = BlockNumber(blocks.start);
                    let within = partition.blocks_in_arena_from(first).min(blocks.len());
                    let order = Order::largest_at(first, within);
                    let mut locked = arenas[partition.arena_of(first)].0.lock();
                    // The order in a state must not reach across a border.
                    if is_cut {
                        self.table.mark_in_buddy(first, order);
                    }
                    // SAFETY: the piece was in the other buddy, so it is aligned, mapped and free; the caller keeps everything else
                    // from it meanwhile. Pieces of one buddy have been merged as far as they go.
                    unsafe { locked.buddy.push(first, order) };
                    blocks.start += order.blocks();
                }
            }
        }
        self.division.call_once(|| Division { partition, arenas });
        Ok(())
    }

    /// How memory is divided, once it is.
    pub fn partition(&self) -> Option<&Partition> {
        self.division.get().map(|division| division.partition)
    }

    /// The words that tell which CPU holds a lock of the allocator's.
    #[cfg(target_os = "none")]
    pub fn lock_owners(&self) -> impl Iterator<Item = &crate::sync::LockOwner> {
        let divided = self.division.get().map_or(&[][..], |division| division.arenas);
        let arenas = core::iter::once(&self.undivided).chain(divided);
        arenas.map(|arena| arena.0.owner()).chain([self.taking_in.owner()])
    }

    /// The lock of the buddy that this block goes to when it is free.
    #[inline(always)]
    pub(in crate::memory) fn locked(&self, block: BlockNumber) -> &Lock<Locked> {
        match self.division.get() {
            None => &self.undivided.0,
            Some(division) => &division.arenas[division.partition.arena_of(block)].0,
        }
    }

    /// Calls `f` with one arena after the other, the nearest first, until it returns something.
    #[inline(always)]
    pub(in crate::memory) fn find_in_arenas<R>(
        &self,
        scope: Scope,
        mut f: impl FnMut(Place<'_>) -> Option<R>,
    ) -> Option<R> {
        let Some(Division { partition, arenas }) = self.division.get() else {
            // Nothing is known of zones and nodes yet.
            let everywhere = scope.zone == Zone::Normal && !scope.only_home;
            return everywhere.then(|| Place { locked: &self.undivided.0, within: None }).and_then(f);
        };
        for arena in partition.plan(scope.home).iter().map(|&arena| usize::from(arena)) {
            if scope.includes(partition.arenas()[arena])
                && let Some(found) = f(Place { locked: &arenas[arena].0, within: Some((partition, arena)) })
            {
                return Some(found);
            }
        }
        None
    }

    /// Every arena, or all memory as one.
    pub(in crate::memory) fn places(&self) -> impl Iterator<Item = (Option<ArenaName>, Place<'_>)> {
        let division = self.division.get();
        let undivided = division.is_none().then(|| (None, Place { locked: &self.undivided.0, within: None }));
        let arenas = division.into_iter().flat_map(|Division { partition, arenas }| {
            partition.arenas().iter().zip(*arenas).enumerate().map(move |(arena, (name, Arena(locked)))| {
                (Some(*name), Place { locked, within: Some((partition, arena)) })
            })
        });
        undivided.into_iter().chain(arenas)
    }
}

/// An arena, or all memory while it is not divided.
#[derive(Clone, Copy)]
pub(in crate::memory) struct Place<'a> {
    pub(in crate::memory) locked: &'a Lock<Locked>,
    within: Option<(&'a Partition, usize)>,
}

impl<'a> Place<'a> {
    /// Its blocks, in ascending order. `all` are those of the table.
    #[inline]
    pub(in crate::memory) fn spans(self, all: Range<BlockNumber>) -> Spans<'a> {
        Spans { within: self.within, all: Some(all), region: 0 }
    }

    /// Whether a piece lies in it, as far as it reaches.
    pub(in crate::memory) fn has(self, first: BlockNumber, order: Order) -> bool {
        self.within.is_none_or(|(partition, arena)| partition.is_within(arena, first, order.blocks()))
    }
}

/// The runs of blocks of a [`Place`]. A plain loop: in checked builds a chain of adapters costs an interrupt's stack.
pub(in crate::memory) struct Spans<'a> {
    within: Option<(&'a Partition, usize)>,
    all: Option<Range<BlockNumber>>,
    /// The next region to look at.
    region: usize,
}

impl Iterator for Spans<'_> {
    type Item = Range<BlockNumber>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some((partition, arena)) = self.within else { return self.all.take() };
        while let Some((owner, span)) = partition.region(self.region) {
            self.region += 1;
            if owner == arena {
                return Some(span);
            }
        }
        None
    }
}
