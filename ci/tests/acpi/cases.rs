//! The cases: each an image of tables, and the expected result on a machine with four CPUs.

// The kernel's own tests have this file by a path, too.
#[path = "cases/devices.rs"]
mod devices;
#[path = "cases/interrupts.rs"]
mod interrupts;
#[path = "cases/processors.rs"]
mod processors;
#[path = "cases/roots.rs"]
mod roots;

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

/// Places where no device can be, on the machine with 128 MiB: page tables, the allocator's tables, the trampoline's page.
const IN_MEMORY: [u64; 7] = [0x7fd_7000, 0x7fd_8000, 0x7fd_b000, 0x7fd_c000, 0x9_e000, 0x1000, 0x9_f000];

pub(crate) fn all() -> Vec<Case> {
    let groups = [
        processors::cpu_lists(),
        processors::madts(),
        roots::roots(),
        interrupts::io_apics(),
        interrupts::interrupts(),
        processors::local_apic(),
        devices::nodes(),
        devices::timers(),
        devices::resets(),
    ];
    groups.into_iter().flatten().collect()
}
