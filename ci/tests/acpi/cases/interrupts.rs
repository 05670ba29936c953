//! Cases of I/O APICs and of the routes of interrupts.

use super::*;

pub(super) fn io_apics() -> Vec<Case> {
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

pub(super) fn interrupts() -> Vec<Case> {
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
