//! A hash table from 32-bit IDs to positions in a list, with open addressing: a list of thousands takes linear time in
//! any order.
//!
//! The hash function is chosen at random from a family (multiply-shift: Dietzfelbinger et al., 1997), so no list of IDs
//! is slow for all choices.

/// Finds the entries of the caller's list by their IDs. It stores positions, not IDs.
#[derive(Debug)]
pub struct IdIndex<'a> {
    /// A position plus one, or 0. The length is a power of two.
    table: &'a mut [u16],
    /// The right shift of a hash.
    shift: u32,
    /// The multiplier of the hash; odd.
    multiplier: u32,
}

/// The number of entries that an index can hold.
pub const MAX_ENTRIES: usize = u16::MAX as usize;

impl<'a> IdIndex<'a> {
    /// Returns the number of words for a list of `entries` entries. At most half of them are used, so that searches are
    /// short.
    pub fn words_for(entries: usize) -> usize {
        (2 * entries.clamp(1, MAX_ENTRIES)).next_power_of_two()
    }

    /// Creates an empty index in [`words_for`](Self::words_for) the expected number of entries. If the number of words is
    /// not a power of two, the rest is unused. `seed` chooses the hash function; the author of the list must not know it.
    pub fn new(words: &'a mut [u16], seed: u64) -> IdIndex<'a> {
        // The finaliser of splitmix64 (Steele et al., 2014): similar seeds choose different hash functions.
        let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let multiplier = (mixed >> 32) as u32 | 1;
        let length = (words.len() + 1).next_power_of_two() / 2;
        let table = &mut words[..length];
        table.fill(0);
        IdIndex { shift: 32 - length.max(1).trailing_zeros().min(31), table, multiplier }
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.table.fill(0);
    }

    /// Returns the position of the entry with ID `id`. `id_at` returns the ID of the entry at a position.
    pub fn find(&self, id: u32, id_at: impl Fn(usize) -> u32) -> Option<usize> {
        self.search(id, id_at).ok()
    }

    /// Inserts the position `position` of an entry with ID `id`, unless there is an entry with this ID, whose position is
    /// returned. A full index inserts nothing.
    pub fn insert(&mut self, id: u32, position: usize, id_at: impl Fn(usize) -> u32) -> Option<usize> {
        match self.search(id, id_at) {
            Ok(known) => return Some(known),
            Err(Some(free)) if position < MAX_ENTRIES => self.table[free] = position as u16 + 1,
            Err(_) => {}
        }
        None
    }

    /// Returns the position of the entry, or the free word for it, if there is one.
    fn search(&self, id: u32, id_at: impl Fn(usize) -> u32) -> Result<usize, Option<usize>> {
        // The upper bits of the product are the well-mixed ones.
        let start = (id.wrapping_mul(self.multiplier) >> self.shift.min(31)) as usize;
        for step in 0..self.table.len() {
            let at = (start + step) % self.table.len();
            match self.table[at] {
                0 => return Err(Some(at)),
                word if id_at(usize::from(word) - 1) == id => return Ok(usize::from(word) - 1),
                _ => {}
            }
        }
        Err(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// The multiplicative inverse of an odd number.
    fn inverse(odd: u32) -> u32 {
        // Newton's iteration doubles the right bits: 5, 10, 20, 40.
        (0..4).fold(odd.wrapping_mul(3) ^ 2, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
    }

    #[test]
    fn a_list_of_thousands_is_searched_in_linear_time() {
        // All of these have the hash 0 for the multiplier of the seed 1.
        let multiplier = IdIndex::new(&mut [0], 1).multiplier;
        let alike = |id: u32| id.wrapping_mul(inverse(multiplier));
        assert_eq!(alike(4095).wrapping_mul(multiplier), 4095);
        for (seed, ids) in [
            (1, (0..4096u32).collect::<Vec<_>>()),
            (2, (0..4096).rev().collect()),
            (3, (0..4096).map(|id| id << 20).collect()),
            (4, (0..4096).map(|id| (id * 7919) % 20011).collect()),
            (5, (0..4096).map(alike).collect()),
            (6, (0..4096).map(alike).collect()),
        ] {
            let mut words = vec![0; IdIndex::words_for(ids.len())];
            let mut index = IdIndex::new(&mut words, seed);
            let comparisons = core::cell::Cell::new(0u64);
            let id_at = |position: usize| {
                comparisons.set(comparisons.get() + 1);
                ids[position]
            };
            for (position, id) in ids.iter().enumerate() {
                assert_eq!(index.insert(*id, position, id_at), None);
            }
            for (position, id) in ids.iter().enumerate() {
                assert_eq!(index.find(*id, id_at), Some(position));
            }
            assert!(comparisons.get() < 40 * ids.len() as u64, "{} comparisons", comparisons.get());
        }
    }

    #[test]
    fn a_full_index_or_one_without_words_finds_nothing_and_ends() {
        let mut words = [0; 2];
        let mut index = IdIndex::new(&mut words, 7);
        let ids = [7, 8, 9];
        let id_at = |position: usize| ids[position];
        assert_eq!([0, 1, 2].map(|position| index.insert(ids[position], position, id_at)), [None; 3]);
        assert_eq!([0, 1, 2].map(|position| index.find(ids[position], id_at)), [Some(0), Some(1), None]);
        let mut index = IdIndex::new(&mut [], 7);
        assert_eq!((index.insert(7, 0, id_at), index.find(7, id_at)), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn agrees_with_a_map(ids in prop::collection::vec(prop_oneof![0..40u32, any::<u32>()], 0..60)) {
            let mut words = vec![0; IdIndex::words_for(ids.len())];
            let mut index = IdIndex::new(&mut words, 7);
            let mut model = HashMap::new();
            for (position, id) in ids.iter().enumerate() {
                let known = index.insert(*id, position, |position| ids[position]);
                prop_assert_eq!(known, model.get(id).copied());
                model.entry(*id).or_insert(position);
            }
            for id in ids.iter().copied().chain([41, u32::MAX]) {
                prop_assert_eq!(index.find(id, |position| ids[position]), model.get(&id).copied());
            }
        }
    }
}
