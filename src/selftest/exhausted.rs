//! Exhausted memory, for parts that check what happens then.

use crate::memory::FrameRange;
use crate::memory::frames::{FrameNumber, Order};

/// All frames of the machine, until it is dropped.
pub(super) struct Exhausted {
    runs: heapless::Vec<FrameRange, 64>,
    chain: Chain,
}

impl Exhausted {
    /// Allocates every frame.
    ///
    /// **Context:** thread, interrupts on.
    pub(super) fn new() -> Exhausted {
        let mut all = Exhausted { runs: heapless::Vec::new(), chain: Chain::default() };
        // Whole runs first, as far as there is room for their handles; then frame by frame, each with the one before it in its first word.
        for order in (9..=18).rev().filter_map(Order::new) {
            while !all.runs.is_full()
                && let Some(run) = FrameRange::alloc(order)
            {
                let _ = all.runs.push(run);
            }
        }
        while let Some(run) = FrameRange::alloc(Order::FRAME) {
            all.chain.push(run);
        }
        all
    }

    /// Takes a single frame out.
    pub(super) fn pop(&mut self) -> Option<FrameRange> {
        self.chain.pop()
    }
}

/// Single frames, linked by their first words.
#[derive(Default)]
struct Chain {
    last: Option<FrameRange>,
}

impl Chain {
    fn push(&mut self, mut frame: FrameRange) {
        let word = match self.last.take() {
            Some(last) => last.into_raw().0.get() as u64,
            None => u64::MAX,
        };
        let memory = frame.zero();
        memory[..8].copy_from_slice(&word.to_ne_bytes());
        self.last = Some(frame);
    }

    fn pop(&mut self) -> Option<FrameRange> {
        let frame = self.last.take()?;
        // SAFETY: `push` has filled the frame, so its first word is initialised.
        let word = unsafe { frame.as_ptr().cast::<u64>().read() };
        if word != u64::MAX {
            let number = FrameNumber::new(word as usize);
            // SAFETY: `push` left this frame without a handle; it is single, and each is linked once.
            self.last = Some(unsafe { FrameRange::from_raw(number, 1) });
        }
        Some(frame)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
