//! Tests of the addresses: slots, segments and the ranges of several CPUs, against a naive model.

extern crate std;

use core::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::ranges::{
    BATCH, COST_AT_ONCE, CpuRanges, Demand, Popped, RETIRED, ROUND, Shared, Sweep, Waiting,
    retire_free_segments,
};
use super::segments::Segments;
use super::slots::{Chain, Depot, Entries, MAX_ORDER, SEGMENT_PAGES, Slot, order_for, segments_for};
use crate::sync::tlb::Stale;

/// Entries as a table; an entry that was never written is 0.
#[derive(Default)]
struct Table {
    words: RefCell<HashMap<usize, u64>>,
    /// The reads and writes so far.
    accesses: Cell<usize>,
}

impl Entries for Table {
    fn place(&self, page: u32) -> usize {
        page as usize
    }

    fn get(&self, place: usize) -> u64 {
        self.accesses.set(self.accesses.get() + 1);
        self.words.borrow().get(&place).copied().unwrap_or(0)
    }

    fn set(&self, place: usize, word: u64) {
        self.accesses.set(self.accesses.get() + 1);
        assert_eq!(word & 1, 0, "the processor would read the word as a present entry");
        self.words.borrow_mut().insert(place, word);
    }
}

fn slot(first: u32, pages: u32, order: u8) -> Slot {
    Slot::new(&Table::default(), first, pages, order)
}

#[test]
fn a_small_slot_has_room_for_its_pages_and_a_guard() {
    for pages in 1..SEGMENT_PAGES {
        let order = order_for(pages);
        assert!(
            (1..=MAX_ORDER).contains(&order) && pages < 1 << order && pages >= 1 << (order - 1),
            "{pages}"
        );
    }
    assert!((SEGMENT_PAGES..3 * SEGMENT_PAGES).all(|pages| order_for(pages) == 0));
}

#[test]
fn a_large_slot_has_a_whole_segment_as_its_guard() {
    for pages in [SEGMENT_PAGES, SEGMENT_PAGES + 1, 2 * SEGMENT_PAGES, 5000] {
        let slot = slot(7 * SEGMENT_PAGES, pages, 0);
        assert!(slot.span() - pages >= SEGMENT_PAGES && slot.guard() + 1 == slot.first + slot.span());
        assert_eq!(slot.span(), segments_for(pages) * SEGMENT_PAGES);
    }
}

#[test]
fn chains_return_every_slot_with_its_size_last_in_first_out() {
    let (table, mut chain) = (Table::default(), Chain::EMPTY);
    let slots = [slot(0, 1, 1), slot(512, 511, 9), slot((1 << 27) - 1024, 512, 0), slot(32, 9, 4)];
    slots.iter().for_each(|slot| chain.push(&table, *slot));
    assert_eq!(chain.count, 4);
    let popped: Vec<_> = core::iter::from_fn(|| chain.pop(&table)).collect();
    assert!(popped.iter().eq(slots.iter().rev()), "{popped:?}");
    assert_eq!(chain, Chain::EMPTY);
}

#[test]
fn an_appended_slot_is_returned_after_those_before_it() {
    let (table, mut chain) = (Table::default(), Chain::EMPTY);
    let slots = [slot(0, 1, 1), slot(512, 511, 9), slot(4096, 512, 0), slot(32, 9, 4)];
    let mut last = 0;
    for slot in slots {
        chain.append(&table, slot, last);
        last = slot.place;
    }
    let popped: Vec<_> = core::iter::from_fn(|| chain.pop(&table)).collect();
    assert_eq!(popped, slots);
    assert_eq!(chain, Chain::EMPTY);
}

#[test]
fn the_depot_keeps_chains_apart_by_order() {
    let (table, mut depot) = (Table::default(), Depot::new());
    let chain_of = |firsts: &[u32], order| {
        let mut chain = Chain::EMPTY;
        firsts.iter().for_each(|first| chain.push(&table, slot(*first, 1, order)));
        chain
    };
    let (a, b, c) = (chain_of(&[0, 2], 1), chain_of(&[4], 1), chain_of(&[512, 516, 520], 2));
    depot.push(&table, 1, a);
    depot.push(&table, 2, c);
    depot.push(&table, 1, Chain::EMPTY);
    depot.push(&table, 1, b);
    assert_eq!([depot.pop(&table, 1), depot.pop(&table, 1), depot.pop(&table, 1)], [Some(b), Some(a), None]);
    assert_eq!([depot.pop(&table, 2), depot.pop(&table, 2), depot.pop(&table, 3)], [Some(c), None, None]);
}

proptest! {
    /// Segments against a list of booleans: the lowest contiguous free ones are taken, and only those.
    #[test]
    fn segments_are_taken_from_the_lowest_free_run(
        count in 1u32..300,
        steps in prop::collection::vec((1u32..70, any::<prop::sample::Index>(), any::<bool>()), 1..200),
    ) {
        let mut words = vec![0; Segments::words_for(count)];
        let mut segments = Segments::new(&mut words, count);
        let mut model = vec![false; count as usize];
        let mut taken: Vec<(u32, u32)> = Vec::new();
        for (wanted, index, frees) in steps {
            if frees && !taken.is_empty() {
                let (first, count) = taken.swap_remove(index.index(taken.len()));
                segments.release(first, count);
                model[first as usize..][..count as usize].fill(false);
            } else {
                let lowest = model.windows(wanted as usize).position(|run| run.iter().all(|used| !used));
                let found = segments.take(wanted);
                prop_assert_eq!(found, lowest.map(|first| first as u32));
                if let Some(first) = found {
                    model[first as usize..][..wanted as usize].fill(true);
                    taken.push((first, wanted));
                }
            }
            prop_assert_eq!(segments.used() as usize, model.iter().filter(|used| **used).count());
            prop_assert_eq!(segments.end() as usize, model.iter().rposition(|used| *used).map_or(0, |last| last + 1));
        }
    }
}

const CPUS: usize = 3;
const SEGMENTS: u32 = 64;

/// CPUs that map and unmap, with the pages that each live or waiting slot covers.
struct Machine {
    table: Table,
    cpus: [CpuRanges; CPUS],
    shared: Shared<'static>,
    /// The first page and the end of every slot that is mapped or waits for a flush.
    used: BTreeMap<u32, u32>,
    live: Vec<Slot>,
    generation: u64,
}

impl Machine {
    fn new() -> Machine {
        let words = vec![0; Segments::words_for(SEGMENTS)].leak();
        Machine {
            table: Table::default(),
            cpus: core::array::from_fn(|_| CpuRanges::new()),
            shared: Shared { segments: Segments::new(words, SEGMENTS), depot: Depot::new() },
            used: BTreeMap::new(),
            live: Vec::new(),
            generation: 0,
        }
    }

    fn map(&mut self, cpu: usize, pages: u32) {
        let order = order_for(pages);
        let first = if order == 0 {
            self.shared.segments.take(segments_for(pages)).map(|segment| segment * SEGMENT_PAGES)
        } else {
            let ranges = &mut self.cpus[cpu];
            let taken = ranges.take(&self.table, order, pages).or_else(|| {
                ranges.refill(&self.table, order, &mut self.shared, |_| Ok::<_, ()>(())).ok()?;
                ranges.take(&self.table, order, pages)
            });
            taken.map(|slot| slot.first)
        };
        let Some(first) = first else { return };
        let slot = slot(first, pages, order);
        let (end, before) = (first + slot.span(), self.used.range(..first + slot.span()).next_back());
        assert!(before.is_none_or(|(_, end)| *end <= first), "{slot:?} overlaps {before:?}");
        assert!(end <= SEGMENTS * SEGMENT_PAGES, "{slot:?} is outside of the region");
        self.used.insert(first, end);
        self.live.push(slot);
    }

    fn unmap(&mut self, cpu: usize, index: usize) {
        let slot = self.live.swap_remove(index);
        if self.cpus[cpu].add_stale(&self.table, slot, Stale::Pages) {
            self.settle(cpu);
        }
    }

    /// Every CPU flushes at once.
    fn settle(&mut self, cpu: usize) {
        let generation = &mut self.generation;
        let Some((sealed, _)) = self.cpus[cpu].seal(|| {
            *generation += 1;
            *generation
        }) else {
            return;
        };
        let batch = self.cpus[cpu].take_sealed(sealed);
        self.free(cpu, batch.chain);
    }

    fn free(&mut self, cpu: usize, mut chain: Chain) {
        while let Some(slot) = chain.pop(&self.table) {
            assert_eq!(self.used.remove(&slot.first), Some(slot.first + slot.span()), "{slot:?}");
            if slot.is_large() {
                self.shared.segments.release(slot.first / SEGMENT_PAGES, segments_for(slot.pages));
            } else if let Some(chain) = self.cpus[cpu].put(&self.table, slot) {
                self.shared.depot.push(&self.table, slot.order, chain);
            }
        }
    }

    /// Frees everything that waits, and the segments that nothing uses.
    fn trim(&mut self) {
        for cpu in 0..CPUS {
            let waiting = self.cpus[cpu].take_waiting();
            waiting.into_iter().for_each(|waiting| self.free(cpu, waiting.chain));
        }
        self.cpus.iter_mut().for_each(|cpu| cpu.drain(&self.table, &mut self.shared.depot));
        let mut counts = vec![0; self.shared.segments.end() as usize];
        retire(&self.table, &mut counts, &mut self.shared.depot);
        for (segment, _) in counts.iter().enumerate().filter(|(_, count)| **count == RETIRED) {
            self.shared.segments.release(segment as u32, 1);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Map(usize, u32),
    Unmap(usize, prop::sample::Index),
    Settle(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pages = prop_oneof![1u32..4, 1u32..40, 1u32..600, 512u32..3000];
    let step = prop_oneof![
        8 => (0..CPUS, pages).prop_map(|(cpu, pages)| Step::Map(cpu, pages)),
        6 => (0..CPUS, any::<prop::sample::Index>()).prop_map(|(cpu, index)| Step::Unmap(cpu, index)),
        1 => (0..CPUS).prop_map(Step::Settle),
        1 => Just(Step::Trim),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// No two mappings overlap, whatever the CPUs do; and after the last unmap and a trim every address is free.
    #[test]
    fn no_address_has_two_owners_and_none_is_lost(steps in steps()) {
        let mut machine = Machine::new();
        for step in steps {
            match step {
                Step::Map(cpu, pages) => machine.map(cpu, pages),
                Step::Unmap(cpu, index) if !machine.live.is_empty() => {
                    machine.unmap(cpu, index.index(machine.live.len()));
                }
                Step::Unmap(..) => {}
                Step::Settle(cpu) => machine.settle(cpu),
                Step::Trim => {
                    machine.trim();
                    let waiting: u64 = machine.cpus.iter().map(CpuRanges::waiting_pages).sum();
                    prop_assert_eq!(waiting, 0);
                    prop_assert_eq!(machine.used.len(), machine.live.len());
                }
            }
        }
        while !machine.live.is_empty() {
            machine.unmap(0, 0);
        }
        machine.trim();
        prop_assert_eq!(machine.shared.segments.used(), 0, "a segment is lost");
        prop_assert!(machine.used.is_empty());
    }
}

#[test]
fn a_cpu_that_only_unmaps_gives_the_addresses_to_the_others() {
    let mut machine = Machine::new();
    for _ in 0..40 * BATCH {
        machine.map(0, 1);
        machine.unmap(1, 0);
    }
    // Two chains on each CPU, those that wait, and the one that the first CPU uses.
    assert!(machine.shared.segments.used() <= 6, "{} segments are in use", machine.shared.segments.used());
}

#[test]
fn the_flush_is_requested_when_the_next_batch_is_complete_and_awaited_after_two() {
    let (table, mut cpu) = (Table::default(), CpuRanges::new());
    let add = |cpu: &mut CpuRanges, first: u32| cpu.add_stale(&table, slot(2 * first, 1, 1), Stale::Pages);
    assert_eq!(cpu.seal(|| unreachable!("nothing waits")), None);
    assert!((0..BATCH - 1).all(|first| !add(&mut cpu, first)) && add(&mut cpu, BATCH - 1));
    assert_eq!(cpu.seal(|| 5), Some((5, Stale::Pages)));
    assert_eq!(cpu.demand(5), Demand::Nothing, "the batch was just sealed");
    assert_eq!(cpu.seal(|| unreachable!("a batch is sealed already")), Some((5, Stale::Pages)));
    assert!((0..BATCH - 1).all(|first| !add(&mut cpu, BATCH + first)) && add(&mut cpu, 2 * BATCH - 1));
    assert_eq!(cpu.demand(5), Demand::Request);
    assert!(!add(&mut cpu, 2 * BATCH), "it looks again a quarter of a batch later");
    assert_eq!(cpu.demand(5), Demand::Nothing, "it is requested once");
    assert!((1..BATCH).filter(|first| add(&mut cpu, 2 * BATCH + first)).count() > 0);
    assert_eq!(cpu.demand(5), Demand::Wait);
    assert_eq!(cpu.take_sealed(4).chain.count, 0, "another generation's batch");
    assert_eq!(cpu.take_sealed(5).chain.count, BATCH);
    assert_eq!(cpu.seal(|| 6), Some((6, Stale::Pages)));
    assert_eq!(cpu.take_sealed(6).chain.count, BATCH * 2);
}

#[test]
fn a_thread_that_moves_changes_nothing_of_the_batch_of_its_new_cpu() {
    let (table, mut here) = (Table::default(), CpuRanges::new());
    let add = |cpu: &mut CpuRanges, first: u32| {
        cpu.add_stale(&table, slot(2 * first, 1, 1), Stale::Pages);
    };
    (0..BATCH).for_each(|first| add(&mut here, first));
    assert_eq!(here.seal(|| 6), Some((6, Stale::Pages)));
    (BATCH..3 * BATCH).for_each(|first| add(&mut here, first));
    // The thread has sealed the batch of generation 5 on the CPU that it came from.
    assert_eq!(here.demand(5), Demand::Nothing);
    assert!(here.is_due(), "this CPU's own batch is still to be looked at");
    assert_eq!(here.demand(6), Demand::Wait);
}

#[test]
fn a_batch_with_one_slot_that_has_page_tables_frees_page_tables() {
    let (table, mut cpu) = (Table::default(), CpuRanges::new());
    let add = |cpu: &mut CpuRanges, first, stale| {
        cpu.add_stale(&table, slot(first, 1, 1), stale);
    };
    add(&mut cpu, 0, Stale::Pages);
    add(&mut cpu, 2, Stale::Tables);
    add(&mut cpu, 4, Stale::Pages);
    assert_eq!(cpu.seal(|| 4), Some((4, Stale::Tables)));
    add(&mut cpu, 6, Stale::Pages);
    assert_eq!(cpu.take_sealed(4).stale, Stale::Tables);
    assert_eq!(cpu.seal(|| 8), Some((8, Stale::Pages)), "the tables are gone with their batch");
    add(&mut cpu, 8, Stale::Tables);
    assert_eq!(cpu.take_waiting().map(|waiting| waiting.stale), [Stale::Tables, Stale::Pages]);
    assert_eq!(cpu.take_waiting().map(|waiting| waiting.stale), [Stale::Pages; 2]);
}

#[test]
fn a_sweep_ends_and_reaches_every_cpu_while_all_go_on_unmapping() {
    let table = Table::default();
    let mut cpus: Vec<_> = (0..100).map(|_| CpuRanges::new()).collect();
    let (mut sweep, mut next, mut visits) = (Sweep::new(), 0, vec![0; cpus.len()]);
    let rounds = (1..100).find(|_| {
        // Every CPU unmaps something before each round.
        for cpu in &mut cpus {
            cpu.add_stale(&table, slot(next, 1, 1), Stale::Pages);
            next += 2;
        }
        sweep.begin_round();
        for (cpu, visits) in cpus.iter_mut().zip(&mut visits) {
            sweep.visit(|| {
                *visits += 1;
                cpu.take_waiting()
            });
        }
        assert!(!sweep.taken().is_empty() && sweep.taken().len() <= ROUND);
        sweep.is_complete()
    });
    assert!(rounds.is_some_and(|rounds| rounds <= 100 / (ROUND / 2) + 1), "{rounds:?} rounds");
    assert!(visits.iter().all(|visits| *visits == 1), "{visits:?}");
}

#[test]
fn a_slot_of_many_pages_is_not_freed_under_the_lock() {
    let (table, mut cpu) = (Table::default(), CpuRanges::new());
    let slots = [
        slot(0, 1, 1),
        slot(64, COST_AT_ONCE, order_for(COST_AT_ONCE)),
        slot(128, COST_AT_ONCE + 1, order_for(COST_AT_ONCE + 1)),
        slot(512, 511, 9),
        slot(1024, 100_000, 0),
    ];
    for slot in slots {
        cpu.add_stale(&table, slot, Stale::Pages);
    }
    let [mut stale, sealed] = cpu.take_waiting();
    let popped: Vec<_> = core::iter::from_fn(|| stale.pop(&table)).collect();
    let [first, second, third, fourth, fifth] = slots;
    let expected = [Popped::Few(first), Popped::Few(second), Popped::Many(third)];
    assert_eq!(popped, [&expected[..], &[Popped::Many(fourth), Popped::Many(fifth)]].concat());
    assert!(stale.is_empty() && sealed == Waiting::EMPTY);
}

/// The most accesses to entries under the lock of what the CPUs share, for one chain.
const ACCESSES_AT_ONCE: usize = 4;

fn retire(table: &Table, counts: &mut [u32], depot: &mut Depot) {
    retire_free_segments(table, counts, |access| {
        let before = table.accesses.get();
        access(depot);
        let accesses = table.accesses.get() - before;
        assert!(accesses <= ACCESSES_AT_ONCE, "{accesses} entries are accessed under the lock");
    });
}

#[test]
fn many_free_slots_are_retired_in_short_steps() {
    let mut machine = Machine::new();
    (0..20 * BATCH).for_each(|_| machine.map(0, 1));
    while !machine.live.is_empty() {
        machine.unmap(1, 0);
    }
    assert!(machine.shared.segments.used() > 10);
    machine.trim();
    assert_eq!(machine.shared.segments.used(), 0);
}
