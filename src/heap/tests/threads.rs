//! Threads of the host as CPUs: each with its own magazines, all on one heap.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use super::*;
use crate::heap::allocator::Heap;
use crate::heap::host::HostFrames;

const THREADS: usize = 3;
const ROUNDS: usize = if cfg!(miri) { 40 } else { 10_000 };

/// Objects in a mailbox, at most.
const MOST: usize = 40;

struct Parcel(NonNull<u8>, Layout, u8);

// SAFETY: the object belongs to the thread that takes the parcel.
unsafe impl Send for Parcel {}

impl Parcel {
    /// Checks the object and frees it.
    fn free(self, heap: &Heap<HostFrames>, magazines: &Magazines) {
        let Parcel(object, layout, pattern) = self;
        assert!(has(object, layout.size(), pattern), "an object is shared");
        // SAFETY: the parcel owns the object, which was allocated with this layout.
        unsafe { heap.dealloc(magazines, object, layout) }.unwrap();
    }
}

/// Objects go from thread to thread. Each is filled with a pattern and checked before it is freed, somewhere.
#[test]
fn objects_that_go_from_cpu_to_cpu_are_never_shared() {
    let machine = HostHeap::new(8, 1);
    let heap = machine.heap();
    let mailboxes: [Mutex<Vec<Parcel>>; THREADS] = [const { Mutex::new(Vec::new()) }; THREADS];
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let (mailboxes, refused) = (&mailboxes, &refused);
            scope.spawn(move || {
                let magazines = Magazines::new();
                let mut random = fastrand::Rng::with_seed(cpu as u64);
                for round in 0..ROUNDS {
                    let size = [8, 40, 64, 200, 1024, 4096, 40_000][random.usize(..7)];
                    let layout = layout(size, 8);
                    let Some(object) = heap.alloc(&magazines, layout) else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let pattern = round as u8 ^ (cpu as u8) << 6;
                    fill(object, size, pattern);
                    let mut mailbox = mailboxes[random.usize(..THREADS)].lock().unwrap();
                    mailbox.push(Parcel(object, layout, pattern));
                    // A full mailbox is emptied by the thread that finds it so: its own may have ended.
                    let keep = if mailbox.len() > MOST { 0 } else { mailbox.len() };
                    let mine: Vec<_> = mailbox.drain(keep..).collect();
                    drop(mailbox);
                    mine.into_iter().for_each(|parcel| parcel.free(heap, &magazines));
                }
                heap.drain(&magazines).unwrap();
            });
        }
    });
    let magazines = Magazines::new();
    for mailbox in mailboxes {
        mailbox.into_inner().unwrap().into_iter().for_each(|parcel| parcel.free(heap, &magazines));
    }
    assert_eq!(refused.into_inner(), 0, "8 blocks are enough");
    machine.drain([&magazines]);
    assert_eq!(heap.validate(), Ok(()));
    assert_eq!(machine.frames(), 0, "frames are lost");
}
