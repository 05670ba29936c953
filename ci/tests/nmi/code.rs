//! The instructions of the kernel's file: those of a function, and those that are reachable from a label.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// The kernel's file.
#[derive(Clone)]
pub(crate) struct Kernel {
    bytes: Vec<u8>,
}

impl Kernel {
    pub(crate) fn read(path: &Path) -> Kernel {
        Kernel { bytes: std::fs::read(path).unwrap() }
    }

    fn file(&self) -> object::File<'_> {
        object::File::parse(&*self.bytes).unwrap()
    }

    /// The address of a symbol, as it was linked.
    pub(crate) fn address(&self, name: &str) -> u64 {
        let file = self.file();
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.unwrap_or_else(|| panic!("no symbol {name}")).address()
    }

    /// Where the image lies in memory if the loader put it where it was linked: what to subtract from an address.
    pub(crate) fn offset(&self) -> u64 {
        self.address("image_start") - self.address("rt0_phys")
    }

    /// The instructions of all functions whose demangled name contains one of these, ascending.
    ///
    /// # Panics
    /// If no function has one of the names: it was renamed, or is no function of its own any more.
    pub(crate) fn functions(&self, names: &[&str]) -> BTreeSet<u64> {
        names.iter().flat_map(|name| self.function(name)).collect()
    }

    /// The same for one name.
    pub(crate) fn function(&self, wanted: &str) -> BTreeSet<u64> {
        let file = self.file();
        let mut found = BTreeSet::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let name = addr2line::demangle_auto(symbol.name().unwrap_or_default().into(), None);
            if name.contains(wanted) {
                let mut decoder = self.decoder(64, symbol.address(), 0);
                while decoder.can_decode() && decoder.ip() < symbol.address() + symbol.size() {
                    found.insert(decoder.decode().ip());
                }
            }
        }
        assert!(!found.is_empty(), "no function is called {wanted}");
        found
    }

    /// The first instructions of all functions whose demangled name contains one of these.
    pub(crate) fn function_starts(&self, names: &[&str]) -> BTreeSet<u64> {
        let file = self.file();
        let functions =
            file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
        let is_wanted = |name: &str| names.iter().any(|wanted| name.contains(wanted));
        functions
            .filter(|symbol| {
                is_wanted(&addr2line::demangle_auto(symbol.name().unwrap_or_default().into(), None))
            })
            .map(|symbol| symbol.address())
            .collect()
    }

    /// The instruction behind the first one from a label on that loads CR4.
    pub(crate) fn behind_load_of_cr4(&self, label: &str, bits: u32, offset: u64) -> u64 {
        let mut decoder = self.decoder(bits, self.address(label) - offset, offset);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.mnemonic() == Mnemonic::Mov && instruction.op0_register() == Register::CR4 {
                return instruction.next_ip();
            }
        }
        panic!("nothing loads CR4 behind {label}");
    }

    /// The instructions of the same section that can be reached from a label by direct jumps and calls. `bits` is the mode of
    /// the code, and `offset` what to subtract from an address as it was linked.
    pub(crate) fn reachable(&self, label: &str, bits: u32, offset: u64) -> BTreeSet<u64> {
        let section = self.section(self.address(label));
        let mut found = BTreeSet::new();
        let mut starts = vec![self.address(label) - offset];
        while let Some(start) = starts.pop() {
            if !section.contains(&(start + offset)) {
                continue;
            }
            let mut decoder = self.decoder(bits, start, offset);
            while decoder.can_decode() {
                let instruction = decoder.decode();
                if instruction.is_invalid() || !found.insert(instruction.ip()) {
                    break;
                }
                if instruction.is_jcc_short_or_near()
                    || instruction.is_jmp_short_or_near()
                    || instruction.is_loopcc()
                    || instruction.is_loop()
                    || instruction.is_jcx_short()
                    || instruction.is_call_near()
                {
                    starts.push(instruction.near_branch_target());
                }
                if ends(&instruction) {
                    break;
                }
            }
        }
        found
    }

    /// The addresses of the section in which an address lies. The trampoline's code is among constants.
    fn section(&self, address: u64) -> Range<u64> {
        let file = self.file();
        let loaded = file.sections().filter(|section| section.address() != 0);
        let mut ranges = loaded.map(|section| section.address()..section.address() + section.size());
        ranges
            .find(|range| range.contains(&address))
            .unwrap_or_else(|| panic!("{address:#x} is in no section"))
    }

    /// Decodes from `ip` on.
    fn decoder(&self, bits: u32, ip: u64, offset: u64) -> Decoder<'_> {
        let range = self.section(ip + offset);
        let file = self.file();
        let section = file.sections().find(|section| section.address() == range.start).unwrap();
        let (at, bytes) = section.file_range().unwrap();
        let start = at + (ip + offset - range.start);
        let data = &self.bytes[start as usize..(at + bytes) as usize];
        Decoder::with_ip(bits, data, ip, DecoderOptions::NONE)
    }
}

fn ends(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
    )
}
