//! The real-time class: fixed priorities, and turns of a slice within a priority.

use super::entity::{Attributes, Class, MAX_PRIORITY, Runnable};
use super::list::List;
use super::policy::{Enqueue, LentThread};

/// Real-time threads that wait, a list for each priority. A thread's `slice_left_ns` is what it has left of its turn.
///
/// **Context** of all functions: any; they neither block nor allocate.
#[derive(Debug)]
pub(super) struct RealTime {
    /// Bit n: the list of priority n has threads.
    ready: u64,
    lists: [List; MAX_PRIORITY as usize + 1],
    len: usize,
}

const _: () = assert!(MAX_PRIORITY < u64::BITS as u8, "`ready` has a bit for each priority");

impl RealTime {
    /// Returns a class without threads.
    pub(super) const fn new() -> RealTime {
        RealTime { ready: 0, lists: [const { List::new() }; MAX_PRIORITY as usize + 1], len: 0 }
    }

    /// Returns the number of threads that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no thread waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// Takes a thread that waits. A preempted thread continues its turn before the others of its priority. Others start a new
    /// turn, behind them.
    #[inline(never)]
    pub(super) fn enqueue(&mut self, mut thread: Runnable, priority: u8, reason: Enqueue) {
        let Attributes { slice_ns, .. } = thread.attributes();
        let slice_ns = u64::from(slice_ns);
        let index = usize::from(priority.min(MAX_PRIORITY));
        let list = &mut self.lists[index];
        let words = thread.words_mut();
        if reason == Enqueue::Preempted && words.slice_left_ns > 0 {
            // A thread that was in another class has some other number here.
            words.slice_left_ns = words.slice_left_ns.min(slice_ns);
            list.push_front(thread);
        } else {
            words.slice_left_ns = slice_ns;
            list.push_back(thread);
        }
        self.ready |= 1 << index;
        self.len += 1;
    }

    /// Gives out the first thread of the highest priority.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<Runnable> {
        let highest = self.ready.checked_ilog2()?;
        self.take_from(highest as usize, List::pop_front)
    }

    /// Accounts for time that a real-time thread has run.
    pub(super) fn charge(running: &mut LentThread<'_>, ran_ns: u64) {
        let words = running.words_mut();
        words.slice_left_ns = words.slice_left_ns.saturating_sub(ran_ns);
    }

    /// Returns whether a waiting thread should run instead of a running one of this priority.
    pub(super) fn is_preempted(&self, running: &Runnable, priority: u8) -> bool {
        match self.ready.checked_ilog2() {
            Some(highest) if highest == u32::from(priority) => running.words().slice_left_ns == 0,
            Some(highest) => highest > u32::from(priority),
            None => false,
        }
    }

    /// Returns after how long a running thread of this priority is preempted.
    pub(super) fn slice_ns(&self, running: &Runnable, priority: u8) -> Option<u64> {
        let highest = self.ready.checked_ilog2()?;
        match highest.cmp(&u32::from(priority)) {
            core::cmp::Ordering::Less => None,
            core::cmp::Ordering::Equal => Some(running.words().slice_left_ns),
            core::cmp::Ordering::Greater => Some(0),
        }
    }

    /// Gives out the first thread, from the highest priority on, for which the condition holds.
    pub(super) fn take_first(&mut self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let mut left = self.ready;
        while let Some(highest) = left.checked_ilog2() {
            left ^= 1 << highest;
            let thread = self.take_from(highest as usize, |list| list.take_first(&mut condition));
            if thread.is_some() {
                return thread;
            }
        }
        None
    }

    #[inline]
    fn take_from(
        &mut self,
        index: usize,
        take: impl FnOnce(&mut List) -> Option<Runnable>,
    ) -> Option<Runnable> {
        let list = &mut self.lists[index];
        let thread = take(list)?;
        if list.is_empty() {
            self.ready &= !(1 << index);
        }
        self.len -= 1;
        Some(thread)
    }
}

/// Returns the priority of a real-time thread.
#[inline(always)]
pub(super) fn priority_of(thread: &Runnable) -> Option<u8> {
    match thread.attributes().class {
        Class::RealTime { priority } => Some(priority.min(MAX_PRIORITY)),
        Class::Fair => None,
    }
}
