//! The shared allocator of addresses: which segments of the region are in use. Pure.

/// One bit for each segment: set while it is in use.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    words: &'a mut [u64],
    /// The number of segments.
    count: u32,
    /// No segment of the words before this one is free.
    lowest: usize,
    /// The number of segments in use.
    used: u32,
}

const BITS: u32 = u64::BITS;

impl<'a> Segments<'a> {
    /// The number of words for so many segments.
    pub(super) const fn words_for(count: u32) -> usize {
        count.div_ceil(BITS) as usize
    }

    /// All segments free. The words are 0.
    ///
    /// # Panics
    /// If there are fewer words than [`words_for`](Self::words_for) returns.
    pub(super) fn new(words: &'a mut [u64], count: u32) -> Segments<'a> {
        assert!(words.len() >= Self::words_for(count));
        Segments { words, count, lowest: 0, used: 0 }
    }

    /// The number of segments in use.
    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    /// One more than the highest segment in use.
    pub(super) fn end(&self) -> u32 {
        let last = self.words.iter().rposition(|word| *word != 0);
        last.map_or(0, |index| index as u32 * BITS + (BITS - self.words[index].leading_zeros()))
    }

    /// Takes the lowest contiguous free segments, `count` of them. Returns the first.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        while self.words.get(self.lowest).is_some_and(|word| *word == u64::MAX) {
            self.lowest += 1;
        }
        let mut at = self.lowest as u32 * BITS;
        let mut run = 0;
        while at < self.count {
            let word = self.words[(at / BITS) as usize] >> (at % BITS);
            let left = BITS - at % BITS;
            // A whole run of used or of free segments of this word at once.
            let step = if word & 1 == 0 { word.trailing_zeros() } else { word.trailing_ones() }.min(left);
            run = if word & 1 == 0 { run + step } else { 0 };
            at += step;
            if run >= count {
                let first = at - run;
                if first + count > self.count {
                    return None;
                }
                words_of(first, count).for_each(|(index, mask)| self.words[index] |= mask);
                self.used += count;
                return Some(first);
            }
        }
        None
    }

    /// Frees contiguous segments.
    pub(super) fn release(&mut self, first: u32, count: u32) {
        words_of(first, count).for_each(|(index, mask)| self.words[index] &= !mask);
        self.used -= count;
        self.lowest = self.lowest.min((first / BITS) as usize);
    }
}

/// The words of contiguous segments, at least one, and the segments' bits in each.
fn words_of(first: u32, count: u32) -> impl Iterator<Item = (usize, u64)> {
    let last = first + count - 1;
    (first / BITS..=last / BITS).map(move |index| {
        let (low, high) = (first.max(index * BITS) % BITS, last.min(index * BITS + BITS - 1) % BITS);
        (index as usize, u64::MAX << low & u64::MAX >> (BITS - 1 - high))
    })
}
