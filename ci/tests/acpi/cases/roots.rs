//! Cases of the RSDP, the RSDT and the XSDT.

use super::*;

pub(super) fn roots() -> Vec<Case> {
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
