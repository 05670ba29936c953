//! The commands.

use crate::cpu::CpuId;
use crate::stress::workloads::Workload;

/// A command with its arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    /// The list of commands, or the usage of the one at this index of [`ROWS`](super::table::ROWS).
    Help(Option<usize>),
    /// The state of each CPU.
    Cpus,
    /// The threads.
    Threads,
    /// A thread, by its number.
    Thread(u64),
    /// What each CPU and each thread has done since the last call.
    Top,
    /// A view of memory.
    Memory(View),
    /// The interrupt counts.
    Interrupts,
    /// The timers of each CPU.
    Timers,
    /// A workload, or all of them.
    Stress {
        /// The workload; `None` for all.
        workload: Option<&'static Workload>,
        /// The time for all together, in milliseconds; `None` for the default.
        ms: Option<u64>,
    },
    /// A benchmark, or all of them.
    Bench(Option<&'static str>),
    /// The trace.
    Trace(Tracing),
    /// A call to a CPU.
    Call(CpuId),
    /// Takes a CPU offline.
    Offline {
        /// The CPU.
        cpu: CpuId,
        /// Whether threads that may run on no other CPU lose their affinity.
        breaks_affinity: bool,
    },
    /// Brings a CPU online.
    Online(CpuId),
    /// The backtrace of a CPU, or of each.
    Backtrace(Option<CpuId>),
    /// A panic.
    Panic,
    /// Resets the machine.
    Reboot,
    /// Ends the run.
    PowerOff,
}

/// A view of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// A summary.
    Summary,
    /// Each region of the memory map.
    Map,
    /// The free frames of each zone, by order.
    Frames,
    /// The objects of the heap.
    Heap,
    /// Mappings, and what waits for a flush.
    Mappings,
    /// The page-table walk of an address.
    Tables(u64),
}

/// An action on the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracing {
    /// Starts recording on every CPU.
    On,
    /// Stops recording.
    Off,
    /// Shows the newest events.
    Dump,
}
