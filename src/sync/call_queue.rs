//! Call queues: the lock-free part of `smp::call`. It compiles on any host, where tests and models run it.
//!
//! Each CPU has [`SLOTS`] slots. A call occupies one slot of its sender, whatever the number of its targets. The slot
//! holds the function, its data, and the number of targets that have not finished. Each CPU has a *queue*: one bit for
//! each slot of each sender. A set bit is a request. The sender sets it; the CPU that clears it owns the request: the
//! target clears it to run the call, the sender clears it to withdraw the call. So a call allocates nothing and nothing
//! of it lies on a stack. A target that is too late finds the bit clear and touches nothing.
//!
//! # IPIs
//!
//! Each CPU has a word of flags beside its queue. [`IPI_PENDING`]: an IPI was sent successfully and is pending, so no
//! other sender has to send one. [`CLOSED`]: the CPU takes no calls. The other bits are a *generation*, which the target
//! changes each time it begins to process its queue.
//!
//! A sender sets its bit, reads the flags, and sends an IPI unless `IPI_PENDING` is set. After it has sent the IPI, it
//! sets `IPI_PENDING` if the generation is unchanged. If the generation has changed, the target may have processed its
//! queue in the meantime, and the IPI may be used up. So each call is covered by an IPI that was sent successfully: the
//! sender's own, or an earlier one. A sender whose IPI cannot be sent withdraws its own call; no other sender depends on
//! it. The cost is an occasional superfluous IPI: two senders that both find `IPI_PENDING` clear both send one.
//!
//! The target clears `IPI_PENDING` and changes the generation by one exchange before it reads the bits. The sender's
//! steps (bit, then flags) and the target's steps (flags, then bits) are sequentially consistent. A sender that finds
//! `IPI_PENDING` set or `CLOSED` clear has read the flags before the exchange, so the target reads its bit.
//!
//! Calls are not ordered among each other.

use super::atomics::{AtomicU64, AtomicUsize, Ordering, order_sequentially};

/// The most pending calls of one CPU: nested calls that it waits for, and asynchronous calls.
pub(crate) const SLOTS: usize = 8;

const WORD_BITS: usize = u64::BITS as usize;
/// The alignment of a row, in words. Two CPUs never share a cache line, nor a pair of lines that is fetched together
/// (Intel Optimization Manual, 3.7.3).
const ROW_ALIGN: usize = 128 / size_of::<u64>();

/// In [`FLAGS`]: an IPI was sent and is pending. Senders set it, the CPU itself clears it.
const IPI_PENDING: u64 = 1 << 0;
/// In [`FLAGS`]: the CPU takes no calls. The CPU itself sets and clears it, and changes the generation in the bits
/// between.
const CLOSED: u64 = 1 << 63;

/// In [`CallSlot::pending`]: the sender halts; the target that finishes last wakes it.
const WAKE_SENDER: u64 = 1 << 32;
/// In [`CallSlot::pending`]: the sender has not yet set the number of targets, which is less than this.
const COUNTING: u64 = 1 << 31;

/// The index of the flags in a row. The queue follows, then an equal number of words for the calls that are running.
const FLAGS: usize = 0;
const QUEUE: usize = 1;

/// A pending call of one sender.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct CallSlot {
    function: AtomicUsize,
    data: AtomicUsize,
    /// The number of targets that have not finished, with [`COUNTING`] and [`WAKE_SENDER`].
    pending: AtomicU64,
}

impl CallSlot {
    /// Creates a free slot.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub(crate) fn new() -> CallSlot {
        CallSlot { function: AtomicUsize::new(0), data: AtomicUsize::new(0), pending: AtomicU64::new(0) }
    }
}

/// The slots and queues of all CPUs.
#[derive(Debug)]
pub(crate) struct CallQueues<'a> {
    /// Words of one queue.
    words: usize,
    stride: usize,
    rows: &'a [AtomicU64],
    slots: &'a [CallSlot],
}

/// The outcome of [`CallQueues::enqueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueue {
    /// The call is queued and an IPI is pending at the target: nothing to do.
    AlreadyPending,
    /// Send an interrupt, then call [`CallQueues::ipi_sent`], or [`CallQueues::withdraw`] if it cannot be sent.
    SendIpi(QueueFlags),
    /// The target takes no calls, and the call is not queued.
    Offline,
}

/// A target's flags, as a sender has read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFlags(u64);

/// A call that a target has dequeued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The function, as the sender passed it to [`CallQueues::prepare`].
    pub function: usize,
    /// Its data.
    pub data: usize,
    index: usize,
}

impl<'a> CallQueues<'a> {
    /// Returns the number of words that [`CallQueues::new`] needs.
    pub(crate) const fn words_for(cpus: usize) -> usize {
        cpus * Self::stride(cpus)
    }

    /// Returns the number of slots that [`CallQueues::new`] needs.
    pub(crate) const fn slots_for(cpus: usize) -> usize {
        cpus * SLOTS
    }

    const fn stride(cpus: usize) -> usize {
        (QUEUE + 2 * (cpus * SLOTS).div_ceil(WORD_BITS)).next_multiple_of(ROW_ALIGN)
    }

    /// Creates the queues of `cpus` CPUs, all closed. The words are 0. For speed, the first is aligned to 128 bytes.
    ///
    /// # Panics
    /// If `rows` or `slots` do not have the length that [`CallQueues::words_for`] or [`CallQueues::slots_for`] returns.
    pub(crate) fn new(cpus: usize, rows: &'a [AtomicU64], slots: &'a [CallSlot]) -> CallQueues<'a> {
        assert_eq!((rows.len(), slots.len()), (Self::words_for(cpus), Self::slots_for(cpus)));
        let words = (cpus * SLOTS).div_ceil(WORD_BITS);
        let queues = CallQueues { words, stride: Self::stride(cpus), rows, slots };
        for cpu in 0..cpus {
            queues.row(cpu)[FLAGS].store(CLOSED, Ordering::Relaxed);
        }
        queues
    }

    /// The row of a CPU, and those of the CPUs after it: a second bound would cost each call.
    #[inline]
    fn row(&self, cpu: usize) -> &'a [AtomicU64] {
        &self.rows[cpu * self.stride..]
    }

    #[inline]
    fn slot(&self, from: usize, slot: usize) -> &'a CallSlot {
        &self.slots[from * SLOTS + slot]
    }

    // --- Sender: on the CPU `from` only, which does not use the slot otherwise at the same time. ---

    /// Returns whether all targets of the slot's last call have finished.
    #[inline]
    pub(crate) fn is_done(&self, from: usize, slot: usize) -> bool {
        self.slot(from, slot).pending.load(Ordering::Acquire) & !WAKE_SENDER == 0
    }

    /// Sets the slot's next call. The last call has finished. [`CallQueues::set_target_count`] must follow the last
    /// [`CallQueues::enqueue`].
    #[inline]
    pub(crate) fn prepare(&self, from: usize, slot: usize, function: usize, data: usize) {
        let call = self.slot(from, slot);
        call.function.store(function, Ordering::Relaxed);
        call.data.store(data, Ordering::Relaxed);
        call.pending.store(COUNTING, Ordering::Relaxed);
    }

    /// Sets the number of targets: those for which [`CallQueues::enqueue`] did not return [`Enqueue::Offline`]. Some of
    /// them may have finished already.
    #[inline]
    pub(crate) fn set_target_count(&self, from: usize, slot: usize, targets: usize) {
        self.slot(from, slot).pending.fetch_sub(COUNTING - targets as u64, Ordering::AcqRel);
    }

    /// Enqueues the slot's call at a target.
    #[inline]
    pub(crate) fn enqueue(&self, from: usize, slot: usize, to: usize) -> Enqueue {
        let row = self.row(to);
        let (word, bit) = place(from, slot);
        // SeqCst: the bit publishes what `prepare` has written, and is set before the flags are read.
        row[QUEUE + word].fetch_or(bit, Ordering::SeqCst);
        order_sequentially();
        let flags = row[FLAGS].load(Ordering::SeqCst);
        match flags & (IPI_PENDING | CLOSED) {
            0 => Enqueue::SendIpi(QueueFlags(flags)),
            IPI_PENDING => Enqueue::AlreadyPending,
            _ if self.clear(from, slot, to) => Enqueue::Offline,
            // The target has run the call after it closed its queue.
            _ => Enqueue::AlreadyPending,
        }
    }

    /// Records that the IPI of [`Enqueue::SendIpi`] has been sent. Later senders need not send another one, unless the
    /// target has begun to process its queue since.
    #[inline]
    pub(crate) fn ipi_sent(&self, to: usize, QueueFlags(flags): QueueFlags) {
        let row = self.row(to);
        // Relaxed: a sender that reads this relies on the target's next exchange, not on this one.
        let _ = row[FLAGS].compare_exchange(flags, flags | IPI_PENDING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Withdraws the slot's call from a target. Returns `false` if the target has begun it.
    pub(crate) fn withdraw(&self, from: usize, slot: usize, to: usize) -> bool {
        let was_queued = self.clear(from, slot, to);
        if was_queued {
            self.slot(from, slot).pending.fetch_sub(1, Ordering::AcqRel);
        }
        was_queued
    }

    /// Clears the bit and returns whether it was set.
    fn clear(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[QUEUE + word].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Returns whether the slot's call is in a target's queue.
    pub(crate) fn is_queued(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[QUEUE + word].load(Ordering::Acquire) & bit != 0
    }

    /// Returns whether a target is running the slot's call.
    pub(crate) fn is_running(&self, from: usize, slot: usize, to: usize) -> bool {
        let (word, bit) = place(from, slot);
        self.row(to)[QUEUE + self.words + word].load(Ordering::Acquire) & bit != 0
    }

    /// As [`CallQueues::is_done`]. If it returns `false`, the target that finishes last wakes the sender.
    pub(crate) fn is_done_or_request_wake(&self, from: usize, slot: usize) -> bool {
        self.slot(from, slot).pending.fetch_or(WAKE_SENDER, Ordering::AcqRel) & !WAKE_SENDER == 0
    }

    // --- Target: on the CPU `me` only, interrupts off. ---

    /// Runs every call in this CPU's queue by `run`, and wakes each sender that has requested it by `wake`. A call that
    /// is enqueued meanwhile is run as well, or its sender sends another IPI. `run` may call this function again, and so
    /// may an interrupt handler.
    #[inline]
    pub(crate) fn process(&self, me: usize, mut run: impl FnMut(Request), mut wake: impl FnMut(usize)) {
        let row = self.row(me);
        begin(&row[FLAGS]);
        let (queue, running) = row[QUEUE..][..2 * self.words].split_at(self.words);
        for (word, (queue, running)) in queue.iter().zip(running).enumerate() {
            // SeqCst: after the exchange of the flags. Clearing the bit acquires what the sender has published with it.
            let mut queued = queue.load(Ordering::SeqCst);
            while queued != 0 {
                let number = queued.trailing_zeros();
                let bit = 1 << number;
                queued &= queued - 1;
                // One at a time: calls that this CPU has not begun can still be withdrawn.
                if queue.fetch_and(!bit, Ordering::Acquire) & bit == 0 {
                    continue;
                }
                let index = word * WORD_BITS + number as usize;
                running.store(running.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
                let call = &self.slots[index];
                let (function, data) =
                    (call.function.load(Ordering::Relaxed), call.data.load(Ordering::Relaxed));
                run(Request { function, data, index });
                running.store(running.load(Ordering::Relaxed) & !bit, Ordering::Release);
                // Release: publishes what `run` has done. From here on the sender may reuse the slot.
                if call.pending.fetch_sub(1, Ordering::AcqRel) == WAKE_SENDER | 1 {
                    wake(index / SLOTS);
                }
            }
        }
    }

    /// Opens this CPU's queue: from now on calls to it are accepted.
    pub(crate) fn open(&self, me: usize) {
        let flags = &self.row(me)[FLAGS];
        flags.fetch_and(!CLOSED, Ordering::SeqCst);
    }

    /// Closes this CPU's queue: from now on calls to it are refused. [`CallQueues::process`] must follow, which runs the
    /// calls that were enqueued before.
    pub(crate) fn close(&self, me: usize) {
        let flags = &self.row(me)[FLAGS];
        flags.fetch_or(CLOSED, Ordering::SeqCst);
    }
}

/// Begins a generation and clears `IPI_PENDING`.
#[inline]
fn begin(flags: &AtomicU64) {
    // Other CPUs change `IPI_PENDING` only, so the exchange replaces what is read here but for that bit.
    let next = (flags.load(Ordering::Relaxed) | IPI_PENDING) + 1;
    flags.swap(next, Ordering::SeqCst);
    order_sequentially();
}

#[cfg(test)]
impl Request {
    /// The sender.
    pub fn from(&self) -> usize {
        self.index / SLOTS
    }
}

/// Returns the word and the bit of a slot, which are the same in every queue.
#[inline]
fn place(from: usize, slot: usize) -> (usize, u64) {
    let index = from * SLOTS + slot;
    (index / WORD_BITS, 1 << (index % WORD_BITS))
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
