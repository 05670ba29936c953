//! ACPI tables, valid and invalid, that the firmware of the machine would not generate.

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;

/// Where they are loaded: in the middle of the smallest machine that the tests use.
pub(crate) const ADDRESS: u64 = 0x600_0000;
/// How much is kept for them.
pub(crate) const ROOM: u64 = 0x1000;

const XSDT_AT: usize = 0x40;
const MADT_AT: usize = 0x80;

/// Where QEMU has the local APICs' registers.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;

/// A MADT in the making.
pub(crate) struct Madt(Sdt);

impl Madt {
    /// One without entries. Its header has the local APICs' registers at that address.
    pub(crate) fn new(local_apic: u32) -> Madt {
        let mut table = Sdt::new(*b"APIC", 44, 5, *b"OCTOPD", *b"TESTMADT", 1);
        table.write_u32(36, local_apic);
        // There are legacy interrupt controllers.
        table.write_u32(40, 1);
        Madt(table)
    }

    /// One with an enabled CPU for each of these IDs, in that order.
    pub(crate) fn listing(apic_ids: &[u8]) -> Madt {
        apic_ids.iter().fold(Madt::new(LOCAL_APIC), |madt, id| madt.cpu(*id))
    }

    /// Appends any bytes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Madt {
        self.0.append_slice(bytes);
        self
    }

    /// Appends an enabled CPU with an ID of 8 bits (type 0).
    pub(crate) fn cpu(self, apic_id: u8) -> Madt {
        self.bytes(&[0, 8, apic_id, apic_id, 1, 0, 0, 0])
    }

    /// Appends an enabled CPU with an ID of 32 bits (type 9).
    pub(crate) fn x2apic_cpu(self, apic_id: u32) -> Madt {
        let [head, id, flags] = [0x1009_u32, apic_id, 1].map(u32::to_le_bytes);
        self.bytes(&[head, id, flags, id].concat())
    }

    /// Appends QEMU's I/O APIC (type 1), without which the kernel warns.
    pub(crate) fn io_apic(self) -> Madt {
        let mut entry = [1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        entry[4..8].copy_from_slice(&0xfec0_0000_u32.to_le_bytes());
        self.bytes(&entry)
    }

    /// Appends another address for the local APICs' registers (type 5).
    pub(crate) fn local_apic_address(self, address: u64) -> Madt {
        self.bytes(&[5, 12, 0, 0]).bytes(&address.to_le_bytes())
    }

    /// The RSDP, the XSDT and this table, as they are loaded at [`ADDRESS`].
    pub(crate) fn image(&self) -> Image {
        let mut xsdt = Sdt::new(*b"XSDT", 36, 1, *b"OCTOPD", *b"TESTXSDT", 1);
        xsdt.append_slice(&(ADDRESS + MADT_AT as u64).to_le_bytes());
        let mut rsdp = Vec::new();
        Rsdp::new(*b"OCTOPD", ADDRESS + XSDT_AT as u64).to_aml_bytes(&mut rsdp);
        let mut image = rsdp;
        for (at, table) in [(XSDT_AT, &xsdt), (MADT_AT, &self.0)] {
            assert!(image.len() <= at);
            image.resize(at, 0);
            image.extend_from_slice(table.as_slice());
        }
        assert!(image.len() <= ROOM as usize);
        Image(image)
    }
}

/// The loaded image.
pub(crate) struct Image(pub Vec<u8>);

impl Image {
    /// Damages the RSDP.
    pub(crate) fn with_broken_rsdp(mut self) -> Image {
        self.0[10] ^= 1;
        self
    }

    /// Damages the MADT behind its header, so that its checksum is wrong.
    pub(crate) fn with_broken_madt(mut self) -> Image {
        self.0[MADT_AT + 50] ^= 1;
        self
    }

    /// Makes the MADT's header state that length.
    pub(crate) fn with_madt_length(mut self, length: u32) -> Image {
        self.0[MADT_AT + 4..][..4].copy_from_slice(&length.to_le_bytes());
        self
    }
}
