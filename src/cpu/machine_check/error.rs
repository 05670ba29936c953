//! The decoding of the machine-check registers.

use core::fmt;

/// IA32_MCi_STATUS (SDM Vol. 3B, 16.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BankStatus(pub u64);

impl BankStatus {
    const fn has(self, bit: u32) -> bool {
        self.0 & 1 << bit != 0
    }

    /// The bank holds an error.
    pub(crate) const fn is_valid(self) -> bool {
        self.has(63)
    }

    /// The processor did not correct the error.
    pub(crate) const fn is_uncorrected(self) -> bool {
        self.has(61)
    }

    /// The bank's control register enables the signalling of this error. An error without this bit did not raise the
    /// machine check (16.10.4).
    pub(crate) const fn is_enabled(self) -> bool {
        self.has(60)
    }

    /// The processor's state may be corrupt.
    pub(crate) const fn is_context_corrupt(self) -> bool {
        self.has(57)
    }

    /// The error raises a machine check.
    pub(crate) const fn is_signalled(self) -> bool {
        self.is_valid() && self.is_uncorrected() && self.is_enabled()
    }

    const fn has_misc(self) -> bool {
        self.has(59)
    }

    const fn has_address(self) -> bool {
        self.has(58)
    }

    /// Returns the class of the error code in bits 15 to 0 (SDM Vol. 3B, 16.9; APM Vol. 2, 9.3.3). The codes of a class
    /// begin with its highest set bit. Bit 12 only selects how corrected errors are counted.
    pub(crate) const fn kind(self) -> &'static str {
        match self.0 as u16 & !(1 << 12) {
            0 => "no error code",
            1 => "unclassified",
            2 => "microcode ROM parity",
            3 => "another processor's error",
            4 => "functional redundancy check",
            5 => "internal parity",
            6 => "SMM code outside of SMRAM",
            0x400..=0x7ff => "internal",
            0x800..=0xfff => "bus or interconnect",
            0x280..=0x2ff => "cache as memory",
            0x100..=0x1ff => "cache hierarchy",
            0x80..=0xff => "memory controller",
            0x10..=0x1f => "TLB",
            0x0c..=0x0f => "generic cache hierarchy",
            _ => "unknown kind",
        }
    }
}

/// IA32_MCG_STATUS (SDM Vol. 3B, 16.3.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GlobalStatus(pub u64);

impl GlobalStatus {
    /// The interrupted code can be resumed.
    pub(crate) const fn is_restartable(self) -> bool {
        self.0 & 1 != 0
    }

    /// A machine check is being handled; another one shuts the processor down.
    pub(crate) const fn is_in_progress(self) -> bool {
        self.0 & 4 != 0
    }

    /// The error is associated with the interrupted instruction.
    pub(crate) const fn is_at_fault(self) -> bool {
        self.0 & 2 != 0
    }
}

/// The error that a bank holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BankError {
    /// The bank's number.
    pub bank: u8,
    /// IA32_MCi_STATUS.
    pub status: BankStatus,
    /// IA32_MCi_ADDR, if it is valid: usually a physical address.
    pub address: Option<u64>,
    /// IA32_MCi_MISC, if it is valid.
    pub misc: Option<u64>,
}

impl BankError {
    /// Decodes the registers of a bank. Returns `None` if the bank holds no error. `read_address` and `read_misc` are
    /// called only if `status` marks the register as valid.
    pub(crate) fn from_registers(
        bank: u8,
        status: BankStatus,
        read_address: impl FnOnce() -> u64,
        read_misc: impl FnOnce() -> u64,
    ) -> Option<BankError> {
        status.is_valid().then(|| BankError {
            bank,
            status,
            address: status.has_address().then(read_address),
            misc: status.has_misc().then(read_misc),
        })
    }
}

/// Selects the error to report, and returns it with the number of other signalled errors: the first signalled error with
/// a corrupt context, otherwise the first signalled error.
pub(crate) fn worst(errors: impl Iterator<Item = BankError>) -> Option<(BankError, usize)> {
    let mut worst: Option<BankError> = None;
    let mut count = 0;
    for error in errors.filter(|error| error.status.is_signalled()) {
        count += 1;
        let is_worse =
            |than: BankError| error.status.is_context_corrupt() && !than.status.is_context_corrupt();
        if worst.is_none_or(is_worse) {
            worst = Some(error);
        }
    }
    worst.map(|error| (error, count - 1))
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BankError { bank, status, address, misc } = self;
        write!(f, "bank {bank}, status {:#018x} (", status.0)?;
        f.write_str(if status.is_uncorrected() { "uncorrected, " } else { "corrected, " })?;
        f.write_str(status.kind())?;
        f.write_str(if status.is_context_corrupt() { ", context corrupt)" } else { ", context intact)" })?;
        match address {
            Some(address) => write!(f, ", address {address:#x}")?,
            None => f.write_str(", no address")?,
        }
        misc.map_or(Ok(()), |misc| write!(f, ", misc {misc:#x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status with the bits valid, uncorrected, enabled, misc valid and address valid, as a memory scrubber reports it.
    const SCRUBBED: u64 = 0xbd00_0000_0000_0134;
    const CORRUPT: u64 = 1 << 57;

    fn error(bank: u8, status: u64) -> BankError {
        BankError::from_registers(bank, BankStatus(status), || 0x1234_5000, || 0x8c).unwrap()
    }

    #[test]
    fn display_names_bank_status_and_registers() {
        assert_eq!(
            error(1, SCRUBBED).to_string(),
            "bank 1, status 0xbd00000000000134 (uncorrected, cache hierarchy, context intact), \
             address 0x12345000, misc 0x8c"
        );
        let bare = error(4, 1 << 63 | 1 << 61 | 1 << 60 | CORRUPT | 0x0e0b);
        assert_eq!(
            bare.to_string(),
            "bank 4, status 0xb200000000000e0b (uncorrected, bus or interconnect, context corrupt), no address"
        );
    }

    #[test]
    fn a_bank_without_a_valid_error_yields_none() {
        let untouched = || -> u64 { panic!("a register that is not valid was read") };
        assert_eq!(BankError::from_registers(0, BankStatus(!(1 << 63)), untouched, untouched), None);
        let no_address = BankStatus(1 << 63);
        assert!(BankError::from_registers(0, no_address, untouched, untouched).is_some());
    }

    #[test]
    fn unsignalled_errors_are_skipped() {
        let corrected = error(0, SCRUBBED & !(1 << 61));
        let not_enabled = error(1, SCRUBBED & !(1 << 60) | CORRUPT);
        assert_eq!(worst([corrected, not_enabled].into_iter()), None);
        let signalled = error(2, SCRUBBED);
        assert_eq!(worst([corrected, signalled, not_enabled].into_iter()), Some((signalled, 0)));
    }

    #[test]
    fn a_corrupt_context_has_priority_over_the_first_error() {
        let [first, corrupt, second] =
            [error(3, SCRUBBED), error(5, SCRUBBED | CORRUPT), error(6, SCRUBBED | CORRUPT)];
        assert_eq!(worst([first, corrupt, second].into_iter()), Some((corrupt, 2)));
        assert_eq!(worst([first, first].into_iter()), Some((first, 1)));
    }

    #[test]
    fn the_manuals_examples_of_error_codes() {
        // SDM Vol. 3B, tables 16-9 and 16-10, one code of each row; bit 12 set changes nothing.
        let rows: [(u16, &str); 9] = [
            (0x0001, "unclassified"),
            (0x0005, "internal parity"),
            (0x0400, "internal"),
            (0x000e, "generic cache hierarchy"),
            (0x0014, "TLB"),
            (0x009f, "memory controller"),
            (0x0135, "cache hierarchy"),
            (0x0285, "cache as memory"),
            (0x0e0f, "bus or interconnect"),
        ];
        for (code, kind) in rows {
            assert_eq!(BankStatus(code.into()).kind(), kind, "{code:#x}");
            assert_eq!(BankStatus((code | 1 << 12).into()).kind(), kind, "{code:#x} counted");
        }
    }
}
