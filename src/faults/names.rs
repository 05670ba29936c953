//! The names of the faults.

use core::fmt;

use ap_trampoline::Stage;

use crate::boot::command_line::{
    FromText, Parameter, ParameterList, ParameterSet, ParameterValue, ValueError,
};
use crate::named;

named! {
    /// An injected fault. Unless it says otherwise, a check of the kernel must catch it.
    pub enum Fault {
        /// The allocator hands a frame out twice.
        DoubleAllocate = "double_allocate",
        /// The allocator loses a frame.
        LeakFrame = "leak_frame",
        /// The allocator `magazine` loses one of the frames that it was lent.
        LeakBorrowedFrame = "leak_borrowed_frame",
        /// The block table counts one frame less than comes back.
        Miscount = "miscount",
        /// The allocator hands out a run that begins one frame too far.
        Misalign = "misalign",
        /// A block whose last frame comes back stays in pieces.
        SkipBlockCompletion = "skip_block_completion",
        /// A whole block that goes back to the buddy does not get there.
        SkipBuddyInsert = "skip_buddy_insert",
        /// A whole block that goes back to the buddy is not merged with its free neighbour.
        SkipBuddyMerge = "skip_buddy_merge",
        /// A block that has free frames again is not noted where a search would look.
        SkipSummaryUpdate = "skip_summary_update",
        /// What is free already may be freed again.
        AcceptDoubleFree = "accept_double_free",
        /// What the allocator was never given may be freed.
        AcceptUnownedFree = "accept_unowned_free",
        /// More may be freed than was handed out.
        AcceptWrongOrder = "accept_wrong_order",
        /// A CPU without memory does not ask the others for what they keep.
        SkipRemoteDrain = "skip_remote_drain",
        /// A request with interrupts off waits for the other CPUs.
        BlockInIrq = "block_in_irq",
        /// The allocator is open in NMIs.
        AllowAllocInNmi = "allow_alloc_in_nmi",
        /// A refill lets an interrupt in half-way.
        EnableIrqsInRefill = "enable_irqs_in_refill",
        /// The last CPU's start-up IPIs are lost on their way.
        SkipSipi = "skip_sipi",
        /// The last CPU stops at the end of the stage that `inject.stage=` names.
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
        IgnoreOfflineRequest = "ignore_offline_request",
        /// The last CPU gets stuck on its way offline.
        HangGoingOffline = "hang_going_offline",
        /// The last CPU's start-up IPIs are lost when it is to come back.
        DropSipiOnOnline = "drop_sipi_on_online",
        /// The last CPU waits, past its bring-up slot, until it is no longer waited for when it comes back.
        LateOnOnline = "late_on_online",
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

/// The stages at whose end an AP can be held: not the first, in which it does not run yet.
pub const FAULT_STAGES: &[Stage] = Stage::ALL.split_at(1).1;

/// The parameters of fault injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultParameters {
    /// `inject=`: the injected fault.
    pub fault: Option<Fault>,
    /// `inject.stage=`: the stage of bring-up at whose end a fault holds the last CPU.
    pub stage: Stage,
    /// Whether this kernel was built with faults.
    is_built_in: bool,
}

impl FaultParameters {
    /// No fault; `is_built_in` tells whether this kernel was built with faults.
    pub const fn new(is_built_in: bool) -> FaultParameters {
        FaultParameters { fault: None, stage: Stage::LongMode, is_built_in }
    }
}

const FAULT: Parameter = Parameter {
    name: "inject",
    summary: " The injected fault.",
    allowed: <Option<Fault> as ParameterValue>::describe,
};

const STAGE: Parameter = Parameter {
    name: "inject.stage",
    summary: " The stage of bring-up at whose end a fault holds the last CPU.",
    allowed: <Stage as FromText>::describe,
};

impl ParameterSet for FaultParameters {
    fn parameters(&self) -> &'static ParameterList {
        const ALL: ParameterList = &[FAULT, STAGE];
        &ALL
    }

    fn set<'a>(&mut self, name: &str, value: &'a str) -> Result<(), ValueError<'a>> {
        if name == STAGE.name {
            return self.stage.assign(value);
        }
        let mut fault = None;
        ParameterValue::assign(&mut fault, value)?;
        if !self.is_built_in {
            return Err(ValueError::NotBuiltIn { what: "fault injection", feature: "faults" });
        }
        self.fault = fault;
        Ok(())
    }
}

impl FromText for Stage {
    fn from_text(text: &str) -> Result<Stage, ValueError<'_>> {
        let stage = FAULT_STAGES.iter().copied().find(|stage| stage.name() == text);
        stage.ok_or(ValueError::UnknownName(text))
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in FAULT_STAGES.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{stage}")?;
        }
        Ok(())
    }
}
