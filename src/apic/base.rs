//! IA32_APIC_BASE: where a local APIC's registers are, and in which mode it is (SDM Vol. 3A, 11.4.4 and 11.12.5).

use x86_64::registers::model_specific::Msr;

use super::Mode;

const IA32_APIC_BASE: Msr = Msr::new(0x1b);
/// The local APIC is in x2APIC mode.
const EXTD: u64 = 1 << 10;
/// It is on.
const EN: u64 = 1 << 11;
/// The bits below the address; what else is in them is the processor's.
const FLAGS: u64 = 0xfff;

fn read() -> u64 {
    // SAFETY: every processor with a local APIC has it, and rt0 refuses one without.
    unsafe { IA32_APIC_BASE.read() }
}

/// # Safety
/// The change of mode is one that the manual allows (figure 11-27), and this CPU has no interrupt under way.
unsafe fn write(value: u64) {
    let mut register = IA32_APIC_BASE;
    // SAFETY: the MSR exists (rt0 refuses a processor without a local APIC), and the change of mode is allowed now, guaranteed by
    // the caller (see # Safety).
    unsafe { register.write(value) };
}

/// How this CPU's local APIC can be read before [`enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is off.
    Off,
    /// In xAPIC mode, with its registers at that physical address.
    XApic(u64),
    /// In x2APIC mode.
    X2Apic,
}

/// The mode that firmware or INIT has left this CPU's local APIC in.
pub fn found() -> Found {
    match read() {
        value if value & EN == 0 => Found::Off,
        value if value & EXTD != 0 => Found::X2Apic,
        value => Found::XApic(value & !FLAGS),
    }
}

/// Where this CPU's registers are in xAPIC mode, physical.
pub fn address() -> u64 {
    read() & !FLAGS
}

/// Puts this CPU's local APIC into that mode, whichever firmware left it in, and an xAPIC's registers at `address`.
/// Interrupts off; before anything else is done with it.
pub fn enter(mode: Mode, address: u64) {
    let found = read();
    let wanted = match mode {
        Mode::X2Apic => found | EN | EXTD,
        Mode::XApic => address | (found & FLAGS & !EXTD) | EN,
    };
    if found == wanted {
        return;
    }
    // SAFETY: there is no way back from x2APIC but through the disabled state, and none from that but to xAPIC; in the
    // disabled state all is lost, and nothing has been set up yet (11.12.5.1). Interrupts are off.
    unsafe {
        if mode == Mode::XApic && found & EXTD != 0 {
            write(found & !(EN | EXTD));
        }
        if found & EN == 0 {
            write(wanted & !EXTD);
        }
        write(wanted);
    }
}

/// Leaves this CPU's local APIC as some firmware does: for the test that wants to see no harm come of it.
#[cfg(feature = "faults")]
pub fn set_x2apic_as_firmware() {
    // SAFETY: from xAPIC mode, in which emulators start, or from x2APIC mode itself.
    unsafe { write(read() | EN | EXTD) };
}
