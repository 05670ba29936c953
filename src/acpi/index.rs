//! From a 32-bit ID to a place in a list: open addressing, so that a list of thousands takes linear time in any order.
//!
//! The hash is drawn from a family (multiply-shift: Dietzfelbinger et al., 1997), so no list of IDs is bad for all draws.

/// Finds entries of a list, which is the caller's, by their IDs. It holds places, no IDs.
#[derive(Debug)]
pub struct Index<'a> {
    /// One more than a place, or 0. A power of two.
    table: &'a mut [u16],
    /// How far to shift a hash.
    shift: u32,
    /// By which the hash multiplies; odd.
    multiplier: u32,
}

/// More places than an index can name.
pub const MAX_ENTRIES: usize = u16::MAX as usize;

impl<'a> Index<'a> {
    /// How many words a list of so many entries takes: at most half of them are in use, so that searches are short.
    pub fn words_for(entries: usize) -> usize {
        (2 * entries.clamp(1, MAX_ENTRIES)).next_power_of_two()
    }

    /// An empty one, in [`words_for`](Self::words_for) as many entries as there will be. Of more words than a power of two
    /// the rest is not used. `seed` draws the hash: a number that the author of the list cannot know.
    pub fn new(words: &'a mut [u16], seed: u64) -> Index<'a> {
        // The finaliser of splitmix64 (Steele et al., 2014): neighbouring seeds draw unlike hashes.
        let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let multiplier = (mixed >> 32) as u32 | 1;
        let length = (words.len() + 1).next_power_of_two() / 2;
        let table = &mut words[..length];
        table.fill(0);
        Index { shift: 32 - length.max(1).trailing_zeros().min(31), table, multiplier }
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.table.fill(0);
    }

    /// The place of an entry with that ID; `id_at` returns the ID of the entry at a place.
    pub fn find(&self, id: u32, id_at: impl Fn(usize) -> u32) -> Option<usize> {
        self.search(id, id_at).ok()
    }

    /// Enters a place, unless there is an entry with that ID, whose place is returned then. A full index enters nothing.
    pub fn enter(&mut self, id: u32, place: usize, id_at: impl Fn(usize) -> u32) -> Option<usize> {
        match self.search(id, id_at) {
            Ok(known) => return Some(known),
            Err(Some(free)) if place < MAX_ENTRIES => self.table[free] = place as u16 + 1,
            Err(_) => {}
        }
        None
    }

    /// The place of the entry, else the free word at which it would be entered, if there is one.
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

    /// The number by which an odd one must be multiplied for 1.
    fn inverse(odd: u32) -> u32 {
        // Newton's iteration doubles the right bits: 5, 10, 20, 40.
        (0..4).fold(odd.wrapping_mul(3) ^ 2, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
    }

    #[test]
    fn a_list_of_thousands_is_searched_in_linear_time() {
        // All of these have the hash 0 for the multiplier of the seed 1.
        let multiplier = Index::new(&mut [0], 1).multiplier;
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
            let mut words = vec![0; Index::words_for(ids.len())];
            let mut index = Index::new(&mut words, seed);
            let looks = core::cell::Cell::new(0u64);
            let id_at = |place: usize| {
                looks.set(looks.get() + 1);
                ids[place]
            };
            for (place, id) in ids.iter().enumerate() {
                assert_eq!(index.enter(*id, place, id_at), None);
            }
            for (place, id) in ids.iter().enumerate() {
                assert_eq!(index.find(*id, id_at), Some(place));
            }
            assert!(looks.get() < 40 * ids.len() as u64, "{} comparisons", looks.get());
        }
    }

    #[test]
    fn a_full_index_or_one_without_words_finds_nothing_and_ends() {
        let mut words = [0; 2];
        let mut index = Index::new(&mut words, 7);
        let ids = [7, 8, 9];
        let id_at = |place: usize| ids[place];
        assert_eq!([0, 1, 2].map(|place| index.enter(ids[place], place, id_at)), [None; 3]);
        assert_eq!([0, 1, 2].map(|place| index.find(ids[place], id_at)), [Some(0), Some(1), None]);
        let mut index = Index::new(&mut [], 7);
        assert_eq!((index.enter(7, 0, id_at), index.find(7, id_at)), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn agrees_with_a_map(ids in prop::collection::vec(prop_oneof![0..40u32, any::<u32>()], 0..60)) {
            let mut words = vec![0; Index::words_for(ids.len())];
            let mut index = Index::new(&mut words, 7);
            let mut model = HashMap::new();
            for (place, id) in ids.iter().enumerate() {
                let known = index.enter(*id, place, |place| ids[place]);
                prop_assert_eq!(known, model.get(id).copied());
                model.entry(*id).or_insert(place);
            }
            for id in ids.iter().copied().chain([41, u32::MAX]) {
                prop_assert_eq!(index.find(id, |place| ids[place]), model.get(&id).copied());
            }
        }
    }
}
