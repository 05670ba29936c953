//! Threads that wait for conditions: a ring buffer behind a mutex and two condition variables.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::{Condvar, Mutex};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// The values that a ring has room for.
const CAPACITY: usize = 4;

/// How long some wait at most, before they look again.
const TIMEOUT: Duration = Duration::from_micros(200);

/// The workload `condvar`.
pub(crate) static CONDVAR: Workload = Workload {
    name: "condvar",
    summary: "A sender and a receiver for each CPU share a ring of four values, and wait by condition variables.",
    is_default: true,
    on_host: true,
    timed: Timed::Message,
    holds_runs: false,
    run: Body::Threads(condvar),
    details: None,
};

/// Numbers, with the times at which they were put here.
struct Ring {
    items: [(u64, u64); CAPACITY],
    first: usize,
    len: usize,
    /// The senders that have ended.
    ended: usize,
}

struct Shared {
    ring: Mutex<Ring>,
    has_room: Condvar,
    has_items: Condvar,
    sent: AtomicU64,
    received: AtomicU64,
}

fn condvar(run: &ThreadRun<'_>) {
    let ring = Ring { items: [(0, 0); CAPACITY], first: 0, len: 0, ended: 0 };
    let shared = Shared {
        ring: Mutex::new(ring),
        has_room: Condvar::new(),
        has_items: Condvar::new(),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
    };
    run.run(2 * run.cpus(), &|_| Spec::ANY, &|member| {
        // A sender alone would wait for ever.
        if member.threads() >= 2 {
            if member.number().is_multiple_of(2) { shared.send(member) } else { shared.receive(member) }
        }
    });
    let (sent, received) = (shared.sent.into_inner(), shared.received.into_inner());
    if sent != received {
        run.note(Failure::SumsDiffer { expected: sent, found: received });
    }
}

impl Shared {
    fn send(&self, member: &mut Member<'_>) {
        let mut value = (member.number() as u64) << 40;
        let mut sum = 0u64;
        while member.goes_on() {
            value += 1;
            sum = sum.wrapping_add(value);
            member.order(1);
            let wakes_all = member.rng.u8(..16) == 0;
            let waits_for_a_while = member.rng.u8(..8) == 0;
            member.blocking(|| {
                let mut ring = self.ring.lock();
                while ring.len == CAPACITY {
                    ring = if waits_for_a_while {
                        self.has_room.wait_timeout(ring, TIMEOUT).0
                    } else {
                        self.has_room.wait(ring)
                    };
                }
                let last = (ring.first + ring.len) % CAPACITY;
                ring.items[last] = (value, member.cycles());
                ring.len += 1;
                drop(ring);
                if wakes_all { self.has_items.notify_all() } else { self.has_items.notify_one() }
            });
        }
        self.sent.fetch_add(sum, Ordering::Relaxed);
        member.blocking(|| {
            let mut ring = self.ring.lock();
            ring.ended += 1;
            drop(ring);
            self.has_items.notify_all();
        });
    }

    /// Receives until all senders have ended.
    fn receive(&self, member: &mut Member<'_>) {
        let mut sum = 0u64;
        while let Some((value, sent)) = self.take(member) {
            if member.samples() {
                member.record_since(sent);
            }
            sum = sum.wrapping_add(value);
            member.done();
        }
        self.received.fetch_add(sum, Ordering::Relaxed);
    }

    fn take(&self, member: &mut Member<'_>) -> Option<(u64, u64)> {
        let senders = member.threads().div_ceil(2);
        member.blocking(|| {
            let ring = self.ring.lock();
            let mut ring = self.has_items.wait_while(ring, |ring| ring.len == 0 && ring.ended < senders);
            if ring.len == 0 {
                return None;
            }
            let item = ring.items[ring.first];
            ring.first = (ring.first + 1) % CAPACITY;
            ring.len -= 1;
            drop(ring);
            self.has_room.notify_one();
            Some(item)
        })
    }
}
