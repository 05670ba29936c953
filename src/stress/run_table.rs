//! The table of the runs that all CPUs of a workload hold, and the fragmentation of the memory that they do not hold.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Order};

/// The table: a word for each frame, so that there is room whatever the orders are, and two counts for each block of 2 MiB.
#[derive(Clone, Copy)]
pub struct RunTable<'a> {
    /// The runs. A workload decides which CPU uses which word, and when.
    pub words: &'a [AtomicU64],
    /// The frames of each block that the allocator under test has.
    available: &'a [AtomicU64],
    /// The frames of each block that are held.
    held: &'a [AtomicU64],
}

impl<'a> RunTable<'a> {
    /// A table without room, for workloads that need none.
    pub const NONE: RunTable<'static> = RunTable { words: &[], available: &[], held: &[] };

    /// The numbers of words that [`new`](Self::new) needs, if all frames lie below `end`, and there are that many CPUs.
    pub const fn sizes(end: usize, cpus: usize) -> [usize; 3] {
        let blocks = end.div_ceil(FRAMES_PER_BLOCK);
        // Each CPU can have an equal part, rounded up.
        [end + cpus, blocks, blocks]
    }

    /// A table in this memory, which must be 0.
    pub fn new([words, available, held]: [&'a [AtomicU64]; 3]) -> RunTable<'a> {
        RunTable { words, available, held }
    }

    /// Makes it as new.
    pub fn clear(&self) {
        let all = self.words.iter().chain(self.available).chain(self.held);
        all.for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Counts a run's frames as the allocator's.
    pub(crate) fn add_available(&self, first: FrameNumber, order: Order) {
        add(self.available, first, order);
    }

    /// Counts a run's frames as held.
    pub(crate) fn add_held(&self, first: FrameNumber, order: Order) {
        add(self.held, first, order);
    }

    /// The fragmentation score in tenths of a percent, and no frame is counted as held afterwards. The caller ensures that no
    /// other CPU counts meanwhile.
    ///
    /// The score is 100 · free 2 MiB blocks / (free frames / 512), where frames are free that are not held. 0 if nothing is free.
    pub(crate) fn take_score(&self) -> u64 {
        let (mut free_blocks, mut free_frames) = (0, 0);
        for (available, held) in self.available.iter().zip(self.held) {
            let (available, held) = (available.load(Ordering::Relaxed), held.swap(0, Ordering::Relaxed));
            free_frames += available.saturating_sub(held);
            free_blocks += u64::from(available == FRAMES_PER_BLOCK as u64 && held == 0);
        }
        (1000 * free_blocks * FRAMES_PER_BLOCK as u64).checked_div(free_frames).unwrap_or(0)
    }
}

/// Adds a run's frames to the counts of its blocks.
fn add(counts: &[AtomicU64], first: FrameNumber, order: Order) {
    let block = first.get() / FRAMES_PER_BLOCK;
    let blocks = order.frames().div_ceil(FRAMES_PER_BLOCK);
    let each = order.frames().min(FRAMES_PER_BLOCK) as u64;
    for count in counts.iter().skip(block).take(blocks) {
        count.fetch_add(each, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: u8) -> Order {
        Order::new(order).unwrap()
    }

    #[test]
    fn the_score_is_the_share_of_free_frames_that_lie_in_free_blocks() {
        let memory: Vec<_> =
            RunTable::sizes(5 * 512, 1).map(|size| (0..size).map(|_| AtomicU64::new(0)).collect()).into();
        let memory: &[Vec<AtomicU64>; 3] = memory.as_slice().try_into().unwrap();
        let table = RunTable::new(memory.each_ref().map(Vec::as_slice));
        assert_eq!(table.take_score(), 0, "nothing is free");
        // Four whole blocks, and a quarter of a fifth one.
        table.add_available(FrameNumber::new(0), order(11));
        table.add_available(FrameNumber::new(4 * 512), order(7));
        // Four blocks of 4.25 blocks of free frames.
        assert_eq!(table.take_score(), 941);
        // One frame makes a block unusable, and two blocks are held.
        table.add_held(FrameNumber::new(3), order(0));
        table.add_held(FrameNumber::new(1024), order(10));
        // One block, and 511 + 128 frames.
        assert_eq!(table.take_score(), 1000 * 512 / (512 + 511 + 128));
        // They are not held any more.
        assert_eq!(table.take_score(), 941);
        table.clear();
        assert_eq!(table.take_score(), 0);
    }
}
