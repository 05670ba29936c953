//! The panic record, found in a memory dump.

use crate::guest::Guest;
use octopod::wire::PanicRecord;

/// The memory of a machine that has panicked.
fn dump(fault: &str) -> (Guest, Vec<u8>) {
    let mut guest = Guest::boot_without_end(&["boot", "--smp", "4", "--mem", "32M", "--inject", fault]);
    let is_end = |line: &String| line.contains("end of the panic report");
    guest.hear_until("the panic report", |guest| guest.lines.iter().any(is_end));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory");
    assert_eq!(guest.monitor(&format!("pmemsave 0 0x2000000 \"{}\"", file.display())).trim(), "");
    let memory = std::fs::read(&file).unwrap();
    assert_eq!(memory.len(), 32 << 20);
    (guest, memory)
}

#[test]
fn panic_record_is_found_in_a_memory_dump() {
    let (guest, memory) = dump("panic_cpu3");
    let (at, record) = PanicRecord::find(&memory).expect("the panic record");
    let said = guest.seen.panic.as_ref().unwrap();
    assert_eq!((record.cpu, record.message), (3, "the injected fault panic_cpu3"));
    assert_eq!(record.panics, 1);
    assert_eq!((record.cpu, record.message, record.slide), (said.cpu, said.message.as_str(), said.slide));
    assert_eq!(
        (Some(record.location), Some(record.stage)),
        (said.location.as_deref(), said.stage.as_deref())
    );
    let count = record.frames.len();
    assert!(
        count > 2 && record.frames[..] == guest.seen.frames[..count],
        "{record:?} {:x?}",
        guest.seen.frames
    );
    let own = guest.seen.panic_cpus.iter().find(|(cpu, _)| cpu.cpu == 3).and_then(|(cpu, _)| cpu.registers);
    let registers = own.expect("the registers of the CPU that panicked");
    assert_eq!((record.rip, record.rsp), (registers.rip(), registers.rsp()));

    // There is only one.
    assert!(PanicRecord::find(&memory[at + octopod::wire::PANIC_RECORD_BYTES..]).is_none());
}

#[test]
fn panic_record_counts_the_cpus_that_panicked() {
    let (guest, memory) = dump("panic_everywhere");
    let (_, record) = PanicRecord::find(&memory).expect("the panic record");
    assert_eq!(record.panics, 4);
    assert_eq!(Some(record.cpu), guest.seen.panic.as_ref().map(|panic| panic.cpu));
}
