//! Models of a CPU that comes online while another panics. `cargo run -- soak loom` and `cargo run -- soak shuttle` run
//! them.

extern crate std;

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

use checker::sync::Arc;
use checker::thread;

use super::*;
use crate::sync::atomics::AtomicU32;

#[cfg(loom)]
fn check(model: impl Fn() + Sync + Send + 'static) {
    use crate::sync::model_atomics::{Accesses, explore};
    explore(None, &[Accesses::Exchanges, Accesses::Plain], model);
}

#[cfg(shuttle)]
fn check(model: impl Fn() + Sync + Send + 'static) {
    use crate::sync::model_schedules::{run_schedules, schedules};
    run_schedules(schedules().div_ceil(10), model);
}

/// No CPU panics.
const NO_CPU: u32 = u32::MAX;

struct Machine {
    /// The CPU that panics.
    panicking: AtomicU32,
    /// Whether the other CPU is online.
    online: AtomicU64,
}

impl Machine {
    fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Acquire) != NO_CPU
    }
}

type Join = fn(&Machine) -> bool;
type Order = fn();

fn join(machine: &Machine) -> bool {
    join_online(&machine.online, || machine.is_panicking())
}

/// One CPU comes online, the other panics and stops it if it finds it online. Returns whether the first is stopped at the
/// end, by an NMI or by itself.
fn a_panic(join: Join, order: Order) {
    let machine = Arc::new(Machine { panicking: AtomicU32::new(NO_CPU), online: AtomicU64::new(0) });
    let coming = thread::spawn({
        let machine = machine.clone();
        move || join(&machine)
    });
    let won = machine.panicking.compare_exchange(NO_CPU, 0, Ordering::AcqRel, Ordering::Acquire);
    assert!(won.is_ok());
    order();
    let is_sent_nmi = machine.online.load(Ordering::Acquire) != 0;
    let goes_on = coming.join().unwrap();
    assert!(is_sent_nmi || !goes_on, "a CPU that nothing stops runs on");
}

#[test]
fn a_cpu_that_comes_online_during_a_panic_is_stopped() {
    check(|| a_panic(join, before_stopping_others));
}

/// An error of an earlier version: reads first, then stores.
#[cfg(loom)]
#[test]
#[should_panic(expected = "a CPU that nothing stops runs on")]
fn the_model_sees_a_check_before_the_store() {
    fn as_found(machine: &Machine) -> bool {
        let may_go_on = !machine.is_panicking();
        machine.online.store(1, Ordering::Release);
        may_go_on
    }
    check(|| a_panic(as_found, before_stopping_others));
}

/// Either fence is needed.
#[cfg(loom)]
#[test]
#[should_panic(expected = "a CPU that nothing stops runs on")]
fn the_model_sees_a_missing_fence_of_the_cpu_that_comes_online() {
    fn without_fence(machine: &Machine) -> bool {
        machine.online.store(1, Ordering::Release);
        !machine.is_panicking()
    }
    check(|| a_panic(without_fence, before_stopping_others));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "a CPU that nothing stops runs on")]
fn the_model_sees_a_missing_fence_of_the_cpu_that_panics() {
    check(|| a_panic(join, || {}));
}
