//! Cases of the MADT: its processors and its local APICs.

use super::*;

pub(super) fn cpu_lists() -> Vec<Case> {
    let ghosts = || [cpus(), (50..250).map(cpu).collect()].concat();
    let between =
        |entry: &[u8]| with_entries([&cpus()[..2], &[entry.to_vec()], &cpus()[2..], &wiring()].concat());
    let order = |ids: &[u8]| ids.iter().map(|id| cpu(*id)).collect::<Vec<_>>();
    let flags = |of: [u32; 4]| (0..4).map(|id| cpu_flags(id, id, of[usize::from(id)])).collect::<Vec<_>>();
    let wide = |ids: &[u32]| ids.iter().map(|id| x2apic_cpu(*id)).collect::<Vec<_>>();
    let descending = |low: u32| (low..=50_000).rev().map(x2apic_cpu).collect::<Vec<_>>();
    vec![
        case("base", tables(&usual())),
        case("ghost", with_cpus([cpus(), order(&[9])].concat())).misses(),
        case("ghost-allowed", with_cpus([cpus(), order(&[9])].concat())).append(ALLOWED),
        case("ghost-of-a-large-id", with_cpus([cpus(), wide(&[0x1234_5678])].concat())).misses(),
        case("ghosts-200", with_cpus(ghosts())).misses(),
        case("ghosts-200-allowed", with_cpus(ghosts())).append(ALLOWED),
        case("disabled-but-the-bsp", with_cpus(flags([1, 0, 0, 0]))).cpus(1),
        case("disabled-all", with_cpus(flags([0; 4]))).cpus(1).warns(&["MADT"]),
        case("bsp-last", with_cpus(order(&[3, 2, 1, 0]))),
        case("both-types", with_cpus([cpus(), wide(&[0, 1, 2, 3])].concat())).warns(&["MADT"]),
        case("both-types-in-other-orders", with_cpus([wide(&[3, 1, 0, 2]), order(&[2, 3, 1, 0])].concat()))
            .warns(&["MADT"]),
        case("type-9-below-255", with_cpus(wide(&[0, 1, 2, 3]))),
        case("online-capable", with_cpus(flags([1, 1, 2, 2]))).cpus(2),
        case("enabled-and-online-capable", with_cpus(flags([3; 4]))),
        case("flags-all-ones", with_cpus(flags([u32::MAX; 4]))),
        case("length-0", between(&[0, 0])).cpus(2).misses().warns(&["MADT"]),
        case("length-1", between(&[0, 1])).cpus(2).misses().warns(&["MADT"]),
        case("entry-past-the-end", with_more(vec![vec![0, 0xff, 7, 7, 1, 0, 0, 0]])).warns(&["MADT"]),
        case("entry-too-short", with_cpus([order(&[0, 1]), vec![vec![0, 4, 2, 2]], order(&[3])].concat()))
            .cpus(3)
            .misses()
            .warns(&["MADT"]),
        case("trailing-byte", with_more(vec![vec![0]])).warns(&["MADT"]),
        case("no-entries", with_entries(vec![])).cpus(1).misses().warns(&["MADT"]),
        case(
            "unknown-types",
            with_entries(
                [
                    order(&[0, 1]),
                    vec![[&[0x7f, 8][..], b"abcdef"].concat(), [&[0xff, 16][..], &[b'z'; 14]].concat()],
                    vec![[&[0x0b, 80][..], &[1; 78]].concat(), vec![0x80, 2]],
                    order(&[2, 3]),
                    wiring(),
                ]
                .concat(),
            ),
        ),
        case("broadcast-id-8", with_cpus([cpus(), order(&[255])].concat())).warns(&["MADT"]),
        case("broadcast-id-32", with_cpus([cpus(), wide(&[u32::MAX])].concat())).warns(&["MADT"]),
        case("cpus-4000", with_cpus((0..4000).map(x2apic_cpu).collect())).append(ALLOWED).refused(),
        case("cpus-4000-with-memory", with_cpus((0..4000).map(x2apic_cpu).collect()))
            .append(ALLOWED)
            .memory("1G"),
        case(
            "cpus-4000-disabled",
            with_cpus([wide(&[0, 1, 2, 3]), (4..4000).map(|id| x2apic_cpu_flags(id, 0)).collect()].concat()),
        ),
        case("cpus-60000-duplicates", with_cpus((0..60_000u32).map(|id| cpu(id as u8 & 3)).collect()))
            .warns(&["MADT"]),
        case("cpus-50000-descending-limited", with_cpus(descending(1)))
            .append("max_cpus=4 allow_missing_cpus=on")
            .cpus(1)
            .warns(&["MADT"]),
        case("cpus-50000-descending", with_cpus(descending(0))).append(ALLOWED).memory("1G").cpus(1),
        case(
            "cpus-20000-scattered",
            with_cpus((0..20_000u32).map(|at| x2apic_cpu((at * 7919) % 20_011 + 8)).collect()),
        )
        .append("max_cpus=4 allow_missing_cpus=on")
        .cpus(1)
        .warns(&["MADT"]),
        case("uids-alike", with_cpus((0..4).map(|id| cpu_flags(0, id, 1)).collect())),
        case(
            "uids-alike-with-nmis",
            with_entries(
                [
                    (0..4).map(|id| cpu_flags(0, id, 1)).collect(),
                    wiring()[..wiring().len() - 1].to_vec(),
                    vec![local_nmi(0, 0, 1), local_nmi(0, 0, 0)],
                ]
                .concat(),
            ),
        ),
    ]
}

pub(super) fn madts() -> Vec<Case> {
    let of_length = |length| with_madt(MadtHead { harm: states(length), ..MADT });
    let short = |body: &[u8]| tables(&[fixed(), vec![table(b"APIC", body, SOUND)]].concat());
    let missing = |case: Case| case.cpus(1).misses().warns(&["MADT", "RSDP"]);
    let two = madt(&[cpus()[..2].to_vec(), wiring()].concat());
    let broken = madt_with(MadtHead { harm: BROKEN, ..MADT }, &[cpus()[..2].to_vec(), wiring()].concat());
    let all_broken = madt_with(MadtHead { harm: BROKEN, ..MADT }, &[cpus(), wiring()].concat());
    let mut cases = vec![
        missing(case("madt-of-43-bytes", short(&[0, 0, 0xe0, 0xfe, 1, 0, 0]))),
        missing(case("madt-of-40-bytes", short(&[0, 0, 0xe0, 0xfe]))),
        case("madt-padded-to-1-mib", of_length(1 << 20)).warns(&["MADT"]),
        missing(case("madt-checksum", with_madt(MadtHead { harm: BROKEN, ..MADT }))),
        case("madts-two", tables(&[fixed(), vec![two, good_madt()]].concat())).warns(&["MADT"]),
        case("madts-two-the-first-broken", tables(&[fixed(), vec![broken, good_madt()]].concat()))
            .warns(&["MADT"]),
        case("madts-21-the-last-sound", tables(&[fixed(), vec![all_broken; 20], vec![good_madt()]].concat()))
            .warns(&["MADT", "XSDT"]),
        case("pcat-compat-0", with_madt(MadtHead { flags: 0, ..MADT })),
    ];
    for length in [0, 35, 36, (1 << 20) + 1, 0x0f00_0000, u32::MAX] {
        cases.push(missing(case(format!("madt-length-{length}"), of_length(length))));
    }
    cases
}

pub(super) fn local_apic() -> Vec<Case> {
    let more = |address: u64| with_more(vec![local_apic_address(address)]);
    let mut cases = vec![
        case("local-apic-nowhere-x2apic", more(u64::MAX)),
        case(
            "local-apic-twice",
            with_entries(
                [cpus(), vec![local_apic_address(0x1000)], wiring(), vec![local_apic_address(0xfee0_0000)]]
                    .concat(),
            ),
        )
        .append("x2apic=off"),
    ];
    for (name, address) in [
        ("unaligned", 0xfee0_0123),
        ("nowhere", u64::MAX),
        ("at-0", 0),
        ("in-memory", 0x300_0000),
        ("in-a-hole", 0xd000_0000),
        ("beyond", 1 << 51),
    ] {
        cases.push(case(format!("local-apic-{name}"), more(address)).append("x2apic=off").probes(&["MADT"]));
    }
    for address in [0, 0x1234_5678] {
        let image = with_madt(MadtHead { local_apic: address, ..MADT });
        cases.push(
            case(format!("local-apic-by-head-{address:x}"), image).append("x2apic=off").probes(&["MADT"]),
        );
    }
    cases
}
