//! The workload `heap_random`, while CPUs go offline and come back.

use core::sync::atomic::Ordering;

use super::random::THREAD;
use crate::stress::workloads::hotplug::OfflineCpus;
use crate::stress::workloads::objects::Slots;
use crate::stress::workloads::worker::{Body, HeapWorker, Timed, Workload};

/// Steps between two offline points.
const STEPS: usize = 32;

/// The workload `heap_hotplug`.
pub(in crate::stress) static HEAP_HOTPLUG: Workload = Workload {
    name: "heap_hotplug",
    summary: "Each CPU works as in `heap_random`, while one CPU after the other goes offline and comes back.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_hotplug()),
    details: Some(|shared, f| {
        write!(f, "{} CPU offline/online cycles", shared.offline_cycles.load(Ordering::Relaxed))
    }),
};

impl HeapWorker<'_> {
    /// The first CPU takes the others offline and brings them back, in random order. Each sends its objects to the next CPU, which
    /// frees them, before it goes offline.
    fn heap_hotplug(&mut self) {
        let slots = self.slots_of(self.rank);
        if self.rank == 0 {
            let mut away = OfflineCpus::default();
            loop {
                self.work(slots);
                if !self.cycle_one(&mut away) {
                    break;
                }
            }
            self.online_all(&away);
            self.shared.is_over.store(true, Ordering::Release);
        } else {
            // No barrier until all are back: a CPU at a barrier cannot go offline.
            while !self.shared.is_over.load(Ordering::Acquire) {
                self.work(slots);
                if self.platform.is_offline_requested(self.id) {
                    self.send_all(slots);
                    self.platform.go_offline(self.id);
                }
            }
        }
        self.release_all(slots);
        // After this barrier no CPU sends objects.
        self.platform.barrier();
        self.receive_from_neighbour();
    }

    fn work(&mut self, slots: Slots<'_>) {
        for _ in 0..STEPS {
            self.replace_one(slots, &THREAD);
        }
        self.receive_from_neighbour();
    }

    fn receive_from_neighbour(&mut self) {
        let shared = self.shared;
        let ranks = shared.ids.len();
        let sender = (self.rank + ranks - 1) % ranks;
        self.receive_all(&shared.rings[sender], shared.ids[sender]);
    }

    /// Sends objects to the next CPU, and frees those for which there is no room.
    fn send_all(&mut self, slots: Slots<'_>) {
        let outgoing = &self.shared.rings[self.rank];
        for index in 0..slots.len() {
            let Some(object) = slots.replace(index, None) else { continue };
            if !outgoing.send(object.pack()) {
                self.release(object);
            }
            self.count(1);
        }
    }
}
