//! The faults of the scheduler, for fault injection: the one list of their names and descriptions.

/// Declares an enum by the macro `$declare`, which may be inside another: of the scheduler's faults, followed by the given values.
macro_rules! sched_faults {
    ($outer:ident! { $declare:ident! { $($enum:tt)* } }) => {
        $crate::sched::fault_names::sched_faults! { @list ($outer $declare) $($enum)* }
    };
    ($declare:ident! { $($enum:tt)* }) => {
        $crate::sched::fault_names::sched_faults! { @list ($declare) $($enum)* }
    };
    (@list $macros:tt $(#[$about:meta])* $vis:vis enum $type:ident { $($more:tt)* }) => {
        $crate::sched::fault_names::sched_faults! { @declare $macros $(#[$about])* $vis enum $type {
            /// A CPU without a thread runs one that another CPU runs.
            RunTwice = "run_twice",
            /// An `unpark` of a parked thread is lost.
            LoseWake = "lose_wake",
            /// A thread that waits for an event is put on its list after the lock was released under which it has looked: a wake-up between is lost.
            WakeBeforeBlock = "wake_before_block",
            /// A thread that is to be queued is on no queue.
            ForgetThread = "forget_thread",
            /// The end of a slice switches to no other thread.
            SkipPreempt = "skip_preempt",
            /// An idle CPU takes threads that are pinned to another.
            StealPinned = "steal_pinned",
            /// Idle CPUs take no thread from the last CPU.
            StealSkipsCpu = "steal_skips_cpu",
            /// Idle CPUs take no thread from others.
            NeverSteal = "never_steal",
            /// Of the fair threads that have asked for a slice, every second is charged for a 64th of the time that it runs.
            Unfair = "unfair",
            /// A CPU that goes offline keeps the threads of its queue.
            StrandOnOffline = "strand_on_offline",
            /// No priority is inherited: the owner of a mutex runs with its own.
            InvertPriority = "invert_priority",
            /// The stack of a thread that has ended is neither used again nor unmapped.
            LeakStack = "leak_stack",
            $($more)*
        } }
    };
    (@declare ($outer:ident $declare:ident) $($enum:tt)*) => {
        $outer! { $declare! { $($enum)* } }
    };
    (@declare ($declare:ident) $($enum:tt)*) => {
        $declare! { $($enum)* }
    };
}
pub(crate) use sched_faults;
