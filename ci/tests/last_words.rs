//! The last words that a panic leaves in memory, found in a dump of it.

#[path = "guest/mod.rs"]
mod guest;

use guest::Guest;
use octopod::wire::LastWords;

/// The memory of a machine that has panicked.
fn dump(fault: &str) -> (Guest, Vec<u8>) {
    let mut guest = Guest::boot_without_end(&["boot", "--smp", "4", "--mem", "32M", "--inject", fault]);
    let is_end = |line: &String| line.contains("end of the last words");
    guest.hear_until("the last words", |guest| guest.lines.iter().any(is_end));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory");
    assert_eq!(guest.monitor(&format!("pmemsave 0 0x2000000 \"{}\"", file.display())).trim(), "");
    let memory = std::fs::read(&file).unwrap();
    assert_eq!(memory.len(), 32 << 20);
    (guest, memory)
}

#[test]
fn last_words_are_found_in_a_dump_of_memory() {
    let (guest, memory) = dump("panic_cpu3");
    let (at, words) = LastWords::find(&memory).expect("the block");
    let said = guest.seen.panic.as_ref().unwrap();
    assert_eq!((words.cpu, words.message), (3, "the injected fault panic_cpu3"));
    assert_eq!(words.panics, 1);
    assert_eq!((words.cpu, words.message, words.slide), (said.cpu, said.message.as_str(), said.slide));
    assert_eq!((Some(words.location), Some(words.stage)), (said.location.as_deref(), said.stage.as_deref()));
    let calls = words.calls.len();
    assert!(calls > 2 && words.calls[..] == guest.seen.frames[..calls], "{words:?} {:x?}", guest.seen.frames);
    let own = guest.seen.panic_cpus.iter().find(|(cpu, _)| cpu.cpu == 3).and_then(|(cpu, _)| cpu.registers);
    let registers = own.expect("the registers of the CPU that panicked");
    assert_eq!((words.rip, words.rsp), (registers.rip(), registers.rsp()));

    // There is one.
    assert!(LastWords::find(&memory[at + octopod::wire::LAST_WORDS_BYTES..]).is_none());
}

#[test]
fn they_say_how_many_cpus_have_panicked() {
    let (guest, memory) = dump("panic_everywhere");
    let (_, words) = LastWords::find(&memory).expect("the block");
    assert_eq!(words.panics, 4);
    assert_eq!(Some(words.cpu), guest.seen.panic.as_ref().map(|panic| panic.cpu));
}
