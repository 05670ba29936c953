//! The registers (SDM Vol. 4, table 2-2; APM Vol. 2, 9.3), of this CPU.

use raw_cpuid::CpuId;
use x86_64::registers::model_specific::Msr;

use super::{BankError, BankStatus, GlobalStatus};

/// Bits 7 to 0: how many banks; bit 8: whether there is a [`GLOBAL_CONTROL`].
const GLOBAL_CAPABILITIES: u32 = 0x179;
const GLOBAL_STATUS: u32 = 0x17a;
const GLOBAL_CONTROL: u32 = 0x17b;
/// Bank 0's control register; then come its status, address and rest, then the next bank's.
const BANK_0_CONTROL: u32 = 0x400;

/// All kinds of errors that a bank knows.
const ALL: u64 = u64::MAX;

#[derive(Clone, Copy)]
enum Register {
    Control,
    Status,
    Address,
    Misc,
}

fn register(bank: u8, register: Register) -> Msr {
    Msr::new(BANK_0_CONTROL + u32::from(bank) * 4 + register as u32)
}

/// How many banks this CPU has; none without the architecture (CPUID 1:EDX.14).
fn count() -> u8 {
    let has_banks = CpuId::new().get_feature_info().is_some_and(|basic| basic.has_mca());
    if !has_banks {
        return 0;
    }
    // SAFETY: a processor with the architecture has the register (SDM Vol. 3B, 16.3.1.1); reading it has no effect.
    unsafe { Msr::new(GLOBAL_CAPABILITIES).read() as u8 }
}

/// Enables all error reporting of this CPU's banks. What they hold is reported and cleared.
///
/// **Context:** each CPU each time that it comes up, interrupts off; CR4.MCE may be set before or after.
pub fn enable(report: impl FnMut(BankError)) {
    errors().for_each(report);
    for bank in 0..count() {
        // SAFETY: the bank's registers exist; a status register takes 0, and the control register what the processor
        // allows.
        unsafe {
            register(bank, Register::Status).write(0);
            if let Some(control) = control_for(bank) {
                register(bank, Register::Control).write(control);
            }
        }
    }
    // SAFETY: the register exists where the one for capabilities says so.
    unsafe {
        if count() > 0 && Msr::new(GLOBAL_CAPABILITIES).read() & 1 << 8 != 0 {
            Msr::new(GLOBAL_CONTROL).write(ALL);
        }
    }
}

/// What to let a bank report; `None` where the firmware's choice has to stay.
fn control_for(bank: u8) -> Option<u64> {
    let cpuid = CpuId::new();
    let vendor = cpuid.get_vendor_info();
    let basic = cpuid.get_feature_info()?;
    let (family, model) = (basic.family_id(), basic.model_id());
    match (vendor.as_ref().map(|vendor| vendor.as_str()), bank) {
        // There it is another name of a register that steers the bus (SDM Vol. 3B, 16.3.2.1).
        (Some("GenuineIntel"), 0) if family == 6 && model < 0x1a => None,
        // These take a table walk of the graphics aperture's for an error (BIOS and Kernel Developer's Guide 26094,
        // MC4_CTL, bit 10).
        (Some("AuthenticAMD"), 4) if family == 0xf => Some(ALL & !(1 << 10)),
        _ => Some(ALL),
    }
}

/// What this CPU's banks hold, corrected errors and bystanders among it.
pub fn errors() -> impl Iterator<Item = BankError> {
    (0..count()).filter_map(|bank| {
        // SAFETY: the bank has a status register; the others are read where it says that they are there.
        let read = |which| unsafe { register(bank, which).read() };
        let status = BankStatus(read(Register::Status));
        BankError::from_registers(bank, status, || read(Register::Address), || read(Register::Misc))
    })
}

/// What the machine check leaves of the interrupted code.
pub fn global_status() -> GlobalStatus {
    if count() == 0 {
        return GlobalStatus(0);
    }
    // SAFETY: `count` is above 0 only where CPUID reports the machine-check architecture, whose MCG_STATUS exists then (SDM
    // Vol. 3B, 16.3.1.2); reading it has no effect.
    GlobalStatus(unsafe { Msr::new(GLOBAL_STATUS).read() })
}
