//! Rules of `docs/invariants.md` that the compiler cannot check.
//!
//! I1: only `src/cpu/irq_guard.rs` changes RFLAGS.IF, as its per-CPU count must agree with the flag. No other source of the
//! kernel has an instruction that changes IF, or calls a function of another crate that does.

use std::fs;
use std::path::{Path, PathBuf};

/// The instructions, as words of assembly.
const INSTRUCTIONS: [&str; 9] = ["sti", "stiq", "cli", "popf", "popfq", "popfl", "popfd", "iret", "iretq"];

/// Functions of the crate `x86_64`. `clippy.toml` forbids them too, but not in macros of other crates.
const FUNCTIONS: [&str; 5] = [
    "interrupts::enable",
    "interrupts::disable",
    "interrupts::without_interrupts",
    "interrupts::enable_and_hlt",
    "rflags::write",
];

/// Sources that may change IF, with the instructions in them and the reason.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("src/cpu/irq_guard.rs", &["sti", "cli"], "the guard itself"),
    ("src/interrupts/stubs.S", &["iretq"], "returns to what was interrupted, whose flags those are"),
    ("src/boot/multiboot_entry.S", &["cli"], "before any Rust code of this CPU"),
    ("src/boot/rt0.S", &["popfl"], "before any Rust code, and the bit is not IF"),
    ("src/smp/hotplug/suspend.rs", &["cli"], "interrupts are off already, and no Rust code follows"),
    ("src/selftest/probe.S", &["popfq"], "runs in a guard's window and ends with interrupts off"),
];

#[test]
fn only_the_guard_changes_the_interrupt_flag() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(&root.join("src"), &mut sources);
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for path in sources {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for (number, what) in changes(&name, &text) {
            seen.push((name.clone(), what));
            let may = ALLOWED.iter().any(|(file, which, _)| *file == name && which.contains(&what));
            if !may {
                found.push(format!("{name}:{number}: {what}"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "the interrupt flag is changed without the guard's count:\n{}",
        found.join("\n")
    );
    for (file, which, _) in ALLOWED {
        for what in *which {
            let is_there = seen.iter().any(|(name, other)| name == file && other == what);
            assert!(is_there, "{file} contains no {what} any more: take it out of the list");
        }
    }
}

/// Files with volatile accesses, and their targets: I6 of `docs/invariants.md`.
const VOLATILE: &[(&str, &str)] = &[
    ("src/apic/io_apic.rs", "device registers"),
    ("src/apic/registers.rs", "device registers"),
    ("src/console/screen/pixels.rs", "the frame buffer"),
    ("src/console/screen/vga.rs", "VGA's text memory"),
    ("src/cpu/static_key.rs", "code that boot patches"),
    ("src/panic/record.rs", "a block that a debugger reads"),
    ("src/shell/reset.rs", "the reset register"),
    ("src/time/reference.rs", "device registers"),
];

/// Sources that name `Deadline`, and what waits with it. A host may stop the machine for longer: what waits for another CPU uses
/// `Timeout`, which counts no such time.
const DEADLINES: &[(&str, &str)] = &[
    ("src/apic/timer.rs", "its own APIC, whose register is read once more at the end"),
    ("src/faults/remap.rs", "an IPI that may never come"),
    ("src/faults/serial.rs", "a device"),
    ("src/faults/spins.rs", "nothing: a pause"),
    ("src/memory/cache/fast_path.rs", "nothing: a pause of a fault"),
    ("src/selftest/threads/staying.rs", "what must not happen"),
    ("src/shell/reset.rs", "a device"),
    ("src/smp/bring_up/init_sipi.rs", "pauses of the start-up sequence, after which the APs have a time-out"),
    ("src/smp/bring_up/mod.rs", "nothing: the rate of a record"),
    ("src/smp/call.rs", "nothing: a short spin before a wait with a time-out"),
    ("src/stress/barrier.rs", "pieces of a wait that counts progress"),
    ("src/stress/kernel.rs", "the time of a workload"),
    ("src/stress/run.rs", "the time of a workload"),
    ("src/stress/workloads/mappings.rs", "nothing: a pause"),
    ("src/sync/deadline.rs", "the type"),
    ("src/sync/mod.rs", "the type"),
    ("src/time/clocksource.rs", "nothing: a pause"),
    ("src/time/wait.rs", "the waits of both types"),
    ("src/time/warp.rs", "a sample that may be missing"),
];

#[test]
fn what_waits_for_other_cpus_has_a_time_out() {
    let found = sources_with(&["Deadline::after_", "sync::Deadline", "{Deadline", "struct Deadline"]);
    let listed: Vec<&str> = DEADLINES.iter().map(|(file, _)| *file).collect();
    assert_eq!(found, listed, "a `Deadline` ends a wait although the host stopped the machine");
}

#[test]
fn only_devices_are_accessed_by_volatile() {
    let found = sources_with(&["read_volatile", "write_volatile"]);
    let listed: Vec<&str> = VOLATILE.iter().map(|(file, _)| *file).collect();
    assert_eq!(found, listed, "volatile is for devices: memory that other CPUs write is accessed by atomics");
}

/// Returns the kernel's sources with code that has one of these texts, in order.
fn sources_with(texts: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(&root.join("src"), &mut sources);
    let has = |path: &PathBuf| {
        let source = fs::read_to_string(path).unwrap();
        let mut code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
        code.any(|code| texts.iter().any(|text| code.contains(text)))
    };
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
    let mut found: Vec<String> = sources.iter().filter(|path| has(path)).map(name).collect();
    found.sort();
    found
}

#[test]
fn each_way_is_found() {
    assert_eq!(changes("x.rs", "unsafe { asm!(\"sti\", \"nop\") }"), [(1, "sti")]);
    assert_eq!(changes("x.rs", "asm!(\n    \"2: cli; hlt\")"), [(2, "cli")]);
    assert_eq!(changes("x.rs", "x86_64::instructions::interrupts::enable();"), [(1, "interrupts::enable")]);
    assert_eq!(changes("x.rs", "interrupts::enable_and_hlt();"), [(1, "interrupts::enable_and_hlt")]);
    assert_eq!(changes("x.S", "1:  popfq // restores IF"), [(1, "popfq")]);
    assert_eq!(changes("x.S", "    // cli\n    hlt"), []);
    assert_eq!(changes("x.rs", "// \"sti\"\nlet client = \"list\";\ninterrupts::enabled_by()"), []);
}

/// The lines that change IF. Comments do not; in Rust, only string literals contain instructions.
fn changes(name: &str, text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let assembly: Vec<&str> =
            if name.ends_with(".S") { vec![code] } else { code.split('"').skip(1).step_by(2).collect() };
        let mut look = |part: &str, what: &'static str| {
            let bytes = part.as_bytes();
            let whole = part.match_indices(what).any(|(at, _)| {
                !is_word(bytes.get(at.wrapping_sub(1))) && !is_word(bytes.get(at + what.len()))
            });
            if whole {
                found.push((index + 1, what));
            }
        };
        for part in assembly {
            INSTRUCTIONS.into_iter().for_each(|what| look(part, what));
        }
        FUNCTIONS.into_iter().for_each(|what| look(code, what));
    }
    found
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "S") {
            sources.push(path);
        }
    }
}
