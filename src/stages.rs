//! The whole boot of octopod, from rt0 to the verdict, on one screen. Each stage takes the results of the stages before it.
//!
//! No stage is inlined: its part of the boot stack is free again when it returns.

mod registered;
mod work;

pub use work::{stress, tests};

use crate::acpi::{self, Platform};
use crate::boot::command_line::{Switch, TraceLevel};
use crate::boot::defect::Defect;
use crate::boot::memory_map::ReservedReason;
use crate::boot::{self, BootInfo, Handoff, Kaslr, report_defect};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::console::screen::DisplayMode;
use crate::cpu::{self, CpuId, CpuSet, Features, IrqGuard};
#[cfg(feature = "faults")]
use crate::faults::{self, Point};
use crate::heap::{self, HeapChecks};
use crate::interrupts::machine_check::Since;
use crate::memory::{self, LowMemory};
use crate::options::{BuiltIn, Options};
use crate::program::Machine;
use crate::report::{self, Reason};
#[cfg(feature = "checked")]
use crate::sched::parameters::LockChecks;
use crate::smp::{self, BringUp};
use crate::sync;
use crate::time::{self, Clock};
use crate::wire::{BootStage, Nonce, Record, TraceClass};
use crate::{apic, console, interrupts, panic, sched, trace};

/// The entry from rt0: 64-bit mode, the boot stack, early page tables, an IDT and GS base are set; interrupts are off.
#[unsafe(no_mangle)]
extern "C" fn rust_entry(handoff: &Handoff) -> ! {
    #[cfg(feature = "faults")]
    faults::at_entry(handoff);
    // SAFETY: GS base must be this CPU's area, and interrupts off; called once. rt0 has set both, and jumps here once.
    let guard = unsafe { IrqGuard::of_entry() }; //                   interrupts stay off until all CPUs are up
    interrupts::record_early_events(&guard, handoff); //              exceptions that 32-bit code could only count
    let mut boot = loader(handoff); //                                boot information, of any boot protocol
    let options = options(&mut boot); //                              the kernel command line, or a clear error
    let features = features(&options); //                             optional features of this processor
    patching(&guard, &features, &options); //                         code that depends on them, while code is writable
    let low = memory(&mut boot, &features); //                        final page tables, then frames
    bsp(&guard, &features); //                                        its own GDT, TSS, stacks, CR4
    screen(&boot); //                                                 the log on a framebuffer
    let platform = platform(&boot, &options); //                      ACPI: CPUs, timers, NMI pins
    zones(&guard, &boot, &platform, &options); //                               NUMA nodes and zones
    let clock = clock(&guard, &features, &platform, &boot, &options); // local APIC, TSC, timers
    serial_input(&platform); //                                       the I/O APICs, and the serial port's interrupt
    let up = aps(&guard, &features, platform, low); //                all APs at once
    drop(guard); //                                                   from here on interrupt handlers run
    serial_output(); //                                               output by interrupt
    report::boot(&boot, &clock, &up);
    #[cfg(feature = "faults")]
    faults::inject(Point::BeforeTscSync, options.faults.fault);
    tsc_sync(&features, &clock, &options); //                         TSC skew, then the clocksource
    #[cfg(feature = "faults")]
    faults::inject(Point::BeforeAudit, options.faults.fault);
    begin(BootStage::Audit);
    let audit = report::page_table_audit(&boot, &features); //        the page tables in use, the registers of each CPU
    scheduler(&audit, &options); //                                   threads on all CPUs from here on
    let machine = Machine { boot: &boot, options: &options, features: &features, bring_up: &up };
    begin(BootStage::Work);
    let outcome = audit.and_then(|()| work::run(&machine)).and_then(|()| work::is_whole(&machine));
    begin(BootStage::Verdict);
    report::verdict(outcome)
}

/// Sets the current stage of the boot.
fn begin(stage: BootStage) {
    panic::set_stage(stage);
    report::trace::stamp(stage);
    trace!(BootStage, stage as u64);
}

#[inline(never)]
fn loader(handoff: &Handoff) -> BootInfo {
    begin(BootStage::Loader);
    console::init(handoff.entry_tsc);
    if let Some(hz) = time::estimate_tsc_hz() {
        console::set_estimated_tsc_hz(hz);
    }
    memory::open_text_screen();
    // SAFETY: called once, on rt0's page tables, before memory outside the image is written: no earlier stage writes any.
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
    // The record about a wrong parameter has the nonce as well.
    console::set_record_nonce(match &options {
        Ok(options) => options.kernel.record_nonce,
        Err(_) => Nonce::in_command_line(boot.command_line),
    });
    let options = options.unwrap_or_else(|error| boot::refuse_command_line(&error));
    registered::check();
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
    #[cfg(feature = "checked")]
    {
        sync::lock_order::check_orders(options.locks.checked == LockChecks::On);
        sched::sync::check_waits(options.locks.checked != LockChecks::Off);
    }
    report::trace::set_wanted(wanted == TraceLevel::On);
    panic::set_exit_hook(report::trace::send);
    let is_wanted = |class: u32| match class {
        heap::CHECKED_KEY => options.heap.checked == HeapChecks::On,
        class => class <= level,
    };
    // SAFETY: code must be writable, and no other CPU may run. `memory`, the next stage, loads the tables that protect code;
    // the APs start in `aps`.
    match unsafe { cpu::static_key::enable(guard, is_wanted, boot::image::text_addresses()) } {
        Some((armed, places)) => log::debug!("{armed} of {places} static branches armed"),
        None => boot::refuse(format_args!("a static branch is not what it was built as")),
    }
}

#[inline(never)]
fn memory(boot: &mut BootInfo, features: &Features) -> Option<LowMemory> {
    begin(BootStage::Memory);
    // SAFETY: rt0's page tables must be in use, and memory outside the image unwritten: `memory::init` below is the first to
    // change both.
    unsafe { acpi::reserve_tables(boot, features.physical_bits) };
    let low = memory::init(boot, features).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    report::memory_map(boot);
    // SAFETY: the final page tables must be in use: `memory::init` has loaded them.
    unsafe { boot.publish_modules() };
    for module in boot::modules() {
        console::send(&Record::number("module", module.name, module.bytes.len() as u64));
    }
    // The rings of the APs are allocated when they start.
    if let Some(slots) =
        trace::records_hot_events().then(|| memory::alloc_slice_zeroed(trace::ring_slots())).flatten()
    {
        // SAFETY: the area must be this CPU's own, and interrupts off: `gs_base` is this CPU's, and `rust_entry` holds the guard.
        unsafe { trace::install_ring(cpu::per_cpu::gs_base(), slots) };
    }
    low
}

#[inline(never)]
fn bsp(guard: &IrqGuard, features: &Features) {
    begin(BootStage::Bsp);
    if let Err(error) = memory::map_stacks(CpuId::BSP) {
        boot::refuse(format_args!("out of memory for the BSP's stacks: {error}"));
    }
    features.enable();
    cpu::set_memory_types();
    // SAFETY: called once, with mapped stacks, before other CPUs run: `map_stacks` above mapped them, and the APs start in
    // `aps`.
    unsafe { cpu::load_descriptors(guard, memory::stacks::ist_tops(CpuId::BSP)) };
    // SAFETY: the gates name the code selector and the IST stacks of the GDT and the TSS, which the line above has loaded.
    unsafe { interrupts::load_idt() };
    // SAFETY: called once, on the BSP, before interrupts are enabled and before other CPUs run.
    unsafe { interrupts::pic::mask_all() };
    interrupts::machine_check::enable(Since::BeforeBoot);
}

fn screen(boot: &BootInfo) {
    begin(BootStage::Screen);
    let mode = memory::open_pixel_screen(boot);
    match mode {
        None => log::info!("console: serial only"),
        Some(DisplayMode::Text) => log::info!("console: VGA text"),
        Some(DisplayMode::Pixels { columns, rows }) => log::info!("console: framebuffer {columns}x{rows}"),
    }
    let name = match mode {
        None => "serial",
        Some(DisplayMode::Text) => "vga_text",
        Some(DisplayMode::Pixels { .. }) => "framebuffer",
    };
    console::send(&Record::text("boot", "console", name));
}

#[inline(never)]
fn platform(boot: &BootInfo, options: &Options) -> Platform {
    begin(BootStage::Platform);
    let by_cpuid = cpu::initial_apic_id();
    let bsp = apic::bsp_apic_id(by_cpuid);
    if bsp != by_cpuid {
        log::warn!("BSP: APIC ID {bsp} by its local APIC, {by_cpuid} by CPUID; using the former");
        console::send(&Record::number("boot", "bsp_apic_id", bsp.0.into()));
        console::send(&Record::number("boot", "bsp_apic_id_by_cpuid", by_cpuid.0.into()));
    }
    acpi::read_platform(boot, bsp, options.kernel.max_cpus.map(|most| most.get()))
        .unwrap_or_else(|error| boot::refuse(format_args!("{error}")))
}

/// Divides memory into zones by node and type; without valid nodes, by type.
#[inline(never)]
fn zones(guard: &IrqGuard, boot: &BootInfo, platform: &Platform, options: &Options) {
    begin(BootStage::Zones);
    let numa = platform.numa;
    // SAFETY: no CPU may allocate or free meanwhile: this CPU does not, and the APs start in `aps`, a later stage.
    let by_node =
        unsafe { memory::set_zones(numa.nodes(), numa.ranges(), |from, to| numa.distance(from, to)) };
    let zoned = by_node.or_else(|error| {
        log::warn!("{error}: falling back to one node");
        // SAFETY: no CPU may allocate or free meanwhile: this CPU does not, and the APs start in `aps`, a later stage.
        unsafe { memory::set_zones(1, core::iter::empty(), |_, _| 0) }
    });
    if let Err(error) = zoned {
        log::warn!("{error}: zones disabled");
    }
    memory::set_local_node(guard, platform.cpus[0].node);
    // This CPU's cache was filled before there were nodes.
    memory::drain_this_cpu(guard);
    memory::add_low_memory(boot.map).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    heap::init(numa.nodes().max(1), options.heap.checked);
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

/// Initialises the I/O APICs and serial input. Without I/O APICs, or without a port, the kernel works without input.
#[inline(never)]
fn serial_input(platform: &Platform) {
    begin(BootStage::SerialInput);
    let pins =
        apic::io_apic::init(platform.io_apics).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    console::send(&Record::number("boot", "io_apic_pins", u64::from(pins)));
    match apic::serial_input::init(platform.interrupt_sources, platform.cpus[0].apic_id) {
        Ok(gsi) => {
            log::info!("{pins} I/O APIC pins, serial input by pin {gsi}");
            console::send(&Record::number("boot", "serial_input_pin", u64::from(gsi)));
        }
        Err(error) => {
            log::info!("{pins} I/O APIC pins, no serial input: {error}");
            // Without any I/O APIC, `io_apic::init` has reported that.
            if !platform.io_apics.is_empty() {
                let reason = format_args!("no serial input: {error}");
                report_defect(&Defect { table: "MADT", address: None, offset: None, reason });
            }
        }
    }
}

/// Switches serial output from polling to interrupts, now that interrupts are on. Output stays polled if no interrupt comes.
#[inline(never)]
fn serial_output() {
    if !apic::serial_input::is_open() {
        return;
    }
    let is_by_interrupt = console::send_by_interrupt();
    if is_by_interrupt {
        log::info!("serial output by interrupt");
    } else {
        log::warn!("serial output by polling: the port's empty transmitter does not interrupt");
    }
    let name = if is_by_interrupt { "interrupt" } else { "polling" };
    console::send(&Record::text("boot", "serial_output", name));
}

#[inline(never)]
fn aps(guard: &IrqGuard, features: &Features, platform: Platform, low: Option<LowMemory>) -> BringUp {
    begin(BootStage::Aps);
    let up = smp::start(guard, platform, features, low)
        .unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    smp::open_calls().unwrap_or_else(|| boot::refuse(format_args!("out of memory for the call queues")));
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
            report::verdict(Err(Reason::Work { error, at: None }));
        }
    }
    report::clocksource(&clocksource);
}

fn scheduler(audit: &Result<(), Reason>, options: &Options) {
    // A boot that has failed reports that, and runs no thread.
    if audit.is_err() {
        return;
    }
    begin(BootStage::Scheduler);
    sched::start(options.scheduler.policy).unwrap_or_else(|error| boot::refuse(format_args!("{error}")));
    #[cfg(feature = "checked")]
    sched::watch_threads();
}
