//! The valid places of each kind of device and memory, on a machine that has all of them.

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::memory_map::{MemoryMap, RawEntry};
use super::*;

const MIB: u64 = 1 << 20;
const BITS: u8 = 40;

const LOCAL_APIC: u64 = 0xfee0_0000;
const TABLES: u64 = 0xbff0_0000;

/// Memory below 640 KiB and from 1 MiB on, of which the kernel has the second MiB; tables, a persistent range and a hole
/// above.
fn map() -> MemoryMap {
    use RegionKind::*;
    let entry = |base, len, kind| RawEntry { base, len, kind };
    let (mut map, report) = MemoryMap::from_entries([
        entry(0, 0x9_fc00, Usable),
        entry(0x9_fc00, 0x400, Reserved),
        entry(MIB, 63 * MIB, Usable),
        entry(64 * MIB, MIB, AcpiReclaimable),
        entry(65 * MIB, 0x800, Unusable),
        entry(128 * MIB, 64 * MIB, Persistent),
        entry(TABLES, MIB, Reserved),
        entry(0xfed0_0000, 0x10_0000, Reserved),
    ]);
    assert!(report.is_clean(), "{report}");
    let _ = map.reserve(PhysRange::new(MIB, 2 * MIB), ReservedReason::Kernel);
    let _ = map.reserve(PhysRange::new(4 * MIB, 5 * MIB), ReservedReason::CommandLine);
    let _ = map.reserve(PhysRange::new(0xa_0000, MIB), ReservedReason::LegacyArea);
    map
}

fn io_regions() -> IoRegions {
    let mut io_regions = IoRegions::new();
    io_regions.add(DISPLAY, IoRegion::Device(Device::Display)).unwrap();
    io_regions.add(BIOS_ROM, IoRegion::Firmware).unwrap();
    io_regions
        .add(PhysRange::new(LOCAL_APIC, LOCAL_APIC + 4096), IoRegion::Device(Device::LocalApic))
        .unwrap();
    io_regions.add(PhysRange::new(TABLES, TABLES + 4096), IoRegion::Firmware).unwrap();
    io_regions
}

#[track_caller]
fn check(address: u64, bytes: u64, purpose: Purpose) -> Result<(), AddressFault> {
    let (map, io_regions) = (map(), io_regions());
    let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
    let checked = layout.check(address, bytes, purpose);
    checked.map(|range| assert_eq!(range, PhysRange::new(address, address + bytes)))
}

const HPET: Purpose = Purpose::Registers(Device::Hpet);
const IO_APIC: Purpose = Purpose::Registers(Device::IoApic);
const RESET: Purpose = Purpose::Registers(Device::ResetRegister);

#[test]
fn registers_share_no_page_with_anything_else() {
    for address in [0xfec0_0000, 0xfed0_0000, 0xd000_0000, 96 * MIB, 1 << 33] {
        assert_eq!(check(address, 1024, HPET), Ok(()), "{address:#x}");
    }
    let memory = |kind| Err(AddressFault::Memory(Owner::Firmware(kind)));
    let kernel = |reason| Err(AddressFault::Memory(Owner::Kernel(reason)));
    for (address, expected) in [
        (3 * MIB, memory(RegionKind::Usable)),
        (64 * MIB, memory(RegionKind::AcpiReclaimable)),
        (150 * MIB, memory(RegionKind::Persistent)),
        (65 * MIB + 0x400, memory(RegionKind::Unusable)),
        // The rest of a page that begins with memory.
        (65 * MIB + 0xc00, memory(RegionKind::Unusable)),
        (MIB, kernel(ReservedReason::Kernel)),
        (4 * MIB, kernel(ReservedReason::CommandLine)),
        (0x9_fc00, memory(RegionKind::Usable)),
        (0xb_8000, Err(AddressFault::Display)),
        (0xf_0000, Err(AddressFault::Rom)),
        (0xffff_f000, Err(AddressFault::Rom)),
        (LOCAL_APIC + 0x400, Err(AddressFault::Device(Device::LocalApic))),
        (TABLES + 0xc00, Err(AddressFault::Tables)),
        (0x400, Err(AddressFault::FirstPage)),
        (0xfed0_0007, Err(AddressFault::Misaligned { align: 1024 })),
        (1 << 40, Err(AddressFault::TooHigh { bits: BITS })),
        ((1 << 40) - 0x200, Err(AddressFault::TooHigh { bits: BITS })),
        (u64::MAX, Err(AddressFault::NoRange)),
        (u64::MAX - 1022, Err(AddressFault::NoRange)),
    ] {
        assert_eq!(check(address, 1024, HPET), expected, "{address:#x}");
    }
    assert_eq!(check(LOCAL_APIC + 0x300, 1, RESET), Err(AddressFault::Device(Device::LocalApic)));
    assert_eq!(check(0xcf9, 1, RESET), Err(AddressFault::FirstPage));
}

#[test]
fn only_devices_of_the_same_kind_may_share_a_page() {
    let map = map();
    let mut io_regions = io_regions();
    let page = PhysRange::new(0xfec0_0000, 0xfec0_1000);
    io_regions.add(page, IoRegion::Device(Device::IoApic)).unwrap();
    let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
    assert!(layout.check(0xfec0_0400, 0x14, IO_APIC).is_ok());
    assert_eq!(layout.check(0xfec0_0400, 1024, HPET), Err(AddressFault::Device(Device::IoApic)));
    // Across the border into the next page.
    assert_eq!(layout.check(0xfebf_fff8, 1024, RESET), Err(AddressFault::Device(Device::IoApic)));
}

#[test]
fn a_framebuffer_may_lie_in_video_memory() {
    assert_eq!(check(0xa_0000, 0x1_0000, Purpose::Screen), Ok(()));
    assert_eq!(check(0xa_0000, 0x2_1000, Purpose::Screen), Err(AddressFault::Display));
    assert_eq!(check(0xfd00_0000, 16 * MIB, Purpose::Screen), Ok(()));
    let in_memory = Err(AddressFault::Memory(Owner::Firmware(RegionKind::Usable)));
    assert_eq!(check(8 * MIB, MIB, Purpose::Screen), in_memory);
    let at_apic = Err(AddressFault::Device(Device::LocalApic));
    assert_eq!(check(LOCAL_APIC - MIB, 2 * MIB, Purpose::Screen), at_apic);
}

#[test]
fn tables_lie_in_memory_that_is_not_reused() {
    for (address, bytes) in [
        (64 * MIB, MIB),
        (64 * MIB + 7, 36),
        (TABLES + 0x800, 0x2000),
        (0xf_5a20, 36),
        (0x9_fc00, 1024),
        (4 * MIB, MIB),
        (130 * MIB, 36),
    ] {
        assert_eq!(check(address, bytes, Purpose::Table), Ok(()), "{address:#x}");
    }
    let usable = Err(AddressFault::Memory(Owner::Firmware(RegionKind::Usable)));
    let kernel = Err(AddressFault::Memory(Owner::Kernel(ReservedReason::Kernel)));
    for (address, bytes, expected) in [
        (3 * MIB, 36, usable),
        (4 * MIB - 1, 36, usable),
        (MIB + 0x1000, 36, kernel),
        (65 * MIB, 36, Err(AddressFault::Memory(Owner::Firmware(RegionKind::Unusable)))),
        (0xb_8000, 36, Err(AddressFault::Nothing)),
        (100 * MIB, 36, Err(AddressFault::Nothing)),
        (TABLES + MIB - 35, 36, Err(AddressFault::Nothing)),
        (LOCAL_APIC, 36, Err(AddressFault::Nothing)),
        (0xfed0_0000 - 1, 36, Err(AddressFault::Nothing)),
        (1 << 40, 36, Err(AddressFault::TooHigh { bits: BITS })),
        (0x20, 36, Err(AddressFault::FirstPage)),
        (64 * MIB, 0, Err(AddressFault::NoRange)),
    ] {
        assert_eq!(check(address, bytes, Purpose::Table), expected, "{address:#x}");
    }
    // Usable memory belongs to the frame allocator only once that exists.
    assert_eq!(check(3 * MIB, 36, Purpose::EarlyTable), Ok(()));
    assert_eq!(check(MIB + 0x1000, 36, Purpose::EarlyTable), kernel);
}

#[test]
fn a_table_is_not_read_from_a_device() {
    let map = map();
    let mut io_regions = io_regions();
    io_regions.add(PhysRange::new(0xfed0_0000, 0xfed0_1000), IoRegion::Device(Device::Hpet)).unwrap();
    let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
    let at_hpet = Err(AddressFault::Device(Device::Hpet));
    assert_eq!(layout.check(0xfed0_0000, 36, Purpose::Table), at_hpet);
    assert!(layout.check(0xfed0_1000, 36, Purpose::Table).is_ok());
}

#[test]
fn modules_lie_in_memory() {
    assert_eq!(check(8 * MIB, 20 * MIB, Purpose::Module), Ok(()));
    assert_eq!(check(63 * MIB, 2 * MIB, Purpose::Module), Ok(()));
    let kernel = Err(AddressFault::Memory(Owner::Kernel(ReservedReason::Kernel)));
    assert_eq!(check(0x1000, 0x9_e000, Purpose::Module), Ok(()));
    assert_eq!(check(MIB, 20 * MIB, Purpose::Module), kernel);
    assert_eq!(check(100 * MIB, MIB, Purpose::Module), Err(AddressFault::Nothing));
    let reserved = Err(AddressFault::Memory(Owner::Firmware(RegionKind::Reserved)));
    assert_eq!(check(TABLES, 36, Purpose::Module), reserved);
}

#[test]
fn a_page_is_mapped_by_its_contents() {
    let (map, io_regions) = (map(), io_regions());
    let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
    assert_eq!(layout.backing(3 * MIB), Some(Backing::Memory));
    // The last page below 640 KiB, which ends with what firmware keeps.
    assert_eq!(layout.backing(0x9_f000), Some(Backing::Memory));
    assert_eq!(layout.backing(LOCAL_APIC), Some(Backing::IoRegion(IoRegion::Device(Device::LocalApic))));
    assert_eq!(layout.backing(0xf_0000), Some(Backing::IoRegion(IoRegion::Firmware)));
    assert_eq!((layout.backing(0xd000_0000), layout.backing(TABLES + 4096)), (None, None));
}

#[test]
fn a_fault_is_displayed_as_a_reason() {
    let texts = [
        (AddressFault::TooHigh { bits: 40 }, "beyond the 40 bits of physical addresses"),
        (AddressFault::Memory(Owner::Kernel(ReservedReason::Kernel)), "in memory: kernel image"),
        (AddressFault::Device(Device::IoApic), "in a page of the I/O APIC"),
    ];
    for (fault, text) in texts {
        assert_eq!(fault.to_string(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// A valid range never shares a page with a conflicting use.
    #[test]
    fn what_is_granted_is_apart_from_all_else(
        address in prop_oneof![0..256 * MIB, 0xbf00_0000..0x1_0010_0000u64, any::<u64>()],
        bytes in prop_oneof![1..0x3000u64, any::<u64>()],
    ) {
        let (map, io_regions) = (map(), io_regions());
        let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
        for purpose in [RESET, Purpose::Screen, Purpose::Table, Purpose::Module] {
            let Ok(range) = layout.check(address, bytes, purpose) else { continue };
            prop_assert!(range.end <= 1 << BITS && range.start >= 4096);
            let pages = range.rounded_out();
            let memory: Vec<_> =
                map.regions().iter().filter(|region| region.owner.is_memory() && region.range.overlaps(pages)).collect();
            match purpose {
                Purpose::Table | Purpose::Module => {
                    prop_assert!(memory.iter().all(|region| region.owner != Owner::Kernel(ReservedReason::Kernel)
                        || !region.range.overlaps(range)));
                }
                _ => prop_assert!(memory.is_empty() && !pages.overlaps(FLASH), "{memory:?}"),
            }
        }
    }

    /// Windows that touch become one, and what is added at an edge can be removed again.
    #[test]
    fn windows_can_be_added_and_removed(pages in prop::collection::vec(0..40u64, 1..30)) {
        let page = |number: u64| PhysRange::new(number * 4096, (number + 1) * 4096);
        let mut io_regions = IoRegions::new();
        for number in &pages {
            io_regions.add(page(*number), IoRegion::Firmware).unwrap();
        }
        for number in 0..40 {
            prop_assert_eq!(io_regions.at(number * 4096).is_some(), pages.contains(&number));
        }
        // One more, that is not there yet, and away with it.
        let fresh = (0..40).find(|number| !pages.contains(number)).unwrap();
        io_regions.add(page(fresh), IoRegion::Firmware).unwrap();
        io_regions.remove(page(fresh));
        for number in 0..40 {
            prop_assert_eq!(io_regions.at(number * 4096).is_some(), pages.contains(&number), "{}", number);
        }
    }

    /// The first page in use is the one that a search page by page finds.
    #[test]
    fn the_first_page_in_use_is_found(
        page in prop_oneof![0..0x300u64, 0x4000..0x4200u64, 0xb_ff00..0x10_0010u64],
        pages in prop_oneof![1..3u64, 1..0x400u64],
    ) {
        let (map, io_regions) = (map(), io_regions());
        let layout = PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits: BITS };
        let each = (page..page + pages).map(|page| page * 4096).find(|page| layout.backing(*page).is_some());
        prop_assert_eq!(layout.first_in_use(page * 4096, pages), Ok(each));
    }
}

#[test]
fn pages_beyond_the_addresses_are_refused_without_a_search() {
    let (map, io_regions) = (map(), io_regions());
    let layout =
        |address_bits| PhysicalLayout { regions: map.regions(), io_regions: &io_regions, address_bits };
    let last = (1 << BITS) - 4096;
    assert_eq!(layout(BITS).first_in_use(last, 1), Ok(None));
    for (address, pages) in [(last, 2), (1 << BITS, 1), (1 << 45, 1 << 20)] {
        assert_eq!(layout(BITS).first_in_use(address, pages), Err(AddressFault::TooHigh { bits: BITS }));
    }
    assert_eq!(layout(52).first_in_use(1 << REACH_BITS, 1), Err(AddressFault::OutOfReach));
    for (address, pages) in [(last, u64::MAX), (last, u64::MAX / 4096), (last, 0)] {
        assert_eq!(layout(BITS).first_in_use(address, pages), Err(AddressFault::NoRange));
    }
}
