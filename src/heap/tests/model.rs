//! Random operations on three CPUs, beside a naive model that knows every byte.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CPUS: usize = 3;
const BLOCKS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Alloc { cpu: usize, size: usize, align: usize },
    Free { cpu: usize, which: prop::sample::Index },
    Realloc { cpu: usize, which: prop::sample::Index, size: usize },
    Drain { cpu: usize },
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

    fn remove(&mut self, which: prop::sample::Index) -> Option<Object> {
        if self.objects.is_empty() {
            return None;
        }
        let address = *self.objects.keys().nth(which.index(self.objects.len()))?;
        let object = self.objects.remove(&address)?;
        assert!(has(object.pointer, object.layout.size(), object.pattern), "the object was overwritten");
        Some(object)
    }
}

fn run(ops: &[Op]) {
    let machine = Machine::new(BLOCKS, CPUS);
    let heap = machine.heap.heap();
    let mut model = Model::default();
    for op in ops {
        match *op {
            Op::Alloc { cpu, size, align } => {
                if let Some(object) = machine.alloc(cpu, layout(size, align)) {
                    model.add(object, layout(size, align));
                }
            }
            Op::Free { cpu, which } => {
                if let Some(object) = model.remove(which) {
                    assert_eq!(machine.free(cpu, object.pointer, object.layout), Ok(()));
                }
            }
            Op::Realloc { cpu, which, size } => {
                let Some(object) = model.remove(which) else { continue };
                let new = layout(size, object.layout.align());
                // SAFETY: the object is the model's, with this layout.
                if unsafe { heap.resize(object.pointer, object.layout, new) }.unwrap() {
                    let kept = size.min(object.layout.size());
                    assert!(has(object.pointer, kept, object.pattern), "the object was overwritten");
                    model.add(object.pointer, new);
                } else {
                    assert_eq!(machine.free(cpu, object.pointer, object.layout), Ok(()));
                }
            }
            Op::Drain { cpu } => assert_eq!(heap.drain(&machine.cpus[cpu]), Ok(())),
            Op::DrainDepots => assert_eq!(heap.drain_depots(), Ok(())),
        }
    }
    assert_eq!(heap.validate(), Ok(()));
    for (_, object) in model.objects {
        assert!(has(object.pointer, object.layout.size(), object.pattern), "the object was overwritten");
        assert_eq!(machine.free(0, object.pointer, object.layout), Ok(()));
    }
    machine.assert_all_free();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 64 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_agree_with_the_model(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 60 } else { 800 })) {
        run(&ops);
    }
}
