//! ACPI tables of every shape, sound and broken, as images to be loaded at one address.

/// Where an image is loaded; the RSDP is its beginning.
pub(crate) const BASE: u64 = 0x200_0000;

/// Where tables begin in an image.
const FIRST_TABLE: u64 = BASE + 0x100;

/// The bytes after each table, which do not belong to it.
const GAP: u64 = 16;

/// An image in the making.
pub(crate) struct Image {
    bytes: Vec<u8>,
    next: u64,
    /// How far tables lie from multiples of 16.
    misalign: u64,
}

impl Image {
    pub(crate) fn new() -> Image {
        Image { bytes: Vec::new(), next: FIRST_TABLE, misalign: 0 }
    }

    /// The same, with tables that lie so far from multiples of 16.
    pub(crate) fn misaligned(self, by: u64) -> Image {
        Image { misalign: by, ..self }
    }

    /// Puts bytes behind all others; returns where.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.next.next_multiple_of(16) + self.misalign;
        self.put_at(at, bytes);
        self.next = at + bytes.len() as u64 + GAP;
        at
    }

    /// Where the next bytes will lie.
    pub(crate) fn next(&self) -> u64 {
        self.next.next_multiple_of(16) + self.misalign
    }

    fn put_at(&mut self, at: u64, bytes: &[u8]) {
        let (start, end) = ((at - BASE) as usize, (at - BASE) as usize + bytes.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(bytes);
    }

    /// The image, with its RSDP.
    pub(crate) fn finish(mut self, rsdp: &Rsdp) -> Vec<u8> {
        self.put_at(BASE, &rsdp.bytes());
        self.bytes
    }
}

/// The RSDP.
pub(crate) struct Rsdp {
    pub revision: u8,
    pub rsdt: u64,
    pub xsdt: u64,
    pub length: u32,
    pub breaks_first_checksum: bool,
    pub breaks_second_checksum: bool,
}

impl Rsdp {
    pub(crate) fn new(revision: u8, rsdt: u64, xsdt: u64) -> Rsdp {
        Rsdp { revision, rsdt, xsdt, length: 36, breaks_first_checksum: false, breaks_second_checksum: false }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(*b"RSD PTR \0OEMOEM");
        bytes.push(self.revision);
        bytes.extend((self.rsdt as u32).to_le_bytes());
        balance(&mut bytes, 8);
        bytes[8] ^= if self.breaks_first_checksum { 0x55 } else { 0 };
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.xsdt.to_le_bytes());
        bytes.extend([0; 4]);
        balance(&mut bytes, 32);
        bytes[32] ^= if self.breaks_second_checksum { 0x55 } else { 0 };
        bytes
    }
}

/// The defect of a table's header.
#[derive(Clone, Copy, Default)]
pub(crate) struct Harm {
    /// The length that it states.
    pub length: Option<u32>,
    /// Its checksum is wrong.
    pub checksum: bool,
}

pub(crate) const SOUND: Harm = Harm { length: None, checksum: false };
pub(crate) const BROKEN: Harm = Harm { length: None, checksum: true };

pub(crate) fn states(length: u32) -> Harm {
    Harm { length: Some(length), checksum: false }
}

/// A table with a header. OEM fields are bytes of 0xff, which are no text.
pub(crate) fn table(signature: &[u8; 4], body: &[u8], harm: Harm) -> Vec<u8> {
    let length = harm.length.unwrap_or(36 + body.len() as u32);
    let mut bytes = [&signature[..], &length.to_le_bytes(), &[3], &[0], &[0xff; 26], body].concat();
    balance(&mut bytes, 9);
    bytes[9] ^= if harm.checksum { 0x99 } else { 0 };
    bytes
}

/// Makes the sum of all bytes 0 by the one at that place.
fn balance(bytes: &mut [u8], at: usize) {
    let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    bytes[at] = bytes[at].wrapping_sub(sum);
}

pub(crate) fn xsdt(addresses: &[u64]) -> Vec<u8> {
    table(b"XSDT", &addresses.iter().flat_map(|address| address.to_le_bytes()).collect::<Vec<_>>(), SOUND)
}

pub(crate) fn rsdt(addresses: &[u64]) -> Vec<u8> {
    let words = addresses.iter().flat_map(|address| (*address as u32).to_le_bytes());
    table(b"RSDT", &words.collect::<Vec<_>>(), SOUND)
}

/// The bytes of a number.
macro_rules! le {
    ($($value:expr),*) => { [$(&$value.to_le_bytes()[..]),*].concat() };
}

// Entries of a MADT.

pub(crate) fn cpu_flags(uid: u8, id: u8, flags: u32) -> Vec<u8> {
    [&[0, 8, uid, id][..], &le!(flags)].concat()
}

pub(crate) fn cpu(id: u8) -> Vec<u8> {
    cpu_flags(id, id, 1)
}

pub(crate) fn x2apic_cpu_flags(id: u32, flags: u32) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &le!(id, flags, id)].concat()
}

pub(crate) fn x2apic_cpu(id: u32) -> Vec<u8> {
    x2apic_cpu_flags(id, 1)
}

pub(crate) fn io_apic(id: u8, address: u32, gsi_base: u32) -> Vec<u8> {
    [&[1, 12, id, 0][..], &le!(address, gsi_base)].concat()
}

pub(crate) fn interrupt_override(irq: u8, gsi: u32, flags: u16) -> Vec<u8> {
    [&[2, 10, 0, irq][..], &le!(gsi, flags)].concat()
}

pub(crate) fn nmi_source(gsi: u32) -> Vec<u8> {
    [&[3, 8, 0, 0][..], &le!(gsi)].concat()
}

pub(crate) fn local_nmi(uid: u8, flags: u16, lint: u8) -> Vec<u8> {
    [&[4, 6, uid][..], &le!(flags), &[lint]].concat()
}

pub(crate) fn x2apic_nmi(uid: u32, flags: u16, lint: u8) -> Vec<u8> {
    [&[10, 12][..], &le!(flags, uid), &[lint, 0, 0, 0]].concat()
}

pub(crate) fn local_apic_address(address: u64) -> Vec<u8> {
    [&[5, 12, 0, 0][..], &le!(address)].concat()
}

/// The wiring of a PC.
pub(crate) fn wiring() -> Vec<Vec<u8>> {
    let level = [5, 9, 10, 11].map(|irq| interrupt_override(irq, irq.into(), 0xd));
    let io_apic = [io_apic(0, 0xfec0_0000, 0), interrupt_override(0, 2, 0)];
    [&io_apic[..], &level, &[local_nmi(0xff, 0, 1)]].concat()
}

/// The same with other I/O APICs.
pub(crate) fn wiring_with(io_apics: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    [&io_apics[..], &wiring()[1..]].concat()
}

pub(crate) struct MadtHead {
    pub local_apic: u32,
    pub flags: u32,
    pub harm: Harm,
}

pub(crate) const MADT: MadtHead = MadtHead { local_apic: 0xfee0_0000, flags: 1, harm: SOUND };

pub(crate) fn madt_with(head: MadtHead, entries: &[Vec<u8>]) -> Vec<u8> {
    table(b"APIC", &[&le!(head.local_apic, head.flags)[..], &entries.concat()].concat(), head.harm)
}

pub(crate) fn madt(entries: &[Vec<u8>]) -> Vec<u8> {
    madt_with(MADT, entries)
}

// Entries of a SRAT.

pub(crate) fn srat_cpu(domain: u32, id: u8) -> Vec<u8> {
    let [low, upper @ ..] = domain.to_le_bytes();
    [&[0, 16, low, id][..], &le!(1u32), &[0], &upper, &[0; 4]].concat()
}

pub(crate) fn srat_x2apic(domain: u32, id: u32) -> Vec<u8> {
    [&[2, 24, 0, 0][..], &le!(domain, id, 1u32, 0u32, 0u32)].concat()
}

pub(crate) fn srat_memory_flags(domain: u32, base: u64, bytes: u64, flags: u32) -> Vec<u8> {
    [&[1, 40][..], &le!(domain, 0u16, base, bytes, 0u32, flags, 0u64)].concat()
}

pub(crate) fn srat_memory(domain: u32, base: u64, bytes: u64) -> Vec<u8> {
    srat_memory_flags(domain, base, bytes, 1)
}

pub(crate) fn srat(entries: &[Vec<u8>]) -> Vec<u8> {
    table(b"SRAT", &[&le!(1u32, 0u64)[..], &entries.concat()].concat(), SOUND)
}

pub(crate) fn slit(domains: u64, distances: &[u8]) -> Vec<u8> {
    table(b"SLIT", &[&le!(domains)[..], distances].concat(), SOUND)
}

// Fixed hardware.

fn generic_address(space: u8, bits: u8, address: u64) -> Vec<u8> {
    [&[space, bits, 0, 3][..], &le!(address)].concat()
}

/// The HPET with its address space and with the least number of its ticks between two interrupts.
pub(crate) fn hpet_of(space: u8, address: u64, minimum_tick: u16) -> Vec<u8> {
    let [low, high] = minimum_tick.to_le_bytes();
    let body = [&le!(0x8086_a201u32)[..], &generic_address(space, 64, address), &[0, low, high, 0]].concat();
    table(b"HPET", &body, SOUND)
}

pub(crate) fn hpet_in(space: u8, address: u64) -> Vec<u8> {
    hpet_of(space, address, 100)
}

pub(crate) fn hpet(address: u64) -> Vec<u8> {
    hpet_in(0, address)
}

pub(crate) struct Fadt {
    pub pm_timer: u32,
    pub extended_pm_timer: Option<(u8, u64)>,
    pub flags: u32,
    pub reset: (u8, u64, u8),
    pub bytes: usize,
    pub harm: Harm,
}

/// As QEMU's: a PM timer, and a reset register by a port.
pub(crate) const FADT: Fadt = Fadt {
    pm_timer: 0x608,
    extended_pm_timer: None,
    flags: 0x84a5 | 1 << 10,
    reset: (1, 0xcf9, 0x0f),
    bytes: 244,
    harm: SOUND,
};

impl Fadt {
    pub(crate) fn table(&self) -> Vec<u8> {
        let mut bytes = vec![0; 244];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(76, &self.pm_timer.to_le_bytes());
        put(91, &[4]);
        put(112, &self.flags.to_le_bytes());
        put(116, &generic_address(self.reset.0, 8, self.reset.1));
        put(128, &[self.reset.2]);
        if let Some((space, address)) = self.extended_pm_timer {
            put(208, &generic_address(space, 32, address));
        }
        table(b"FACP", &bytes[36..self.bytes], self.harm)
    }
}
