//! Groups of senders and receivers: Linux's `hackbench`, by channels.

use alloc::vec::Vec;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::channel::{self, Receiver, Sender};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// Senders of a group, and as many receivers.
const SENDERS: usize = 4;

/// Threads of a group.
const GROUP: usize = 2 * SENDERS;

/// The most groups. There is one for two CPUs.
const MOST_GROUPS: usize = 16;

/// The messages that a channel has room for.
const CAPACITY: usize = 8;

/// The words of a message besides the numbers, which makes it about as long as that of Linux's: 100 bytes.
const WORDS: usize = 9;

/// The workload `hackbench`.
pub(crate) static HACKBENCH: Workload = Workload {
    name: "hackbench",
    summary: "In groups of four senders and four receivers each sender sends messages to each receiver, by channels, as Linux's `hackbench`.",
    is_default: true,
    on_host: true,
    timed: Timed::Message,
    holds_runs: false,
    run: Body::Threads(hackbench),
    details: None,
};

/// A message of a sender to a receiver.
struct Letter {
    /// The sender's number in its group.
    from: usize,
    /// The number of messages that it has sent to this receiver before; `None` ends its messages.
    sequence: Option<u64>,
    sent: u64,
    /// What the two numbers give.
    words: [u64; WORDS],
}

impl Letter {
    fn new(member: &Member<'_>, from: usize, sequence: u64) -> Letter {
        let words = core::array::from_fn(|index| word(from, sequence, index));
        Letter { from, sequence: Some(sequence), sent: member.cycles(), words }
    }
}

fn word(from: usize, sequence: u64, index: usize) -> u64 {
    (sequence ^ (from as u64) << 56 ^ (index as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hackbench(run: &ThreadRun<'_>) {
    let groups = run.cpus().div_ceil(2).min(MOST_GROUPS);
    // One for each receiver.
    let channels: Vec<(Sender<Letter>, Receiver<Letter>)> =
        (0..groups * SENDERS).map(|_| channel::bounded(CAPACITY)).collect();
    run.run(groups * GROUP, &|_| Spec::ANY, &|member| {
        let (group, role) = (member.number() / GROUP, member.number() % GROUP);
        // The threads of a group for whose last one there was no memory do nothing.
        if (group + 1) * GROUP <= member.threads() {
            let of_group = &channels[group * SENDERS..][..SENDERS];
            match role.checked_sub(SENDERS) {
                None => send(member, role, of_group),
                Some(receiver) => receive(member, &of_group[receiver].1),
            }
        }
    });
}

fn send(member: &mut Member<'_>, from: usize, to: &[(Sender<Letter>, Receiver<Letter>)]) {
    let mut sequence = 0;
    while member.goes_on() {
        for (sender, _) in to {
            member.order(1);
            let letter = Letter::new(member, from, sequence);
            // The receivers are there as long as the threads.
            let _ = member.blocking(|| sender.send(letter));
        }
        sequence += 1;
    }
    for (sender, _) in to {
        let last = Letter { sequence: None, ..Letter::new(member, from, 0) };
        let _ = member.blocking(|| sender.send(last));
    }
}

/// Receives until all senders have ended.
fn receive(member: &mut Member<'_>, from: &Receiver<Letter>) {
    let mut next = [0; SENDERS];
    let mut senders = SENDERS;
    while senders > 0 {
        let Ok(letter) = member.blocking(|| from.recv()) else { break };
        let Some(sequence) = letter.sequence else {
            senders -= 1;
            continue;
        };
        if member.samples() {
            member.record_since(letter.sent);
        }
        check(member, &letter, sequence, next[letter.from]);
        next[letter.from] = sequence + 1;
        member.done();
    }
}

/// The messages of a sender come in their order, and as they were sent.
fn check(member: &Member<'_>, letter: &Letter, sequence: u64, expected: u64) {
    let thread = member.number() as u32;
    if sequence != expected {
        member.note(Failure::WrongValue { thread, expected, found: sequence });
    }
    for (index, found) in letter.words.into_iter().enumerate() {
        let expected = word(letter.from, sequence, index);
        if found != expected {
            member.note(Failure::WrongValue { thread, expected, found });
        }
    }
}
