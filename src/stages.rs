//! The whole of octopod, from rt0 to the verdict, on one screen. Each stage takes what the one before it gave.
//!
//! No stage is inlined: what it needs on the boot stack is free again when it ends, and the work has the rest.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::acpi::{self, Platform};
use crate::boot::command_line::{Switch, TraceLevel};
use crate::boot::defect::Defect;
use crate::boot::memory_map::ReservedReason;
use crate::boot::{self, BootInfo, Handoff, Kaslr, report_defect};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::console::screen::DisplayMode;
use crate::cpu::{self, CpuId, CpuSet, Features, IrqGuard};
#[cfg(feature = "faults")]
use crate::faults;
use crate::interrupts::machine_check::Since;
use crate::memory::{self, LowMemory};
use crate::options::{BuiltIn, Options, Work};
use crate::program::{self, Machine};
use crate::report::{self, Reason};
#[cfg(feature = "shell")]
use crate::shell;
use crate::smp::{self, BringUp};
use crate::sync;
use crate::time::{self, Clock};
use crate::wire::{BootStage, Nonce, TraceClass};
use crate::{apic, bench, console, interrupts, panic, stress, trace};
#[cfg(feature = "selftest")]
use crate::{audit, selftest};

/// Where rt0 goes when it is done: 64-bit mode, the boot stack, early tables, gates, GS base, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn rust_entry(handoff: &Handoff) -> ! {
    #[cfg(feature = "faults")]
    faults::at_entry(handoff);
    // SAFETY: rt0 has led GS base to this CPU's area and comes here once, with interrupts off.
    let guard = unsafe { IrqGuard::of_entry() }; //                   interrupts stay off until all CPUs are up
    interrupts::record_early_events(&guard, handoff); //                what 32-bit code could only count
    let mut boot = loader(handoff); //                                the boot information becomes one BootInfo
    let options = options(&mut boot); //                              the kernel command line, or a clear error
    let features = features(&options); //                             what this processor has beyond the necessary
    patching(&guard, &features, &options); //                         code that depends on it, while code is writable
    let low = memory(&mut boot, &features); //                        final page tables, then frames
    bsp(&guard, &features); //                                     its own GDT, TSS, stacks, CR4
    screen(&boot); //                                                 the log, where people see it
    let platform = platform(&boot, &options); //                      ACPI: CPUs, timers, NMI pins
    zones(&guard, &boot, &platform); //                               which memory is near, or in reach of few
    let clock = clock(&guard, &features, &platform, &boot, &options); // local APIC, TSC, timers
    serial_input(&platform); //                                       the I/O APICs, and a first device on them
    let up = aps(&guard, &features, platform, low); // all of them at once
    drop(guard); //                                                   from here on handlers run
    serial_output(); //                                               the port's other direction, by interrupt too
    report::boot(&boot, &clock, &up);
    #[cfg(feature = "faults")]
    faults::before_warp_test(options.faults.fault);
    tsc_sync(&features, &clock, &options); //                         do all TSCs agree? else another counter
    #[cfg(feature = "faults")]
    faults::before_audit(options.faults.fault);
    begin(BootStage::Audit);
    let locked = report::house(&boot, &features); //                  a walk of the live tables, a look at each CPU
    let machine = Machine { boot: &boot, options: &options, features: &features, bring_up: &up };
    begin(BootStage::Work);
    let outcome = locked.and_then(|()| program::run(&machine)).and_then(|()| is_whole(&machine));
    begin(BootStage::Verdict);
    report::verdict(outcome)
}

/// From here on the boot is in that stage.
fn begin(stage: BootStage) {
    panic::set_stage(stage);
    report::trace::stamp(stage);
    trace!(BootStage, stage as u64);
}

#[inline(never)]
fn loader(handoff: &Handoff) -> BootInfo {
    begin(BootStage::Loader);
    console::init(handoff.entry_tsc);
    memory::open_text_screen();
    // SAFETY: once, on rt0's tables, and nothing outside the image has been written.
    let boot =
        unsafe { boot::collect(handoff) }.unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    log::info!(
        "octopod {}, boot protocol: {}, e820: {}",
        env!("CARGO_PKG_VERSION"),
        boot.protocol.name(),
        boot.map_report
    );
    log::info!(
        "kernel at {:#x}, direct map at {:#x} (KASLR entropy: {})",
        boot::image::all().start,
        handoff.direct_map_base,
        handoff.kaslr().name()
    );
    if handoff.kaslr() == Kaslr::Tsc {
        log::warn!("KASLR entropy is weak: the processor has neither RDSEED nor RDRAND");
    }
    boot
}

#[inline(never)]
fn options(boot: &mut BootInfo) -> Options {
    begin(BootStage::Options);
    let options = Options::parse(boot.command_line, BuiltIn::HERE);
    // The record about a wrong parameter is framed as well.
    console::set_record_nonce(match &options {
        Ok(options) => options.kernel.record_nonce,
        Err(_) => Nonce::in_command_line(boot.command_line),
    });
    let options = options.unwrap_or_else(|error| boot::refuse_command_line(&error));
    console::set_filter(options.kernel.log);
    #[cfg(feature = "faults")]
    faults::arm(&options.faults);
    for range in options.kernel.reserve.iter() {
        let is_usable = boot.map.usable().any(|usable| usable.overlaps(range.rounded_out()));
        if !is_usable {
            let reason =
                format_args!("reserve= up to {:#x}: no usable memory there: without effect", range.end);
            report_defect(&Defect {
                table: "command line",
                address: Some(range.start),
                offset: None,
                reason,
            });
        }
        let _ = boot.map.reserve(*range, ReservedReason::CommandLine);
    }
    boot.rsdp_by_command_line = options.kernel.acpi_rsdp;
    options
}

fn features(options: &Options) -> Features {
    begin(BootStage::Features);
    let mut features = Features::read();
    if options.kernel.x2apic == Switch::Off && features.x2apic {
        if features.x2apic_only {
            log::warn!("firmware has locked the local APICs in x2APIC mode, so x2apic=off has no effect");
        } else {
            features.x2apic = false;
        }
    }
    sync::set_virtual(features.is_virtual);
    features
}

fn patching(guard: &IrqGuard, features: &Features, options: &Options) {
    begin(BootStage::Patching);
    // SAFETY: rt0's tables let code be written, and no other CPU runs.
    match unsafe { cpu::static_call::install(guard, features, boot::image::text_addresses()) } {
        Ok((installed, rows)) => log::debug!("{installed} of {rows} functions redirected"),
        Err(error) => boot::refuse(format_args!("{error}")),
    }
    let wanted = options.trace();
    let level = match wanted {
        TraceLevel::Off => 0,
        TraceLevel::Panic => TraceClass::Rare as u32,
        TraceLevel::All | TraceLevel::On => TraceClass::Hot as u32,
    };
    trace::init(guard, level);
    report::trace::set_wanted(wanted == TraceLevel::On);
    panic::set_exit_hook(report::trace::send);
    // SAFETY: rt0's tables let code be written: `memory`, the next stage, loads those that do not. No other CPU runs before
    // `aps`.
    match unsafe { cpu::static_key::enable(guard, level, boot::image::text_addresses()) } {
        Some((armed, places)) => log::debug!("{armed} of {places} static branches armed"),
        None => boot::refuse(format_args!("a static branch is not what it was built as")),
    }
}

#[inline(never)]
fn memory(boot: &mut BootInfo, features: &Features) -> Option<LowMemory> {
    begin(BootStage::Memory);
    // SAFETY: rt0's page tables are in use until `memory::init`, which is the first to write outside the image.
    unsafe { acpi::reserve_tables(boot, features.physical_bits) };
    let low = memory::init(boot, features).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    report::memory_map(boot);
    // The others' are given when there are others.
    if let Some(slots) =
        trace::records_hot_events().then(|| memory::alloc_slice_zeroed(trace::ring_slots())).flatten()
    {
        // SAFETY: this CPU's own area, and interrupts are off.
        unsafe { trace::install_ring(cpu::per_cpu::gs_base(), slots) };
    }
    low
}

#[inline(never)]
fn bsp(guard: &IrqGuard, features: &Features) {
    begin(BootStage::Bsp);
    if let Err(error) = memory::map_stacks(CpuId::BSP) {
        boot::refuse(format_args!("too little memory for the BSP's stacks: {error}"));
    }
    features.enable();
    cpu::set_memory_types();
    // SAFETY: once; the stacks have just been mapped, and no other CPU runs.
    unsafe {
        cpu::load_descriptors(guard, memory::stacks::ist_tops(CpuId::BSP));
        interrupts::load_idt();
        interrupts::pic::mask_all();
    }
    interrupts::machine_check::enable(Since::BeforeBoot);
}

fn screen(boot: &BootInfo) {
    begin(BootStage::Screen);
    match memory::open_pixel_screen(boot) {
        None => log::info!("no screen"),
        Some(DisplayMode::Text) => log::info!("text screen"),
        Some(DisplayMode::Pixels { columns, rows }) => log::info!("screen of {columns} by {rows} characters"),
    }
}

#[inline(never)]
fn platform(boot: &BootInfo, options: &Options) -> Platform {
    begin(BootStage::Platform);
    let by_cpuid = cpu::initial_apic_id();
    let bsp = apic::bsp_apic_id(by_cpuid);
    if bsp != by_cpuid {
        log::warn!("the BSP has APIC ID {bsp} by its local APIC (used) and {by_cpuid} by CPUID");
    }
    acpi::read_platform(boot, bsp, options.kernel.max_cpus.map(|most| most.get()))
        .unwrap_or_else(|error| boot::refuse(format_args!("{error}")))
}

/// Cuts memory into zones and nodes; where the nodes cannot be, into zones.
#[inline(never)]
fn zones(guard: &IrqGuard, boot: &BootInfo, platform: &Platform) {
    begin(BootStage::Zones);
    let numa = platform.numa;
    // SAFETY: no other CPU runs before `aps`, a later stage, so none allocates or frees meanwhile.
    let by_node =
        unsafe { memory::set_zones(numa.nodes(), numa.ranges(), |from, to| numa.distance(from, to)) };
    let divided = by_node.or_else(|error| {
        log::warn!("{error}: going on with one node");
        // SAFETY: no other CPU runs before `aps`, a later stage, so none allocates or frees meanwhile.
        unsafe { memory::set_zones(1, core::iter::empty(), |_, _| 0) }
    });
    if let Err(error) = divided {
        log::warn!("{error}: going on without zones");
    }
    memory::set_local_node(guard, platform.cpus[0].node);
    // What it keeps was taken from anywhere.
    memory::drain_this_cpu(guard);
    memory::add_low_memory(boot.map).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    report::zones(numa);
}

#[inline(never)]
fn clock(
    guard: &IrqGuard,
    features: &Features,
    platform: &Platform,
    boot: &BootInfo,
    options: &Options,
) -> Clock {
    begin(BootStage::Clock);
    let refuse = |error: &dyn core::fmt::Display| -> ! { boot::refuse(format_args!("{error}")) };
    if let Err(error) = apic::init(features, platform.local_apic_address) {
        refuse(&error);
    }
    apic::enable(guard, platform.nmi_pins, platform.cpus[0].uid);
    let clock = time::init(guard, features, platform, boot.entry_tsc, options.time.clock)
        .unwrap_or_else(|error| refuse(&error));
    log::info!(
        "{}, TSC {} kHz and APIC timer {} kHz by {}",
        apic::mode().name(),
        clock.tsc_hz / 1000,
        clock.apic_timer_hz / 1000,
        clock.source.name()
    );
    report::trace::set_tsc_hz(clock.tsc_hz);
    panic::set_tsc_khz(clock.tsc_hz / 1000);
    time::timer::start(guard);
    clock
}

/// Without I/O APICs, or without a port, nothing is received; nobody depends on it.
#[inline(never)]
fn serial_input(platform: &Platform) {
    begin(BootStage::SerialInput);
    let pins =
        apic::io_apic::init(platform.io_apics).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    match apic::serial_input::init(platform.interrupt_sources, platform.cpus[0].apic_id) {
        Ok(gsi) => log::info!("{pins} I/O APIC pins, serial input by pin {gsi}"),
        Err(error) => {
            log::info!("{pins} I/O APIC pins, no serial input: {error}");
            // Where no table lists an I/O APIC that has been said.
            if !platform.io_apics.is_empty() {
                let reason = format_args!("no serial input: {error}");
                report_defect(&Defect { table: "MADT", address: None, offset: None, reason });
            }
        }
    }
}

/// Output is by polling until here, for no interrupt is taken; and it stays so where none comes.
#[inline(never)]
fn serial_output() {
    if !apic::serial_input::is_open() {
        return;
    }
    if console::send_by_interrupt() {
        log::info!("serial output by interrupt");
    } else {
        log::warn!("serial output by polling: the port's empty transmitter does not interrupt");
    }
}

#[inline(never)]
fn aps(guard: &IrqGuard, features: &Features, platform: Platform, low: Option<LowMemory>) -> BringUp {
    begin(BootStage::Aps);
    let up = smp::start(guard, platform, features, low)
        .unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    smp::open_calls()
        .unwrap_or_else(|| boot::refuse(format_args!("too little memory for calls between CPUs")));
    up
}

#[inline(never)]
fn tsc_sync(features: &Features, clock: &Clock, options: &Options) {
    begin(BootStage::TscSync);
    let is_apart = |cpu: &CpuId| {
        !time::sample_skew(|| smp::call_async(&CpuSet::of(*cpu), |_| time::answer_skew_sample(), 0).is_ok())
    };
    let apart: CpuSet = smp::other_online().iter().filter(is_apart).collect();
    time::ping_pong_skew(apart.iter().count() as u32, || smp::call(&apart, &time::read_for_skew).is_ok());
    let clocksource = time::select_clocksource(features, clock, options.time.clock);
    if clocksource.unstable_reason.is_some() {
        let restarted = smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|_| time::timer::restart(&IrqGuard::new()));
        if let Err(error) = restarted {
            report::verdict(Err(Reason::Work(error)));
        }
    }
    report::counter(&clocksource);
}

#[cfg(feature = "selftest")]
fn self_test(machine: &Machine) -> Result<(), Reason> {
    let options = machine.options;
    selftest::run(options.selftest.parts.iter(), options.selftest.rounds.get()).map_err(Reason::SelfTest)?;
    // Some of its parts map and unmap.
    audit::run(machine.boot.map, machine.features).map_err(Reason::PageTableAudit)?;
    #[cfg(feature = "faults")]
    faults::after_selftest(options.faults.fault);
    report::free_before_work(memory::frames().free_frames() as u64);
    Ok(())
}

#[cfg(not(feature = "selftest"))]
fn self_test(_: &Machine) -> Result<(), Reason> {
    unreachable!("refused with the other options")
}

/// Does what is typed; whether the machine is to be reset in the end.
#[cfg(feature = "shell")]
fn shell(machine: &Machine) -> Result<bool, Reason> {
    // A command may drain the CPUs, or leave frames with them. What they keep is free, so it is counted as free before and after.
    shell::drain_cpus();
    report::free_before_work(memory::frames().free_frames() as u64);
    let give_up = |error| report::verdict(Err(Reason::Stress(error)));
    let end = shell::run(machine.boot, &machine.options.stress, give_up);
    shell::drain_cpus();
    end.map(|end| end == shell::End::Reboot).map_err(Reason::Shell)
}

#[cfg(not(feature = "shell"))]
fn shell(_: &Machine) -> Result<bool, Reason> {
    unreachable!("refused with the other options")
}

/// The work that the command line asks for: the program of the kernel that this package builds.
///
/// **Context:** the BSP's thread, interrupts on, once in a boot.
///
/// # Errors
/// The first thing that is not as it must be.
///
/// # Panics
/// On another CPU, and if it has been called before: the works measure and take over the machine as a whole.
pub fn work(machine: &Machine) -> Result<(), Reason> {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    assert!(cpu::current() == CpuId::BSP, "the work of the command line runs on the BSP alone");
    assert!(!HAS_BEGUN.swap(true, Ordering::AcqRel), "the work of the command line runs once in a boot");
    let Machine { boot, options, .. } = *machine;
    #[cfg(feature = "faults")]
    faults::at_work(options.faults.fault);
    let mut is_to_reset = false;
    match options.work() {
        Work::Boot => report::free_before_work(memory::frames().free_frames() as u64),
        Work::Bench => bench::run(report::free_before_work).map_err(Reason::Bench)?,
        Work::SelfTest => self_test(machine)?,
        Work::Shell => is_to_reset = shell(machine)?,
        Work::Stress => {
            let seed = options.stress.seed.unwrap_or_else(cpu::registers::read_tsc);
            let give_up = |error| report::verdict(Err(Reason::Stress(error)));
            stress::run(&options.stress, seed, boot.module(0), report::free_before_work, give_up)
                .map_err(Reason::Stress)?;
        }
    }
    if is_to_reset {
        is_whole(machine)?;
        reset()
    }
    Ok(())
}

/// What a verdict of pass demands of the boot, whatever the program was: all CPUs, and memory beside the trampoline as it was.
fn is_whole(machine: &Machine) -> Result<(), Reason> {
    let Machine { options, bring_up: up, .. } = *machine;
    if !up.neighbours_intact {
        return Err(Reason::TrampolineOverrun { page: up.trampoline_page });
    }
    match (report::missing_cpus(up), options.kernel.allow_missing_cpus) {
        (Some(reason), Switch::Off) => return Err(reason),
        (Some(reason), Switch::On) => log::warn!("{reason}"),
        (None, _) => {}
    }
    Ok(())
}

#[cfg(feature = "shell")]
fn reset() -> ! {
    report::verdict_and_reset(shell::reset)
}

#[cfg(not(feature = "shell"))]
fn reset() -> ! {
    unreachable!("asked for by the console alone")
}
