//! A CPU out of memory looks at what another keeps, while that one moves it. A run that nobody holds is not overlooked.

use super::super::super::{Afar, Gain};
use super::super::order;
use super::*;
use core::cell::UnsafeCell;

/// A CPU's magazine that another one looks at.
struct Seen {
    model: Arc<Model>,
    magazine: UnsafeCell<Magazine>,
}

// SAFETY: one thread uses the magazine; another looks at it from afar, as CPUs do.
unsafe impl Sync for Seen {}
// SAFETY: as above.
unsafe impl Send for Seen {}

impl Seen {
    fn afar(&self) -> Afar {
        // SAFETY: it lives as long as `self`. A model's threads take turns, between two operations of the checker's.
        unsafe { Afar::new(self.magazine.get()) }
    }
}

/// All is in use but an aligned run of frames: those of `table` lie in the table, those of `kept` in the magazine of a CPU
/// that does `work`. Meanwhile another looks for the run.
fn assert_seen(
    table: core::ops::Range<usize>,
    kept: core::ops::Range<usize>,
    work: impl Fn(&Frames, &mut Magazine) + Copy + Send + Sync + 'static,
) {
    check(Some(3), move || {
        let (model, [here, mut there]) = Cpu::all_taken(1);
        let frames =
            |range: core::ops::Range<usize>| range.map(|index| model.frame(0, index)).collect::<Vec<_>>();
        here.flush(&frames(table.clone()));
        for frame in frames(kept.clone()) {
            there.free(frame, Order::FRAME);
        }
        let wanted = order((table.len() + kept.len()).ilog2() as u8);
        let seen = Arc::new(Seen { model: model.clone(), magazine: UnsafeCell::new(there.magazine) });
        let thread = thread::spawn({
            let seen = seen.clone();
            move || {
                // SAFETY: no other thread writes to it.
                work(seen.model.frames(), unsafe { &mut *seen.magazine.get() });
            }
        });
        let gain = model.frames().gain(wanted, [seen.afar()].into_iter());
        assert_ne!(gain, Gain::Nothing);
        thread.join().expect("the thread has not panicked");
        let seen = Arc::into_inner(seen).expect("the thread has ended");
        model.end([here, Cpu { model: seen.model, magazine: seen.magazine.into_inner() }]);
    });
}

#[test]
fn a_refill_hides_no_run() {
    assert_seen(2..4, 0..0, |frames, magazine| assert_eq!(frames.fill(magazine), 2));
}

#[test]
fn a_drain_hides_no_run() {
    assert_seen(2..3, 3..4, |frames, magazine| assert_eq!(frames.drain(magazine), Ok(())));
}

#[test]
fn a_drain_and_a_refill_hide_no_run() {
    assert_seen(2..3, 3..4, |frames, magazine| {
        assert_eq!(frames.drain(magazine), Ok(()));
        assert_eq!(frames.fill(magazine), 2);
    });
}

/// A run of two words that is looked for in vain is not out of sight for long: here of one whose second word is short of a
/// frame.
#[test]
fn a_search_in_vain_hides_no_run() {
    assert_seen(0..64, 0..0, |frames, magazine| assert_eq!(frames.alloc(magazine, order(7)), None));
}
