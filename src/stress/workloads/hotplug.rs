//! The workload `random`, while CPUs go offline and come back.

use core::sync::atomic::Ordering;

use super::mixed::Held;
use super::worker::{Body, Timed, Worker, Workload};
use crate::memory::frames::Order;

/// The most CPUs that are offline at once.
const MOST_AWAY: usize = 16;

/// Steps of `random` between two offline points.
const STEPS: usize = 32;

/// The workload `hotplug`.
pub(crate) static HOTPLUG: Workload = Workload {
    name: "hotplug",
    summary: "Each CPU works as in `random`, while one CPU after the other goes offline and comes back.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.hotplug()),
    details: Some(|shared, f| {
        write!(f, "{} CPU offline/online cycles", shared.offline_cycles.load(Ordering::Relaxed))
    }),
};

/// The CPUs that are offline.
#[derive(Default)]
pub(in crate::stress) struct OfflineCpus {
    ids: [u32; MOST_AWAY],
    count: usize,
}

impl Worker<'_> {
    /// The first CPU takes the others offline and brings them back, in random order. Each frees its frames, or sends them to
    /// the next CPU, before it goes offline.
    pub(super) fn hotplug(&mut self) {
        let mut held = Held::new();
        if self.rank == 0 {
            self.cycle_cpus(&mut held);
            self.shared.is_over.store(true, Ordering::Release);
        } else {
            // No barrier until all are back: a CPU at a barrier cannot go offline.
            while !self.shared.is_over.load(Ordering::Acquire) {
                self.work(&mut held);
                if self.platform.is_offline_requested(self.id) {
                    self.send_all(&mut held);
                    self.shared.source.drain(&mut self.context);
                    self.platform.go_offline(self.id);
                }
            }
        }
        self.release_all(&mut held);
        // After this barrier no CPU sends frames.
        self.platform.barrier();
        self.receive_from_neighbour();
    }

    fn cycle_cpus(&mut self, held: &mut Held) {
        let mut away = OfflineCpus::default();
        loop {
            self.work(held);
            if !self.cycle_one(&mut away) {
                break;
            }
        }
        self.online_all(&away);
    }

    /// Takes one random CPU offline, or brings it back. Returns whether the workload goes on.
    pub(in crate::stress) fn cycle_one(&mut self, away: &mut OfflineCpus) -> bool {
        let ranks = self.shared.ids.len();
        if ranks > 1 {
            let rank = self.rng.usize(1..ranks);
            let id = self.shared.ids[rank];
            if let Some(index) = away.ids[..away.count].iter().position(|other| *other == id) {
                self.online_cpu(id);
                away.count -= 1;
                away.ids[index] = away.ids[away.count];
            } else if away.count < MOST_AWAY {
                match self.platform.offline_cpu(id) {
                    Ok(()) => {
                        self.shared.offline_cycles.fetch_add(1, Ordering::Relaxed);
                        away.ids[away.count] = id;
                        away.count += 1;
                    }
                    Err(failure) => self.note(failure),
                }
            }
        }
        !self.platform.has_ended() && self.shared.failures.first().is_none()
    }

    /// Brings all of these back.
    pub(in crate::stress) fn online_all(&self, away: &OfflineCpus) {
        away.ids[..away.count].iter().for_each(|id| self.online_cpu(*id));
    }

    fn online_cpu(&self, id: u32) {
        if let Err(failure) = self.platform.online_cpu(id) {
            self.note(failure);
        }
    }

    fn work(&mut self, held: &mut Held) {
        for _ in 0..STEPS {
            self.alloc_or_free(held);
        }
        self.receive_from_neighbour();
    }

    fn receive_from_neighbour(&mut self) {
        let ranks = self.shared.ids.len();
        let sender = (self.rank + ranks - 1) % ranks;
        let shared = self.shared;
        self.receive_all(&shared.rings[sender], shared.ids[sender]);
    }

    /// Sends single frames to the next CPU, which frees them, and frees the rest.
    fn send_all(&mut self, held: &mut Held) {
        let outgoing = &self.shared.rings[self.rank];
        while let Some((frame, order)) = held.take(0) {
            if order != Order::FRAME || !outgoing.send(frame.get() as u64) {
                self.release(frame, order);
            }
            self.count(1);
        }
    }
}
