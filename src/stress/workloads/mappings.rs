//! Mappings that all CPUs read, while their owners unmap them and map others, and CPUs go offline and come back.
//!
//! Each CPU publishes its mappings on a board. Every page of a mapping is stamped with a number of its own. All CPUs read through the
//! mappings of all others: a CPU that finds another stamp has read through a stale entry of its TLB. A mapping is unmapped only while
//! no CPU reads it, but the CPUs that have read it still have its addresses in their TLBs. Most mappings are dropped, so that many
//! share one flush; in some phases some are unmapped at once.
//!
//! Frames and addresses come back in the same order. So each CPU keeps one frame back, which it exchanges before it maps: otherwise an
//! address would often get the frame that it had before, and a stale entry would lead to the right frame.

use core::sync::atomic::Ordering;

use super::worker::{Body, Timed, Workload};

/// The workload `mappings`.
pub(crate) static MAPPINGS: Workload = Workload {
    name: "mappings",
    summary: "Each CPU maps and unmaps memory of the kernel, which all CPUs read, while CPUs go offline and come back.",
    is_default: true,
    on_host: false,
    timed: Timed::Nothing,
    holds_runs: false,
    run: Body::Frames(|worker| worker.mappings()),
    details: Some(|shared, f| {
        let count = |counter: &core::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (maps, failed, cycles) =
            (count(&shared.rounds), count(&shared.failed), count(&shared.offline_cycles));
        write!(f, "{maps} mappings, {failed} refused, {cycles} CPU offline/online cycles")
    }),
};

#[cfg(not(target_os = "none"))]
impl super::worker::Worker<'_> {
    /// The host has no page tables of the kernel.
    fn mappings(&mut self) {}
}

#[cfg(target_os = "none")]
mod kernel {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::super::worker::Worker;
    use crate::memory::frames::FRAME_BYTES;
    use crate::memory::{Mapping, OwnedFrame};
    use crate::smp;
    use crate::stress::failure::Failure;
    use crate::sync::Deadline;
    use crate::time;

    /// The CPUs that publish mappings. Further CPUs only read.
    const OWNERS: usize = 32;

    /// The mappings of one CPU.
    const MAPPINGS: usize = 8;

    /// One in so many rounds ends with a halt, so that some flushes find the CPU idle.
    const ROUNDS_PER_HALT: u32 = 512;

    /// Rounds between two looks of the first CPU at the time and at the other CPUs.
    const ROUNDS_PER_LOOK: usize = 64;

    /// Rounds in which a CPU maps, or only reads. A CPU that unmaps flushes its own TLB once in a while; one that only reads does so for
    /// the requests of others alone.
    const ROUNDS_PER_PHASE: usize = 1024;

    /// One in so many phases unmaps some mappings at once. Each of these unmaps flushes all TLBs, in which the others leave entries.
    const PHASES_PER_SHOOTDOWNS: usize = 3;

    /// The length of a halt.
    const HALT_US: u64 = 20;

    /// The most pages of a mapping that a reader reads.
    const CHECKED: usize = 16;

    /// In [`Published::state`]: the mapping may be read. The other bits count the readers.
    const READABLE: u64 = 1 << 63;

    /// The mappings of a CPU, and what it needs to replace them.
    #[derive(Default)]
    struct Own {
        mappings: [Option<Mapping>; MAPPINGS],
        /// The frame that is kept back.
        spare: Option<OwnedFrame>,
        /// The mappings made so far.
        made: u64,
    }

    /// A published mapping.
    struct Published {
        state: AtomicU64,
        address: AtomicU64,
        pages: AtomicU64,
        stamp: AtomicU64,
    }

    static BOARD: [[Published; MAPPINGS]; OWNERS] = [const {
        [const {
            Published {
                state: AtomicU64::new(0),
                address: AtomicU64::new(0),
                pages: AtomicU64::new(0),
                stamp: AtomicU64::new(0),
            }
        }; MAPPINGS]
    }; OWNERS];

    impl Published {
        /// Shows a mapping whose pages are stamped to all CPUs.
        fn publish(&self, mapping: &Mapping, stamp: u64) {
            self.address.store(mapping.address(), Ordering::Relaxed);
            self.pages.store(mapping.pages() as u64, Ordering::Relaxed);
            self.stamp.store(stamp, Ordering::Relaxed);
            self.state.store(READABLE, Ordering::Release);
        }

        /// Withdraws the mapping, unless a CPU reads it.
        fn withdraw(&self) -> bool {
            self.state.compare_exchange(READABLE, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }

        /// Reads the mapping by `read`, if there is one.
        fn read(&self, read: impl FnOnce(u64, usize, u64)) {
            let begin = |state| (state & READABLE != 0).then_some(state + 1);
            if self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, begin).is_err() {
                return;
            }
            let pages = self.pages.load(Ordering::Relaxed) as usize;
            read(self.address.load(Ordering::Relaxed), pages, self.stamp.load(Ordering::Relaxed));
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The first word of a page.
    fn word(address: u64, page: usize) -> &'static AtomicU64 {
        let word = core::ptr::with_exposed_provenance_mut::<u64>(address as usize + page * FRAME_BYTES);
        // SAFETY: the mapping is published and not withdrawn while its owner or a reader uses it (`Published`). Through a stale entry the
        // word is in another frame, which is memory too; all accesses are atomic.
        unsafe { AtomicU64::from_ptr(word) }
    }

    impl Worker<'_> {
        /// The first CPU takes others offline and brings them back.
        pub(super) fn mappings(&mut self) {
            let mut own = Own::default();
            let mut away = None;
            for round in 1_usize.. {
                let phase = round / ROUNDS_PER_PHASE;
                if (phase + self.rank) % 4 != 3 {
                    self.replace_one(&mut own, phase.is_multiple_of(PHASES_PER_SHOOTDOWNS));
                }
                self.read_others();
                self.count(1);
                if self.rng.u32(..ROUNDS_PER_HALT) == 0 {
                    let _ = time::halt_until(&Deadline::after_us(HALT_US), || false);
                }
                if self.rank == 0 && round % ROUNDS_PER_LOOK == 0 {
                    self.cycle_another(&mut away);
                    let is_over = self.platform.has_ended() || self.shared.failures.first().is_some();
                    self.shared.is_over.store(is_over, Ordering::Release);
                }
                if self.platform.is_offline_requested(self.id) {
                    self.platform.go_offline(self.id);
                }
                if self.shared.is_over.load(Ordering::Acquire) {
                    break;
                }
            }
            if let Some(id) = away.take() {
                self.bring_back(id);
            }
            // After this barrier no CPU reads.
            self.platform.barrier();
            if let Some(board) = BOARD.get(self.rank) {
                board.iter().for_each(|published| {
                    published.withdraw();
                });
            }
            drop(own);
            self.platform.barrier();
            if self.rank == 0
                && let Err(error) = smp::purge_mappings()
            {
                log::error!("{error}");
                self.note(Failure::MappingsNotFreed);
            }
        }

        /// Unmaps one of this CPU's mappings, if no CPU reads it, and maps another one in its place.
        fn replace_one(&mut self, own: &mut Own, may_shoot_down: bool) {
            let index = self.rng.usize(..MAPPINGS);
            let Some(published) = BOARD.get(self.rank).map(|board| &board[index]) else { return };
            if let Some(old) = own.mappings[index].take() {
                if !published.withdraw() {
                    own.mappings[index] = Some(old);
                    return;
                }
                if may_shoot_down && self.rng.u32(..32) == 0 {
                    if let Err(error) = smp::shootdown(old.unmap()) {
                        log::error!("{error}");
                        self.note(Failure::MappingsNotFreed);
                    }
                } else {
                    drop(old);
                }
            }
            let pages = match self.rng.u32(..1000) {
                0 => self.rng.usize(512..1200),
                1..100 => self.rng.usize(2..80),
                _ => 1,
            };
            // The new one is allocated before the old one is freed.
            own.spare = OwnedFrame::alloc();
            let Ok(mapping) = Mapping::new(pages) else {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                return;
            };
            self.shared.rounds.fetch_add(1, Ordering::Relaxed);
            own.made += 1;
            let stamp = (self.rank as u64 + 1) << 52 | own.made << 16;
            (0..pages)
                .for_each(|page| word(mapping.address(), page).store(stamp | page as u64, Ordering::Relaxed));
            published.publish(&mapping, stamp);
            own.mappings[index] = Some(mapping);
        }

        /// Reads through all mappings of one CPU.
        fn read_others(&mut self) {
            let owner = self.rng.usize(..self.shared.ids.len().min(OWNERS));
            for published in &BOARD[owner] {
                let from = self.rng.usize(..);
                published.read(|address, pages, stamp| {
                    for index in 0..pages.min(CHECKED) {
                        let page = (from % pages + index) % pages;
                        let read = word(address, page).load(Ordering::Relaxed);
                        let expected = stamp | page as u64;
                        if read != expected {
                            self.note(Failure::StaleEntry {
                                cpu: self.id,
                                owner: owner as u32,
                                read,
                                expected,
                            });
                        }
                    }
                });
            }
        }

        /// Brings the CPU online that is offline, or takes another one offline.
        fn cycle_another(&mut self, away: &mut Option<u32>) {
            if let Some(id) = away.take() {
                self.bring_back(id);
                return;
            }
            let ranks = self.shared.ids.len();
            if ranks < 2 || self.rng.u32(..8) != 0 {
                return;
            }
            let id = self.shared.ids[self.rng.usize(1..ranks)];
            match self.platform.offline_cpu(id) {
                Ok(()) => {
                    self.shared.offline_cycles.fetch_add(1, Ordering::Relaxed);
                    *away = Some(id);
                }
                Err(failure) => self.note(failure),
            }
        }

        fn bring_back(&self, id: u32) {
            if let Err(failure) = self.platform.online_cpu(id) {
                self.note(failure);
            }
        }
    }
}
