//! The threads of a trace: which one each CPU runs, what each does from one event to the next, and what woke it.
//!
//! The events of all CPUs are read in the order of time. Each CPU keeps its newest events only, so the first switch that it has kept tells
//! which thread it ran before. A state that begins before the first event, whose end is lost, or that lasts no cycle, is left out.

use std::collections::BTreeMap;

use octopod::wire::{LeaveReason, RecordedEvent, ThreadLeft, TraceEvent, thread_in};

/// The state of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A CPU runs it.
    Running {
        /// The CPU.
        cpu: u32,
    },
    /// It is on a run queue.
    Runnable {
        /// The event that has put it there.
        since: &'static str,
    },
    /// It waits.
    Waiting {
        /// `parked` or `blocked`.
        state: &'static str,
    },
}

/// A state of a thread, or a thread that a CPU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) thread: u64,
    pub(super) state: State,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// A wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    pub(super) tsc: u64,
    /// The CPU on which the thread was woken.
    pub(super) cpu: u32,
    /// The thread that the CPU ran, which may have been interrupted; `None` for its own.
    pub(super) waker: Option<u64>,
    /// The thread that was woken.
    pub(super) woken: u64,
}

/// The scheduler's events of all CPUs.
#[derive(Debug, Default)]
pub(super) struct Events {
    events: Vec<(u32, RecordedEvent, TraceEvent)>,
    /// The first time of each CPU from which on its events are complete.
    began: BTreeMap<u32, u64>,
    last: u64,
    /// The names of threads.
    names: BTreeMap<u64, String>,
}

/// The threads, ready to be shown.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// The runs of threads, by CPU.
    pub(super) on_cpus: Vec<Span>,
    /// The states of the threads. Those of a thread do not overlap.
    pub(super) states: Vec<Span>,
    pub(super) arrows: Vec<Arrow>,
}

impl Events {
    /// Adds those of a CPU, which are in the order of time.
    pub(super) fn add(&mut self, cpu: u32, events: &[RecordedEvent]) {
        for traced in events {
            let Some(event) = TraceEvent::from_number(traced.event) else { continue };
            self.last = self.last.max(traced.tsc);
            match event {
                // They are sent whatever the ring has overwritten.
                TraceEvent::BootStage | TraceEvent::CpuStage => continue,
                TraceEvent::ThreadSpawn => {
                    let name = traced.b.to_le_bytes();
                    let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
                    self.names.entry(traced.a).or_insert(name);
                }
                _ => {}
            }
            self.began.entry(cpu).or_insert(traced.tsc);
            if matches!(event, TraceEvent::ThreadSwitch | TraceEvent::ThreadWake | TraceEvent::ThreadSpawn) {
                self.events.push((cpu, *traced, event));
            }
        }
    }

    /// Adds the whole name of a thread.
    pub(super) fn name(&mut self, thread: u64, name: String) {
        self.names.insert(thread, name);
    }

    /// Returns a thread as it is shown.
    pub(super) fn title(&self, thread: u64) -> String {
        match self.names.get(&thread).filter(|name| !name.is_empty()) {
            Some(name) => format!("{name} ({thread})"),
            None => format!("thread {thread}"),
        }
    }

    /// Follows the threads through the events.
    pub(super) fn follow(&mut self) -> Threads {
        self.events.sort_by_key(|(_, traced, _)| traced.tsc);
        let mut all = Follower::default();
        // What each CPU ran before its first switch.
        let mut known = std::collections::BTreeSet::new();
        for (cpu, traced, event) in &self.events {
            if *event == TraceEvent::ThreadSwitch && known.insert(*cpu) {
                let began = self.began.get(cpu).copied().unwrap_or(traced.tsc);
                let before = ThreadLeft::from_word(traced.b).map(|left| left.thread);
                all.current.insert(*cpu, (before, began));
                if let Some(thread) = before {
                    all.open.entry(thread).or_insert((State::Running { cpu: *cpu }, began));
                }
            }
        }
        for (cpu, traced, event) in &self.events {
            match event {
                TraceEvent::ThreadSwitch => all.switch(*cpu, traced),
                TraceEvent::ThreadSpawn => all.wake(*cpu, traced, "spawned"),
                _ => all.wake(*cpu, traced, "woken"),
            }
        }
        all.end(self.last)
    }
}

#[derive(Default)]
struct Follower {
    /// The thread that each CPU runs, and since when.
    current: BTreeMap<u32, (Option<u64>, u64)>,
    /// The state of each thread, and since when.
    open: BTreeMap<u64, (State, u64)>,
    threads: Threads,
}

impl Follower {
    fn switch(&mut self, cpu: u32, traced: &RecordedEvent) {
        let (now, next) = (traced.tsc, thread_in(traced.a));
        if let Some((Some(thread), begin)) = self.current.insert(cpu, (next, now)) {
            self.run(cpu, thread, begin, now);
        }
        if let Some(ThreadLeft { thread, reason }) = ThreadLeft::from_word(traced.b) {
            let state = match reason {
                LeaveReason::Yielded | LeaveReason::Preempted | LeaveReason::Moved => {
                    Some(State::Runnable { since: reason.name() })
                }
                LeaveReason::Parked | LeaveReason::Blocked => Some(State::Waiting { state: reason.name() }),
                LeaveReason::Ended => None,
            };
            self.enter(thread, state, now);
        }
        if let Some(thread) = next {
            self.enter(thread, Some(State::Running { cpu }), now);
        }
    }

    /// A CPU has run a thread.
    fn run(&mut self, cpu: u32, thread: u64, begin: u64, end: u64) {
        if begin < end {
            self.threads.on_cpus.push(Span { thread, state: State::Running { cpu }, begin, end });
        }
    }

    fn wake(&mut self, cpu: u32, traced: &RecordedEvent, since: &'static str) {
        let (tsc, woken) = (traced.tsc, traced.a);
        let waker = self.current.get(&cpu).and_then(|(thread, _)| *thread);
        self.threads.arrows.push(Arrow { tsc, cpu, waker, woken });
        // By the clocks of two CPUs it may have run before it was woken.
        if !matches!(self.open.get(&woken), Some((State::Running { .. }, _))) {
            self.enter(woken, Some(State::Runnable { since }), tsc);
        }
    }

    /// Ends the state of a thread, and begins another.
    fn enter(&mut self, thread: u64, state: Option<State>, now: u64) {
        let before = match state {
            Some(state) => self.open.insert(thread, (state, now)),
            None => self.open.remove(&thread),
        };
        self.close(thread, before, state, now);
    }

    fn close(&mut self, thread: u64, before: Option<(State, u64)>, next: Option<State>, now: u64) {
        let Some((state, begin)) = before else { return };
        // The switch between two CPUs is lost, and with it the end.
        let is_lost = matches!((state, next), (State::Running { .. }, Some(State::Running { .. })));
        if !is_lost && begin < now {
            self.threads.states.push(Span { thread, state, begin, end: now });
        }
    }

    fn end(mut self, last: u64) -> Threads {
        for (cpu, (thread, begin)) in std::mem::take(&mut self.current) {
            if let Some(thread) = thread {
                self.run(cpu, thread, begin, last);
            }
        }
        for (thread, open) in std::mem::take(&mut self.open) {
            self.close(thread, Some(open), None, last);
        }
        self.threads
    }
}
