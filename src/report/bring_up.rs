//! The report of the bring-up of the CPUs.

use ap_trampoline::Stage;

use crate::acpi::expected::CpuLimit;
use crate::apic;
use crate::boot::defect::Defect;
use crate::boot::{BootInfo, handoff, image, report_defect};
use crate::console::{self, LineBuffer};
use crate::smp::{self, BringUp};
use crate::time::{self, Clock};
use crate::wire::{self, Record, StagesUs};

/// Reports the bring-up: one record for the boot, then one for each CPU.
pub(crate) fn boot(boot: &BootInfo, clock: &Clock, up: &BringUp) {
    let init_to_online_us = time::us_at(up.last_online_tsc).saturating_sub(time::us_at(up.first_init_tsc));
    log::info!(
        "{} of {} CPUs online, {init_to_online_us} us after the first INIT, {} KiB for each",
        up.online,
        up.listed,
        up.bytes_per_cpu.div_ceil(1024)
    );
    let mut unreachable = smp::cpus().iter().filter(|cpu| !cpu.is_reachable());
    let unreachable_count = unreachable.clone().count() as u32;
    if let Some(first) = unreachable.next() {
        let reason = format_args!(
            "{unreachable_count} CPUs cannot be addressed without x2APIC mode, the first has APIC ID {}: not started",
            first.entry.apic_id
        );
        report_defect(&Defect { table: "MADT", address: None, offset: None, reason });
    }
    log::debug!("AP trampoline at {:#x}", up.trampoline_page);
    let image_start = LineBuffer::<20>::format(format_args!("{:#x}", image::all().start));
    console::send(&Record::text("boot", "image_start", image_start.as_str()));
    console::send(&Record::Boot(wire::Boot {
        version: Some(env!("CARGO_PKG_VERSION")),
        protocol: boot.protocol.name(),
        kaslr: handoff().kaslr().name(),
        direct_map_base: handoff().direct_map_base,
        slide: handoff().slide,
        apic_mode: apic::mode().name(),
        clock_source: clock.source.name(),
        tsc_khz: clock.tsc_hz / 1000,
        apic_timer_khz: clock.apic_timer_hz / 1000,
        cpus_listed: up.listed,
        cpus_online: up.online,
        cpus_expected: Some(wire::ExpectedCpus {
            by_tables: up.expected.by_tables,
            disabled: up.expected.disabled,
            by_cpuid: up.expected.by_cpuid,
            unreachable: unreachable_count,
            limit: up.expected.limit.map(CpuLimit::name),
        }),
        entry_to_online_us: time::us_at(up.last_online_tsc),
        entry_to_online_ns: time::ns_at(up.last_online_tsc),
        init_to_online_us,
        bring_up: wire::BringUp {
            init_delay_us: up.init_sipi.init_delay_us,
            start_up_rounds: up.init_sipi.start_ups,
            apic_error_status: up.init_sipi.error_status,
            bytes_per_cpu: up.bytes_per_cpu,
            frames_taken: up.frames_taken,
            trampoline_page: up.trampoline_page,
        },
    }));
    let mut absent = 0;
    for cpu in smp::cpus() {
        absent += usize::from(!cpu.is_online());
        if !cpu.is_online() && absent > wire::MAX_ABSENT_CPUS {
            continue;
        }
        let at = |stage| cpu.stamp(stage).map(time::us_at);
        let failed_stage = (!cpu.is_online() && cpu.has_area()).then(|| cpu.stage().name());
        console::send(&Record::Cpu(wire::Cpu {
            cpu: cpu.id().0,
            apic_id: cpu.entry.apic_id.0,
            state: match (cpu.is_online(), cpu.has_area()) {
                (true, _) => "online",
                (false, true) => "failed",
                (false, false) => "not_started",
            },
            failed_stage,
            stages_us: StagesUs {
                sipi_sent: at(Stage::SipiSent),
                real_mode: at(Stage::RealMode),
                protected_mode: at(Stage::ProtectedMode),
                long_mode: at(Stage::LongMode),
                gs: at(Stage::Gs),
                idt: at(Stage::Idt),
                apic: at(Stage::Apic),
                timer: at(Stage::Timer),
                online: at(Stage::Online),
            },
        }));
    }
}
