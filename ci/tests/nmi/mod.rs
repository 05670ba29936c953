//! NMIs and machine checks at every instruction of the early boot: each is counted or reported, and the boot continues.
//!
//! QEMU's gdb stub stops the machine once at each instruction of the tested code. There the CPU gets an NMI, as a
//! message-signalled interrupt, which no entry of a local vector table masks. The next stop is at the same address or after it,
//! so no two NMIs are pending at once and each must be counted. The test does not depend on time.

mod code;
mod injected;
mod stub;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::guest::Guest;
use octopod::wire::{Events, ExitCode};
use octopod_ci::machine::qmp::connect;

use code::Kernel;
use stub::{Stop, Stub};

/// The time of a whole test. Only a hang uses it up, however busy the host is.
const LIMIT: Duration = Duration::from_secs(1_800);

/// The most instructions from the kernel's entry to its first gate.
const WITHOUT_GATE: usize = 50;

/// The vector of NMIs.
const NMI: u8 = 2;

/// A machine that stands before its first instruction, and what talks to it.
struct Machine {
    guest: Guest,
    stub: Stub,
    qtest: BufReader<UnixStream>,
    kernel: Kernel,
    /// NMIs sent so far, by CPU.
    sent: Vec<u64>,
}

impl Machine {
    /// A machine with so many CPUs, which will boot the kernel to where it was linked.
    fn new(cpus: usize, arguments: &[&str]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let gdb = format!("unix:{},server=on,wait=off", path("gdb").display());
        let qtest = format!("unix:{},server=on,wait=off", path("qtest").display());
        let smp = cpus.to_string();
        let ours = ["boot", "--smp", &smp, "--append", "kaslr=off"];
        let qemus = ["--", "-S", "-gdb", &gdb, "-qtest", &qtest, "-qtest-log", "none"];
        let guest = Guest::boot_for(&[&ours[..], arguments, &qemus[..]].concat(), LIMIT);
        let stub = Stub::connect(&path("gdb"), LIMIT);
        let qtest = BufReader::new(connect(&path("qtest"), guest.deadline()).unwrap());
        let kernel = Kernel::read(&guest.kernel);
        Machine { guest, stub, qtest, kernel, sent: vec![0; cpus] }
    }

    /// Sends an NMI to a CPU, as a device does.
    fn send_nmi(&mut self, cpu: usize) {
        // SDM Vol. 3A, 11.11: the destination in bits 12 to 19 of the address, the delivery mode in bits 8 to 10 of the data.
        let (address, data) = (0xfee0_0000 | cpu << 12, 0b100 << 8);
        writeln!(self.qtest.get_mut(), "writel {address:#x} {data:#x}").unwrap();
        let mut answer = String::new();
        self.qtest.read_line(&mut answer).unwrap();
        assert_eq!(answer, "OK\n");
        self.sent[cpu] += 1;
    }

    /// Sends an NMI to whichever CPU comes to one of these instructions first, and lets it go on. Returns the instructions
    /// that no CPU came to before the machine ended.
    fn strike_at(&mut self, instructions: BTreeSet<u64>) -> BTreeSet<u64> {
        instructions.iter().for_each(|address| self.stub.set_breakpoint(*address));
        let mut left = instructions;
        while let Some(Stop { cpu, rip }) = self.stub.go() {
            assert!(left.remove(&rip), "CPU {cpu} stopped at {rip:#x}, where it was not told to");
            self.stub.clear_breakpoint(rip);
            self.send_nmi(cpu);
            if left.is_empty() {
                break;
            }
        }
        left
    }

    /// Of each function, an instruction in `all` was struck, so that a sum does not hide a function that was not executed.
    fn assert_each_struck(&self, functions: &[&str], all: &BTreeSet<u64>, left: &BTreeSet<u64>) {
        let struck: BTreeSet<u64> = all.difference(left).copied().collect();
        for name in functions {
            assert!(!self.kernel.function(name).is_disjoint(&struck), "{name} was not executed");
        }
    }

    /// Hears the kernel out, which must pass and have counted each NMI. Those that an AP took in the trampoline are in the sum
    /// alone.
    fn assert_counted(mut self) -> Events {
        self.stub.detach();
        let code = self.guest.hear_out();
        assert_eq!(code, ExitCode::Pass, "{:#?}", self.guest.lines);
        let seen = &self.guest.seen;
        let total: u64 = self.sent.iter().sum();
        assert_eq!(
            seen.events.as_ref().map(|events| events.unexpected_nmis),
            Some(total),
            "{:#?}",
            self.guest.lines
        );
        let counts = seen.interrupts.iter().find(|counts| counts.vector == NMI);
        let counts = counts.map(|counts| counts.counts.to_vec()).unwrap_or_default();
        assert_eq!(counts.first().copied().unwrap_or_default(), self.sent[0]);
        assert_eq!(seen.warnings, []);
        self.guest.seen.events.expect("the verdict counts events")
    }
}

/// From the instruction behind `lidt` to the jump to Rust. What only a refusal executes is not reached.
#[test]
fn at_each_instruction_of_rt0() {
    let mut machine = Machine::new(1, &[]);
    let offset = machine.kernel.offset();
    let before_paging = machine.kernel.reachable("idt_loaded", 32, offset);
    let low_half = machine.kernel.reachable("rt0_64", 64, offset);
    let high_half = machine.kernel.reachable("rt0_64_high", 64, 0);
    let all: BTreeSet<u64> = before_paging.union(&low_half).chain(&high_half).copied().collect();
    let count = all.len();
    let left = machine.strike_at(all);
    let struck = count - left.len();
    assert!(struck > 200 && struck as u64 == machine.sent[0], "{struck} of {count}");
    machine.assert_counted();
}

/// Until then the IDT is the loader's: no loop, so this is also the time that it takes.
#[test]
fn a_few_instructions_pass_before_rt0_has_a_gate() {
    let mut machine = Machine::new(1, &[]);
    let [entry, loaded] = ["rt0_entry", "idt_loaded"].map(|label| machine.kernel.address(label));
    let offset = machine.kernel.offset();
    machine.stub.set_breakpoint(entry - offset);
    let mut stop = machine.stub.go().expect("the kernel is entered");
    machine.stub.clear_breakpoint(entry - offset);
    let mut steps = 0;
    while stop.rip != loaded - offset {
        assert!(steps < WITHOUT_GATE, "at {:#x} after {steps} instructions", stop.rip);
        stop = machine.stub.step().expect("the machine runs");
        steps += 1;
    }
    machine.stub.detach();
    assert_eq!(machine.guest.hear_out(), ExitCode::Pass, "{:#?}", machine.guest.lines);
}

/// The BSP from its first Rust function on, while descriptor tables, page tables and code change, and while its local APIC is set up.
/// The functions below are those that the compiler has not inlined; the others (`record_early_events`,
/// `load_idt`, `machine_check::enable`, `static_call::install`, `static_key::enable`, `set_memory_types`, `memory::init`,
/// `load_root`) are part of them. The handler calls none of them: in the handler, a second NMI
/// would wait for the first.
///
/// One machine takes as long as all other tests together, so that two machines take every other instruction each.
#[test]
fn at_each_even_instruction_that_changes_tables_or_code() {
    strike_at_each_second(0);
}

#[test]
fn at_each_odd_instruction_that_changes_tables_or_code() {
    strike_at_each_second(1);
}

fn strike_at_each_second(first: usize) {
    let functions = [
        "octopod::stages::",
        "rust_entry",
        "octopod::cpu::descriptors::load_descriptors",
        "octopod::apic::enable",
        "octopod::trace::record::install_ring",
    ];
    let mut machine = Machine::new(1, &[]);
    let all: BTreeSet<u64> =
        machine.kernel.functions(&functions).into_iter().skip(first).step_by(2).collect();
    let count = all.len();
    let left = machine.strike_at(all.clone());
    let struck = count - left.len();
    machine.assert_each_struck(&functions, &all, &left);
    assert!(struck > 500 && struck as u64 == machine.sent[0], "{struck} of {count}");
    machine.assert_counted();
}

/// An AP from the instruction after paging is enabled until it is online: the trampoline without a stack and with one, and the
/// kernel's part before and after the AP has its own tables.
#[test]
fn at_each_instruction_of_an_ap_in_long_mode() {
    let mut machine = Machine::new(2, &[]);
    let trampoline = Trampoline::of(&machine.kernel, &[]);
    let paging = trampoline.address("ap_trampoline_paging");
    machine.stub.set_breakpoint(paging);
    assert_eq!(machine.stub.go(), Some(Stop { cpu: 1, rip: paging }));
    machine.stub.clear_breakpoint(paging);
    machine.send_nmi(1);
    let functions =
        ["octopod::smp::ap::entry", "octopod::cpu::descriptors::load_descriptors", "octopod::apic::enable"];
    let own = trampoline.reachable("ap_trampoline_long_mode");
    let all: BTreeSet<u64> = own.union(&machine.kernel.functions(&functions)).copied().collect();
    let left = machine.strike_at(all.clone());
    machine.assert_each_struck(&functions, &all, &left);
    // The bisection with one slot, the claim, and all of what follows.
    let in_trampoline = own.difference(&left).count();
    assert!(in_trampoline > 40, "{in_trampoline} of {}", own.len());
    assert!(machine.sent[1] > 200, "{}", machine.sent[1]);
    machine.assert_counted();
}

/// An AP that comes too late finds its slot given up. It counts itself once, whatever strikes it meanwhile, and halts.
#[test]
fn at_each_instruction_of_an_ap_that_comes_too_late() {
    let late =
        ["--append", "inject.stage=protected_mode", "--inject", "late_at_stage", "--allow-missing-cpus"];
    let mut machine = Machine::new(2, &late);
    let trampoline = Trampoline::of(&machine.kernel, &late);
    let all = trampoline.reachable("ap_trampoline_long_mode");
    let count = trampoline.address("ap_trampoline_count");
    let halt = trampoline.address("ap_trampoline_halt");
    let left = machine.strike_at(all);
    assert!(!left.contains(&count) && !left.contains(&halt), "{left:#x?}");
    let events = machine.assert_counted();
    assert_eq!(events.late_cpus_parked, 1);
}

/// A CPU that reports a panic, from the time on at which it stops the others. An NMI, which another CPU may have sent before it was
/// stopped, must not stop this CPU: no other CPU would report anything.
#[test]
fn at_each_instruction_of_a_panic_report() {
    let mut machine = Machine::new(4, &["--inject", "panic_cpu3"]);
    let mut all = machine.kernel.functions(&["octopod::panic::panic_now"]);
    all.append(
        &mut machine.kernel.function_starts(&["octopod::panic::output::", "octopod::panic::crash_state::"]),
    );
    let count = all.len();
    let left = machine.strike_at(all);
    assert!(count - left.len() > 40, "{} of {count}", count - left.len());
    assert_eq!(machine.sent.iter().sum::<u64>(), machine.sent[3]);
    machine.stub.detach();
    assert_eq!(machine.guest.hear_out(), ExitCode::Panicked, "{:#?}", machine.guest.lines);
    let seen = &machine.guest.seen;
    assert_eq!(seen.panic.as_ref().map(|panic| panic.cpu), Some(3));
    // Each of the others was stopped where it was.
    let stopped: BTreeSet<u32> = seen.panic_cpus.iter().map(|(cpu, _)| cpu.cpu).collect();
    assert_eq!(stopped, BTreeSet::from([0, 1, 2, 3]));
}

/// The trampoline where it is executed.
struct Trampoline {
    kernel: Kernel,
    page: u64,
}

impl Trampoline {
    /// That of a kernel, on a machine like that of [`Machine::new`]: where it lies is known when such a machine has booted.
    fn of(kernel: &Kernel, arguments: &[&str]) -> Trampoline {
        let ours = ["boot", "--smp", "2", "--append", "kaslr=off"];
        let mut guest = Guest::boot_for(&[&ours[..], arguments].concat(), LIMIT);
        assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
        let page = guest.seen.boot.as_ref().expect("it has booted").bring_up.trampoline_page;
        Trampoline { kernel: kernel.clone(), page }
    }

    fn moved(&self, linked: u64) -> u64 {
        linked - self.kernel.address("ap_trampoline_start") + self.page
    }

    fn address(&self, label: &str) -> u64 {
        self.moved(self.kernel.address(label))
    }

    /// The 64-bit instructions that can be reached from a label.
    fn reachable(&self, label: &str) -> BTreeSet<u64> {
        self.kernel.reachable(label, 64, 0).into_iter().map(|linked| self.moved(linked)).collect()
    }
}
