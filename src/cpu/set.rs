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
    pub fn of(cpu: CpuId) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        set.insert(cpu);
        set
    }

    /// Adds a CPU. Returns whether it was not in the set before.
    ///
    /// # Panics
    /// If its number is [`MAX_CPUS`] or above. The kernel assigns no such number.
    pub fn insert(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = bit_position(cpu);
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
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + Clone + '_ {
        self.used()
            .iter()
            .enumerate()
            .flat_map(|(index, word)| Bits(*word).map(move |bit| CpuId((index * WORD_BITS) as u32 + bit)))
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

/// The set bits of a word, lowest first.
#[derive(Clone)]
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[inline]
fn bit_position(cpu: CpuId) -> (usize, u64) {
    (cpu.index() / WORD_BITS, 1 << (cpu.index() % WORD_BITS))
}

#[cfg(test)]
mod tests;
