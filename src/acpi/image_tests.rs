//! Images of tables, read by the same code as in a boot.
//!
//! `cases` has the expected result of each; `ci/tests/acpi` boots them. The memory is that of the machine which boots
//! them, so an address that is rejected there is rejected here as well. Checks that need a device are left to the boots.

use std::collections::BTreeSet;
use std::string::{String, ToString};
use std::vec::Vec;

use super::cpu_list::{self, CpuList};
use super::describe::Description;
use super::expected::{CpuLimit, ExpectedCpus};
use super::id_index::IdIndex;
use super::irq_routing::nmi_pins;
use super::numa::Numa;
use super::rsdp::{RsdpSource, TableMemory};
use super::{CpuEntry, tables};
use crate::boot::defect::Defect;
use crate::boot::io_regions::{Device, IoRegion, IoRegions};
use crate::boot::memory_map::{MemoryMap, PhysRange, RawEntry, RegionKind, ReservedReason};
use crate::boot::physical::{AddressFault, BIOS_ROM, DISPLAY, PhysicalLayout, Purpose};
use crate::cpu::ApicId;

// The boots use items that are unused here.
#[allow(dead_code)]
#[path = "../../ci/tests/acpi/cases.rs"]
mod cases;
#[path = "../../ci/tests/acpi/images.rs"]
mod images;

use cases::{Case, room_for};
use images::BASE;

const MIB: u64 = 1 << 20;

/// The number of the machine's CPUs.
const CPUS: u32 = 4;

/// The maximum number of warnings: many invalid entries cause only a few.
const MAX_WARNINGS: usize = 12;

/// The memory map of QEMU's q35 with 128 MiB, as known when the tables are read.
fn machine(image: &[u8]) -> MemoryMap {
    use RegionKind::{Reserved, Usable};
    let entry = |base, end: u64, kind| RawEntry { base, len: end - base, kind };
    let (mut map, _) = MemoryMap::from_entries([
        entry(0, 0x9_fc00, Usable),
        entry(0x9_fc00, 0xa_0000, Reserved),
        entry(0xf_0000, MIB, Reserved),
        entry(MIB, 0x7fe_0000, Usable),
        entry(0x7fe_0000, 128 * MIB, Reserved),
        entry(0xb000_0000, 0xc000_0000, Reserved),
        entry(0xfeff_c000, 0xff00_0000, Reserved),
        entry(0xfffc_0000, 1 << 32, Reserved),
        entry(0xfd_0000_0000, 1 << 40, Reserved),
    ]);
    let mut reserve = |start, end, reason| {
        let _ = map.reserve(PhysRange::new(start, end), reason);
    };
    reserve(0, 4096, ReservedReason::FirstPage);
    reserve(MIB, MIB + 0xa_0000, ReservedReason::Kernel);
    reserve(BASE, BASE + room_for(image), ReservedReason::CommandLine);
    reserve(0x7fd_7000, 0x7fe_0000, ReservedReason::EarlyTables);
    // Firmware's own tables occupy the last 128 KiB, which the map reports as reserved: a device is rejected there as in
    // a hole.
    map
}

/// The image in that memory, surrounded by zeros.
struct Loaded<'a> {
    map: &'a MemoryMap,
    io_regions: &'a IoRegions,
    /// From [`BASE`] on, with zeros behind the image.
    bytes: &'a [u8],
    /// As long as any table.
    zeros: &'a [u8],
}

impl<'a> TableMemory<'a> for Loaded<'a> {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        bytes.copy_from_slice(self.map(address, bytes.len() as u64)?);
        Ok(())
    }

    fn map(&self, address: u64, bytes: u64) -> Result<&'a [u8], AddressFault> {
        layout(self.map, self.io_regions).check(address, bytes, Purpose::Table)?;
        let inside =
            address.checked_sub(BASE).and_then(|at| self.bytes.get(at as usize..)?.get(..bytes as usize));
        Ok(inside.unwrap_or(&self.zeros[..bytes as usize]))
    }
}

fn layout<'a>(map: &'a MemoryMap, io_regions: &'a IoRegions) -> PhysicalLayout<'a> {
    PhysicalLayout { regions: map.regions(), io_regions, address_bits: 40 }
}

/// The result of reading the tables.
struct Read {
    /// The exit status that a boot must have.
    status: u8,
    /// CPUs that can come online.
    cpus: u32,
    warnings: Vec<String>,
    tables: BTreeSet<&'static str>,
    nodes: usize,
}

/// Reads an image on a machine whose package has `by_cpuid` CPUs, or does not report it (0).
fn read(case: &Case, by_cpuid: u32) -> Read {
    let map = machine(&case.image);
    let mut io_regions = IoRegions::new();
    io_regions.add(DISPLAY, IoRegion::Device(Device::Display)).unwrap();
    io_regions.add(BIOS_ROM, IoRegion::Firmware).unwrap();
    io_regions.add(PhysRange::new(0xfee0_0000, 0xfee0_1000), IoRegion::Device(Device::LocalApic)).unwrap();
    let before = io_regions.clone();
    let mut bytes = case.image.clone();
    bytes.resize(room_for(&case.image) as usize, 0);
    let zeros = vec![0; MIB as usize];
    let memory = Loaded { map: &map, io_regions: &before, bytes: &bytes, zeros: &zeros };

    let (mut warnings, mut tables) = (Vec::new(), BTreeSet::new());
    let mut sink = |defect: &Defect<'_>| {
        warnings.push(defect.to_string());
        tables.insert(defect.table);
    };
    let named = [RsdpSource::CommandLine(BASE)].into_iter();
    let Ok(found) = tables::find(&memory, named, 0, &mut sink) else {
        // The BIOS's tables remain, which the host does not have.
        return Read { status: 0, cpus: CPUS, warnings, tables, nodes: 1 };
    };
    let mut claim = |device, address, bytes| {
        let range = layout(&map, &io_regions).check(address, bytes, Purpose::Registers(device))?;
        io_regions
            .add(range.rounded_out(), IoRegion::Device(device))
            .map_err(|_| AddressFault::TooManyIoRegions)
    };
    let description = Description::read(&found, &mut claim, &mut sink);
    let mut numa = Numa::one_node();
    if let Some((srat, address)) = description.srat {
        numa.fill_or_report(srat, address, description.slit, map.regions(), &mut sink);
    }

    let max_cpus = case.append.split(' ').find_map(|word| word.strip_prefix("max_cpus=")?.parse().ok());
    let limit = max_cpus.map(CpuLimit::MaxCpus);
    let mut expected = ExpectedCpus { by_cpuid, limit, ..ExpectedCpus::default() };
    let mut ids = vec![0];
    if let Some((madt, address)) = description.madt {
        let room = cpu_list::count_usable(&madt).min(max_cpus.unwrap_or(crate::config::MAX_CPUS) as usize);
        let mut slots = vec![CpuEntry::EMPTY; room];
        let mut words = vec![0; IdIndex::words_for(room)];
        let mut index = IdIndex::new(&mut words, 7);
        let cpu_list = CpuList::fill(&madt, ApicId(0), &mut slots, &mut index);
        slots.truncate(cpu_list.cpus as usize);
        numa.assign(&mut slots, &index);
        cpu_list.report(ApicId(0), address, &mut sink);
        index.clear();
        let uid_at = |slot: usize| slots[slot].uid.unwrap_or(u32::MAX);
        for (slot, uid) in slots.iter().enumerate().filter_map(|(slot, cpu)| Some((slot, cpu.uid?))) {
            index.insert(uid, slot, uid_at);
        }
        assert!(nmi_pins(&madt, address, &slots, &index, &mut sink).count() <= 2 * (slots.len() + 1));
        expected = ExpectedCpus {
            by_tables: cpu_list.enabled(),
            disabled: cpu_list.disabled + cpu_list.hot_pluggable,
            hiding: cpu_list.hiding,
            ..expected
        };
        ids = slots.iter().map(|cpu| cpu.apic_id.0).collect();
    }
    let cpus = ids.iter().filter(|id| **id < CPUS).count() as u32;
    let is_missing = cpus < ids.len() as u32 || expected.unlisted(ids.len() as u32).is_some();
    let is_allowed = case.append.contains("allow_missing_cpus=on");
    Read { status: u8::from(is_missing && !is_allowed), cpus, warnings, tables, nodes: numa.nodes() }
}

#[test]
fn every_case_is_read_as_it_must_be() {
    let all = cases::all();
    let names: BTreeSet<_> = all.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), all.len(), "two cases have one name");
    let mut wrong = Vec::new();
    for case in &all {
        let read = read(case, CPUS);
        let wanted: BTreeSet<_> = case.warnings.iter().copied().collect();
        // Only a boot can tell whether there is memory for so many CPUs, or a clock.
        let is_status = case.status == 5 || read.status == case.status;
        if !is_status || read.cpus != case.cpus || read.tables != wanted || read.warnings.len() > MAX_WARNINGS
        {
            wrong.push(format!(
                "{}: status {}, {} CPUs, warnings about {:?}: {:#?}",
                case.name, read.status, read.cpus, read.tables, read.warnings
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn no_case_hides_cpus_that_are_packages_of_their_own() {
    for case in cases::all().into_iter().filter(|case| read(case, CPUS).status == 1) {
        assert_eq!([0, 1].map(|by_cpuid| read(&case, by_cpuid).status), [1, 1], "{}", case.name);
    }
}

#[test]
fn domains_become_nodes_in_cases() {
    let all = cases::all();
    let nodes = |name: &str| read(all.iter().find(|case| case.name == name).unwrap(), CPUS).nodes;
    for (name, expected) in [
        ("nodes-two", 2),
        ("domains-of-the-last-numbers", 4),
        ("memory-overlaps", 1),
        ("memory-past-the-end", 2),
        ("memory-twice", 2),
        ("memory-pluggable", 2),
        ("domains-20000", 16),
        ("srat-entry-of-no-bytes", 1),
    ] {
        assert_eq!(nodes(name), expected, "{name}");
    }
}
