//! Random operations on three CPUs, beside a naive model that knows every byte: on the heap as it is, and with checks.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::checked_machine::CheckedMachine;
use super::*;
use crate::heap::size_class::SizeClass;
use crate::memory::frames::FRAME_BYTES;

const CPUS: usize = 3;
const BLOCKS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Alloc {
        cpu: usize,
        size: usize,
        align: usize,
    },
    Free {
        cpu: usize,
        which: prop::sample::Index,
    },
    Realloc {
        cpu: usize,
        which: prop::sample::Index,
        size: usize,
    },
    /// Frees an address inside an object, which must be refused.
    FreeInside {
        cpu: usize,
        which: prop::sample::Index,
        offset: usize,
    },
    /// Frees an object as one of another class, which must be refused.
    FreeAs {
        cpu: usize,
        which: prop::sample::Index,
        size: usize,
    },
    Drain {
        cpu: usize,
    },
    DrainDepots,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1..200_usize, 4 => 200..5000_usize, 2 => 5000..40_000_usize, 1 => 40_000..400_000_usize]
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = 0..CPUS;
    let align = prop_oneof![8 => Just(0), 4 => 0..7_u32, 1 => 7..17_u32].prop_map(|shift| 1 << shift);
    prop_oneof![
        10 => (cpu.clone(), size(), align).prop_map(|(cpu, size, align)| Op::Alloc { cpu, size, align }),
        8 => (cpu.clone(), any::<prop::sample::Index>()).prop_map(|(cpu, which)| Op::Free { cpu, which }),
        4 => (cpu.clone(), any::<prop::sample::Index>(), size())
            .prop_map(|(cpu, which, size)| Op::Realloc { cpu, which, size }),
        1 => (cpu.clone(), any::<prop::sample::Index>(), 1..1000_usize)
            .prop_map(|(cpu, which, offset)| Op::FreeInside { cpu, which, offset }),
        1 => (cpu.clone(), any::<prop::sample::Index>(), size())
            .prop_map(|(cpu, which, size)| Op::FreeAs { cpu, which, size }),
        1 => cpu.prop_map(|cpu| Op::Drain { cpu }),
        1 => Just(Op::DrainDepots),
    ]
}

struct Object {
    pointer: NonNull<u8>,
    layout: Layout,
    pattern: u8,
}

/// Every live object by its address.
#[derive(Default)]
struct Model {
    objects: BTreeMap<usize, Object>,
    next: u8,
}

impl Model {
    fn add(&mut self, pointer: NonNull<u8>, layout: Layout) {
        let address = pointer.addr().get();
        assert!(address.is_multiple_of(layout.align()), "{layout:?} at {address:#x}");
        let before = self.objects.range(..=address).next_back();
        assert!(before.is_none_or(|(start, object)| start + object.layout.size() <= address), "overlap");
        let after = self.objects.range(address..).next();
        assert!(after.is_none_or(|(start, _)| address + layout.size() <= *start), "overlap");
        self.next = self.next.wrapping_add(1);
        fill(pointer, layout.size(), self.next);
        self.objects.insert(address, Object { pointer, layout, pattern: self.next });
    }

    fn address(&self, which: prop::sample::Index) -> Option<usize> {
        if self.objects.is_empty() {
            None
        } else {
            self.objects.keys().nth(which.index(self.objects.len())).copied()
        }
    }

    fn remove(&mut self, which: prop::sample::Index) -> Option<Object> {
        let address = self.address(which)?;
        let object = self.objects.remove(&address)?;
        assert!(has(object.pointer, object.layout.size(), object.pattern), "the object was overwritten");
        Some(object)
    }
}

/// A machine whose heap has checks, or has none.
enum Tested {
    Checked(CheckedMachine),
    Unchecked(Machine),
}

impl Tested {
    fn new(is_checked: bool, nodes: usize) -> Tested {
        let machine = Machine::on_nodes(BLOCKS, CPUS, nodes);
        match is_checked {
            true => Tested::Checked(CheckedMachine::new(machine)),
            false => Tested::Unchecked(machine),
        }
    }

    fn machine(&self) -> &Machine {
        match self {
            Tested::Checked(machine) => machine,
            Tested::Unchecked(machine) => machine,
        }
    }

    fn alloc(&self, cpu: usize, layout: Layout) -> Option<NonNull<u8>> {
        match self {
            Tested::Checked(machine) => machine.alloc(cpu, cpu as u64 + 1, layout).unwrap(),
            Tested::Unchecked(machine) => machine.alloc(cpu, layout),
        }
    }

    fn free(&self, cpu: usize, object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        match self {
            Tested::Checked(machine) => {
                machine.free(cpu, cpu as u64 + 1, object, layout).map_err(|found| found.misuse)
            }
            Tested::Unchecked(machine) => machine.free(cpu, object, layout),
        }
    }

    /// Whether the heap has changed the size in place.
    fn resize(&self, object: &Object, new: Layout) -> bool {
        match self {
            Tested::Checked(machine) => {
                assert_eq!(machine.check(object.pointer, object.layout), Ok(()));
                false
            }
            Tested::Unchecked(machine) => {
                // SAFETY: the object is the model's, with this layout.
                unsafe { machine.heap.heap().resize(object.pointer, object.layout, new) }.unwrap()
            }
        }
    }
}

fn run(ops: &[Op], is_checked: bool, nodes: usize) {
    let tested = Tested::new(is_checked, nodes);
    let heap = tested.machine().heap.heap();
    let mut model = Model::default();
    for op in ops {
        match *op {
            Op::Alloc { cpu, size, align } => {
                if let Some(object) = tested.alloc(cpu, layout(size, align)) {
                    model.add(object, layout(size, align));
                }
            }
            Op::Free { cpu, which } => {
                if let Some(object) = model.remove(which) {
                    assert_eq!(tested.free(cpu, object.pointer, object.layout), Ok(()));
                }
            }
            Op::Realloc { cpu, which, size } => {
                let Some(object) = model.remove(which) else { continue };
                let new = layout(size, object.layout.align());
                if tested.resize(&object, new) {
                    let kept = size.min(object.layout.size());
                    assert!(has(object.pointer, kept, object.pattern), "the object was overwritten");
                    model.add(object.pointer, new);
                } else {
                    assert_eq!(tested.free(cpu, object.pointer, object.layout), Ok(()));
                }
            }
            Op::FreeInside { cpu, which, offset } => {
                let Some(object) = model.address(which).map(|address| &model.objects[&address]) else {
                    continue;
                };
                let offset = 1 + offset % object.layout.size();
                if offset < object.layout.size() {
                    // SAFETY: the offset lies in the object.
                    let inside = unsafe { object.pointer.add(offset) };
                    assert!(
                        tested.free(cpu, inside, object.layout).is_err(),
                        "{offset} in {:?}",
                        object.layout
                    );
                }
            }
            Op::FreeAs { cpu, which, size } => {
                let Some(object) = model.address(which).map(|address| &model.objects[&address]) else {
                    continue;
                };
                let other = layout(size, object.layout.align());
                if is_of_another_size(object.layout, other, is_checked) {
                    assert!(
                        tested.free(cpu, object.pointer, other).is_err(),
                        "{:?} as {other:?}",
                        object.layout
                    );
                }
            }
            Op::Drain { cpu } => assert_eq!(heap.drain(&tested.machine().cpus[cpu]), Ok(())),
            Op::DrainDepots => assert_eq!(heap.drain_depots(), Ok(())),
        }
    }
    assert_eq!(heap.validate(), Ok(()));
    for (_, object) in model.objects {
        assert!(has(object.pointer, object.layout.size(), object.pattern), "the object was overwritten");
        assert_eq!(tested.free(0, object.pointer, object.layout), Ok(()));
    }
    tested.machine().assert_all_free();
}

/// Whether the heap can tell the layouts apart: without checks, objects of the same class or number of frames are the same to it.
fn is_of_another_size(own: Layout, other: Layout, is_checked: bool) -> bool {
    match (SizeClass::of(own), SizeClass::of(other)) {
        _ if is_checked => own.size() != other.size(),
        (None, None) => {
            let [own, other] = [own, other].map(|layout| layout.size().div_ceil(FRAME_BYTES));
            own.max(other) > 2 * own.min(other)
        }
        (own, other) => own != other,
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The cases of `PROPTEST_CASES`, and on until there were as many operations as the long tier wants.
#[test]
fn random_operations_agree_with_the_model() {
    let cases = setting("PROPTEST_CASES").unwrap_or(if cfg!(miri) { 2 } else { 64 }) as u32;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let most = if cfg!(miri) { 60 } else { 800 };
    let values = (prop::collection::vec(op(), 1..most), any::<bool>(), 1..=2_usize);
    let (done, mut runs) = (Cell::new(0), 0);
    while runs == 0 || done.get() < setting("HEAP_MODEL_OPERATIONS").unwrap_or(0) {
        let outcome = TestRunner::new(config.clone()).run(&values, |(ops, is_checked, nodes)| {
            run(&ops, is_checked, nodes);
            done.set(done.get() + ops.len() as u64);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
        runs += cases;
    }
    println!("counted {} operations", done.get());
    println!("counted {runs} cases");
}
