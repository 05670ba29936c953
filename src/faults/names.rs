//! The names and the parameters of fault injection.

use core::fmt;

use ap_trampoline::Stage;

use super::program::{self, ProgramFault};
use crate::boot::command_line::{
    FromText, Named, Parameter, ParameterList, ParameterSet, ParameterValue, ValueError,
};
use crate::heap::fault_names::heap_faults;
use crate::memory::frames::fault_names::frame_faults;
use crate::registry::by_name;
use crate::sched::fault_names::sched_faults;

sched_faults! { heap_faults! { frame_faults! {
    /// An injected fault, of the frame allocator, of the heap, of the scheduler, or one of these. Unless it says otherwise, a check of the kernel must catch it.
    pub enum Fault {
        /// The allocator `magazine` leaks one of its borrowed frames.
        LeakBorrowedFrame = "leak_borrowed_frame",
        /// The last CPU's start-up IPIs are lost.
        SkipSipi = "skip_sipi",
        /// The last CPU is held at the end of the stage that `inject.stage=` names.
        StopAtStage = "stop_at_stage",
        /// As `stop_at_stage`, and the CPU continues when it was given up.
        LateAtStage = "late_at_stage",
        /// The trampoline is one byte too long for its pages.
        OverrunTrampoline = "overrun_trampoline",
        /// Firmware hands over with every local APIC in x2APIC mode. It must do no harm.
        FirmwareX2Apic = "firmware_x2apic",
        /// CPUID reports APIC IDs that differ from those of the local APICs. It must do no harm.
        WrongCpuidIds = "wrong_cpuid_ids",
        /// CPU 3 panics.
        PanicCpu3 = "panic_cpu3",
        /// The last CPU panics when the self-test has passed.
        PanicAfterSelfTest = "panic_after_selftest",
        /// All CPUs panic at once.
        PanicEverywhere = "panic_everywhere",
        /// The last CPU panics with a message whose formatting panics.
        PanicInPanic = "panic_in_panic",
        /// The last CPU panics while it holds the console.
        PanicInConsole = "panic_in_console",
        /// An exception occurs before anything is set up.
        EarlyException = "early_exception",
        /// The last CPU overflows its stack.
        StackOverflow = "stack_overflow",
        /// A thread named "deep" overflows its stack.
        OverflowThreadStack = "overflow_thread_stack",
        /// The last CPU overflows the stack of its NMI handler.
        OverflowNmiStack = "overflow_nmi_stack",
        /// The last CPU overflows the stack of its machine check handler.
        OverflowMachineCheckStack = "overflow_machine_check_stack",
        /// The last CPU overflows the stack of its debug exception handler.
        OverflowDebugStack = "overflow_debug_stack",
        /// The last CPU overflows the stack of its double fault handler.
        OverflowDoubleFaultStack = "overflow_double_fault_stack",
        /// The last CPU does not flush its TLB.
        SkipShootdown = "skip_shootdown",
        /// Frames and addresses of mappings are used again before the CPUs have flushed their TLBs.
        FlushTooEarly = "flush_too_early",
        /// Flushes do not wait for the last CPU, and do not request one from it.
        SkipCpu = "skip_cpu",
        /// The addresses of mappings are used again before the CPUs have flushed their TLBs.
        ReuseBeforeFlush = "reuse_before_flush",
        /// The last CPU spins with interrupts off for a while during its work, then continues.
        SpinAWhile = "spin_a_while",
        /// A timer callback of the last CPU spins for a while.
        SpinInCallback = "spin_in_callback",
        /// The clock jumps ahead during the work, as after the host has stopped the machine. It must do no harm.
        ClockJump = "clock_jump",
        /// The last CPU holds a spin lock for ever, while the BSP waits for it before the boot is complete.
        HoldLockAtBoot = "hold_lock_at_boot",
        /// As `hold_lock_at_boot`, but a wait for a lock times out only after ten minutes.
        HoldLockUntilReport = "hold_lock_until_report",
        /// As `hold_lock_at_boot`, when the work begins.
        HoldLock = "hold_lock",
        /// As `hold_lock_at_boot`, in timer callbacks while all CPUs are at work.
        HoldLockAtWork = "hold_lock_at_work",
        /// The last CPU holds the console for ever, while the BSP logs.
        HoldConsole = "hold_console",
        /// The last CPU holds the console until all others have stalled on it. It must do no harm.
        HoldConsoleAWhile = "hold_console_a_while",
        /// The serial port's transmitter sends no interrupt: output is by polling.
        MuteTransmitter = "mute_transmitter",
        /// As `mute_transmitter`, when the work begins. The next writers send the output that waits for the interrupt.
        MuteTransmitterAtWork = "mute_transmitter_at_work",
        /// The last CPU panics while the ring of serial output is full.
        PanicWithFullRing = "panic_with_full_ring",
        /// The last CPU waits for a spin lock that it holds.
        LockTwice = "lock_twice",
        /// Two threads take two mutexes in different orders, one after the other.
        InvertMutexes = "invert_mutexes",
        /// Two CPUs take two spin locks in different orders, one after the other.
        InvertSpinLocks = "invert_spin_locks",
        /// Three threads wait for each other's mutexes.
        Deadlock = "deadlock",
        /// A thread blocks while it holds a spin lock.
        SwitchWithLock = "switch_with_lock",
        /// A thread blocks with a `PreemptGuard`.
        SwitchWithGuard = "switch_with_guard",
        /// A thread locks a mutex of the crate `lock_api` with a `PreemptGuard`.
        LockWithGuard = "lock_with_guard",
        /// A thread ends with a `PreemptGuard`.
        EndWithGuard = "end_with_guard",
        /// A thread ends with interrupts off.
        EndWithInterruptsOff = "end_with_interrupts_off",
        /// The last CPU ignores requests to go offline.
        IgnoreOfflineRequest = "ignore_offline_request",
        /// The last CPU hangs while it goes offline.
        HangGoingOffline = "hang_going_offline",
        /// The last CPU's start-up IPIs are lost when it is brought back online.
        DropSipiOnOnline = "drop_sipi_on_online",
        /// The last CPU, brought back online, spins after its bring-up slot until the requester has stopped waiting.
        LateOnOnline = "late_on_online",
        /// The clock jumps ahead while the last CPU goes offline, and while it comes back, as after the host has stopped
        /// the machine. It must do no harm.
        ClockJumpHotplug = "clock_jump_hotplug",
        /// While the last CPU goes offline, the frame behind an address that it has used is replaced. It must do no harm.
        RemapInTeardown = "remap_in_teardown",
        /// The last CPU takes an NMI while it is offline, and is restarted out of the handler. It must do no harm.
        RestartInNmi = "restart_in_nmi",
        /// The BSP's local APIC stays busy and can send no interrupt when all CPUs are online.
        BusyIcr = "busy_icr",
        /// The last CPU's local APIC stays busy and can send no interrupt when all CPUs are online. The CPU calls all
        /// others.
        BusyIcrOnLast = "busy_icr_on_last",
        /// Every second wake-up IPI cannot be sent. It must do no harm.
        FailWakes = "fail_wakes",
        /// Call IPIs cannot be sent to the last CPU.
        FailCall = "fail_call",
        /// No CPU can send a self-IPI. It must do no harm: timers replace them.
        FailSelfIpi = "fail_self_ipi",
        /// NMIs cannot be sent to the last CPU.
        FailNmi = "fail_nmi",
        /// An NMI handler may send interrupts.
        SendInNmi = "send_in_nmi",
        /// The last CPU's INIT cannot be sent.
        FailInit = "fail_init",
        /// The last CPU's start-up IPIs cannot be sent when it is brought back online.
        FailRestart = "fail_restart",
        /// The last CPU spins with interrupts off.
        SpinForever = "spin_forever",
        /// The last CPU frees an object of the heap twice.
        FreeTwice = "free_twice",
        /// The last CPU frees an address on its stack.
        FreeForeign = "free_foreign",
        /// The last CPU frees an address inside an object of the heap.
        FreeInterior = "free_interior",
        /// The last CPU frees an object of the heap as one of another size.
        FreeWrongLayout = "free_wrong_layout",
        /// The last CPU writes to its own code.
        WriteText = "write_text",
        /// The last CPU writes to a constant.
        WriteConstants = "write_constants",
        /// The last CPU writes to a gate of the interrupt descriptor table.
        WriteIdt = "write_idt",
        /// The last CPU executes a variable.
        ExecuteData = "execute_data",
        /// The last CPU reads page 0 through the direct map.
        TouchPage0 = "touch_page_0",
        /// The last CPU reads through a null pointer.
        TouchNull = "touch_null",
        /// The last CPU's TSC is ahead of the others'.
        TscWarps = "tsc_warps",
        /// The TSC runs at a rate that differs from its calibration.
        TscDrifts = "tsc_drifts",
        /// The kernel's code has a second, writable mapping.
        WritableText = "writable_text",
        /// The code with which APs start stays writable in the direct map.
        WritableTrampoline = "writable_trampoline",
        /// Only the BSP sets its page attribute table.
        StalePat = "stale_pat",
        /// A redirected function is shorter than the jump.
        ShortRedirect = "short_redirect",
        /// Two redirected functions overlap.
        OverlappingRedirect = "overlapping_redirect",
        /// A function is redirected twice.
        DoubleRedirect = "double_redirect",
        /// A benchmark takes longer each time.
        UnsteadyCost = "unsteady_cost",
        /// The self-test's handler of one vector changes a register of the code that it interrupted.
        ClobberRegister = "clobber_register",
    }
} } }

/// The stages at whose end an AP can be held: all but the first, in which it does not run yet.
pub const FAULT_STAGES: &[Stage] = Stage::ALL.split_at(1).1;

/// The stage at whose end an AP is held if the command line names none.
const DEFAULT_STAGE: Stage = Stage::LongMode;

/// The parameters of fault injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultParameters {
    /// `inject=`: the injected fault.
    pub fault: Option<Fault>,
    /// `inject=`, if it names a fault of the program.
    pub program_fault: Option<&'static ProgramFault>,
    /// `inject.stage=`: the stage of bring-up at whose end a fault holds the last CPU.
    pub stage: Stage,
    /// Whether this kernel was built with fault injection.
    is_built_in: bool,
}

impl FaultParameters {
    /// Creates parameters without a fault. `is_built_in`: whether this kernel was built with faults.
    pub const fn new(is_built_in: bool) -> FaultParameters {
        FaultParameters { fault: None, program_fault: None, stage: DEFAULT_STAGE, is_built_in }
    }
}

const FAULT: Parameter = Parameter {
    name: "inject",
    summary: " The injected fault.",
    allowed: describe,
    default: |_| Ok(()),
    set: None,
    place: None,
};

/// Writes the names of all faults, those of the program first: an error message may have no room for the last ones.
fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    by_name(program::registered(), |fault| fault.name).try_for_each(|fault| write!(f, "{}, ", fault.name))?;
    <Fault as FromText>::describe(f)
}

const STAGE: Parameter = Parameter {
    name: "inject.stage",
    summary: " The stage of bring-up at whose end a fault holds the last CPU.",
    allowed: <Stage as FromText>::describe,
    default: |f| ParameterValue::write(&DEFAULT_STAGE, f),
    set: None,
    place: None,
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
        let fault = Fault::from_name(value);
        let program_fault = program::registered().iter().copied().find(|known| known.name == value);
        if fault.is_none() && program_fault.is_none() {
            return Err(ValueError::UnknownName(value));
        }
        if !self.is_built_in {
            return Err(ValueError::NotBuiltIn { what: "fault injection", feature: "faults" });
        }
        (self.fault, self.program_fault) = (fault, program_fault);
        Ok(())
    }
}

impl FromText for Stage {
    fn from_text(text: &str) -> Result<Stage, ValueError<'_>> {
        let stage = FAULT_STAGES.iter().copied().find(|stage| stage.name() == text);
        stage.ok_or(ValueError::UnknownName(text))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in FAULT_STAGES.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{stage}")?;
        }
        Ok(())
    }
}
