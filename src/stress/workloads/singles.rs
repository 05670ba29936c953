//! Workloads with single frames, the most frequent allocations of a kernel.

use super::worker::{Body, ROUNDS, TIMED, Timed, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::ring::FrameRing;

/// The most frames that `pairs` holds.
const PAIRS_HELD: usize = 32;
/// The frames that `bulk` allocates in a round.
const BULK_HELD: usize = 512;
/// The most frames that `remote` sends before it receives.
const REMOTE_SENT: u32 = 64;

/// The workload `pairs`.
pub static PAIRS: Workload = Workload {
    name: "pairs",
    summary: "Each CPU allocates a few frames and frees them in any order.",
    is_default: true,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Frames(|worker| worker.pairs()),
    details: None,
};

/// The workload `bulk`.
pub(crate) static BULK: Workload = Workload {
    name: "bulk",
    summary: "Each CPU allocates more frames than its cache holds, then frees all, by calls for many frames.",
    is_default: true,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Frames(|worker| worker.bulk()),
    details: None,
};

/// The workload `remote`.
pub(crate) static REMOTE: Workload = Workload {
    name: "remote",
    summary: "Each CPU allocates frames that another CPU frees.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.remote()),
    details: None,
};

impl Worker<'_> {
    /// Allocates a few frames, and frees them in random order.
    pub(super) fn pairs(&mut self) {
        let mut held = [FrameNumber::new(0); PAIRS_HELD];
        while self.goes_on() {
            for _ in 0..ROUNDS {
                let wanted = self.rng.usize(1..=PAIRS_HELD);
                self.alloc_and_free(&mut held[..wanted]);
            }
        }
    }

    /// Allocates more frames than a magazine holds, so that every round reaches the shared layers.
    pub(super) fn bulk(&mut self) {
        let mut held = [FrameNumber::new(0); BULK_HELD];
        while self.goes_on() {
            self.alloc_and_free_in_bulk(&mut held);
        }
    }

    /// Allocates as many frames as there is room for by a few calls, and frees them in random order. One frame, at a random place among
    /// them, has calls of its own, which are timed.
    fn alloc_and_free_in_bulk(&mut self, held: &mut [FrameNumber]) {
        let before = self.rng.usize(..held.len());
        let mut count = self.alloc_bulk(&mut held[..before]);
        let mut timed = None;
        // Otherwise memory is short: the round works on the frames that it has.
        if count == before
            && let (Some(frame), cycles) = self.alloc_timed(Order::FRAME)
        {
            timed = Some((frame, cycles));
            held[count] = frame;
            count += 1;
            count += self.alloc_bulk(&mut held[count..]);
        }
        let acquired = retain(&mut held[..count], |frame| self.acquired(frame, Order::FRAME));
        self.count(2 * acquired.len() as u64);
        self.rng.shuffle(acquired);
        let own = retain(acquired, |frame| self.disown(frame, Order::FRAME, self.id));
        let timed =
            timed.and_then(|(timed, cycles)| Some((own.iter().position(|own| *own == timed)?, cycles)));
        let Some((index, cycles)) = timed else { return self.free_bulk(own) };
        self.free_bulk(&own[..index]);
        let began = self.platform.cycles();
        self.free(own[index], Order::FRAME);
        self.record(cycles + self.platform.cycles().wrapping_sub(began));
        self.free_bulk(&own[index + 1..]);
    }

    /// Allocates as many frames as there is room for, and frees them in random order.
    pub(super) fn alloc_and_free(&mut self, held: &mut [FrameNumber]) {
        let mut count = 0;
        let mut timed = None;
        for slot in held.iter_mut() {
            let is_timed = timed.is_none() && self.rng.u32(..TIMED) == 0;
            let (frame, cycles) =
                if is_timed { self.alloc_timed(Order::FRAME) } else { (self.alloc(Order::FRAME), 0) };
            // Memory is short: the round works on the frames that it has.
            let Some(frame) = frame else { break };
            if is_timed {
                timed = Some((frame, cycles));
            }
            if self.acquired(frame, Order::FRAME) {
                *slot = frame;
                count += 1;
            }
        }
        let held = &mut held[..count];
        self.rng.shuffle(held);
        for frame in held {
            if self.disown(*frame, Order::FRAME, self.id) {
                match timed {
                    Some((timed_frame, cycles)) if timed_frame == *frame => {
                        let began = self.platform.cycles();
                        self.free(*frame, Order::FRAME);
                        self.record(cycles + self.platform.cycles().wrapping_sub(began));
                    }
                    _ => self.free(*frame, Order::FRAME),
                }
            }
        }
        self.count(2 * count as u64);
    }

    /// Every frame is freed on another CPU than the one that allocated it.
    pub(super) fn remote(&mut self) {
        let senders = self.shared.ids.len();
        let outgoing = &self.shared.rings[self.rank];
        let sender_rank = (self.rank + senders - 1) % senders;
        let incoming = &self.shared.rings[sender_rank];
        let sender = self.shared.ids[sender_rank];
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.send_some(outgoing);
                self.receive_all(incoming, sender);
            }
        }
        // After this barrier no CPU sends frames.
        self.platform.barrier();
        self.receive_all(incoming, sender);
    }

    fn send_some(&mut self, outgoing: &FrameRing) {
        for _ in 0..self.rng.u32(1..=REMOTE_SENT) {
            let Some(frame) = self.alloc_sampled(Order::FRAME) else { return };
            if !self.acquired(frame, Order::FRAME) {
                continue;
            }
            if !outgoing.send(frame.get() as u64) {
                // The receiver is behind.
                self.release(frame, Order::FRAME);
                self.count(2);
                return;
            }
            self.count(1);
        }
    }

    pub(super) fn receive_all(&mut self, incoming: &FrameRing, sender: u32) {
        while let Some(frame) = incoming.receive() {
            let frame = FrameNumber::new(frame as usize);
            if self.disown(frame, Order::FRAME, sender) {
                self.free(frame, Order::FRAME);
            }
            self.count(1);
        }
    }
}

/// Moves the frames that satisfy the condition to the begin, in their order, and returns them.
fn retain(frames: &mut [FrameNumber], mut is_kept: impl FnMut(FrameNumber) -> bool) -> &mut [FrameNumber] {
    let mut kept = 0;
    for index in 0..frames.len() {
        if is_kept(frames[index]) {
            frames[kept] = frames[index];
            kept += 1;
        }
    }
    &mut frames[..kept]
}
