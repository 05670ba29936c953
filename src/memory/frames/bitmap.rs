//! The bitmap of a block: 512 bits in one cache line, 1 = free. The blocks of a gigabyte have one as well
//! ([`block_bits`](super::block_bits)).
//!
//! [`Bitmap`] has the shared operations; [`starts_of_runs`] and [`runs_by_order`] are their arithmetic. Counts are not here: a caller
//! lowers the count in the block's [state](super::state) before it takes bits, and raises it after it has set some.

use super::atomic_frame::AtomicFrame;
use super::number::{FRAMES_PER_BLOCK, FrameNumber, Order};
use super::sync::{AtomicU64, Ordering, spin_loop};

/// Bits in a word.
pub(in crate::memory) const WORD_BITS: usize = u64::BITS as usize;
/// Words in a block's bitmap.
pub(in crate::memory) const WORDS: usize = FRAMES_PER_BLOCK / WORD_BITS;

/// A block's bitmap.
#[repr(C, align(64))]
pub(in crate::memory) struct Bitmap {
    words: [AtomicU64; WORDS],
}

const _: () = assert!(FRAMES_PER_BLOCK == WORDS * WORD_BITS);

/// A run of free frames in a word, and the word at that moment.
#[derive(Clone, Copy)]
pub(in crate::memory) struct SeenRun {
    word: u64,
    /// Where it starts.
    bit: usize,
    /// All of its bits.
    run: u64,
}

impl Bitmap {
    /// A bitmap with nothing free.
    pub(in crate::memory) fn new() -> Self {
        Self { words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Sets the bits from index `first` on and clears those below. No other CPU uses the bitmap meanwhile.
    pub(in crate::memory) fn reset_to_free_from(&self, first: usize) {
        for (index, word) in self.words.iter().enumerate() {
            let taken = first.saturating_sub(index * WORD_BITS);
            let bits = if taken >= WORD_BITS { 0 } else { u64::MAX << taken };
            word.store(bits, Ordering::Relaxed);
        }
    }

    /// All words, each read at its own moment.
    pub(in crate::memory) fn load(&self) -> [u64; WORDS] {
        core::array::from_fn(|index| self.word(index))
    }

    /// One word.
    #[inline(always)]
    pub(in crate::memory) fn word(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Relaxed)
    }

    /// Replaces one word. No other CPU writes it meanwhile.
    #[inline(always)]
    pub(in crate::memory) fn store(&self, index: usize, word: u64) {
        self.words[index].store(word, Ordering::Relaxed);
    }

    /// Whether no bit is set.
    pub(in crate::memory) fn is_empty(&self) -> bool {
        (0..WORDS).all(|index| self.word(index) == 0)
    }

    /// Sets the bits of `mask` in a word. Returns the word before.
    #[inline(always)]
    pub(in crate::memory) fn set(&self, index: usize, mask: u64) -> u64 {
        self.words[index].fetch_or(mask, Ordering::AcqRel)
    }

    /// The order, 0 to 8, of the largest aligned run that is free at this moment; 0 if none is.
    pub(in crate::memory) fn largest(&self) -> Order {
        let words = self.load();
        let within_words = words.iter().fold(Order::FRAME, |largest, &word| largest_in(word, largest));
        let orders = (Order::WORD.get()..Order::BLOCK.get()).filter_map(Order::new);
        let above = orders.rev().find(|&order| runs_by_order(&words, order) != 0);
        above.unwrap_or(within_words.min(Order::WORD))
    }

    /// Takes as many set bits as `out` has room for, and writes their frames there. Returns the word at which it stopped.
    ///
    /// The caller has lowered the count by so many, so the bits are there. If other CPUs move them meanwhile, another pass finds them;
    /// each pass that fails is the success of another CPU. `out` is filled from its end, so that a magazine pops ascending frames.
    pub(in crate::memory) fn collect(&self, start: usize, base: FrameNumber, out: &[AtomicFrame]) -> usize {
        let mut left = out.len();
        let mut index = start % WORDS;
        loop {
            let mut word = self.word(index);
            while word != 0 {
                let (rest, listed) = list(word, base + index * WORD_BITS, &out[..left]);
                match self.words[index].compare_exchange(word, rest, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => {
                        left -= listed;
                        break;
                    }
                    Err(now) => word = now,
                }
            }
            if left == 0 {
                return index;
            }
            index = (index + 1) % WORDS;
            if index == start % WORDS {
                spin_loop();
            }
        }
    }

    /// Sets the bits of `mask` in a word if none of them is set: all or nothing. Returns the word with them.
    #[inline(always)]
    pub(in crate::memory) fn set_if_clear(&self, index: usize, mask: u64) -> Option<u64> {
        let mut word = self.word(index);
        while word & mask == 0 {
            match self.words[index].compare_exchange_weak(
                word,
                word | mask,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(word | mask),
                Err(now) => word = now,
            }
        }
        None
    }

    /// The lowest aligned run of this order, 0 to 6, that is free in this word at this moment.
    #[inline(always)]
    pub(in crate::memory) fn see_run_in(&self, index: usize, order: Order) -> Option<SeenRun> {
        let word = self.word(index);
        lowest_run(word, order).map(|(bit, run)| SeenRun { word, bit, run })
    }

    /// Takes a run that was seen in this word if the word is as it was then; the index of its first frame.
    #[inline(always)]
    pub(in crate::memory) fn take_seen(&self, index: usize, seen: SeenRun) -> Option<usize> {
        let SeenRun { word, bit, run } = seen;
        self.words[index].compare_exchange(word, word & !run, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(index * WORD_BITS + bit)
    }

    /// Whether an aligned run of this order, 1 to 8, is free at this moment.
    pub(in crate::memory) fn has_run(&self, order: Order) -> bool {
        if order.frames() <= WORD_BITS {
            return (0..WORDS).any(|index| lowest_run(self.word(index), order).is_some());
        }
        runs_by_order(&self.load(), order) != 0
    }

    /// Whether an aligned run of this order, 0 to 8, is free in the first words at this moment.
    pub(in crate::memory) fn has_run_below(&self, words: usize, order: Order) -> bool {
        let mut all = self.load();
        all[words..].fill(0);
        runs_by_order(&all, order) != 0
    }

    /// Takes an aligned run of this order, 0 to 8, that lies in the first words; the index of its first frame.
    pub(in crate::memory) fn take_run_below(&self, words: usize, order: Order) -> Option<usize> {
        if order.frames() <= WORD_BITS {
            return (0..words).find_map(|index| self.take_run_in(index, order));
        }
        let span = order.frames() / WORD_BITS;
        (0..words).step_by(span).find(|&first| self.take_words_at(first, span)).map(|first| first * WORD_BITS)
    }

    /// Takes an aligned run of this order, 1 to 8; the index of its first frame.
    #[inline(always)]
    pub(in crate::memory) fn take_run(&self, start: usize, order: Order) -> Option<usize> {
        let index = start % WORDS;
        if order.frames() < WORD_BITS
            && let Some(first) = self.take_run_in(index, order)
        {
            return Some(first);
        }
        self.take_run_beyond(index, order)
    }

    /// [`take_run`](Self::take_run) where the first word has none.
    #[cold]
    #[inline(never)]
    fn take_run_beyond(&self, start: usize, order: Order) -> Option<usize> {
        if order.frames() > WORD_BITS {
            return self.take_words(order.frames() / WORD_BITS);
        }
        (0..WORDS).find_map(|step| self.take_run_in((start + step) % WORDS, order))
    }

    /// Takes an aligned run of this order, 1 to 6, in one word; the index of its first frame.
    #[inline(always)]
    pub(in crate::memory) fn take_run_in(&self, index: usize, order: Order) -> Option<usize> {
        let mut word = self.word(index);
        loop {
            let (bit, run) = lowest_run(word, order)?;
            let rest = word & !run;
            match self.words[index].compare_exchange(word, rest, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(index * WORD_BITS + bit),
                Err(now) => word = now,
            }
        }
    }

    /// Takes `span` aligned neighbouring words that are wholly free.
    fn take_words(&self, span: usize) -> Option<usize> {
        (0..WORDS).step_by(span).find(|&first| self.take_words_at(first, span)).map(|first| first * WORD_BITS)
    }

    /// Takes all of the words or none. Before it fails, it has cleared fewer bits than its caller has taken from the count, so no other
    /// CPU misses its own.
    fn take_words_at(&self, first: usize, span: usize) -> bool {
        if (first..first + span).any(|index| self.word(index) != u64::MAX) {
            return false;
        }
        for index in first..first + span {
            let taken =
                self.words[index].compare_exchange(u64::MAX, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if !taken {
                for undo in first..index {
                    self.set(undo, u64::MAX);
                }
                return false;
            }
        }
        true
    }
}

/// How many bits are set. A whole word is typical, and without POPCNT counting takes twenty instructions.
#[inline(always)]
pub(in crate::memory) fn count(bits: u64) -> usize {
    if bits == u64::MAX { WORD_BITS } else { count_ones(bits) }
}

/// A function of its own: the compiler would otherwise find that [`count`] needs no condition.
#[cold]
#[inline(never)]
fn count_ones(bits: u64) -> usize {
    bits.count_ones() as usize
}

/// Writes the frames of the lowest bits of `word` to `out`, from its end, as many as fit. Returns the remaining bits and how many were
/// written. It works by runs of bits, because frames that were freed together are adjacent.
fn list(word: u64, first: FrameNumber, out: &[AtomicFrame]) -> (u64, usize) {
    let mut rest = word;
    let mut room = out.len();
    if word == u64::MAX && room >= WORD_BITS {
        // The typical case.
        descend_chunks(out[room - WORD_BITS..].as_chunks().0, first);
        return (0, WORD_BITS);
    }
    while rest != 0 && room > 0 {
        let start = rest.trailing_zeros() as usize;
        let run = ((rest >> start).trailing_ones() as usize).min(room);
        descend(&out[room - run..room], first + start);
        room -= run;
        rest &= !((u64::MAX >> (WORD_BITS - run)) << start);
    }
    (rest, out.len() - room)
}

/// Fills `out` with consecutive frames, the first one last.
#[inline(always)]
fn descend(out: &[AtomicFrame], first: FrameNumber) {
    let mut next = first;
    let (mut rest, chunks) = out.as_rchunks();
    if !chunks.is_empty() {
        next = descend_chunks(chunks, next);
    }
    while let [shorter @ .., slot] = rest {
        slot.set(next);
        next = next + 1;
        rest = shorter;
    }
}

/// [`descend`] for whole chunks; the frame after them. A function of its own: the compiler would otherwise compute each number before
/// the loop, and store it on the stack.
#[inline(never)]
fn descend_chunks(out: &[[AtomicFrame; 16]], first: FrameNumber) -> FrameNumber {
    let mut next = first;
    for [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] in out.iter().rev() {
        // Written out, because the compiler does not unroll a loop when it optimises for size.
        a.set(next + 15);
        b.set(next + 14);
        c.set(next + 13);
        d.set(next + 12);
        e.set(next + 11);
        f.set(next + 10);
        g.set(next + 9);
        h.set(next + 8);
        i.set(next + 7);
        j.set(next + 6);
        k.set(next + 5);
        l.set(next + 4);
        m.set(next + 3);
        n.set(next + 2);
        o.set(next + 1);
        p.set(next);
        next = next + 16;
    }
    next
}

/// For each order, 0 to 6, the bits at which a run may start.
pub(super) const ALIGNED: [u64; 7] = [
    0xffff_ffff_ffff_ffff,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    0x0000_0000_0000_0001,
];

/// The lowest aligned run of 2^order set bits, order 0 to 6: the bit that it starts at, and all of its bits.
///
/// It has no loop over the order: it subtracts one from each group of bits of the complement. If a group is zero, its top bit shows the
/// borrow. The groups above the lowest such one are wrong because of the borrow, and are not used.
#[inline(always)]
pub(in crate::memory) fn lowest_run(word: u64, order: Order) -> Option<(usize, u64)> {
    let aligned = ALIGNED[order.get() as usize];
    let last = order.frames() - 1;
    let ends = (!word).wrapping_sub(aligned) & word & (aligned << last);
    if ends == 0 {
        return None;
    }
    let start = ends.trailing_zeros() as usize - last;
    Some((start, (u64::MAX >> (WORD_BITS - 1 - last)) << start))
}

/// The bits of `word` at which an aligned run of 2^order set bits starts, order 0 to 6.
pub(in crate::memory) const fn starts_of_runs(word: u64, order: Order) -> u64 {
    let mut runs = word;
    let mut shift = 1;
    // After a round, a bit stands for a run twice as long: it and its neighbour `shift` above were set.
    while shift < order.frames() {
        runs &= runs >> shift;
        shift *= 2;
    }
    runs & ALIGNED[order.get() as usize]
}

/// The order of the largest aligned run of set bits in a word; at least `known`. That of a word that is set as a whole is 8, because it
/// may be part of a larger run.
#[inline(always)]
pub(in crate::memory) fn largest_in(word: u64, known: Order) -> Order {
    if word == u64::MAX {
        return Order::BLOCK.half();
    }
    let mut largest = known;
    while largest < Order::WORD && lowest_run(word, largest.double()).is_some() {
        largest = largest.double();
    }
    largest
}

/// How many aligned runs of 2^order set bits there are, order 0 to 9, those inside longer ones counted as well.
pub(in crate::memory) fn runs_by_order(words: &[u64; WORDS], order: Order) -> usize {
    if order.frames() <= WORD_BITS {
        return words.iter().map(|&word| starts_of_runs(word, order).count_ones() as usize).sum();
    }
    words.chunks(order.frames() / WORD_BITS).filter(|span| span.iter().all(|&word| word == u64::MAX)).count()
}

/// How many maximal aligned runs of each order there are, those inside longer ones not counted.
pub(in crate::memory) fn maximal_runs(words: &[u64; WORDS]) -> [usize; Order::BLOCK.get() as usize + 1] {
    let runs: [usize; Order::BLOCK.get() as usize + 1] =
        core::array::from_fn(|order| Order::new(order as u8).map_or(0, |order| runs_by_order(words, order)));
    core::array::from_fn(|order| runs[order] - 2 * runs.get(order + 1).copied().unwrap_or(0))
}
