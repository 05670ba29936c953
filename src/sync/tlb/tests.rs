//! Tests of one CPU's word.

extern crate std;

use core::cell::Cell;

use super::*;

/// What may be stale.
const BOTH: [Stale; 2] = [Stale::Pages, Stale::Tables];

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
    assert!(BOTH.iter().all(|stale| word.covers(1, *stale) && word.covers(u64::MAX, *stale)));
}

#[test]
fn a_running_cpu_covers_a_generation_after_its_flush() {
    let (generation, word, flushes) = running();
    let unmapped = generation.advance();
    assert!(!BOTH.iter().any(|stale| word.covers(unmapped, *stale)));
    word.flush(&generation, || flushes.set(flushes.get() + 1));
    assert!(BOTH.iter().all(|stale| word.covers(unmapped, *stale)) && flushes.get() == 1);
    assert!(!word.covers(generation.advance(), Stale::Pages), "a later generation needs a later flush");
}

#[test]
fn a_flush_does_not_cover_what_is_unmapped_during_it() {
    let (generation, word, _) = running();
    let mut during = 0;
    word.flush(&generation, || during = generation.advance());
    assert!(!BOTH.iter().any(|stale| word.covers(during, *stale)));
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
    assert!(word.covers(unmapped, Stale::Pages), "it needs no interrupt");
    end();
    assert_eq!(flushes.get(), 1);
    end();
    assert_eq!(flushes.get(), 1, "it was not lazy any more");
    assert!(word.covers(unmapped, Stale::Pages) && !word.covers(generation.advance(), Stale::Pages));
}

#[test]
fn a_lazy_cpu_covers_no_page_table_before_it_has_flushed() {
    let (generation, word, flushes) = running();
    word.begin_lazy();
    let unmapped = generation.advance();
    assert!(!word.covers(unmapped, Stale::Tables), "its processor may walk them when it wakes");
    word.end_lazy(&generation, || flushes.set(flushes.get() + 1));
    assert!(word.covers(unmapped, Stale::Tables) && flushes.get() == 1);
    word.begin_lazy();
    assert!(word.covers(unmapped, Stale::Tables), "it has flushed before");
}

#[test]
fn an_absent_cpu_has_flushed_and_covers_everything_until_it_ends() {
    let (generation, word, flushes) = running();
    word.begin_absent(|| flushes.set(flushes.get() + 1));
    assert_eq!(flushes.get(), 1);
    let unmapped = generation.advance();
    assert!(BOTH.iter().all(|stale| word.covers(unmapped, *stale)));
    word.end_lazy(&generation, || flushes.set(flushes.get() + 1));
    assert!(flushes.get() == 2 && BOTH.iter().all(|stale| word.covers(unmapped, *stale)));
    assert!(!BOTH.iter().any(|stale| word.covers(generation.advance(), *stale)));
}
