//! Checks the heap on the machine: objects of all sizes go from CPU to CPU and stay what they are; with interrupts off an allocation does not
//! wait, in an NMI it fails; when frames are used up, the heap returns what it has cached; and after a drain every frame is back.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::check::{
    CheckResult, ensure, expect_free_frames, failed, free_frames, on_all_cpus, send_facts, validate_frames,
};
use super::exhausted::Exhausted;
use super::{heap_frees, nmis};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::heap::size_class::{CLASSES, LARGEST, SizeClass};
use crate::heap::{self, CacheBox, KernelHeap};
use crate::memory::{self, ZeroedSlice};
use crate::per_cpu;
use crate::smp::{self, Cpu, hotplug};
use crate::sync::Timeout;

/// Objects of each size that a CPU passes to the next one.
const OBJECTS: usize = 40;

/// NMIs to each CPU while it allocates and frees.
const NMIS: u64 = 20;

/// Sizes above the largest class.
const LARGE: [usize; 3] = [LARGEST + 1, 40_000, 300_000];

per_cpu! {
    /// NMIs of this part that this CPU has handled.
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    /// Allocations in them that did not fail.
    static GRANTED: AtomicU64 = AtomicU64::new(0);
}

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    // What the parts before this one have cached is returned first.
    heap::reclaim();
    let (held, before) = (heap::held_frames(), free_frames()?);
    let objects = pass_on()?;
    let rejected = heap_frees::run()?;
    in_nmis()?;
    caches()?;
    caches_of_caches()?;
    offline_caches()?;
    let reclaimed = under_pressure()?;
    free_in_slabs()?;
    heap::reclaim();
    ensure!(heap::held_frames() == held, "the heap has {} frames, and had {held}", heap::held_frames());
    heap::validate()?;
    expect_free_frames(before, "objects of all sizes")?;
    validate_frames()?;
    log::info!("heap: {objects} objects passed from CPU to CPU, {reclaimed} frames returned under pressure");
    send_facts("selftest.heap", &[("objects", objects), ("reclaimed", reclaimed), ("rejected", rejected)]);
    Ok(())
}

fn sizes() -> impl Iterator<Item = usize> {
    SizeClass::all().map(SizeClass::size).chain(LARGE)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
}

/// The number of sizes.
const SIZES: usize = CLASSES + LARGE.len();

/// Each CPU allocates objects of all sizes and fills them; the next CPU checks and frees them. Returns how many there were.
fn pass_on() -> CheckResult<u64> {
    let cpus = smp::online().count();
    // The addresses of the objects, by the CPU that allocates them.
    let objects = ZeroedSlice::<AtomicU64>::new(cpus * SIZES * OBJECTS);
    let objects = objects.ok_or_else(|| failed(format_args!("heap: out of memory")))?;
    let index_of = |cpu: &Cpu| smp::online().position(|other| other.id() == cpu.id()).unwrap_or(0);
    let objects_of = |index: usize| {
        let own = objects.chunks(SIZES * OBJECTS).nth(index).unwrap_or_default();
        own.chunks(OBJECTS)
            .zip(sizes())
            .flat_map(|(places, size)| places.iter().map(move |place| (place, size)))
    };
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let index = index_of(cpu);
        for (place, size) in objects_of(index) {
            let object = alloc(size);
            ensure!(!object.is_null(), "no object of {size} bytes");
            // SAFETY: the object has this size and belongs to this CPU.
            unsafe { object.write_bytes(index as u8 + 1, size) };
            place.store(object.expose_provenance() as u64, Ordering::Release);
        }
        Ok(())
    })?;
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let index = (index_of(cpu) + 1) % cpus;
        for (place, size) in objects_of(index) {
            let object = core::ptr::with_exposed_provenance_mut::<u8>(place.load(Ordering::Acquire) as usize);
            // SAFETY: the object has this size; its writer has finished, and nothing else uses it.
            let bytes = unsafe { core::slice::from_raw_parts(object, size) };
            let is_whole = bytes.iter().all(|byte| *byte == index as u8 + 1);
            // SAFETY: its writer has allocated it with this size and passed it to this CPU.
            unsafe { free(object, size) };
            ensure!(is_whole, "an object of {size} bytes was overwritten");
        }
        Ok(())
    })?;
    Ok((cpus * SIZES * OBJECTS) as u64)
}

/// An object of the kernel's heap, which need not be the program's. Null without memory.
fn alloc(size: usize) -> *mut u8 {
    // SAFETY: the size must not be 0. No caller passes 0.
    unsafe { KernelHeap.alloc(layout(size)) }
}

/// Frees an object.
///
/// # Safety
/// [`alloc`] returned it for this size, and nothing uses it any more.
unsafe fn free(object: *mut u8, size: usize) {
    // SAFETY: the object is one of `alloc` for this size that nothing uses any more, guaranteed by the caller (see # Safety).
    unsafe { KernelHeap.dealloc(object, layout(size)) }
}

/// Allocates and frees an object of 64 bytes.
fn alloc_and_free() {
    let object = alloc(64);
    if !object.is_null() {
        // SAFETY: it was just allocated with this size.
        unsafe { free(object, 64) };
    }
}

/// Each CPU allocates and frees while the BSP sends it NMIs, in which an allocation must fail.
fn in_nmis() -> CheckResult {
    nmis::with_handler(on_nmi, || {
        let is_over = AtomicU64::new(0);
        on_all_cpus(STRESS_GRACE_MS, &|cpu| {
            if cpu.id() != CpuId::BSP {
                while is_over.load(Ordering::Acquire) == 0 {
                    alloc_and_free();
                }
                return Ok(());
            }
            let mut limit = Timeout::after_ms(STRESS_GRACE_MS / 2);
            let is_incomplete = |cpu: &&Cpu| handled(cpu) < NMIS;
            while let Some(cpu) = smp::online().find(is_incomplete).filter(|_| !limit.has_passed()) {
                if nmis::is_idle(cpu) {
                    nmis::send(cpu)?;
                }
                alloc_and_free();
            }
            is_over.store(1, Ordering::Release);
            Ok(())
        })
    })?;
    for cpu in smp::online() {
        let granted = cpu.get(GRANTED).map_or(0, |granted| granted.load(Ordering::Acquire));
        ensure!(granted == 0, "cpu {}: {granted} allocations of objects in NMIs did not fail", cpu.id());
        ensure!(handled(cpu) >= NMIS, "cpu {} got {} NMIs of {NMIS}", cpu.id(), handled(cpu));
    }
    Ok(())
}

fn handled(cpu: &Cpu) -> u64 {
    cpu.get(HANDLED).map_or(0, |handled| handled.load(Ordering::Acquire))
}

fn on_nmi() {
    for size in [64, 100_000] {
        if !alloc(size).is_null() {
            GRANTED.increment();
        }
    }
    HANDLED.increment();
}

/// Objects that are counted when they are constructed and dropped.
struct Counted {
    rounds: u64,
}

static CONSTRUCTED: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Objects that were dropped while their CPU was lazy, and so must not access a mapping.
static DROPPED_LAZILY: AtomicU64 = AtomicU64::new(0);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        if memory::is_lazy(&IrqGuard::new()) {
            DROPPED_LAZILY.fetch_add(1, Ordering::Relaxed);
        }
    }
}

crate::cache! {
    /// Counted objects.
    static COUNTED: aligned Counted = || {
        CONSTRUCTED.fetch_add(1, Ordering::Relaxed);
        Counted { rounds: 0 }
    };
}

/// Each CPU uses an object of a cache again and again: it is constructed once, and dropped when memory is reclaimed.
fn caches() -> CheckResult {
    const ROUNDS: u64 = 100;
    let (constructed, dropped) = (CONSTRUCTED.load(Ordering::Relaxed), DROPPED.load(Ordering::Relaxed));
    on_all_cpus(STRESS_GRACE_MS, &|_| {
        for round in 0..ROUNDS {
            let Some(mut object) = COUNTED.alloc() else {
                return Err(failed(format_args!("heap: no object of a cache")));
            };
            ensure!((&raw const *object).addr().is_multiple_of(64), "an object of a cache is not aligned");
            ensure!(
                object.rounds == round,
                "an object of a cache has {} rounds in round {round}",
                object.rounds
            );
            object.rounds += 1;
        }
        Ok(())
    })?;
    let constructed = CONSTRUCTED.load(Ordering::Relaxed) - constructed;
    let cpus = smp::online().count() as u64;
    ensure!(constructed == cpus, "{constructed} objects of a cache were constructed on {cpus} CPUs");
    heap::reclaim();
    let dropped = DROPPED.load(Ordering::Relaxed) - dropped;
    ensure!(dropped == constructed, "{dropped} of {constructed} objects of a cache were dropped");
    Ok(())
}

/// Objects of a cache that own one of another cache.
struct Outer {
    inner: Option<CacheBox<Inner>>,
    _counted: Counted,
}

/// As [`Outer`], the other way around.
struct Inner {
    outer: Option<CacheBox<Outer>>,
    _counted: Counted,
}

crate::cache! {
    static OUTER: Outer = || Outer { inner: None, _counted: Counted { rounds: 0 } };
    static INNER: Inner = || Inner { outer: None, _counted: Counted { rounds: 0 } };
}

/// The drop of an object returns what it owns to a cache that may have been emptied before: nothing is left there, in whichever order
/// caches are emptied.
fn caches_of_caches() -> CheckResult {
    let dropped = DROPPED.load(Ordering::Relaxed);
    let no_object = || failed(format_args!("heap: no object of a cache"));
    let mut objects = 0;
    {
        let (mut inner, mut outer) =
            (INNER.alloc().ok_or_else(no_object)?, OUTER.alloc().ok_or_else(no_object)?);
        inner.outer = OUTER.alloc();
        outer.inner = INNER.alloc();
        objects += 2 + u64::from(inner.outer.is_some()) + u64::from(outer.inner.is_some());
    }
    heap::reclaim();
    let dropped = DROPPED.load(Ordering::Relaxed) - dropped;
    ensure!(dropped == objects, "{dropped} of {objects} objects that own one another were dropped");
    Ok(())
}

/// A CPU that goes offline drops the objects that it has cached while it may still access mappings, as their drops may.
fn offline_caches() -> CheckResult {
    let Some(cpu) = smp::online().map(Cpu::id).find(|cpu| *cpu != CpuId::BSP) else { return Ok(()) };
    on_all_cpus(STRESS_GRACE_MS, &|_| {
        drop(COUNTED.alloc());
        Ok(())
    })?;
    let dropped = DROPPED.load(Ordering::Relaxed);
    let called = |error: &dyn core::fmt::Display| {
        failed(format_args!("heap: cpu {cpu} goes offline and online: {error}"))
    };
    hotplug::offline(cpu).map_err(|error| called(&error))?;
    hotplug::online(cpu).map_err(|error| called(&error))?;
    let dropped = DROPPED.load(Ordering::Relaxed) - dropped;
    let lazily = DROPPED_LAZILY.load(Ordering::Relaxed);
    ensure!(dropped >= 1, "cpu {cpu} went offline with an object of a cache");
    ensure!(lazily == 0, "{lazily} objects were dropped while their CPU was lazy");
    Ok(())
}

/// Every CPU caches objects. When one CPU then takes all frames, the heap returns those of its caches. Returns how many it had cached.
fn under_pressure() -> CheckResult<u64> {
    const CACHED: usize = 300;
    on_all_cpus(STRESS_GRACE_MS, &|_| {
        let mut objects = [core::ptr::null_mut(); CACHED];
        objects.fill_with(|| alloc(512));
        // SAFETY: the objects were allocated with this size, above.
        objects
            .into_iter()
            .filter(|object| !object.is_null())
            .for_each(|object| unsafe { free(object, 512) });
        Ok(())
    })?;
    let cached = heap::held_frames();
    let exhausted = Exhausted::new();
    let left = heap::held_frames();
    // With interrupts off, the heap has no frames, and cannot wait for any.
    let guard = IrqGuard::new();
    let at_once = alloc(300_000);
    drop(guard);
    drop(exhausted);
    ensure!(at_once.is_null(), "an object of 300,000 bytes without a free frame");
    ensure!(left < cached, "the heap has kept {left} of {cached} frames while no frame was free");
    ensure!(cached > 0, "the heap has cached nothing");
    Ok((cached - left) as u64)
}

/// While no frame is free, a CPU allocates an object of which only slabs and magazines of other CPUs have some.
fn free_in_slabs() -> CheckResult {
    const SIZE: usize = 4096;
    // Half of them are fewer than a CPU caches before it passes a magazine on.
    const OBJECTS: usize = 40;
    let objects = [const { AtomicPtr::new(core::ptr::null_mut()) }; OBJECTS];
    let owner = smp::online().map(Cpu::id).last().unwrap_or(CpuId::BSP);
    // Every second one, so that no slab becomes whole and returns its frames.
    let on_owner = |f: &(dyn Fn(usize, &AtomicPtr<u8>) + Sync)| {
        smp::call(&CpuSet::of(owner), &|| {
            objects.iter().enumerate().for_each(|(index, object)| f(index, object))
        })
    };
    let free_those = |is_odd: bool| {
        on_owner(&|index, object| {
            if (index % 2 == 1) == is_odd {
                let object = object.swap(core::ptr::null_mut(), Ordering::Relaxed);
                if !object.is_null() {
                    // SAFETY: it was allocated with this size below, and is in the table no longer.
                    unsafe { free(object, SIZE) };
                }
            }
        })
    };
    on_owner(&|_, object| object.store(alloc(SIZE), Ordering::Relaxed))?;
    let mut exhausted = Exhausted::new();
    // For the magazines of that CPU, which it has returned with everything else.
    drop(exhausted.pop());
    memory::drain_this_cpu(&IrqGuard::new());
    free_those(true)?;
    let object = alloc(SIZE);
    drop(exhausted);
    free_those(false)?;
    ensure!(!object.is_null(), "no object of {SIZE} bytes, while cpu {owner} has cached some");
    // SAFETY: it was allocated with this size above.
    unsafe { free(object, SIZE) };
    Ok(())
}
