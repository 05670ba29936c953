//! Records of the heap.

use serde::{Deserialize, Serialize};

/// The maximum number of size classes in a record.
pub const CLASSES_IN_RECORD: usize = 20;

/// The heap's memory as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heap {
    /// Frames of slabs, large objects, magazines and records of slabs.
    pub frames_held: u64,
    /// Of these, those of magazines and records of slabs.
    pub metadata_frames: u64,
    /// The size of the tables that are allocated at boot, in bytes.
    pub table_bytes: u64,
    /// Objects above the largest class.
    pub large_objects: u64,
    /// The bytes that programs have asked for in these.
    pub large_bytes: u64,
    /// The frames of these.
    pub large_frames: u64,
}

/// The objects of a size class whose slabs belong to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeapClass {
    /// The node.
    pub node: u32,
    /// The size of an object, in bytes.
    pub object_bytes: u64,
    /// Slabs.
    pub slabs: u64,
    /// The size of all slabs, in bytes.
    pub slab_bytes: u64,
    /// Allocated objects.
    pub live: u64,
    /// Free objects in magazines, of CPUs and of depots.
    pub cached: u64,
    /// Free objects in slabs.
    pub free: u64,
    /// Bytes of the allocated objects that were not asked for: an estimate.
    pub internal_waste_bytes: u64,
    /// Bytes of the slabs that are neither allocated nor in magazines.
    pub slab_waste_bytes: u64,
}

/// The maximum number of return addresses in a record of a call site.
pub const CALLS_IN_SITE: usize = 16;

/// A place of the program that has allocated or freed an object of a checked heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapSite<S> {
    /// `allocated` or `freed`, of the object that the panic that follows is about; `live`, of objects that are allocated when the run ends.
    pub role: S,
    /// Live objects that were allocated here.
    pub objects: u64,
    /// The bytes that the program has asked for in these.
    pub bytes: u64,
    /// The run-time address minus the address in the kernel's ELF file.
    pub slide: u64,
    /// Return addresses, innermost first.
    pub calls: heapless::Vec<u64, CALLS_IN_SITE>,
}

/// What a CPU has in its magazines, of up to [`CLASSES_IN_RECORD`] classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeapCpu {
    /// The CPU.
    pub cpu: u32,
    /// Its node.
    pub node: u32,
    /// The size and the number of the free objects of each class, where there are any.
    pub cached: heapless::Vec<(u32, u32), CLASSES_IN_RECORD>,
}
