//! The command `irq`.

use core::fmt;
use core::sync::atomic::Ordering;

use crate::console;
use crate::interrupts::{self, Vector};
use crate::smp;

/// The most CPUs that have a column each. With more, a row shows the sum, the minimum and the maximum.
const MOST_COLUMNS: usize = 8;

/// Shows a row for each vector with any interrupt.
pub(crate) fn list() {
    let cpus = smp::cpus().len();
    console::print(format_args!("{:>6} {:<28} {:>9}{}", "vector", "name", "all", Head(cpus)));
    for vector in (0..=255).map(Vector::new) {
        let all: u64 = counts(vector).sum();
        if all > 0 {
            console::print(format_args!(
                "{:>#6x} {:<28} {all:>9}{}",
                vector.get(),
                interrupts::name(vector),
                Counts(vector, cpus)
            ));
        }
    }
}

/// The number of interrupts on a vector for each CPU, in order.
fn counts(vector: Vector) -> impl Iterator<Item = u64> {
    smp::cpus().iter().map(move |cpu| {
        let counts = cpu.get(interrupts::COUNTS);
        counts.map_or(0, |counts| counts[usize::from(vector.get())].load(Ordering::Relaxed))
    })
}

struct Head(usize);

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > MOST_COLUMNS {
            return write!(f, " {:>9} {:>9}  of {} CPUs", "min", "max", self.0);
        }
        (0..self.0).try_for_each(|cpu| write!(f, " {:>8}{cpu}", "cpu "))
    }
}

struct Counts(Vector, usize);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts(vector, cpus) = *self;
        if cpus > MOST_COLUMNS {
            let (least, most) = (counts(vector).min(), counts(vector).max());
            return write!(f, " {:>9} {:>9}", least.unwrap_or_default(), most.unwrap_or_default());
        }
        counts(vector).try_for_each(|count| write!(f, " {count:>9}"))
    }
}
