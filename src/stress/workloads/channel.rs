//! Threads that send values to others by channels with and without a limit.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::channel::{self, Receiver, Sender};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// Senders of each CPU, and as many receivers.
const OF_EACH: usize = 1;

/// The values that the channel with a limit has room for.
const CAPACITY: usize = 16;

/// The number of the channel without a limit, of the two.
const UNBOUNDED: usize = 1;

/// The most values that a sender leaves in the channel without a limit.
const MOST_AHEAD: u64 = 256;

/// How long some wait at most.
const TIMEOUT: Duration = Duration::from_micros(200);

/// The workload `channel`.
pub(crate) static CHANNEL: Workload = Workload {
    name: "channel",
    summary: "A sender and a receiver for each CPU share two channels, one with a limit and one without.",
    is_default: true,
    on_host: true,
    timed: Timed::Message,
    holds_runs: false,
    run: Body::Threads(channel),
    details: None,
};

/// A value; `None` ends a receiver.
type Value = Option<(u64, u64)>;

/// What the threads share.
struct Ends {
    channels: [(Sender<Value>, Receiver<Value>); 2],
    /// How many values were sent by the channel without a limit, and received from it.
    sent: AtomicU64,
    received: AtomicU64,
    /// The sums of what their values give.
    sent_sum: AtomicU64,
    received_sum: AtomicU64,
    /// The senders that have ended.
    ended: AtomicUsize,
}

fn channel(run: &ThreadRun<'_>) {
    let zero = || AtomicU64::new(0);
    let ends = Ends {
        channels: [channel::bounded(CAPACITY), channel::unbounded()],
        sent: zero(),
        received: zero(),
        sent_sum: zero(),
        received_sum: zero(),
        ended: AtomicUsize::new(0),
    };
    // With one CPU there is a receiver for each channel as well.
    run.run(2 * (OF_EACH * run.cpus()).max(2), &|_| Spec::ANY, &|member| {
        // Without memory for one of the first four threads there are not a sender and two receivers.
        if member.threads() >= 4 {
            if member.number().is_multiple_of(2) { ends.send(member) } else { ends.receive(member) }
        }
    });
    let (sent, received) = (ends.sent_sum.into_inner(), ends.received_sum.into_inner());
    if sent != received {
        run.note(Failure::SumsDiffer { expected: sent, found: received });
    }
}

/// A number that depends on all bits of a value.
fn mixed(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl Ends {
    fn send(&self, member: &mut Member<'_>) {
        let mut next = (member.number() as u64) << 48;
        while member.goes_on() {
            let which = member.rng.usize(..2);
            let ahead = self.sent.load(Ordering::Relaxed);
            let ahead = ahead.wrapping_sub(self.received.load(Ordering::Relaxed));
            // More may have been received than this thread has seen sent.
            if which == UNBOUNDED && ahead as i64 > MOST_AHEAD as i64 {
                member.yield_now();
                continue;
            }
            if self.send_one(member, which, next) {
                member.order(1);
                if which == UNBOUNDED {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
                self.sent_sum.fetch_add(mixed(next), Ordering::Relaxed);
                next += 1;
            }
        }
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 == member.threads().div_ceil(2) {
            // Behind all values of all senders.
            for receiver in 0..member.threads() / 2 {
                let _ = member.blocking(|| self.channels[receiver % 2].0.send(None));
            }
        }
    }

    /// Sends a value: most wait for room, some for a while, and some not at all. Returns whether it was sent.
    fn send_one(&self, member: &mut Member<'_>, which: usize, value: u64) -> bool {
        let (sender, how) = (&self.channels[which].0, member.rng.u8(..8));
        let item = Some((value, member.cycles()));
        member.blocking(|| match how {
            0 => sender.try_send(item).is_ok(),
            1 => sender.send_timeout(item, TIMEOUT).is_ok(),
            _ => sender.send(item).is_ok(),
        })
    }

    /// Receives from one channel until that ends.
    fn receive(&self, member: &mut Member<'_>) {
        let which = member.number() / 2 % 2;
        while let Some((value, sent)) = self.receive_one(member, which) {
            if member.samples() {
                member.record_since(sent);
            }
            if which == UNBOUNDED {
                self.received.fetch_add(1, Ordering::Relaxed);
            }
            self.received_sum.fetch_add(mixed(value), Ordering::Relaxed);
            member.done();
        }
    }

    /// Receives the next value: some look first, and some wait for a while.
    fn receive_one(&self, member: &mut Member<'_>, which: usize) -> Value {
        let (receiver, how) = (&self.channels[which].1, member.rng.u8(..8));
        member.blocking(|| {
            let early = match how {
                0 => receiver.try_recv().ok(),
                1 => receiver.recv_timeout(TIMEOUT).ok(),
                _ => None,
            };
            match early {
                Some(value) => value,
                None => receiver.recv().ok().flatten(),
            }
        })
    }
}
