//! The checks of a kernel with the feature `checked`.

use core::cell::UnsafeCell;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use heapless::Vec;
use spin::Once;

use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, IrqGuard, ThreadName, lock_word};
use crate::per_cpu;
use crate::sync::held_locks::{HeldLock, HeldLocks};
use crate::sync::hook::Hook;
use crate::sync::lock_class::LockClass;
use crate::sync::lock_owner::LockOwner;
use crate::sync::named::name_of;
use crate::sync::order_graph::{Added, ClassId, Classes, KnownOrders, MAX_PATH, Order, OrderGraph};
use crate::sync::wait::Site;
use crate::sync::waiting;

/// The most orders.
const EDGES: usize = 512;

/// The most spin locks that a CPU holds.
const MOST_SPIN_LOCKS: usize = 16;

/// The most locks that a thread holds.
const MOST_OF_THREAD: usize = 8;

/// [`LockClass::id`] of a lock that has no class.
const UNCHECKED: u32 = u32::MAX;

/// The locks that a thread holds.
pub(crate) type HeldByThread = HeldLocks<MOST_OF_THREAD>;

static IS_ON: AtomicBool = AtomicBool::new(false);
static CLASSES: Classes = Classes::new();
static KNOWN: KnownOrders = KnownOrders::new();
static GRAPH: Graph =
    Graph { owner: LockOwner::of(LockClass::of_one_lock()), orders: UnsafeCell::new(OrderGraph::new()) };
crate::name_lock!(GRAPH);

/// The orders that were not added, for lack of room.
static FORGOTTEN: AtomicU32 = AtomicU32::new(0);

static FOUND: Once<Inversion> = Once::new();

/// Returns the name of the running thread.
static THREAD_NAMER: Hook<fn() -> ThreadName> = Hook::new();

per_cpu! {
    /// The spin locks that this CPU holds.
    static HELD: HeldLocks<MOST_SPIN_LOCKS> = HeldLocks::new();
}

/// The graph of all orders, behind a spin lock that is not checked itself, and has no place: its words are 0, so the image does not have it.
struct Graph {
    owner: LockOwner,
    orders: UnsafeCell<OrderGraph<Evidence, EDGES>>,
}

// SAFETY: the graph is reached through `with`, which one CPU executes at a time; it is `Send`.
unsafe impl Sync for Graph {}

impl Graph {
    fn owner(&self) -> &LockOwner {
        &self.owner
    }

    /// Runs a function on the graph. **Context:** thread or interrupt; not NMI.
    fn with<R>(&self, f: impl FnOnce(&mut OrderGraph<Evidence, EDGES>) -> R) -> R {
        let _guard = IrqGuard::new();
        let me = lock_word();
        if !self.owner.lock.acquire_uncontended(me) {
            waiting::acquire(&self.owner, &self.owner.lock, me, Location::caller());
        }
        // SAFETY: there must be no other borrow: this CPU holds the lock, with interrupts off, and `f` does not call this.
        let result = f(unsafe { &mut *self.orders.get() });
        self.owner.lock.release();
        result
    }
}

/// A lock that was taken.
#[derive(Clone, Copy)]
struct Taken {
    /// Its name, if it has one.
    name: Option<&'static str>,
    address: usize,
    /// The place at which it was constructed.
    made_at: Site,
    /// The place that has taken it.
    at: Site,
}

impl Taken {
    fn of(lock: HeldLock) -> Taken {
        let HeldLock { address, class, at } = lock;
        Taken { name: name_of(address), address, made_at: site_of_key(CLASSES.key(class)), at }
    }
}

/// The lock, as a report names it.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.made_at.location()) {
            (Some(name), _) => f.write_str(name),
            (None, Some(at)) => write!(f, "the lock made at {}:{}", at.file(), at.line()),
            (None, None) => write!(f, "the lock at {:#x}", self.address),
        }
    }
}

/// When locks were taken in an order.
#[derive(Clone, Copy)]
struct Evidence {
    first: Taken,
    then: Taken,
    cpu: CpuId,
    thread: ThreadName,
}

/// An order that inverts others.
pub(crate) struct Inversion {
    order: Evidence,
    /// Whether both locks are of one class.
    is_of_one_class: bool,
    /// The orders that it inverts: each begins with the lock with which the one before ends.
    inverted: Vec<Evidence, MAX_PATH>,
}

impl Inversion {
    /// Writes each order with its places and its thread, the new one first.
    pub(crate) fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        for (index, Evidence { first, then, cpu, thread }) in
            core::iter::once(&self.order).chain(&self.inverted).enumerate()
        {
            writeln!(f, "{}. {first}, taken{}", index + 1, first.at.at())?;
            writeln!(f, "   then {then}{}", then.at.at())?;
            writeln!(f, "   by thread {:?} on cpu {cpu}", thread.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Display for Inversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evidence { first, then, .. } = &self.order;
        f.write_str("lock order inversion: ")?;
        if self.is_of_one_class {
            return write!(
                f,
                "{then} is taken while another one of its class is held, with either address first"
            );
        }
        write!(f, "{then} is taken while {first} is held, and elsewhere in the other order")?;
        match self.inverted.len() {
            0 | 1 => Ok(()),
            orders => write!(f, ", by {orders} steps"),
        }
    }
}

/// Turns the checks on or off. **Context:** boot, on the BSP, with no lock held.
pub(crate) fn check_orders(is_on: bool) {
    IS_ON.store(is_on, Ordering::Relaxed);
}

/// Ends the checks: a CPU panics, which takes locks that it may hold. **Context:** any.
pub(crate) fn stop() {
    IS_ON.store(false, Ordering::Relaxed);
}

/// Sets what names the running thread. Only the first call has an effect.
pub(crate) fn set_thread_namer(namer: fn() -> ThreadName) {
    THREAD_NAMER.set(namer);
}

/// Returns the inversion that was found, if one was. **Context:** any.
pub(crate) fn inversion() -> Option<&'static Inversion> {
    FOUND.get()
}

/// Returns how many classes and orders were seen, and how many orders had no room. `None` if orders are not checked. **Context:** thread.
pub(crate) fn totals() -> Option<[u64; 3]> {
    let is_on = IS_ON.load(Ordering::Relaxed);
    is_on.then(|| {
        let orders = GRAPH.with(|graph| graph.len());
        [CLASSES.count() as u64, orders as u64, FORGOTTEN.load(Ordering::Relaxed).into()]
    })
}

/// A key of a class: the address of a place, or one more than the address of a lock.
fn site_of_key(key: usize) -> Site {
    let bits = if key.is_multiple_of(2) { key } else { 0 };
    // SAFETY: the bits must be 0 or those of a site: an even key is, as `enter` makes it.
    unsafe { Site::from_bits(bits) }
}

impl LockClass {
    /// Returns the number of the class. `None` if the lock is not checked.
    fn class(&self, address: usize) -> Option<ClassId> {
        match self.id.load(Ordering::Relaxed) {
            0 => self.enter(address),
            UNCHECKED => None,
            id => Some(ClassId(id as u16 - 1)),
        }
    }

    #[cold]
    fn enter(&self, address: usize) -> Option<ClassId> {
        let class = match self.place {
            Some(place) => {
                // The compiler may have made two of one place.
                let is_same = |key| site_of_key(key).location() == Some(place);
                CLASSES.enter(Site::of(place).bits(), is_same)
            }
            // A lock of the image is always there. The memory of another one may become that of a lock of another purpose.
            None if is_in_image(address) => CLASSES.enter(address + 1, |_| false),
            None => None,
        };
        let id = class.map_or(UNCHECKED, |class| u32::from(class.0) + 1);
        self.id.store(id, Ordering::Relaxed);
        class
    }
}

fn is_in_image(address: usize) -> bool {
    unsafe extern "C" {
        // From the linker script.
        static image_start: u8;
        static image_end: u8;
    }
    ((&raw const image_start).addr()..(&raw const image_end).addr()).contains(&address)
}

/// Checks the order of a lock that is about to be waited for, without a time-out, to those that the caller holds.
///
/// **Context:** the holder; not NMI.
///
/// # Panics
/// The order inverts another one.
#[inline]
#[track_caller]
pub(crate) fn expect<const N: usize>(class: &LockClass, address: usize, held: &HeldLocks<N>) {
    if IS_ON.load(Ordering::Relaxed) {
        check(class, address, held);
    }
}

#[track_caller]
fn check<const N: usize>(class: &LockClass, address: usize, held: &HeldLocks<N>) {
    let Some(class) = class.class(address) else { return };
    for first in held.iter() {
        if first.address == address && first.class == class {
            panic!("{} is taken again by its holder, which has taken it{}", Taken::of(first), first.at.at());
        }
        let order = Order::of((first.class, first.address), (class, address));
        if !KNOWN.contains(order) {
            learn(order, first, HeldLock { address, class, at: Site::of(Location::caller()) });
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn learn(order: Order, first: HeldLock, then: HeldLock) {
    let thread = THREAD_NAMER.get().map_or_else(|| ThreadName::new("boot"), |name| name());
    let evidence = Evidence { first: Taken::of(first), then: Taken::of(then), cpu: cpu::current(), thread };
    let inverted = GRAPH.with(|graph| match graph.add(order, evidence) {
        Added::Known | Added::New => None,
        Added::Full => {
            FORGOTTEN.fetch_add(1, Ordering::Relaxed);
            None
        }
        Added::Inverts(path) => Some(path.iter().filter_map(|edge| graph.evidence(*edge)).copied().collect()),
    });
    KNOWN.add(order);
    if let Some(inverted) = inverted {
        panic!(
            "{}",
            FOUND.call_once(|| Inversion {
                order: evidence,
                is_of_one_class: order.is_of_one_class(),
                inverted,
            })
        );
    }
}

/// Notes that the caller has taken a lock. **Context:** the holder; any.
#[inline]
#[track_caller]
pub(crate) fn took<const N: usize>(class: &LockClass, address: usize, held: &HeldLocks<N>) {
    if IS_ON.load(Ordering::Relaxed)
        && let Some(class) = class.class(address)
    {
        held.add(HeldLock { address, class, at: Site::of(Location::caller()) });
    }
}

/// Notes that the caller releases a lock. **Context:** the holder; any.
#[inline]
pub(crate) fn released<const N: usize>(address: usize, held: &HeldLocks<N>) {
    if IS_ON.load(Ordering::Relaxed) {
        held.remove(address);
    }
}

/// The spin locks that this CPU holds. **Context:** interrupts off.
fn held_here() -> &'static HeldLocks<MOST_SPIN_LOCKS> {
    // SAFETY: this CPU's own copy, in an area that is never freed. `HeldLocks` is `Sync`, so shared borrows are allowed.
    unsafe { &*HELD.as_ptr() }
}

/// [`expect`] of a spin lock. **Context:** interrupts off; not NMI.
#[inline]
#[track_caller]
pub(in crate::sync) fn expect_spin(owner: &LockOwner) {
    expect(&owner.class, core::ptr::from_ref(owner).addr(), held_here());
}

/// [`took`] of a spin lock. **Context:** interrupts off.
#[inline]
#[track_caller]
pub(in crate::sync) fn took_spin(owner: &LockOwner) {
    took(&owner.class, core::ptr::from_ref(owner).addr(), held_here());
}

/// [`released`] of a spin lock. **Context:** interrupts off.
#[inline]
pub(in crate::sync) fn released_spin(owner: &LockOwner) {
    released(core::ptr::from_ref(owner).addr(), held_here());
}
