//! Descriptions of workloads, allocators and stages, in a sentence each.

use octopod::boot::command_line::Named;
use octopod::sched::policies::Policy;
use octopod::stress::allocators::Allocator;
use octopod::stress::heap::Heap;
use octopod::stress::workloads::Workload;

/// A workload of the stress.
pub fn workload(name: &str) -> Option<&'static str> {
    <&Workload>::from_name(name).map(|workload| workload.summary)
}

/// An allocator of the stress.
pub fn allocator(name: &str) -> Option<&'static str> {
    <&Allocator>::from_name(name).map(|allocator| allocator.summary)
}

/// A heap of the stress.
pub fn heap(name: &str) -> Option<&'static str> {
    <&Heap>::from_name(name).map(|heap| heap.summary)
}

/// A scheduling policy.
pub fn scheduler(name: &str) -> Option<&'static str> {
    <&Policy>::from_name(name).map(|policy| policy.summary)
}

/// A stage of the kernel's boot.
pub fn boot_stage(name: &str) -> Option<&'static str> {
    Some(match name {
        "loader" => "From the kernel's entry to its first Rust code; the boot information is read.",
        "options" => "The kernel command line is parsed.",
        "features" => "The processor's features are detected and checked.",
        "patching" => "Code that depends on features is patched.",
        "memory" => "The final page tables are built, and the frame allocator is set up.",
        "bsp" => "The BSP loads its GDT, TSS, interrupt stacks and control registers.",
        "screen" => "The log is shown on the framebuffer or the VGA text screen.",
        "platform" => "The ACPI tables are read: CPUs, timers, interrupt routing, NUMA nodes.",
        "zones" => "Memory is divided into zones and NUMA nodes.",
        "clock" => "The local APIC is enabled, and the TSC and the APIC timer are calibrated.",
        "serial_input" => "The I/O APICs are set up, and the serial port's interrupt on them.",
        "aps" => "The APs are started by INIT-SIPI-SIPI, all at once.",
        "tsc_sync" => "The TSCs of all CPUs are compared, and the clocksource is selected.",
        "scheduler" => "The scheduler starts: threads run on all CPUs.",
        "audit" => "The live page tables are checked against the policy.",
        "work" => "The work of the command line runs.",
        "verdict" => "The result is reported.",
        _ => return None,
    })
}

/// A stage of an AP's bring-up.
pub fn cpu_stage(name: &str) -> Option<&'static str> {
    Some(match name {
        "sipi_sent" => "The BSP sends the first start-up IPI.",
        "real_mode" => "The AP executes the trampoline's first instruction.",
        "protected_mode" => "It runs 32-bit code.",
        "long_mode" => "It runs 64-bit code and has claimed its slot.",
        "gs" => "It has its per-CPU area and runs on the kernel's page tables.",
        "idt" => "Its GDT, TSS and IDT are loaded.",
        "apic" => "Its local APIC is enabled.",
        "timer" => "Its APIC timer is set up.",
        "online" => "It accepts work.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use octopod::wire::{BootStage, StagesUs};

    use super::*;

    #[test]
    fn everything_that_the_kernel_names_has_a_sentence() {
        let workloads = <&Workload>::all().iter().map(|one| (one.name, workload(one.name)));
        let allocators = <&Allocator>::all().iter().map(|one| (one.name, allocator(one.name)));
        let stages = BootStage::ALL.iter().map(|one| (one.name(), boot_stage(one.name())));
        let of_cpus = StagesUs::default().in_order().map(|(name, _)| (name, cpu_stage(name)));
        for (name, sentence) in workloads.chain(allocators).chain(stages).chain(of_cpus) {
            assert!(sentence.is_some_and(|text| text.ends_with('.')), "{name}: {sentence:?}");
        }
        assert_eq!(workload("of another kernel"), None);
    }
}
