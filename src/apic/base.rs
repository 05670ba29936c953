//! IA32_APIC_BASE: the address of a local APIC's registers, and its mode (SDM Vol. 3A, 11.4.4 and 11.12.5).

use x86_64::registers::model_specific::{ApicBaseFlags, Msr};

use super::Mode;
use crate::cpu::registers::IA32_APIC_BASE;

/// The local APIC is in x2APIC mode.
const EXTD: u64 = ApicBaseFlags::X2APIC_ENABLE.bits();
/// The local APIC is globally enabled.
const EN: u64 = ApicBaseFlags::LAPIC_ENABLE.bits();
/// The bits below the address.
const FLAGS: u64 = 0xfff;

fn read() -> u64 {
    // SAFETY: the MSR exists, because rt0 rejects a processor without a local APIC; reading it has no effect.
    unsafe { Msr::new(IA32_APIC_BASE).read() }
}

/// Writes IA32_APIC_BASE.
///
/// # Safety
/// The SDM allows the change of mode (figure 11-27), and no interrupt is pending or in service on this CPU.
unsafe fn write(value: u64) {
    let mut register = Msr::new(IA32_APIC_BASE);
    // SAFETY: the MSR exists, because rt0 rejects a processor without a local APIC. The change of mode is allowed,
    // guaranteed by the caller (see # Safety).
    unsafe { register.write(value) };
}

/// The state of this CPU's local APIC before [`enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialState {
    /// It is globally disabled.
    Disabled,
    /// It is in xAPIC mode, with its registers at this physical address.
    XApic(u64),
    /// It is in x2APIC mode.
    X2Apic,
}

/// Returns the state in which firmware or INIT has left this CPU's local APIC. **Context:** any.
pub(crate) fn initial_state() -> InitialState {
    match read() {
        value if value & EN == 0 => InitialState::Disabled,
        value if value & EXTD != 0 => InitialState::X2Apic,
        value => InitialState::XApic(value & !FLAGS),
    }
}

/// Puts this CPU's local APIC into `mode`, whatever mode firmware has left it in. `address` is the physical address of
/// the registers in xAPIC mode.
///
/// **Context:** interrupts off, before any other use of the local APIC.
pub(crate) fn enter(mode: Mode, address: u64) {
    let found = read();
    let wanted = match mode {
        Mode::X2Apic => found | EN | EXTD,
        Mode::XApic => address | (found & FLAGS & !EXTD) | EN,
    };
    if found == wanted {
        return;
    }
    if mode == Mode::XApic && found & EXTD != 0 {
        // SAFETY: x2APIC mode must be left through the disabled state (SDM Vol. 3A, 11.12.5.1), which this write enters. It
        // loses all register contents, but nothing has been set up yet. Interrupts are disabled.
        unsafe { write(found & !(EN | EXTD)) };
    }
    if found & EN == 0 {
        // SAFETY: the disabled state must be left through xAPIC mode (SDM Vol. 3A, 11.12.5.1), which this write enters.
        unsafe { write(wanted & !EXTD) };
    }
    // SAFETY: a transition must be one that the SDM allows (Vol. 3A, 11.12.5.1): the APIC is enabled, in xAPIC mode or in the
    // wanted one, because of the two writes above.
    unsafe { write(wanted) };
}

/// Puts this CPU's local APIC into x2APIC mode, as some firmware does. For fault injection.
#[cfg(feature = "faults")]
pub(crate) fn set_x2apic_as_firmware() {
    // SAFETY: the change is allowed from xAPIC mode, in which emulators start, and from x2APIC mode.
    unsafe { write(read() | EN | EXTD) };
}
