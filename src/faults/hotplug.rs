//! Faults of CPUs that go offline and come back, each on the last CPU.

use super::redirects::is_armed;
use crate::boot::command_line::Fault;
use crate::cpu::{self, IrqGuard};
use crate::smp::Cpu;
use crate::smp::hotplug;
use crate::{redirect, smp};

redirect! {
    hotplug::is_asked(me: &Cpu) -> bool => is_asked_but_the_last, if |_| is_armed(Fault::DeafToLeave);
    hotplug::close(guard: &IrqGuard) => get_stuck, if |_| is_armed(Fault::StuckLeaving);
}

fn last() -> Option<&'static Cpu> {
    smp::cpus().last()
}

#[allow(improper_ctypes_definitions)]
extern "C" fn is_asked_but_the_last(me: &Cpu) -> bool {
    last().is_none_or(|last| last.id() != me.id()) && hotplug::is_asked::ordinary(me)
}

extern "C" fn get_stuck(guard: &IrqGuard) {
    while last().is_some_and(|last| last.id() == cpu::current()) {
        core::hint::spin_loop();
    }
    hotplug::close::ordinary(guard);
}
