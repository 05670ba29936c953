//! Whether it is worth asking other CPUs for what they keep.

use super::Frames;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, Order};
use super::state::Kind;

impl Frames {
    /// Whether a run of `order` might come together if other CPUs gave back all that they keep, which is no more than
    /// `kept` frames, whole blocks left aside. `false` is certain of a run that nobody has any frame of throughout the
    /// call. Looks at every block's state where the order is 9 or above; any context.
    pub fn may_gain(&self, order: Order, kept: usize) -> bool {
        if order < Order::BLOCK {
            return kept > 0;
        }
        let heads = (0..self.table.blocks()).step_by(order.blocks());
        // No piece is made of two arenas' blocks.
        let in_one_arena = |head: &BlockNumber| {
            self.partition().is_none_or(|partition| order.blocks() <= partition.blocks_in_arena_from(*head))
        };
        let mut heads = heads.map(BlockNumber).filter(in_one_arena);
        kept > 0 && heads.any(|head| self.lacks_at_most(kept, head, order))
    }

    /// Whether of this piece no more frames than those are missing.
    fn lacks_at_most(&self, kept: usize, head: BlockNumber, order: Order) -> bool {
        let mut missing = 0;
        (head.0..head.0 + order.blocks()).map(BlockNumber).all(|block| {
            let state = self.table.state(block);
            missing += match state.kind() {
                Kind::Buddy | Kind::Transit | Kind::Kept => 0,
                Kind::Frames if state.is_whole() => FRAMES_PER_BLOCK - state.free(),
                Kind::Frames | Kind::Huge | Kind::Absent | Kind::Corrupt => return false,
            };
            missing <= kept
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Magazine;
    use super::super::host::World;
    use super::*;

    fn order(number: u8) -> Order {
        Order::new(number).unwrap()
    }

    /// Two magazines: one takes all, the other keeps a few frames and holds their block.
    #[test]
    fn what_others_keep_is_worth_asking_for_where_it_may_be_all_that_is_missing() {
        let world = World::new(4);
        let (mut keeper, mut taker) = (Magazine::new(), Magazine::new());
        let kept = world.frames.alloc(&mut keeper, Order::FRAME).unwrap();
        assert_eq!(world.frames.free(&mut keeper, kept, Order::FRAME), Ok(()));
        // Three blocks are free, the fourth is the keeper's.
        assert!(world.frames.may_gain(order(11), keeper.len()));
        assert!(!world.frames.may_gain(order(11), keeper.len() - 1), "not all that is missing");
        assert!(!world.frames.may_gain(order(11), 0), "nobody keeps anything");
        assert!(world.frames.may_gain(Order::FRAME, 1) && !world.frames.may_gain(Order::FRAME, 0));
        assert!(!world.frames.may_gain(order(12), usize::MAX), "there is not so much memory");

        let huge = world.frames.alloc(&mut taker, Order::BLOCK).unwrap();
        assert!(!world.frames.may_gain(order(11), usize::MAX), "one of the blocks is in use");
        assert!(!world.frames.may_gain(Order::BLOCK, 0) && world.frames.may_gain(Order::BLOCK, 1));
        assert_eq!(world.frames.free(&mut taker, huge, Order::BLOCK), Ok(()));
        assert_eq!(world.frames.drain(&mut keeper), Ok(()));
        assert!(world.frames.alloc(&mut taker, order(11)).is_some(), "what was promised is there");
    }

    #[test]
    fn a_block_that_is_managed_in_part_never_becomes_a_run() {
        let world = World::empty(2);
        assert_eq!(world.insert(0..700), Ok(700));
        assert!(!world.frames.may_gain(order(10), usize::MAX));
        assert!(world.frames.may_gain(Order::BLOCK, 1));
    }
}
