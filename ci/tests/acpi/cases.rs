//! The cases: each an image of tables, and the expected result on a machine with four CPUs.

use super::images::*;

const MIB: u64 = 1 << 20;

/// The size of the reserved memory for an image: a table that states the maximum length must lie in it completely.
pub(crate) fn room_for(image: &[u8]) -> u64 {
    (image.len() as u64 + MIB).next_multiple_of(4096)
}

/// An image, and what must come of it.
pub(crate) struct Case {
    pub name: String,
    pub image: Vec<u8>,
    pub memory: &'static str,
    pub append: &'static str,
    /// The exit status: 0, 1 where CPUs are missing, 5 where the kernel refuses the machine.
    pub status: u8,
    /// CPUs that come online, where the kernel does not refuse the machine.
    pub cpus: u32,
    /// The tables that warnings name, found by reading alone; no other is named then.
    pub warnings: Vec<&'static str>,
    /// The defects that a boot reports in addition, after it has probed the device at an address.
    pub probed: Vec<&'static str>,
}

impl Case {
    fn warns(mut self, tables: &[&'static str]) -> Case {
        self.warnings = tables.to_vec();
        self
    }

    fn probes(mut self, tables: &[&'static str]) -> Case {
        self.probed = tables.to_vec();
        self
    }

    fn cpus(mut self, cpus: u32) -> Case {
        self.cpus = cpus;
        self
    }

    /// CPUs are missing.
    fn misses(mut self) -> Case {
        self.status = 1;
        self
    }

    fn refused(mut self) -> Case {
        self.status = 5;
        self
    }

    fn append(mut self, append: &'static str) -> Case {
        self.append = append;
        self
    }

    fn memory(mut self, memory: &'static str) -> Case {
        self.memory = memory;
        self
    }
}

fn case(name: impl Into<String>, image: Vec<u8>) -> Case {
    Case {
        name: name.into(),
        image,
        memory: "128M",
        append: "",
        status: 0,
        cpus: 4,
        warnings: Vec::new(),
        probed: Vec::new(),
    }
}

/// Tables with both lists, and addresses before and behind theirs.
fn with_lists(tables: &[Vec<u8>], before: &[u64], behind: &[u64]) -> Vec<u8> {
    let mut image = Image::new();
    let addresses: Vec<_> = tables.iter().map(|table| image.put(table)).collect();
    let all = [before, &addresses, behind].concat();
    let xsdt = image.put(&xsdt(&all));
    let rsdt = image.put(&rsdt(&all));
    image.finish(&Rsdp::new(2, rsdt, xsdt))
}

fn tables(tables: &[Vec<u8>]) -> Vec<u8> {
    with_lists(tables, &[], &[])
}

/// Tables behind an XSDT and an RSDT that are made of their addresses, and an RSDP that is made of the lists'.
fn lists(
    tables: &[Vec<u8>],
    xsdt: impl Fn(&[u64]) -> Vec<u8>,
    rsdt: impl Fn(&[u64]) -> Vec<u8>,
    rsdp: impl Fn(u64, u64) -> Rsdp,
) -> Vec<u8> {
    let mut image = Image::new();
    let addresses: Vec<_> = tables.iter().map(|table| image.put(table)).collect();
    let xsdt = image.put(&xsdt(&addresses));
    let rsdt = image.put(&rsdt(&addresses));
    image.finish(&rsdp(rsdt, xsdt))
}

fn fixed() -> Vec<Vec<u8>> {
    vec![FADT.table(), hpet(0xfed0_0000)]
}

fn cpus() -> Vec<Vec<u8>> {
    (0..4).map(cpu).collect()
}

fn good_madt() -> Vec<u8> {
    madt(&[cpus(), wiring()].concat())
}

/// The usual tables.
fn usual() -> Vec<Vec<u8>> {
    [fixed(), vec![good_madt()]].concat()
}

/// The usual tables with a MADT of these entries.
fn with_entries(entries: Vec<Vec<u8>>) -> Vec<u8> {
    tables(&[fixed(), vec![madt(&entries)]].concat())
}

/// The same with these CPUs.
fn with_cpus(cpus: Vec<Vec<u8>>) -> Vec<u8> {
    with_entries([cpus, wiring()].concat())
}

/// The same with entries behind the usual ones.
fn with_more(more: Vec<Vec<u8>>) -> Vec<u8> {
    with_entries([cpus(), wiring(), more].concat())
}

/// The same with these I/O APICs.
fn with_io_apics(io_apics: Vec<Vec<u8>>) -> Vec<u8> {
    with_entries([cpus(), wiring_with(io_apics)].concat())
}

fn with_madt(head: MadtHead) -> Vec<u8> {
    tables(&[fixed(), vec![madt_with(head, &[cpus(), wiring()].concat())]].concat())
}

const ALLOWED: &str = "allow_missing_cpus=on";

pub(crate) fn all() -> Vec<Case> {
    let groups =
        [cpu_lists(), madts(), roots(), io_apics(), interrupts(), local_apic(), nodes(), timers(), resets()];
    groups.into_iter().flatten().collect()
}

fn cpu_lists() -> Vec<Case> {
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

fn madts() -> Vec<Case> {
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

fn roots() -> Vec<Case> {
    let by = |rsdp: fn(u64, u64) -> Rsdp| lists(&usual(), xsdt, rsdt, rsdp);
    let with_xsdt =
        |xsdt: &dyn Fn(&[u64]) -> Vec<u8>| lists(&usual(), xsdt, rsdt, |rsdt, xsdt| Rsdp::new(2, rsdt, xsdt));
    let padded =
        |entries: Vec<u64>| with_xsdt(&move |addresses: &[u64]| xsdt(&[&entries[..], addresses].concat()));
    let before = |addresses: &[u64]| with_lists(&usual(), addresses, &[]);
    let cyclic = |own: bool| {
        let mut image = Image::new();
        let addresses: Vec<_> =
            if own { usual().iter().map(|table| image.put(table)).collect() } else { vec![] };
        let at = image.next();
        let list = if own { [&[at, at, BASE][..], &addresses, &[at]].concat() } else { vec![at; 8] };
        image.put(&xsdt(&list));
        image.finish(&Rsdp::new(2, 0, at))
    };
    let misaligned = |by: u64| {
        let mut image = Image::new();
        image = image.misaligned(by);
        let addresses: Vec<_> = usual().iter().map(|table| image.put(table)).collect();
        let at = image.put(&xsdt(&addresses));
        image.finish(&Rsdp::new(2, 0, at))
    };
    let mut cases = vec![
        case("rsdt-only", by(|rsdt, _| Rsdp::new(0, rsdt, 0))),
        case("null-addresses", with_lists(&usual(), &[0], &[0, 0])),
        case(
            "addresses-beyond-memory",
            with_lists(
                &usual(),
                &[0x7fff_ffff_0000, u64::MAX, u64::MAX - 15, 0x800_0000, 1 << 40],
                &[0xdead_beef_cafe],
            ),
        )
        .warns(&["XSDT"]),
        case("addresses-of-devices", before(&[0xfee0_0000, 0xfec0_0000, 0xfed0_0000, 0xa_0000, 0xb_8000]))
            .warns(&["XSDT"]),
        case("addresses-at-the-end-of-memory", before(&[0x7ff_ffff, 0x7ff_fff0, 0x7ff_ffdd]))
            .warns(&["XSDT"]),
        case(
            "rsdp-second-checksum",
            by(|rsdt, xsdt| Rsdp { breaks_second_checksum: true, ..Rsdp::new(2, rsdt, xsdt) }),
        )
        .warns(&["RSDP"]),
        case(
            "rsdp-first-checksum",
            by(|rsdt, xsdt| Rsdp { breaks_first_checksum: true, ..Rsdp::new(2, rsdt, xsdt) }),
        )
        .warns(&["RSDP"]),
        case("rsdp-length-0", by(|rsdt, xsdt| Rsdp { length: 0, ..Rsdp::new(2, rsdt, xsdt) }))
            .warns(&["RSDP"]),
        case("rsdp-length-33", by(|rsdt, xsdt| Rsdp { length: 33, ..Rsdp::new(2, rsdt, xsdt) }))
            .warns(&["RSDP"]),
        case("rsdp-length-huge", by(|rsdt, xsdt| Rsdp { length: u32::MAX, ..Rsdp::new(2, rsdt, xsdt) }))
            .warns(&["RSDP"]),
        case("rsdp-revision-255", by(|rsdt, xsdt| Rsdp::new(255, rsdt, xsdt))),
        case("rsdp-revision-1", by(|rsdt, xsdt| Rsdp::new(1, rsdt, xsdt))),
        case("rsdp-without-xsdt", by(|rsdt, _| Rsdp::new(2, rsdt, 0))),
        case("rsdp-of-itself", Image::new().finish(&Rsdp::new(2, BASE, BASE)))
            .warns(&["RSDP", "RSDT", "XSDT"]),
        case("xsdt-of-nothing", with_xsdt(&|_| Vec::new())).warns(&["XSDT"]),
        case(
            "xsdt-checksum",
            with_xsdt(&|addresses| {
                let words = addresses.iter().flat_map(|address| address.to_le_bytes());
                table(b"XSDT", &words.collect::<Vec<_>>(), BROKEN)
            }),
        )
        .warns(&["XSDT"]),
        case(
            "rsdt-of-nothing",
            lists(&usual(), xsdt, |_| rsdt(&[0x1000]), |rsdt, xsdt| Rsdp::new(2, rsdt, xsdt)),
        ),
        case(
            "xsdt-within-an-entry",
            with_xsdt(&|addresses| {
                let words = addresses.iter().flat_map(|address| address.to_le_bytes());
                table(b"XSDT", &words.chain([1, 2, 3]).collect::<Vec<_>>(), SOUND)
            }),
        )
        .warns(&["XSDT"]),
        case("xsdt-empty", lists(&fixed(), |_| xsdt(&[]), rsdt, |rsdt, xsdt| Rsdp::new(2, rsdt, xsdt)))
            .cpus(1)
            .misses()
            .warns(&["RSDP", "XSDT"]),
        case(
            "xsdt-of-1-mib",
            with_xsdt(&|addresses| {
                let words = addresses.iter().flat_map(|address| address.to_le_bytes());
                let zeros = (1 << 20) - 36 - 8 * addresses.len();
                table(b"XSDT", &words.chain(std::iter::repeat_n(0, zeros)).collect::<Vec<_>>(), SOUND)
            }),
        )
        .warns(&["XSDT"]),
        case("xsdt-in-itself", cyclic(true)).warns(&["XSDT"]),
        case("xsdt-of-itself", cyclic(false)).warns(&["RSDP", "XSDT"]),
        case("xsdt-of-100000-nulls", padded(vec![0; 100_000])),
        case("xsdt-of-100000-holes", padded((0..100_000).map(|at| 0x4000_0000 + 4096 * at).collect()))
            .warns(&["XSDT"]),
        case("noise", (0..65_536u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect())
            .warns(&["RSDP"]),
        case("ones", vec![0xff; 65_536]).warns(&["RSDP"]),
        case("zeros", vec![0; 65_536]).warns(&["RSDP"]),
        case("address-2e40", before(&[1 << 40])).warns(&["XSDT"]),
        case("address-2e39", before(&[1 << 39])).warns(&["XSDT"]),
        case("address-of-the-hpet", before(&[0xfed0_0000])).warns(&["XSDT"]),
        case("address-of-the-io-apic", before(&[0xfec0_0000])).warns(&["XSDT"]),
        case("address-of-the-local-apic", before(&[0xfee0_0000])).warns(&["XSDT"]),
        case("address-of-the-display", before(&[0xfd00_0000])).warns(&["XSDT"]),
        case("address-before-the-hpet", before(&[0xfecf_fff0])).warns(&["XSDT"]),
    ];
    cases.extend([1, 3, 7, 13].map(|by| case(format!("misaligned-{by}"), misaligned(by))));
    cases
}

/// Places where no device can be, on the machine with 128 MiB: page tables, the allocator's tables, the trampoline's page.
const IN_MEMORY: [u64; 7] = [0x7fd_7000, 0x7fd_8000, 0x7fd_b000, 0x7fd_c000, 0x9_e000, 0x1000, 0x9_f000];

fn io_apics() -> Vec<Case> {
    let at = |address: u32| with_io_apics(vec![io_apic(0, address, 0)]);
    let first = || io_apic(0, 0xfec0_0000, 0);
    let chip = "I/O APIC";
    let mut cases = vec![
        case("io-apic-twice", with_io_apics(vec![first(), io_apic(1, 0xfec0_0000, 8)])).warns(&[chip]),
        case("io-apic-twice-by-an-alias", with_io_apics(vec![first(), io_apic(1, 0xfec0_0100, 24)]))
            .probes(&[chip]),
        case("io-apic-of-the-same-interrupts", with_io_apics(vec![first(), io_apic(1, 0xfec0_1000, 0)]))
            .probes(&[chip]),
        case("io-apic-interrupts-past-the-end", with_io_apics(vec![io_apic(0, 0xfec0_0000, 0xffff_fff8)]))
            .probes(&[chip, "MADT"]),
        case("io-apics-none", with_io_apics(vec![])).warns(&["MADT"]),
        case(
            "io-apics-300-at-one-address",
            with_io_apics((0..300).map(|at| io_apic(at as u8, 0xfec0_0000, 24 * at)).collect()),
        )
        .warns(&[chip, "MADT"]),
        case(
            "io-apics-3000",
            with_io_apics((0..3000).map(|at| io_apic(at as u8, 0xc000_0000 + 4096 * at, 24 * at)).collect()),
        )
        .warns(&[chip, "MADT"])
        .probes(&[chip]),
    ];
    for (name, address) in [
        ("page-0", 0),
        ("the-end", 0xffff_fffc),
        ("flash", 0xffff_f000),
        ("memory", 0x300_0000),
        ("the-kernel", 0x10_0000),
        ("the-local-apic", 0xfee0_0000),
        ("an-odd-address", 0xfec0_0003),
        ("the-bios", 0xf_0000),
        ("the-tables", 0x200_0000),
        ("the-display", 0xb_8000),
    ] {
        cases.push(case(format!("io-apic-in-{name}"), at(address)).warns(&[chip]));
    }
    for address in IN_MEMORY {
        cases.push(case(format!("io-apic-in-memory-{address:x}"), at(address as u32)).warns(&[chip]));
    }
    for (name, address) in
        [("a-hole", 0xd000_0000), ("the-firmwares-memory", 0x7fe_0000), ("the-hpet", 0xfed0_0000)]
    {
        cases.push(case(format!("io-apic-in-{name}"), at(address)).probes(&[chip, "MADT"]));
    }
    // The table names it first, so the page is the I/O APIC's until it proves to be none.
    cases.last_mut().unwrap().warnings = vec!["HPET"];
    cases
}

fn interrupts() -> Vec<Case> {
    let overrides = |gsi: u32| {
        let all = (0..16).map(|irq| interrupt_override(irq, gsi, 0)).collect();
        with_entries([cpus(), vec![io_apic(0, 0xfec0_0000, 0)], all, vec![local_nmi(0xff, 0, 1)]].concat())
    };
    let with_nmis =
        |nmis: Vec<Vec<u8>>| with_entries([cpus(), wiring()[..wiring().len() - 1].to_vec(), nmis].concat());
    vec![
        case("overrides-to-200", overrides(200)).probes(&["MADT"]),
        case("overrides-to-the-last", overrides(u32::MAX)).probes(&["MADT"]),
        case("override-to-an-nmi", with_entries([cpus(), vec![nmi_source(4)], wiring()].concat()))
            .probes(&["MADT"]),
        case(
            "overrides-of-one-interrupt",
            with_entries(
                [
                    cpus(),
                    vec![
                        interrupt_override(4, 4, 0),
                        interrupt_override(4, 5, 0xf),
                        interrupt_override(4, 6, 0),
                    ],
                    wiring(),
                ]
                .concat(),
            ),
        ),
        case(
            "overrides-20000",
            with_entries(
                [cpus(), (0..20_000u32).map(|gsi| interrupt_override(gsi as u8, gsi, 0)).collect(), wiring()]
                    .concat(),
            ),
        )
        .warns(&["MADT"]),
        case("nmi-sources-all", with_more((0..24).map(nmi_source).collect())).probes(&["MADT"]),
        case("nmi-pin-7", with_nmis(vec![local_nmi(0xff, 0, 7)])).warns(&["MADT"]),
        case("nmi-pin-255", with_nmis(vec![local_nmi(0xff, 0xffff, 255)])).warns(&["MADT"]),
        case("nmi-pins-both", with_nmis(vec![local_nmi(0xff, 0, 0), local_nmi(0xff, 0, 1)])),
        case(
            "nmi-entries-5000",
            with_nmis((0..5000u32).map(|at| local_nmi(at as u8, 0, at as u8 & 7)).collect()),
        )
        .warns(&["MADT"]),
        case("nmi-pin-7-by-type-10", with_nmis(vec![x2apic_nmi(u32::MAX, 0xf, 7)])).warns(&["MADT"]),
    ]
}

fn local_apic() -> Vec<Case> {
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

fn nodes() -> Vec<Case> {
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

fn timers() -> Vec<Case> {
    let with_hpet = |hpet: Vec<u8>| tables(&[FADT.table(), hpet, good_madt()]);
    let with_fadt = |fadt: Fadt| tables(&[fadt.table(), good_madt()]);
    let bytes = |bytes| with_fadt(Fadt { bytes, ..FADT });
    let pm = |port| with_fadt(Fadt { pm_timer: port, ..FADT });
    let mut cases = vec![
        case("hpet-truncated", with_hpet(table(b"HPET", &[0; 8], SOUND))).warns(&["HPET"]),
        case("hpet-by-ports", with_hpet(hpet_in(1, 0xfed0_0000))).warns(&["HPET"]),
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
fn resets() -> Vec<Case> {
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
