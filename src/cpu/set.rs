//! Sets of CPUs: a bitmap of [`MAX_CPUS`] bits.

use super::CpuId;
use crate::config::MAX_CPUS;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = (MAX_CPUS as usize).div_ceil(WORD_BITS);

/// A set of CPUs. It has 512 bytes for 4,096 CPUs, so it is passed by reference. Operations scan only up to its highest
/// member.
#[derive(Clone, PartialEq, Eq)]
pub struct CpuSet {
    words: [u64; WORDS],
    /// One past the last word that is not 0.
    end: usize,
}

impl CpuSet {
    /// The empty set.
    pub const EMPTY: CpuSet = CpuSet { words: [0; WORDS], end: 0 };

    /// Returns the set that contains only `cpu`.
    ///
    /// # Panics
    /// As [`CpuSet::insert`].
    #[track_caller]
    pub fn of(cpu: CpuId) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        set.insert(cpu);
        set
    }

    /// Adds a CPU. Returns whether it was not in the set before.
    ///
    /// # Panics
    /// If its number is [`MAX_CPUS`] or above. The kernel assigns no such number.
    #[track_caller]
    pub fn insert(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = bit_position(cpu);
        assert!(word < WORDS, "there is no CPU {cpu}: MAX_CPUS is {MAX_CPUS}");
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.end = self.end.max(word + 1);
        is_new
    }

    /// Removes a CPU. Returns whether it was in the set.
    pub fn remove(&mut self, cpu: CpuId) -> bool {
        let was_in = self.contains(cpu);
        if was_in {
            let (word, bit) = bit_position(cpu);
            self.words[word] &= !bit;
            while self.end > 0 && self.words[self.end - 1] == 0 {
                self.end -= 1;
            }
        }
        was_in
    }

    /// Returns whether the set contains a CPU.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = bit_position(cpu);
        word < self.end && self.words[word] & bit != 0
    }

    /// Returns what the set contains besides this CPU.
    #[inline]
    pub(crate) fn others_than(&self, cpu: CpuId) -> Others {
        let (own, bit) = bit_position(cpu);
        let others_in = |index: usize| match self.words[index] & if index == own { !bit } else { !0 } {
            0 => Others::None,
            bits if bits & (bits - 1) == 0 => {
                Others::One(CpuId((index * WORD_BITS) as u32 + bits.trailing_zeros()))
            }
            _ => Others::Several,
        };
        // Most machines have no more CPUs than a word has bits.
        if self.end <= 1 {
            return others_in(0);
        }
        let mut words = (0..self.end.min(WORDS)).map(others_in).filter(|others| *others != Others::None);
        match (words.next(), words.next()) {
            (None, _) => Others::None,
            (Some(one), None) => one,
            _ => Others::Several,
        }
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.used().iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Returns the members in ascending order.
    #[inline]
    pub fn iter(&self) -> Members<'_> {
        Members { set: self, word: 0, bits: self.words[0] }
    }

    #[inline]
    fn used(&self) -> &[u64] {
        &self.words[..self.end.min(WORDS)]
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

impl core::fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter().map(|cpu| cpu.0)).finish()
    }
}

/// What a [`CpuSet`] contains besides one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nothing.
    None,
    /// One other CPU.
    One(CpuId),
    /// At least two.
    Several,
}

/// The members of a [`CpuSet`], in ascending order.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    set: &'a CpuSet,
    /// The index of the current word.
    word: usize,
    /// The bits of the current word whose members are left.
    bits: u64,
}

impl Iterator for Members<'_> {
    type Item = CpuId;

    #[inline]
    fn next(&mut self) -> Option<CpuId> {
        while self.bits == 0 {
            let next = self.word + 1;
            self.bits = *self.set.words.get(next).filter(|_| next < self.set.end)?;
            self.word = next;
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(CpuId((self.word * WORD_BITS) as u32 + bit))
    }
}

#[inline]
fn bit_position(cpu: CpuId) -> (usize, u64) {
    (cpu.index() / WORD_BITS, 1 << (cpu.index() % WORD_BITS))
}

#[cfg(test)]
mod tests;
