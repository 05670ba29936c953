//! Faults of bring-up: the last CPU is held at the end of a stage, for good or until it was given up; the trampoline is too
//! long; firmware hands over in another mode.
//!
//! In the first stages, which have no Rust, the trampoline itself looks whether its processor is held.

use core::sync::atomic::{AtomicU32, Ordering};

use ap_trampoline::{BYTES, FILLER, Hold, Slot};

use super::Fault;
use super::redirects::is_armed;
use crate::acpi::NmiPin;
use crate::config::AP_PROGRESS_MS;
use crate::cpu::{self, ApicId, IrqGuard};
use crate::smp::Stage;
use crate::sync::Deadline;
use crate::{apic, smp, static_call};

/// At the end of which stage the last CPU is held.
static STAGE: AtomicU32 = AtomicU32::new(0);

/// Chooses the stage; before redirects are installed.
pub fn arm(stage: Stage) {
    STAGE.store(stage as u32, Ordering::Relaxed);
}

fn holds() -> bool {
    is_armed(Fault::StopAtStage) || is_armed(Fault::LateAtStage)
}

static_call! {
    smp::hold() -> Hold => hold_the_last, if |_| holds();
    smp::reached(slot: &Slot, stage: Stage) => reached, if |_| holds();
    smp::hold() -> Hold => hold_none_and_change_ids, if |_| is_armed(Fault::WrongCpuidIds);
    cpu::initial_apic_id() -> ApicId => change_id, if |_| is_armed(Fault::WrongCpuidIds);
    smp::settled() => let_go, if |_| is_armed(Fault::LateAtStage);
    smp::fill_pages(pages: &mut [u8; BYTES]) => overrun_pages, if |_| is_armed(Fault::OverrunTrampoline);
    apic::enable(guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) => enable_after_firmware,
        if |_| is_armed(Fault::FirmwareX2Apic);
}

extern "C" fn hold_the_last() -> Hold {
    let apic_id = smp::cpus().last().map_or(u32::MAX, |last| last.entry.apic_id.0);
    Hold { apic_id, stage: STAGE.load(Ordering::Relaxed), is_on: 1.into(), wrong_id_bits: 0 }
}

/// By CPUID, CPUs have each other's APIC IDs: the boot processor another's, and another its.
const WRONG_ID_BITS: u32 = 1;

extern "C" fn hold_none_and_change_ids() -> Hold {
    Hold { wrong_id_bits: WRONG_ID_BITS, ..smp::hold::original() }
}

#[allow(improper_ctypes_definitions)]
extern "C" fn change_id() -> ApicId {
    ApicId(cpu::initial_apic_id::original().0 ^ WRONG_ID_BITS)
}

/// [`smp::reached`], with the stay between leaving word and looking whether anybody still waits.
extern "C" fn reached(slot: &Slot, stage: Stage) {
    smp::reached::original(slot, stage);
    smp::wait_while_held(slot, stage);
}

/// When it has been decided that it is too late.
extern "C" fn let_go() {
    smp::let_go();
    let came = Deadline::after_ms(AP_PROGRESS_MS).wait_until(|| smp::sent_away() > 0);
    came.expect("the CPU that was let go comes, and is sent away");
}

extern "C" fn overrun_pages(pages: &mut [u8; BYTES]) {
    smp::fill_pages::original(pages);
    // SAFETY: the byte behind the pages is in a page that was reserved with them, to see this.
    unsafe { pages.as_mut_ptr().add(BYTES).write(FILLER) };
}

/// [`apic::enable`], on a machine whose firmware has turned on x2APIC mode on every CPU.
#[allow(improper_ctypes_definitions)]
extern "C" fn enable_after_firmware(guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) {
    apic::set_x2apic_as_firmware();
    apic::enable::original(guard, nmi_pins, uid);
}
