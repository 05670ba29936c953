//! Faults of bring-up: the last AP is held at the end of a stage, for ever or until its slot is given up; the trampoline
//! is too long; firmware hands over in x2APIC mode; CPUID reports wrong APIC IDs.
//!
//! In the first stages, which have no Rust code, the trampoline itself checks whether its AP is held.

use core::sync::atomic::{AtomicU32, Ordering};

use ap_trampoline::{ApSlot, BYTES, FILLER, StageHold};

use super::names::Fault;
use super::redirects::is_armed;
use crate::acpi::NmiPin;
use crate::config::AP_BRINGUP_TIMEOUT_MS;
use crate::cpu::{self, ApicId, IrqGuard};
use crate::memory::{MapError, TrampolineTables};
use crate::smp::Stage;
use crate::sync::Timeout;
use crate::{apic, smp, static_call};

/// The stage at whose end the last AP is held.
static STAGE: AtomicU32 = AtomicU32::new(0);

/// Sets the stage. Before redirects are installed.
pub(crate) fn arm(stage: Stage) {
    STAGE.store(stage as u32, Ordering::Relaxed);
}

fn holds() -> bool {
    is_armed(Fault::StopAtStage) || is_armed(Fault::LateAtStage)
}

static_call! {
    smp::held_ap() -> StageHold => hold_last_ap, if |_| holds();
    smp::enter_stage(slot: &ApSlot, stage: Stage) => enter_and_wait, if |_| holds();
    smp::held_ap() -> StageHold => hold_none_and_change_ids, if |_| is_armed(Fault::WrongCpuidIds);
    cpu::initial_apic_id() -> ApicId => change_id, if |_| is_armed(Fault::WrongCpuidIds);
    smp::bringup_complete() => release_late_ap, if |_| is_armed(Fault::LateAtStage);
    smp::fill_pages(pages: &mut [u8; BYTES]) => overrun_pages, if |_| is_armed(Fault::OverrunTrampoline);
    smp::protect_code(tables: &TrampolineTables, result: &mut Result<(), MapError>)
        => leave_writable, if |_| is_armed(Fault::WritableTrampoline);
    apic::enable(guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) => enable_after_firmware,
        if |_| is_armed(Fault::FirmwareX2Apic);
}

extern "C" fn hold_last_ap() -> StageHold {
    let apic_id = smp::cpus().last().map_or(u32::MAX, |last| last.entry.apic_id.0);
    StageHold { apic_id, stage: STAGE.load(Ordering::Relaxed), is_on: 1.into(), wrong_id_bits: 0 }
}

/// By CPUID, pairs of CPUs have exchanged APIC IDs.
const WRONG_ID_BITS: u32 = 1;

extern "C" fn hold_none_and_change_ids() -> StageHold {
    StageHold { wrong_id_bits: WRONG_ID_BITS, ..smp::held_ap::original() }
}

#[allow(improper_ctypes_definitions)]
extern "C" fn change_id() -> ApicId {
    ApicId(cpu::initial_apic_id::original().0 ^ WRONG_ID_BITS)
}

/// [`smp::enter_stage`], then a wait for as long as this AP is held.
extern "C" fn enter_and_wait(slot: &ApSlot, stage: Stage) {
    smp::enter_stage::original(slot, stage);
    smp::wait_while_held(slot, stage);
}

/// Releases the held AP when its slot was given up.
extern "C" fn release_late_ap() {
    smp::release_ap();
    let came = Timeout::after_ms(AP_BRINGUP_TIMEOUT_MS).wait_until(|| smp::late_aps() > 0);
    came.expect("the released AP arrives and is parked");
}

extern "C" fn leave_writable(_: &TrampolineTables, result: &mut Result<(), MapError>) {
    *result = Ok(());
}

extern "C" fn overrun_pages(pages: &mut [u8; BYTES]) {
    smp::fill_pages::original(pages);
    // SAFETY: the sum stays within the frames that `TrampolineTables` has allocated together: a neighbour page follows.
    let behind = unsafe { pages.as_mut_ptr().add(BYTES) };
    // SAFETY: the byte is in the neighbour page, which belongs to `TrampolineTables` and which nothing reads yet.
    unsafe { behind.write(FILLER) };
}

/// [`apic::enable`], on a machine whose firmware has enabled x2APIC mode on every CPU.
#[allow(improper_ctypes_definitions)]
extern "C" fn enable_after_firmware(guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) {
    apic::set_x2apic_as_firmware();
    apic::enable::original(guard, nmi_pins, uid);
}
