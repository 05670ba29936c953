//! The machine-check registers of this CPU (SDM Vol. 4, table 2-2; APM Vol. 2, 9.3).

use raw_cpuid::CpuId;
use x86_64::registers::model_specific::Msr;

use super::error::{BankError, BankStatus, GlobalStatus};

/// IA32_MCG_CAP. Bits 7 to 0: number of banks; bit 8: [`GLOBAL_CONTROL`] exists.
const GLOBAL_CAPABILITIES: u32 = 0x179;
const GLOBAL_STATUS: u32 = 0x17a;
const GLOBAL_CONTROL: u32 = 0x17b;
/// Bank 0's control register. Its status, address and misc registers follow, then the next bank's four registers.
const BANK_0_CONTROL: u32 = 0x400;

/// All error types of a bank.
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

/// Returns the number of this CPU's banks: 0 without the machine-check architecture (CPUID 1:EDX.14).
fn count() -> u8 {
    let has_banks = CpuId::new().get_feature_info().is_some_and(|basic| basic.has_mca());
    if !has_banks {
        return 0;
    }
    // SAFETY: a processor with the architecture has the register (SDM Vol. 3B, 16.3.1.1); reading it has no effect.
    unsafe { Msr::new(GLOBAL_CAPABILITIES).read() as u8 }
}

/// Enables all error reporting of this CPU's banks. Passes each error that they hold to `report`, and clears it.
///
/// **Context:** each CPU each time that it comes up, interrupts off; CR4.MCE may be set before or after.
pub(crate) fn enable(report: impl FnMut(BankError)) {
    errors().for_each(report);
    for bank in 0..count() {
        // SAFETY: the register exists, because `count` is above `bank`. A status register accepts 0 (SDM Vol. 3B, 16.3.2.2).
        unsafe { register(bank, Register::Status).write(0) };
        if let Some(control) = control_for(bank) {
            // SAFETY: the register exists, because `count` is above `bank`. A control register ignores the bits that it does
            // not implement (SDM Vol. 3B, 16.3.2.1).
            unsafe { register(bank, Register::Control).write(control) };
        }
    }
    // SAFETY: `count() > 0` implies GLOBAL_CAPABILITIES (SDM Vol. 3B, 16.3.1.1). Reading it has no effect.
    if count() > 0 && unsafe { Msr::new(GLOBAL_CAPABILITIES).read() } & 1 << 8 != 0 {
        // SAFETY: bit 8 of GLOBAL_CAPABILITIES reports GLOBAL_CONTROL (SDM Vol. 3B, 16.3.1.1).
        unsafe { Msr::new(GLOBAL_CONTROL).write(ALL) };
    }
}

/// Returns the value for a bank's control register, or `None` if firmware's value has to stay.
fn control_for(bank: u8) -> Option<u64> {
    let cpuid = CpuId::new();
    let vendor = cpuid.get_vendor_info();
    let basic = cpuid.get_feature_info()?;
    let (family, model) = (basic.family_id(), basic.model_id());
    match (vendor.as_ref().map(|vendor| vendor.as_str()), bank) {
        // There bank 0's control register is an alias of IA32_EBL_CR_POWERON, which configures the bus (SDM Vol. 3B,
        // 16.3.2.1).
        (Some("GenuineIntel"), 0) if family == 6 && model < 0x1a => None,
        // These report a page walk by the graphics aperture as an error (BIOS and Kernel Developer's Guide 26094,
        // MC4_CTL, bit 10).
        (Some("AuthenticAMD"), 4) if family == 0xf => Some(ALL & !(1 << 10)),
        _ => Some(ALL),
    }
}

/// Returns the errors that this CPU's banks hold, corrected and unsignalled ones included.
///
/// **Context:** any, #MC too.
pub(crate) fn errors() -> impl Iterator<Item = BankError> {
    (0..count()).filter_map(|bank| {
        // SAFETY: the bank exists (`count`), and with it its status register. `from_registers` reads the address and misc
        // registers only if the status marks them as valid.
        let read = |which| unsafe { register(bank, which).read() };
        let status = BankStatus(read(Register::Status));
        BankError::from_registers(bank, status, || read(Register::Address), || read(Register::Misc))
    })
}

/// Returns IA32_MCG_STATUS, or 0 without the machine-check architecture.
///
/// **Context:** any, #MC too.
pub(crate) fn global_status() -> GlobalStatus {
    if count() == 0 {
        return GlobalStatus(0);
    }
    // SAFETY: `count` is above 0 only where CPUID reports the machine-check architecture, whose MCG_STATUS exists then (SDM
    // Vol. 3B, 16.3.1.2); reading it has no effect.
    GlobalStatus(unsafe { Msr::new(GLOBAL_STATUS).read() })
}
