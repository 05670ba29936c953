//! The layers of the kernel and of the launcher, and the hooks by which a lower layer of the kernel calls a higher one.
//! `tests/layers.rs` checks the sources against these tables; the documentation is drawn from them.

/// Each top-level module of the kernel and its layer. A module may import from lower layers, and from its own if there is no
/// cycle.
pub(crate) const LAYERS: &[(&str, u8)] = &[
    ("config", 0),
    ("registry", 0),
    ("wire", 0),
    ("cpu", 1),
    ("sync", 2),
    ("console", 2),
    ("trace", 2),
    ("boot", 3),
    // Every module that can panic imports it, so it is a low layer, and stops the other CPUs by a hook.
    ("panic", 3),
    ("memory", 4),
    ("interrupts", 5),
    ("acpi", 5),
    ("apic", 6),
    ("time", 7),
    ("smp", 8),
    ("heap", 9),
    ("sched", 10),
    ("audit", 10),
    ("selftest", 10),
    ("stress", 10),
    ("testing", 10),
    ("bench", 10),
    ("shell", 10),
    ("faults", 11),
    ("options", 11),
    ("report", 11),
    ("program", 11),
    ("prelude", 11),
    ("stages", 11),
    ("lib", 11),
    ("main", 11),
];

/// Each top-level module of the launcher and its layer.
pub(crate) const LAUNCHER_LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("machine", 1),
    ("setup", 2),
    ("kernel", 3),
    ("run", 4),
    ("report", 5),
    ("present", 6),
    ("host", 7),
    ("commands", 8),
    ("lib", 9),
    ("main", 9),
    ("cargo_octopod", 9),
];

/// A hook: the means by which a lower module of the kernel calls a function of a higher one, which it does not import.
pub(crate) struct Hook {
    /// The name: of a static, of a symbol, of a `patchable!` function, or of the macro that adds a row to a linker section.
    pub name: &'static str,
    /// The module that calls it.
    pub lower: &'static str,
    /// The function or macro that sets it; empty if the linker does, by the symbol's name.
    pub set_by: &'static str,
    /// The top-level modules that set it.
    pub setters: &'static [&'static str],
    /// Its purpose.
    #[allow(dead_code)]
    pub purpose: &'static str,
}

/// The setters of a hook that several layers set.
pub(crate) const ANY: &[&str] = &["any"];

/// A function that fault injection may replace.
const fn patchable(lower: &'static str, name: &'static str) -> Hook {
    Hook { name, lower, set_by: "static_call", setters: &["faults"], purpose: "fault injection" }
}

/// Every hook.
pub(crate) const HOOKS: &[Hook] = &[
    Hook {
        name: "static_call",
        lower: "cpu::static_call",
        set_by: "static_call",
        setters: ANY,
        purpose: "the implementation for this processor replaces the original function",
    },
    Hook {
        name: "CLOCK",
        lower: "sync::deadline",
        set_by: "set_clock",
        setters: &["time"],
        purpose: "deadlines read the clock",
    },
    Hook {
        name: "REPORTER",
        lower: "sync::waiting",
        set_by: "set_wait_reporter",
        setters: &["smp"],
        purpose: "long waits for a lock are reported, with the holder's backtrace",
    },
    Hook {
        name: "THREAD_NAMER",
        lower: "sync::lock_order::checks",
        set_by: "set_thread_namer",
        setters: &["sched"],
        purpose: "the report of an inverted order of locks names the threads",
    },
    Hook {
        name: "name_lock",
        lower: "sync::named",
        set_by: "name_lock",
        setters: ANY,
        purpose: "reports name the locks that a CPU holds",
    },
    Hook {
        name: "CLOCK",
        lower: "console::logger",
        set_by: "set_clock",
        setters: &["time"],
        purpose: "log lines have a time stamp",
    },
    Hook {
        name: "rust_entry",
        lower: "boot",
        set_by: "",
        setters: &["stages"],
        purpose: "rt0 enters the 64-bit kernel",
    },
    Hook {
        name: "SMP_OPS",
        lower: "panic::hooks",
        set_by: "set_smp_ops",
        setters: &["smp"],
        purpose: "a panic stops the other CPUs and reports them",
    },
    Hook {
        name: "THREADS",
        lower: "panic::threads",
        set_by: "set_thread_lister",
        setters: &["sched"],
        purpose: "a panic lists the threads",
    },
    Hook {
        name: "EXIT_HOOK",
        lower: "panic::hooks",
        set_by: "set_exit_hook",
        setters: &["stages"],
        purpose: "the trace is sent after the panic report",
    },
    Hook {
        name: "DRAIN_HOOK",
        lower: "memory::reclaim",
        set_by: "set_drain_hook",
        setters: &["smp"],
        purpose: "an allocation makes other CPUs drain their frame caches",
    },
    Hook {
        name: "HEAP_HOOK",
        lower: "memory::heap_slot",
        set_by: "set_heap_hook",
        setters: &["heap"],
        purpose: "the heap returns cached objects when a CPU goes offline or no frame is free",
    },
    Hook {
        name: "SWITCH",
        lower: "interrupts::preempt",
        set_by: "set_switch",
        setters: &["sched"],
        purpose: "the exit of an interrupt or the end of a guard switches to another thread",
    },
    Hook {
        name: "INTERRUPT",
        lower: "interrupts::preempt",
        set_by: "set_switch",
        setters: &["sched"],
        purpose: "the end of a guard with interrupts off sends this CPU an interrupt, whose exit switches",
    },
    Hook {
        name: "POLICY",
        lower: "sched::mechanism",
        set_by: "set_policy",
        setters: &[],
        purpose: "the scheduling policy of the command line decides, or the one that the stress tests",
    },
    Hook {
        name: "SLICE_ENDED",
        lower: "time::timer",
        set_by: "set_slice_hook",
        setters: &["sched"],
        purpose: "the slice of the running thread is over",
    },
    Hook {
        name: "SCHEDULER",
        lower: "smp::scheduler",
        set_by: "set_scheduler",
        setters: &["sched"],
        purpose: "an idle CPU runs threads, and one that goes offline gives them to others",
    },
    Hook {
        name: "THREAD_NAME",
        lower: "interrupts::unregistered",
        set_by: "set_thread_name",
        setters: &["sched"],
        purpose: "a stack overflow is reported with the name of the thread",
    },
    Hook {
        name: "FLUSH_HOOK",
        lower: "memory::mappings::tlb",
        set_by: "set_flush_hook",
        setters: &["smp"],
        purpose: "the other CPUs flush their TLBs of what is no longer mapped",
    },
    Hook {
        name: "MACHINE_HAS_STOPPED",
        lower: "time::timer::slow",
        set_by: "set_machine_has_stopped",
        setters: &["smp"],
        purpose: "a timer callback is not reported as slow if the host has stopped the machine",
    },
    Hook {
        name: "HANDLERS",
        lower: "interrupts::handlers",
        set_by: "register",
        setters: ANY,
        purpose: "interrupt handlers, by vector",
    },
    Hook {
        name: "PROGRAM_HANDLERS",
        lower: "interrupts::program_vectors",
        set_by: "ProgramVector::allocate",
        setters: &[],
        purpose: "interrupts on the vectors of the program",
    },
    Hook {
        name: "IST_HANDLERS",
        lower: "interrupts::handlers",
        set_by: "replace",
        setters: ANY,
        purpose: "handlers of the vectors that ignore the interrupt flag",
    },
    Hook {
        name: "ACKNOWLEDGE",
        lower: "interrupts::unregistered",
        set_by: "set_eoi_hook",
        setters: &["apic"],
        purpose: "an unexpected interrupt is acknowledged to the local APIC",
    },
    Hook {
        name: "octopod_program",
        lower: "program",
        set_by: "program",
        setters: &["main"],
        purpose: "the end of the boot runs the kernel's program",
    },
    patchable("cpu::controls", "set_memory_types"),
    patchable("cpu::apic_id", "initial_apic_id"),
    patchable("cpu::tlb", "flush_all"),
    patchable("sync::waiting", "lock_timeout_ms"),
    patchable("memory::mappings::batches", "is_flushed"),
    patchable("memory::mappings::batches", "keeps_addresses"),
    patchable("console::serial", "transmit_interrupt"),
    patchable("apic", "enable"),
    patchable("apic::icr", "accepts_from_itself"),
    patchable("apic::icr", "is_idle"),
    patchable("apic::icr", "may_send"),
    patchable("apic::icr", "transmit"),
    patchable("smp::bring_up", "bringup_complete"),
    patchable("smp::bring_up::ap_state", "before_resume"),
    patchable("smp::bring_up::ap_state", "enter_stage"),
    patchable("smp::bring_up::trampoline", "fill_pages"),
    patchable("smp::bring_up::trampoline", "protect_code"),
    patchable("smp::bring_up::trampoline", "held_ap"),
    patchable("smp::hotplug::teardown", "close"),
    patchable("smp::hotplug::teardown", "is_offline_requested"),
    patchable("smp::nmi", "stop_others"),
    patchable("smp::shootdown", "covers"),
    patchable("stress::progress", "reported"),
    patchable("stress::run", "workload_over"),
];
