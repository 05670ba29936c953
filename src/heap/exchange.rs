//! What happens when a CPU's loaded magazine is empty or full: objects and magazines move between CPUs, depots and slabs.

use core::ptr::NonNull;

use super::allocator::Heap;
use super::backing::Backing;
use super::depot::Depot;
#[cfg(feature = "faults")]
use super::faults::{self, HeapFault};
use super::magazines::{Loaded, Magazine, Magazines, Word};
use super::misuse::Misuse;
use super::size_class::SizeClass;
use super::slab::{Slab, SlabList};

impl<B: Backing> Heap<B> {
    /// [`alloc`](Self::alloc) when the loaded magazine is empty.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&self, cpu: &Magazines, class: SizeClass, size: usize) -> Option<NonNull<u8>> {
        let previous = cpu.previous(class);
        if previous.len() > 0 {
            cpu.exchange(class);
            return cpu.pop(class);
        }
        let depot = self.depot(cpu.node(), class)?;
        let full = depot.with(|stock| {
            stock.requests.add(size);
            // SAFETY: the previous magazine is this CPU's, and empty.
            unsafe { stock.take_full(previous.magazine()) }
        });
        if let Ok(full) = full {
            cpu.set_previous(class, cpu.loaded(class));
            cpu.load(class, Loaded::full(full, class));
            return cpu.pop(class);
        }
        if cpu.loaded(class) == Loaded::NONE
            && let Some(magazine) = self.new_magazine(depot, class)
        {
            cpu.load(class, Loaded::empty(magazine));
        }
        self.fill(cpu, depot, class)
    }

    /// Fills the loaded magazine from slabs and takes one object. Without a magazine it takes one object from a slab.
    fn fill(&self, cpu: &Magazines, depot: &Depot, class: SizeClass) -> Option<NonNull<u8>> {
        let taken = self.take_from(depot, cpu, class, None);
        taken.or_else(|| match self.make_slab(cpu.node(), class) {
            Some(slab) => self.take_from(depot, cpu, class, Some(slab)),
            None => self.take_from_any(class),
        })
    }

    /// [`fill`](Self::fill) from the slabs that the depot has, after it got `new`. Other CPUs get objects of that one only afterwards, so there is
    /// one for this CPU.
    fn take_from(
        &self,
        depot: &Depot,
        cpu: &Magazines,
        class: SizeClass,
        new: Option<NonNull<Slab>>,
    ) -> Option<NonNull<u8>> {
        let loaded = cpu.loaded(class);
        let (mut top, mut object) = (loaded.top, None);
        depot.with(|stock| {
            if let Some(slab) = new {
                // SAFETY: `make_slab` has made it for this depot, with all of its objects, and nothing else has it.
                unsafe { stock.add(slab) };
            }
            if loaded == Loaded::NONE {
                stock.take(1, |taken| object = Some(taken))
            } else {
                #[cfg(feature = "faults")]
                let mut before = None;
                stock.take(class.rounds(), |taken| {
                    #[cfg(feature = "faults")]
                    let taken = faults::taken(taken, before.replace(taken), class.size());
                    // SAFETY: an empty magazine has room for so many pointers, and is this CPU's.
                    unsafe { top.write(taken.as_ptr()) };
                    // SAFETY: the word lies in the magazine.
                    top = unsafe { top.add(1) };
                    // Until an object is returned, it is marked.
                    self.mark_free(taken);
                })
            }
        });
        if top == loaded.top {
            return object;
        }
        #[cfg(feature = "faults")]
        if faults::strikes_once(HeapFault::HeapAllocateTwice) {
            // SAFETY: the first word of the magazine has a pointer. The last one to be popped can be allocated elsewhere until then.
            let _ = self.put_all(class, &[unsafe { loaded.top.read() }]);
        }
        cpu.load(class, Loaded { top, ..loaded });
        cpu.pop(class)
    }

    /// Takes one object from a slab of any node, where there is no memory for a new slab.
    #[cold]
    fn take_from_any(&self, class: SizeClass) -> Option<NonNull<u8>> {
        (0..self.nodes()).filter_map(|node| self.depot(node, class)).find_map(|depot| {
            let mut object = None;
            depot.with(|stock| stock.take(1, |taken| object = Some(taken)));
            object
        })
    }

    /// An empty magazine, from the depot or new.
    fn new_magazine(&self, depot: &Depot, class: SizeClass) -> Option<Magazine> {
        let empty = depot.with(|stock| stock.pop_empty());
        empty.or_else(|| self.chunks.lock().alloc(&self.backing, class.magazine()).map(Magazine))
    }

    /// Frees an empty magazine.
    ///
    /// # Safety
    /// It is valid and the caller's alone.
    unsafe fn free_magazine(&self, magazine: Magazine) {
        // SAFETY: `new_magazine` took the chunk from this pool, and it is the caller's alone (see # Safety).
        unsafe { self.chunks.lock().free(&self.backing, magazine.0) };
    }

    /// [`dealloc`](Self::dealloc) when the loaded magazine is full. The object is marked as free.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&self, cpu: &Magazines, class: SizeClass, object: NonNull<u8>) -> Result<(), Misuse> {
        let previous = cpu.previous(class);
        if previous.has_room(class) {
            cpu.exchange(class);
            return self.push_or_put(cpu, class, object);
        }
        let Some(depot) = self.depot(cpu.node(), class) else {
            return Err(Misuse::Foreign { address: object.addr().get() });
        };
        // The previous magazine is full, or there is none; the same is true of the loaded one.
        let mut result = Ok(());
        let mut empty = None;
        if let Some(full) = previous.magazine() {
            let exchanged = depot.with(|stock| {
                // SAFETY: the magazine is this CPU's, and full.
                unsafe { stock.put_full(class, full) }.then(|| stock.pop_empty())
            });
            match exchanged {
                Some(magazine) => empty = magazine,
                None => {
                    // SAFETY: the magazine is this CPU's, and nothing changes it meanwhile.
                    result = self.put_all(class, unsafe { previous.objects() });
                    empty = Some(full);
                }
            }
        }
        let empty = empty.or_else(|| self.new_magazine(depot, class));
        let loaded = cpu.loaded(class);
        match (empty, loaded.magazine()) {
            (Some(magazine), _) => {
                cpu.set_previous(class, loaded);
                cpu.load(class, Loaded::empty(magazine));
            }
            // Without memory for a magazine, the full one is emptied.
            (None, Some(magazine)) => {
                cpu.set_previous(class, Loaded::NONE);
                // SAFETY: the magazine is this CPU's, and nothing changes it meanwhile.
                result = result.and(self.put_all(class, unsafe { loaded.objects() }));
                cpu.load(class, Loaded::empty(magazine));
            }
            (None, None) => {}
        }
        result.and(self.push_or_put(cpu, class, object))
    }

    /// Puts a free object into the loaded magazine, or without one into its slab.
    fn push_or_put(&self, cpu: &Magazines, class: SizeClass, object: NonNull<u8>) -> Result<(), Misuse> {
        if cpu.push(class, object) { Ok(()) } else { self.put_all(class, &[object.as_ptr()]) }
    }

    /// Puts free objects into their slabs.
    ///
    /// # Errors
    /// The first one that is in its slab already. All others are in theirs.
    fn put_all(&self, class: SizeClass, objects: &[Word]) -> Result<(), Misuse> {
        let mut result = Ok(());
        let mut surplus = SlabList::new();
        #[cfg(feature = "faults")]
        let objects = faults::returning(objects);
        let mut rest = objects;
        while let Some((&first, _)) = rest.split_first() {
            let Some((_, node)) = self.slab_of(class, first) else {
                rest = &rest[1..];
                #[cfg(feature = "faults")]
                if faults::have_overlaps() {
                    continue;
                }
                result = result.and(Err(Misuse::DoubleFree { address: first.addr() }));
                continue;
            };
            // A slab is in a depot that there is.
            let Some(depot) = self.depot(node, class) else { break };
            let mut done = 0;
            depot.with(|stock| {
                for &object in rest {
                    let Some((slab, of_node)) = self.slab_of(class, object) else { break };
                    if of_node != node {
                        break;
                    }
                    done += 1;
                    let Some(object) = NonNull::new(object) else { continue };
                    // SAFETY: the slab is that of the object, which `dealloc` has found to be a whole one.
                    match unsafe { stock.put(slab, object) } {
                        Ok(None) => {}
                        // SAFETY: the slab is in no list.
                        Ok(Some(slab)) => unsafe { surplus.insert(slab, true) },
                        Err(_) => {
                            result = result.and(Err(Misuse::DoubleFree { address: object.addr().get() }));
                        }
                    }
                }
            });
            rest = &rest[done..];
        }
        self.release_all(surplus);
        result
    }

    /// The slab of an object, and its node. `None` if it was released: the object was freed twice.
    pub(super) fn slab_of(&self, class: SizeClass, object: Word) -> Option<(NonNull<Slab>, usize)> {
        if !self.map.has_object(class, object.addr()) {
            return None;
        }
        // The entry is that of the first granule.
        let start = object.addr() & !(class.slab_bytes() - 1);
        let slab = self.map.entry(start)?.cast::<Slab>();
        // SAFETY: the entry of a slab is its record, which is valid as long as one of its objects is taken.
        Some((slab, unsafe { Slab::state(slab) }.node()))
    }

    /// Returns everything that the CPU has cached to the slabs, and frees its magazines.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// The first object that was freed twice. The magazines are empty nevertheless.
    pub(crate) fn drain(&self, cpu: &Magazines) -> Result<(), Misuse> {
        let mut result = Ok(());
        for class in SizeClass::all() {
            let magazines = [cpu.loaded(class), cpu.previous(class)];
            cpu.load(class, Loaded::NONE);
            cpu.set_previous(class, Loaded::NONE);
            for loaded in magazines {
                let Some(magazine) = loaded.magazine() else { continue };
                // SAFETY: the CPU no longer uses the magazine.
                result = result.and(self.put_all(class, unsafe { loaded.objects() }));
                // SAFETY: the CPU no longer uses the magazine.
                unsafe { self.free_magazine(magazine) };
            }
        }
        result
    }

    /// Returns the objects of all depots to the slabs, and frees magazines, and slabs with all of their objects.
    ///
    /// **Context:** as for [`alloc`](Self::alloc). It takes a time that grows with what the depots have.
    ///
    /// # Errors
    /// The first object that was freed twice.
    pub(crate) fn drain_depots(&self) -> Result<(), Misuse> {
        let mut result = Ok(());
        // All objects first: those of a node may be in a slab of another.
        for (depot, class) in self.depots() {
            while let Some(magazine) = depot.with(|stock| stock.pop_full()) {
                let full = Loaded::full(magazine, class);
                // SAFETY: the depot no longer has the magazine.
                result = result.and(self.put_all(class, unsafe { full.objects() }));
                // SAFETY: the depot no longer has the magazine.
                unsafe { self.free_magazine(magazine) };
            }
        }
        for (depot, _) in self.depots() {
            while let Some(magazine) = depot.with(|stock| stock.pop_empty()) {
                // SAFETY: the depot no longer has the magazine.
                unsafe { self.free_magazine(magazine) };
            }
            while let Some(slab) = depot.with(|stock| stock.pop_whole()) {
                // SAFETY: the depot no longer has the slab.
                unsafe { self.release_slab(slab) };
            }
        }
        result
    }
}
