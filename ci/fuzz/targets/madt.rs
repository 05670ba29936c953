//! The table of CPUs: the walk over its entries, and the list that is made of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::acpi::CpuEntry;
use octopod::acpi::cpu_list::{CpuList, count_usable};
use octopod::acpi::id_index::IdIndex;
use octopod::acpi::madt::{HEADER_BYTES, Madt};
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
        let mut slots = vec![CpuEntry::EMPTY; count_usable(&madt)];
        let mut words = vec![0; IdIndex::words_for(slots.len())];
        let mut index = IdIndex::new(&mut words, 7);
        let cpu_list = CpuList::fill(&madt, ApicId(0), &mut slots, &mut index);
        let cpus = &slots[..cpu_list.cpus as usize];
        assert_eq!(cpu_list.left_out, 0);
        for (number, cpu) in cpus.iter().enumerate() {
            assert_eq!(cpu.cpu.index(), number);
            assert!(cpus[..number].iter().all(|other| other.apic_id != cpu.apic_id));
        }
    }
});
