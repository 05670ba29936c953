//! The table of CPUs: the walk over its entries, and the list that is made of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::acpi::RosterEntry;
use octopod::acpi::index::Index;
use octopod::acpi::madt::{HEADER_BYTES, Madt};
use octopod::acpi::roster::{Roster, count_usable};
use octopod::cpu::ApicId;

fuzz_target!(|bytes: &[u8]| {
    // A table with a true header, and the fuzzer's entries.
    let mut table = vec![0; HEADER_BYTES];
    table[..4].copy_from_slice(b"APIC");
    table.extend(bytes);
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    for bytes in [bytes, &table] {
        let Ok(madt) = Madt::parse(bytes) else { continue };
        assert!(madt.entries().count() <= bytes.len());
        let _ = madt.local_apic_address();
        let mut slots = vec![RosterEntry::EMPTY; count_usable(&madt)];
        let mut words = vec![0; Index::words_for(slots.len())];
        let mut index = Index::new(&mut words);
        let roster = Roster::fill(&madt, ApicId(0), &mut slots, &mut index);
        let cpus = &slots[..roster.cpus as usize];
        assert_eq!(roster.left_out, 0);
        for (number, cpu) in cpus.iter().enumerate() {
            assert_eq!(cpu.cpu.index(), number);
            assert!(cpus[..number].iter().all(|other| other.apic_id != cpu.apic_id));
        }
    }
});
