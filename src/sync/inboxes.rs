//! Who has asked whom to run what: the lock-free half of `smp::call`, which compiles and is tested on any host.
//!
//! Each CPU has [`SLOTS`] slots, and a call takes one of its sender's, whatever the number of its targets: it says what
//! to run, and how many targets have not finished. Each CPU has an *inbox*, one bit for each slot of each sender. The
//! bit is the request itself: the sender sets it, and whoever clears it has the call: the target in order to run it, or
//! the sender, who has lost patience, in order to take it back. So nothing is allocated for a call, nothing of it lies on
//! a stack, and a target that comes to it too late finds no bit and touches nothing.
//!
//! # Interrupts
//!
//! Beside its inbox each CPU has a word of flags. *Notified*: an interrupt that was sent successfully is pending, so no
//! other sender has to send one. *Closed*: the CPU takes no calls. The rest of the word is a *generation*, which the target
//! changes each time that it begins to process its inbox.
//!
//! A sender sets its bit, reads the flags, and sends an interrupt unless it finds *notified*. It sets *notified* when the
//! interrupt has been sent, and only if the generation is still the one that it has read: otherwise the target may have
//! processed its inbox meanwhile, and the interrupt may be over. So every call is covered by an interrupt whose sending
//! succeeded: its own sender's, or an earlier one. A sender whose interrupt cannot be sent takes back its own call; no other
//! sender depends on it. The price is a needless interrupt now and then: two senders that both find *notified* clear both
//! send one.
//!
//! The target clears *notified* and changes the generation by one exchange before it reads the bits. The sender's two
//! steps, bit and flags, and the target's two, flags and bits, are sequentially consistent: a sender that finds *notified*,
//! or does not find *closed*, read the flags before that exchange, so the target reads its bit.
//!
//! Calls have no order among each other.

use super::atomics::{AtomicU64, AtomicUsize, Ordering, order_sequentially};

/// Calls that one CPU may have under way at once: those that it waits for, one inside the other, and those that it does
/// not wait for.
pub const SLOTS: usize = 8;

const WORD_BITS: usize = u64::BITS as usize;
/// Rows begin at a multiple of so many words, for two CPUs never to share a line or a pair of lines that is fetched
/// together (Intel Optimization Manual, 3.7.3).
const ROW_ALIGN: usize = 128 / size_of::<u64>();

/// In [`FLAGS`]: an interrupt was sent and is pending. Set by senders.
const NOTIFIED: u64 = 1 << 0;
/// In [`FLAGS`]: the CPU takes no calls. Set and cleared by the CPU itself, as is the generation between the two.
const CLOSED: u64 = 1 << 63;

/// In [`Slot::left`]: the sender sleeps until the rest is 0.
const ASLEEP: u64 = 1 << 32;
/// In [`Slot::left`]: the sender is still counting its targets, of which there are fewer than this.
const COUNTING: u64 = 1 << 31;

/// Where a row's flags are; the inbox follows, then as many words that say which calls of the inbox are being run.
const FLAGS: usize = 0;
const INBOX: usize = 1;

/// What a call is.
#[derive(Debug)]
#[repr(align(64))]
pub struct Slot {
    function: AtomicUsize,
    data: AtomicUsize,
    /// How many targets have not finished, with [`COUNTING`] and [`ASLEEP`].
    left: AtomicU64,
}

impl Slot {
    /// One that nobody uses.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub fn new() -> Slot {
        Slot { function: AtomicUsize::new(0), data: AtomicUsize::new(0), left: AtomicU64::new(0) }
    }
}

/// All CPUs' slots and inboxes.
#[derive(Debug)]
pub struct Inboxes<'a> {
    cpus: usize,
    /// Words of one inbox.
    words: usize,
    stride: usize,
    rows: &'a [AtomicU64],
    slots: &'a [Slot],
}

/// What the sender has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Nothing: an interrupt is pending at the target.
    Quiet,
    /// Send an interrupt, then call [`Inboxes::notified`], or [`Inboxes::take_back`] if it cannot be sent.
    Notify(Seen),
    /// The inbox is closed, and the call is not in it.
    Closed,
}

/// A target's flags as a sender has read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

/// A call that a target has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What to run.
    pub function: usize,
    /// What to run it with.
    pub data: usize,
    index: usize,
}

impl<'a> Inboxes<'a> {
    /// How many words [`Inboxes::new`] wants for so many CPUs.
    pub const fn words_for(cpus: usize) -> usize {
        cpus * Self::stride(cpus)
    }

    /// How many slots it wants.
    pub const fn slots_for(cpus: usize) -> usize {
        cpus * SLOTS
    }

    const fn stride(cpus: usize) -> usize {
        (INBOX + 2 * (cpus * SLOTS).div_ceil(WORD_BITS)).next_multiple_of(ROW_ALIGN)
    }

    /// Inboxes for so many CPUs, all closed. The words are 0, and the first lies at a multiple of 128 bytes for the sake
    /// of speed.
    ///
    /// # Panics
    /// If it is given another number of words or slots than [`Inboxes::words_for`] and [`Inboxes::slots_for`] say.
    pub fn new(cpus: usize, rows: &'a [AtomicU64], slots: &'a [Slot]) -> Inboxes<'a> {
        assert_eq!((rows.len(), slots.len()), (Self::words_for(cpus), Self::slots_for(cpus)));
        let words = (cpus * SLOTS).div_ceil(WORD_BITS);
        let inboxes = Inboxes { cpus, words, stride: Self::stride(cpus), rows, slots };
        for cpu in 0..cpus {
            inboxes.row(cpu)[FLAGS].store(CLOSED, Ordering::Relaxed);
        }
        inboxes
    }

    /// How many CPUs have an inbox.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    #[inline]
    fn row(&self, cpu: usize) -> &[AtomicU64] {
        &self.rows[cpu * self.stride..][..self.stride]
    }

    #[inline]
    fn slot(&self, from: usize, slot: usize) -> &Slot {
        &self.slots[from * SLOTS + slot]
    }

    // --- The sender's side: on the CPU `from` alone, which does nothing else with the slot meanwhile. ---

    /// Whether every target of the slot's last call has finished with it.
    #[inline]
    pub fn is_done(&self, from: usize, slot: usize) -> bool {
        self.slot(from, slot).left.load(Ordering::Acquire) & !ASLEEP == 0
    }

    /// Says what the slot's next call is. The last call is done. After the last [`Inboxes::put`] comes
    /// [`Inboxes::counted`].
    #[inline]
    pub fn prepare(&self, from: usize, slot: usize, function: usize, data: usize) {
        let call = self.slot(from, slot);
        call.function.store(function, Ordering::Relaxed);
        call.data.store(data, Ordering::Relaxed);
        call.left.store(COUNTING, Ordering::Relaxed);
    }

    /// Says how many targets were given to [`Inboxes::put`] that did not turn out [`Put::Closed`]. Some of them may have
    /// finished by now.
    #[inline]
    pub fn counted(&self, from: usize, slot: usize, targets: usize) {
        self.slot(from, slot).left.fetch_sub(COUNTING - targets as u64, Ordering::AcqRel);
    }

    /// Puts the slot's call into a target's inbox.
    #[inline]
    pub fn put(&self, from: usize, slot: usize, to: usize) -> Put {
        let row = self.row(to);
        let (word, bit) = place(from, slot);
        // SeqCst: what `prepare` has written comes with the bit, and the bit comes before the flags are read.
        row[INBOX + word].fetch_or(bit, Ordering::SeqCst);
        order_sequentially();
        let flags = row[FLAGS].load(Ordering::SeqCst);
        match flags & (NOTIFIED | CLOSED) {
            0 => Put::Notify(Seen(flags)),
            NOTIFIED => Put::Quiet,
            _ if self.clear(from, slot, to) => Put::Closed,
            // The CPU has run it on its way out.
            _ => Put::Quiet,
        }
    }

    /// The interrupt that [`Put::Notify`] asked for has been sent: later senders need not send another, unless the target
    /// has begun to process its inbox since.
    #[inline]
    pub fn notified(&self, to: usize, Seen(flags): Seen) {
        let row = self.row(to);
        // No order is needed: who reads this relies on the target's later exchange, which reads it or the generation's end.
        let _ = row[FLAGS].compare_exchange(flags, flags | NOTIFIED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes the slot's call out of a target's inbox; whether it was still there. If not, the target has begun it.
    pub fn take_back(&self, from: usize, slot: usize, to: usize) -> bool {
        let was_in = self.clear(from, slot, to);
        if was_in {
            self.slot(from, slot).left.fetch_sub(1, Ordering::AcqRel);
        }
        was_in
    }

    /// Clears the bit; whether it was set.
    fn clear(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[INBOX + word].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Whether the slot's call is in a target's inbox.
    pub fn is_waiting(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[INBOX + word].load(Ordering::Acquire) & bit != 0
    }

    /// Whether a target is running the slot's call.
    pub fn is_running(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[INBOX + self.words + word].load(Ordering::Acquire) & bit != 0
    }

    /// As [`Inboxes::is_done`], but if it is not, the target that finishes last is told to wake the sender.
    pub fn is_done_or_wake_me(&self, from: usize, slot: usize) -> bool {
        self.slot(from, slot).left.fetch_or(ASLEEP, Ordering::AcqRel) & !ASLEEP == 0
    }

    // --- The target's side: on the CPU `me` alone. ---

    /// Takes every call that lies in this CPU's inbox and gives it to `run`; then tells its sender, and `wake` if that
    /// sleeps. A call that comes meanwhile is run as well, or its sender sends another interrupt. `run` may come back
    /// here, and so may an interrupt.
    #[inline]
    pub fn answer(&self, me: usize, mut run: impl FnMut(Taken), mut wake: impl FnMut(usize)) {
        let row = self.row(me);
        self.begin(me);
        for word in 0..self.words {
            // SeqCst: after the exchange of the flags. The exchange of the bit itself acquires what comes with it.
            let mut waiting = row[INBOX + word].load(Ordering::SeqCst);
            while waiting != 0 {
                let bit = waiting & waiting.wrapping_neg();
                waiting ^= bit;
                // One at a time: what this CPU does not come to can still be taken back.
                if row[INBOX + word].fetch_and(!bit, Ordering::Acquire) & bit == 0 {
                    continue;
                }
                let index = word * WORD_BITS + bit.trailing_zeros() as usize;
                let running = &row[INBOX + self.words + word];
                running.store(running.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
                let call = &self.slots[index];
                let (function, data) =
                    (call.function.load(Ordering::Relaxed), call.data.load(Ordering::Relaxed));
                run(Taken { function, data, index });
                running.store(running.load(Ordering::Relaxed) & !bit, Ordering::Release);
                // Release: what `run` has done. From here on the slot is its sender's again.
                if call.left.fetch_sub(1, Ordering::AcqRel) == ASLEEP | 1 {
                    wake(index / SLOTS);
                }
            }
        }
    }

    /// From now on this CPU takes calls. Interrupts are off, as for all of this side.
    pub fn open(&self, me: usize) {
        let flags = &self.row(me)[FLAGS];
        flags.fetch_and(!CLOSED, Ordering::SeqCst);
    }

    /// From now on this CPU takes no calls; then it must [`Inboxes::answer`] once, which runs all that came before.
    pub fn close(&self, me: usize) {
        let flags = &self.row(me)[FLAGS];
        flags.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Begins a generation: clears the flag of the last one.
    #[inline]
    fn begin(&self, me: usize) {
        let flags = &self.row(me)[FLAGS];
        // All but one bit is this CPU's own, so what is read here is what is exchanged, but for that bit.
        let next = (flags.load(Ordering::Relaxed) | NOTIFIED) + 1;
        flags.swap(next, Ordering::SeqCst);
        order_sequentially();
    }
}

#[cfg(test)]
impl Taken {
    /// Whose call it is.
    pub fn from(&self) -> usize {
        self.index / SLOTS
    }
}

/// The word and the bit that stand for a slot in every inbox.
#[inline]
fn place(from: usize, slot: usize) -> (usize, u64) {
    let index = from * SLOTS + slot;
    (index / WORD_BITS, 1 << (index % WORD_BITS))
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
