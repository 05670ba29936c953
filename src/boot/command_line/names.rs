//! What has a name on the command line.

use core::fmt;

/// What [`named!`] declares.
pub trait Named: Copy + PartialEq + fmt::Debug + 'static {
    /// All of them, in the order of their declaration.
    const NAMES: &'static [Self];
}

/// Declares an enum whose values are written by name on the command line, so that names, parser and the list of
/// what is allowed cannot disagree.
macro_rules! named {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)+
        }

        impl $type {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [$type] = &[$($type::$variant,)+];

            /// The name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<$type> {
                $type::ALL.iter().copied().find(|known| known.name() == name)
            }
        }

        impl Named for $type {
            const NAMES: &'static [$type] = $type::ALL;
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// What to do once all CPUs are up.
    Work {
        /// Nothing more: report how they came up.
        Boot = "boot",
        /// Draw frames on all CPUs at once.
        Stress = "stress",
        /// Count what things cost, in instructions.
        Bench = "bench",
        /// See what only the machine can show of the kernel: [`Part`].
        SelfTest = "selftest",
        /// Do what is typed.
        Shell = "shell",
    }
}

named! {
    /// Whether something is done.
    Switch {
        /// It is.
        On = "on",
        /// It is not.
        Off = "off",
    }
}

named! {
    /// How much is traced.
    TraceLevel {
        /// Nothing.
        Off = "off",
        /// What comes seldom, for a panic to tell.
        Panic = "panic",
        /// Everything, for whoever asks for it in the shell.
        All = "all",
        /// Everything, and the launcher gets it.
        On = "on",
    }
}

named! {
    /// What the time is read from.
    ClockChoice {
        /// The TSC, unless it cannot be trusted.
        Auto = "auto",
        /// The TSC, come what may.
        Tsc = "tsc",
        /// The HPET.
        Hpet = "hpet",
        /// ACPI's power management timer.
        PmTimer = "pm_timer",
    }
}

impl ClockChoice {
    /// The timer that it asks for, as people call it; what would do instead of the TSC, where it asks for none.
    pub const fn timer(self) -> &'static str {
        match self {
            ClockChoice::Hpet => "HPET",
            ClockChoice::PmTimer => "PM timer",
            ClockChoice::Auto | ClockChoice::Tsc => "HPET or PM timer",
        }
    }
}

named! {
    /// A part of the stress.
    Workload {
        /// Each CPU takes a frame and gives it back.
        Pairs = "pairs",
        /// Each CPU takes many frames, then gives all back.
        Bulk = "bulk",
        /// Each CPU takes runs of random sizes, which live for random times.
        Random = "random",
        /// Frames are given back on another CPU than took them.
        Remote = "remote",
        /// Each CPU takes runs of every order, and gives some back frame by frame.
        Orders = "orders",
        /// All frames are taken and every second one is given back, then taken by one CPU.
        Checkerboard = "checkerboard",
        /// As `random`, while one CPU after the other goes offline and comes back.
        Offline = "offline",
        /// As `random`, on each CPU and in a timer interrupt that comes in between.
        Interrupts = "interrupts",
        /// All CPUs take until nothing is left, then all give back.
        Storm = "storm",
        /// What a trace says, which the loader has brought along as a module.
        Replay = "replay",
    }
}

named! {
    /// An allocator to be stressed.
    Allocator {
        /// The kernel's own.
        Octopod = "octopod",
        /// A plain array for each CPU before the locked one.
        Magazine = "magazine",
        /// A library's, behind one lock.
        Locked = "locked",
    }
}

named! {
    /// A part of the self-test.
    Part {
        /// The time never goes back, whichever CPU is asked.
        Clock = "clock",
        /// Timers expire once, and not too early.
        Timers = "timers",
        /// Every interrupt vector is entered, and nothing is disturbed.
        Vectors = "vectors",
        /// A page is zeroed, to its last byte and no further.
        Zeroing = "zeroing",
        /// Frames come from the nearest node that has some, and from the zone that was asked for.
        Zones = "zones",
        /// All CPUs call each other.
        Calls = "calls",
        /// Who may not wait for memory does not, and an NMI gets none.
        Contexts = "contexts",
        /// Owning handles of frames and mappings free what they own, once.
        Handles = "handles",
        /// What is given back wrongly is refused.
        Misuse = "misuse",
        /// CPUs go offline and come back while all are at work.
        Offline = "offline",
        /// The serial port's interrupt reaches every CPU, which receives and sends.
        Serial = "serial",
        /// No line of the log is torn, and none is lost that is not counted.
        Log = "log",
        /// No CPU reads through an entry of its TLB that is stale.
        Shootdown = "shootdown",
    }
}

named! {
    /// A deliberate fault, there to show that its check can fail.
    Fault {
        /// The allocator hands a frame out twice.
        DoubleHandOut = "double_hand_out",
        /// The allocator loses a frame.
        LoseFrame = "lose_frame",
        /// The allocator `magazine` loses one of the frames that it was lent.
        LoseLentFrame = "lose_lent_frame",
        /// The block table counts one frame less than comes back.
        Miscount = "miscount",
        /// The allocator hands out a run that begins one frame too far.
        Misalign = "misalign",
        /// A block whose last frame comes back stays in pieces.
        Strand = "strand_block",
        /// A whole block that goes back to the buddy does not get there.
        ForgetBlock = "forget_block",
        /// A whole block that goes back to the buddy is not merged with its free neighbour.
        KeepApart = "keep_apart",
        /// A block that has free frames again is not noted where a search would look.
        ForgetSummary = "forget_summary",
        /// What is free already may be freed again.
        AcceptDoubleFree = "accept_double_free",
        /// What the allocator was never given may be freed.
        AcceptForeign = "accept_foreign",
        /// More may be freed than was handed out.
        AcceptWrongOrder = "accept_wrong_order",
        /// A CPU without memory does not ask the others for what they keep.
        KeepFromOthers = "keep_from_others",
        /// A request with interrupts off waits for the other CPUs.
        WaitInHandler = "wait_in_handler",
        /// The allocator is open in NMIs.
        AllowInNmi = "allow_in_nmi",
        /// A refill lets an interrupt in half-way.
        LetHandlerIn = "let_handler_in",
        /// The last CPU's start-up IPIs are lost on their way.
        SkipSipi = "skip_sipi",
        /// The last CPU stops at the end of the stage that `fault.stage=` names.
        StopAtStage = "stop_at_stage",
        /// As that, and goes on as soon as it was given up.
        LateAtStage = "late_at_stage",
        /// The trampoline is one byte too long for its page.
        OverrunTrampoline = "overrun_trampoline",
        /// Firmware hands over with every local APIC in x2APIC mode. Nothing has to catch that: it must do no harm.
        FirmwareX2Apic = "firmware_x2apic",
        /// CPUID names other APIC IDs than the local APICs have. It must do no harm.
        WrongCpuidIds = "wrong_cpuid_ids",
        /// CPU 3 panics.
        PanicCpu3 = "panic_cpu3",
        /// The last CPU panics when the self-test has passed.
        PanicAfterSelfTest = "panic_after_selftest",
        /// All CPUs panic at once.
        PanicEverywhere = "panic_everywhere",
        /// The last CPU panics of something that panics when it is asked what it is.
        PanicInPanic = "panic_in_panic",
        /// The last CPU panics while it holds the console.
        PanicInConsole = "panic_in_console",
        /// An exception before anything is set up.
        EarlyException = "early_exception",
        /// The last CPU calls itself until its stack is full.
        StackOverflow = "stack_overflow",
        /// As that, in the NMI handler, on its stack.
        OverflowNmiStack = "overflow_nmi_stack",
        /// As that, in the machine check handler, on its stack.
        OverflowMachineCheckStack = "overflow_machine_check_stack",
        /// As that, in the debug exception handler, on its stack.
        OverflowDebugStack = "overflow_debug_stack",
        /// As that, in the double fault handler, on its stack.
        OverflowDoubleFaultStack = "overflow_double_fault_stack",
        /// The last CPU keeps stale entries in its TLB.
        SkipShootdown = "skip_shootdown",
        /// The last CPU spins with interrupts off for a while, in the middle of its work, and then goes on.
        SpinAWhile = "spin_a_while",
        /// A timer callback of the last CPU spins for a while.
        SpinInCallback = "spin_in_callback",
        /// In the middle of the work the clock jumps ahead, as after the host has stopped the whole machine. It must do no harm.
        ClockJump = "clock_jump",
        /// The last CPU holds a spin lock for ever, while the boot processor waits for it before the boot is complete.
        HoldLockAtBoot = "hold_lock_at_boot",
        /// As that, when the work begins.
        HoldLock = "hold_lock",
        /// As that, in callbacks of timers, while all CPUs are at work.
        HoldLockAtWork = "hold_lock_at_work",
        /// The last CPU holds the console for ever, while the boot processor logs.
        HoldConsole = "hold_console",
        /// The last CPU holds the console until all others have waited for it too long. It must do no harm.
        HoldConsoleAWhile = "hold_console_a_while",
        /// An empty transmitter of the serial port does not interrupt: output is by polling.
        MuteTransmitter = "mute_transmitter",
        /// As that from when the work begins. Output that was left to the interrupt is sent by the next writers.
        MuteTransmitterAtWork = "mute_transmitter_at_work",
        /// The last CPU panics when the ring of serial output is full.
        PanicWithFullRing = "panic_with_full_ring",
        /// The last CPU waits for a spin lock that it holds.
        LockTwice = "lock_twice",
        /// The last CPU does not notice that it is asked to go offline.
        DeafToLeave = "deaf_to_leave",
        /// The last CPU gets stuck on its way offline.
        StuckLeaving = "stuck_leaving",
        /// The last CPU's start-up IPIs are lost when it is to come back.
        LostOnReturn = "lost_on_return",
        /// The last CPU waits, past its bring-up slot, until it is no longer waited for when it comes back.
        LateOnReturn = "late_on_return",
        /// The clock jumps ahead while the last CPU is asked to go offline, and while it comes back, as after the host has
        /// stopped the whole machine. It must do no harm.
        ClockJumpHotplug = "clock_jump_hotplug",
        /// While the last CPU goes offline, the frame behind an address that it has used is replaced. It must do no harm.
        RemapInTeardown = "remap_in_teardown",
        /// An NMI reaches the last CPU while it is offline, which is restarted out of the handler. It must do no harm.
        RestartInNmi = "restart_in_nmi",
        /// The boot processor's local APIC stays busy, so that it can send no interrupt, when all CPUs are up.
        BusyIcr = "busy_icr",
        /// The last CPU's local APIC stays busy, so that it can send no interrupt, when all CPUs are up; it calls all others.
        BusyIcrOnLast = "busy_icr_on_last",
        /// Every second interrupt that ends another CPU's halt cannot be sent. Nothing has to catch that: all must go on.
        FailWakes = "fail_wakes",
        /// Calls cannot interrupt the last CPU.
        FailCall = "fail_call",
        /// No CPU can interrupt itself. Nothing has to catch that: timers do it.
        FailSelfIpi = "fail_self_ipi",
        /// NMIs cannot be sent to the last CPU.
        FailNmi = "fail_nmi",
        /// A handler of an NMI may send interrupts.
        SendInNmi = "send_in_nmi",
        /// The last CPU's INIT cannot be sent.
        FailInit = "fail_init",
        /// The last CPU's start-up IPIs cannot be sent when it is to come back.
        FailRestart = "fail_restart",
        /// The last CPU spins with interrupts off.
        SpinForever = "spin_forever",
        /// The last CPU writes to its own code.
        WriteText = "write_text",
        /// The last CPU writes to a constant.
        WriteConstants = "write_constants",
        /// The last CPU writes to a gate of the interrupt descriptor table.
        WriteIdt = "write_idt",
        /// The last CPU calls a variable.
        ExecuteData = "execute_data",
        /// The last CPU reads page 0, where the direct map would show it.
        TouchPage0 = "touch_page_0",
        /// The last CPU reads through a null pointer.
        TouchNull = "touch_null",
        /// The last CPU's TSC is ahead of the others'.
        TscWarps = "tsc_warps",
        /// The TSC runs at another rate than it was measured to.
        TscDrifts = "tsc_drifts",
        /// The kernel's code is mapped a second time, to be written.
        WritableText = "writable_text",
        /// No CPU but the boot processor sets its page attribute table.
        StalePat = "stale_pat",
        /// A function is redirected that is shorter than the jump.
        ShortRedirect = "short_redirect",
        /// Two functions are redirected that overlap.
        OverlappingRedirect = "overlapping_redirect",
        /// One function is redirected twice.
        DoubleRedirect = "double_redirect",
        /// A benchmark takes longer each time.
        UnsteadyCost = "unsteady_cost",
        /// The self-test's handler of one vector changes a register of the code that it interrupted.
        ClobberRegister = "clobber_register",
    }
}

named! {
    /// An option.
    Key {
        /// [`Options::work`](super::Options::work)
        Work = "work",
        /// [`Options::stress_time`](super::Options::stress_time)
        StressSeconds = "stress.seconds",
        /// [`Options::stress_workloads`](super::Options::stress_workloads)
        StressWorkloads = "stress.workloads",
        /// [`Options::stress_seed`](super::Options::stress_seed)
        StressSeed = "stress.seed",
        /// [`Options::stress_allocators`](super::Options::stress_allocators)
        StressAllocators = "stress.allocators",
        /// [`Options::stress_cpus`](super::Options::stress_cpus)
        StressCpus = "stress.cpus",
        /// [`Options::selftest_parts`](super::Options::selftest_parts)
        SelfTestParts = "selftest.parts",
        /// [`Options::selftest_rounds`](super::Options::selftest_rounds)
        SelfTestRounds = "selftest.rounds",
        /// [`Options::log`](super::Options::log)
        Log = "log",
        /// [`Options::clock`](super::Options::clock)
        Clock = "clock",
        /// [`Options::trace`](super::Options::trace)
        Trace = "trace",
        /// [`Options::kaslr`](super::Options::kaslr)
        Kaslr = "kaslr",
        /// [`Options::x2apic`](super::Options::x2apic)
        X2Apic = "x2apic",
        /// [`Options::max_cpus`](super::Options::max_cpus)
        MaxCpus = "max_cpus",
        /// [`Options::allow_missing_cpus`](super::Options::allow_missing_cpus)
        AllowMissingCpus = "allow_missing_cpus",
        /// [`Options::acpi_rsdp`](super::Options::acpi_rsdp)
        AcpiRsdp = "acpi_rsdp",
        /// [`Options::reserve`](super::Options::reserve)
        Reserve = "reserve",
        /// [`Options::record_nonce`](super::Options::record_nonce)
        RecordNonce = "record_nonce",
        /// [`Options::fault`](super::Options::fault)
        Fault = "fault",
        /// [`Options::fault_stage`](super::Options::fault_stage)
        FaultStage = "fault.stage",
    }
}
