//! Checks what the program registers, before anything uses it.

use crate::bench::{self, BenchName};
use crate::boot::command_line::{self, Named};
use crate::faults::{Fault, PROGRAM_FAULT_NAMES};
use crate::options::Options;
use crate::registry::{Duplicate, Header, Place, duplicate};
use crate::sched::policies::{Policy, SCHEDULER_NAMES};
use crate::selftest::{Part, SELF_TEST_NAMES};
use crate::stress::allocators::{self, ALLOCATOR_NAMES, Allocator};
use crate::stress::heap::{self, HEAP_NAMES, Heap};
use crate::stress::workloads::{self, HEAP_WORKLOAD_NAMES, WORKLOAD_NAMES, Workload};
use crate::{boot, panic, selftest, trace};

/// Refuses a program that registers two things of one kind by one name, as the command line could not tell them apart; and one that
/// registers more than there is room for.
pub(super) fn check() {
    if let Some(duplicate) = first_duplicate() {
        boot::refuse(format_args!("{duplicate}"));
    }
    let counts = [
        ("frame allocators", ALLOCATOR_NAMES.len(), allocators::MAX_REGISTERED),
        ("heaps", HEAP_NAMES.len(), heap::MAX_REGISTERED),
        ("workloads", workloads::WORKLOADS.len(), workloads::MAX_REGISTERED),
        ("events", trace::PROGRAM_EVENTS.len(), trace::MAX_PROGRAM_EVENTS),
        ("parts of the self-test", selftest::SELF_TESTS.len(), selftest::MAX_REGISTERED),
    ];
    if let Some((kind, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        boot::refuse(format_args!("the program registers {count} {kind}; there is room for {most}"));
    }
}

/// The first two entries of a list that have one name, of all lists with names. Tests have the paths of their functions, which the
/// compiler keeps apart; a trace event may be recorded at several places.
fn first_duplicate() -> Option<Duplicate<'static>> {
    fn of<T: Named>(
        kind: &'static str,
        headers: impl Iterator<Item = &'static Header> + Clone,
    ) -> Option<Duplicate<'static>> {
        duplicate(
            kind,
            |name| T::all().iter().any(|own| own.name() == name),
            headers.map(Header::named_place),
        )
    }
    let workloads = || WORKLOAD_NAMES.iter().chain(HEAP_WORKLOAD_NAMES.iter());
    let parameters = || {
        let registered = command_line::registered().iter();
        let is_own = |name: &str| Options::parameters().any(|parameter| parameter.name == name);
        duplicate("parameters", is_own, registered.map(|one| (one.name, one.place.unwrap_or(Place::UNKNOWN))))
    };
    // octopod registers its own by the same macro, so each has a place.
    let contexts = || {
        let headers = panic::PANIC_CONTEXTS.iter().map(|context| context.header.named_place());
        duplicate("panic contexts", |_| false, headers)
    };
    of::<&Allocator>("allocators", ALLOCATOR_NAMES.iter())
        .or_else(|| of::<&Heap>("heaps", HEAP_NAMES.iter()))
        .or_else(|| of::<&Workload>("workloads", workloads()))
        .or_else(|| of::<Fault>("faults", PROGRAM_FAULT_NAMES.iter()))
        .or_else(|| of::<&Part>("parts of the self-test", SELF_TEST_NAMES.iter()))
        .or_else(|| of::<&Policy>("scheduling policies", SCHEDULER_NAMES.iter()))
        .or_else(|| of::<BenchName>("benchmarks", bench::BENCH_NAMES.iter().map(BenchName::header)))
        .or_else(parameters)
        .or_else(contexts)
}
