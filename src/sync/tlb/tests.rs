//! Tests of one CPU's word.

extern crate std;

use core::cell::Cell;

use super::*;

/// A word of a CPU that runs, and the number of its flushes.
fn running() -> (Generation, TlbWord, Cell<u32>) {
    let (generation, word, flushes) = (Generation::new(), TlbWord::new(), Cell::new(0));
    word.end_lazy(&generation, || flushes.set(flushes.get() + 1));
    assert_eq!(flushes.get(), 0, "nothing was unmapped before");
    (generation, word, flushes)
}

#[test]
fn a_cpu_that_does_not_run_covers_every_generation() {
    let word = TlbWord::new();
    assert!(word.is_lazy() && word.covers(1) && word.covers(u64::MAX - 1));
}

#[test]
fn a_running_cpu_covers_a_generation_after_its_flush() {
    let (generation, word, flushes) = running();
    let unmapped = generation.advance();
    assert!(!word.covers(unmapped));
    word.flush(&generation, || flushes.set(flushes.get() + 1));
    assert!(word.covers(unmapped) && flushes.get() == 1);
    assert!(!word.covers(generation.advance()), "a later generation needs a later flush");
}

#[test]
fn a_flush_does_not_cover_what_is_unmapped_during_it() {
    let (generation, word, _) = running();
    let mut during = 0;
    word.flush(&generation, || during = generation.advance());
    assert!(!word.covers(during));
}

#[test]
fn a_lazy_cpu_flushes_once_when_it_ends_and_only_if_a_generation_has_begun() {
    let (generation, word, flushes) = running();
    let end = || word.end_lazy(&generation, || flushes.set(flushes.get() + 1));
    word.begin_lazy();
    end();
    assert_eq!(flushes.get(), 0, "nothing was unmapped meanwhile");
    word.begin_lazy();
    let unmapped = generation.advance();
    assert!(word.covers(unmapped), "it needs no interrupt");
    end();
    assert_eq!(flushes.get(), 1);
    end();
    assert_eq!(flushes.get(), 1, "it was not lazy any more");
    assert!(word.covers(unmapped) && !word.is_lazy());
}
