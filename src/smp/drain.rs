//! Asking the other CPUs to give back the frames that they keep.

use core::sync::atomic::Ordering;

use super::{Cpu, call_those_online, cpus, other_online};
use crate::cpu::{CpuSet, IrqGuard};
use crate::memory;
use crate::memory::frames::{Magazine, Order};

pub fn register() {
    memory::set_drain_others(drain_others);
}

/// Interrupts on. Waits for each online CPU that keeps anything, unless no run of this order can come of it; one that does
/// not answer keeps what it has, and is named by `call`; one that goes offline gives back what it has by itself.
fn drain_others(order: Order) {
    #[cfg(feature = "faults")]
    if memory::frames::faults::is_armed(memory::frames::faults::Fault::KeepFromOthers) {
        return;
    }
    // First who keeps something, and then what is in the shared layers: what moves there meanwhile is seen.
    let keepers: CpuSet = other_online().iter().filter(|cpu| keeps_frames(&cpus()[cpu.index()])).collect();
    if !memory::frames().may_gain(order, keepers.len() * Magazine::MOST_FRAMES) {
        return;
    }
    if let Err(error) = call_those_online(&keepers, &|| memory::drain_this_cpu(&IrqGuard::new())) {
        log::warn!("frames that other CPUs keep: {error}");
    }
}

fn keeps_frames(cpu: &Cpu) -> bool {
    cpu.get(memory::KEEPS_FRAMES).is_some_and(|keeps| keeps.load(Ordering::Acquire) != 0)
}
