use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u32),
    Remove(u32),
}

fn step() -> impl Strategy<Value = Step> {
    // Few enough that most removals meet a member, and words at both ends.
    let cpu = || prop_oneof![0..4u32, 62..66u32, MAX_CPUS - 2..MAX_CPUS];
    prop_oneof![cpu().prop_map(Step::Insert), cpu().prop_map(Step::Remove)]
}

proptest! {
    #[test]
    fn a_set_of_cpus_is_a_set(steps in prop::collection::vec(step(), 0..60)) {
        let (mut set, mut model) = (CpuSet::EMPTY, BTreeSet::new());
        for step in steps {
            match step {
                Step::Insert(cpu) => prop_assert_eq!(set.insert(CpuId(cpu)), model.insert(cpu)),
                Step::Remove(cpu) => prop_assert_eq!(set.remove(CpuId(cpu)), model.remove(&cpu)),
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!(set.iter().map(|cpu| cpu.0).eq(model.iter().copied()));
            prop_assert_eq!(&set, &model.iter().map(|cpu| CpuId(*cpu)).collect::<CpuSet>());
        }
        for cpu in 0..MAX_CPUS {
            prop_assert_eq!(set.contains(CpuId(cpu)), model.contains(&cpu));
            let others: Vec<_> = model.iter().filter(|member| **member != cpu).take(2).collect();
            let expected = match others[..] {
                [] => Others::None,
                [one] => Others::One(CpuId(*one)),
                _ => Others::Several,
            };
            prop_assert_eq!(set.others_than(CpuId(cpu)), expected);
        }
    }
}

#[test]
fn a_number_beyond_every_cpu_is_in_no_set() {
    assert!(!CpuSet::of(CpuId(MAX_CPUS - 1)).contains(CpuId(u32::MAX)));
}
