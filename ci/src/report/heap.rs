//! The heap's counts at the end of the work, built from its records.

use octopod::wire::{Heap, HeapClass};
use serde::{Deserialize, Serialize};

use crate::kernel::StackFrame;
use crate::run::Seen;

/// The heap's memory, and its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapReport {
    /// The heap's memory as a whole.
    #[serde(flatten)]
    pub whole: Heap,
    /// The objects of each class of each node.
    #[serde(default)]
    pub classes: Vec<HeapClass>,
    /// The magazines of each CPU.
    #[serde(default)]
    pub cpus: Vec<HeapCpuReport>,
}

/// The free objects in the magazines of a CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapCpuReport {
    /// The CPU.
    pub cpu: u32,
    /// Its node.
    pub node: u32,
    /// The size and the number of the free objects of each class, where there are any.
    pub cached: Vec<(u32, u32)>,
}

impl HeapCpuReport {
    /// Returns the number of objects and their bytes.
    pub fn sum(&self) -> (u64, u64) {
        self.cached.iter().fold((0, 0), |(objects, bytes): (u64, u64), (size, count)| {
            let (size, count) = (u64::from(*size), u64::from(*count));
            (objects.saturating_add(count), bytes.saturating_add(size.saturating_mul(count)))
        })
    }
}

/// A place of the program that has allocated or freed an object of a checked heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapSiteReport {
    /// `allocated` or `freed`, of the object that the panic is about; `live`, of objects that were allocated when the run ended.
    pub role: String,
    /// Live objects that were allocated here.
    pub objects: u64,
    /// The bytes that the program has asked for in these.
    pub bytes: u64,
    /// The program's innermost call; else octopod's, outside the heap. Absent where the symbols do not know it.
    pub call: Option<String>,
    /// The calls, innermost first.
    pub backtrace: Vec<StackFrame>,
}

impl HeapSiteReport {
    /// Describes the site on one line.
    pub fn in_words(&self) -> String {
        let call = self.call.as_deref().unwrap_or("an unknown call");
        match self.role.as_str() {
            "live" => {
                format!("{} heap objects of {} bytes are live, allocated by {call}", self.objects, self.bytes)
            }
            role => format!("the heap object was {role} by {call}"),
        }
    }
}

/// All sites, without their calls, which take symbols.
pub(super) fn sites(seen: &Seen) -> Vec<HeapSiteReport> {
    let site = |site: &octopod::wire::HeapSite<String>| HeapSiteReport {
        role: site.role.clone(),
        objects: site.objects,
        bytes: site.bytes,
        call: None,
        backtrace: Vec::new(),
    };
    seen.heap_sites.iter().map(site).collect()
}

/// `None` if the heap had no memory.
pub(super) fn report(seen: &Seen) -> Option<HeapReport> {
    let mut cpus: Vec<HeapCpuReport> = Vec::new();
    for part in &seen.heap_cpus {
        match cpus.last_mut() {
            Some(last) if last.cpu == part.cpu => last.cached.extend(&part.cached),
            _ => {
                let cached = part.cached.iter().copied().collect();
                cpus.push(HeapCpuReport { cpu: part.cpu, node: part.node, cached });
            }
        }
    }
    let classes = seen.heap_classes.clone();
    seen.heap.map(|whole| HeapReport { whole, classes, cpus })
}

#[cfg(test)]
mod tests {
    use octopod::wire::HeapCpu;

    use super::*;

    #[test]
    fn classes_and_cpus_come_with_the_heap() {
        let class = HeapClass { object_bytes: 64, live: 3, ..HeapClass::default() };
        let part = |cached: (u32, u32)| HeapCpu { cpu: 2, node: 1, cached: [cached].into_iter().collect() };
        let mut seen = Seen {
            heap_classes: vec![class],
            heap_cpus: vec![part((64, 5)), part((128, 1))],
            ..Seen::default()
        };
        assert_eq!(report(&seen), None);
        seen.heap = Some(Heap { frames_held: 9, ..Heap::default() });
        let report = report(&seen).unwrap();
        assert_eq!((report.whole.frames_held, &report.classes[..]), (9, &[class][..]));
        assert_eq!((report.cpus[0].cpu, report.cpus[0].sum(), report.cpus.len()), (2, (6, 448), 1));
    }
}
