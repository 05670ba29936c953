//! `random`, while one CPU after the other goes offline and comes back.

use core::sync::atomic::Ordering;

use super::mixed::Held;
use super::{Worker, Workload};
use crate::memory::frames::Order;

/// The most CPUs that are away at once.
const MOST_AWAY: usize = 16;

/// How many steps of `random` a CPU does before it looks whether it is to go.
const STEPS: usize = 32;

/// The workload `hotplug`.
pub static HOTPLUG: Workload = Workload {
    name: "hotplug",
    summary: "Each CPU works as in `random`, while one CPU after the other goes offline and comes back.",
    is_default: true,
    run: |worker| worker.hotplug(),
    details: Some(|shared, f| {
        write!(f, "{} CPU offline/online cycles", shared.offline_cycles.load(Ordering::Relaxed))
    }),
};

impl Worker<'_> {
    /// The CPU of the first rank takes the others away and brings them back, in any order; each gives back or hands over
    /// what it holds before it goes, and then goes on.
    pub(super) fn hotplug(&mut self) {
        let mut held = Held::new();
        if self.rank == 0 {
            self.take_turns(&mut held);
            self.shared.is_over.store(true, Ordering::Release);
        } else {
            // Until all are back: nobody waits for the others while one of them may be asked to go.
            while !self.shared.is_over.load(Ordering::Acquire) {
                self.work(&mut held);
                if self.platform.is_offline_requested(self.id) {
                    self.hand_over(&mut held);
                    self.shared.source.drain(&mut self.context);
                    self.platform.go_offline(self.id);
                }
            }
        }
        self.release_all(&mut held);
        // Nobody sends any more.
        self.platform.barrier();
        self.receive_from_neighbour();
    }

    fn take_turns(&mut self, held: &mut Held) {
        let (mut away, mut count) = ([0; MOST_AWAY], 0);
        let ranks = self.shared.ids.len();
        loop {
            self.work(held);
            if ranks > 1 {
                let rank = self.rng.usize(1..ranks);
                let id = self.shared.ids[rank];
                if let Some(place) = away[..count].iter().position(|other| *other == id) {
                    self.online_cpu(id);
                    count -= 1;
                    away[place] = away[count];
                } else if count < MOST_AWAY {
                    match self.platform.offline_cpu(id) {
                        Ok(()) => {
                            self.shared.offline_cycles.fetch_add(1, Ordering::Relaxed);
                            away[count] = id;
                            count += 1;
                        }
                        Err(failure) => self.note(failure),
                    }
                }
            }
            if self.platform.has_ended() || self.shared.failures.first().is_some() {
                break;
            }
        }
        away[..count].iter().for_each(|id| self.online_cpu(*id));
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

    /// Single frames go to the next CPU, which returns them; the rest is returned here.
    fn hand_over(&mut self, held: &mut Held) {
        let outgoing = &self.shared.rings[self.rank];
        while let Some((frame, order)) = held.take(0) {
            if order != Order::FRAME || !outgoing.send(frame.get() as u64) {
                self.release(frame, order);
            }
            self.count(1);
        }
    }
}
