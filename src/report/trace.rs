//! Sends the trace to the launcher: every CPU's ring, through an I/O port of its own.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::instructions::port::Port;

use crate::boot::handoff;
use crate::cpu::per_cpu::gs_base;
use crate::cpu::registers::{read_tsc, write_to_port};
use crate::cpu::{self, CpuId};
use crate::sched;
use crate::smp::{self, Stage};
use crate::trace::{self, RING_SLOTS};
use crate::wire::{
    BootStage, MAX_TRACE_PART_BYTES, RecordedEvent, TRACE_MAGIC, TRACE_PORT, TRACE_PORT_READS, TraceEvent,
    TracePart,
};

/// The TSC at the start of each boot stage, or 0.
static BOOT_STAGES: [AtomicU64; BootStage::ALL.len()] = [const { AtomicU64::new(0) }; BootStage::ALL.len()];

/// The largest TSC skew, in cycles.
static SKEW_CYCLES: AtomicU64 = AtomicU64::new(0);

/// The TSC's frequency; 0 if unknown.
static TSC_HZ: AtomicU64 = AtomicU64::new(0);

/// Whether [`send`] sends the trace.
static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Sets whether [`send`] sends the trace.
pub(crate) fn set_wanted(is_wanted: bool) {
    IS_WANTED.store(is_wanted, Ordering::Relaxed);
}

/// Sets the TSC's frequency.
pub(crate) fn set_tsc_hz(hz: u64) {
    TSC_HZ.store(hz, Ordering::Relaxed);
}

/// Records the start of a boot stage. The trace has these, whatever the rings have overwritten.
pub(crate) fn stamp(stage: BootStage) {
    BOOT_STAGES[stage as usize].store(read_tsc(), Ordering::Relaxed);
}

/// The boot stages so far, in order, each with its TSC.
pub(crate) fn boot_stages() -> impl Iterator<Item = (BootStage, u64)> {
    let all = BootStage::ALL.iter().zip(&BOOT_STAGES);
    all.map(|(stage, tsc)| (*stage, tsc.load(Ordering::Relaxed))).filter(|(_, tsc)| *tsc != 0)
}

/// Sets the largest TSC skew.
pub(crate) fn set_skew(cycles: u64) {
    SKEW_CYCLES.store(cycles, Ordering::Relaxed);
}

/// Sends the trace, if it is requested. Events that other CPUs record meanwhile are not sent.
///
/// **Context:** any, also in a panic; once, on the CPU that ends the run.
pub(crate) fn send() {
    if !IS_WANTED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: reading the port must have no side effect: it belongs to the debugcon device, or to none.
    if unsafe { Port::<u8>::new(TRACE_PORT).read() } != TRACE_PORT_READS {
        log::warn!("trace requested, but no debugcon port");
        return;
    }
    let cpus = || {
        let all = smp::cpus().iter().filter_map(|cpu| Some((cpu.id(), cpu.gs_base()?)));
        // Before the CPUs are listed, there is this CPU.
        let alone = smp::cpus().is_empty().then(|| (cpu::current(), gs_base()));
        all.chain(alone)
    };
    for (_, gs_base) in cpus() {
        // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
        unsafe { trace::set_recording(gs_base, false) };
    }
    write_to_port(TRACE_PORT, &TRACE_MAGIC);
    send_part(&TracePart::Start {
        tsc_hz: TSC_HZ.load(Ordering::Relaxed),
        entry_tsc: handoff().entry_tsc,
        skew_cycles: SKEW_CYCLES.load(Ordering::Relaxed),
        slide: handoff().slide,
    });
    let events = cpus().map(|(cpu, gs_base)| send_cpu(cpu, gs_base)).sum();
    // A list that another CPU has locked is left out: this may be a panic.
    sched::try_for_each_name(|id, name| {
        let mut bytes = [0; 24];
        bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        send_part(&TracePart::Thread { id, name: bytes });
    });
    send_part(&TracePart::End { events });
}

/// Sends a CPU's events, and returns their number.
fn send_cpu(cpu: CpuId, gs_base: usize) -> u64 {
    // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
    let ring = unsafe { trace::ring_of(gs_base) };
    // Stages are sent from their stamps, which are complete.
    let is_no_stage = |event: &RecordedEvent| {
        event.event != TraceEvent::BootStage as u16 && event.event != TraceEvent::CpuStage as u16
    };
    let kept = || ring.into_iter().flat_map(|ring| ring.newest(RING_SLOTS));
    let recorded = ring.map_or(0, |ring| ring.recorded());
    let lost = recorded - kept().flatten().count() as u64;
    send_part(&TracePart::Cpu { cpu: cpu.0, recorded, lost });
    let mut sent = 0;
    for event in stages_of(cpu).chain(kept().flatten().filter(is_no_stage)) {
        send_part(&TracePart::Event(event));
        sent += 1;
    }
    sent
}

/// The stages of a CPU: those of the boot for the BSP, those of its bring-up for an AP.
fn stages_of(cpu: CpuId) -> impl Iterator<Item = RecordedEvent> {
    let boot_stages = BootStage::ALL.iter().copied().filter(move |_| cpu == CpuId::BSP).filter_map(|stage| {
        let tsc = BOOT_STAGES[stage as usize].load(Ordering::Relaxed);
        let event = TraceEvent::BootStage as u16;
        (tsc != 0).then_some(RecordedEvent { tsc, event, a: stage as u64, b: 0 })
    });
    let ap = smp::cpus().get(cpu.index()).filter(|_| cpu != CpuId::BSP);
    let cpu_stages = ap.into_iter().flat_map(|ap| {
        Stage::ALL.into_iter().filter_map(|stage| {
            Some(RecordedEvent {
                tsc: ap.stamp(stage)?,
                event: TraceEvent::CpuStage as u16,
                a: stage as u64,
                b: 0,
            })
        })
    });
    boot_stages.chain(cpu_stages)
}

fn send_part(part: &TracePart) {
    let mut buffer = [0; MAX_TRACE_PART_BYTES];
    // The longest part fits; a test checks that.
    if let Ok(bytes) = postcard::to_slice(part, &mut buffer) {
        write_to_port(TRACE_PORT, bytes);
    }
}
