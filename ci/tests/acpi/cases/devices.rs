//! Cases of the tables besides the MADT: nodes, timers, the reset register.

use super::*;

pub(super) fn nodes() -> Vec<Case> {
    let cpus_of_two = || (0..4u8).map(|id| srat_cpu(u32::from(id) / 2, id)).collect::<Vec<_>>();
    let halves = || vec![srat_memory(0, 0, 64 * MIB), srat_memory(1, 64 * MIB, 64 * MIB)];
    let with = |entries: Vec<Vec<u8>>| tables(&[usual(), vec![srat(&entries)]].concat());
    let beside_cpus = |entries: Vec<Vec<u8>>| with([cpus_of_two(), entries].concat());
    let pages = |count: u32, size: u64| {
        (0..count).map(|at| srat_memory(at, u64::from(at) * size, size)).collect::<Vec<_>>()
    };
    let distances = |domains: u64, values: &[u8]| {
        let both = [srat(&[cpus_of_two(), halves()].concat()), slit(domains, values)];
        tables(&[usual(), both.to_vec()].concat())
    };
    let matrix =
        (0..1_000_000u32).map(|at| if at / 1000 == at % 1000 { 10 } else { 20 }).collect::<Vec<u8>>();
    vec![
        case("nodes-two", distances(2, &[10, 20, 20, 10])),
        case(
            "memory-overlaps",
            beside_cpus(vec![srat_memory(0, 0, 80 * MIB), srat_memory(1, 64 * MIB, 64 * MIB)]),
        )
        .warns(&["SRAT"]),
        case(
            "memory-past-the-end",
            beside_cpus(vec![srat_memory(0, 0, 64 * MIB), srat_memory(1, u64::MAX - 0xffff, MIB)]),
        )
        .warns(&["SRAT"]),
        case("memory-of-all-addresses", beside_cpus(vec![srat_memory(0, 0, u64::MAX)])),
        case(
            "memory-of-half-of-all-addresses",
            beside_cpus(vec![srat_memory(0, 0, 64 * MIB), srat_memory(1, 64 * MIB, u64::MAX >> 1)]),
        ),
        case(
            "domain-of-the-last-number",
            with(
                [
                    (0..4).map(|id| srat_cpu(u32::MAX, id)).collect(),
                    vec![srat_memory(u32::MAX, 0, 128 * MIB)],
                ]
                .concat(),
            ),
        ),
        case(
            "domains-of-the-last-numbers",
            with(
                (0..4u8)
                    .flat_map(|id| {
                        let domain = u32::MAX - 3 + u32::from(id);
                        [srat_cpu(domain, id), srat_memory(domain, 32 * MIB * u64::from(id), 32 * MIB)]
                    })
                    .collect(),
            ),
        ),
        case("memory-without-cpus", with(vec![srat_memory(5, 0, 128 * MIB)])),
        case("cpus-without-memory", with(cpus_of_two())),
        case("memory-of-no-bytes", beside_cpus([halves(), vec![srat_memory(7, 0x1000, 0)]].concat())),
        case(
            "srat-entry-of-no-bytes",
            with([cpus_of_two()[..2].to_vec(), vec![vec![1, 0]], halves()].concat()),
        )
        .warns(&["SRAT"]),
        case(
            "domains-300",
            with([(0..300u32).map(|at| srat_cpu(at, at as u8)).collect(), pages(300, 0x1_0000)].concat()),
        )
        .warns(&["SRAT"]),
        case("domains-2000", with(pages(2000, 4096))).warns(&["SRAT"]),
        case("domains-5000", with(pages(5000, 4096))).warns(&["SRAT"]),
        case("domains-20000", with(pages(20_000, 4096))).warns(&["SRAT"]),
        case(
            "memory-unaligned",
            beside_cpus(vec![
                srat_memory(0, 0, 64 * MIB + 0x123),
                srat_memory(1, 64 * MIB + 0x123, 64 * MIB - 0x123),
            ]),
        ),
        case(
            "memory-page-by-page",
            beside_cpus((0..32).map(|at| srat_memory(at & 1, u64::from(at) * 4096, 4096)).collect()),
        ),
        case("memory-in-part", beside_cpus(vec![srat_memory(0, 0, MIB), srat_memory(1, 127 * MIB, MIB)])),
        case("memory-twice", beside_cpus([halves(), halves()].concat())),
        case(
            "memory-pluggable",
            beside_cpus(vec![
                srat_memory_flags(0, 0, 64 * MIB, 3),
                srat_memory_flags(1, 64 * MIB, 64 * MIB, 7),
            ]),
        ),
        case("srat-of-40-bytes", tables(&[usual(), vec![table(b"SRAT", &[1, 0, 0, 0], SOUND)]].concat()))
            .warns(&["SRAT"]),
        case("srat-by-x2apic", with([(0..4).map(|id| srat_x2apic(id, id)).collect(), halves()].concat())),
        case("slit-of-2e32", distances(1 << 32, &[10, 20, 20, 10])).warns(&["SLIT"]),
        case("slit-of-the-last-number", distances(u64::MAX, &[10, 20, 20, 10])).warns(&["SLIT"]),
        case("slit-of-zeros", distances(2, &[0; 4])).warns(&["SLIT"]),
        case("slit-without-ways", distances(2, &[10, 255, 255, 10])),
        case("slit-asymmetric", distances(2, &[10, 11, 200, 10])),
        case("slit-of-1", distances(1, &[10])),
        case("slit-of-0", distances(0, &[])),
        case("slit-of-1000", distances(1000, &matrix)),
    ]
}

pub(super) fn timers() -> Vec<Case> {
    let with_hpet = |hpet: Vec<u8>| tables(&[FADT.table(), hpet, good_madt()]);
    let with_fadt = |fadt: Fadt| tables(&[fadt.table(), good_madt()]);
    let bytes = |bytes| with_fadt(Fadt { bytes, ..FADT });
    let pm = |port| with_fadt(Fadt { pm_timer: port, ..FADT });
    let mut cases = vec![
        case("hpet-truncated", with_hpet(table(b"HPET", &[0; 8], SOUND))).warns(&["HPET"]),
        case("hpet-by-ports", with_hpet(hpet_in(1, 0xfed0_0000))).warns(&["HPET"]),
        // Nothing uses the number.
        case("hpet-without-a-minimum-tick", with_hpet(hpet_of(0, 0xfed0_0000, 0))),
        case("hpet-in-a-hole", with_hpet(hpet(0xd000_0000))).probes(&["HPET"]),
        case("hpet-in-the-firmwares-memory", with_hpet(hpet(0x7fe_0000))).probes(&["HPET"]),
        case("hpet-in-a-hole-asked-for", with_hpet(hpet(0xd000_0000)))
            .append("clock=hpet")
            .refused()
            .probes(&["HPET"]),
        case("hpet-in-memory-asked-for", with_hpet(hpet(0x300_0000)))
            .append("clock=hpet")
            .refused()
            .warns(&["HPET"]),
        case("hpet-none-asked-for", tables(&[good_madt()])).append("clock=hpet").refused(),
        case("fadt-and-hpet-none", tables(&[good_madt()])),
        case("fadt-of-36-bytes", bytes(36)).warns(&["FADT"]),
        case(
            "fadt-of-50-bytes",
            tables(&[Fadt { bytes: 50, ..FADT }.table(), hpet(0xfed0_0000), good_madt()]),
        )
        .warns(&["FADT"]),
        case("fadt-of-100-bytes", bytes(100)).warns(&["FADT"]),
        case("pm-timer-none", pm(0)),
        case("pm-timer-at-the-last-port", pm(0xffff)).warns(&["FADT"]),
        case("pm-timer-where-nothing-is", pm(0x1234)),
        case("pm-timer-asked-for", pm(0x1234)).append("clock=pm_timer").refused(),
        case("pm-timer-at-the-serial-port", pm(0x3f8)).warns(&["FADT"]),
        case("pm-timer-at-the-exit-device", pm(0xf4)).warns(&["FADT"]),
        case("pm-timer-in-memory", with_fadt(Fadt { extended_pm_timer: Some((0, 0xfed0_0000)), ..FADT }))
            .warns(&["FADT"]),
        case("hardware-reduced", with_fadt(Fadt { flags: 1 << 20, ..FADT })),
        case("fadt-checksum", with_fadt(Fadt { harm: BROKEN, ..FADT })).warns(&["FADT"]),
        case(
            "fadts-two",
            tables(&[Fadt { pm_timer: 0, flags: 1 << 20, ..FADT }.table(), FADT.table(), good_madt()]),
        ),
    ];
    let places = [
        ("page-0", 0),
        ("memory", 0x300_0000),
        ("the-kernel", 0x10_0000),
        ("the-last-byte", u64::MAX),
        ("the-last-page", u64::MAX - 0xfff),
        ("2e40", 1 << 40),
        ("an-odd-address", 0xfed0_0007),
        ("the-local-apic", 0xfee0_0000),
        ("the-io-apic", 0xfec0_0000),
        ("the-display", 0xb_8000),
        ("the-bios", 0xf_0000),
    ];
    let memory = IN_MEMORY.map(|address| (format!("memory-{address:x}"), address));
    for (name, address) in places.map(|(name, address)| (name.to_owned(), address)).into_iter().chain(memory)
    {
        cases.push(case(format!("hpet-in-{name}"), with_hpet(hpet(address))).warns(&["HPET"]));
    }
    cases
}

/// Reset registers. A boot of such a case starts a shell, which resets the machine.
pub(super) fn resets() -> Vec<Case> {
    let with =
        |reset, flags| tables(&[Fadt { reset, flags, ..FADT }.table(), hpet(0xfed0_0000), good_madt()]);
    let refused = ["FADT"];
    let mut cases = vec![case("reset-unsupported", with((1, 0xcf9, 6), 0x84a5))];
    for (name, reset, warnings) in [
        ("port", (1, 0xcf9, 0x0f), &[][..]),
        ("port-of-nothing", (1, 0x80, 1), &[]),
        ("port-of-the-serial-port", (1, 0x3f8, 65), &refused),
        ("port-too-high", (1, 0x1_0000, 1), &refused),
        ("port-of-the-exit-device", (1, 0xf4, 0x10), &refused),
        ("kernel", (0, 0x10_0000, 0), &refused),
        ("memory", (0, 0x300_0000, 1), &refused),
        ("hole", (0, 0xd000_0000, 1), &[]),
        ("2e40", (0, 1 << 40, 1), &refused),
        ("last-byte", (0, u64::MAX, 1), &refused),
        ("local-apic", (0, 0xfee0_0300, 1), &refused),
        ("bios", (0, 0xf_0000, 1), &refused),
        ("page-0", (0, 0xfff, 1), &refused),
        ("byte-1", (0, 1, 1), &refused),
        ("pci", (2, 0xcf9, 1), &refused),
        ("unknown-space", (77, 0xcf9, 1), &refused),
        ("none", (1, 0, 1), &[]),
    ] {
        cases.push(case(format!("reset-{name}"), with(reset, FADT.flags)).warns(warnings));
    }
    cases
}
