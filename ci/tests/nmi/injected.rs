//! Injection by QEMU's monitor, as by a board: NMIs at LINT1 of the local APIC from the kernel's entry to the end of the boot,
//! and machine checks.

use std::collections::BTreeSet;

use octopod::wire::{ExitCode, Panic};
use serde_json::json;

use super::stub::Stop;
use super::{Machine, Trampoline};

/// Valid, uncorrected, enabled, with a valid address and misc register; the processor's state is intact.
const STATUS: &str = "0xbd00000000000134";

/// Where the BSP goes during a boot, and no handler of an NMI does, in which a second one would wait for the first.
const MODULES: &[&str] = &[
    "octopod::acpi::",
    "octopod::apic::io_apic::",
    "octopod::boot::",
    "octopod::memory::",
    "octopod::smp::bring_up::",
    "octopod::stages::",
    "octopod::time::",
];

impl Machine {
    /// Stops where CPU 0 comes to an instruction, for the first time.
    fn stop_at(&mut self, address: u64) {
        self.stop_cpu_at(0, address);
    }

    fn stop_cpu_at(&mut self, cpu: usize, rip: u64) {
        self.stub.set_breakpoint(rip);
        assert_eq!(self.stub.go(), Some(Stop { cpu, rip }));
        self.stub.clear_breakpoint(rip);
    }

    /// Injects an NMI at LINT1 of CPU 0, as a board's button does. Returns whether the pin lets it through.
    fn press_nmi_button(&mut self) -> bool {
        let state = self.guest.monitor("info lapic 0");
        let pin = state.lines().find(|line| line.starts_with("LVT1")).expect("a local APIC has LINT1");
        assert_eq!(self.guest.execute("inject-nmi", json!({})), json!({}));
        let is_open = pin.contains("NMI") && !pin.contains("masked");
        self.sent[0] += u64::from(is_open);
        is_open
    }

    /// Raises a machine check by bank 3 of a CPU, which must lead to a panic, and returns that.
    fn raise_machine_check(mut self, cpu: usize) -> Panic<String> {
        let answer = self.guest.monitor(&format!("mce {cpu} 3 {STATUS} 0x5 0x12345000 0x8c"));
        assert_eq!(answer.trim(), "");
        self.stub.detach();
        assert_eq!(self.guest.hear_out(), ExitCode::Panicked, "{:#?}", self.guest.lines);
        self.guest
            .seen
            .panic
            .take()
            .unwrap_or_else(|| panic!("no record of a panic: {:#?}", self.guest.lines))
    }
}

#[test]
fn each_nmi_of_a_storm_from_the_entry_on_is_counted() {
    let mut machine = Machine::new(1, &[]);
    let loaded = machine.kernel.address("idt_loaded") - machine.kernel.offset();
    machine.stop_at(loaded);
    // SeaBIOS leaves the pin open.
    assert!(machine.press_nmi_button());
    let starts = machine.kernel.function_starts(MODULES);
    // From there on the kernel sends its counts to the launcher.
    let end = machine.kernel.function_starts(&["octopod::report::verdict::finish"]);
    assert_eq!(end.len(), 1);
    starts.union(&end).for_each(|address| machine.stub.set_breakpoint(*address));
    let mut masked = 0;
    loop {
        let Stop { rip, .. } = machine.stub.go().expect("the kernel reports before it ends");
        machine.stub.clear_breakpoint(rip);
        if end.contains(&rip) {
            break;
        }
        masked += usize::from(!machine.press_nmi_button());
    }
    assert!(machine.sent[0] > 50 && masked == 0, "{} sent, {masked} masked", machine.sent[0]);
    machine.assert_counted();
}

fn assert_names_the_bank(panic: &Panic<String>, cpu: u32, place: &str) {
    let error = format!(
        "bank 3, status {STATUS} (uncorrected, cache hierarchy, context intact), address 0x12345000, misc 0x8c; the \
         interrupted code is not at fault and could be resumed (status 0x5)"
    );
    let (early, late) =
        (format!("machine check before this CPU was set up: {error}"), format!("machine check: {error}"));
    assert!(panic.cpu == cpu && [early, late].contains(&panic.message), "{place}: {panic:#?}");
}

/// From the instruction behind that which sets CR4.MCE, before which a machine check shuts the processor down: in 32-bit
/// code, in compatibility mode, in the low and in the high half, and in the first Rust function.
#[test]
fn a_machine_check_in_rt0_is_reported() {
    let machine = Machine::new(1, &[]);
    let kernel = machine.kernel.clone();
    let offset = kernel.offset();
    let enabled = kernel.behind_load_of_cr4("long_mode", 32, offset);
    let before_paging = kernel.reachable("long_mode", 32, offset).split_off(&enabled);
    let low_half = kernel.reachable("rt0_64", 64, offset);
    let high_half = kernel.reachable("rt0_64_high", 64, 0);
    let rust = kernel.function_starts(&["rust_entry"]);
    assert!(before_paging.first() == Some(&enabled) && !rust.is_empty());
    let all = [before_paging, low_half, high_half, rust];
    let is_full = std::env::var("OCTOPOD_TIER").as_deref() == Ok("full");
    // The first and the last of each, unless each is wanted.
    let some = |set: &BTreeSet<u64>| match is_full {
        true => set.clone(),
        false => set.first().into_iter().chain(set.last()).copied().collect(),
    };
    let mut machine = Some(machine);
    for address in all.iter().flat_map(some) {
        let mut machine = machine.take().unwrap_or_else(|| Machine::new(1, &[]));
        machine.stop_at(address);
        assert_names_the_bank(&machine.raise_machine_check(0), 0, &format!("{address:#x}"));
    }
}

/// From the instruction that turns paging on to the kernel's own tables.
#[test]
fn a_machine_check_in_the_trampoline_is_reported() {
    let machine = Machine::new(2, &[]);
    let trampoline = Trampoline::of(&machine.kernel, &[]);
    let labels = ["ap_trampoline_paging", "ap_trampoline_long_mode", "ap_trampoline_claimed"];
    let entry = machine.kernel.function_starts(&["octopod::smp::ap::entry"]);
    assert_eq!(entry.len(), 1);
    let mut machine = Some(machine);
    for address in labels.map(|label| trampoline.address(label)).into_iter().chain(entry) {
        let mut machine = machine.take().unwrap_or_else(|| Machine::new(2, &[]));
        machine.stop_cpu_at(1, address);
        assert_names_the_bank(&machine.raise_machine_check(1), 1, &format!("{address:#x}"));
    }
}
