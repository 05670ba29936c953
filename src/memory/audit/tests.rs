//! Page tables in host memory: valid ones, and each with one defect.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::inventory::{Inventory, Pages};
use super::policy::MappingPolicy;
use super::rule::{Rule, Violation};
use super::scan::audit;
use crate::boot::io_regions::IoRegions;
use crate::boot::io_regions::{Device, IoRegion, MAX_IO_REGIONS};
use crate::boot::memory_map::{FRAME_BYTES as PAGE, PhysRange};
use crate::boot::memory_map::{MemoryMap, RawEntry, RegionKind};
use crate::cpu::pat;
use crate::memory::paging::entry::{ENTRIES, Entry, LARGE_PAGE_PAT, SMALL_PAGE_PAT};
use x86_64::structures::paging::PageTableFlags as Flags;

const BASE: u64 = 0xffff_8940_0000_0000;
const MAPPINGS: (u64, u64) = (0xffff_d940_4000_0000, 0xffff_d940_4020_0000);
const STACKS: (u64, u64) = (0xffff_d940_0000_0000, 0xffff_d940_0001_0000);
const PAT: u64 = pat::AT_RESET;
const WITH_COMBINING: u64 = pat::KERNEL;
const MIB: u64 = 1 << 20;

const TEXT: PhysRange = PhysRange::new(0x10_0000, 0x10_4000);
const CONSTANTS: PhysRange = PhysRange::new(0x10_4000, 0x10_6000);
/// The interrupt descriptor table: read-only memory behind variables.
const IDT: PhysRange = PhysRange::new(0x10_7000, 0x10_8000);
/// The code with which APs start, in low memory.
const TRAMPOLINE: PhysRange = PhysRange::new(0x9_e000, 0x9_f000);
const BOOT_GUARD: u64 = 0x10_8000;
/// Where the machine's memory ends; its last frame is the root table.
const END: u64 = 2 << 30;
const APIC: PhysRange = PhysRange::new(0xfee0_0000, 0xfee0_1000);
const SCREEN: PhysRange = PhysRange::new(0x8000_0000, 0x8000_1000);
const ACPI: PhysRange = PhysRange::new(0xf_0000, 0x10_0000);

const PRESENT: u64 = Flags::PRESENT.bits();
const WRITABLE: u64 = Flags::WRITABLE.bits();
const GLOBAL: u64 = Flags::GLOBAL.bits();
const USER: u64 = Flags::USER_ACCESSIBLE.bits();
const WRITE_THROUGH: u64 = Flags::WRITE_THROUGH.bits();
const NO_CACHE: u64 = Flags::NO_CACHE.bits();
const LARGE: u64 = Flags::HUGE_PAGE.bits();
const NO_EXECUTE: u64 = Flags::NO_EXECUTE.bits();

const RX: u64 = PRESENT;
const RO: u64 = PRESENT | NO_EXECUTE;
const RW: u64 = PRESENT | WRITABLE | NO_EXECUTE;
const IO: u64 = RW | NO_CACHE | WRITE_THROUGH;

struct TestTables {
    tables: HashMap<u64, [u64; ENTRIES]>,
    next_table: u64,
    map: MemoryMap,
    io_regions: IoRegions,
    pages_1g: bool,
}

impl TestTables {
    /// Nothing mapped.
    fn blank(pages_1g: bool) -> TestTables {
        let usable =
            |start: u64, end: u64| RawEntry { base: start, len: end - start, kind: RegionKind::Usable };
        let map = MemoryMap::from_entries([usable(0, 0x9_fc00), usable(MIB, END)]).0;
        let mut io_regions = IoRegions::new();
        io_regions.add(APIC, IoRegion::Device(Device::LocalApic)).unwrap();
        io_regions.add(ACPI, IoRegion::Firmware).unwrap();
        let root = END - PAGE;
        TestTables {
            tables: HashMap::from([(root, [0; ENTRIES])]),
            next_table: root,
            map,
            io_regions,
            pages_1g,
        }
    }

    /// A kernel's tree, in order.
    fn in_order(pages_1g: bool) -> TestTables {
        let mut tables = TestTables::blank(pages_1g);
        tables.direct(PhysRange::new(PAGE, TRAMPOLINE.start), RW);
        tables.direct(TRAMPOLINE, RO);
        tables.direct(PhysRange::new(TRAMPOLINE.end, 0xa_0000), RW);
        tables.direct(ACPI, RO);
        tables.direct(TEXT, RX);
        tables.direct(CONSTANTS, RO);
        tables.direct(PhysRange::new(CONSTANTS.end, IDT.start), RW);
        tables.direct(IDT, RO);
        tables.direct(PhysRange::new(BOOT_GUARD + PAGE, END), RW);
        tables.direct(APIC, IO);
        tables.set(STACKS.0 + PAGE, 1, 0x50_0000 | RW);
        tables.set(STACKS.0 + 2 * PAGE, 1, 0x70_0000 | RW);
        tables
    }

    /// Maps a range where the direct map has it, in the largest pages.
    fn direct(&mut self, range: PhysRange, flags: u64) {
        let mut at = range.start;
        while at < range.end {
            let fits = |size: u64| at.is_multiple_of(size) && range.end - at >= size;
            let level = match () {
                () if self.pages_1g && fits(1 << 30) => 3,
                () if fits(1 << 21) => 2,
                () => 1,
            };
            let large = if level > 1 { LARGE } else { 0 };
            self.set(BASE + at, level, at | flags | large);
            at += PAGE << (9 * (level - 1));
        }
    }

    /// The entry of that level for an address, with tables on the way as they are needed.
    fn entry(&mut self, virt: u64, level: u32) -> &mut u64 {
        let mut at = END - PAGE;
        for on_the_way in ((level + 1)..=4).rev() {
            let index = (virt >> (12 + 9 * (on_the_way - 1))) as usize % ENTRIES;
            let mut entry = self.tables[&at][index];
            if entry == 0 {
                self.next_table -= PAGE;
                self.tables.insert(self.next_table, [0; ENTRIES]);
                entry = self.next_table | PRESENT | WRITABLE;
                self.tables.get_mut(&at).unwrap()[index] = entry;
            }
            assert!(on_the_way == 4 || entry & LARGE == 0, "a large page is in the way of {virt:#x}");
            at = Entry(entry).address();
        }
        &mut self.tables.get_mut(&at).unwrap()[(virt >> (12 + 9 * (level - 1))) as usize % ENTRIES]
    }

    fn set(&mut self, virt: u64, level: u32, entry: u64) {
        *self.entry(virt, level) = entry;
    }

    fn audit_with(&self, pat: u64) -> Result<Inventory, Violation> {
        let policy = MappingPolicy {
            direct_map_base: BASE,
            stacks: STACKS,
            mappings: MAPPINGS,
            text: TEXT,
            constants: CONSTANTS,
            read_only: &[(IDT, Rule::InterruptTableWritable), (TRAMPOLINE, Rule::TrampolineWritable)],
            regions: self.map.regions(),
            io_regions: &self.io_regions,
            pat,
            pages_1g: self.pages_1g,
        };
        let guards = [BASE, BASE + BOOT_GUARD, STACKS.0, STACKS.0 + 3 * PAGE];
        audit(END - PAGE, &policy, guards.into_iter(), |table, index| self.tables[&table][index])
    }

    fn audit(&self) -> Result<Inventory, Violation> {
        self.audit_with(PAT)
    }
}

/// Audits a valid tree after `change`.
#[track_caller]
fn assert_found(address: u64, rule: Rule, harm: impl FnOnce(&mut TestTables)) {
    let mut tables = TestTables::in_order(true);
    harm(&mut tables);
    assert_eq!(tables.audit(), Err(Violation { address, rule }));
}

#[test]
fn tables_in_order_are_counted() {
    let found = TestTables::in_order(true).audit().unwrap();
    assert_eq!(found.text.by_size, [4, 0, 0]);
    assert_eq!(found.constants.by_size, [2 + 1 + 16 + 1, 0, 0]);
    // Page 0, text, constants, the interrupt table, the guard and the BIOS have no part in the first 2 MiB that is data.
    assert_eq!(found.data.by_size, [158 + 256 - 4 - 2 - 1 - 1 + 2, 511, 1]);
    assert_eq!(found.device.by_size, [1, 0, 0]);
    // The root; from the second level on, tables for the direct map's first and fourth GiB, and for the stacks.
    assert_eq!(found.tables, 1 + 5 + 3);
    let without = TestTables::in_order(false).audit().unwrap();
    assert_eq!(without.data.by_size, [found.data.by_size[0], 1023, 0]);
    assert_eq!(without.runs, found.runs);
}

#[test]
fn the_identity_map_must_be_gone() {
    assert_found(0x9_f000, Rule::LowerHalf, |tables| tables.set(0x9_f000, 1, 0x9_f000 | RX));
    assert_found(0x7fff_ffff_f000, Rule::LowerHalf, |tables| tables.set(0x7fff_ffff_f000, 1, 0x20_0000 | RW));
}

#[test]
fn nothing_is_writable_and_executable() {
    let text = BASE + TEXT.start + PAGE;
    assert_found(text, Rule::WritableAndExecutable, |tables| *tables.entry(text, 1) |= WRITABLE);
    let data = BASE + 4 * MIB;
    assert_found(data, Rule::WritableAndExecutable, |tables| *tables.entry(data, 2) &= !NO_EXECUTE);
}

#[test]
fn nothing_but_text_is_executable_and_all_of_text_is() {
    let constants = BASE + CONSTANTS.start;
    assert_found(constants, Rule::ExecutableOutsideText, |tables| *tables.entry(constants, 1) &= !NO_EXECUTE);
    let firmware = BASE + ACPI.end - PAGE;
    // It lies right before the text, and so becomes one run with it.
    assert_found(firmware, Rule::ExecutableOutsideText, |tables| *tables.entry(firmware, 1) &= !NO_EXECUTE);
    let begin = BASE + TEXT.start;
    assert_found(begin, Rule::TextMissing, |tables| tables.set(begin + 2 * PAGE, 1, 0));
}

#[test]
fn text_is_seen_once() {
    for flags in [RW, RO, RX] {
        let address = STACKS.0 + 5 * PAGE;
        let harm = |tables: &mut TestTables| tables.set(address, 1, (TEXT.start + PAGE) | flags);
        assert_found(address, Rule::SecondMappingOfText, harm);
    }
    // Within a large page of another place.
    let large = STACKS.0 + (2 << 20);
    let harm = |tables: &mut TestTables| tables.set(large, 2, RW | LARGE);
    assert_found(large + TEXT.start, Rule::SecondMappingOfText, harm);
    let text = BASE + TEXT.start + PAGE;
    assert_found(text, Rule::SecondMappingOfText, |tables| *tables.entry(text, 1) |= NO_EXECUTE);
}

#[test]
fn constants_are_constant() {
    let address = BASE + CONSTANTS.start + PAGE;
    assert_found(address, Rule::ConstantsWritable, |tables| *tables.entry(address, 1) |= WRITABLE);
    let alias = STACKS.0 + 5 * PAGE;
    assert_found(alias, Rule::ConstantsWritable, |tables| tables.set(alias, 1, CONSTANTS.start | RW));
}

#[test]
fn interrupt_tables_are_read_only_wherever_they_are_mapped() {
    let address = BASE + IDT.start;
    assert_found(address, Rule::InterruptTableWritable, |tables| *tables.entry(address, 1) |= WRITABLE);
    let alias = MAPPINGS.0 + 5 * PAGE;
    assert_found(alias, Rule::InterruptTableWritable, |tables| tables.set(alias, 1, IDT.start | RW));
}

#[test]
fn the_first_code_of_aps_is_read_only_wherever_it_is_mapped() {
    let address = BASE + TRAMPOLINE.start;
    assert_found(address, Rule::TrampolineWritable, |tables| *tables.entry(address, 1) |= WRITABLE);
    let alias = MAPPINGS.0 + 5 * PAGE;
    assert_found(alias, Rule::TrampolineWritable, |tables| tables.set(alias, 1, TRAMPOLINE.start | RW));
}

#[test]
fn guards_are_not_mapped() {
    assert_found(BASE, Rule::GuardMapped, |tables| tables.set(BASE, 1, RW));
    let boot = BASE + BOOT_GUARD;
    assert_found(boot, Rule::GuardMapped, |tables| tables.set(boot, 1, BOOT_GUARD | RW));
    for guard in [STACKS.0, STACKS.0 + 3 * PAGE] {
        assert_found(guard, Rule::GuardMapped, |tables| tables.set(guard, 1, 0x60_0000 | RW));
    }
}

#[test]
fn nothing_lies_where_nothing_should() {
    let beyond = STACKS.1;
    assert_found(beyond, Rule::OutOfPlace, |tables| tables.set(beyond, 1, 0x60_0000 | RW));
    let constant = STACKS.0 + 5 * PAGE;
    assert_found(constant, Rule::OutOfPlace, |tables| tables.set(constant, 1, 0x60_0000 | RO));
    // A mapping is data at its own address, which no flush may leave in a TLB.
    let (first, end) = MAPPINGS;
    assert_found(first, Rule::GlobalMapping, |tables| tables.set(first, 1, 0x60_0000 | RW | GLOBAL));
    let mut tables = TestTables::in_order(true);
    tables.set(first, 1, 0x60_0000 | RW);
    assert!(tables.audit().is_ok());
    assert_found(end, Rule::OutOfPlace, |tables| tables.set(end, 1, 0x60_0000 | RW));
    // It may be read-only, or code that is not writable. Memory of devices has any type, RAM is write-back.
    for entry in [0x60_0000 | RO, 0x60_0000 | PRESENT, END | RW, END | RW | NO_CACHE | WRITE_THROUGH] {
        let mut tables = TestTables::in_order(true);
        tables.set(first, 1, entry);
        assert!(tables.audit().is_ok(), "{entry:#x}");
    }
    let rule = Rule::WritableAndExecutable;
    assert_found(first, rule, |tables| tables.set(first, 1, 0x60_0000 | PRESENT | WRITABLE));
    assert_found(first, Rule::MemoryNotWriteBack, |tables| tables.set(first, 1, 0x60_0000 | RW | NO_CACHE));
    assert_found(first, Rule::UnknownTarget { physical: END }, |tables| tables.set(first, 1, END | PRESENT));
    let hole = BASE + END;
    let rule = Rule::UnknownTarget { physical: END };
    assert_found(hole, rule, |tables| tables.set(hole, 1, END | RW));
    let low = BASE + 0xb_8000;
    assert_found(low, Rule::UnknownTarget { physical: 0xb_8000 }, |tables| tables.set(low, 1, 0xb_8000 | IO));
    let data = BASE + 4 * MIB;
    assert_found(data, Rule::User, |tables| {
        for level in 2..=4 {
            *tables.entry(data, level) |= USER;
        }
    });
}

#[test]
fn memory_types_fit_what_is_there() {
    let apic = BASE + APIC.start;
    assert_found(apic, Rule::DeviceCached, |tables| *tables.entry(apic, 1) &= !(NO_CACHE | WRITE_THROUGH));
    // UC- is not enough: an MTRR could make write-combining of it.
    assert_found(apic, Rule::DeviceCached, |tables| *tables.entry(apic, 1) &= !WRITE_THROUGH);
    // A screen may be write-combining, and its registers may not.
    let with_screen = |types: u64| {
        let mut tables = TestTables::in_order(true);
        tables.io_regions.add(SCREEN, IoRegion::Screen).unwrap();
        tables.set(BASE + SCREEN.start, 1, SCREEN.start | RW | types);
        tables.audit_with(WITH_COMBINING)
    };
    for types in [SMALL_PAGE_PAT.bits() | WRITE_THROUGH, NO_CACHE | WRITE_THROUGH] {
        assert!(with_screen(types).is_ok());
    }
    for types in [0, WRITE_THROUGH, NO_CACHE] {
        let address = BASE + SCREEN.start;
        assert_eq!(with_screen(types).unwrap_err(), Violation { address, rule: Rule::DeviceCached });
    }
    let mut tables = TestTables::in_order(true);
    *tables.entry(apic, 1) ^= NO_CACHE | SMALL_PAGE_PAT.bits();
    assert_eq!(tables.audit_with(WITH_COMBINING).unwrap_err().rule, Rule::DeviceCached);
    let data = BASE + 4 * MIB;
    assert_found(data, Rule::MemoryNotWriteBack, |tables| *tables.entry(data, 2) |= NO_CACHE | WRITE_THROUGH);
    let firmware = BASE + ACPI.start;
    assert_found(firmware, Rule::FirmwareWritable, |tables| *tables.entry(firmware, 1) |= WRITABLE);
    // The bits mean what the table says.
    let uncached_first = TestTables::in_order(true).audit_with(PAT & !0xff).unwrap_err();
    assert_eq!(uncached_first.rule, Rule::MemoryNotWriteBack);
    let mut tables = TestTables::in_order(true);
    *tables.entry(data, 2) |= LARGE_PAGE_PAT;
    assert_eq!(tables.audit(), TestTables::in_order(true).audit());
    assert_eq!(tables.audit_with(PAT & 0xffff_ff00_ffff_ffff).unwrap_err().address, data);
}

#[test]
fn tables_are_memory_and_entries_make_sense() {
    let address = BASE + (3 << 30);
    let rule = Rule::TableOutsideMemory { table: APIC.start };
    assert_found(address, rule, |tables| tables.set(address, 3, APIC.start | PRESENT | WRITABLE));
    let root_entry = BASE & !((1 << 39) - 1) | 1 << 39;
    assert_found(root_entry, Rule::Malformed, |tables| tables.set(root_entry, 4, RW | LARGE));
    let crooked = BASE + 4 * MIB;
    assert_found(crooked, Rule::Malformed, |tables| *tables.entry(crooked, 2) |= 1 << 14);
    let mut tables = TestTables::in_order(true);
    tables.pages_1g = false;
    assert_eq!(tables.audit().unwrap_err(), Violation { address: BASE + (1 << 30), rule: Rule::Malformed });
}

#[test]
fn pages_are_as_large_as_can_be() {
    let address = BASE + 4 * MIB;
    // The run begins behind the boot stack's guard.
    assert_found(BASE + BOOT_GUARD + PAGE, Rule::NeedlesslySmall, |tables| {
        tables.set(address, 2, 0);
        for page in 0..512 {
            tables.set(address + page * PAGE, 1, (4 * MIB + page * PAGE) | RW);
        }
    });
}

#[test]
fn rights_are_what_the_whole_way_allows() {
    let mut tables = TestTables::in_order(true);
    // A right that a table above takes away is not there, whatever the page says.
    let data = BASE + 4 * MIB;
    *tables.entry(data, 2) &= !NO_EXECUTE;
    *tables.entry(data, 3) |= NO_EXECUTE;
    let text_gone = Violation { address: BASE + TEXT.start, rule: Rule::SecondMappingOfText };
    assert_eq!(tables.audit(), Err(text_gone));
}

#[test]
fn a_rule_reads_as_a_sentence() {
    let violation = Violation { address: 0x1000, rule: Rule::UnknownTarget { physical: 0x2000 } };
    let text = std::format!("{violation}");
    assert_eq!(text, "page tables: 0x1000 leads to 0x2000, where nothing is known to lie");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever else hangs in the tree, it is found, or it broke no rule; and the walk ends.
    #[test]
    fn any_entry_is_survived(
        pages in prop::collection::vec((0..512u64, 0..512u64, any::<u64>()), 1..8)
    ) {
        let mut tables = TestTables::in_order(true);
        for (high, low, entry) in pages {
            let virt = BASE & !((1 << 39) - 1) | 2 << 39 | high << 21 | low << 12;
            tables.set(virt, 1, entry);
        }
        if let Ok(found) = tables.audit() {
            prop_assert_eq!(found.text, TestTables::in_order(true).audit().unwrap().text);
        }
    }

    /// The fewest pages are what greed finds.
    #[test]
    fn fewest_pages(first in 0..600_000u64, pages in 1..600_000u64, pages_1g in any::<bool>()) {
        let range = PhysRange::new(first * PAGE, (first + pages) * PAGE);
        let mut by_size = [0; 3];
        let mut at = range.start;
        while at < range.end {
            let fits = |size: &usize| {
                let bytes = PAGE << (9 * size);
                (*size < 2 || pages_1g) && at.is_multiple_of(bytes) && range.end - at >= bytes
            };
            let size = (0..3).rev().find(fits).unwrap();
            by_size[size] += 1;
            at += PAGE << (9 * size);
        }
        prop_assert_eq!(Pages::fewest(range, pages_1g), Pages { by_size });
    }
}

#[test]
fn io_regions_are_kept() {
    let mut io_regions = IoRegions::new();
    let page = |number: u64| PhysRange::new(number * PAGE, (number + 1) * PAGE);
    io_regions.add(page(1), IoRegion::Device(Device::LocalApic)).unwrap();
    io_regions.add(page(2), IoRegion::Device(Device::LocalApic)).unwrap();
    io_regions.add(page(3), IoRegion::Firmware).unwrap();
    assert_eq!(io_regions.at(2 * PAGE), Some((IoRegion::Device(Device::LocalApic), 3 * PAGE)));
    assert_eq!(io_regions.at(3 * PAGE + 5), Some((IoRegion::Firmware, 4 * PAGE)));
    assert_eq!(
        (io_regions.at(0), io_regions.next_after(0), io_regions.next_after(PAGE)),
        (None, Some(PAGE), Some(3 * PAGE))
    );
    let more: Vec<_> = (10..300)
        .map(|number| io_regions.add(page(2 * number), IoRegion::Device(Device::LocalApic)))
        .collect();
    assert_eq!(more.iter().filter(|added| added.is_ok()).count(), MAX_IO_REGIONS - 2);
}
