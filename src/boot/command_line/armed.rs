//! The fault that the command line injects, of one list of faults: [`Armed`].

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::Named;

/// Which fault of a list is injected, if one is.
pub(crate) struct Armed<F> {
    /// One more than its index in [`Named::all`], or 0.
    fault: AtomicUsize,
    /// How often it could have happened.
    chances: AtomicUsize,
    list: PhantomData<fn() -> F>,
}

impl<F: Named> Armed<F> {
    /// None.
    pub(crate) const fn new() -> Armed<F> {
        Armed { fault: AtomicUsize::new(0), chances: AtomicUsize::new(0), list: PhantomData }
    }

    /// Arms a fault, or none.
    pub(crate) fn arm(&self, fault: Option<F>) {
        let index = fault.and_then(|fault| F::all().iter().position(|known| *known == fault));
        self.fault.store(index.map_or(0, |index| index + 1), Ordering::Relaxed);
    }

    /// Whether this fault is armed.
    pub(crate) fn is(&self, fault: F) -> bool {
        let index = self.fault.load(Ordering::Relaxed).checked_sub(1);
        index.and_then(|index| F::all().get(index)) == Some(&fault)
    }

    /// Whether this fault happens now: each time that so many chances have passed.
    pub(crate) fn strikes(&self, fault: F, every: usize) -> bool {
        self.is(fault) && self.chances.fetch_add(1, Ordering::Relaxed) % every == every - 1
    }

    /// Whether this fault happens now: once, after so many chances.
    pub(crate) fn strikes_once(&self, fault: F, after: usize) -> bool {
        self.is(fault) && self.chances.fetch_add(1, Ordering::Relaxed) == after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::command_line::Switch;

    #[test]
    fn only_the_armed_fault_strikes_and_only_at_its_chances() {
        let armed = Armed::new();
        assert!([Switch::On, Switch::Off].iter().all(|fault| !armed.is(*fault)));
        armed.arm(Some(Switch::Off));
        assert_eq!([armed.is(Switch::On), armed.is(Switch::Off)], [false, true]);
        assert!((0..10).all(|_| !armed.strikes(Switch::On, 1)));
        assert_eq!([0; 6].map(|_| armed.strikes(Switch::Off, 3)), [false, false, true, false, false, true]);
        assert_eq!([0; 3].map(|_| armed.strikes_once(Switch::Off, 7)), [false, true, false]);
        armed.arm(None);
        assert!(!armed.strikes(Switch::Off, 1));
    }
}
