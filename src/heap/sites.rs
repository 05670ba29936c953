//! Call sites of a checked heap: each sequence of calls that has allocated or freed an object has an entry in a table, with the number of the objects
//! from there that are live. An object names its sites by their numbers.

use core::sync::atomic::{AtomicU64, Ordering};

/// Return addresses of a site: those of the heap, of Rust's `alloc`, and some of the program's.
pub(crate) const CALLS_IN_SITE: usize = crate::wire::CALLS_IN_SITE;

/// Entries that a search looks at.
const PROBES: usize = 64;

/// The hash of an entry that calls no longer find.
const CLOSED: u64 = 2;

/// An entry of the table. All of it is 0 at first.
#[repr(C)]
pub(crate) struct Site {
    /// What identifies the calls, an odd number; 0 if the entry is free, or [`CLOSED`].
    hash: AtomicU64,
    calls: [AtomicU64; CALLS_IN_SITE],
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Site {
    /// A free entry.
    pub(crate) const fn new() -> Site {
        let calls = [const { AtomicU64::new(0) }; CALLS_IN_SITE];
        Site { hash: AtomicU64::new(0), calls, objects: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

/// The number of a site. 0 is that of all sites for which the table has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SiteId(pub(super) u32);

/// What the table knows of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteCounts {
    /// Return addresses, innermost first; 0 behind the last one.
    pub(crate) calls: [u64; CALLS_IN_SITE],
    /// Objects that were allocated there and are live.
    pub(crate) objects: u64,
    /// The bytes that the program has asked for in these.
    pub(crate) bytes: u64,
}

/// The table. Its first entry is that of the sites without room.
#[derive(Clone, Copy)]
pub(crate) struct Sites<'a>(pub &'a [Site]);

impl Sites<'_> {
    /// The number of these calls, innermost first. A new site is entered.
    ///
    /// **Context:** any. It takes a bounded number of steps, and no lock.
    pub(crate) fn enter(self, calls: impl Iterator<Item = u64>) -> SiteId {
        let mut all = [0; CALLS_IN_SITE];
        all.iter_mut().zip(calls).for_each(|(slot, call)| *slot = call);
        let mix = |hash: u64, call: &u64| (hash ^ call).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let hash = all.iter().fold(0x2545_f491_4f6c_dd1d, mix) | 1;
        let Some(entries) = self.0.len().checked_sub(1).filter(|entries| *entries > 0) else {
            return SiteId::default();
        };
        for probe in 0..PROBES.min(entries) {
            let index = 1 + ((hash >> 20) as usize + probe) % entries;
            let site = &self.0[index];
            match site.hash.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                // Readers may find the calls incomplete for a moment. They only report them.
                Ok(_) => {
                    site.calls.iter().zip(all).for_each(|(slot, call)| slot.store(call, Ordering::Relaxed))
                }
                Err(found) if found != hash => continue,
                Err(_) => {}
            }
            return SiteId(index as u32);
        }
        SiteId::default()
    }

    /// What the table knows of a site. `None` for a number that it does not have.
    pub(crate) fn get(self, id: SiteId) -> Option<SiteCounts> {
        self.0.get(id.0 as usize).map(|site| SiteCounts {
            calls: core::array::from_fn(|at| site.calls[at].load(Ordering::Relaxed)),
            objects: site.objects.load(Ordering::Relaxed),
            bytes: site.bytes.load(Ordering::Relaxed),
        })
    }

    /// Counts an object of so many bytes that was allocated there.
    pub(super) fn allocated(self, id: SiteId, bytes: usize) {
        if let Some(site) = self.0.get(id.0 as usize) {
            site.objects.fetch_add(1, Ordering::Relaxed);
            site.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Counts the end of such an object.
    pub(super) fn freed(self, id: SiteId, bytes: usize) {
        if let Some(site) = self.0.get(id.0 as usize) {
            site.objects.fetch_sub(1, Ordering::Relaxed);
            site.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Closes all entries: the same calls have another one from now on, and [`live`](Self::live) leaves out what was allocated before. Objects
    /// keep their sites.
    pub(crate) fn close(self) {
        for site in self.0 {
            if site.hash.load(Ordering::Relaxed) != 0 {
                site.hash.store(CLOSED, Ordering::Relaxed);
            }
        }
    }

    /// The sites that have live objects, but for those that were closed.
    pub(crate) fn live(self) -> impl Iterator<Item = SiteCounts> {
        let is_open = move |id: &SiteId| {
            self.0.get(id.0 as usize).is_some_and(|site| site.hash.load(Ordering::Relaxed) != CLOSED)
        };
        let open = (0..self.0.len() as u32).map(SiteId).filter(is_open);
        open.filter_map(move |id| self.get(id)).filter(|site| site.objects > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: usize) -> Vec<Site> {
        (0..entries).map(|_| Site::new()).collect()
    }

    #[test]
    fn equal_calls_have_one_number_and_others_another() {
        let table = table(64);
        let sites = Sites(&table);
        let ids: Vec<_> = (1..20u64).map(|call| sites.enter([call, 7].into_iter())).collect();
        for (index, id) in ids.iter().enumerate() {
            assert_ne!(*id, SiteId::default());
            assert_eq!(sites.enter([index as u64 + 1, 7].into_iter()), *id);
            assert_eq!(sites.get(*id).unwrap().calls[..3], [index as u64 + 1, 7, 0]);
            assert!(ids[..index].iter().all(|other| other != id));
        }
        // Beyond what an entry has room for, calls do not count.
        let long = |last: u64| sites.enter((1..=CALLS_IN_SITE as u64).chain([last]));
        assert_eq!(long(1), long(2));
    }

    #[test]
    fn a_full_table_has_a_common_entry_for_the_rest() {
        let table = table(4);
        let sites = Sites(&table);
        let ids: Vec<_> = (1..10u64).map(|call| sites.enter([call].into_iter())).collect();
        assert_eq!(ids.iter().filter(|id| **id != SiteId::default()).count(), 3);
        assert_eq!(Sites(&[]).enter([1].into_iter()), SiteId::default());
        assert_eq!(sites.get(SiteId(4)), None);
    }

    #[test]
    fn closed_sites_keep_their_objects_and_the_same_calls_have_another_one() {
        let table = table(8);
        let sites = Sites(&table);
        let before = sites.enter([1].into_iter());
        sites.allocated(before, 10);
        sites.close();
        assert_eq!(sites.live().count(), 0);
        let after = sites.enter([1].into_iter());
        assert_ne!(after, before);
        assert_eq!(sites.enter([1].into_iter()), after);
        sites.allocated(after, 20);
        sites.freed(before, 10);
        let live: Vec<_> = sites.live().map(|site| (site.calls[0], site.objects, site.bytes)).collect();
        assert_eq!((live, sites.get(before).unwrap().objects), (vec![(1, 1, 20)], 0));
    }

    #[test]
    fn live_objects_are_counted_by_site() {
        let table = table(8);
        let sites = Sites(&table);
        let (one, other) = (sites.enter([1].into_iter()), sites.enter([2].into_iter()));
        sites.allocated(one, 10);
        sites.allocated(one, 20);
        sites.allocated(other, 5);
        sites.freed(other, 5);
        sites.freed(one, 10);
        let live: Vec<_> = sites.live().map(|site| (site.calls[0], site.objects, site.bytes)).collect();
        assert_eq!(live, [(1, 1, 20)]);
    }
}
